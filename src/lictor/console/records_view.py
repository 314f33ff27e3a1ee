"""The log as pages show it: rows newest first, one entry in full. Read in bounded steps; refuses to know HTTP."""

import asyncio
import re
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.console.records_tail import STEP
from lictor.ports import RecordStore, StoredEntry
from lictor.records.merkle import leaf_hash

KINDS: Final = ("request", "decision", "approval", "privilege", "signal", "execution")
"""First words of record types."""
_TYPE: Final = re.compile(r"[a-z]+(\.[a-z_]*)?", re.ASCII)
MAX_KIND: Final = 60
PAGE: Final = 50
LOOKED: Final = 5_000
"""Entries looked at for one page of a filtered log; then the page says how far it got."""
MAX_ENTRY_LINES: Final = 2_000
_MAX_TOLD: Final = 60
_MOST_TOLD: Final = 5
_FIRST: Final[dict[str, tuple[str, ...]]] = {
    "request.received": ("agent", "server", "name"),
    "decision.made": ("outcome", "reason", "policies"),
    "privilege.bundle_activated": ("revision",),
    "execution.started": ("execution", "task"),
    "execution.ended": ("outcome", "reason", "execution"),
}
"""Members that tell most, where the order of the record's own members does not."""
_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Said:
    """One member of a record in few words; `cut`: there is more of it."""

    name: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row: when, what type, and the words that tell most."""

    seq: int
    at_ms: int
    type: str
    gist: tuple["Said", ...]
    more: bool = False
    """Whether the record says more than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Rows, newest first."""

    rows: tuple[Entry, ...]
    size: int
    looked: int
    """Entries looked at for it."""
    older: int | None
    """Where the next page begins; None: this is the beginning of the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One entry in full."""

    seq: int
    at_ms: int
    type: str
    lines: tuple[str, ...]
    left_out: int
    """Lines that are not shown; the file holds all of them."""
    size: int
    leaf: str
    agrees: bool
    """Whether the stored leaf hash is that of the data."""
    readable: bool


def is_kind(text: str) -> bool:
    """Whether it can be the beginning of a record type."""
    return len(text) <= MAX_KIND and _TYPE.fullmatch(text) is not None


async def page_of(store: RecordStore, *, before: int | None, kind: str, limit: int = PAGE) -> LogPage:
    """One page of the log, read backwards.

    Args:
        store: the log.
        before: the sequence number it begins below; None: the newest.
        kind: how record types begin; empty: all.
        limit: rows at most.

    Raises:
        StoreError: the log cannot be read.
    """
    size = store.size()
    start = end = size if before is None else max(0, min(before, size))
    rows: list[Entry] = []
    # Inside a JSON text a quotation mark is escaped, so these bytes stand nowhere but at a type.
    mark = f'"type":"{kind}'.encode()
    while end > 0 and len(rows) < limit and start - end < LOOKED:
        begin = max(0, end - STEP)
        for entry in reversed(list(store.entries(begin, end))):
            end = entry.seq
            if not kind or mark in entry.data:
                rows.append(row_of(entry))
                if len(rows) == limit:
                    break
        else:
            end = begin
        await asyncio.sleep(0)
    return LogPage(rows=tuple(rows), size=size, looked=start - end, older=end or None)


def row_of(entry: StoredEntry) -> Entry:
    """A row; also of an entry that no life cycle would have written."""
    raw = _raw(entry.data)
    record = raw.get("record") if isinstance(raw, dict) else None
    if not isinstance(record, dict):
        text = entry.data[:_MAX_TOLD].decode("utf-8", "replace")
        return Entry(seq=entry.seq, at_ms=0, type="unreadable", gist=(Said("", text, len(entry.data) > _MAX_TOLD),))
    kind = str(record.get("type", ""))[:MAX_KIND]
    at = raw["at"] if isinstance(raw.get("at"), int) else 0
    said = _gist(kind, record)
    return Entry(seq=entry.seq, at_ms=at, type=kind, gist=tuple(said[:_MOST_TOLD]), more=len(said) > _MOST_TOLD)


def whole_of(entry: StoredEntry) -> Whole:
    """One entry, as indented JSON; bytes that are none as they are."""
    raw = _raw(entry.data)
    readable = isinstance(raw, dict) and isinstance(raw.get("record"), dict)
    text = (msgspec.json.format(entry.data, indent=2) if raw is not None else entry.data).decode("utf-8", "replace")
    lines = text.split("\n")
    row = row_of(entry)
    leaf = leaf_hash(entry.data)
    return Whole(
        seq=entry.seq,
        at_ms=row.at_ms,
        type=row.type,
        lines=tuple(lines[:MAX_ENTRY_LINES]),
        left_out=max(0, len(lines) - MAX_ENTRY_LINES),
        size=len(entry.data),
        leaf=leaf.hex(),
        agrees=leaf == entry.leaf,
        readable=readable,
    )


def _raw(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        return None


def _gist(kind: str, record: dict[str, Any]) -> list[Said]:
    """The members that tell most, in few words."""
    names = _FIRST.get(kind) or tuple(name for name in record if name != "type")
    return [_told(name, record[name]) for name in names if record.get(name) not in (None, "", [], {}, 0)]


def _told(name: str, value: Any) -> Said:
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        value = value["id"]
    text = value if isinstance(value, str) else _ENCODER.encode(value).decode()
    return Said(name, text[:_MAX_TOLD], len(text) > _MAX_TOLD)
