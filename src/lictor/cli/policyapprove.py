"""`lictor policy approve`: an operator who did not make a change stands for what it newly permits."""

import argparse
import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

from lictor.cli.holds import SECRET_VARIABLE, approver_secret
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.policy.bundle import Bundle

_LEAST: Final = 12
"""Hexadecimal digits of a revision that have to be named: what was looked at, not whatever is there now."""


def add(actions: Any) -> None:
    """`approve` among the actions of `policy`."""
    approving = actions.add_parser(
        "approve",
        help="as a second person, approve a change that permits more",
        description="Show what the bundle in the folder permits and the one in force does not; approve it, and put it in force.",
    )
    common(approving)
    approving.add_argument("revision", help="the revision that waits: sha256:… or its first 12 digits")
    approving.add_argument("--why", default="", help="for the record")
    approving.add_argument("--yes", action="store_true", help="do not ask again after showing the change")
    approving.epilog = (
        f"Needs the secret of a person in `operators` of approvers.toml: ${SECRET_VARIABLE}, or asked for."
    )
    approving.set_defaults(run=lambda args: asyncio.run(_approve(args)))


async def _approve(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out, path = Out(as_json=args.json), bundle_path(args.bundle)
    house = await open_house(path)
    try:
        bundle = house.folder.load()
        _check_named(args.revision, bundle)
        previous = house.store.revision()
        if previous is None or previous == bundle.revision:
            raise CallerError(Reason.CONFLICT, "this bundle is in force already: nothing waits")
        for way in await house.second_person.ways(previous, bundle):
            out.line(f"  {out.warm('wider')}  {safe(way, 300)}")
        out.line(f"  see also: lictor policy diff {previous[:19]} {safe(str(path))}")
        if not args.yes and not _confirmed():
            return Exit.NO
        by = house.answer.authenticate(approver_secret())
        approvers = house.policy.current().approvers
        authors = frozenset(map(HumanId, house.authors(previous, bundle)))
        given = await house.second_person.approve(bundle, approvers, by=by, authors=authors, why=args.why)
        await house.activate(bundle, by=by)
    finally:
        house.close()
    out.data({"revision": bundle.revision, "previous": previous, "by": by, "widens": list(given.widens)})
    out.line(f"{out.good('approved')} by {safe(by)}: {bundle.revision[:19]} is in force")
    return Exit.OK


def _check_named(named: str, bundle: "Bundle") -> None:
    digits = named.removeprefix("sha256:")
    if len(digits) < _LEAST or not bundle.revision.removeprefix("sha256:").startswith(digits):
        raise CallerError(
            Reason.CONFLICT,
            f"{named[:80]!r} is not what is in the folder now, which is {bundle.revision[:19]}",
            remedy="look at the change again: lictor policy diff",
        )


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise CallerError(Reason.UNAUTHENTICATED, "not a terminal: nobody can confirm", remedy="add --yes")
    return input("put this in force? type yes: ").strip() == "yes"
