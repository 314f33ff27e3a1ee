"""Newline-delimited messages out of a byte stream. Pure, bounded memory; refuses to know what a line means."""


class LineOverflowError(Exception):
    """A line grew beyond the bound; the stream cannot be read on."""


class LineSplitter:
    """Cuts a stream into lines. After `LineOverflowError` it must not be fed again."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` bounds one line, its line feed not counted."""
        self._max = max_bytes
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and give the non-blank lines they complete, without line ends.

        Raises:
            LineOverflowError: a line is larger than the bound.
        """
        buffer = self._buffer
        if not buffer and chunk.endswith(b"\n") and len(chunk) <= self._max:
            # The usual case: whole messages in one read, nothing kept.
            return [line for line in chunk.split(b"\n") if line and not line.isspace()]
        head, found, rest = chunk.partition(b"\n")
        buffer += head
        if len(buffer) > self._max:
            raise LineOverflowError
        if not found:
            return []
        *lines, tail = rest.split(b"\n")
        lines.insert(0, bytes(buffer))
        self._buffer = bytearray(tail)
        if len(tail) > self._max or any(len(line) > self._max for line in lines):
            raise LineOverflowError
        return [line for line in lines if line and not line.isspace()]
