"""The JSON-RPC 2.0 envelope as MCP uses it (basic/index, "Messages"): parse strictly, encode.

A member that is spelled almost like a known one is refused: a server that folds case would read what we did not
(CVE-2026-27896, cases JSON-03 and -04). This module refuses to know what the methods mean; it knows the names of the
members that decide what is called.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from lictor.model.canonical import SAFE_INTEGER, JsonValue
from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.protocol.json import Parsed, pointer

MessageId: TypeAlias = int | str

MAX_ID_CHARS: Final = 256
_METHOD: Final = re.compile(r"[\x21-\x7e]{1,256}")
_ENVELOPE: Final = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})

META_KEYS: Final = frozenset(
    {
        "progressToken",
        "io.modelcontextprotocol/protocolVersion",
        "io.modelcontextprotocol/clientInfo",
        "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/logLevel",
        "io.modelcontextprotocol/subscriptionId",
    }
)
"""Members of `_meta` that the protocol itself reads."""

_COMMON: Final = frozenset({"_meta", "requestState", "inputResponses", "task"})
PARAMS: Final[Mapping[str, frozenset[str]]] = {
    "tools/call": _COMMON | {"name", "arguments"},
    "prompts/get": _COMMON | {"name", "arguments"},
    "resources/read": _COMMON | {"uri"},
}
"""Members of `params` that decide what is done, for each method that does something."""
_ANY_PARAMS: Final = frozenset().union(*PARAMS.values())

TARGET_MEMBER: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The member of `params` that names what is called, read or asked for."""


class Request(msgspec.Struct, frozen=True):
    """A call that wants an answer. `params` is empty if there was none (`has_params` tells)."""

    id: MessageId
    method: str
    params: dict[str, JsonValue]
    has_params: bool = True
    plain: bool = False
    """What `Parsed.plain` said of the message: hand it to `canonical_trusted`."""


class Notification(msgspec.Struct, frozen=True):
    """A one-way message."""

    method: str
    params: dict[str, JsonValue]
    has_params: bool = True


class Response(msgspec.Struct, frozen=True):
    """An answer: exactly one of `result` and `error` is set. `id` is None only in an error to an unreadable one."""

    id: MessageId | None
    result: dict[str, JsonValue] | None = None
    error: dict[str, JsonValue] | None = None


Message: TypeAlias = Request | Notification | Response


# -- reading -----------------------------------------------------------------------------------------------------------


def parse_message(parsed: Parsed) -> Message:
    """Type one message.

    Raises:
        CallerError: BATCH_NOT_SUPPORTED for an array, UNKNOWN_MEMBER for anything outside the envelope (look-alikes
            included), INVALID_MESSAGE for what is missing, mistyped or contradictory.
    """
    value = parsed.value
    if isinstance(value, list):
        raise CallerError(Reason.BATCH_NOT_SUPPORTED, "one message at a time; batches are not part of the protocol")
    if not isinstance(value, dict):
        raise CallerError(Reason.INVALID_MESSAGE, "a message is a JSON object")
    if not value.keys() <= _ENVELOPE:
        raise _unknown(value.keys() - _ENVELOPE, "")
    if value.get("jsonrpc") != "2.0":
        raise _invalid("/jsonrpc", 'jsonrpc must be "2.0"')
    if "method" not in value:
        return _response(value)
    if "result" in value or "error" in value:
        raise _invalid("", "a message with method has neither result nor error")
    method = value["method"]
    if not isinstance(method, str) or _METHOD.fullmatch(method) is None:
        raise _invalid("/method", "method must be visible ASCII, 1 to 256 characters")
    params = value.get("params", {})
    if not isinstance(params, dict):
        raise _invalid("/params", "params must be an object")
    has_params = "params" in value
    if "id" not in value:
        return Notification(method, params, has_params)
    return Request(_id(value["id"]), method, params, has_params, parsed.plain)


def parse_upstream(parsed: Parsed, *, effect_possible: bool) -> Message:
    """Type one message of a server behind us.

    Raises:
        UpstreamError: UPSTREAM_INVALID, with the wording that a caller would get.
    """
    try:
        return parse_message(parsed)
    except CallerError as error:
        raise UpstreamError(
            Reason.UPSTREAM_INVALID, error.message, effect_possible=effect_possible, where=error.where
        ) from error


def check_params(method: str, params: Mapping[str, JsonValue]) -> None:
    r"""Refuse look-alikes of the members that decide what is done, and mistyped ones. Other unknown members may pass.

    For methods without an entry in `PARAMS` all known names of all methods are guarded.

    Raises:
        CallerError: UNKNOWN_MEMBER for `Name`, `argument\u017f`, `input_responses` and the like; INVALID_MESSAGE for a
            missing or mistyped target, arguments or `_meta`.
    """
    known = PARAMS.get(method, _ANY_PARAMS)
    _refuse_lookalikes(params, known, "/params")
    meta = params.get("_meta", {})
    if not isinstance(meta, dict):
        raise _invalid("/params/_meta", "_meta must be an object")
    _refuse_lookalikes(meta, META_KEYS, "/params/_meta")
    target = TARGET_MEMBER.get(method)
    if target is not None and not isinstance(params.get(target), str):
        raise _invalid(f"/params/{target}", f"{target} must be a string")
    if "arguments" in known and not isinstance(params.get("arguments", {}), dict):
        raise _invalid("/params/arguments", "arguments must be an object")


