"""`lictor application`: give a program of `applications.toml` the secret it opens tasks with, and list them."""

import argparse
import asyncio
import getpass

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    enrolling = actions.add_parser("enrol", help="print a fresh secret, once; the old one stops working")
    common(enrolling)
    enrolling.add_argument("name", help="an application of applications.toml")
    enrolling.set_defaults(run=lambda args: asyncio.run(_enrol(args)))
    listing = actions.add_parser("list", help="the applications of the bundle")
    common(listing)
    listing.set_defaults(run=_list)


async def _enrol(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.cli.holds import approver_secret

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle))
    try:
        house.applications.standing(args.name)
        people = house.policy.current().approvers.groups_of
        vouched = None
        if any(house.store.enrolled(person) for person in people):
            vouched = house.answer.authenticate(approver_secret())
        operator = vouched or f"os:{getpass.getuser()}"
        secret = await house.applications.enrol(args.name, by=operator, vouched_by=vouched)
    finally:
        house.close()
    out.data({"application": args.name, "secret": secret})
    out.line(f"{safe(args.name)} opens tasks with this secret. It is shown once; keep it where no agent can read it:")
    out.line()
    out.line(f"  {secret}")
    return Exit.OK


def _list(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle)))
    try:
        found = sorted(house.policy.current().applications.values(), key=lambda one: one.name)
        now = house.clock.now_ms()
        enrolled = {one.name for one in found if house.store.application_enrolled(one.name)}
    finally:
        house.close()
    out.data(
        [
            {
                "application": one.name,
                "owner": one.owner,
                "groups": list(one.groups),
                "review_by_ms": one.review_by_ms,
                "overdue": now >= one.review_by_ms,
                "secret": one.name in enrolled,
                "proofs": len(one.proofs),
            }
            for one in found
        ]
    )
    if not found:
        out.line("applications.toml names no application; see docs/how-to/open-tasks.md")
        return Exit.OK
    rows = [
        (one.name, safe(one.owner), ",".join(one.groups), moment(one.review_by_ms - 1)[:10],
         "overdue" if now >= one.review_by_ms else "yes" if one.name in enrolled or one.proofs else "no credential yet")
        for one in found
    ]  # fmt: skip
    out.table(("APPLICATION", "OWNER", "GROUPS", "REVIEW BY", "CAN OPEN TASKS"), rows)
    return Exit.OK
