"""The writer of a SQLite log, with group commit: whatever arrived during the last sync is the next group.

No batch size to tune, and nobody who waits is kept waiting for company; only a patient batch is, for `PATIENCE_S` at most
(ADR 0006). A thread writes. One caller alone, while the disk is known to be quick, is served on its own event loop instead:
handing over and waking up would cost it more than the sync does. A loop waits for the disk that way for one commit at most;
it never waits for another process's transaction.

What a failure means: every waiter of the group gets `cannot_record`, so none of their actions runs; the connection is thrown
away, and the next group reads the head anew before it writes. Nothing is ever tried again by itself: after a failed sync only
the caller knows whether it still wants to.

It refuses to know what records mean.
"""

import asyncio
import sqlite3
import threading
import time
from queue import Empty, SimpleQueue
from typing import Final

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.stores import sqlite_schema
from lictor.stores.group import Cache, Group
from lictor.stores.jobs import Job, settle, settle_here
from lictor.stores.known import KnownRows
from lictor.stores.sqlite_schema import Log, check, connect

MAX_GROUP: Final = 1024
"""Batches in one transaction: bounds what one failure takes down and how long the first waits for the last."""
CHECKPOINT_IDLE: Final = 4 * 1024 * 1024
"""Bytes in the write-ahead log from which a quiet moment is used to move them into the file, while nobody waits for it."""
CHECKPOINT_BUSY: Final = 16 * 1024 * 1024
"""... and from which they are moved although somebody may (ADR 0015: more at a time keeps people waiting for longer)."""
QUIET_S: Final = 0.05
"""After so long without a commit it is quiet: callers that come one by one are closer together."""
PATIENCE_S: Final = 0.005
"""How long a patient batch waits for another to ride with: longer than an agent's next call takes to arrive, where every call
would otherwise wait for the sync of the outcome before it (ADR 0006)."""
SHORT_S: Final = 0.0015
"""A commit that took no longer is short: an event loop may stand still for one."""
SHORT_RUN: Final = 8
"""Short commits in a row after which the next may stop its caller's loop. A long one begins the count anew."""

_BUSY_STEP_S: Final = 0.001
_REMEDY: Final = "free space on the disk and check that the state folder can be written; nothing runs until then"


class Writer:
    """Takes jobs from any thread and settles their futures on their own loops. Its thread is started by the first job."""

    def __init__(self, log: Log, known: KnownRows, queue_limit: int) -> None:
        self._log = log
        self._known = known
        self._limit = queue_limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._tick: list[Job] = []
        self._patient: list[Job] = []
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._put = 0
        self._taken = 0
        self._queued = 0
        self._served = 0
        self._short = 0
        self._connection: sqlite3.Connection | None = None
        self._cache = Cache()
        self._unmoved = 0
        self._seen = 0

    @property
    def waiting(self) -> int:
        """Records that wait for the disk."""
        return self._put - self._taken

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
            elif self._short >= SHORT_RUN and self._queued == self._served:
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

    def close(self) -> None:
        """Write what waits, then end the thread. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, True
            self._hurry()
        if not closed and self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    # -- on the loop of the only caller ------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Commit what came in this turn: here if that is one batch for which somebody waits, else in the thread."""
        with self._lock:
            jobs = self._tick
            if not jobs or jobs[-1].loop is not asyncio.get_running_loop():
                return  # queued meanwhile, and another loop's turn has begun
            # A loop must not open a file and read it either, so the connection is there already.
            alone = sum(not job.batch.patient for job in jobs) == 1 and self._queued == self._served
            if not alone or self._connection is None or not self._turn.acquire(blocking=False):
                self._hurry()
                return
            self._tick = []
        # New jobs of this loop come after us; those of other loops queue for the thread, which waits for its turn.
        before = self._unmoved
        try:
            done = self._commit(jobs, wait=False)
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
            # The thread has to look for a quiet moment from now on, or to move at once.
            if before < CHECKPOINT_IDLE <= self._unmoved or self._unmoved >= CHECKPOINT_BUSY:
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
            if self._unmoved >= CHECKPOINT_BUSY:
                self._move()
        with self._turn:
            self._drop()

    def _taken_by_thread(self, jobs: list[Job]) -> None:
        with self._lock:
            self._served += len(jobs)
            self._taken += sum(len(job.entries) for job in jobs)

    def _next(self) -> tuple[list[Job], bool]:
        """The jobs that wait; and whether more may come. None in the queue says: look up."""
        jobs: list[Job] = []
        try:
            job = self._queue.get(timeout=QUIET_S if self._unmoved >= CHECKPOINT_IDLE else None)
        except Empty:
            quiet, self._seen = self._put == self._seen, self._put
            if quiet:
                self._move()
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
            if not self._transaction(jobs, wait=wait):
                return False
            short = time.perf_counter() - start <= SHORT_S
        except LictorError as error:
            self._fail(jobs, error)
        except (sqlite3.Error, OSError) as error:
            self._fail(jobs, StoreError(Reason.CANNOT_RECORD, f"cannot record: {error}", remedy=_REMEDY), error)
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

    def _transaction(self, jobs: list[Job], *, wait: bool) -> bool:
        connection = self._connection or self._open()
        cursor = connection.cursor()
        if not _begin(cursor, wait=wait):
            return False
        self._cache.refresh(cursor)
        before = self._known.begin()
        group = Group(cursor, self._cache, self._log)
        for job in jobs:
            try:
                job.outcome = group.add(job.batch, job.entries)
            except LictorError as error:  # this batch alone is refused
                job.outcome = error
        if group.empty:
            cursor.execute("ROLLBACK")
            self._cache.version = None  # a task key that was made for nothing must not be used
            self._known.publish(before, {}, before)
            return True
        group.write()
        cursor.execute("COMMIT")
        group.committed()
        self._publish(cursor, before, group)
        self._unmoved += group.written
        return True

    def _publish(self, cursor: sqlite3.Cursor, before: bytes, group: Group) -> None:
        """Hand our changes to the readers, unless somebody else's may be among those between the two stamps."""
        after = self._known.now()
        try:
            alone = bool(before and after) and self._cache.is_current(cursor)
        except sqlite3.Error:  # what is committed stays committed
            alone = False
        if alone:
            self._known.publish(before, group.changes, after)
        else:
            self._known.forget()

    def _open(self) -> sqlite3.Connection:
        """A connection whose log was checked: it may have changed, or been damaged, since the last one was dropped."""
        connection = connect(self._log.path)
        try:
            check(connection, self._log)
            connection.execute("PRAGMA busy_timeout=0")  # `_begin` waits, where waiting is allowed
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
        self._known.forget()
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
        """Move the write-ahead log into the file: it costs two syncs, during which nobody is served (ADR 0015)."""
        with self._turn:
            self._unmoved = 0
            if self._connection is None:
                return
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error:
                self._drop()  # what was acknowledged is in the write-ahead log; the next group finds out what is wrong


def _begin(cursor: sqlite3.Cursor, *, wait: bool) -> bool:
    """Begin to write, once no other process does; False when one does and it is not to be waited for.

    Raises:
        sqlite3.Error: it cannot be begun, or not within `BUSY_S`.
    """
    give_up = time.monotonic() + sqlite_schema.BUSY_S
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or (wait and time.monotonic() >= give_up):
                raise
            if not wait:
                return False
            time.sleep(_BUSY_STEP_S)
        else:
            return True


def _close(connection: sqlite3.Connection) -> None:
    try:
        connection.close()
    except sqlite3.Error:
        return
