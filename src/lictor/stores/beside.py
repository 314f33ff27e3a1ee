"""What the threads that read a log beside an event loop have in common: letting a connection go, and handing an answer over.

Refuses to know what was asked.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def drop(connection: sqlite3.Connection | None) -> None:
    """Close it; where that fails nobody can be told, and the next read opens anew."""
    if connection is not None:
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def hand_over(
    loop: asyncio.AbstractEventLoop,
    future: "asyncio.Future[T]",
    settle: Callable[["asyncio.Future[T]"], None],
    *,
    always: Callable[[], None] = lambda: None,
) -> None:
    """Settle a future on its own loop, unless it is done already; a loop that has ended waits for nothing any more.

    Args:
        settle: sets the result or the error.
        always: called on the loop before, also where the future is done.
    """

    def on_loop() -> None:
        always()
        if not future.done():
            settle(future)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(on_loop)
