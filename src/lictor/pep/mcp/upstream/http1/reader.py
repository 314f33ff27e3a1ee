"""One response out of bytes that arrive cut anywhere. Pure: no transport, no clock; bounded but for the body it hands out."""

from typing import Final

from lictor.pep.mcp.upstream.http1.chunks import Chunks
from lictor.pep.mcp.upstream.http1.faults import HttpFault, TruncatedFault
from lictor.pep.mcp.upstream.http1.head import CHUNKED, HEAD_BYTES, UNTIL_CLOSE, Head, read_head

_INTERIM: Final = 16
"""Interim responses (1xx) before the final one: more are a server that plays for time."""
_PREFIX: Final = b"HTTP/1."
_BLANK: Final = b"\r\n\r\n"


class ResponseReader:
    """The answer to one request. After a fault it must not be fed again.

    Attributes:
        head: the final head, once it was read.
        done: the response is complete.
        extra: bytes followed the response: nothing was asked, so nothing that follows can be trusted.
    """

    __slots__ = ("_chunks", "_interim", "_left", "_pending", "_scanned", "done", "extra", "head")

    def __init__(self) -> None:
        """Before the first byte."""
        self.head: Head | None = None
        self.done = False
        self.extra = False
        self._pending = b""
        self._scanned = 0
        self._interim = 0
        self._left = 0
        self._chunks: Chunks | None = None

    @property
    def keeps(self) -> bool:
        """Whether the connection may carry another request: the response said so, is complete, and nothing follows it."""
        return self.done and not self.extra and self.head is not None and self.head.keeps

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and give what they hold of the body.

        Raises:
            HttpFault: see `read_head` and `Chunks.feed`; a switch of protocols nobody asked for; too long a head.
        """
        if self.done:
            self.extra = self.extra or bool(data)
            return []
        if self.head is None:
            rest = self._read_head(data)
            if rest is None:
                return []
            data = rest
        return self._body(data)

    def end(self) -> None:
        """The server closed its side.

        Raises:
            TruncatedFault: the response is not complete.
        """
        if self.head is not None and self.head.length == UNTIL_CLOSE:
            self.done = True
        if not self.done:
            raise TruncatedFault("the connection ended before the response did")

    def _read_head(self, data: bytes) -> bytes | None:
        """Read heads up to the final one; what follows it, or None when it is still to come."""
        while True:
            data = self._pending + data if self._pending else data
            end = data.find(_BLANK, self._scanned, HEAD_BYTES)
            if end < 0:
                self._wait(data)
                return None
            head = read_head(data[: end + 2])
            self._pending, self._scanned = b"", 0
            data = data[end + 4 :]
            if head.status >= 200:
                self.head = head
                self._left = head.length
                if head.length == CHUNKED:
                    self._chunks = Chunks()
                return data
            self._interim += 1
            if head.status == 101 or self._interim > _INTERIM:
                raise HttpFault(f"status {head.status} out of turn")

    def _wait(self, data: bytes) -> None:
        """Keep an unfinished head, unless it cannot become one."""
        if data[: len(_PREFIX)] != _PREFIX[: len(data)]:
            raise HttpFault(f"status line {data[:80]!r}")
        if len(data) >= HEAD_BYTES:
            raise HttpFault(f"a head of more than {HEAD_BYTES} bytes")
        if b"\n\n" in data[max(0, self._scanned - 2) :]:
            raise HttpFault("a head with bare line feeds")
        self._pending = data
        self._scanned = max(0, len(data) - 3)

    def _body(self, data: bytes) -> list[bytes]:
        if self._chunks is not None:
            found = self._chunks.feed(data)
            if self._chunks.done:
                self.done = True
                self.extra = bool(self._chunks.rest)
            return found
        if self._left == UNTIL_CLOSE:
            return [data] if data else []
        if len(data) >= self._left:
            self.done = True
            self.extra = len(data) > self._left
            data = data[: self._left]
        self._left -= len(data)
        return [data] if data else []
