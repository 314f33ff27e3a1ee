"""`/events`: a stream that says *that* something changed, never what. Pages ask again by themselves (server-sent events).

One reader for all who listen looks at the length of the log a few times a second, and at the kinds of the new records when it
grew; nobody listening, nothing is read. It looks on the loop, since a store's reads belong to the thread that made it: one
indexed look of some microseconds, and none while decisions cannot be recorded. Refuses to know records' contents.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from lictor.console.frame import HEADERS
from lictor.console.rooms import Rooms, Visit
from lictor.model.errors import LictorError
from lictor.model.record import decode_entry
from lictor.ports import RecordStore

TICK_S: Final = 0.25
"""How often the log's length is looked at: from a hold to its approver's screen a second is allowed."""
PACE_S: Final = 0.4
"""Between two messages to one window: what changes meanwhile is told once, and nothing is lost."""
HEARTBEAT_S: Final = 15.0
"""A line without meaning, so that proxies keep the stream and we learn who went away."""
MAX_STREAMS: Final = 6
"""Of one person: more windows than that refresh by hand."""
MAX_LOOKED_AT: Final = 256
"""New records looked at in one tick; were there more, everything changed."""
KINDS: Final = {
    "request": "decisions",
    "decision": "decisions",
    "execution": "decisions",
    "approval": "holds",
    "privilege": "privileges",
    "signal": "signals",
    "finding": "signals",
}
"""From the first word of a record's kind to the event's name; any other is `other`."""


class Changes:
    """What changed lately, told to everybody who listens."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._listeners: set[asyncio.Event] = set()
        self._newest: dict[str, int] = {}
        self._reader: asyncio.Task[None] | None = None
        self._open: dict[str, int] = {}

    async def stream(self, visit: Visit) -> Response:
        """The stream of one window."""
        if self._open.get(visit.human, 0) >= MAX_STREAMS:
            return Response(
                "too many windows", status_code=429, media_type="text/plain", headers=_headers("text/plain")
            )
        return StreamingResponse(self._events(visit), headers=_headers("text/event-stream"))

    async def _events(self, visit: Visit) -> AsyncIterator[bytes]:
        human = visit.human
        if self._open.get(human, 0) >= MAX_STREAMS:
            return
        self._open[human] = self._open.get(human, 0) + 1
        woken = asyncio.Event()
        self._listeners.add(woken)
        self._start()
        seen = dict(self._newest)
        try:
            yield b"retry: 3000\n\n: listening\n\n"
            while self._lasts(visit.request):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), HEARTBEAT_S)
                woken.clear()
                if not self._lasts(visit.request):
                    return
                changed = {name: seq for name, seq in self._newest.items() if seen.get(name) != seq}
                seen.update(changed)
                yield b"".join(_event(name, seq) for name, seq in sorted(changed.items())) or b": still here\n\n"
                await asyncio.sleep(PACE_S)
        finally:
            self._listeners.discard(woken)
            self._open[human] -= 1
            if not self._open[human]:
                del self._open[human]

    def _lasts(self, request: Request) -> bool:
        """A stream ends with the sign-in it belongs to, and with the process."""
        try:
            return not self._rooms.console.ending() and self._rooms.signed_in(request) is not None
        except LictorError:
            return False

    def _start(self) -> None:
        if self._reader is None or self._reader.done():
            self._reader = asyncio.get_running_loop().create_task(self._read(), name="console changes")

    async def _read(self) -> None:
        console = self._rooms.console
        size = _size(console.store)
        while self._listeners:
            await asyncio.sleep(TICK_S)
            if console.ending():
                self._wake()
            if not console.recording():
                continue
            grown = _size(console.store)
            if grown > size:
                for name in _kinds(console.store, size, grown):
                    self._newest[name] = grown
                size = grown
                self._wake()

    def _wake(self) -> None:
        for one in self._listeners:
            one.set()


def _size(store: RecordStore) -> int:
    """The log's length; 0 where it cannot be read just now, so that nothing seems to have grown."""
    try:
        return store.size()
    except LictorError:
        return 0


def _kinds(store: RecordStore, start: int, stop: int) -> set[str]:
    """Names of the events that records are, by the first word of their kind."""
    if stop - start > MAX_LOOKED_AT:
        return set(KINDS.values())
    try:
        return {_kind(entry.data) for entry in store.entries(start, stop)}
    except LictorError:
        return set(KINDS.values())


def _kind(data: bytes) -> str:
    try:
        tag = str(decode_entry(data).record.__struct_config__.tag)
    except msgspec.MsgspecError:
        return "other"
    return KINDS.get(tag.partition(".")[0], "other")


def _event(name: str, seq: int) -> bytes:
    return f"event: {name}\ndata: {seq}\n\n".encode()


def _headers(media: str) -> dict[str, str]:
    return {**HEADERS, "Content-Type": media, "X-Accel-Buffering": "no"}
