"""The writer of a SQLite log, with group commit: whatever arrived during the last sync is the next group.

No batch size to tune, and nobody who waits is kept waiting for company; only a patient batch is, for `PATIENCE_S` at most
(ADR 0006). A thread writes. One caller alone, while the disk is known to be quick, is served on its own event loop instead:
handing over and waking up would cost it more than the sync does. A loop waits for the disk that way for one commit at most;
it never waits for another process's transaction.

What a failure means: every waiter of the group gets `cannot_record`, so none of their actions runs. Nothing is ever tried again
by itself: after a failed sync only the caller knows whether it still wants to.

It refuses to know what records mean, and how a group gets on the disk (`scribe`).
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final

from lictor.lifecycle.reading import Changes
from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.stores.jobs import Job, settle, settle_here
from lictor.stores.known import KnownRows
from lictor.stores.right import Marks
from lictor.stores.scribe import Scribe
from lictor.stores.sqlite_schema import Log

MAX_GROUP: Final = 1024
"""Batches in one transaction: bounds what one failure takes down and how long the first waits for the last."""
PATIENCE_S: Final = 0.005
"""How long a patient batch waits for another to ride with: longer than an agent's next call takes to arrive, where every call
would otherwise wait for the sync of the outcome before it (ADR 0006)."""
SHORT_S: Final = 0.0015
"""A commit that took no longer is short: an event loop may stand still for one."""
SHORT_RUN: Final = 8
"""Short commits in a row after which the next may stop its caller's loop. A long one begins the count anew."""

_REMEDY: Final = "free space on the disk and check that the state folder can be written; nothing runs until then"


