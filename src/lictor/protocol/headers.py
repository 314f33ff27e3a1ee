"""Header and body must say the same: MCP 2026-07-28, streamable HTTP, "Request Metadata" and "Server Validation".

A load balancer routes by the header, the server acts on the body; whoever can make them differ is routed by one rule
and served by another (cases MCPH-01 to -08). This module refuses to know what a tool does; policy never sees a header.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from lictor.model.canonical import SAFE_INTEGER, JsonValue
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.protocol.jsonrpc import TARGET_MEMBER, Message, Request, Response

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
HeaderParams: TypeAlias = Mapping[str, tuple[str, ...]]
"""Lower-case token of `x-mcp-header` to the chain of property names that leads to the value."""

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
LEGACY_VERSIONS: Final = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
"""Versions whose requests carry no metadata. Every other name, known or not, has to follow the modern rules."""

NAME_MEMBER: Final[Mapping[str, str]] = {
    **TARGET_MEMBER,
    "tasks/get": "taskId",
    "tasks/update": "taskId",
    "tasks/cancel": "taskId",
}
"""The member of `params` that `Mcp-Name` mirrors; for tasks see the tasks extension (SEP-2663)."""

_VERSION: Final = b"mcp-protocol-version"
_METHOD: Final = b"mcp-method"
_NAME: Final = b"mcp-name"
_PARAM: Final = b"mcp-param-"

_VALUE: Final = re.compile(rb"[\t\x20-\x7e]*")
_PLAIN: Final = re.compile(r"(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?")
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_INTEGER: Final = re.compile(r"(-?(?:0|[1-9][0-9]{0,15}))(?:\.0{1,16})?")
_PREFIX: Final = "=?base64?"
_SUFFIX: Final = "?="


# -- values ------------------------------------------------------------------------------------------------------------


def encode_value(value: str) -> str:
    """A text as header value: plain if it is safe, else Base64 between the sentinels ("Value Encoding").

    Raises:
        CallerError: INVALID_UNICODE for a lone surrogate.
    """
    if _PLAIN.fullmatch(value) and not _is_sentinel(value):
        return value
    try:
        encoded = base64.b64encode(value.encode()).decode("ascii")
    except UnicodeEncodeError as error:
        raise CallerError(Reason.INVALID_UNICODE, "a header value would hold a lone surrogate") from error
    return f"{_PREFIX}{encoded}{_SUFFIX}"


def decode_value(value: str) -> str:
    """The text that a header value stands for.

    Raises:
        CallerError: HEADER_MISMATCH if the Base64 between the sentinels is not canonical or not UTF-8: two decoders
            could disagree about it.
    """
    if not _is_sentinel(value):
        return value
    inner = value[len(_PREFIX) : -len(_SUFFIX)]
    try:
        decoded = base64.b64decode(inner, validate=True)
        text = decoded.decode()
    except ValueError as error:  # of Base64 or of UTF-8
        raise _mismatch(f"header value {value[:64]!a} is not Base64 of UTF-8") from error
    if base64.b64encode(decoded).decode("ascii") != inner:
        raise _mismatch(f"header value {value[:64]!a} is not canonical Base64")
    return text


def _is_sentinel(value: str) -> bool:
    """Starts and ends as the sentinel does. The two may not overlap, as they would in `=?base64?=`."""
    return len(value) >= len(_PREFIX) + len(_SUFFIX) and value.startswith(_PREFIX) and value.endswith(_SUFFIX)


# -- checking ----------------------------------------------------------------------------------------------------------


def check_agreement(headers: Headers, message: Message, *, header_params: HeaderParams) -> None:
    """Refuse a message whose headers say something else than its body.

    Modern requests must carry the headers; older ones and notifications need not, but may not lie either.

    Args:
        headers: all header fields in order, names in any case, values without line ends.
        message: the body.
        header_params: of the called tool, from `header_params()`; empty for everything else.

    Raises:
        CallerError: HEADER_MISMATCH (HTTP 400, JSON-RPC -32020), DUPLICATE_HEADER for a repeated `Mcp-*` field.
    """
    found = _mcp_headers(headers)
    version = _version(found, message)
    if isinstance(message, Response):
        return
    required = version is not None and version not in LEGACY_VERSIONS and isinstance(message, Request)
    _match(found, _METHOD, message.method, required=required, encoded=False)
    target = NAME_MEMBER.get(message.method)
    if target is None:
        if _NAME in found:
            # No source is defined for it here; a router that reads it would be told something that nobody checked.
            raise _mismatch("mcp-name is given for a method that names nothing")
    else:
        _match(found, _NAME, message.params.get(target), required=required, encoded=True)
    if message.method == "tools/call":
        arguments = message.params.get("arguments", {})
        for token, path in header_params.items():
            _match_param(found, token, _value_at(arguments, path), required=required)


def _mcp_headers(headers: Headers) -> dict[bytes, str]:
    """The `Mcp-*` fields by lower-case name, values checked and trimmed (RFC 9110 5.5), none twice (case MCPH-07)."""
    found: dict[bytes, str] = {}
    for raw_name, value in headers:
        name = raw_name.lower()
        if not name.startswith(b"mcp-"):
            continue
        if name in found:
            raise CallerError(Reason.DUPLICATE_HEADER, f"header {name.decode('latin-1')[:64]!a} is given twice")
        if _VALUE.fullmatch(value) is None:
            raise _mismatch(f"header {name.decode('latin-1')[:64]!a} has characters that no header value may have")
        found[name] = value.decode("ascii").strip(" \t")
    return found


def _version(found: Mapping[bytes, str], message: Message) -> str | None:
    header = found.get(_VERSION)
    if isinstance(message, Response):
        return header
    meta = message.params.get("_meta")
    body = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
    if body is None:
        # A notification has no metadata to carry; a modern request has.
        if header is None or header in LEGACY_VERSIONS or not isinstance(message, Request):
            return header
        raise _mismatch("mcp-protocol-version is given, but the body names no version")
    if header is None:
        raise _mismatch("the body names a protocol version, but mcp-protocol-version is missing")
    if header != body:
        raise _mismatch(f"mcp-protocol-version {_short(header)} differs from the body's {_short(body)}")
    return header


def _match(found: Mapping[bytes, str], name: bytes, body: object, *, required: bool, encoded: bool) -> None:
    header = found.get(name)
    if header is None:
        if required:
            raise _mismatch(f"{name.decode()} is missing")
        return
    if (decode_value(header) if encoded else header) != body:
        raise _mismatch(f"{name.decode()} {_short(header)} differs from the body's {_short(body)}")


def _match_param(found: Mapping[bytes, str], token: str, value: JsonValue, *, required: bool) -> None:
    header = found.get(_PARAM + token.encode("ascii"))
    if value is None:
        if header is not None:
            raise _mismatch(f"mcp-param-{token} is given, but the argument is not")
        return
    if header is None:
        if required:
            raise _mismatch(f"mcp-param-{token} is missing")
        return
    if not _equal(decode_value(header), value):
        raise _mismatch(f"mcp-param-{token} {_short(header)} differs from the argument")


def _equal(text: str, value: JsonValue) -> bool:
    """Whether a decoded header value stands for this argument; integers are compared as numbers."""
    if isinstance(value, str):
        return text == value
    rendered = _render(value)
    if rendered is None:
        return False
    integer = _INTEGER.fullmatch(text)
    if integer is None or isinstance(value, bool):
        return text == rendered
    return int(integer[1]) == int(rendered)


def _render(value: JsonValue) -> str | None:
    """A primitive as text ("Type conversion"); None for what no header can carry."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # `42.0` is the integer 42 in JSON Schema, and is sent upstream as 42
    if isinstance(value, int) and -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return str(value)
    return None


