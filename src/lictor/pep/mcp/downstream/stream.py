"""The one response to one HTTP request: a JSON document, or an event stream as soon as something has to go out before it.

The usual answer is one start and one body, nothing else. Refuses to know what a message means.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from lictor.pep.mcp.downstream.head import Receive

Send = Callable[[dict[str, Any]], Awaitable[None]]
Result = TypeVar("Result")

WATCH_AFTER_S: Final = 0.05
"""A request answered sooner is never watched for a disconnect: that saves a task on every short call."""

_COMMON: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_JSON_TYPE: Final = (b"content-type", b"application/json")
_SSE_HEADERS: Final = (
    (b"content-type", b"text/event-stream"),
    (b"x-accel-buffering", b"no"),
    *_COMMON,
)


class ResponseStream:
    """One response.

    Attributes:
        headers: extra fields, until it starts.
        started: an event stream has begun; the status can no longer change.
        done: nothing more can be sent.
        gone: the client is known to have left.
    """

    __slots__ = ("_lock", "_send", "done", "gone", "headers", "started")

    def __init__(self, send: Send) -> None:
        """`send` is the server's."""
        self._send = send
        self._lock: asyncio.Lock | None = None
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        self.started = self.done = self.gone = False

    @property
    def open(self) -> bool:
        """Whether a message can still be sent on it."""
        return not self.done and not self.gone

    async def start(self) -> None:
        """Begin an event stream now, so that the client knows it stands."""
        await self._write(b"")

    async def event(self, message: bytes) -> bool:
        """Send a message before the answer; False when nobody is there to read it."""
        return await self._write(b"event: message\ndata: " + message + b"\n\n")

    async def comment(self) -> None:
        """Keep an idle connection open; does nothing for the client (WHATWG HTML, 9.2.6)."""
        await self._write(b":\n\n")

    async def finish(self, message: bytes, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Send the answer and end. `status` and `headers` count only while nothing was sent."""
        if self._lock is not None:
            async with self._lock:  # a stream may be beginning in another task
                pass
        if self.done:
            return
        if self.started:
            await self.event(message)
            await self.end()
            return
        await self._whole(status, (_JSON_TYPE, *_COMMON, *self.headers, *headers), message)

    async def empty(self, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """A response without body."""
        if not self.done and not self.started:
            await self._whole(status, (*_COMMON, *self.headers, *headers), b"")

    async def end(self) -> None:
        """End an event stream without a further message; one that has not begun is begun and ended."""
        if self.done:
            return
        await self._write(b"", last=True)

    async def _whole(self, status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes) -> None:
        self.done = True
        fields = [*headers, (b"content-length", b"%d" % len(body))] if status != 204 else list(headers)
        await self._send({"type": "http.response.start", "status": status, "headers": fields})
        await self._send({"type": "http.response.body", "body": body})

    async def _write(self, data: bytes, *, last: bool = False) -> bool:
        if self._lock is None:
            self._lock = asyncio.Lock()
        async with self._lock:
            if self.done or (self.gone and not last):
                return False
            if not self.started:
                fields = [*_SSE_HEADERS, *self.headers]
                await self._send({"type": "http.response.start", "status": 200, "headers": fields})
                self.started = True
            self.done = last
            if data or last:
                await self._send({"type": "http.response.body", "body": data, "more_body": not last})
        return True


class Flight:
    """A request under way that may be ended from elsewhere: by a disconnect, by its client's word, with its session."""

    __slots__ = ("_ended", "_task", "cancelled")

    def __init__(self) -> None:
        """In the task that will run it."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a flight starts in a task")
        self._task = task
        self._ended = False
        self.cancelled = False

    def cancel(self) -> None:
        """End it. Idempotent; too late does nothing."""
        if not self._ended and not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """The work's result; None when it was ended by `cancel`. A cancellation by anybody else goes on."""
        try:
            return await work
        except asyncio.CancelledError:
            if not self.cancelled or self._task.uncancel() > 0:
                raise
            return None
        finally:
            self._ended = True


class Watch:
    """Looks after one response while its request runs: notices a disconnect, keeps a long connection open."""

    __slots__ = ("_handle", "_job", "_keepalive_s", "_on_gone", "_receive", "_stream")

    def __init__(
        self, receive: Receive, stream: ResponseStream, on_gone: Callable[[], None], *, keepalive_s: float
    ) -> None:
        """`on_gone` is called once, when the client has left."""
        self._receive = receive
        self._stream = stream
        self._on_gone = on_gone
        self._keepalive_s = keepalive_s
        self._handle: asyncio.TimerHandle | None = None
        self._job: asyncio.Task[None] | None = None

    def arm(self) -> None:
        """Start looking, shortly."""
        self._handle = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._begin)

    def disarm(self) -> None:
        """Stop looking."""
        if self._handle is not None:
            self._handle.cancel()
        if self._job is not None:
            self._job.cancel()

    def _begin(self) -> None:
        self._job = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        gone = asyncio.ensure_future(self._left())
        try:
            while not (await asyncio.wait((gone,), timeout=self._keepalive_s))[0]:
                # A request that takes this long becomes a stream: proxies and clients drop silent connections.
                await self._stream.comment()
        finally:
            gone.cancel()
        self._stream.gone = True
        self._on_gone()

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue  # the empty body of a GET
