"""A bounded queue with one reader: a server that floods fills it and loses messages; it never grows and never blocks."""

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """First in, first out. `offer` may drop; `put` never does and is for the few things that must arrive."""

    def __init__(self, max_items: int, max_bytes: int) -> None:
        """Bounds on what waits unread: items, and their sizes together."""
        self._items: deque[tuple[T, int]] = deque()
        self._room_items = max_items
        self._room_bytes = max_bytes
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, item: T, size: int) -> bool:
        """Add an item of `size` bytes if there is room; says whether it was taken."""
        if self._room_items <= 0 or size > self._room_bytes:
            return False
        self._room_items -= 1
        self._room_bytes -= size
        self._items.append((item, size))
        self._wake()
        return True

    def put(self, item: T) -> None:
        """Add an item, room or not."""
        self._room_items -= 1
        self._items.append((item, 0))
        self._wake()

    async def get(self) -> T:
        """The next item, waiting for it. One reader at a time."""
        while not self._items:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        item, size = self._items.popleft()
        self._room_items += 1
        self._room_bytes += size
        return item

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
