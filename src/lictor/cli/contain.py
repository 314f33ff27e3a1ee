"""`lictor contain`: lay restrictions, list them, lift them. They are joined after policy and can only tighten."""

import argparse
import asyncio
import getpass
from typing import TYPE_CHECKING

from lictor.cli.holds import SECRET_VARIABLE, approver_secret
from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House

_EFFECT = {
    Restriction.STEP_UP: "needs approval for whatever policy would allow",
    Restriction.READ_ONLY: "may only read",
    Restriction.SUSPENDED: "may do nothing",
}


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    laying = actions.add_parser("add", help="lay a restriction; in force for every gateway from the next decision on")
    common(laying)
    laying.add_argument(
        "what",
        metavar="SCOPE:TARGET",
        help="agent:NAME, owner:NAME, task:ID, server:NAME, action:SERVER/TOOL or everything",
    )
    laying.add_argument("restriction", choices=[restriction.value for restriction in Restriction])
    laying.add_argument("--why", default="", help="for the record")
    laying.set_defaults(run=lambda args: asyncio.run(_lay(args)))
    listing = actions.add_parser("list", help="restrictions in force, oldest first")
    common(listing)
    listing.set_defaults(run=_list)
    lifting = actions.add_parser("lift", help="take a restriction away; a recorded privilege change")
    common(lifting)
    lifting.add_argument("id", help="cnt_…, from `lictor contain list`")
    lifting.add_argument("--why", required=True, help="for the record")
    lifting.epilog = f"Once approvers are enrolled, this needs the secret of one: ${SECRET_VARIABLE}, or asked for."
    lifting.set_defaults(run=lambda args: asyncio.run(lift(args)))


async def _lay(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    scope, target = scope_of(args.what)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        laid = await house.contain.lay(
            scope, target, Restriction(args.restriction), by=f"os:{getpass.getuser()}", why=args.why
        )
    finally:
        house.close()
    out.data(_as_data(laid))
    out.line(f"{laid.id}: {safe(_named(laid))} {_EFFECT[laid.restriction]}, from now on")
    out.line(f"take it away with: lictor contain lift {laid.id} --why …")
    return Exit.OK


def _list(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        laid = house.contain.in_force()
    finally:
        house.close()
    out.data([_as_data(containment) for containment in laid])
    if not laid:
        out.line("nothing is restricted beyond policy")
        return Exit.OK
    rows = [
        (one.id, safe(_named(one)), one.restriction.value, safe(one.by), moment(one.laid_at_ms), safe(one.why))
        for one in laid
    ]
    out.table(("ID", "ON", "RESTRICTION", "BY", "SINCE", "WHY"), rows)
    return Exit.OK


async def lift(args: argparse.Namespace) -> int:
    """Take a restriction away; `args` has id, why, bundle and json."""
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        person = _person(house)
        await house.contain.lift(args.id, by=person, why=args.why)
    finally:
        house.close()
    out.data({"containment": args.id, "lifted": True, "by": person})
    out.line(f"{safe(args.id)} is lifted; what policy allows runs again")
    return Exit.OK


def _person(house: "House") -> HumanId:
    """Who lifts. This loosens, so an agent that can start programs as the same user must not be able to (ADR 0008).

    Raises:
        CallerError: `unauthenticated`: approvers are enrolled, and this is not the secret of one.
    """
    if any(house.store.enrolled(person) for person in house.policy.current().approvers.groups_of):
        return house.answer.authenticate(approver_secret())
    return HumanId(f"os:{getpass.getuser()}")


def scope_of(what: str) -> tuple[Scope, str]:
    """`SCOPE:TARGET` as scope and target.

    Raises:
        CallerError: `conflict`: there is no such scope.
    """
    name, _, target = what.partition(":")
    try:
        scope = Scope(name)
    except ValueError:
        scopes = ", ".join(scope.value for scope in Scope)
        raise CallerError(
            Reason.CONFLICT, f"{name[:40]!r} is no scope", remedy=f"one of: {scopes}, then a colon and its name"
        ) from None
    return scope, target


def _named(containment: Containment) -> str:
    return f"{containment.scope.value} {containment.target}".strip()


def _as_data(containment: Containment) -> dict[str, object]:
    return {
        "containment": containment.id,
        "scope": containment.scope.value,
        "target": containment.target,
        "restriction": containment.restriction.value,
        "by": containment.by,
        "why": containment.why,
        "laid_at_ms": containment.laid_at_ms,
    }
