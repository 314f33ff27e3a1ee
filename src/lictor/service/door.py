"""What the strict door turned away is written down too: digest and length, reason and place. Never the bytes."""

from lictor.model.canonical import sha256_digest
from lictor.model.errors import LictorError
from lictor.model.ids import TaskId
from lictor.model.record import RequestRefused
from lictor.ports import Batch, Clock, RecordStore


async def record_refusal(store: RecordStore, clock: Clock, task: TaskId, body: bytes, error: LictorError) -> None:
    """Record one refusal of an authenticated caller's bytes.

    Raises:
        StoreError: it cannot be recorded; the caller is told so instead of the refusal.
    """
    record = RequestRefused(
        task=task, reason=error.reason.value, where=error.where[:200], size=len(body), digest=sha256_digest(body)
    )
    await store.commit(Batch(at_ms=clock.now_ms(), records=(record,)))
