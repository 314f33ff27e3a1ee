"""A batch on its way through the writer, and how those who wait for it are woken, each on its own event loop.

It refuses to know how anything is written.
"""

import asyncio
from collections.abc import Sequence

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Batch, Receipt


class Job:
    """A batch and who waits for it."""

    __slots__ = ("batch", "entries", "future", "loop", "outcome")

    def __init__(self, batch: Batch, entries: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.entries = entries
        self.loop = loop
        self.future: asyncio.Future[Receipt] = loop.create_future()
        self.outcome: Receipt | LictorError | None = None


def settle_here(jobs: list[Job]) -> None:
    """Wake the waiters from their own loop; a patient one may be of another."""
    here = jobs[-1].loop
    _wake([job for job in jobs if job.loop is here])
    settle([job for job in jobs if job.loop is not here])


def settle(jobs: Sequence[Job]) -> None:
    """Wake the waiters: one call for each loop. A waiter that has gone changes nothing: its records stay."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, own in loops.items():
        try:
            loop.call_soon_threadsafe(_wake, own)
        except RuntimeError:  # the loop is closed, and with it everybody who could have waited
            continue


def _wake(jobs: list[Job]) -> None:
    for job in jobs:
        future, outcome = job.future, job.outcome
        if future.done():
            continue
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        else:
            future.set_exception(outcome or StoreError(Reason.CANNOT_RECORD, "the writer gave no answer"))
