"""Notices that belong to no request: lists that changed, resources that were updated.

A server's connection serves a whole task, so such a notice goes to every session and subscription of the task, whichever
request opened the connection. Nothing here waits for a client: a slow one keeps a bounded mailbox, equal notices merge.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import msgspec

from lictor.model.ids import TaskId

RESOURCE_UPDATED: Final = "notifications/resources/updated"
PROGRESS: Final = "notifications/progress"
MESSAGE: Final = "notifications/message"
UNREAD: Final = 256
"""Different notices kept for one reader; past it the oldest goes, as it would have on a closed stream."""

Notice = tuple[str, dict[str, Any]]
"""(method, params)."""


def is_about_server(method: str) -> bool:
    """Whether a notice is about the server and not about a request under way."""
    return method.endswith("/list_changed") or method == RESOURCE_UPDATED


class Mailbox:
    """Unread notices of one reader, in order, equal ones once."""

    def __init__(self) -> None:
        """Empty."""
        self._unread: dict[bytes, Notice] = {}
        self._wake = asyncio.Event()

    def put(self, method: str, params: dict[str, Any]) -> None:
        """Never waits."""
        key = msgspec.json.encode((method, params))
        if key not in self._unread and len(self._unread) >= UNREAD:
            del self._unread[next(iter(self._unread))]
        self._unread[key] = (method, params)
        self._wake.set()

    async def get(self, timeout_s: float) -> Notice | None:
        """The oldest notice; None when none came in time. A notice is never lost to a cancellation."""
        if not self._unread:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return None
        return self._unread.pop(next(iter(self._unread)))


class Sink(Protocol):
    """Somebody who may want a task's notices."""

    def offer(self, method: str, params: dict[str, Any]) -> None:
        """Take it or leave it; never waits, never raises."""
        ...


class Hub:
    """Who listens, by task."""

    def __init__(self) -> None:
        """Nobody."""
        self._sinks: dict[TaskId, list[Sink]] = {}

    def join(self, task: TaskId, sink: Sink) -> None:
        """From now on `sink` is offered the task's notices."""
        self._sinks.setdefault(task, []).append(sink)

    def leave(self, task: TaskId, sink: Sink) -> None:
        """No more. Idempotent."""
        sinks = self._sinks.get(task, [])
        if sink in sinks:
            sinks.remove(sink)
        if not sinks:
            self._sinks.pop(task, None)

    @contextmanager
    def joined(self, task: TaskId, sink: Sink) -> Iterator[None]:
        """Joined for as long as the block runs."""
        self.join(task, sink)
        try:
            yield
        finally:
            self.leave(task, sink)

    def count(self, task: TaskId) -> int:
        """How many listen."""
        return len(self._sinks.get(task, ()))

    def publish(self, task: TaskId, method: str, params: dict[str, Any]) -> None:
        """Offer a notice to everybody of the task."""
        for sink in self._sinks.get(task, ()):
            sink.offer(method, params)
