"""Batches checked, recorded and signed together: one transaction of the SQLite store, or one frame of its journal.

Each batch stands for itself: what the life cycles refuse leaves no trace in the group. Nothing is written before `write`; until
then a group only reads. It refuses to know who waits for the answer and what is done when the disk fails.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.lifecycle.reading import Changes
from lictor.lifecycle.rows import Key, Row, decode_row, erased_key
from lictor.model.errors import ConflictError, StoreError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted, LogKeyChanged, PayloadsErased, TaskOpened
from lictor.ports import Batch, Payload, Receipt
from lictor.records.merkle import FrontierBuilder
from lictor.stores import commit, tables
from lictor.stores.contents import Contents, Sealed, Unwritten
from lictor.stores.journal import Frame
from lictor.stores.keychain import admit, check_in_force, key_in_force, own_key
from lictor.stores.sealing import new_key, nonces, seal
from lictor.stores.sqlite_schema import Log

MAX_CACHED: Final = 8192
"""Rows and keys kept between transactions; some 1 kB each."""

_ENCODER: Final = msgspec.json.Encoder()
_PASSING: Final = frozenset({"origin", "token"})

SELECT_ROW: Final = "SELECT status, owner, at_ms, body FROM rows WHERE kind = ? AND id = ?"
OWE_SCRUB: Final = (
    "INSERT INTO meta VALUES('scrub', '1') ON CONFLICT(key)"
    " DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
)
"""Says that old pages of the files may still hold a key that is gone, until `SqliteStore.scrub` has seen to it."""
_KEPT: Final = "SELECT 1 FROM payloads WHERE request = ?"
_KEPT_OF: Final = "SELECT request FROM payloads WHERE request IN (SELECT value FROM json_each(?))"
_STARTED_OF: Final = "SELECT id FROM rows WHERE kind = 'execution' AND id IN (SELECT value FROM json_each(?))"


class Cache:
    """What was true at the end of the last transaction, as long as no other process has written since."""

    __slots__ = ("ciphers", "key", "rows", "tree", "version")

    def __init__(self) -> None:
        self.version: int | None = None
        self.key = ""
        """The verifier key that signs, once it was ever changed."""
        self.tree = FrontierBuilder()
        self.rows: dict[Key, Row] = {}
        self.ciphers: dict[TaskId, AESGCM | None] = {}

    def refresh(self, cursor: sqlite3.Cursor, below: Unwritten) -> None:
        """Forget everything if another connection committed; called with the right to write, so it stays true for as long.

        Args:
            cursor: of the tables.
            below: what they do not hold yet.

        Raises:
            StoreError: `log_damaged`: somebody has appended who had no right to.
        """
        version = tables.data_version(cursor)
        if version == self.version:
            return
        self.rows.clear()
        self.ciphers.clear()
        self.tree = below.on_top_of(
            FrontierBuilder.from_bytes(cursor.execute("SELECT frontier FROM head").fetchone()[0])
        )
        self.key = key_in_force(cursor)
        self.version = version

    def trim(self) -> None:
        """Stay bounded."""
        if len(self.rows) > MAX_CACHED:
            self.rows.clear()
        if len(self.ciphers) > MAX_CACHED:
            self.ciphers.clear()


class Group:
    """`add` batches; then `write` once in a transaction, or `frame` once for the journal. On any sqlite error drop the cache."""

    def __init__(self, cursor: sqlite3.Cursor, cache: Cache, log: Log, below: Unwritten | None = None) -> None:
        """Nothing is in it.

        Args:
            cursor: reads the tables; writes them in `write`.
            cache: what was true before.
            log: whose key signs.
            below: what is not in the tables yet.

        Raises:
            StoreError: `log_key_changed`: the log is signed with another key than ours by now.
        """
        if cache.key:
            check_in_force(cache.key, own_key(log.origin, log.signer))
        self._cursor = cursor
        self._cache = cache
        self._log = log
        self._below = below or Unwritten()
        self.contents = self.written = Contents(cache.tree.size)
        self._keys: list[tuple[TaskId, bytes]] = []
        self._erased: list[tuple[TaskId]] = []
        self._passing: dict[Key, Row] = {}
        self._absent: set[Key] = set()
        self._unkept: set[str] = set()
        self._nonces = nonces(1)
        self._handed_over = ""

    @property
    def empty(self) -> bool:
        """Whether nothing was accepted so far."""
        return not self.contents.entries

    @property
    def for_tables_only(self) -> bool:
        """Whether it makes or destroys keys: those are in one place only, so that they can be destroyed there.

        Or changes the log's own: what is signed after it is signed with another.
        """
        return bool(self._keys or self._erased or self._handed_over)

    def foresee(self, batches: Sequence[Batch]) -> None:
        """Look up at once which ids of these are new, as most are, and draw their nonces.

        Each by itself would let go of the interpreter's lock, and whoever takes it keeps it for milliseconds.

        Raises:
            sqlite3.Error: it cannot be read; the group is lost.
        """
        started = {one.execution for batch in batches for one in batch.records if type(one) is ExecutionStarted}
        requests = {str(payload.request) for batch in batches for payload in batch.payloads}
        there = self._cursor.execute(_STARTED_OF, (_ENCODER.encode(sorted(started)),)).fetchall()
        self._absent = {("execution", one) for one in started - {one for (one,) in there}}
        kept = self._cursor.execute(_KEPT_OF, (_ENCODER.encode(sorted(requests)),)).fetchall()
        self._unkept = requests - {one for (one,) in kept}
        self._nonces = nonces(max(1, len(requests)))

    def add(self, batch: Batch, entries: list[bytes]) -> Receipt:
        """Check a batch against everything before it, and take it in.

        Raises:
            ConflictError: the life cycles refuse it; the group is as it was.
            sqlite3.Error: it cannot be read; the group is lost.
        """
        if self._handed_over:
            raise ConflictError(Reason.CONFLICT, "the log's key has just been changed; try again")
        changes = commit.changes_of(batch, self._read)
        for record in batch.records:
            if type(record) is TaskOpened:
                self._cipher(record.task.id, new=batch.key or new_key())
            elif type(record) is LogKeyChanged:
                alone = self.empty and len(batch.records) == 1
                admit(record, self._cache.tree, self._log.key(), alone=alone)
                self._handed_over = record.new
        self._keep(batch.payloads)
        # From here on nothing is refused.
        self._erase(batch)
        self.contents.change(changes, self._cached)
        tree = self._cache.tree
        first = tree.size
        self.contents.append(entries, tree)
        return Receipt(first, tree.size)

    def discard(self) -> None:
        """It has accepted nothing: a task key that was made for nothing must not be used."""
        for task, _ in self._keys:
            self._cache.ciphers.pop(task, None)

    def frame(self) -> Frame:
        """What the journal keeps of it."""
        own = self.contents
        entries = [data for _, data, _ in own.entries]
        return Frame(own.first, entries, list(own.payloads.values()), self._cache.tree.root())

    def replay(self, frame: Frame) -> None:
        """Take in what the journal has kept: rows follow from entries, and so must the root it was kept with.

        Raises:
            StoreError: `log_damaged`: it does not go on from this log.
            sqlite3.Error: it cannot be read; the group is lost.
        """
        tree = self._cache.tree
        for data in frame.entries:
            self.contents.change(commit.changes_of_entry(data, self._read), self._cached)
        self.contents.append(frame.entries, tree)
        self.contents.payloads |= {payload[0]: payload for payload in frame.payloads}
        if frame.root != tree.root():
            message = f"what the journal has behind entry {frame.first} does not go on from this log"
            raise StoreError(Reason.LOG_DAMAGED, message, remedy="do not start; see: lictor log verify")

    def write(self) -> Changes:
        """Write everything, what is below it first, and sign the head. The rows it has changed come back.

        Raises:
            StoreError: `log_damaged`: the log does not end where it should.
            sqlite3.Error: it cannot be written; the group is lost.
        """
        cursor = self._cursor
        if self._below.parts:
            self.written = Contents.joined([*self._below.parts, self.contents])
        tables.insert(cursor, "task_keys", 2, self._keys)
        if self._erased:
            cursor.executemany("DELETE FROM task_keys WHERE task = ?", self._erased)
            cursor.execute(OWE_SCRUB)
        # A roll is of one key.
        tables.write(cursor, self._log, self.written, self._cache.tree, roll=bool(self._handed_over))
        if self._handed_over:
            self._cache.key = self._handed_over
        return self.written.changes

    def committed(self) -> None:
        """Let the cache know what is true now; what no commit will ask for soon is not kept."""
        rows = self._cache.rows
        for key, row in self.contents.changes.items():
            if row is None or _is_passing(row):
                rows.pop(key, None)
            else:
                rows[key] = row
        self._cache.trim()

    def _read(self, key: Key) -> Row | None:
        for changes in (self.contents.changes, self._below.changes):
            if key in changes:
                return changes[key]
        row = self._cached(key)
        if row is None and key not in self._absent:
            stored = self._cursor.execute(SELECT_ROW, key).fetchone()
            if stored is not None:
                row = decode_row(*key, *stored)
                (self._passing if _is_passing(row) else self._cache.rows)[key] = row
        return row

    def _cached(self, key: Key) -> Row | None:
        return self._cache.rows.get(key) or self._passing.get(key)

    def _keep(self, payloads: tuple[Payload, ...]) -> None:
        """Seal a batch's payloads. One is kept once: another under the same id would replace what was judged.

        Raises:
            ConflictError: one is kept already; none of the batch's is.
        """
        sealed: dict[str, Sealed] = {}
        for payload in payloads:
            cipher = self._cipher(payload.task)
            if cipher is None:
                continue
            if payload.request in sealed or self._is_kept(payload.request):
                message = f"the payload of request {payload.request!r:.80} is kept already"
                raise ConflictError(Reason.CONFLICT, message)
            sealed[payload.request] = (payload.request, payload.task, *seal(cipher, payload, next(self._nonces)))
        self.contents.payloads |= sealed

    def _is_kept(self, request: str) -> bool:
        if request in self.contents.payloads or request in self._below.requests:
            return True
        return request not in self._unkept and self._cursor.execute(_KEPT, (request,)).fetchone() is not None

    def _erase(self, batch: Batch) -> None:
        """Record and key are one commit: no record says that something is gone which is there, or the other way round."""
        for record in batch.records:
            if type(record) is PayloadsErased:
                self._cache.ciphers[record.task] = None
                self._erased.append((record.task,))

    def _cipher(self, task: TaskId, *, new: bytes = b"") -> AESGCM | None:
        """The task's cipher; None when its payloads were erased: then none is kept ever again.

        A task gets its key when it is opened (`new`); one that never was (a refused request names it), on first use.
        """
        ciphers = self._cache.ciphers
        if task in ciphers:
            return ciphers[task]
        stored = self._cursor.execute("SELECT key FROM task_keys WHERE task = ?", (task,)).fetchone()
        if stored is not None:
            cipher = AESGCM(stored[0])
        elif new or (self._read(("task", task)) is None and self._read(erased_key(task)) is None):
            key = new or new_key()
            self._keys.append((task, key))
            cipher = AESGCM(key)
        else:
            cipher = None
        ciphers[task] = cipher
        return cipher


def _is_passing(row: Row) -> bool:
    """Whether no commit will ask for a row soon: an execution that ended, a token, one of a task's thousands of values."""
    return row.kind in _PASSING or (row.kind == "execution" and row.status != "started")
