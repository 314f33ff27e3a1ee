"""Lines out of a byte stream that may be hostile: a line over the bound is counted and dropped, never kept.

Pure, bounded memory; refuses to know what a line means.
"""

import msgspec


class Overlong(msgspec.Struct, frozen=True):
    """A line over the bound: its first bytes, for the record's digest."""

    head: bytes


class Lines:
    """Cuts one stream into lines."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds one line, its line end not counted."""
        self._max = max_bytes
        self._buffer = bytearray()
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """The non-blank lines that the next bytes complete; an overlong one is reported when the bound is passed, once."""
        if not self._buffer and not self._dropping and len(chunk) <= self._max and chunk.endswith(b"\n"):
            # The usual case: whole messages in one read, nothing kept.
            return [line for line in chunk.split(b"\n") if line and not line.isspace()]
        found: list[bytes | Overlong] = []
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._take(chunk[start:end], found)
            if self._buffer and not self._buffer.isspace():
                found.append(bytes(self._buffer))
            self._buffer.clear()
            self._dropping = False
            start = end + 1
        self._take(chunk[start:], found)
        return found

    def _take(self, piece: bytes, found: list[bytes | Overlong]) -> None:
        if self._dropping:
            return
        self._buffer += piece
        if len(self._buffer) > self._max:
            found.append(Overlong(bytes(self._buffer[: self._max])))
            self._buffer.clear()
            self._dropping = True