def raw_member(data: bytes, member: str) -> msgspec.Raw | None:
    """The bytes of `params`, `result` or `error` exactly as received, to pass on what must not change.

    Args:
        data: a message that `protocol.json` has accepted; of other bytes nothing is promised.
        member: `params`, `result` or `error`.
    """
    envelope = _raw_decoder.decode(data)
    raw: msgspec.Raw | msgspec.UnsetType = getattr(envelope, member)
    return None if isinstance(raw, msgspec.UnsetType) else raw


class _RawEnvelope(msgspec.Struct, frozen=True):
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_raw_decoder = msgspec.json.Decoder(_RawEnvelope)


def _response(value: dict[str, JsonValue]) -> Response:
    if "params" in value:
        raise _invalid("/params", "a message without method has no params")
    if ("result" in value) == ("error" in value):
        raise _invalid("", "a message has a method, a result or an error")
    if "error" in value:
        identity = value.get("id")
        return Response(None if identity is None else _id(identity), error=_error(value["error"]))
    if "id" not in value:
        raise _invalid("/id", "a result has the id of its request")
    result = value["result"]
    if not isinstance(result, dict):
        raise _invalid("/result", "result must be an object")
    return Response(_id(value["id"]), result=result)


def _error(error: JsonValue) -> dict[str, JsonValue]:
    if not isinstance(error, dict):
        raise _invalid("/error", "error must be an object")
    if type(error.get("code")) is not int:
        raise _invalid("/error/code", "code must be an integer")
    if not isinstance(error.get("message"), str):
        raise _invalid("/error/message", "message must be a string")
    return error


def _id(value: JsonValue) -> MessageId:
    if isinstance(value, str) and len(value) <= MAX_ID_CHARS:
        return value
    if isinstance(value, int) and type(value) is int and -SAFE_INTEGER <= value <= SAFE_INTEGER:
        return value
    raise _invalid("/id", f"id must be an integer or a string of at most {MAX_ID_CHARS} characters")


_MAX_ALIKE: Final = 256
"""Characters of a name that could pass for one of ours; normal form takes time by the square of the marks in a row."""


def _fold(name: str) -> str:
    """What lenient readers make of a name: compatibility forms, case, and the separators of other spellings."""
    if len(name) > _MAX_ALIKE:
        return ""
    return unicodedata.normalize("NFKC", name).casefold().replace("_", "").replace("-", "")


_FOLDED: Final[Mapping[str, str]] = {_fold(name): name for name in _ANY_PARAMS | META_KEYS}


def _refuse_lookalikes(members: Mapping[str, JsonValue], known: frozenset[str], where: str) -> None:
    unknown = members.keys() - known
    lookalikes = {name for name in unknown if _FOLDED.get(_fold(name)) in known} if unknown else unknown
    if lookalikes:
        raise _unknown(lookalikes, where)


def _unknown(names: Iterable[str], where: str) -> CallerError:
    name = min(names)
    return CallerError(Reason.UNKNOWN_MEMBER, f"unknown member {name[:64]!a}", where=where + pointer([name]))


def _invalid(where: str, message: str) -> CallerError:
    return CallerError(Reason.INVALID_MESSAGE, message, where=where)


# -- writing -----------------------------------------------------------------------------------------------------------


def encode_request(identity: MessageId, method: str, params: Mapping[str, Any] | msgspec.Raw | None = None) -> bytes:
    """A request; `params` may be or hold `msgspec.Raw`, which is written as it is; None leaves the member out."""
    head: dict[str, Any] = {"jsonrpc": "2.0", "id": identity, "method": method}
    return _encode(head if params is None else {**head, "params": params})


def encode_notification(method: str, params: Mapping[str, Any] | msgspec.Raw | None = None) -> bytes:
    """A notification; `params` as in `encode_request`."""
    head: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return _encode(head if params is None else {**head, "params": params})


def encode_result(identity: MessageId, result: Mapping[str, Any] | msgspec.Raw) -> bytes:
    """A result; may be or hold `msgspec.Raw`."""
    return _encode({"jsonrpc": "2.0", "id": identity, "result": result})


def encode_error(identity: MessageId | None, code: int, message: str, data: Any = None) -> bytes:
    """An error; `identity` None is written as null (JSON-RPC 2.0 section 5); `data` None leaves the member out."""
    error: dict[str, Any] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return _encode({"jsonrpc": "2.0", "id": identity, "error": error})


def _encode(message: dict[str, Any]) -> bytes:
    encoded = msgspec.json.encode(message)
    # Over stdio a line is a message: a pretty-printed reply passed on raw would otherwise be read as several messages,
    # written by whoever wrote the reply. Newlines inside strings are always escaped, so only layout is removed.
    if b"\n" in encoded or b"\r" in encoded:
        return msgspec.json.format(encoded, indent=-1)
    return encoded
