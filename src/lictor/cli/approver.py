"""`lictor approver`: who can answer, and by what: secrets are given, passkeys are listed and forgotten.

Somebody who is an approver already has to vouch with their own secret, and a secret vouches only while its owner has no passkey
(ADR 0013): then the console's page *Account* is where they vouch. Passkeys themselves are made and used in a browser.
"""

import argparse
import asyncio
import getpass
from typing import TYPE_CHECKING

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    enrol = actions.add_parser(
        "enrol",
        help="mint a fresh secret for a person of approvers.toml; the old one ends; an enrolled approver has to vouch",
    )
    enrol.set_defaults(run=lambda args: asyncio.run(_enrol(args)))
    keys = actions.add_parser("passkeys", help="list people's passkeys")
    keys.set_defaults(run=_passkeys)
    forget = actions.add_parser("forget", help="a person's passkeys count for nothing any more; somebody else vouches")
    forget.add_argument(
        "--passkey",
        default="",
        metavar="ID",
        help="only this one (its id, or how that begins; --passkey=ID where it begins with -)",
    )
    forget.set_defaults(run=lambda args: asyncio.run(_forget(args)))
    for action in (enrol, keys, forget):
        common(action)
        several = None if action is not keys else "?"
        action.add_argument("human", nargs=several, help="as named in approvers.toml, e.g. os:alice")


async def _enrol(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        voucher = _voucher(house) if _somebody(house) else None
        secret = await house.answer.enrol(HumanId(args.human), by=voucher or _operator(), vouched_by=voucher)
    finally:
        house.close()
    out.data({"human": args.human, "secret": secret})
    out.line(
        f"{safe(args.human)} can answer holds with this secret. It is shown once; keep it where no agent can read it:"
    )
    out.line()
    out.line(f"  {secret}")
    return Exit.OK


def _passkeys(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle)))
    try:
        approvers = house.policy.current().approvers
        people = [HumanId(args.human)] if args.human else sorted({*approvers.groups_of, *approvers.viewers})
        found = [key for person in people for key in house.store.passkeys(person)]
    finally:
        house.close()
    out.data(
        [
            {"passkey": key.id, "human": key.human, "name": key.name, "uses": key.uses, "added_at_ms": key.added_at_ms}
            for key in found
        ]
    )
    if not found:
        out.line("no passkeys; people add theirs in the console, on the page Account")
        return Exit.OK
    rows = [
        (safe(key.human, 60), safe(key.name, 60), key.id[:16], moment(key.added_at_ms), str(key.uses or "-"))
        for key in found
    ]
    out.table(("PERSON", "NAME", "PASSKEY", "ADDED", "USES"), rows)
    return Exit.OK


async def _forget(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.ports import Batch
    from lictor.service.people.passkeys import forgotten

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        voucher = _voucher(house)
        removed = [
            record
            for record in forgotten(house.store, HumanId(args.human), voucher)
            if record.passkey.startswith(args.passkey)
        ]
        if len(removed) != 1 and args.passkey:
            raise CallerError(
                Reason.PASSKEY_UNKNOWN,
                f"{len(removed)} passkeys of {args.human[:80]!r} begin with {args.passkey[:40]!r}",
                remedy="see: lictor approver passkeys",
            )
        await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=tuple(removed)))
    finally:
        house.close()
    out.data({"human": args.human, "forgotten": [record.passkey for record in removed], "by": voucher})
    out.line(f"{len(removed)} of {safe(args.human)}: good for nothing any more; sign-ins begun with them end")
    return Exit.OK


def _somebody(house: "House") -> bool:
    """Whether anybody can vouch: then nothing is free any more (ADR 0008)."""
    people = house.policy.current().approvers.groups_of
    return any(house.store.enrolled(person) or house.store.passkeys(person) for person in people)


def _voucher(house: "House") -> HumanId:
    from lictor.cli.holds import approver_secret
    from lictor.service.people.passkeys import check_vouches

    voucher = house.answer.authenticate(approver_secret())
    check_vouches(house.store, voucher)
    return voucher


def _operator() -> str:
    return f"os:{getpass.getuser()}"
