"""`lictor pending`, `approve`, `deny`: a person's side of a hold, in the terminal.

Approving needs the approver's own secret, typed or in `LICTOR_APPROVER_SECRET`: an agent that can start this command still cannot
approve itself. What is shown is made from the sealed bytes, never from a model's words.
"""

import argparse
import asyncio
import getpass
import os
import sys

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.approval import Hold, HoldStatus, seal_of
from lictor.model.errors import CallerError
from lictor.model.ids import HoldId
from lictor.model.reasons import Reason
from lictor.ports import RecordStore
from lictor.service.people.approve import Proof

SECRET_VARIABLE = "LICTOR_APPROVER_SECRET"  # noqa: S105 - the name of a variable


def add(name: str, parser: argparse.ArgumentParser) -> None:
    """Arguments of one of the three commands."""
    common(parser)
    match name:
        case "pending":
            parser.add_argument("--all", action="store_true", help="answered and expired ones too")
            parser.set_defaults(run=pending)
        case _:
            parser.add_argument("hold", help="the hold's id, from `lictor pending` or the refusal")
            parser.add_argument("--note", default="", help="why; recorded with the answer")
            parser.add_argument("--yes", action="store_true", help="do not ask again after showing the action")
            parser.set_defaults(run=approve if name == "approve" else deny)
            parser.epilog = f"The approver's secret is read from ${SECRET_VARIABLE} or asked for."


def pending(args: argparse.Namespace) -> int:
    """List holds."""
    from lictor.app import bundle_path, open_house
    from lictor.console.held import answerable

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        now = house.clock.now_ms()
        found = house.store.holds(pending_only=not args.all)
        holds = [hold for hold in found if args.all or answerable(house.store, hold, now)]
        chains = [_chain(house.store, hold) for hold in holds]
    finally:
        house.close()
    out.data([{**_as_data(hold, now), "chain": list(chain)} for hold, chain in zip(holds, chains, strict=True)])
    if not holds:
        out.line("nothing waits for a person")
    else:
        rows = [
            (
                hold.id,
                _state(hold, now),
                ", for ".join(chain),
                safe(f"{hold.server}/{hold.name}", 60),
                _groups(hold),
                _left(hold, now),
            )
            for hold, chain in zip(holds, chains, strict=True)
        ]
        out.table(("HOLD", "STATE", "AGENT", "ACTION", "APPROVERS", "LEFT"), rows)
        out.line()
        out.line("look and answer: lictor approve HOLD   or   lictor deny HOLD")
    return Exit.OK


def approve(args: argparse.Namespace) -> int:
    """Show the sealed action, then approve exactly it."""
    return asyncio.run(_answer(args, approving=True))


def deny(args: argparse.Namespace) -> int:
    """Show the sealed action, then deny it."""
    return asyncio.run(_answer(args, approving=False))


async def _answer(args: argparse.Namespace, *, approving: bool) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.cli.held import describe

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        person = house.answer.authenticate(approver_secret())
        hold = house.store.hold(HoldId(args.hold))
        if hold is None:
            raise CallerError(
                Reason.UNKNOWN_APPROVAL, f"there is no hold {args.hold[:64]!r}", remedy="see: lictor pending"
            )
        out.line(describe(house, hold))
        if not args.yes and not args.json and not _confirmed("approve exactly this" if approving else "deny this"):
            out.line("nothing was answered")
            return Exit.NO
        if approving:
            after = await house.answer.approve(hold.id, Proof(human=person), seal_of(hold), args.note)
            done = after.status is HoldStatus.APPROVED
            out.data({"hold": hold.id, "state": after.status.value, "digest": hold.digest, "by": person})
            then = "the agent's retry with the same arguments runs" if done else "other people have to approve it too"
            out.line(out.good("approved") + f", once, by {safe(person)}: {then}")
        else:
            await house.answer.deny(hold.id, person, args.note)
            out.data({"hold": hold.id, "denied": True, "by": person})
            out.line(out.bad("denied") + f" by {safe(person)}: stays denied for this task")
    finally:
        house.close()
    return Exit.OK


def approver_secret() -> str:
    """The secret from the environment, or asked for at a terminal."""
    given = os.environ.get(SECRET_VARIABLE, "")
    if given:
        return given
    if not sys.stdin.isatty():
        raise CallerError(
            Reason.UNAUTHENTICATED,
            "the approver's secret is needed",
            remedy=f"run in a terminal, or set {SECRET_VARIABLE}; enrol with: lictor approver enrol HUMAN",
        )
    return getpass.getpass("approver secret: ")


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise CallerError(Reason.UNAUTHENTICATED, "not a terminal: nobody can confirm", remedy="add --yes")
    return input(f"{what}? type yes: ").strip() == "yes"


def _as_data(hold: Hold, now_ms: int) -> dict[str, object]:
    return {
        "hold": hold.id,
        "state": _state(hold, now_ms),
        "agent": hold.agent,
        "human": hold.human,
        "task": hold.task,
        "server": hold.server,
        "name": hold.name,
        "digest": hold.digest,
        "groups": [list(groups) for groups in hold.groups],
        "expires_at_ms": hold.expires_at_ms,
    }


def _chain(store: RecordStore, hold: Hold) -> tuple[str, ...]:
    """The agent that asks, and those it was delegated from, nearest first."""
    state = store.task(hold.task)
    links = [store.task(parent) for parent in state.task.parents] if state is not None else []
    return (hold.agent, *(link.task.agent for link in links if link is not None))


def _state(hold: Hold, now_ms: int) -> str:
    if hold.status is HoldStatus.PENDING and now_ms >= hold.expires_at_ms:
        return "expired"
    return hold.status.value


def _groups(hold: Hold) -> str:
    return " or ".join("+".join(groups) for groups in hold.groups)


def _left(hold: Hold, now_ms: int) -> str:
    seconds = max(0, (hold.expires_at_ms - now_ms) // 1_000)
    return f"{seconds // 60}:{seconds % 60:02d}" if hold.status is HoldStatus.PENDING else ""
