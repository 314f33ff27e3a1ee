"""The HTTP header fields of a request to a server. Pure.

Modern servers get a mirror of the body (spec 2026-07-28, streamable HTTP, "Request Metadata"); an operator's own fields come
from configuration and may not name what belongs to the protocol.
"""

import re
from typing import Any, Final

import msgspec

from lictor.model.errors import CallerError, OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.failures import quoted
from lictor.pep.mcp.upstream.http1.outgoing import field_lines
from lictor.protocol.headers import NAME_MEMBER, upstream_headers

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN: Final = re.compile(r"(?![ \t])[\t\x20-\x7e]*(?<![ \t])")
_CACHED: Final = 1024
_CACHED_NAME: Final = 256
_RESERVED: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def check_configured(headers: dict[str, str]) -> dict[str, str]:
    """An operator's header fields for a server.

    Raises:
        OperatorError: CONFIG_REFUSED: not a field name, a control or non-ASCII character in a value, or a field of the
            protocol itself (request smuggling, header/body disagreement).
    """
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name) or not _PLAIN.fullmatch(value):
            raise OperatorError(Reason.CONFIG_REFUSED, f"header {quoted(name)} is not a valid header field")
        if name.lower() in _RESERVED or name.lower().startswith("mcp-"):
            raise OperatorError(Reason.CONFIG_REFUSED, f"header {quoted(name)} belongs to the protocol")
    return dict(headers)


def mirror_headers(
    method: str,
    params: dict[str, Any],
    *,
    version: str,
    sealed_arguments: bytes | None,
    header_params: dict[str, tuple[str, ...]] | None,
) -> dict[str, str]:
    """The fields a modern server compares with the body.

    Args:
        method: the method.
        params: members of `params`.
        version: the protocol version in `_meta`.
        sealed_arguments: where the values of `header_params` are read from.
        header_params: `x-mcp-header` names to the path of an argument. An absent or null argument gives no field.

    Raises:
        UpstreamError: INVALID_ARGUMENTS, nothing sent: an argument to be mirrored is neither string, integer nor boolean.
    """
    member = NAME_MEMBER.get(method)
    name = params.get(member) if member is not None else None
    arguments = msgspec.json.decode(sealed_arguments) if header_params and sealed_arguments is not None else None
    try:
        return dict(
            upstream_headers(method, name if isinstance(name, str) else None, arguments, header_params or {}, version)
        )
    except CallerError as error:
        raise UpstreamError(error.reason, error.message, effect_possible=False, where=error.where) from error


class Mirror:
    """`mirror_headers` as lines of a head, for one server; those that do not depend on arguments are written once."""

    def __init__(self, version: str) -> None:
        """`version`: the protocol version of every request."""
        self._version = version
        self._known: dict[tuple[str, object], bytes] = {}

    def lines(
        self,
        method: str,
        params: dict[str, Any],
        *,
        sealed_arguments: bytes | None = None,
        header_params: dict[str, tuple[str, ...]] | None = None,
    ) -> bytes:
        """The lines of one request; see `mirror_headers`.

        Raises:
            UpstreamError: nothing sent: INVALID_ARGUMENTS, or INTERNAL where a field would break the head.
        """
        member = NAME_MEMBER.get(method)
        name = params.get(member) if member is not None else None
        cacheable = not header_params and (name is None or (type(name) is str and len(name) <= _CACHED_NAME))
        if cacheable and (known := self._known.get((method, name))) is not None:
            return known
        lines = field_lines(
            mirror_headers(
                method, params, version=self._version, sealed_arguments=sealed_arguments, header_params=header_params
            ).items()
        )
        if cacheable:
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[method, name] = lines
        return lines
