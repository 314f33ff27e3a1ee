"""Where a server is: one parsed `http(s)` address from configuration, and what of it goes into a request. Pure."""

import re
from typing import Final

import ada_url
import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.failures import quoted

_PORTS: Final = {"http:": 80, "https:": 443}
# The parser repairs what browsers repair (backslashes, tabs, missing slashes); an operator's typing error is refused instead.
_LITERAL: Final = re.compile(r"https?://[^\s\\\x00-\x1f\x7f]+", re.IGNORECASE)


class Address(msgspec.Struct, frozen=True):
    """A server's endpoint. Two addresses with the same `origin` may share connections."""

    secure: bool
    host: str
    """In ASCII, an IPv6 address without its brackets."""
    port: int
    authority: str
    """The value of `Host` (RFC 9110 7.2): with brackets, and without a default port."""
    target: str
    """Path and query, percent-encoded."""

    @property
    def origin(self) -> tuple[bool, str, int]:
        """What a connection belongs to (RFC 9110 4.3.1)."""
        return self.secure, self.host, self.port


def check_url(url: str) -> Address:
    """A server's address from configuration.

    Raises:
        OperatorError: CONFIG_REFUSED: no absolute http(s) URL with a host, or one with a fragment or a user name.
    """
    try:
        parsed = ada_url.URL(url) if _LITERAL.fullmatch(url) else None
    except ValueError:
        parsed = None
    if parsed is None or not parsed.hostname or parsed.hash or url.endswith("#"):
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{quoted(url)} is no http(s) address", remedy="write https://host/path"
        )
    if parsed.username or parsed.password:
        # Quoting it would put a password into a log.
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"the address of {quoted(parsed.hostname)} holds a user name",
            remedy="configure an Authorization header",
        )
    name: str = parsed.hostname
    return Address(
        secure=parsed.protocol == "https:",
        host=name.removeprefix("[").removesuffix("]"),
        port=int(parsed.port) if parsed.port else _PORTS[parsed.protocol],
        authority=parsed.host,
        target=parsed.pathname + parsed.search,
    )
