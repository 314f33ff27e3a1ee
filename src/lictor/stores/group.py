"""One transaction of the SQLite store: several batches checked, recorded and signed together.

Each batch stands for itself: what the life cycles refuse leaves no trace in the group. It refuses to know who waits for the
answer and what is done when the disk fails.
"""

import sqlite3
from collections.abc import Sequence
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lictor.lifecycle.fold import Changes
from lictor.lifecycle.rows import Key, Row, decode_row, encode_body, erased_key
from lictor.model.errors import ConflictError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import PayloadsErased, TaskOpened
from lictor.ports import Batch, Payload, Receipt
from lictor.records.merkle import FrontierBuilder
from lictor.records.roll import EVERY
from lictor.stores import commit
from lictor.stores.rolls import write_roll
from lictor.stores.sealing import new_key, seal
from lictor.stores.sqlite_schema import Log

MAX_CACHED: Final = 8192
"""Rows and keys kept between transactions; some 1 kB each."""

_PASSING: Final = frozenset({"origin", "token"})

SELECT_ROW: Final = "SELECT status, owner, at_ms, body FROM rows WHERE kind = ? AND id = ?"
OWE_SCRUB: Final = (
    "INSERT INTO meta VALUES('scrub', '1') ON CONFLICT(key)"
    " DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
)
"""Says that old pages of the files may still hold a key that is gone, until `SqliteStore.scrub` has seen to it."""
_INSERT_PAYLOAD: Final = "INSERT INTO payloads VALUES(?, ?, ?, ?)"
_UPDATE_ROW: Final = "UPDATE rows SET status = ?, body = ? WHERE kind = ? AND id = ?"
_UPSERT_ROW: Final = (
    "INSERT INTO rows VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " status = excluded.status, owner = excluded.owner, at_ms = excluded.at_ms, body = excluded.body"
)


class Cache:
    """What was true at the end of the last transaction, as long as no other process has written since."""

    __slots__ = ("ciphers", "rows", "tree", "version")

    def __init__(self) -> None:
        self.version: int | None = None
        self.tree = FrontierBuilder()
        self.rows: dict[Key, Row] = {}
        self.ciphers: dict[TaskId, AESGCM | None] = {}

    def refresh(self, cursor: sqlite3.Cursor) -> None:
        """Forget everything if another connection committed; called inside the transaction, so it stays true until its end."""
        version = _version(cursor)
        if version == self.version:
            return
        self.rows.clear()
        self.ciphers.clear()
        self.tree = FrontierBuilder.from_bytes(cursor.execute("SELECT frontier FROM head").fetchone()[0])
        self.version = version

    def is_current(self, cursor: sqlite3.Cursor) -> bool:
        """Whether no other connection has committed since `refresh`."""
        return _version(cursor) == self.version

    def trim(self) -> None:
        """Stay bounded."""
        if len(self.rows) > MAX_CACHED:
            self.rows.clear()
        if len(self.ciphers) > MAX_CACHED:
            self.ciphers.clear()


