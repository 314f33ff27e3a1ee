"""Gateways that are wrong on purpose: each must be caught by the check that a right one passes.

* `record_after_effect`: the commit that starts an execution is told before it is done, so the effect comes first.
* `check_then_mark`: the approval is looked at when facts are gathered, and not again when it is spent.
* `rerun`: recovery sends again what was open.
* `lost_is_failed`: recovery takes an outcome nobody knows for a failure.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from lictor.lifecycle import approvals
from lictor.lifecycle.fold import Changes, Read
from lictor.lifecycle.rows import Row, live_key
from lictor.model.approval import HoldStatus
from lictor.model.ids import InstanceId
from lictor.model.record import ExecutionEnded, ExecutionStarted
from lictor.ports import Batch, Clock, Receipt
from lictor.service.containment.recover import recover

MUTANTS = ("record_after_effect", "check_then_mark", "rerun", "lost_is_failed")
Dead = Callable[[Iterable[InstanceId]], Iterable[InstanceId]]


class RecordsLater:
    """`record_after_effect`: a receipt at once, the commit a moment later."""

    def __init__(self, inner: Any, later_s: float = 0.002) -> None:
        self._inner = inner
        self._later_s = later_s
        self._later: set[asyncio.Task[Receipt]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """Commit, or say so."""
        if not any(isinstance(record, ExecutionStarted) for record in batch.records):
            return await self._inner.commit(batch)
        task = asyncio.get_running_loop().create_task(self._after(batch))
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        await asyncio.sleep(0)
        return Receipt(0, 1)

    async def _after(self, batch: Batch) -> Receipt:
        await asyncio.sleep(self._later_s)
        return await self._inner.commit(batch)


def check_then_mark() -> Callable[[], None]:
    """Take the check out of the fold that spends an approval; returns what puts it back."""

    def mark(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
        hold = approvals.hold_of(read, record.hold or "")
        row: Row = approvals._hold_row(msgspec.structs.replace(hold, status=HoldStatus.CONSUMED))
        return {row.key: row, live_key(hold.task, hold.digest): None}

    right, approvals.consumed = approvals.consumed, mark

    def undo() -> None:
        approvals.consumed = right

    return undo


async def recover_wrongly(
    mutant: str, store: Any, clock: Clock, dead: Dead, effect: Callable[[str], None]
) -> list[Any]:
    """`recover` of a mutant (of the right build, if the mutant's fault is elsewhere)."""
    if mutant not in {"rerun", "lost_is_failed"}:
        return await recover(store, clock, dead)
    started = store.open_executions()
    gone = set(dead({one.instance for one in started}))
    marked = [one for one in started if one.instance in gone]
    for one in marked:
        if mutant == "rerun":
            effect(one.execution)
        outcome = "executed" if mutant == "rerun" else "failed"
        ended = ExecutionEnded(execution=one.execution, outcome=outcome)
        await store.commit(Batch(at_ms=clock.now_ms(), records=(ended,)))
    return marked
