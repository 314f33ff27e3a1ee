"""JSON-RPC messages to and from a server, as bytes. Pure: no transport, no clock.

Outgoing: sealed argument bytes are spliced in verbatim, never decoded and encoded again. Incoming: the strict reader judges
the whole message (`protocol.json`), then the `result` member is cut out as the very bytes that arrived.
"""

from typing import Any, Final, TypeAlias

import msgspec

from lictor import __version__
from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Reply
from lictor.pep.mcp.upstream.failures import invalid, quoted
from lictor.protocol.json import read_upstream

PROTOCOL_VERSION: Final = "io.modelcontextprotocol/protocolVersion"
CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
CLIENT_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
SERVER_INFO: Final = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID: Final = "io.modelcontextprotocol/subscriptionId"
PROGRESS: Final = "notifications/progress"
CANCELLED: Final = "notifications/cancelled"

IDENTITY: Final = {"name": "lictor", "version": __version__}
"""What we call ourselves towards servers; a client's own `clientInfo` is not passed on."""

_encode = msgspec.json.Encoder().encode
_RESULT_KEYS: Final = frozenset({"jsonrpc", "id", "result"})
_ERROR_KEYS: Final = frozenset({"jsonrpc", "id", "error"})
_UNREAD_KEYS: Final = frozenset({"jsonrpc", "error"})
"""An error to a request that could not be read."""
_CALL_KEYS: Final = frozenset({"jsonrpc", "id", "method", "params"})

MessageId: TypeAlias = int | str


class Response(msgspec.Struct, frozen=True):
    """An answer. `id` is None where the server could not tell which request it answers."""

    id: MessageId | None
    reply: Reply


class Request(msgspec.Struct, frozen=True):
    """A request of the server to the client; `id` is the server's."""

    id: MessageId
    method: str
    params: dict[str, Any]


class Notification(msgspec.Struct, frozen=True):
    """A notification; `size` is that of the message in bytes, for bounded queues."""

    method: str
    params: dict[str, Any]
    size: int


ServerMessage: TypeAlias = Response | Request | Notification


class _Cut(msgspec.Struct):
    """Only the raw text of `result`. Runs after the strict reader, so it cannot read another member than that one did."""

    result: msgspec.Raw


class _Claim(msgspec.Struct):
    """The id a refused message claims."""

    id: int | str | None = None


_cut = msgspec.json.Decoder(_Cut).decode
_claim = msgspec.json.Decoder(_Claim).decode


# -- outgoing --------------------------------------------------------------------------------------------------------------


def modern_meta(version: str, capabilities: dict[str, Any] | None) -> dict[str, Any]:
    """The members every request of the modern era carries in `_meta` (spec 2026-07-28, basic, "_meta")."""
    return {PROTOCOL_VERSION: version, CLIENT_INFO: IDENTITY, CLIENT_CAPABILITIES: capabilities or {}}


def encode_request(
    id: int,  # noqa: A002 - the word of the protocol
    method: str,
    params: dict[str, Any],
    *,
    sealed_arguments: bytes | None = None,
    own_meta: dict[str, Any] | None = None,
    progress: bool = False,
) -> bytes:
    """One request.

    Args:
        id: our own id; it is the progress token too.
        method: the method.
        params: its members, without `arguments`; left as it is.
        sealed_arguments: canonical bytes that become `params.arguments`, verbatim.
        own_meta: our protocol members; they win over anything in `params["_meta"]`.
        progress: ask for progress.

    Raises:
        UpstreamError: INTERNAL, nothing sent: `params` holds arguments that were never sealed.
    """
    if "arguments" in params:
        raise UpstreamError(Reason.INTERNAL, "arguments must arrive sealed", effect_possible=False)
    members = dict(params)
    if sealed_arguments is not None:
        members["arguments"] = msgspec.Raw(sealed_arguments)
    meta = dict(members.pop("_meta", None) or {})
    # A client's token would collide with the tokens of other clients of this connection.
    meta.pop("progressToken", None)
    if own_meta:
        meta.update(own_meta)
    if progress:
        meta["progressToken"] = id
    if meta:
        members["_meta"] = meta
    return _encode({"jsonrpc": "2.0", "id": id, "method": method, "params": members})


def encode_notification(method: str, params: dict[str, Any]) -> bytes:
    """One notification; empty `params` are left out."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params:
        message["params"] = params
    return _encode(message)


def encode_reply(id: MessageId, reply: Reply) -> bytes:  # noqa: A002 - the word of the protocol
    """Our answer to a request of the server."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "id": id}
    if reply.result is not None:
        message["result"] = msgspec.Raw(reply.result)
    else:
        message["error"] = reply.error
    return _encode(message)


# -- incoming --------------------------------------------------------------------------------------------------------------


def decode(data: bytes, limits: Limits, *, effect_possible: bool) -> ServerMessage:
    """Read one message of a server.

    Raises:
        UpstreamError: UPSTREAM_INVALID (not strict JSON, not JSON-RPC 2.0, a member too many, both or neither of `result`
            and `error`, a result that is no object) or UPSTREAM_TOO_LARGE.
    """
    value = read_upstream(data, limits, effect_possible=effect_possible).value
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise invalid("the server sent no json-rpc 2.0 message", effect_possible=effect_possible)
    keys = value.keys()
    if keys == _RESULT_KEYS:
        if not isinstance(value["result"], dict):
            raise invalid("the server's result is not an object", effect_possible=effect_possible)
        return Response(_reply_id(value, effect_possible=effect_possible), Reply(result=bytes(_cut(data).result)))
    if "method" in keys:
        return _call(value, len(data), effect_possible=effect_possible)
    if keys in (_ERROR_KEYS, _UNREAD_KEYS):
        error = _error(value["error"], effect_possible=effect_possible)
        return Response(_reply_id(value, effect_possible=effect_possible), Reply(error=error))
    raise invalid(
        f"the server sent a message with members {quoted(sorted(keys))}, which is neither result nor error nor call",
        effect_possible=effect_possible,
    )


def claimed_id(data: bytes) -> MessageId | None:
    """The id an unacceptable message claims, as far as it can be read: only for deciding whose request fails."""
    try:
        return _claim(data).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _reply_id(value: dict[str, Any], *, effect_possible: bool) -> MessageId | None:
    id_ = value.get("id")
    if id_ is not None and type(id_) is not int and type(id_) is not str:
        raise invalid(f"the server answered with id {quoted(id_)}", effect_possible=effect_possible)
    return id_


def _call(value: dict[str, Any], size: int, *, effect_possible: bool) -> Request | Notification:
    method, params = value["method"], value.get("params", {})
    if not value.keys() <= _CALL_KEYS or not isinstance(method, str) or not isinstance(params, dict):
        raise invalid("the server sent a malformed request or notification", effect_possible=effect_possible)
    if "id" not in value:
        return Notification(method, params, size)
    id_ = _reply_id(value, effect_possible=effect_possible)
    if id_ is None:
        raise invalid(f"the server sent request {quoted(method)} with id null", effect_possible=effect_possible)
    return Request(id_, method, params)


def _error(error: object, *, effect_possible: bool) -> dict[str, Any]:
    """A JSON-RPC error object: an integer code and a message; anything else in it passes (JSON-RPC 2.0, 5.1)."""
    if isinstance(error, dict) and type(error.get("code")) is int and isinstance(error.get("message"), str):
        return error
    raise invalid(f"the server sent a malformed error {quoted(error)}", effect_possible=effect_possible)
