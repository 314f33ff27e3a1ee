"""The fault layer: a record store and a policy engine that fail on command, between the real ones and the gateway."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted, HoldOpened
from lictor.pdp.decide import Pdp
from lictor.ports import Batch, Receipt

FAULTS = frozenset({"db_down", "db_readonly", "ENOSPC", "approval_down"})
"""What can be broken in the store. `approval_down`: what holds need cannot be written; there is no other approval service."""


@dataclass(slots=True)
class FaultyStore:
    """A `RecordStore` in front of another one."""

    inner: Any
    fault: str = ""
    before: Callable[[Batch], None] | None = None
    """Called before a commit; raises what a lost connection raises."""
    after: Callable[[Batch], None] | None = None
    """Called after the commit is durable: its answer is lost."""
    refused: list[Batch] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        if self.fault == "db_down" and name != "close":
            raise StoreError(Reason.CANNOT_RECORD, "the record store cannot be reached")
        return getattr(self.inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """The inner store's, unless it is broken."""
        if self._breaks(batch):
            self.refused.append(batch)
            raise StoreError(Reason.CANNOT_RECORD, f"cannot record: {self.fault}")
        if self.before is not None:
            self.before(batch)
        receipt: Receipt = await self.inner.commit(batch)
        if self.after is not None:
            self.after(batch)
        return receipt

    def _breaks(self, batch: Batch) -> bool:
        if self.fault == "approval_down":
            return any(isinstance(record, HoldOpened) for record in batch.records)
        return self.fault in FAULTS


def starts(batch: Batch) -> bool:
    """Whether a batch begins an execution: the commit that redeems an approval."""
    return any(isinstance(record, ExecutionStarted) for record in batch.records)


@dataclass(frozen=True, slots=True)
class TimedOutEngine:
    """An engine that never answers in time."""

    inner: Any

    def evaluate(self, *_: Any) -> Any:
        raise TimeoutError("the policy decision point did not answer within 200 ms")

    for_all = evaluate

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def without_answers(pdp: Pdp) -> Pdp:
    """The same policy behind an engine that times out."""

    return replace(pdp, engine=TimedOutEngine(pdp.engine))
