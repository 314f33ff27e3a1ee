"""`lictor task`: open, list, show and close tasks. A task is opened by a person, never by the model."""

import argparse
import asyncio
import getpass
from collections.abc import Iterator

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Budget, TaskState, TaskStatus


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    opening = actions.add_parser("open", help="open a task and print its bearer token, once")
    common(opening)
    opening.add_argument("--agent", required=True, help="an agent of agents.toml")
    opening.add_argument("--human", help="whom it works for (default: os:<you>)")
    opening.add_argument("--purpose", required=True, help="one of the purposes declared in agents.toml")
    opening.add_argument("--text", default="", help="what the person actually asked, in their words")
    opening.add_argument("--ttl", type=int, default=3_600, metavar="SECONDS", help="lifetime (default: 3600)")
    opening.add_argument("--calls", type=int, default=1_000, help="how many actions it may run (default: 1000)")
    opening.add_argument(
        "--value", action="append", default=[], metavar="EUR=10000", help="budget in minor units; repeat per currency"
    )
    opening.set_defaults(run=lambda args: asyncio.run(_open(args)))
    listing = actions.add_parser("list", help="tasks, newest first")
    common(listing)
    listing.set_defaults(run=_list)
    showing = actions.add_parser("show", help="one task: budgets, labels, state")
    common(showing)
    showing.add_argument("task")
    showing.set_defaults(run=_show)
    closing = actions.add_parser("close", help="end a task's authority now")
    common(closing)
    closing.add_argument("task")
    closing.set_defaults(run=lambda args: asyncio.run(_close(args)))


async def _open(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    operator = f"os:{getpass.getuser()}"
    house = await open_house(bundle_path(args.bundle))
    try:
        opened = await house.tasks.open(
            agent=AgentId(args.agent),
            human=HumanId(args.human or operator),
            purpose=args.purpose,
            trusted_text=args.text,
            ttl_s=args.ttl,
            budget=Budget(calls=args.calls, value=_values(args.value)),
            audience=house.settings.audience,
            by=operator,
            token=True,
        )
        url = house.settings.audience
    finally:
        house.close()
    out.data(
        {"task": opened.task.id, "token": opened.token, "audience": url, "expires_at_ms": opened.task.expires_at_ms}
    )
    out.line(f"task {opened.task.id} is open for {args.ttl} s. Its token, shown once:")
    out.line()
    out.line(f"  {opened.token}")
    out.line()
    out.line(f"The agent connects to {url} with the header  Authorization: Bearer {opened.token}")
    return Exit.OK


def _values(words: list[str]) -> dict[str, int]:
    values = {}
    for word in words:
        currency, found, amount = word.partition("=")
        if not found or not amount.isascii() or not amount.isdigit():
            raise CallerError(Reason.BUDGET_VALUE, f"--value {word[:40]!r} is not CURRENCY=MINOR_UNITS")
        values[currency] = int(amount)
    return values


def _list(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        states = list(house.store.tasks())
        now = house.clock.now_ms()
    finally:
        house.close()
    out.data([_as_data(state, now) for state in states])
    if not states:
        out.line("no task was opened yet; open one with: lictor task open --agent … --purpose …")
        return Exit.OK
    rows = [
        (state.task.id, _status(state, now), state.task.agent, state.task.human, state.task.purpose,
         f"{state.calls_used}/{state.task.budget.calls}", ",".join(state.labels))
        for state in states
    ]  # fmt: skip
    out.table(("TASK", "STATE", "AGENT", "HUMAN", "PURPOSE", "CALLS", "LABELS"), rows)
    return Exit.OK


def _show(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        state = house.store.task(TaskId(args.task))
        now = house.clock.now_ms()
    finally:
        house.close()
    if state is None:
        raise CallerError(Reason.UNKNOWN_TASK, f"there is no task {args.task[:64]!r}", remedy="see: lictor task list")
    out.data(_as_data(state, now))
    for name, value in _shown(state, now):
        out.line(f"{name:<9}{safe(value)}")
    return Exit.OK


async def _close(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        await house.tasks.close(TaskId(args.task), by=f"os:{getpass.getuser()}")
    finally:
        house.close()
    out.data({"task": args.task, "closed": True})
    out.line(f"task {args.task} is closed; nothing of it starts any more")
    return Exit.OK


def _status(state: TaskState, now_ms: int) -> str:
    if state.status is TaskStatus.OPEN and now_ms >= state.task.expires_at_ms:
        return "expired"
    return state.status.value


def _shown(state: TaskState, now_ms: int) -> Iterator[tuple[str, str]]:
    """What a person wants to know of a task."""
    task = state.task
    yield "task", task.id
    yield "state", _status(state, now_ms)
    yield "agent", task.agent
    yield "human", task.human
    yield "purpose", task.purpose
    yield "for", "this machine (lictor run)" if task.audience == "local" else task.audience
    yield "opened", moment(task.opened_at_ms)
    yield "expires", moment(task.expires_at_ms)
    yield "calls", f"{state.calls_used} of {task.budget.calls} used"
    for currency, budget in sorted(task.budget.value.items()):
        yield "value", f"{state.value_used.get(currency, 0)} of {budget} minor units of {currency} used"
    yield "has seen", ", ".join(state.labels) or "nothing that is labelled"


def _as_data(state: TaskState, now_ms: int) -> dict[str, object]:
    task = state.task
    return {
        "task": task.id,
        "state": _status(state, now_ms),
        "agent": task.agent,
        "human": task.human,
        "purpose": task.purpose,
        "audience": task.audience,
        "calls_used": state.calls_used,
        "calls_budget": task.budget.calls,
        "value_used": state.value_used,
        "value_budget": task.budget.value,
        "labels": list(state.labels),
        "opened_at_ms": task.opened_at_ms,
        "expires_at_ms": task.expires_at_ms,
    }
