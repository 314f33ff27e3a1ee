"""One connection to a server: one request in flight, written in one go. Refuses to know whose turn it is; the pool does."""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Any, Final

import msgspec

from lictor.pep.mcp.upstream.compat import override
from lictor.pep.mcp.upstream.failures import down
from lictor.pep.mcp.upstream.http1.response import Response

_CAN_POLL: Final = hasattr(select, "poll")
_SILENT_S: Final = 60
"""After this long without a byte the system asks whether the other end of a lasting stream is still there."""


class Body(msgspec.Struct):
    """The body of a request, which alone may have an effect; `started`: a byte of it may have left us."""

    data: bytes
    started: bool = False


class Connection(asyncio.Protocol):
    """A transport and the response that is awaited on it, if any.

    Attributes:
        closed: it will never carry another request.
        idle_since: the loop's time at which it was given back.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, over: Callable[["Connection"], None]) -> None:
        """`over` is called at the end of an exchange, and once more when the connection is lost."""
        self.closed = False
        self.idle_since = 0.0
        self._loop = loop
        self._over = over
        self._transport: Any = None
        self._response: Response | None = None
        self._poll: Any = None

    # -- for the pool ------------------------------------------------------------------------------------------------------

    def usable(self) -> bool:
        """Whether a request may be written: nothing was said since the last one, not even a goodbye.

        A goodbye that the loop has not seen yet is looked for in the socket itself: a request written after it would be lost,
        and nobody could tell (facts 12.8: never sent twice).
        """
        if self.closed or self._transport.is_closing():
            return False
        return self._poll is None or not self._poll.poll(0)

    def start(self, data: bytes, body: Body | None) -> Response:
        """Write a request, whole, and give the response to come.

        Raises:
            UpstreamError: UPSTREAM_DOWN, nothing sent: the server has closed the connection.
        """
        if self.closed or self._response is not None or self._transport.is_closing():
            raise down("the server closed the connection", effect_possible=False)
        if body is not None:
            body.started = True
        self._response = response = Response(self, self._loop, effect=body is not None)
        self._transport.write(data)
        return response

    def abort(self) -> None:
        """Close at once: what is unsent stays unsent. A response that is awaited fails."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()
        if self._response is not None:
            self._response.close()

    def end(self) -> None:
        """Close an idle connection in good order."""
        self.closed = True
        self._transport.close()

    # -- response.Line -----------------------------------------------------------------------------------------------------

    def finish(self, *, keeps: bool) -> None:
        """See `Line`. A request that is answered before it was wholly written leaves its rest on the connection."""
        self._response = None
        if not keeps or self.closed or self._transport.get_write_buffer_size():
            self.abort()
        self._over(self)

    def pause(self) -> None:
        """See `Line`."""
        if not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        """See `Line`."""
        if not self.closed:
            self._transport.resume_reading()

    # -- asyncio.Protocol --------------------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, and secured where that was asked for."""
        self._transport = transport
        found = transport.get_extra_info("socket")
        if found is None:
            return
        _find_silence(found)
        if _CAN_POLL:
            self._poll = select.poll()
            self._poll.register(found.fileno(), select.POLLIN)

    @override
    def data_received(self, data: bytes) -> None:
        """Bytes; unasked, they would be taken for the answer to the next request (response splitting)."""
        if self._response is None:
            self.abort()
        else:
            self._response.feed(data)

    @override
    def eof_received(self) -> None:
        """The server said its last; the transport closes itself."""
        self.closed = True
        if self._response is not None:
            self._response.end(None)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.closed = True
        if self._response is not None:
            self._response.end(exc)
        self._over(self)


def _find_silence(found: socket.socket) -> None:
    """Let the system notice that the other end went away without a word, on a stream that may be silent for hours."""
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SILENT_S)
