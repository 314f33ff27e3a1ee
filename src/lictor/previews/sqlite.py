"""What statements would do to a SQLite database: run on a copy in memory, which is then forgotten.

The file is only read. On the copy nothing reaches outside: no ATTACH, no extension, no pragma, bounded memory and time. Refuses
to know who asks and what the server's own connection is set to (foreign keys, functions of its own).
"""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import msgspec

from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.pdp.sql.lexer import statements
from lictor.previews.asking import NotFoundOutError
from lictor.previews.disk import Disk
from lictor.previews.parts import cut
from lictor.previews.settings import SqliteAuthority

DEADLINE_S: Final = 1.5
MAX_ROWS: Final = 100_000
"""Rows of a touched table that are compared one by one."""
SAMPLE: Final = 10
MAX_CELL: Final = 200
_PAGES: Final = 1_000
_STEPS: Final = 100
"""Instructions of the engine between two looks at the clock: one alone may take seconds (`instr`)."""
_MAX_VALUE: Final = 1024 * 1024
_MAX_GROWTH: Final = 64 * 1024 * 1024
"""Bytes by which a text may make the copy larger."""
_MAX_READ: Final = 128 * 1024 * 1024
"""Bytes of one table's rows: columns that are computed are larger than the file they stand in."""
_WANDERING: Final = frozenset(
    {
        *("random", "randomblob", "last_insert_rowid", "changes", "total_changes"),
        *("date", "time", "datetime", "julianday", "unixepoch", "strftime", "timediff"),
        *("current_date", "current_time", "current_timestamp"),
    }
)
"""Functions that give something else each time: what they make cannot be compared."""
_SCHEMA: Final = frozenset({"sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_sequence", "sqlite_stat1"})
_WRITES: Final = {
    sqlite3.SQLITE_INSERT,
    sqlite3.SQLITE_UPDATE,
    sqlite3.SQLITE_DELETE,
}
_REFUSED: Final = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_CREATE_VTABLE,
    sqlite3.SQLITE_DROP_VTABLE,
}
_DROPS: Final = {sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_TEMP_TABLE, sqlite3.SQLITE_ALTER_TABLE}


class Touched(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one table."""

    table: str
    columns: tuple[str, ...]
    rows: int
    """Before."""
    come: int
    go: int
    change: int
    sample: tuple[tuple[str, ...], ...]
    """Marked `-` and `+`, before and after."""
    gone: bool = False
    """The table itself goes."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a text does to the database as it is now."""

    touched: tuple[Touched, ...]
    value: str
    """Digest of the rows that change or go, as they are now; of what they become; and of those that come."""
    settled: bool = True
    """False: values come from the clock or from chance, so that what rows become is not in `value`."""
    referring: tuple[tuple[str, str], ...] = ()
    """Tables whose foreign keys name a touched one: whether they are enforced is up to the server's connection."""


def run_on_copy(disk: Disk, authority: SqliteAuthority, text: str, deadline: float) -> Outcome:
    """Copy, run, compare. Blocks.

    Args:
        deadline: by `time.monotonic`.

    Raises:
        NotFoundOutError: it cannot be copied or run within bounds; the text says why.
    """
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        _copied(disk, authority, copy, deadline)
        _bounded(copy, deadline)
        return _run(copy, text, deadline)
    except (sqlite3.Error, sqlite3.Warning) as error:
        late = time.monotonic() >= deadline
        raise NotFoundOutError("it takes too long" if late else f"the database says: {cut(str(error), 200)}") from None
    except (MemoryError, OverflowError):
        raise NotFoundOutError("it takes more memory than a preview may") from None
    finally:
        copy.close()


def _copied(disk: Disk, authority: SqliteAuthority, copy: sqlite3.Connection, deadline: float) -> None:
    def progress(_status: int, _remaining: int, total: int) -> None:
        if total * size > authority.max_bytes:
            raise NotFoundOutError("the database is larger than a preview may copy")
        if time.monotonic() >= deadline:
            raise NotFoundOutError("it takes too long to copy the database")

    path = disk.native(authority.path)
    source = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.2, check_same_thread=False)
    try:
        size = int(source.execute("PRAGMA page_size").fetchone()[0])
        count = int(source.execute("PRAGMA page_count").fetchone()[0])
        progress(0, 0, count)
        source.backup(copy, pages=_PAGES, progress=progress, sleep=0.01)
    finally:
        source.close()


