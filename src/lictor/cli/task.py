"""`lictor task`: open, list, show and close tasks. A task is opened by a person, never by the model.

On this machine by default; with `--url` at a gateway elsewhere.
"""

import argparse
import asyncio
import getpass
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from lictor.cli import taskremote
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Budget, TaskState, TaskStatus
from lictor.policy.contracts import contract_from, draft, explain, propose

_WHOLE: Final = 100_000
"""Characters of a line that must not be cut: what a person says yes to is shown whole."""


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
    opening.add_argument(
        "--declare",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a value you vouch for, e.g. recipient=b@x.org; repeat",
    )
    binding = opening.add_mutually_exclusive_group()
    binding.add_argument("--contract", metavar="FILE", help="bind it to the clauses of a TOML or JSON file")
    binding.add_argument(
        "--draft", action="store_true", help="bind it to a contract drafted from --text and the catalogue alone"
    )
    opening.set_defaults(run=lambda args: _open_there(args) if args.url else asyncio.run(_open(args)))
    listing = actions.add_parser("list", help="tasks, newest first")
    common(listing)
    listing.set_defaults(run=lambda args: _there(args, "listed") if args.url else _list(args))
    showing = actions.add_parser("show", help="one task: budgets, contract, labels, state")
    common(showing)
    showing.add_argument("task")
    showing.set_defaults(run=lambda args: _there(args, "shown") if args.url else _show(args))
    confirming = actions.add_parser("confirm", help="say yes to a task's contract as it stands, once")
    common(confirming)
    confirming.add_argument("task")
    confirming.set_defaults(run=lambda args: _there(args, "confirmed") if args.url else asyncio.run(_confirm(args)))
    delegating = actions.add_parser("delegate", help="open a child task for another agent: less in every dimension")
    common(delegating)
    delegating.add_argument("task", help="the parent; its token in LICTOR_TASK_TOKEN shows that you hold it")
    delegating.add_argument("--agent", required=True, help="one of the parent agent's delegates_to")
    delegating.add_argument("--text", default="", help="what the child is asked to do (not trusted text)")
    delegating.add_argument("--ttl", type=int, default=600, metavar="SECONDS", help="lifetime (default: 600)")
    delegating.add_argument("--calls", type=int, default=100, help="calls carved from the parent's (default: 100)")
    delegating.add_argument(
        "--value",
        action="append",
        default=[],
        metavar="EUR=100",
        help="carved from the parent's budget; repeat per currency",
    )
    delegating.add_argument("--contract", metavar="FILE", help="bind the child to the clauses of a TOML or JSON file")
    delegating.set_defaults(run=lambda args: _delegate_there(args) if args.url else asyncio.run(_delegate(args)))
    closing = actions.add_parser("close", help="end a task's authority now")
    common(closing)
    closing.add_argument("task")
    closing.set_defaults(run=lambda args: _there(args, "closed") if args.url else asyncio.run(_close(args)))
    for one in (opening, listing, showing, confirming, delegating, closing):
        taskremote.add(one)


def _there(args: argparse.Namespace, action: str) -> int:
    return taskremote.run(args, getattr(taskremote, action))


def _open_there(args: argparse.Namespace) -> int:
    if args.draft:
        raise CallerError(
            Reason.INVALID_ARGUMENTS, "--draft needs the catalogue: it works on the gateway's machine only"
        )
    body = _asked(args) | {
        "human": args.human or f"os:{getpass.getuser()}",
        "purpose": args.purpose,
        "declared": _declared(args.declare),
    }
    return taskremote.run(args, lambda there, given, out: taskremote.opened(there, given, out, body))


def _delegate_there(args: argparse.Namespace) -> int:
    body = _asked(args)
    return taskremote.run(args, lambda there, given, out: taskremote.delegated(there, given, out, body))


def _asked(args: argparse.Namespace) -> dict[str, Any]:
    """What `open` and `delegate` have in common, as the client takes it."""
    raw = _clauses(args.contract) if args.contract else None
    return {
        "agent": args.agent,
        "text": args.text,
        "ttl_s": args.ttl,
        "calls": args.calls,
        "value": _values(args.value),
        "clauses": raw.get("clauses") if isinstance(raw, dict) else raw,
    }


