"""The bytes of a request. Pure. Whatever could end a field early and start another is refused here, last of all."""

import re
from collections.abc import Iterable
from typing import Final

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.failures import quoted
from lictor.pep.mcp.upstream.http1.address import Address

_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"(?![ \t])[\t\x20-\x7e]*(?<![ \t])")
_METHOD: Final = re.compile(r"[A-Z]+")
_TARGET: Final = re.compile(r"[\x21-\x7e]+")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "host", "connection", "te", "trailer", "upgrade"})


def request_head(method: str, address: Address, fields: Iterable[tuple[str, str]]) -> bytes:
    """The part of a head that is the same for every request, without its end.

    Raises:
        UpstreamError: INTERNAL, nothing sent: see `field_lines`.
    """
    if (
        not _METHOD.fullmatch(method)
        or not _TARGET.fullmatch(address.target)
        or not _VALUE.fullmatch(address.authority)
    ):
        raise _refused(f"{method} {address.target}")
    return f"{method} {address.target} HTTP/1.1\r\nHost: {address.authority}\r\n".encode("ascii") + field_lines(fields)


def field_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header fields as lines.

    Raises:
        UpstreamError: INTERNAL, nothing sent: a name is no token, a value has a control or non-ASCII character (request
            smuggling), or the field belongs to the framing, which only `whole` writes (RFC 9112 5 and 6).
    """
    lines = []
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in _FRAMING:
            raise _refused(name)
        lines.append(f"{name}: {value}\r\n")
    return "".join(lines).encode("ascii")


def whole(head: bytes, more: bytes, body: bytes) -> bytes:
    """A whole request with a body: it goes out in one write."""
    return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, more, len(body), body)


def _refused(what: str) -> UpstreamError:
    return UpstreamError(Reason.INTERNAL, f"{quoted(what)} cannot be written into a request", effect_possible=False)
