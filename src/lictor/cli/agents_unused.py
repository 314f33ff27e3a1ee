"""`lictor agents unused`: what agents may do and never did, from the log, with the line that permits it and what to change."""

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.span import bar
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.policy.bundle import Bundle
    from lictor.policy.unused import Unused

DAYS: Final = 90
_MOST: Final = 8


def add(actions: Any) -> None:
    """`unused` among the actions of `agents`."""
    looking = actions.add_parser(
        "unused",
        help="what agents may do and never did",
        description=(
            "What policy may permit an agent and the log never saw: by permit, with its file and line and the smallest change. "
            "Exit code 1 when there is something."
        ),
    )
    common(looking)
    looking.add_argument("name", nargs="?", metavar="NAME", help="one agent (default: all)")
    looking.add_argument("--days", type=int, default=DAYS, metavar="N", help=f"look back so far (default: {DAYS})")
    looking.set_defaults(run=_unused)


def _unused(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path
    from lictor.stores.bundle_folder import BundleFolder

    if args.days < 1:
        raise CallerError(Reason.INVALID_ARGUMENTS, "--days is 1 or more")
    out, path = Out(as_json=args.json), bundle_path(args.bundle)
    bundle = BundleFolder(path).load()
    if args.name and args.name not in bundle.agents:
        message = f"there is no agent {args.name[:80]!r}"
        raise CallerError(Reason.UNKNOWN_AGENT, message, remedy="see: lictor agents list")
    names = [AgentId(args.name)] if args.name else sorted(bundle.agents)
    found, days = surplus(out, path, bundle, names, args.days)
    out.data({"days": args.days, "covered_days": days, "unused": [as_data(one) for one in found]})
    for agent in dict.fromkeys(one.agent for one in found):
        out.line(out.bold(agent))
        for one in found:
            if one.agent == agent:
                _show(out, one)
        out.line()
    if days < args.days:
        out.line(out.warm(f"the log reaches back {days} of these {args.days} days: rare work may only look unneeded"))
    if not found:
        out.line("everything that policy may permit was used")
    return Exit.NO if found else Exit.OK


def surplus(
    out: Out, path: Path, bundle: "Bundle", names: Sequence[AgentId], days: int
) -> "tuple[tuple[Unused, ...], int]":
    """What these agents may do and did not, and how many days of the log could tell.

    Raises:
        StoreError: the log cannot be read.
    """
    from lictor.app import open_house
    from lictor.policy.compile import compile_bundle
    from lictor.policy.unused import unused
    from lictor.service.evidence.entitlements import observed
    from lictor.service.registry import DAY_MS

    pdp = compile_bundle(bundle)
    house = asyncio.run(open_house(path, load=False))
    try:
        now = house.clock.now_ms()
        seen = observed(house.store, pdp, now - days * DAY_MS, bar(out, "reading", house.store.size()))
    finally:
        house.close()
    return unused(bundle, pdp, names, seen.usage), min(days, -(-(now - seen.from_ms) // DAY_MS))


def as_data(one: "Unused") -> dict[str, Any]:
    """One finding for programs."""
    return {
        "agent": one.agent,
        "permit": one.permit,
        "where": one.where,
        "unused": [{"action": action, "effect": effect} for action, effect in one.actions],
        "reached": one.reached,
        "used": one.used,
        "change": one.change,
    }


def _show(out: Out, one: "Unused") -> None:
    head = f"{len(one.actions)} of {one.reached} never used" if one.used else "gave it nothing"
    out.line(f"  {safe(one.where)}: {safe(one.permit)}  {out.warm(head)}")
    names = ", ".join(f"{action} ({effect})" for action, effect in one.actions[:_MOST])
    more = f" and {len(one.actions) - _MOST} more" if len(one.actions) > _MOST else ""
    out.line(f"    {safe(names, 600)}{more}")
    out.line(f"    {out.dim(safe(one.change, 400))}")
