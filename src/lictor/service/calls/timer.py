"""One timer of a task: when it ends, or is ended early, the task that waits is woken. Refuses to know what it waits for.

What `asyncio.timeout` does, at half of its cost or less, and it can be ended from outside.
"""

import asyncio
from typing import Any


class Deadline:
    """For the current task, from now on. `stop` must be called in the same task, whatever happened.

    Attributes:
        expired: it ended before it was stopped.
    """

    __slots__ = ("_before", "_handle", "_stopped", "_task", "expired")

    def __init__(self, timeout_s: float | None) -> None:
        """In `timeout_s` seconds; None: only when `end` is called.

        Raises:
            RuntimeError: there is no task to wake.
        """
        task: asyncio.Task[Any] | None = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is a task's")
        self.expired = False
        self._stopped = False
        self._task = task
        self._before = task.cancelling()
        self._handle = None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, self.end)

    def end(self) -> None:
        """End it now: the task sees a cancellation. After `stop` it does nothing."""
        if not self.expired and not self._stopped:
            self.expired = True
            self._task.cancel()

    def stop(self) -> bool:
        """It is over. Says whether the cancellation that was seen is its own, and nobody else's too; a second call says no."""
        if self._handle is not None:
            self._handle.cancel()
        if self._stopped:
            return False
        self._stopped = True
        return self.expired and self._task.uncancel() <= self._before