def _value_at(arguments: JsonValue, path: tuple[str, ...]) -> JsonValue:
    """The value at exactly this chain of properties; None where a step is missing."""
    node = arguments
    for step in path:
        if not isinstance(node, dict):
            return None
        node = node.get(step)
    return node


def _short(value: object) -> str:
    return ascii(value[:64]) if isinstance(value, str) else f"{type(value).__name__}"


def _mismatch(message: str) -> CallerError:
    return CallerError(Reason.HEADER_MISMATCH, message)


# -- tool definitions --------------------------------------------------------------------------------------------------

_ANNOTATION: Final = "x-mcp-header"
_DATA: Final = frozenset({"const", "default", "enum", "examples", "required", "type", "pattern"})
"""Keywords whose values are data: what looks like an annotation in them is none."""
_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"})
"""Keywords whose values map *names* to schemas: a property may be called `x-mcp-header`."""


def header_params(input_schema: JsonValue) -> dict[str, tuple[str, ...]]:
    """The arguments of a tool that are mirrored into headers ("Schema Extension").

    Every position that could be a schema is searched, unknown keywords too: an annotation in a place we do not
    understand makes the tool unusable rather than the header unchecked.

    Args:
        input_schema: as the server sent it, read by `protocol.json` and so bounded in depth and size.

    Raises:
        UpstreamError: TOOL_UNUSABLE if an annotation is not a token, not on an integer, string or boolean, not
            reachable through `properties` alone, or not unique.
    """
    found: dict[str, tuple[str, ...]] = {}
    stack: list[tuple[tuple[str, ...] | None, Any]] = [((), input_schema)]
    while stack:
        path, node = stack.pop()
        if isinstance(node, list):
            stack.extend((None, item) for item in node)
        if not isinstance(node, dict):
            continue
        if _ANNOTATION in node:
            _annotate(found, path, node)
        for keyword, item in node.items():
            if keyword in _MAPS and isinstance(item, dict):
                chained = path is not None and keyword == "properties"
                stack.extend(
                    ((*path, name) if chained and path is not None else None, sub) for name, sub in item.items()
                )
            elif keyword not in _DATA and isinstance(item, dict | list):
                stack.append((None, item))
    return found


