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
from lictor.protocol.headers import NAME_MEMBER, upstream_headers

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PLAIN: Final = re.compile(r"(?![ \t])[\t\x20-\x7e]*(?<![ \t])")
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
