"""A body in chunks, decoded as it arrives (RFC 9112 7.1). Pure: bounded memory, every byte of the framing checked."""

import re
from typing import Final

from lictor.pep.mcp.upstream.http1.faults import HttpFault
from lictor.pep.mcp.upstream.http1.head import read_fields

_LINE_BYTES: Final = 256
"""A size with its extensions, which nobody uses: room without a way to send much that counts as nothing."""
_TRAILER_BYTES: Final = 8192
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*+;[\t\x20-\x7e\x80-\xff]*)?")
_END: Final = b"\r\n"
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})
"""What a trailer must not hold (RFC 9110 6.5.1): a reader that merges trailers would measure the message anew."""


class Chunks:
    """One body. After `HttpFault` it must not be fed again.

    Attributes:
        done: the last chunk and the trailer section were read.
        rest: once done, what followed in the last bytes fed.
    """

    __slots__ = ("_left", "_pending", "_trailer", "done", "rest")

    def __init__(self) -> None:
        """At the first size."""
        self._pending = b""
        self._left = 0
        """Bytes of the current chunk that are still to come; its closing CRLF is part of them."""
        self._trailer = False
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and give what they hold of the body. Trailer fields are checked and dropped.

        Raises:
            HttpFault: a size that is none, data that does not end where its size says, or a bound.
        """
        if self._pending:
            data, self._pending = self._pending + data, b""
        found: list[bytes] = []
        at, end = 0, len(data)
        while at < end and not self.done:
            if self._left:
                at = self._data(data, at, found)
            elif self._trailer:
                at = self._fields(data, at)
            else:
                at = self._size(data, at)
        if self.done:
            self.rest = data[at:]
        return found

    def _size(self, data: bytes, at: int) -> int:
        end = data.find(_END, at, at + _LINE_BYTES + 2)
        if end < 0:
            # A line feed in an unfinished line can no longer become its proper end.
            if len(data) - at > _LINE_BYTES or b"\n" in data[at:]:
                raise HttpFault(f"chunk size {data[at : at + 40]!r}")
            self._pending = data[at:]
            return len(data)
        size = _SIZE.fullmatch(data, at, end)
        if size is None:
            raise HttpFault(f"chunk size {data[at : min(end, at + 40)]!r}")
        count = int(size[1], 16)
        self._left = count + 2 if count else 0
        self._trailer = not count
        return end + 2

    def _data(self, data: bytes, at: int, found: list[bytes]) -> int:
        """Body bytes are all but the last two that are left, which must be the line end."""
        body = min(self._left - 2, len(data) - at)
        if body > 0:
            found.append(data[at : at + body])
            self._left -= body
            at += body
        if self._left <= 2 and at < len(data):
            tail = data[at : at + self._left]
            if tail != _END[2 - self._left : 2 - self._left + len(tail)]:
                raise HttpFault(f"a chunk ends with {tail!r}")
            self._left -= len(tail)
            at += len(tail)
        return at

    def _fields(self, data: bytes, at: int) -> int:
        if data.startswith(_END, at):
            self.done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + _TRAILER_BYTES)
        if end < 0:
            if len(data) - at >= _TRAILER_BYTES or b"\n\n" in data[at:]:
                raise HttpFault("trailer fields")
            self._pending = data[at:]
            return len(data)
        if _FRAMING & read_fields(data[at : end + 2]).keys():
            raise HttpFault("framing in a trailer")
        self.done = True
        return end + 4