def _bounded(copy: sqlite3.Connection, deadline: float) -> None:
    copy.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
    copy.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    copy.execute("PRAGMA trusted_schema = OFF")
    size, count = (int(copy.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count"))
    copy.execute(f"PRAGMA max_page_count = {count + _MAX_GROWTH // size}")
    copy.set_progress_handler(lambda: time.monotonic() >= deadline, _STEPS)


def _run(copy: sqlite3.Connection, text: str, deadline: float) -> Outcome:
    parts = _statements(text)
    # The tables the text can touch are known before it runs: the engine names them while it prepares.
    tables, called = _targets(copy, parts)
    before = {table: _rows(copy, table, deadline) for table in tables}
    columns = {table: _columns(copy, table) for table in tables}
    keys = {table: _key(copy, table) for table in tables}
    stamped = {table: _stamped(copy, table) for table in tables}
    steady = _WANDERING.isdisjoint(called)
    settled = steady
    referring = _referring(copy, tables)
    copy.set_authorizer(_judge)
    for part in parts:
        copy.execute(part).fetchmany(1)
    copy.set_authorizer(None)
    left = _tables(copy)
    touched, hashed = [], []
    for table in sorted(tables):
        after = _rows(copy, table, deadline) if table in left else {}
        one, rows = _compared(table, columns[table], before[table], after, gone=table not in left)
        if one is not None:
            touched.append(one)
            settled = settled and not (one.come and stamped[table])
            becomes = _becomes(before[table], after, keys[table], stamped[table]) if steady else []
            hashed.append([table, one.come, *rows, *becomes])
    lost = {one.table for one in touched if one.go or one.change or one.gone}
    return Outcome(
        touched=tuple(touched),
        value=sha256_digest(msgspec.json.encode(hashed)),
        referring=tuple(pair for pair in referring if pair[1] in lost),
        settled=settled,
    )


def _statements(text: str) -> list[str]:
    try:
        return [text[tokens[0].start : tokens[-1].end] for tokens in statements(text, "sqlite")]
    except CallerError as error:
        raise NotFoundOutError(error.message) from None


def _judge(action: int, _first: str | None, _second: str | None, _database: str | None, _inner: str | None) -> int:
    refused = action in _REFUSED or (action == sqlite3.SQLITE_FUNCTION and _second == "load_extension")
    return sqlite3.SQLITE_DENY if refused else sqlite3.SQLITE_OK


def _targets(copy: sqlite3.Connection, parts: list[str]) -> tuple[list[str], set[str]]:
    """Tables that are written, triggers and cascades included, and functions. Of a text that changes the schema: every table."""
    known = _tables(copy)
    found: set[str] = set()
    called: set[str] = set()

    def listen(action: int, first: str | None, second: str | None, database: str | None, inner: str | None) -> int:
        if action in _WRITES and first is not None:
            found.update(known if first in _SCHEMA else {first})
        elif action in _DROPS:
            found.update(known)
        elif action == sqlite3.SQLITE_FUNCTION and second is not None:
            called.add(second.lower())
        return _judge(action, first, second, database, inner)

    copy.set_authorizer(listen)
    try:
        for index, part in enumerate(parts):
            try:
                copy.execute(f"EXPLAIN {part}").fetchmany(1)
            except sqlite3.Error:
                if not index:
                    raise
                found.update(known)  # it stands on what an earlier one makes
    finally:
        copy.set_authorizer(None)
    return sorted(name for name in found if name in known), called


def _tables(copy: sqlite3.Connection) -> set[str]:
    rows = copy.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
    return {row[0] for row in rows}


def _referring(copy: sqlite3.Connection, tables: list[str]) -> list[tuple[str, str]]:
    folded = {table.lower(): table for table in tables}
    found = set()
    for table in _tables(copy):
        for row in copy.execute(f"PRAGMA foreign_key_list({_quoted(table)})"):
            other = folded.get(str(row[2]).lower())
            if other is not None and {str(row[5]), str(row[6])} & {"CASCADE", "SET NULL", "SET DEFAULT"}:
                found.add((table, other))
    return sorted(found)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(copy: sqlite3.Connection, table: str) -> tuple[str, ...]:
    return tuple(row[1] for row in copy.execute(f"PRAGMA table_info({_quoted(table)})"))


def _key(copy: sqlite3.Connection, table: str) -> list[int]:
    """Positions of the primary key's columns."""
    return [row[0] for row in copy.execute(f"PRAGMA table_info({_quoted(table)})") if row[5]]


def _stamped(copy: sqlite3.Connection, table: str) -> set[int]:
    """Positions of the columns that are filled from the clock or from chance where nothing is said."""
    rows = copy.execute(f"PRAGMA table_info({_quoted(table)})")
    return {row[0] for row in rows if any(name in str(row[4] or "").lower() for name in _WANDERING)}


def _rows(copy: sqlite3.Connection, table: str, deadline: float) -> dict[Any, tuple[Any, ...]]:
    """Rows by their key: the rowid, or the primary key where a table has none."""
    name = _quoted(table)
    key_at: list[int] = []
    try:
        cursor = copy.execute(f"SELECT rowid, * FROM {name}")  # noqa: S608 - quoted
    except sqlite3.OperationalError:
        key_at = _key(copy, table)
        cursor = copy.execute(f"SELECT * FROM {name}")  # noqa: S608 - quoted
    found: dict[Any, tuple[Any, ...]] = {}
    read = 0
    for row in cursor:
        read += sum(len(value) for value in row if isinstance(value, str | bytes))
        if read > _MAX_READ or time.monotonic() >= deadline:
            raise NotFoundOutError(f"{table} is too large: which of its rows change was not found out")
        if key_at:
            found[tuple(row[at] for at in key_at)] = row
        else:
            found[row[0]] = row[1:]
        if len(found) > MAX_ROWS:
            raise NotFoundOutError(f"{table} has more than {MAX_ROWS:,} rows: which of them change was not found out")
    return found


def _compared(
    table: str,
    columns: tuple[str, ...],
    before: dict[Any, tuple[Any, ...]],
    after: dict[Any, tuple[Any, ...]],
    *,
    gone: bool,
) -> tuple[Touched | None, list[str]]:
    lost = [key for key in before if key not in after]
    changed = [key for key in before if key in after and before[key] != after[key]]
    fresh = [key for key in after if key not in before]
    if not (lost or changed or fresh or gone):
        return None, []
    sample: list[tuple[str, ...]] = []
    for key in (*changed, *lost, *fresh)[:SAMPLE]:
        sample += [("-", *_cells(before[key]))] if key in before else []
        sample += [("+", *_cells(after[key]))] if key in after else []
    rows = sorted(sha256_digest(repr((key, before[key])).encode("utf-8", "surrogatepass")) for key in (*changed, *lost))
    one = Touched(
        table=table,
        columns=columns,
        rows=len(before),
        come=len(fresh),
        go=len(lost),
        change=len(changed),
        sample=tuple(sample),
        gone=gone,
    )
    return one, rows


def _becomes(
    before: dict[Any, tuple[Any, ...]], after: dict[Any, tuple[Any, ...]], key_at: list[int], stamped: set[int]
) -> list[str]:
    """What rows become, and those that come, as digests.

    Of a new row the time it came is left out, and a number that only says "the next row": with somebody else's new row it is not
    another effect.
    """
    fresh = sorted((key for key in after if key not in before), key=repr)
    numbers = [key for key in before if isinstance(key, int)]
    first = max(numbers, default=0) + 1
    counted_on = set(fresh) == set(range(first, first + len(fresh)))
    found = [repr((key, after[key])) for key in before if key in after and before[key] != after[key]]
    for key in fresh:
        row = after[key]
        next_one = key_at if counted_on else ()
        kept = [v for at, v in enumerate(row) if at not in stamped and not (at in next_one and v == key)]
        found.append(repr((None if counted_on else key, kept)))
    return sorted(sha256_digest(text.encode("utf-8", "surrogatepass")) for text in found)


def _cells(row: tuple[Any, ...]) -> Iterator[str]:
    for value in row:
        if isinstance(value, bytes):
            yield f"{len(value)} bytes {sha256_digest(value)}"
        else:
            yield "NULL" if value is None else cut(str(value), MAX_CELL)
