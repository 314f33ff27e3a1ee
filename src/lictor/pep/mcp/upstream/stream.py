"""A server's event stream as messages, bounded in memory; refuses to know which request they belong to."""

import asyncio
import re
from collections import deque
from typing import Final

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.failures import too_large
from lictor.pep.mcp.upstream.http1.connection import Body
from lictor.pep.mcp.upstream.http1.response import Response
from lictor.pep.mcp.upstream.sse import SseOverflowError, SseParser
from lictor.pep.mcp.upstream.wire import ServerMessage, decode

_RESUMABLE: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,1022}[\x21-\x7e])?")
"""Event ids that a header field can carry; a stream with another one cannot be resumed."""


class EventStream:
    """One `text/event-stream` response, and the responses that resume it.

    Attributes:
        last_event_id: for resuming; empty when the stream cannot be resumed.
        retry_ms: how long the server wants us to wait before resuming; None when it does not say.
    """

    def __init__(self, response: Response, limits: Limits, body: Body | None) -> None:
        """`body`: the request it answers, for `effect_possible` on errors."""
        self.response = response
        self._limits = limits
        self._sent = body is not None and body.started
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
                chunk = await self.response.read()
            except UpstreamError as error:
                if error.reason is Reason.UPSTREAM_DOWN and self.last_event_id:
                    return None
                raise
            self._read = True
            if not chunk:
                return None
            self._feed(chunk)
        return decode(self._ready.popleft(), self._limits, effect_possible=self._sent)

    def resume(self, response: Response) -> None:
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
        if _RESUMABLE.fullmatch(self._parser.last_event_id):
            self.last_event_id = self._parser.last_event_id
        self.retry_ms = self._parser.retry_ms if self._parser.retry_ms is not None else self.retry_ms
