"""`lictor leases`: the credentials on loan, those whose revocation is still pending, and a way to end one."""

import argparse
import asyncio
import getpass
from collections.abc import Sequence

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, moment, safe
from lictor.model.errors import CallerError
from lictor.model.ids import LeaseId
from lictor.model.lease import Lease, LeaseStatus
from lictor.model.reasons import Reason


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.add_argument("--all", action="store_true", help="also those that are over")
    parser.set_defaults(run=_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    ending = actions.add_parser("revoke", help="end a lease; the gateway that holds it revokes it within a second")
    common(ending)
    ending.add_argument("id", help="lease_…")
    ending.add_argument("--why", default="", help="for the record")
    ending.set_defaults(run=lambda args: asyncio.run(_revoke(args)))


def _list(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        leases = house.store.leases(live_only=not args.all)
        now = house.clock.now_ms()
    finally:
        house.close()
    show(Out(as_json=args.json), leases, now)
    return Exit.OK


def show(out: Out, leases: Sequence[Lease], now_ms: int) -> None:
    """One line each; pending revocations in colour, with what the provider said."""
    out.data([as_data(lease) for lease in leases])
    if not leases:
        out.line("nothing is on loan")
        return
    rows = [
        (
            lease.id,
            safe(f"{lease.server}/{lease.credential}"),
            lease.status.value,
            safe(lease.agent),
            lease.task,
            f"{max(0, lease.expires_at_ms - now_ms) // 1_000} s",
            safe(f"{lease.attempts} tries in vain: {lease.why}" if lease.attempts else lease.why),
        )
        for lease in leases
    ]
    out.table(("ID", "CREDENTIAL", "STATE", "AGENT", "TASK", "LEFT", "WHY"), rows)
    pending = sum(lease.status is LeaseStatus.REVOKING for lease in leases)
    if pending:
        out.line(
            out.warm(f"{pending} not revoked yet; each is tried until its provider confirms, or its own life is over")
        )


def as_data(lease: Lease) -> dict[str, object]:
    """For programs. A handle is a name at the provider, and no secret."""
    return {
        "lease": lease.id,
        "server": lease.server,
        "credential": lease.credential,
        "destination": lease.destination,
        "provider": lease.provider,
        "agent": lease.agent,
        "human": lease.human,
        "task": lease.task,
        "execution": lease.execution,
        "status": lease.status.value,
        "asked_at": moment(lease.asked_at_ms),
        "expires_at": moment(lease.expires_at_ms),
        "handle": lease.handle,
        "attempts": lease.attempts,
        "why": lease.why,
    }


async def _revoke(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house
    from lictor.model.record import LeaseEnding
    from lictor.ports import Batch

    out = Out(as_json=args.json)
    house = await open_house(bundle_path(args.bundle), load=False)
    try:
        lease = house.store.lease(LeaseId(args.id))
        if lease is None:
            raise CallerError(Reason.CONFLICT, f"there is no lease {args.id[:80]!r}", remedy="see: lictor leases")
        why = f"{args.why or 'revoked by hand'} (os:{getpass.getuser()})"
        record = LeaseEnding(lease=lease.id, why=why[:200])
        await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=(record,)))
    finally:
        house.close()
    out.data({"lease": lease.id, "status": LeaseStatus.REVOKING.value})
    out.line(f"{lease.id} is used no more; see it end with: lictor leases")
    return Exit.OK