def _annotate(found: dict[str, tuple[str, ...]], path: tuple[str, ...] | None, schema: Mapping[str, Any]) -> None:
    token = schema[_ANNOTATION]
    if not path:
        raise _unusable("stands where `properties` alone do not lead")
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise _unusable("is not a header name token")
    if schema.get("type") not in ("string", "integer", "boolean"):
        raise _unusable(f"{_short(token)} is not on a string, an integer or a boolean")
    key = token.lower()
    if key in found:
        raise _unusable(f"{_short(token)} is used twice")
    found[key] = path


def _unusable(message: str) -> UpstreamError:
    return UpstreamError(Reason.TOOL_UNUSABLE, f"{_ANNOTATION} {message}", effect_possible=False)


# -- towards a server --------------------------------------------------------------------------------------------------


def upstream_headers(
    method: str, name: str | None, arguments: JsonValue, header_params: HeaderParams, version: str
) -> tuple[tuple[str, str], ...]:
    """The metadata headers of one request to a server that speaks a modern version ("Client Behavior").

    Args:
        method: of the request.
        name: the tool, prompt or resource URI as the server knows it; None for methods without one.
        arguments: the sealed arguments as a value.
        header_params: of the tool; empty for everything else.
        version: the protocol version in the body's `_meta`.

    Raises:
        CallerError: INVALID_ARGUMENTS if an argument that must be mirrored is no string, safe integer or boolean.
    """
    headers = [("MCP-Protocol-Version", version), ("Mcp-Method", method)]
    if name is not None:
        headers.append(("Mcp-Name", encode_value(name)))
    for token, path in header_params.items():
        value = _value_at(arguments, path)
        if value is None:
            continue
        rendered = _render(value)
        if rendered is None:
            where = "/params/arguments/" + "/".join(path)
            raise CallerError(Reason.INVALID_ARGUMENTS, "an argument cannot be mirrored into its header", where=where)
        headers.append((f"Mcp-Param-{token}", encode_value(rendered)))
    return tuple(headers)
