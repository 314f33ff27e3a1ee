"""The newest records of some types, followed as the log grows: each entry is read once, and memory is bounded.

Reads in steps between which the event loop gets on with its work. Refuses to know what the records are shown as.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.model.record import LogEntry, decode_entry
from lictor.ports import RecordStore, StoredEntry

REACH: Final = 20_000
"""Entries behind the newest that are looked at when nobody has looked before."""
STEP: Final = 256
"""Entries read without a pause."""


@dataclass(frozen=True, slots=True)
class Logged:
    """One record with its place in the log."""

    seq: int
    at_ms: int
    record: Any


class Tail:
    """The newest records of the wanted types."""

    def __init__(self, store: RecordStore, wanted: Iterable[type], *, most: int, reach: int = REACH) -> None:
        """Nothing is read yet.

        Args:
            store: the log.
            wanted: record types.
            most: records kept.
            reach: entries looked at, counted from the newest at the first look.
        """
        self._store = store
        self._wanted = tuple(wanted)
        self._marks = tuple(mark_of(one) for one in self._wanted)
        self._kept: deque[Logged] = deque(maxlen=most)
        self._reach = reach
        self._next = -1
        self._first = 0
        self._lock = asyncio.Lock()

    @property
    def since(self) -> int:
        """The sequence number of the first entry that was ever looked at."""
        return self._first

    async def read(self) -> tuple[Logged, ...]:
        """All that is kept, oldest first, up to the newest entry.

        Raises:
            StoreError: `log_damaged`: the log cannot be read.
        """
        async with self._lock:
            size = self._store.size()
            if self._next < 0:
                self._next = self._first = max(0, size - self._reach)
            while self._next < size:
                end = min(size, self._next + STEP)
                for entry in self._store.entries(self._next, end):
                    self._take(entry)
                self._next = end
                await asyncio.sleep(0)
            return tuple(self._kept)

    def _take(self, entry: StoredEntry) -> None:
        # Inside a JSON text a quotation mark is escaped, so these bytes stand nowhere but at a type. Most entries end here.
        if not any(mark in entry.data for mark in self._marks):
            return
        found = decoded(entry)
        if isinstance(found.record, self._wanted):
            self._kept.append(Logged(entry.seq, found.at, found.record))


def mark_of(record: type) -> bytes:
    """The bytes by which an entry of this record type is known before it is decoded."""
    config = getattr(record, "__struct_config__")  # noqa: B009 - msgspec's types do not declare it on `type`
    return f'"type":"{config.tag}"'.encode()


def decoded(entry: StoredEntry) -> LogEntry:
    """An entry.

    Raises:
        StoreError: `log_damaged`: it cannot be read.
    """
    try:
        return decode_entry(entry.data)
    except msgspec.MsgspecError as error:
        message = f"entry {entry.seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error