async def _open(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.model.identity import Opener
    from lictor.service.tasks.tasks import Wish

    out = Out(as_json=args.json)
    operator = f"os:{getpass.getuser()}"
    house = await open_house(bundle_path(args.bundle))
    try:
        pdp = house.policy.current()
        contract = None
        if args.contract:
            contract = contract_from(_clauses(args.contract), ContractSource.PERSON, pdp)
        elif args.draft:
            contract, cut_off = draft(propose, args.text, pdp, [AgentId(args.agent)])
            for action in cut_off:
                out.line(f"left out, policy permits it under no circumstances: {safe(action)}")
        wish = Wish(
            agent=AgentId(args.agent),
            human=HumanId(args.human or operator),
            purpose=args.purpose,
            text=args.text,
            ttl_s=args.ttl,
            budget=Budget(calls=args.calls, value=_values(args.value)),
            declared=_declared(args.declare),
            contract=contract,
        )
        opener = Opener(kind="operator", name=operator)
        opened = await house.open(opener, wish, audience=house.settings.audience, by=operator)
        url = house.settings.audience
    finally:
        house.close()
    out.data(
        {"task": opened.task.id, "token": opened.token, "audience": url, "expires_at_ms": opened.task.expires_at_ms}
    )
    if contract is not None:
        out.line("bound to this contract:")
        for line in explain(contract):
            out.line(f"  {safe(line, _WHOLE)}")
        if contract.source is ContractSource.DRAFTED:
            out.line(f"it restricts at once; say yes to it with: lictor task confirm {opened.task.id}")
        out.line()
    out.line(f"task {opened.task.id} is open for {args.ttl} s. Its token, shown once:")
    out.line()
    out.line(f"  {opened.token}")
    out.line()
    out.line(f"The agent connects to {url} with the header  Authorization: Bearer {opened.token}")
    return Exit.OK


async def _confirm(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        contract = await house.contracts.confirm(TaskId(args.task), by=HumanId(f"os:{getpass.getuser()}"))
    finally:
        house.close()
    out.data({"task": args.task, "confirmed_by": contract.confirmed_by})
    out.line(f"confirmed for task {safe(args.task)}:")
    for line in explain(contract):
        out.line(f"  {safe(line, _WHOLE)}")
    return Exit.OK


async def _delegate(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        _prove_held(
            house.tasks.authenticate(os.environ.get("LICTOR_TASK_TOKEN", ""), house.settings.audience), args.task
        )
        contract = None
        if args.contract:
            contract = contract_from(_clauses(args.contract), ContractSource.DRAFTED, house.policy.current())
        opened = await house.delegate(
            TaskId(args.task),
            agent=AgentId(args.agent),
            ttl_s=args.ttl,
            budget=Budget(calls=args.calls, value=_values(args.value)),
            by=f"task:{args.task}",
            text=args.text,
            contract=contract,
        )
    finally:
        house.close()
    out.data({"task": opened.task.id, "token": opened.token, "parents": list(opened.task.parents)})
    out.line(f"task {opened.task.id} for {safe(args.agent)}, below {safe(args.task)}. Its token, shown once:")
    out.line()
    out.line(f"  {opened.token}")
    return Exit.OK


def _prove_held(state: TaskState, task: str) -> None:
    if state.task.id != task:
        raise CallerError(Reason.UNAUTHENTICATED, "the token in LICTOR_TASK_TOKEN is another task's")


def _clauses(path: str) -> Any:
    try:
        raw = Path(path).read_bytes()
        return msgspec.toml.decode(raw) if path.endswith(".toml") else msgspec.json.decode(raw)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{path[:200]!r} cannot be read: {str(error)[:160]}") from None


def _declared(words: list[str]) -> dict[str, tuple[str, ...]]:
    values: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not value:
            raise CallerError(Reason.INVALID_ARGUMENTS, f"--declare {word[:40]!r} is not NAME=VALUE")
        values[name] = (*values.get(name, ()), value)
    return values


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
        (state.task.id, _status(state, now), state.task.agent, safe(state.task.human), state.task.purpose,
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
        out.line(f"{name:<10}{safe(value, _WHOLE)}")
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
    if task.parents:
        yield "below", " below ".join(task.parents)
    if state.contract is not None:
        yield from _bound(state.contract, state.contract_used)
    yield "has seen", ", ".join(state.labels) or "nothing that is labelled"


def _bound(contract: Contract, used: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    """A contract, whole: whoever confirms it has to see every value."""
    sources = {
        ContractSource.APPLICATION: "made by the application",
        ContractSource.PERSON: "made by the person who opened the task",
        ContractSource.DRAFTED: "drafted from the task's text",
    }
    seen = f", confirmed by {contract.confirmed_by}" if contract.confirmed_by else ", confirmed by nobody"
    yield "bound by", f"a contract {sources[contract.source]}{seen}; nothing else runs"
    lines = explain(contract)
    for line, count in zip(lines, used or (0,) * len(lines), strict=True):
        yield "", f"- {line}{f' ({count} used)' if contract.clauses else ''}"


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
        "parents": list(task.parents),
        "contract": msgspec.to_builtins(state.contract),
        "opened_at_ms": task.opened_at_ms,
        "expires_at_ms": task.expires_at_ms,
    }
