"""What goes on beside the calls: policy kept fresh, ended tasks swept, the latest time kept. No fault ends it.

Refuses to know HTTP and credentials.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from lictor.app.house import House
from lictor.model.errors import LictorError
from lictor.model.ids import TaskId
from lictor.model.task import TaskStatus
from lictor.pep.mcp.connections import Connections
from lictor.service.calls.guard import Guard
from lictor.service.evidence.erase import scrubbed
from lictor.service.evidence.retention import Retention
from lictor.stores.clock import write_mark

RELOAD_EVERY_S = 1.0
RETRY_EVERY_S = 10.0
"""A bundle that could not be put in force is tried again so often, also when no file changes: the fault may have been ours."""
SWEEP_EVERY_S = 2.0
POLL_S = 0.02
"""How late it is noticed that the newest state was confirmed."""
RETAIN_EVERY_S = 600.0
"""Payloads are kept for days: some minutes more make no difference."""
KEEP_TIME_MS = 30_000
"""The latest time is kept so often: a disk that sleeps is woken no oftener."""


@dataclass(slots=True, kw_only=True)
class Reload:
    """Loads the bundle again when its files change; a broken one is reported and the last good one stays (POLE-09)."""

    house: House
    every_s: float = RELOAD_EVERY_S
    retry_s: float = RETRY_EVERY_S
    then: Callable[[], None] | None = None
    """What is done once a new one is in force."""

    async def run(self) -> None:
        """Until cancelled."""
        loop, said = asyncio.get_running_loop(), ""
        retry_at = 0.0 if self.house.waits else math.inf
        while True:
            await asyncio.sleep(self.every_s)
            try:
                if not self.house.folder.changed() and loop.time() < retry_at:
                    continue
                bundle = await asyncio.to_thread(self.house.folder.load)
                if await self.house.activate(bundle):
                    self.house.say(f"bundle {bundle.revision[:19]} is in force")
                    if self.then is not None:
                        self.then()
                retry_at, said = math.inf, ""
            except Exception as error:  # noqa: BLE001 - a stricter policy must arrive, whatever went wrong before
                # The folder counts as read now, and a full disk or a slow guard says nothing about what is in it.
                retry_at = loop.time() + self.retry_s
                text = str(error) if isinstance(error, LictorError) else f"defect: {type(error).__name__}: {error}"
                if text != said:
                    self.house.say(f"bundle refused, the last good one stays in force: {text}")
                said = text


@dataclass(slots=True, kw_only=True)
class Sweep:
    """Closes what ended tasks held; keeps the newest checkpoint and the latest time outside the log."""

    house: House
    connections: Connections
    guard: Guard
    every_s: float = SWEEP_EVERY_S
    _kept_ms: int = field(default=0, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(self.every_s)
            if not await self._confirmed():
                continue
            try:
                await self._once()
                said = ""
            except Exception as error:  # noqa: BLE001 - the next task that ends must still lose its servers
                text = f"{type(error).__name__}: {error}"
                if text != said:
                    self.house.say(f"the sweep failed, and goes on: {text}")
                said = text

    def keep(self) -> None:
        """Keep the newest checkpoint and the latest time, for the next start and for whoever verifies."""
        self._keep_time()
        self._keep_checkpoint()

    async def _confirmed(self) -> bool:
        return await confirmed_again(self.guard)

    async def _once(self) -> None:
        now = self.house.clock.now_ms()
        # What is read is read in one go: while a server is ended, the store may begin to hang.
        dead = [task for task in self.connections.tasks() if not self._alive(task, now)]
        try:
            self._keep_checkpoint()
        finally:
            for task in dead:
                await self.connections.end_task(task)
        if self.guard.mark_ms - self._kept_ms >= KEEP_TIME_MS:
            self._keep_time()

    def _alive(self, task: TaskId, now_ms: int) -> bool:
        state = self.house.store.task(task)
        return state is not None and state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms

    def _keep_checkpoint(self) -> None:
        self.house.keys.write_anchor(self.house.store.newest_checkpoint())

    def _keep_time(self) -> None:
        """One that cannot be kept leaves the newest record."""
        self._kept_ms = self.guard.mark_ms
        with contextlib.suppress(OSError):
            write_mark(self.house.state, self._kept_ms)


@dataclass(slots=True, kw_only=True)
class Retain:
    """Erases payloads that are older than the settings say, and pays what erasures owe: no old page keeps a key.

    Args:
        days: that payloads are kept; 0: for ever.
    """

    house: House
    guard: Guard
    days: int
    every_s: float = SWEEP_EVERY_S
    pause_s: float = RETAIN_EVERY_S

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        # The guard's time, not the wall's: what a glitch of the clock makes look old is not erased.
        retention = Retention(store=self.house.store, clock=self.guard, days=self.days) if self.days else None
        while True:
            pause = self.every_s
            try:
                if await confirmed_again(self.guard) and self.guard.sound and await self._once(retention):
                    pause = self.pause_s
                said = ""
            except Exception as error:  # noqa: BLE001 - what is due tomorrow must still be erased
                text = f"{type(error).__name__}: {error}"
                if text != said:
                    self.house.say(f"payloads could not be erased, and it is tried again: {text}")
                said, pause = text, self.pause_s
            await asyncio.sleep(pause)

    async def _once(self, retention: Retention | None) -> bool:
        """Some work; whether there is none left for now."""
        if retention is not None and not await retention.step():
            return False
        return await scrubbed(self.house.store)


async def confirmed_again(guard: Guard) -> bool:
    """Wait until the newest state is confirmed once more: a store that hangs would hang the event loop.

    That it answered a second ago says too little: what hangs since then keeps everything else here waiting for it.
    """
    age = guard.age_s
    while guard.fresh:
        await asyncio.sleep(POLL_S)
        if guard.age_s <= age:
            return True
        age = guard.age_s
    return False


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something whole, though a signal cancels the caller meanwhile; the cancellation is honoured afterwards."""
    job = asyncio.ensure_future(work)
    cancelled = False
    while not job.done():
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            cancelled = True
    job.result()
    if cancelled:
        raise asyncio.CancelledError
