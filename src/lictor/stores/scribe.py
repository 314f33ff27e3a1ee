"""Puts groups of batches on the disk, one at a time: into the tables of the log, or under load into a journal first (ADR 0023).

A group that is alone is one transaction. Once batches have come for a while without a moment's quiet, a group is one frame of the
journal, and the tables follow a few milliseconds behind, many groups at once, without a sync of their own and beside the next
groups (`copyist`); who reads in this process sees the difference (`Unwritten`). The journal ends with the first quiet moment,
when another process wants to write, when a key is made or destroyed, and after any failure: then everything is in the tables,
durably, before anything else is recorded.

What a crash means: a frame that was synced is in the log, whoever opens it next puts it into the tables; one that was not is in
it or not, and nobody was told. While there are frames no other process writes: whoever has the `Right` has the log for itself.

What a failure means: the whole group is refused, the connection is thrown away, and the next group starts from what is on disk.
It refuses to know who waits for the answer and who asks again.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from lictor.lifecycle.reading import Changes
from lictor.model.errors import LictorError
from lictor.stores import journal, right, sqlite_schema, tables
from lictor.stores.contents import Unwritten
from lictor.stores.copyist import Copyist
from lictor.stores.group import Cache, Group
from lictor.stores.jobs import Job
from lictor.stores.journal import Journal
from lictor.stores.known import KnownRows
from lictor.stores.mover import Mover
from lictor.stores.recovery import TOUCH, recover, rewrite
from lictor.stores.right import Marks, Right
from lictor.stores.sqlite_schema import Log, begin, check, connect, discard, synchronous

CHECKPOINT_IDLE: Final = 4 * 1024 * 1024
"""Bytes in the write-ahead log from which a quiet moment is used to move them into the file, while nobody waits for it."""
CHECKPOINT_BUSY: Final = 16 * 1024 * 1024
"""... and from which they are moved although somebody may (ADR 0015: more at a time keeps people waiting for longer)."""
QUIET_S: Final = 0.05
"""After so long without a commit it is quiet: callers that come one by one are closer together."""
BUSY_AFTER: Final = 64
"""Batches without a quiet moment after which the next groups go to the journal."""
BEHIND: Final = 64
"""Groups in the journal from which the tables catch up although more wait; two of agents' calls may be in each."""
BEHIND_S: Final = 0.01
"""... and how long the first of them is there before they do: other processes do not see it until then."""
RETRY_S: Final = 1.0
"""So long after a failure it is tried again to make everything durable; with the next group in any case."""
LINGER_S: Final = 0.005
"""After so long without a commit the tables follow although it is not time yet."""
MOST_BEHIND: Final = 1024
"""Groups in the journal from which nobody is served before the tables have caught up."""