class Writer:
    """Takes jobs from any thread and settles their futures on their own loops. Its thread is started by the first job."""

    def __init__(self, log: Log, known: KnownRows, queue_limit: int) -> None:
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._scribe = Scribe(log, known, lambda: self._queue.put(None))
        self._limit = queue_limit
        self._tick: list[Job] = []
        self._patient: list[Job] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._sure = True
        self._put = 0
        self._taken = 0
        self._queued = 0
        self._served = 0
        self._short = 0
        self._seen = 0

    @property
    def waiting(self) -> int:
        """Records that wait for the disk."""
        return self._put - self._taken

    def marks(self) -> Marks:
        """Where it says whether a journal is in use (`right.JOURNAL`), ours or another process's, until `close`.

        Raises:
            OSError: it cannot be read.
        """
        return self._scribe.marks()

    def unwritten(self) -> Changes:
        """Rows of commits that are durable and not in the tables yet: nobody's but ours when this returns.

        Raises:
            StoreError: `cannot_record`: another process has some, and does not give way.
        """
        if self._scribe.behind_another:
            self.flush()
        return self._scribe.unwritten.changes

    def flush(self) -> None:
        """Everything that was acknowledged, by whichever process, is in the tables when this returns; from any thread.

        Raises:
            StoreError: `cannot_record`: it is still only in the journal.
        """
        scribe = self._scribe
        if not (scribe.unwritten.parts or scribe.behind_another):
            return
        with self._turn:
            self._tend(scribe.take_over)  # if it failed, that is mended first
            try:
                if scribe.unwritten.parts:
                    scribe.catch_up_or_end()
                scribe.heed()
            except (LictorError, sqlite3.Error, OSError) as error:
                self._scribe.drop()
                raise _cannot(error) from error

    def beside(self, work: Callable[[], bool]) -> bool:
        """Something rare that is written over a connection of its own, in our turn; from any thread.

        Raises:
            StoreError: `cannot_record`: another process keeps the log to itself.
            LictorError, OSError, sqlite3.Error: and what the work raises.
        """
        with self._turn:
            try:
                return self._scribe.beside(work)
            except BaseException:
                self._scribe.drop()
                raise

    def put(self, job: Job) -> None:
        """Take a job, from the thread of its loop.

        Raises:
            StoreError: `cannot_record`: closed; `overloaded`: too many records wait already.
        """
        count = len(job.entries)
        with self._lock:
            if self._closed:
                raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")
            if self._put - self._taken + count > self._limit:
                raise StoreError(
                    Reason.OVERLOADED, f"{self._limit} records wait for the disk", remedy="try again later"
                )
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lictor-records", daemon=True)
                self._thread.start()
            self._put += count
            if job.batch.patient:
                self._wait_for_company(job)
            elif self._short >= SHORT_RUN and self._queued == self._served and not self._scribe.due:
                self._wait_for_the_tick(job)
            else:
                self._hurry()
                self._enqueue(job)

    def _wait_for_company(self, job: Job) -> None:
        """Keep a patient job aside until another comes, or until its time is up."""
        first = not self._patient or self._patient[-1].loop is not job.loop  # a loop that has ended hurries nobody
        self._patient.append(job)
        if first:
            job.loop.call_later(PATIENCE_S, self._time_is_up)

    def _time_is_up(self) -> None:
        with self._lock:
            self._hurry()

    def _wait_for_the_tick(self, job: Job) -> None:
        """Find out who else comes in this turn of the loop: a group is for the thread, a single one for `_serve`."""
        if self._tick and self._tick[-1].loop is not job.loop:
            self._hurry()  # of a loop that has ended, or of another thread's: not ours to serve
            self._enqueue(job)
            return
        if not self._tick:
            job.loop.call_soon(self._serve)
        self._tick += self._patient
        self._patient = []
        self._tick.append(job)

    def _hurry(self) -> None:
        """Queue what was kept aside, in order; called with the lock."""
        waiting, self._tick, self._patient = self._tick + self._patient, [], []
        for job in waiting:
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        self._queued += 1
        self._queue.put(job)

    def close(self) -> bool:
        """Write what waits, then end the thread. Idempotent. False: see `Scribe.close`."""
        with self._lock:
            closed, self._closed = self._closed, True
            self._hurry()
        if closed:
            return self._sure
        if self._thread is None:
            self._sure = self._scribe.close()
        else:
            self._queue.put(None)
            self._thread.join()
        return self._sure

    # -- on the loop of the only caller ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Commit what came in this turn: here if that is one batch for which somebody waits, else in the thread."""
        with self._lock:
            jobs = self._tick
            if not jobs or jobs[-1].loop is not asyncio.get_running_loop():
                return  # queued meanwhile, and another loop's turn has begun
            # A loop must not open a file and read it either, so the connection is there already.
            alone = sum(not job.batch.patient for job in jobs) == 1 and self._queued == self._served
            if not alone or self._scribe.connection is None or not self._turn.acquire(blocking=False):
                self._hurry()
                return
            self._tick = []
        # New jobs of this loop come after us; those of other loops queue for the thread, which waits for its turn.
        before = self._scribe.patience_s
        try:
            done = self._commit(jobs, wait=False)
            self._tend(self._scribe.hand_over)
        except BaseException:
            settle_here(jobs)
            raise
        finally:
            self._turn.release()
        with self._lock:
            if not done:  # another process writes: only the thread may wait for it. They stay in front.
                self._tick = jobs + self._tick
                self._hurry()
                return
            self._taken += sum(len(job.entries) for job in jobs)
            if self._scribe.patience_s != before or self._scribe.due:
                # The thread has to look for a quiet moment from now on, or to do something at once.
                self._queue.put(None)
        settle_here(jobs)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            jobs, running = self._next()
            if jobs:
                with self._turn:
                    self._commit(jobs, wait=True)
                    self._taken_by_thread(jobs)
                settle(jobs)  # not in our turn: who wakes up alone takes the next
            if self._scribe.due or self._scribe.journaling:
                with self._turn:
                    self._tend(self._scribe.after)
        with self._turn:
            self._sure = self._scribe.close()

    def _tend(self, what: Callable[[], None]) -> None:
        """In our turn, what nobody waits for. Where it fails, what is acknowledged stays; the next group finds out why."""
        try:
            what()
        except (LictorError, sqlite3.Error, OSError):
            self._scribe.drop()

    def _taken_by_thread(self, jobs: list[Job]) -> None:
        with self._lock:
            self._served += len(jobs)
            self._taken += sum(len(job.entries) for job in jobs)

    def _next(self) -> tuple[list[Job], bool]:
        """The jobs that wait; and whether more may come. None in the queue says: look up."""
        jobs: list[Job] = []
        try:
            job = self._queue.get(timeout=self._scribe.patience_s)
        except Empty:
            quiet, self._seen = self._put == self._seen, self._put
            if quiet:  # nor has anybody been served on its own loop meanwhile
                with self._turn:
                    self._tend(self._scribe.rest)
            return jobs, True
        while job is not None:
            jobs.append(job)
            if len(jobs) == MAX_GROUP:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, not (self._closed and self._queue.empty())

    # -- in turn, on either --------------------------------------------------------------------------------------------

    def _commit(self, jobs: list[Job], *, wait: bool) -> bool:
        """Give every job its outcome. False: another process writes, and it was not to be waited for; nothing happened."""
        start = time.perf_counter()
        short = False
        try:
            if not self._scribe.record(jobs, wait=wait):
                return False
            short = time.perf_counter() - start <= SHORT_S
        except (LictorError, sqlite3.Error, OSError) as error:
            self._fail(jobs, _cannot(error), error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must reach the waiters, not end the thread
            message = f"defect while recording: {type(error).__name__}: {str(error)!r:.160}"
            self._fail(jobs, StoreError(Reason.CANNOT_RECORD, message), error)
        except (
            BaseException
        ) as error:  # an interrupt on the loop's thread: the next group must not find us in a transaction
            self._fail(jobs, StoreError(Reason.CANNOT_RECORD, "interrupted while recording"), error)
            raise
        self._short = self._short + 1 if short else 0
        return True

    def _fail(self, jobs: list[Job], error: LictorError, cause: BaseException) -> None:
        if error is not cause:
            error.__cause__ = cause
        for job in jobs:
            job.outcome = error
        self._scribe.drop()


def _cannot(error: Exception) -> LictorError:
    """What a waiter is told."""
    if isinstance(error, LictorError):
        return error
    return StoreError(Reason.CANNOT_RECORD, f"cannot record: {error}", remedy=_REMEDY)
