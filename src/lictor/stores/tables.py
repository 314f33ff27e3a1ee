"""Writes contents into the tables of a log, in a transaction of whoever has the right to write. Knows no journal.

Many rows go in one statement: each statement costs a lock on the interpreter, and who holds it lets go of it in its own time.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from typing import Final

from lictor.lifecycle.reading import Changes
from lictor.lifecycle.rows import Key, Row, encode_body
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.records.merkle import FrontierBuilder, size_bytes
from lictor.records.roll import EVERY
from lictor.stores.contents import Contents
from lictor.stores.known import KnownRows
from lictor.stores.rolls import write_roll
from lictor.stores.sqlite_schema import Log

AT_ONCE: Final = (64, 8, 1)
"""Rows of one statement, from as many as possible to what is left: a statement's text is kept once it was parsed."""

_UPDATE_ROW: Final = "UPDATE rows SET status = ?, body = ? WHERE kind = ? AND id = ?"
_UPSERT: Final = (
    " ON CONFLICT DO UPDATE SET"
    " status = excluded.status, owner = excluded.owner, at_ms = excluded.at_ms, body = excluded.body"
)


def write(cursor: sqlite3.Cursor, log: Log, contents: Contents, tree: FrontierBuilder, *, roll: bool = False) -> None:
    """Write contents, and sign the log with them.

    Args:
        cursor: in a transaction.
        log: whose key signs.
        contents: they go on where the log ends.
        tree: of the log with them.
        roll: sign a roll, whether one is due or not.

    Raises:
        StoreError: `log_damaged`: the log does not end where they begin; somebody wrote who had no right to.
        sqlite3.Error: it cannot be written.
    """
    sql = "UPDATE head SET frontier = ? WHERE substr(frontier, 1, 8) = ?"
    if cursor.execute(sql, (tree.to_bytes(), size_bytes(contents.first))).rowcount != 1:
        message = f"the log does not end at entry {contents.first}, where we left it"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify")
    insert(cursor, "entries", 3, contents.entries)
    insert(cursor, "payloads", 4, list(contents.payloads.values()))
    _write_rows(cursor, contents)
    cursor.execute("INSERT INTO checkpoints VALUES(?, ?)", (tree.size, log.sign(tree)))
    if roll or contents.first // EVERY != tree.size // EVERY:
        write_roll(cursor, log)


def commit(cursor: sqlite3.Cursor, known: KnownRows, work: Callable[[], Changes]) -> None:
    """Do the work of a transaction that has begun, and commit it. Readers hear which rows it changes.

    Where somebody else has committed since, they hear that nobody knows.

    Raises:
        sqlite3.Error, and what the work raises: nothing is committed, or it is not known; readers hear nothing.
    """
    before = known.begin()
    try:
        version = data_version(cursor)
        changes = work()
        cursor.execute("COMMIT")
    except BaseException:
        known.forget()
        raise
    after = known.now()
    if before and after and _alone(cursor, version):
        known.publish(before, changes, after)
    else:
        known.forget()


def data_version(cursor: sqlite3.Cursor) -> int:
    """SQLite's count of other connections' commits, as this one sees them."""
    return int(cursor.execute("PRAGMA data_version").fetchone()[0])


def _alone(cursor: sqlite3.Cursor, version: int) -> bool:
    """Whether nobody else has committed since."""
    try:
        return data_version(cursor) == version
    except sqlite3.Error:  # what is committed stays committed
        return False


def insert(
    cursor: sqlite3.Cursor, table: str, width: int, rows: Sequence[tuple[object, ...]], conflict: str = ""
) -> None:
    """Rows of so many columns."""
    at = 0
    for count in AT_ONCE:
        statement = _insert(table, width, count, conflict)
        while at + count <= len(rows):
            cursor.execute(statement, list(chain.from_iterable(rows[at : at + count])))
            at += count


@cache
def _insert(table: str, width: int, count: int, conflict: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT INTO {table} VALUES {', '.join([row] * count)}{conflict}"  # noqa: S608 - nothing of it comes from outside


def _write_rows(cursor: sqlite3.Cursor, contents: Contents) -> None:
    gone: list[Key] = []
    known: list[tuple[object, ...]] = []
    fresh: list[tuple[object, ...]] = []
    for key, row in contents.changes.items():
        if row is None:
            gone.append(key)
        elif _in_place(contents.was[key], row):
            known.append((row.status, encode_body(row), *key))
        else:
            fresh.append((*key, row.status, row.owner, row.at_ms, encode_body(row)))
    if gone:
        cursor.executemany("DELETE FROM rows WHERE kind = ? AND id = ?", gone)
    if known:
        cursor.executemany(_UPDATE_ROW, known)
        # We were wrong about the tables: nothing of this may stand.
        if cursor.rowcount != len(known):
            raise sqlite3.DatabaseError(f"{len(known)} rows were to be updated, {cursor.rowcount} were there")
    insert(cursor, "rows", 6, fresh, _UPSERT)


def _in_place(before: Row | None, row: Row) -> bool:
    """Whether nothing of a row changes that lists are ordered by: its index entries stay, and with them their pages."""
    return before is not None and before.at_ms == row.at_ms and before.owner == row.owner