class Scribe:
    """Whoever calls has the turn: one thread at a time, whichever."""

    def __init__(self, log: Log, known: KnownRows, wake: Callable[[], None]) -> None:
        """Nothing is opened yet. `wake`: has `after` called soon, from any thread."""
        self._log = log
        self._known = known
        self.unwritten = Unwritten()
        self.connection: sqlite3.Connection | None = None
        self.cache = Cache()
        self.unmoved = 0
        self._right = Right(log.path)
        self._journal = Journal(log.path)
        self._copyist = Copyist(log, known, wake)
        self._mover = Mover(log.path)
        self._failed = False
        self._spoiled = False
        self._in_tables = self._durable = 0
        self._since = self._last = 0.0
        self._run = 0

    @property
    def journaling(self) -> bool:
        """Whether groups go to the journal."""
        return self._journal.is_open

    @property
    def _in_doubt(self) -> bool:
        """Whether something failed since everything was durable: no page is moved before the write-ahead log is written anew."""
        return self._failed or self._mover.failed

    @property
    def ripe(self) -> bool:
        """Whether the next group that may wait begins a journal."""
        can = right.NEEDED and journal.POSSIBLE  # elsewhere nothing keeps other processes from writing meanwhile
        return can and self._run >= BUSY_AFTER and not self.journaling and not self._journal.being_made

    @property
    def far_behind(self) -> bool:
        """Whether the tables have to catch up before anything else is recorded."""
        return len(self.unwritten.parts) >= MOST_BEHIND

    def marks(self) -> Marks:
        """See `Right.marks`."""
        return self._right.marks()

    @property
    def behind_another(self) -> bool:
        """Whether there may be commits in another process's journal, that readers here do not see."""
        return not self.journaling and self._right.journal_in_use()

    def heed(self) -> None:
        """Have another process's journal ended: it gives way, or it is dead and what it left is put into the tables.

        Raises:
            LictorError, sqlite3.Error, OSError: nobody here knows what is in it.
        """
        if self.behind_another:
            with self._having_the_right():
                pass

    def beside(self, work: Callable[[], bool]) -> bool:
        """Have something written over a connection of its own. Its sync is of everybody's pages, in doubt or not.

        Raises:
            StoreError: `cannot_record`: another process keeps the log to itself.
            LictorError, OSError, sqlite3.Error: and what the work raises: `drop` is due.
        """
        self._mover.wait()
        if self._in_doubt:
            self.end_journal()
        with self._having_the_right():
            return work()

    @contextmanager
    def _having_the_right(self) -> Iterator[None]:
        """With nothing left of a process that died."""
        if not self.journaling:
            self._right.insist(sqlite_schema.BUSY_S)
        try:
            self._recover_if_left()
            yield
        finally:
            if not self.journaling:
                self._right.give_back()

    # -- a group -------------------------------------------------------------------------------------------------------

    def record(self, jobs: Sequence[Job], *, wait: bool) -> bool:
        """Give each job its outcome. False: another process writes, and it was not to be waited for; nothing happened.

        Raises:
            LictorError, sqlite3.Error, OSError: nothing of it is recorded, or nobody may be told that it is; `drop` is due.
        """
        if self._failed:
            self.end_journal()  # gives the right back
        if wait:
            self._right.insist(sqlite_schema.BUSY_S)
        elif not self._right.take(wait_s=0):
            return False
        try:
            return self._recorded(jobs, wait=wait)
        finally:
            if not self.journaling:
                self._right.give_back(wanted=wait and self._right.wanted())

    def _recorded(self, jobs: Sequence[Job], *, wait: bool) -> bool:
        quiet = time.perf_counter() - self._last >= QUIET_S
        self._run = 0 if quiet else self._run + len(jobs)
        self._recover_if_left()
        cursor = (self.connection or self._open()).cursor()
        if not self.journaling:
            if not begin(cursor, wait=wait):
                return False
            group = self._collected(cursor, jobs)
            if group is None:
                cursor.execute("ROLLBACK")
            else:
                self._write(cursor, group)
                if wait:  # a loop must not open files
                    self._start_journal(cursor)
        else:
            cursor.execute("BEGIN")  # one look for all of it: each by itself would cost a lock and its release
            group = self._collected(cursor, jobs)
            cursor.execute("ROLLBACK")
            if group is not None:
                self._keep(cursor, group)
        self._last = time.perf_counter()
        return True

    def _recover_if_left(self) -> None:
        """With the right: whoever had a journal in use has died."""
        if self.behind_another:
            recover(self._log)
            self._right.mark(journal=False)

    def _collected(self, cursor: sqlite3.Cursor, jobs: Sequence[Job]) -> Group | None:
        """The group of all batches that are accepted; None if none is."""
        self._refresh(cursor)
        group = Group(cursor, self.cache, self._log, self.unwritten)
        if len(jobs) > 1:
            group.foresee([job.batch for job in jobs])
        for job in jobs:
            try:
                job.outcome = group.add(job.batch, job.entries)
            except LictorError as error:  # this batch alone is refused
                job.outcome = error
        if group.empty:
            group.discard()
            return None
        return group

    def _refresh(self, cursor: sqlite3.Cursor) -> None:
        """Forget what was true if others have committed. With a journal nobody does: if somebody did, no write succeeds."""
        if not self.journaling or self.cache.version is None:
            self.cache.refresh(cursor, self.unwritten)

    def _keep(self, cursor: sqlite3.Cursor, group: Group) -> None:
        """Make a group durable in the journal, or, where that cannot be, in the tables with all before it."""
        if not group.for_tables_only:
            frame = group.frame().encode(self._log.journal_key())
            if self._journal.fits(frame) or self._journal.turn(self._durable, frame):
                size = self.cache.tree.size
                try:
                    self._journal.append(frame, size)
                except OSError:
                    self._spoiled = True
                    raise
                group.committed()
                group.contents.head = self.cache.tree.to_bytes()
                self._since = self._since if self.unwritten.parts else time.perf_counter()
                self.unwritten.add(group.contents)
                return
        self.take_over()
        self._mover.wait()  # or the write-ahead log would not begin anew
        synchronous(cursor, full=True)
        begin(cursor, wait=True)
        self._rewrite_if_doubtful()
        self._write(cursor, group)
        self._all_durable()
        synchronous(cursor, full=False)

    def _rewrite_if_doubtful(self) -> None:
        """Before a commit that is to make everything durable: a sync has failed since the last one that did."""
        if self._in_doubt:
            rewrite(self._log.path)

    def _all_durable(self) -> None:
        self._durable = self._in_tables
        self._mover.failed = False

    def _write(self, cursor: sqlite3.Cursor, group: Group) -> None:
        """A transaction that has begun, with this group and those that are not written yet."""
        tables.commit(cursor, self._known, group.write)
        group.committed()
        self.unmoved += group.written.size
        self.unwritten.drop(len(self.unwritten.parts))
        self._in_tables = self.cache.tree.size

    # -- the journal ---------------------------------------------------------------------------------------------------

    def _start_journal(self, cursor: sqlite3.Cursor) -> None:
        """Use the journal from the next group on, if this has gone on for long enough. Everything is in the tables, durably."""
        if not self.ripe:
            return
        self._run = 0
        try:
            if not self._journal.open():
                self._journal.make()
                return
            self._right.mark(journal=True)
        except (OSError, LictorError):  # it is an advantage, not a need: the tables go on working
            self._journal.close(clear=False)
            return
        synchronous(cursor, full=False)
        self._in_tables = self._durable = self.cache.tree.size

    def take_over(self, *, wait: bool = True) -> None:
        """What the copyist has brought into the tables is not unwritten any more.

        Args:
            wait: until it has ended what it does: then the tables are ours.

        Raises:
            LictorError, sqlite3.Error, OSError: it could not; `drop` is due.
        """
        copied = self._copyist.copied(wait=wait)
        if copied is not None:
            self.unwritten.drop(copied.parts)
            self.unmoved += copied.written
            self._in_tables = copied.size

    def catch_up_or_end(self) -> None:
        """Write into the tables what only the journal has, and end it after a failure.

        Raises:
            LictorError, sqlite3.Error, OSError: it is still only in the journal; `drop` is due.
        """
        if self._in_doubt:
            self.end_journal()
        else:
            self.catch_up()

    def catch_up(self, *, durable: bool = False) -> None:
        """Write into the tables what only the journal has. `durable`: and make everything in them so.

        Raises:
            LictorError, sqlite3.Error, OSError: it is still only in the journal; `drop` is due.
        """
        self.take_over()
        cursor = (self.connection or self._open()).cursor()
        synchronous(cursor, full=durable)
        begin(cursor, wait=True)
        self._refresh(cursor)
        if durable:
            self._rewrite_if_doubtful()
        if self.unwritten.parts:
            self._write(cursor, Group(cursor, self.cache, self._log, self.unwritten))
        elif durable:
            tables.commit(cursor, self._known, lambda: _touched(cursor))
        else:
            cursor.execute("ROLLBACK")
        if durable:
            self._all_durable()

    def end_journal(self, *, wanted: bool = False) -> None:
        """Everything in the tables, durably, and the right given back. `wanted`: somebody waits for it. Idempotent.

        Raises:
            LictorError, sqlite3.Error, OSError: it goes on; `drop` is due.
        """
        if not self.journaling:
            self._failed = False
            return
        self._mover.wait()
        self.catch_up(durable=True)
        self._copyist.close()
        if self._spoiled:
            self._journal.discard()
        self._journal.close(clear=True)
        self._right.mark(journal=False)
        self._failed = self._spoiled = False
        self._run = 0
        self._right.give_back(wanted=wanted)

    # -- between groups ------------------------------------------------------------------------------------------------

    @property
    def patience_s(self) -> float | None:
        """After so long without a group `rest` is due; None: it never is."""
        if self._failed:
            return RETRY_S
        if self.unwritten.parts:
            return LINGER_S
        return QUIET_S if self.journaling or self.unmoved >= CHECKPOINT_IDLE else None

    @property
    def due(self) -> bool:
        """Whether there is something for `after` that its caller should have a thread for."""
        if self.journaling:
            return self._right.wanted() or self._mover.busy or self._in_doubt or self.far_behind
        return self.unmoved >= CHECKPOINT_BUSY or self.ripe

    def rest(self) -> None:
        """Nobody has come for a while: catch up, end the journal, move pages; one of them each time.

        Raises:
            LictorError, sqlite3.Error, OSError: `drop` is due.
        """
        if not self.journaling:
            self.move()
        elif self.unwritten.parts:
            self.hand_over(at_once=True)
        else:
            self.end_journal()

    def after(self) -> None:
        """A group is recorded and everybody told: what cannot wait for a quiet moment.

        Raises:
            LictorError, sqlite3.Error, OSError: `drop` is due.
        """
        if not self.journaling:
            if self.unmoved >= CHECKPOINT_BUSY:
                self.move()
            return
        wanted = self._right.wanted()
        if wanted or self._in_doubt:  # another move would find nothing to sync, and count as one
            self.end_journal(wanted=wanted)
            return
        if self.far_behind:
            self.take_over()
        self.hand_over()

    def hand_over(self, *, at_once: bool = False) -> None:
        """Have the tables follow, if it is time or it has to be `at_once`; nobody waits for it.

        Raises:
            LictorError, sqlite3.Error, OSError: they could not; `drop` is due.
        """
        if not self.journaling or self._in_doubt:
            return
        idle = not self._copyist.busy  # asked once: what it came to between two looks would go unheard
        self.take_over(wait=False)
        self._durable = max(self._durable, self._mover.moved())
        if self.unmoved >= CHECKPOINT_BUSY and not self._mover.busy:
            self.unmoved = 0
            self._mover.start(self._in_tables)
        groups = len(self.unwritten.parts)
        late = at_once or groups >= BEHIND or time.perf_counter() - self._since >= BEHIND_S
        # While pages are moved nothing is written, so that the write-ahead log can begin anew; unless that takes too long.
        if groups and late and idle and (self.far_behind or not self._mover.busy):
            self._copyist.start(tuple(self.unwritten.parts))
            self._since = time.perf_counter()

    def move(self) -> None:
        """Move the write-ahead log into the file: it costs two syncs, during which nobody is served (ADR 0015).

        Raises:
            sqlite3.Error: what was acknowledged is in the write-ahead log; `drop` is due.
        """
        self.unmoved = 0
        if self.connection is not None:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # -- the connection ------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """A connection whose log was checked: it may have changed, or been damaged, since the last one was dropped."""
        connection = connect(self._log.path)
        try:
            check(connection, self._log)
            connection.execute("PRAGMA busy_timeout=0")  # `_begin` waits, where waiting is allowed
        except BaseException:
            connection.close()
            raise
        self.connection = connection
        return connection

    def drop(self) -> None:
        """Close the connection; an open transaction is rolled back with it, and the next group starts from what is on disk."""
        connection, self.connection, self.cache = self.connection, None, Cache()
        self._failed = self.journaling
        self._known.forget()
        if connection is not None:
            discard(connection)

    def close(self) -> bool:
        """For good. What only the journal has stays there if it has to: whoever opens the log next puts it into the tables.

        False: the write-ahead log may not be on the disk, and SQLite must not move it; it does when the last connection closes.
        """
        sure = True
        try:
            self.end_journal()
        except (LictorError, sqlite3.Error, OSError):
            self._mover.wait()
            self._journal.close(clear=False)
            sure = self._rewritten()
        self._copyist.close()
        self._mover.wait()
        self.drop()
        self._right.close()
        return sure

    def _rewritten(self) -> bool:
        try:
            rewrite(self._log.path)
        except OSError:
            return False
        return True


def _touched(cursor: sqlite3.Cursor) -> Changes:
    cursor.execute(TOUCH)
    return {}
