"""`lictor serve`, right or wrong on purpose: `python gateway.py BUNDLE [MUTANT]`. A yardstick that passes a wrong one measures nothing.

* `not_consumed`: an approval is not spent by what it was for.
* `records_later`: an effect may come before the record that it starts.
* `unheld`: what needs people runs without them.
* `unsealed`: what was approved is decided on, and what came with the retry is sent.
* `denial_forgotten`: a no is recorded, and taken for a yes.
* `never_late`: an approval does not expire.
* `deaf`: a kill stops nothing.
* `lost_is_done`: an outcome that nobody knows is taken for done.
* `uncounted`: what has happened counts for nothing.
* `unheard`: that a call is cancelled or its time is up is told to nobody.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lictor.cli.main import main

MUTANTS: dict[str, Callable[[], None]] = {}


def mutant(apply: Callable[[], None]) -> Callable[[], None]:
    """Name a mutant."""
    MUTANTS[apply.__name__] = apply
    return apply


@mutant
def not_consumed() -> None:
    from lictor.lifecycle import approvals

    approvals.consumed = lambda read, record, at_ms: {}


@mutant
def records_later() -> None:
    from crash.mutants import RecordsLater
    from lictor.service.calls import authorize

    right = authorize.Authorize.__init__

    def wrong(self: Any, *, store: Any, **rest: Any) -> None:
        right(self, store=RecordsLater(store, later_s=0.02), **rest)

    authorize.Authorize.__init__ = wrong  # type: ignore[method-assign]


@mutant
def unheld() -> None:
    from lictor.model.decision import Allow, NeedsApproval
    from lictor.service.calls import deciding

    right = deciding.decide

    def wrong(*said: Any, **named: Any) -> Any:
        decision = right(*said, **named)
        if not isinstance(decision, NeedsApproval):
            return decision
        about = {name: getattr(decision, name) for name in ("request", "snapshot", "revision", "reason", "policies")}
        return Allow(**about)

    deciding.decide = wrong


@mutant
def unsealed() -> None:
    from lictor.model.approval import HoldStatus
    from lictor.pep.mcp.state import StateSeal
    from lictor.service.calls import authorize
    from lictor.service.calls.requests import held_request

    right, opened = authorize.Authorize.__call__, StateSeal._decrypt

    def unbound(self: Any, text: object, *, task: Any, digest: Any, now_ms: int) -> Any:
        return opened(self, text)

    StateSeal.open = unbound  # type: ignore[method-assign]

    async def wrong(self: Any, request: Any, *, hint: Any = None, **rest: Any) -> Any:
        hold = self._store.hold(hint) if hint is not None else None
        if hold is None or hold.status is not HoldStatus.APPROVED:
            return await right(self, request, hint=hint, **rest)
        held = msgspec.structs.replace(held_request(self._store, hold), id=request.id)
        outcome = await right(self, held, hint=hint, **rest)
        if isinstance(outcome, authorize.Granted):
            outcome.grant.request = msgspec.structs.replace(held, arguments=request.arguments)
        return outcome

    authorize.Authorize.__call__ = wrong  # type: ignore[method-assign]


@mutant
def denial_forgotten() -> None:
    from lictor.lifecycle import approvals
    from lictor.model.approval import Approval, HoldStatus, seal_of
    from lictor.model.ids import ApprovalId, HumanId

    right = approvals.ended

    def wrong(read: Any, hold_id: str, event: str, at_ms: int, **rest: Any) -> Any:
        if event != "deny":
            return right(read, hold_id, event, at_ms, **rest)
        hold = approvals.hold_of(read, hold_id)
        yes = Approval(
            id=ApprovalId("apr_wrong"), hold=hold.id, digest=hold.digest, approver=HumanId(rest["by"]), groups=hold.ways[0].groups,
            given_at_ms=at_ms, expires_at_ms=at_ms + 600_000, seal=seal_of(hold),
        )  # fmt: skip
        row = approvals._hold_row(msgspec.structs.replace(hold, status=HoldStatus.APPROVED, approval=yes, given=(yes,)))
        return {row.key: row}

    approvals.ended = wrong


@mutant
def never_late() -> None:
    from lictor.lifecycle import approvals
    from lictor.service.calls.gather import Gather

    consume, gather = approvals.consumed, Gather.__call__

    def wrong(*said: Any) -> Any:
        snapshot = gather(*said)
        if snapshot.approval is None:
            return snapshot
        later = msgspec.structs.replace(snapshot.approval, expires_at_ms=snapshot.at_ms + 600_000)
        return msgspec.structs.replace(snapshot, approval=later)

    Gather.__call__ = wrong  # type: ignore[method-assign]
    approvals.consumed = lambda read, record, at_ms: consume(read, record, 0)


@mutant
def deaf() -> None:
    from lictor.stores import probe
    from lictor.stores.state import StateReads

    probe.in_force = lambda read: ()
    StateReads.containments = lambda self: ()  # type: ignore[method-assign]


@mutant
def lost_is_done() -> None:
    from lictor.service.calls import execute

    right = execute.ExecutionEnded

    def wrong(*, outcome: str, **rest: Any) -> Any:
        return right(outcome="executed" if outcome == "indeterminate" else outcome, **rest)

    execute.ExecutionEnded = wrong  # type: ignore[assignment, misc]


@mutant
def uncounted() -> None:
    from lictor.service.calls import authorize

    authorize.moves_after = lambda *_: ()


@mutant
def unheard() -> None:
    from lictor.pep.mcp.upstream import stdio

    stdio.CANCELLED = "notifications/forgotten"  # type: ignore[misc]


def end_with(parent: int) -> None:
    """End when whoever started us is gone, however they ended: then this input ends."""
    os.read(parent, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    folder, *chosen = sys.argv[1:]
    sys.path.insert(0, str(Path(__file__).parents[1]))
    for name in chosen:
        MUTANTS[name]()
    sys.exit(main(["serve", "--bundle", folder]))
