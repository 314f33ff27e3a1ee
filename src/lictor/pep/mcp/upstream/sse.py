"""Server-sent events, read as they arrive (WHATWG HTML, 9.2.6). Pure: bytes in, events out, bounded memory.

Refuses to know what an event's data means.
"""

import re
from typing import Final

import msgspec

_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_RETRY_DIGITS: Final = 9


class SseEvent(msgspec.Struct, frozen=True):
    """One dispatched event; `data` lines are joined by a line feed. Undecoded: the JSON reader judges the encoding."""

    event: str
    data: bytes


class SseOverflowError(Exception):
    """A line or an event grew beyond the bound; the stream cannot be read on."""


class SseParser:
    """One stream. After `SseOverflowError` it must not be fed again.

    Attributes:
        last_event_id: the last `id` field seen; empty when there was none.
        retry_ms: the last `retry` field seen, in milliseconds; None when there was none.
    """

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds one unfinished line, and the data of one event."""
        self._max = max_bytes
        self._buffer = bytearray()
        self._scanned = 0
        self._first = True
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0
        self.last_event_id = ""
        self.retry_ms: int | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes and give the events they complete.

        Raises:
            SseOverflowError: a line or an event is larger than the bound.
        """
        buffer = self._buffer
        buffer += chunk
        if self._first:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                return []
            self._first = False
            if buffer.startswith(_BOM):
                del buffer[: len(_BOM)]
        events: list[SseEvent] = []
        start = 0
        for end in _LINE_END.finditer(buffer, self._scanned):
            # A lone CR at the very end may be the first half of CRLF: wait for the next byte.
            if end.end() == len(buffer) and end.group() == b"\r":
                break
            event = self._line(bytes(buffer[start : end.start()]))
            if event is not None:
                events.append(event)
            start = end.end()
        del buffer[:start]
        if len(buffer) > self._max:
            raise SseOverflowError
        self._scanned = max(0, len(buffer) - 1)
        return events

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1
            if self._size > self._max:
                raise SseOverflowError
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self.last_event_id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= _RETRY_DIGITS:
            self.retry_ms = int(value)
        return None

    def _dispatch(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._data, self._event, self._size = [], "", 0
        if not data:
            return None
        return SseEvent(event or "message", b"\n".join(data))
