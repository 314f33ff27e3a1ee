"""A server's event stream as messages, bounded in memory; refuses to know which request they belong to."""

import asyncio
from collections import deque

import aiohttp

from lictor.model.limits import Limits
from lictor.pep.mcp.upstream.client import Body, failure
from lictor.pep.mcp.upstream.failures import too_large
from lictor.pep.mcp.upstream.sse import SseOverflowError, SseParser
from lictor.pep.mcp.upstream.wire import ServerMessage, decode


class EventStream:
    """One `text/event-stream` response, and the responses that resume it.

    Attributes:
        last_event_id: for resuming; empty when the stream cannot be resumed.
        retry_ms: how long the server wants us to wait before resuming; None when it does not say.
    """

    def __init__(self, response: aiohttp.ClientResponse, limits: Limits, body: Body | None) -> None:
        """`body`: the request it answers, for `effect_possible` on errors."""
        self.response = response
        self._limits = limits
        self._sent = body is not None and body.started
        self._body = body
        self._parser = SseParser(limits.upstream_message_bytes)
        self._ready: deque[bytes] = deque()
        self._read = False
        self.last_event_id = ""
        self.retry_ms: int | None = None

    async def next(self) -> ServerMessage | None:
        """The next message; None when the stream ends.

        Raises:
            UpstreamError: UPSTREAM_TOO_LARGE, _INVALID (an event that is no message), _DOWN (cut short).
        """
        while not self._ready:
            # Data that is there already is read without a pause: give the loop its turn between reads of a flood.
            if self._read:
                await asyncio.sleep(0)
            try:
                chunk = await self.response.content.readany()
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if isinstance(error, aiohttp.ClientPayloadError) and self.last_event_id:
                    return None
                raise failure(error, self._body) from error
            self._read = True
            if not chunk:
                return None
            self._feed(chunk)
        return decode(self._ready.popleft(), self._limits, effect_possible=self._sent)

    def resume(self, response: aiohttp.ClientResponse) -> None:
        """Go on with another response."""
        self.response = response
        self._parser = SseParser(self._limits.upstream_message_bytes)
        self._read = False

    def _feed(self, chunk: bytes) -> None:
        try:
            events = self._parser.feed(chunk)
        except SseOverflowError as error:
            self.response.close()
            bound = self._limits.upstream_message_bytes
            raise too_large(
                f"the server sent an event larger than {bound} bytes", effect_possible=self._sent
            ) from error
        # Empty data primes resumption (spec 2025-11-25); events with another name are no messages of the protocol.
        self._ready.extend(event.data for event in events if event.event == "message" and event.data.strip())
        self.last_event_id = self._parser.last_event_id or self.last_event_id
        self.retry_ms = self._parser.retry_ms if self._parser.retry_ms is not None else self.retry_ms
