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
from lictor.protocol import jsonrpc
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


_NO_CODE: Final = -32603
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


class _Claim(msgspec.Struct):
    """The id a refused message claims."""

    id: int | str | None = None


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
    return jsonrpc.encode_request(id, method, members)


def encode_notification(method: str, params: dict[str, Any]) -> bytes:
    """One notification; empty `params` are left out."""
    return jsonrpc.encode_notification(method, params or None)


def encode_reply(id: MessageId, reply: Reply) -> bytes:  # noqa: A002 - the word of the protocol
    """Our answer to a request of the server."""
    if reply.result is not None:
        return jsonrpc.encode_result(id, msgspec.Raw(reply.result))
    error = reply.error or {}
    return jsonrpc.encode_error(id, error.get("code", _NO_CODE), error.get("message", ""), error.get("data"))


# -- incoming --------------------------------------------------------------------------------------------------------------


def decode(data: bytes, limits: Limits, *, effect_possible: bool) -> ServerMessage:
    """Read one message of a server.

    Raises:
        UpstreamError: UPSTREAM_INVALID (not strict JSON, not JSON-RPC 2.0, a member too many, both or neither of `result`
            and `error`, a result that is no object) or UPSTREAM_TOO_LARGE.
    """
    parsed = read_upstream(data, limits, effect_possible=effect_possible)
    match jsonrpc.parse_upstream(parsed, effect_possible=effect_possible):
        case jsonrpc.Response(id=id_, error=error):
            raw = jsonrpc.raw_member(data, "result")
            return Response(id_, Reply(error=error) if raw is None else Reply(result=bytes(raw)))
        case jsonrpc.Notification(method=method, params=params):
            return Notification(method, params, len(data))
        case jsonrpc.Request(id=id_, method=method, params=params):
            return Request(id_, method, params)


def claimed_id(data: bytes) -> MessageId | None:
    """The id an unacceptable message claims, as far as it can be read: only for deciding whose request fails."""
    try:
        return _claim(data).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
