"""Reads the end of the log for one thread of its own, while others go on writing. Nothing can be written through it.

No snapshot is held between two reads, so the write-ahead log can shrink however slowly the reader goes on. It refuses to know
what the entries mean and who reads them.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.ports import RecordStore, StoredEntry
from lictor.stores.reading import UNREADABLE
from lictor.stores.sqlite_schema import connect

_SIZE: Final = "SELECT ifnull(max(seq), -1) + 1 FROM entries"
_PAGE: Final = "SELECT seq, data, leaf FROM entries WHERE seq >= ? ORDER BY seq LIMIT ?"


class LogTail:
    """`lictor.service.log.pump.Tail` of a SQLite log, over a connection of its own."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            StoreError: `cannot_record`: it cannot be opened.
        """
        try:
            self._connection = connect(path, read_only=True)
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def size(self) -> int:
        """See `Tail.size`."""
        return int(self._all(_SIZE)[0][0])

    def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `Tail.read`."""
        return [StoredEntry(*row) for row in self._all(_PAGE, start, limit)]

    def close(self) -> None:
        """See `Tail.close`."""
        self._connection.close()

    def _all(self, sql: str, *parameters: int) -> list[tuple[int, bytes, bytes]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except UNREADABLE as error:
            raise _unreadable(error) from error


class StoreTail:
    """`lictor.service.log.pump.Tail` of a store that is no file: for tests, and for whoever is alone with it."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store

    def size(self) -> int:
        """See `Tail.size`."""
        return self._store.size()

    def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """See `Tail.read`."""
        return list(self._store.entries(start, start + limit))

    def close(self) -> None:
        """Nothing is held."""


def tail_of(path: Path) -> Callable[[], LogTail]:
    """Opens the log at this path, later, on the thread that reads it."""
    return lambda: LogTail(path)


def _unreadable(error: Exception) -> StoreError:
    return StoreError(Reason.CANNOT_RECORD, f"the log cannot be read: {str(error)!r:.160}")
