"""What every reader of a SQLite log asks in the same words: entries, sealed payloads, kept bundles, rows; a page at a time.

Refuses to know whose connection it is and what is done when it cannot be read.
"""

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from lictor.lifecycle.rows import Row, decode_row
from lictor.model.errors import StoreError
from lictor.model.ids import PolicyRevision, RequestId
from lictor.model.reasons import Reason
from lictor.ports import Payload, StoredEntry
from lictor.stores.sealing import unseal

UNREADABLE: Final = (sqlite3.Error, UnicodeDecodeError)
"""What a damaged file makes the driver raise: it cannot always put its own complaint into words."""
BAD_ROW: Final = (KeyError, TypeError, msgspec.MsgspecError, UnicodeDecodeError)
"""What a row raises that is not as it was written."""
PAGE: Final = 512
"""Entries read at a time: between two pages no snapshot is held."""


class LogReads(ABC):
    """The reads that need no state, over `_all`."""

    @abstractmethod
    def _all(self, sql: str, *parameters: object) -> list[Any]:
        """All rows at once: an open statement would pin a snapshot, and later reads would be stale.

        Raises:
            StoreError: it cannot be read.
        """

    def size(self) -> int:
        """See `RecordStore.size`."""
        return int(self._all("SELECT ifnull(max(seq), -1) + 1 FROM entries")[0][0])

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `RecordStore.entries`. Ends at what was committed when it started."""
        end = self.size() if stop is None else min(stop, self.size())
        sql = "SELECT seq, data, leaf FROM entries WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?"
        while start < end and (page := self._all(sql, start, end, PAGE)):
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

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """See `RecordStore.bundle`."""
        return dict(self._all("SELECT name, data FROM bundles WHERE revision = ? ORDER BY name", revision)) or None


def decoded(kind: str, name: str, status: str, owner: str, at_ms: int, body: bytes) -> Row:
    """A row as it is stored.

    Raises:
        StoreError: `log_damaged`: it is not readable.
    """
    try:
        return decode_row(kind, name, status, owner, at_ms, body)
    except BAD_ROW as error:
        message = f"the row of {kind} {name!r:.80} is not readable"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error
