"""Revocation in a running gateway: what was stopped anywhere is stopped here, also what is under way (facts R4, REVO-01 to -05).

Two loops and a thread. One loop *looks*: it reads the newest state, over and over, and ends whatever has no authority any more.
The other *minds the lease*: when looking has not succeeded for too long, for whatever reason, what is under way is stopped, and
`Guard` lets nothing new through until a look succeeds. Neither waits for the store on the event loop; but others do, and a store
that hangs can hang the loop with them. Then the thread ends by force what is under way: the loop itself sends nothing meanwhile.

If the process dies here nothing is lost: what was stopped is in the log, and the next process reads it before it serves.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

from lictor.model.agent import Agent
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import LictorError
from lictor.model.ids import AgentId, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Task
from lictor.ports import Clock, Look, Probe
from lictor.service.calls.guard import Guard
from lictor.service.calls.standing import ended

POLL_S: Final = 0.15
"""Between two looks: a restriction is known everywhere within 250 ms, also when a look takes its time."""
MIND_S: Final = 0.1
"""How often the lease is looked at."""
STILL_S: Final = 0.3
"""An event loop that has not minded the lease for so long stands still: in a read of a store that hangs, as a rule."""


class InUse(Protocol):
    """One thing that uses a task's authority now: a call, a stream, a connection that waits."""

    @property
    def task(self) -> Task:
        """Whose authority."""
        ...

    @property
    def server(self) -> str:
        """Where it goes; empty while it goes nowhere."""
        ...

    @property
    def action(self) -> str:
        """Which action it is; empty for a connection or a stream."""
        ...

    @property
    def waits(self) -> bool:
        """Whether it does nothing by itself: a connection."""
        ...


class Stops(Protocol):
    """What the enforcement point can stop. Nothing here waits for a server or a client."""

    def under_way(self) -> Collection[InUse]:
        """Everything that uses authority now."""
        ...

    def stop(self, one: InUse, reason: Reason) -> None:
        """End one thing; its outcome is recorded, its client told, its server made to let go. Idempotent."""
        ...

    def strike(self) -> None:
        """End by force what is under way, from another thread, while the event loop stands still."""
        ...

    def stop_shared(self, servers: Collection[str] | None) -> None:
        """End the connections that belong to no task, to these servers, or to all (None)."""
        ...


Stopped = Callable[[TaskId, Reason], Awaitable[None]]
"""Told once of every task that has lost its authority here (leases are revoked so)."""


class Revoke:
    """Watches, and stops. `run` until cancelled."""

    def __init__(
        self,
        *,
        probe: Probe,
        guard: Guard,
        stops: Stops,
        clock: Clock,
        agents: Callable[[], Mapping[AgentId, Agent]],
        say: Callable[[str], None],
        on_stopped: Iterable[Stopped] = (),
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is watched yet.

        Args:
            probe: reads the newest state.
            guard: told of every look that succeeded.
            stops: what is under way, and how it is ended.
            clock: for tasks that expire.
            agents: the registry in force.
            say: one line for the operator, when something changes.
            on_stopped: told of tasks that were stopped here.
            stopwatch: the guard's.
        """
        self._probe = probe
        self._guard = guard
        self._stops = stops
        self._clock = clock
        self._agents = agents
        self._say = say
        self.on_stopped = list(on_stopped)
        self._stopwatch = stopwatch
        self._beat = 0.0
        self._said = self._alerted = ""
        self._told: set[TaskId] = set()
        self._jobs: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Watch until cancelled. No fault of a look ends it."""
        over = threading.Event()
        self._beat = self._stopwatch()
        threading.Thread(target=self._watch_loop, args=(over,), name="lictor-revoke", daemon=True).start()
        try:
            await asyncio.gather(self._looking(), self._minding())
        finally:
            over.set()
            self._probe.close()

    async def look(self) -> None:
        """Look once, and stop what is over.

        Raises:
            StoreError: the newest state cannot be read.
        """
        began = self._stopwatch()
        found = await self._probe.look(self._asked())
        self._guard.confirm(began, found.newest_ms)
        self._apply(found)

    # -- inside ------------------------------------------------------------------------------------------------------------

    async def _looking(self) -> None:
        while True:
            try:
                await self.look()
                self._report("")
            except LictorError as error:
                self._report(f"the newest state cannot be read: {error}")
            except Exception as error:  # noqa: BLE001 - whatever it was, the lease runs out and nothing runs
                self._report(f"defect while looking: {type(error).__name__}: {error}")
            await asyncio.sleep(POLL_S)

    def _watch_loop(self, over: threading.Event) -> None:
        """The thread: strikes once for each time that the loop stands still past the lease."""
        struck = False
        while not over.wait(MIND_S):
            still = not self._guard.fresh and self._stopwatch() - self._beat > STILL_S
            if still and not struck:
                self._stops.strike()
            struck = still

    async def _minding(self) -> None:
        while True:
            self._beat = self._stopwatch()
            if not self._guard.fresh:
                for one in tuple(self._stops.under_way()):
                    if not one.waits:
                        self._stops.stop(one, Reason.STATE_UNCONFIRMED)
            self._alert(self._guard.to_tell())
            await asyncio.sleep(MIND_S)

    def _asked(self) -> frozenset[TaskId]:
        return frozenset(task for one in self._stops.under_way() for task in (one.task.id, *one.task.parents))

    def _apply(self, found: Look) -> None:
        now, agents = self._clock.now_ms(), self._agents()
        over: dict[TaskId, Reason] = {}
        for one in tuple(self._stops.under_way()):
            if one.task.id not in found.tasks:
                continue  # it came while we looked; the next look knows its task
            reason = ended(
                one.task, found.tasks.get, found.containments, agents, now, server=one.server, action=one.action
            )
            if reason is None:
                continue
            self._stops.stop(one, reason)
            if ended(one.task, found.tasks.get, found.containments, agents, now) is not None:
                over.setdefault(one.task.id, reason)
        self._tell(over)
        suspended = [one for one in found.containments if one.restriction is Restriction.SUSPENDED]
        if any(one.scope is Scope.EVERYTHING for one in suspended):
            self._stops.stop_shared(None)
        elif servers := {one.target for one in suspended if one.scope is Scope.SERVER}:
            self._stops.stop_shared(servers)

    def _tell(self, over: Mapping[TaskId, Reason]) -> None:
        for task, reason in over.items():
            if task in self._told:
                continue
            self._say(f"task {task} is stopped: {reason.value}")
            for told in self.on_stopped:
                job = asyncio.ensure_future(self._told_of(told, task, reason))
                self._jobs.add(job)
                job.add_done_callback(self._jobs.discard)
        # A suspended task that is released and stopped again is told of again.
        self._told = set(over)

    async def _told_of(self, told: Stopped, task: TaskId, reason: Reason) -> None:
        try:
            await told(task, reason)
        except Exception as error:  # noqa: BLE001 - one that fails must not keep the others from hearing
            self._say(f"after task {task} was stopped: {type(error).__name__}: {error}")

    def _report(self, text: str) -> None:
        """Why looking fails: once when it changes."""
        if text and text != self._said:
            self._say(text)
        self._said = text

    def _alert(self, fault: str) -> None:
        """That nothing runs, and that it does again."""
        kind = fault[:20]  # the seconds in it change all the time
        if kind != self._alerted:
            self._say(f"nothing runs: {fault}" if fault else "the newest state and the time are known: calls run again")
        self._alerted = kind
