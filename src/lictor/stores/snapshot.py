"""One unchanging view of a SQLite log, for verifiers: entries and checkpoints fit together while others go on writing.

Nothing is checked on the way in, so a damaged log can be looked at; nothing can be written.
"""

import sqlite3
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import Any, Self

from lictor.lifecycle.rows import Key, Row, decode_row
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.records.keychain import MAX_CHANGES
from lictor.stores.keychain import SELECT_PLACES
from lictor.stores.reading import BAD_ROW, PAGE, UNREADABLE
from lictor.stores.rebuild import Difference, differences
from lictor.stores.sqlite_schema import connect


class LogSnapshot:
    """The log as it stands now. Long-lived snapshots keep the write-ahead log from shrinking: close it."""

    def __init__(self, path: Path) -> None:
        """Take the view.

        Raises:
            StoreError: `log_damaged`: there is none, or it cannot be opened at all.
        """
        try:
            self._connection = connect(path, read_only=True)
        except sqlite3.Error as error:
            raise _unreadable(error) from error
        try:
            self._connection.execute("BEGIN")
            self._connection.execute(
                "SELECT 1 FROM sqlite_schema"
            ).fetchall()  # the snapshot is taken by the first read
        except UNREADABLE as error:
            self.close()
            raise _unreadable(error) from error

    def size(self) -> int:
        """One more than the largest entry number."""
        return int(next(self._stream("SELECT ifnull(max(seq), -1) + 1 FROM entries"))[0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """All entries there are, in the order of their numbers, gaps and all."""
        sql = (
            "SELECT seq, data, leaf FROM entries WHERE seq >= ? AND seq < ifnull(?2, 9223372036854775807) ORDER BY seq"
        )
        for page in self._pages(sql, start, stop):
            yield from starmap(StoredEntry, page)

    def checkpoints(self) -> Iterator[str]:
        """All checkpoints, by size."""
        for (text,) in self._stream("SELECT text FROM checkpoints ORDER BY size"):
            yield text

    def rolls(self) -> Iterator[str]:
        """Rolls of checkpoints, by size; none in a log of an earlier release."""
        if next(self._stream("SELECT count(*) FROM sqlite_schema WHERE name = 'rolls'"))[0]:
            for (text,) in self._stream("SELECT text FROM rolls ORDER BY last"):
                yield text

    def key_places(self) -> Iterator[object]:
        """Where the log's key is said to have changed (`keychain.handovers`)."""
        for (place,) in self._stream(SELECT_PLACES, MAX_CHANGES + 1):
            yield place

    def rebuild_rows(self) -> list[Difference]:
        """What the state tables say and the log does not, or the other way round.

        Raises:
            StoreError: it cannot be read.
        """
        return differences(self.entries(), self._rows())

    def close(self) -> None:
        """Release the view. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _rows(self) -> Iterator[tuple[Key, Row | None]]:
        for kind, name, *columns in self._stream("SELECT kind, id, status, owner, at_ms, body FROM rows"):
            try:
                yield (kind, name), decode_row(kind, name, *columns)
            except BAD_ROW:
                yield (kind, name), None

    def _stream(self, sql: str, *parameters: object) -> Iterator[Any]:
        for page in self._pages(sql, *parameters):
            yield from page

    def _pages(self, sql: str, *parameters: object) -> Iterator[list[Any]]:
        try:
            cursor = self._connection.execute(sql, parameters)
            while page := cursor.fetchmany(PAGE):
                yield page
        except UNREADABLE as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}")
