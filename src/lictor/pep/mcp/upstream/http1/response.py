"""One response as it arrives, for one reader: bounded in memory by not reading on, closed when it is given up.

Refuses to know when a connection may be used again; it only says how its response ended.
"""

import asyncio
from typing import Final, Protocol

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.failures import down, invalid, quoted
from lictor.pep.mcp.upstream.http1.faults import HttpFault, TruncatedFault
from lictor.pep.mcp.upstream.http1.head import Head
from lictor.pep.mcp.upstream.http1.reader import ResponseReader

HIGH_WATER: Final = 128 * 1024
"""Body bytes that wait unread before the connection is no longer read from."""
_DRAIN_S: Final = 1.0
_DRAIN_BYTES: Final = 64 * 1024


class Line(Protocol):
    """What a response needs of its connection."""

    def finish(self, *, keeps: bool) -> None:
        """The exchange is over; the connection is kept or aborted."""
        ...

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class Response:
    """The answer to one request. One reader at a time."""

    __slots__ = (
        "_chunks", "_clock", "_effect", "_error", "_left", "_line", "_loop", "_paused", "_reader", "_size", "_waiter"
    )  # fmt: skip

    def __init__(self, line: Line, loop: asyncio.AbstractEventLoop, *, effect: bool) -> None:
        """`effect`: whether the request, now written, may have an effect; goes into every error."""
        self._line: Line | None = line
        self._loop = loop
        self._effect = effect
        self._reader = ResponseReader()
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._left = 0

    # -- for the reader ----------------------------------------------------------------------------------------------------

    async def wait_head(self) -> Head:
        """Wait for the head. Call it once, before anything else.

        Raises:
            UpstreamError: UPSTREAM_DOWN: the connection broke; UPSTREAM_INVALID: what came is no HTTP response.
        """
        while (head := self._reader.head) is None:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        return head

    @property
    def head(self) -> Head:
        """The head.

        Raises:
            UpstreamError: INTERNAL: it was not waited for.
        """
        if self._reader.head is None:
            raise UpstreamError(Reason.INTERNAL, "no head yet", effect_possible=self._effect)
        return self._reader.head

    @property
    def status(self) -> int:
        """The status code."""
        return self.head.status

    @property
    def ok(self) -> bool:
        """Whether the status says that the server did not refuse (below 400)."""
        return self.head.status < 400

    @property
    def at_end(self) -> bool:
        """Whether all of the body was read."""
        return self._reader.done and not self._chunks

    async def read(self) -> bytes:
        """The body bytes that are there, waiting for some; empty at the end.

        Raises:
            UpstreamError: UPSTREAM_DOWN: cut short; UPSTREAM_INVALID: the framing is broken.
        """
        while not self._chunks:
            if self._reader.done:
                return b""
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._take()

    def whole(self) -> bytes | None:
        """All that is left of the body, if the response is complete; else None."""
        return self._take() if self._reader.done else None

    def release(self) -> None:
        """No more is wanted: a connection whose response is complete is kept, any other closed. Idempotent."""
        line, self._line = self._line, None
        if self._clock is not None:
            self._clock.cancel()
        if line is not None:
            line.finish(keeps=self._reader.keeps and self._error is None)

    def let_go(self) -> None:
        """Like `release`, but let what little follows arrive first, so that the connection can be used again."""
        if self._line is None or self._reader.done or self._error is not None:
            self.release()
            return
        self._chunks = []
        self._left = _DRAIN_BYTES
        self._clock = self._loop.call_later(_DRAIN_S, self.close)
        if self._paused:
            self._flow()

    def close(self) -> None:
        """Give it up: the connection is closed at once, which tells a modern server to stop. Idempotent."""
        line, self._line = self._line, None
        if self._clock is not None:
            self._clock.cancel()
        self._fail(down("the connection was closed", effect_possible=self._effect))
        if line is not None:
            line.finish(keeps=False)

    # -- for the connection ------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        if self._error is not None:
            return
        try:
            found = self._reader.feed(data)
        except HttpFault as fault:
            self._break(invalid(f"the server does not speak http: {quoted(str(fault))}", effect_possible=self._effect))
            return
        if self._clock is not None:
            self._drain(sum(map(len, found)))
            return
        if found:
            self._chunks += found
            self._size += sum(map(len, found))
            if self._size > HIGH_WATER and not self._paused:
                self._paused = True
                if self._line is not None:
                    self._line.pause()
        if found or self._reader.head is not None:
            self._wake()

    def end(self, error: BaseException | None) -> None:
        """The connection ended; with `error` it broke. A response that ends with its connection is complete only without."""
        if self._reader.done or self._error is not None:
            return
        if error is not None:
            text = quoted(str(error) or "reset")
            self._break(down(f"the connection broke: {text}", effect_possible=self._effect))
            return
        try:
            self._reader.end()
        except TruncatedFault as fault:
            self._break(down(f"the server's reply was cut short: {fault}", effect_possible=self._effect))
            return
        self._wake()
        if self._clock is not None:
            self.release()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _drain(self, size: int) -> None:
        self._left -= size
        if self._reader.done or self._left < 0:
            self.release()

    def _break(self, error: UpstreamError) -> None:
        self._fail(error)
        self.release()

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        self._wake()

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self._size = 0
        if self._paused:
            self._flow()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _flow(self) -> None:
        self._paused = False
        if self._line is not None:
            self._line.resume()
