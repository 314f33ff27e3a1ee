"""The one thread that writes a SQLite log, with group commit: whatever arrived during the last sync is the next group.

No batch size to tune, and nobody who waits is kept waiting for company; only a patient batch is, for `PATIENCE_S` at most
(ADR 0006). What a failure means: every waiter of the group gets `cannot_record`, so none of their actions
runs; the connection is thrown away, and the next group reads the head anew before it writes. Nothing is ever tried again by
itself: after a failed sync only the caller knows whether it still wants to.

It refuses to know what records mean.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Final

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Batch, Receipt
from lictor.stores.group import Cache, Group
from lictor.stores.sqlite_schema import Log, check, connect

MAX_GROUP: Final = 1024
"""Batches in one transaction: bounds what one failure takes down and how long the first waits for the last."""
CHECKPOINT_IDLE: Final = 16 * 1024 * 1024
"""Bytes in the write-ahead log from which an idle moment is used to move them into the file."""
CHECKPOINT_BUSY: Final = 64 * 1024 * 1024
"""... and from which they are moved although somebody waits."""
PATIENCE_S: Final = 0.005
"""How long a patient batch waits for another to ride with: longer than an agent's next call takes to arrive, where every call
would otherwise wait for the sync of the outcome before it (ADR 0006)."""

_REMEDY: Final = "free space on the disk and check that the state folder can be written; nothing runs until then"


class Job:
    """A batch and who waits for it."""

    __slots__ = ("batch", "entries", "future", "loop", "outcome")

    def __init__(self, batch: Batch, entries: list[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self.batch = batch
        self.entries = entries
        self.loop = loop
        self.future: asyncio.Future[Receipt] = loop.create_future()
        self.outcome: Receipt | LictorError | None = None


class Writer:
    """Takes jobs from any thread and settles their futures on their own loops. Started by the first job."""

    def __init__(self, log: Log, queue_limit: int) -> None:
        self._log = log
        self._limit = queue_limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._patient: list[Job] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._put = 0
        self._taken = 0
        self._connection: sqlite3.Connection | None = None
        self._cache = Cache()
        self._unmoved = 0

    def put(self, job: Job) -> None:
        """Queue a job.

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
            else:
                self._hurry()
                self._queue.put(job)

    def _wait_for_company(self, job: Job) -> None:
        """Keep a patient job aside until another comes, or until its time is up."""
        first = not self._patient or self._patient[-1].loop is not job.loop  # a loop that has ended hurries nobody
        self._patient.append(job)
        if first:
            job.loop.call_later(PATIENCE_S, self._time_is_up)

    def _time_is_up(self) -> None:
        with self._lock:
            self._hurry()

    def _hurry(self) -> None:
        """Queue what was kept aside, in order; called with the lock."""
        waiting, self._patient = self._patient, []
        for job in waiting:
            self._queue.put(job)

    def close(self) -> None:
        """Write what waits, then end the thread. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, True
            self._hurry()
        if not closed and self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            jobs, running = self._next()
            if jobs:
                self._commit(jobs)
                self._taken += sum(len(job.entries) for job in jobs)
                _settle(jobs)
                self._move()
        self._drop()

    def _next(self) -> tuple[list[Job], bool]:
        """The jobs that wait, at least one; and whether more may come."""
        jobs: list[Job] = []
        job = self._queue.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == MAX_GROUP:
                return jobs, True
            try:
                job = self._queue.get_nowait()
            except Empty:
                return jobs, True
        return jobs, False

    def _commit(self, jobs: list[Job]) -> None:
        """Give every job its outcome."""
        try:
            self._transaction(jobs)
        except LictorError as error:
            self._fail(jobs, error)
        except (sqlite3.Error, OSError) as error:
            self._fail(jobs, StoreError(Reason.CANNOT_RECORD, f"cannot record: {error}", remedy=_REMEDY), error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must reach the waiters, not end the thread
            message = f"defect while recording: {type(error).__name__}: {str(error)!r:.160}"
            self._fail(jobs, StoreError(Reason.CANNOT_RECORD, message), error)

    def _transaction(self, jobs: list[Job]) -> None:
        connection = self._connection or self._open()
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        self._cache.refresh(cursor)
        group = Group(cursor, self._cache, self._log)
        for job in jobs:
            try:
                job.outcome = group.add(job.batch, job.entries)
            except LictorError as error:  # this batch alone is refused
                job.outcome = error
        if group.empty:
            cursor.execute("ROLLBACK")
            self._cache.version = None  # a task key that was made for nothing must not be used
            return
        group.write()
        cursor.execute("COMMIT")
        group.committed()
        self._unmoved += group.written

    def _open(self) -> sqlite3.Connection:
        """A connection whose log was checked: it may have changed, or been damaged, since the last one was dropped."""
        connection = connect(self._log.path)
        try:
            check(connection, self._log)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _fail(self, jobs: list[Job], error: LictorError, cause: BaseException | None = None) -> None:
        error.__cause__ = cause
        for job in jobs:
            job.outcome = error
        self._drop()

    def _drop(self) -> None:
        """Close the connection; an open transaction is rolled back with it, and the next group starts from what is on disk."""
        connection, self._connection, self._cache = self._connection, None, Cache()
        if connection is None:
            return
        try:
            # A traceback may keep a statement, and a statement keeps a closed connection alive, its write lock with it: then
            # every later group finds the log locked. So the transaction is ended here, not by `close`.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:  # nothing can be said to anybody; the next group opens anew or fails
            return
        finally:
            _close(connection)

    def _move(self) -> None:
        """Move the write-ahead log into the file, preferably while nobody waits: it costs two syncs (facts 6, "the tail")."""
        idle = self._queue.empty()
        if self._connection is None or self._unmoved < (CHECKPOINT_IDLE if idle else CHECKPOINT_BUSY):
            return
        self._unmoved = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._drop()  # what was acknowledged is in the write-ahead log; the next group finds out what is wrong


def _settle(jobs: Sequence[Job]) -> None:
    """Wake the waiters: one call for each loop. A waiter that has gone changes nothing: its records stay."""
    loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        loops.setdefault(job.loop, []).append(job)
    for loop, own in loops.items():
        try:
            loop.call_soon_threadsafe(_wake, own)
        except RuntimeError:  # the loop is closed, and with it everybody who could have waited
            continue


def _close(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error:
        return


def _wake(jobs: list[Job]) -> None:
    for job in jobs:
        future, outcome = job.future, job.outcome
        if future.done():
            continue
        if isinstance(outcome, Receipt):
            future.set_result(outcome)
        else:
            future.set_exception(outcome or StoreError(Reason.CANNOT_RECORD, "the writer gave no answer"))