class Group:
    """A transaction that has begun. `add` batches, then `write` once, then commit; on any sqlite error drop the cache."""

    def __init__(self, cursor: sqlite3.Cursor, cache: Cache, log: Log) -> None:
        self._cursor = cursor
        self._cache = cache
        self._log = log
        self._changes: Changes = {}
        self._entries: list[tuple[int, bytes, bytes]] = []
        self._keys: list[tuple[TaskId, bytes]] = []
        self._erased: list[tuple[TaskId]] = []
        self._passing: dict[Key, Row] = {}
        self._sealed = 0
        self._before = cache.tree.size

    @property
    def empty(self) -> bool:
        """Whether nothing was accepted so far."""
        return not self._entries

    @property
    def written(self) -> int:
        """Roughly how many bytes go to the disk."""
        data = sum(len(data) for _, data, _ in self._entries)
        return data + self._sealed + 4096 * (4 + len(self._changes))

    @property
    def changes(self) -> Changes:
        """The rows it changes."""
        return self._changes

    def add(self, batch: Batch, entries: list[bytes]) -> Receipt:
        """Check a batch against everything before it, and take it in.

        Raises:
            ConflictError: the life cycles refuse it; the group is as it was.
            sqlite3.Error: it cannot be read; the group is lost.
        """
        changes = commit.changes_of(batch, self._read)
        for record in batch.records:
            if type(record) is TaskOpened:
                self._cipher(record.task.id, new=batch.key or new_key())
        self._keep(batch.payloads)
        # From here on nothing is refused.
        self._erase(batch)
        self._changes.update(changes)
        tree = self._cache.tree
        first = tree.size
        for data in entries:
            self._entries.append((tree.size, data, tree.append(data)))
        return Receipt(first, tree.size)

    def write(self) -> None:
        """Write everything and sign the head.

        Raises:
            sqlite3.Error: it cannot be written; the group is lost.
        """
        cursor, tree = self._cursor, self._cache.tree
        _many(cursor, "INSERT INTO entries VALUES(?, ?, ?)", self._entries)
        _many(cursor, "INSERT INTO task_keys VALUES(?, ?)", self._keys)
        if self._erased:
            _many(cursor, "DELETE FROM task_keys WHERE task = ?", self._erased)
            cursor.execute(OWE_SCRUB)
        self._write_rows()
        cursor.execute("UPDATE head SET frontier = ?", (tree.to_bytes(),))
        cursor.execute("INSERT INTO checkpoints VALUES(?, ?)", (tree.size, self._log.sign(tree)))
        if self._before // EVERY != tree.size // EVERY:
            write_roll(cursor, self._log)

    def _write_rows(self) -> None:
        cursor = self._cursor
        gone: list[Key] = []
        known: list[tuple[object, ...]] = []
        fresh: list[tuple[object, ...]] = []
        for key, row in self._changes.items():
            if row is None:
                gone.append(key)
            elif self._in_place(row):
                known.append((row.status, encode_body(row), *key))
            else:
                fresh.append((*key, row.status, row.owner, row.at_ms, encode_body(row)))
        _many(cursor, "DELETE FROM rows WHERE kind = ? AND id = ?", gone)
        _many(cursor, _UPDATE_ROW, known)
        # The cache was wrong about the tables: nothing of this may stand.
        if known and cursor.rowcount != len(known):
            raise sqlite3.DatabaseError(f"{len(known)} rows were to be updated, {cursor.rowcount} were there")
        _many(cursor, _UPSERT_ROW, fresh)

    def committed(self) -> None:
        """Let the cache know what is true now; what no commit will ask for soon is not kept."""
        rows = self._cache.rows
        for key, row in self._changes.items():
            if row is None or _is_passing(row):
                rows.pop(key, None)
            else:
                rows[key] = row
        self._cache.trim()

    def _read(self, key: Key) -> Row | None:
        if key in self._changes:
            return self._changes[key]
        row = self._cache.rows.get(key) or self._passing.get(key)
        if row is None:
            stored = self._cursor.execute(SELECT_ROW, key).fetchone()
            if stored is not None:
                row = decode_row(*key, *stored)
                (self._passing if _is_passing(row) else self._cache.rows)[key] = row
        return row

    def _in_place(self, row: Row) -> bool:
        """Whether nothing of a row changes that lists are ordered by: its index entries stay, and with them their pages."""
        before = self._cache.rows.get(row.key) or self._passing.get(row.key)
        return before is not None and before.at_ms == row.at_ms and before.owner == row.owner

    def _keep(self, payloads: tuple[Payload, ...]) -> None:
        """Seal and write a batch's payloads. One is kept once: another under the same id would replace what was judged.

        Raises:
            ConflictError: one is kept already; none of the batch's is.
        """
        written: list[tuple[str]] = []
        for payload in payloads:
            cipher = self._cipher(payload.task)
            if cipher is None:
                continue
            sealed = seal(cipher, payload)
            try:
                self._cursor.execute(_INSERT_PAYLOAD, (payload.request, payload.task, *sealed))
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                    raise
                _many(self._cursor, "DELETE FROM payloads WHERE request = ?", written)
                message = f"the payload of request {payload.request!r:.80} is kept already"
                raise ConflictError(Reason.CONFLICT, message) from None
            written.append((payload.request,))
            self._sealed += len(sealed[1])

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


def _version(cursor: sqlite3.Cursor) -> int:
    """SQLite's count of other connections' commits, as this one sees them."""
    return int(cursor.execute("PRAGMA data_version").fetchone()[0])


def _many(cursor: sqlite3.Cursor, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
    if rows:
        cursor.executemany(sql, rows)
