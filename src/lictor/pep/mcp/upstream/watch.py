"""The GET stream of a legacy HTTP server: what it says of its own accord (spec 2025-11-25, "Listening for Messages").

Refuses to know requests of ours; whatever fails here fails nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.pep.mcp.upstream.http1.response import Response as HttpResponse
from lictor.pep.mcp.upstream.inbox import Inbox
from lictor.pep.mcp.upstream.pending import Counters
from lictor.pep.mcp.upstream.stream import EventStream
from lictor.pep.mcp.upstream.wire import PROGRESS, Notification, Request, Response, ServerMessage

_RETRY_S: Final = 1.0
_RETRY_MAX_S: Final = 30.0

Get = Callable[[str], Awaitable[HttpResponse | None]]
"""Opens the stream after this event id; None: the server does not offer it."""


def retry_s(stream: EventStream, otherwise_s: float = _RETRY_S) -> float:
    """How long to wait before resuming a stream: as the server wishes, within bounds."""
    return otherwise_s if stream.retry_ms is None else min(stream.retry_ms / 1000, _RETRY_MAX_S)


async def watch(get: Get, inbox: Inbox, limits: Limits, counters: Counters) -> None:
    """Keep the stream open while the server offers it, waiting longer after each failure. Runs until cancelled."""
    wait_s, last_event_id = _RETRY_S, ""
    while True:
        pause_s = wait_s
        try:
            response = await get(last_event_id)
            if response is None:
                return
            stream = EventStream(response, limits, None)
            try:
                while (message := await stream.next()) is not None:
                    wait_s = _RETRY_S
                    _overhear(message, inbox, counters)
            finally:
                response.close()
                last_event_id = stream.last_event_id or last_event_id
                pause_s = retry_s(stream, wait_s)
        except UpstreamError:
            counters.failed_sends += 1
        # A server that asks for no pause at all still gets one: no busy loop at a server's wish.
        await asyncio.sleep(max(pause_s, 0.1))
        wait_s = min(2 * wait_s, _RETRY_MAX_S)


def _overhear(message: ServerMessage, inbox: Inbox, counters: Counters) -> None:
    match message:
        case Request():
            inbox.request(message)
        case Notification(method=method):
            # Progress belongs to a request, and requests have streams of their own.
            if method == PROGRESS:
                counters.dropped_notifications += 1
            else:
                inbox.notification(message)
        case Response():
            counters.unmatched_replies += 1
