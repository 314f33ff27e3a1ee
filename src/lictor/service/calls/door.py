"""What the strict door turned away is written down too: digest and length, reason and place. Never the bytes."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from lictor.model.canonical import sha256_digest
from lictor.model.errors import LictorError
from lictor.model.ids import TaskId
from lictor.model.record import IdentityClaimed, RequestRefused
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.calls.wordless import place

MAX_CLAIMS: Final = 8
"""Claims of one task that are written down: enough to see that somebody tries, too few to fill a log with."""
MAX_TASKS: Final = 10_000
_MAX_TEXT: Final = 200


async def record_refusal(
    store: RecordStore, clock: Clock, task: TaskId, body: bytes, error: LictorError, words: Collection[str] = ()
) -> None:
    """Record one refusal of an authenticated caller's bytes.

    Args:
        words: names of arguments that may be told (`Pdp.words`).

    Raises:
        StoreError: it cannot be recorded; the caller is told so instead of the refusal.
    """
    record = RequestRefused(
        task=task,
        reason=error.reason.value,
        where=place(error.where, words)[:_MAX_TEXT],
        size=len(body),
        digest=sha256_digest(body),
    )
    await store.commit(Batch(at_ms=clock.now_ms(), records=(record,)))


class Claims:
    """What headers say of their sender, written down as what it is: untrusted. Each once a task and process."""

    def __init__(self, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: set[tuple[TaskId, bytes, bytes]] = set()
        self._counts: Counter[TaskId] = Counter()

    async def noted(self, task: TaskId, raw: Iterable[tuple[bytes, bytes]], names: Collection[bytes]) -> None:
        """Record claims not seen before.

        Raises:
            StoreError: it cannot be recorded.
        """
        for name, value in raw:
            if name not in names or (task, name, value) in self._seen or self._counts[task] >= MAX_CLAIMS:
                continue
            record = IdentityClaimed(
                task=task, header=name.decode("latin-1"), claimed=value.decode("latin-1")[:_MAX_TEXT]
            )
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
            if len(self._counts) >= MAX_TASKS:
                self._counts.clear()
                self._seen.clear()
            self._seen.add((task, name, value))
            self._counts[task] += 1
