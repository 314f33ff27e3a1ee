r"""The head of a response, read strictly: where two readers could differ about its end or its length, it is refused. Pure.

Stricter than RFC 9112 allows: no bare CR or LF (2.2), no obs-fold (5.2), no space before the colon (5.1), never two lengths, even
equal ones (6.3), never a length beside `Transfer-Encoding` (6.1), no coding but `chunked`. A server that is refused was about to
desynchronise a connection that other tasks use. Refuses to know what fields mean beyond the framing.
"""

import re
from typing import Final

import msgspec

from lictor.pep.mcp.upstream.http1.faults import HttpFault

HEAD_BYTES: Final = 32 * 1024
"""Status line and fields together, final or interim; what proxies in front of servers commonly allow."""
FIELDS: Final = 128
"""Fields of one head, and of one trailer section."""
CHUNKED: Final = -1
"""`Head.length` of a body in chunks."""
UNTIL_CLOSE: Final = -2
"""`Head.length` of a body that ends with its connection."""

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
# Values cannot hold a line end and every match spans a line, so matches that are as many as lines cover all of them.
_FIELD: Final = re.compile(rb"^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)\r\n", re.MULTILINE)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_SINGLE: Final = frozenset(
    {b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"mcp-session-id"}
)
"""What must not be said twice: readers differ in which one they take."""


class Head(msgspec.Struct, frozen=True):
    """What a response said before its body."""

    status: int
    fields: dict[bytes, bytes]
    """By lower-case name; what was said in several lines is joined by commas (RFC 9110 5.3)."""
    length: int
    """Bytes of the body, or `CHUNKED`, or `UNTIL_CLOSE`."""
    keeps: bool
    """Whether the connection may carry another request after this response."""

    def text(self, name: bytes) -> str | None:
        """A field by its lower-case name, undecoded characters kept as Latin-1; None when it was not sent."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")


def read_head(block: bytes) -> Head:
    """Read a head.

    Args:
        block: from the status line to the last field, each line with its CRLF, without the empty line.

    Raises:
        HttpFault: not HTTP/1.x, malformed, over a bound, or of two minds about where the body ends.
    """
    line, _, rest = block.partition(b"\r\n")
    status = _STATUS.fullmatch(line)
    if status is None:
        raise HttpFault(f"status line {line[:80]!r}")
    fields = read_fields(rest)
    code = int(status[2])
    length = _length(code, fields, status[1])
    keeps = status[1] == b"1" and length != UNTIL_CLOSE and not _closes(fields)
    return Head(code, fields, length, keeps)


def read_fields(block: bytes) -> dict[bytes, bytes]:
    """Header or trailer fields, by lower-case name.

    Raises:
        HttpFault: a line that is no field, too many of them, or one twice that must not be.
    """
    pairs = _FIELD.findall(block)
    if len(pairs) != block.count(b"\n") or len(pairs) > FIELDS:
        raise HttpFault("too many header fields" if len(pairs) > FIELDS else f"header field {_culprit(block)!r}")
    fields: dict[bytes, bytes] = {}
    for name, value in pairs:
        key = name.lower()
        if key not in fields:
            fields[key] = value.rstrip(b" \t")
        elif key in _SINGLE:
            raise HttpFault(f"two fields {key.decode()}")
        else:
            fields[key] = fields[key] + b", " + value.rstrip(b" \t")
    return fields


def _length(status: int, fields: dict[bytes, bytes], version: bytes) -> int:
    """Where the body ends (RFC 9112 6.3, for answers to GET, POST and DELETE)."""
    said, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if said is not None and not _DIGITS.fullmatch(said):
        raise HttpFault(f"content-length {said[:40]!r}")
    if coding is not None:
        if said is not None:
            raise HttpFault("content-length beside transfer-encoding")
        if version == b"0" or coding.lower() != b"chunked":
            raise HttpFault(f"transfer-encoding {coding[:40]!r}")
    if status < 200 or status in {204, 304}:
        # A 304 may tell the length that a 200 would have had; the others have nothing to announce.
        if coding is not None or (status != 304 and said is not None and int(said) != 0):
            raise HttpFault(f"a body with status {status}")
        return 0
    if coding is not None:
        return CHUNKED
    return UNTIL_CLOSE if said is None else int(said)


def _closes(fields: dict[bytes, bytes]) -> bool:
    said = fields.get(b"connection")
    return said is not None and b"close" in [word.strip(b" \t") for word in said.lower().split(b",")]


def _culprit(block: bytes) -> bytes:
    """The first line that is no field, for the message."""
    lines = block.removesuffix(b"\r\n").split(b"\r\n")
    return next((line for line in lines if not _FIELD.fullmatch(line + b"\r\n")), b"")[:80]
