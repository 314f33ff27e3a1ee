"""A SQLite log for whoever only reads it: replay, backtest, shadow. Knows no keys of the house, starts no thread.

Unlike a `LogSnapshot` it holds no view between two pages, so that a long reading does not keep the write-ahead log of a running
gateway from shrinking; unlike a `SqliteStore` it cannot write and checks nothing on the way in.
"""

import sqlite3
from pathlib import Path
from typing import Any, Self

from lictor.lifecycle.rows import Pointer, erased_key
from lictor.model.errors import StoreError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.stores.group import SELECT_ROW
from lictor.stores.reading import UNREADABLE, LogReads, decoded
from lictor.stores.scrub import OWED
from lictor.stores.sqlite_schema import connect


class LogReader(LogReads):
    """Entries, sealed payloads and kept bundles of a log. For one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open.

        Raises:
            StoreError: `log_damaged`: there is none, or it cannot be opened.
        """
        try:
            self._connection = connect(path, read_only=True)
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def erased(self, task: TaskId) -> tuple[int, str] | None:
        """See `RecordStore.erased`.

        Raises:
            StoreError: `log_damaged`: its row is not readable.
        """
        found = self._all(SELECT_ROW, *erased_key(task))
        if not found:
            return None
        row = decoded(*erased_key(task), *found[0])
        return (row.at_ms, row.body.target) if isinstance(row.body, Pointer) else None

    def owes_scrub(self) -> bool:
        """Whether old pages of the files may still hold a key that was destroyed (`stores.scrub`).

        Raises:
            StoreError: `log_damaged`: it cannot be read.
        """
        return bool(self._all(OWED))

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _all(self, sql: str, *parameters: object) -> list[Any]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except UNREADABLE as error:
            raise _unreadable(error) from error


def _unreadable(error: Exception) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}", remedy="see: lictor log verify")
