"""Outcomes on their way into the log. Nobody waits for one, and none is given up while the process lives.

One queue, one task: what comes in while a commit is under way makes one batch, and that batch is patient, so it rides with the
next decision. A commit that fails is tried again until it is durable. What is left when `drain` gives up stays `started`, is
named to the caller, and recovery makes it *indeterminate* (ADR 0005); so does whatever a crash leaves.

It refuses to know what an outcome means. A life cycle's refusal is final: the execution never started, or somebody else has
ended it.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from lictor.model.errors import ConflictError
from lictor.model.record import Record
from lictor.ports import Batch, Clock, RecordStore

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 2.0
"""Pauses between tries double from the first to the last: a full disk is not mended by asking faster."""
DRAIN_S: Final = 5.0
"""How long a shutdown waits for a store that refuses: somebody else may need the process gone."""
MAX_LOT: Final = 256
"""Outcomes in one batch: bounds what one refusal sends round again."""

Unit = tuple[Record, ...]
"""Records that belong together: durable together or not at all."""


class Outcomes:
    """The queue. For one event loop at a time."""

    def __init__(self, *, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._fresh: list[Unit] = []
        self._late: list[Unit] = []
        self._sending: list[Unit] = []
        self._task: asyncio.Task[None] | None = None
        self._bell: asyncio.Future[None] | None = None
        self._quiet: asyncio.Future[None] | None = None
        self._retry_at = 0.0
        self._pause = FIRST_RETRY_S

    def put(self, *records: Record) -> None:
        """Record these together, soon, and again until it has worked. Called on the event loop."""
        self._fresh.append(records)
        self._ring()

    @property
    def waiting(self) -> int:
        """How many are not durable yet."""
        return len(self._sending) + len(self._late) + len(self._fresh)

    async def drain(self, within_s: float = DRAIN_S) -> Sequence[Unit]:
        """Wait until everything is durable.

        Args:
            within_s: seconds after which it is given up for this time.

        Returns:
            What is not: `started` until it is tried again or recovery says *indeterminate*. Usually empty.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + within_s
        while self.waiting and (left := give_up - loop.time()) > 0:
            self._retry_at = 0.0
            self._ring()
            self._quiet = loop.create_future()
            await asyncio.wait((self._quiet,), timeout=min(left, FIRST_RETRY_S))
        if not self.waiting and self._task is not None:
            self._task.cancel()
            self._task = None
        return [*self._sending, *self._late, *self._fresh]

    def _ring(self) -> None:
        bell, task = self._bell, self._task
        loop = asyncio.get_running_loop()
        if task is None or task.done() or task.get_loop() is not loop:
            # The last one ended with its loop: what it was sending may be durable, and then a second try is refused.
            self._late, self._sending = self._sending + self._late, []
            self._task = loop.create_task(self._run())
        elif bell is not None and not bell.done():
            bell.set_result(None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if self._fresh:
                self._sending, self._fresh = self._fresh[:MAX_LOT], self._fresh[MAX_LOT:]
                await self._send_together()
            elif self._late and loop.time() >= self._retry_at:
                self._sending, self._late = self._late[:MAX_LOT], self._late[MAX_LOT:]
                await self._send_apart()
            else:
                if self._quiet is not None and not self._quiet.done() and not self.waiting:
                    self._quiet.set_result(None)
                self._bell = bell = loop.create_future()
                timer = loop.call_at(self._retry_at, _ring, bell) if self._late else None
                await bell
                if timer is not None:
                    timer.cancel()

    async def _send_together(self) -> None:
        lot = self._sending
        try:
            await self._commit(lot[0] if len(lot) == 1 else tuple(record for unit in lot for record in unit))
        except ConflictError:  # of one of them; which one, is found by asking for each
            if len(lot) > 1:
                await self._send_apart()
                return
        except Exception:  # noqa: BLE001 - whatever it is, the outcome is known and must not be lost
            self._later(lot)
        self._sending = []

    async def _send_apart(self) -> None:
        """Each for itself, so that one that can never be written does not keep the others."""
        lot = self._sending
        results = await asyncio.gather(*(self._commit(unit) for unit in lot), return_exceptions=True)
        failed = [
            unit
            for unit, result in zip(lot, results, strict=True)
            if isinstance(result, BaseException) and not isinstance(result, ConflictError)
        ]
        if failed:
            self._later(failed)
        else:
            self._pause = FIRST_RETRY_S
        self._sending = []

    def _later(self, units: list[Unit]) -> None:
        self._late += units
        self._retry_at = asyncio.get_running_loop().time() + self._pause
        self._pause = min(2 * self._pause, LAST_RETRY_S)

    async def _commit(self, records: Unit) -> None:
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=records, patient=True))


def _ring(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)
