"""Whether an HTTP reply answers the request, and what it means when it does not. Reads bodies; sends nothing."""

from typing import Final

import msgspec

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Notify, Reply
from lictor.pep.mcp.upstream.client import Body, read_body
from lictor.pep.mcp.upstream.failures import down, invalid, quoted
from lictor.pep.mcp.upstream.http1.response import Response as HttpResponse
from lictor.pep.mcp.upstream.wire import Response, decode

JSON: Final = "application/json"
SSE: Final = "text/event-stream"
_JSON: Final = JSON.encode()
_UNAVAILABLE: Final = frozenset({502, 503, 504})
_REFUSED: Final = frozenset({401, 403})


class Call(msgspec.Struct, frozen=True):
    """One request under way; `opens_session`: the handshake of a legacy server; `listens`: a subscription."""

    id: int
    body: Body
    notify: Notify | None = None
    progress: bool = False
    opens_session: bool = False
    listens: bool = False


def media_type(response: HttpResponse) -> str:
    """The type a response announces, without parameters, in lower case."""
    said = response.head.fields.get(b"content-type", b"")
    return JSON if said == _JSON else said.partition(b";")[0].strip().lower().decode("latin-1")


async def read_reply(call: Call, response: HttpResponse, limits: Limits) -> Reply:
    """The reply in a JSON body: to this request, and an error when the status says so.

    Raises:
        UpstreamError: UPSTREAM_INVALID, _TOO_LARGE, _DOWN.
    """
    sent = call.body.started
    data = await read_body(response, call.body, limits)
    try:
        message = decode(data, limits, effect_possible=sent)
    except UpstreamError as error:
        if response.ok or error.reason is not Reason.UPSTREAM_INVALID:
            raise
        raise status_error(call, response, "no json-rpc error in its body") from error
    if not isinstance(message, Response):
        raise invalid("the server answered with a message that is no reply", effect_possible=sent)
    # A server that refuses a request unread cannot know its id (spec 2026-07-28, streamable HTTP, "Security").
    unread = message.id is None and not response.ok and message.reply.error is not None
    if not unread:
        check_id(call, message)
    if not response.ok and message.reply.error is None:
        raise invalid(f"the server sent a result with http status {response.status}", effect_possible=sent)
    return message.reply


def check_id(call: Call, response: Response) -> None:
    """Only the request's own id answers it; `"1"` is not `1`.

    Raises:
        UpstreamError: UPSTREAM_INVALID.
    """
    if type(response.id) is not int or response.id != call.id:
        raise invalid(
            f"the server answered request {quoted(response.id)}, not {call.id}", effect_possible=call.body.started
        )


def status_error(call: Call, response: HttpResponse, detail: str) -> UpstreamError:
    """A reply that holds no message of the protocol."""
    text = f"the server answered with http status {response.status} ({detail})"
    if response.status in _UNAVAILABLE:
        return down(text, effect_possible=call.body.started)
    remedy = "check the credential configured for this server" if response.status in _REFUSED else ""
    return invalid(text, effect_possible=call.body.started, remedy=remedy)
