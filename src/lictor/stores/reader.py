"""A SQLite log for whoever only reads it: replay, backtest, shadow. Knows no keys of the house, starts no thread.

Unlike a `LogSnapshot` it holds no view between two pages, so that a long reading does not keep the write-ahead log of a running
gateway from shrinking; unlike a `SqliteStore` it cannot write and checks nothing on the way in.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from lictor.lifecycle.rows import Pointer, decode_row, erased_key
from lictor.model.errors import StoreError
from lictor.model.ids import PolicyRevision, RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.ports import Payload, StoredEntry
from lictor.stores.sealing import unseal
from lictor.stores.sqlite_schema import connect

_PAGE: Final = 512


class LogReader:
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

    def size(self) -> int:
        """Number of entries in the log."""
        return int(self._all("SELECT ifnull(max(seq), -1) + 1 FROM entries")[0][0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `RecordStore.entries`. Ends at what was committed when it started."""
        end = self.size() if stop is None else min(stop, self.size())
        sql = "SELECT seq, data, leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
        while start < end and (page := self._all(sql, start, end, _PAGE)):
            for row in page:
                yield StoredEntry(*row)
            start = page[-1][0] + 1

    def payload(self, request: RequestId) -> Payload | None:
        """See `RecordStore.payload`.

        Raises:
            StoreError: `log_damaged`: it is there with its key but does not open.
        """
        found = self._all(
            "SELECT k.key, p.task, p.nonce, p.ciphertext FROM payloads p JOIN task_keys k ON k.task = p.task WHERE request = ?",
            request,
        )
        if not found:
            return None
        key, task, nonce, ciphertext = found[0]
        return unseal(key, request, task, nonce, ciphertext)

    def erased(self, task: TaskId) -> tuple[int, str] | None:
        """See `RecordStore.erased`.

        Raises:
            StoreError: `log_damaged`: its row is not readable.
        """
        found = self._all("SELECT status, owner, at_ms, body FROM rows WHERE kind = ? AND id = ?", *erased_key(task))
        if not found:
            return None
        try:
            row = decode_row(*erased_key(task), *found[0])
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StoreError(Reason.LOG_DAMAGED, f"the row of erased {task!r:.80} is not readable") from error
        return (row.at_ms, row.body.target) if isinstance(row.body, Pointer) else None

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """See `RecordStore.bundle`."""
        return dict(self._all("SELECT name, data FROM bundles WHERE revision = ? ORDER BY name", revision)) or None

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
        """All rows at once: an open statement would pin a snapshot."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(error) from error


def _unreadable(error: sqlite3.Error) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, f"the log cannot be read: {error}", remedy="see: lictor log verify")
