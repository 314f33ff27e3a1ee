"""Lay restrictions on agents, owners, tasks, servers or actions; lift them; pull the plug. Lifting needs a person, laying nobody.

A kill is one commit: from it on nothing starts, on every gateway on the same store. What is under way is stopped by each gateway
(`service.containment.revoke`); here it is named, and watched until each gateway has said what became of it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lictor.model.action import action_name
from lictor.model.agent import Agent
from lictor.model.approval import Hold, HoldStatus
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import AgentId, ExecutionId, HoldId, HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import (
    ContainmentLaid,
    ContainmentLifted,
    ExecutionStarted,
    HoldExpired,
    RequestReceived,
    TaskClosed,
    decode_entry,
)
from lictor.model.task import TaskState, TaskStatus
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.calls.standing import through_of

SEARCHED: Final = 20_000
"""Entries searched, newest first, for the names of calls under way: more than an hour of one busy agent."""
HOLDS: Final = 10_000
"""Holds looked through, newest first."""
WATCH_S: Final = 3.0
"""How long a gateway is waited for: it promises two."""
_STEP_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """A call that had started when the plug was pulled. `action` is empty when its request is too old to be found."""

    execution: ExecutionId
    task: TaskId
    action: str
    outcome: str = "started"
    """`executed`: its answer had come. `failed`: it had not left. `indeterminate`: stopped, it may have happened. `started`: no
    gateway has said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """What a kill did, and what it met."""

    containment: Containment
    tasks: tuple[TaskId, ...] = ()
    """Closed by it, for good."""
    suspended: tuple[TaskId, ...] = ()
    """Open tasks that may do nothing until it is lifted."""
    holds: tuple[HoldId, ...] = ()
    in_flight: tuple[InFlight, ...] = ()


class Contain:
    """Containment: in force from the commit on, for every gateway on the same store."""

    def __init__(self, *, store: RecordStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def lay(self, scope: Scope, target: str, restriction: Restriction, *, by: str, why: str = "") -> Containment:
        """Restrict.

        Args:
            target: an agent, owner, task, server or action (`server/tool`); empty for everything.

        Raises:
            CallerError: `conflict`: scope and target do not fit each other.
            StoreError: it could not be recorded: nothing is restricted, say so loudly.
        """
        laid = self._new(scope, target, restriction, by, why)
        await self._store.commit(Batch(at_ms=laid.laid_at_ms, records=(ContainmentLaid(containment=laid),)))
        return laid

    async def kill(
        self, scope: Scope, target: str, *, by: str, why: str, agents: Mapping[AgentId, Agent] | None = None
    ) -> Killed:
        """Pull the plug: suspend now; close the task, if it is one, and everything it was handed on to; close what waits.

        The restriction is committed first and by itself, so that nothing that comes after can keep it from being in force.

        Args:
            scope: what it is laid on; see `lay`.
            target: see `lay`.
            by: who, for the record.
            why: for the record.
            agents: the registry, to know an owner's agents; without it an owner's calls are stopped all the same, and not listed.

        Raises:
            CallerError: `conflict`: scope and target do not fit each other.
            StoreError: it could not be recorded: nothing is stopped, say so loudly.
        """
        laid = self._new(scope, target, Restriction.SUSPENDED, by, why)
        await self._store.commit(Batch(at_ms=laid.laid_at_ms, records=(ContainmentLaid(containment=laid),)))
        known = agents or {}
        reached = [state for state in self._store.tasks() if self._open(state) and self._reaches(laid, state, known)]
        in_flight = self._in_flight(laid, known)
        closed = await self._close(reached, by) if scope is Scope.TASK else ()
        holds = await self._end_holds(laid, known)
        tasks = [state.task.id for state in reached]
        return Killed(
            containment=laid,
            tasks=closed,
            suspended=tuple(task for task in tasks if task not in closed),
            holds=holds,
            in_flight=in_flight,
        )

    async def outcomes(self, killed: Killed, *, within_s: float = WATCH_S) -> tuple[InFlight, ...]:
        """What became of the calls under way, as soon as every gateway has said it, or when the time is up."""
        give_up = time.monotonic() + within_s
        while True:
            found = tuple(self._now(call) for call in killed.in_flight)
            if all(call.outcome != "started" for call in found) or time.monotonic() >= give_up:
                return found
            await asyncio.sleep(_STEP_S)

    async def lift(self, containment: str, *, by: HumanId, why: str) -> None:
        """Take a restriction away. A person does, and says why.

        Raises:
            CallerError: `conflict`: no reason given.
            ConflictError: `conflict`: there is none of that id.
        """
        if not why.strip():
            raise CallerError(Reason.CONFLICT, "say why the restriction is lifted")
        record = ContainmentLifted(containment=containment, by=by, why=why)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    def in_force(self) -> Sequence[Containment]:
        """Everything that is restricted now, oldest first."""
        return self._store.containments()

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _new(self, scope: Scope, target: str, restriction: Restriction, by: str, why: str) -> Containment:
        if bool(target) is (scope is Scope.EVERYTHING):
            raise CallerError(Reason.CONFLICT, "everything has no target, and every other scope has one")
        return Containment(
            id=self._ids.new("cnt"),
            scope=scope,
            target=target,
            restriction=restriction,
            by=by,
            why=why,
            laid_at_ms=self._clock.now_ms(),
        )

    def _open(self, state: TaskState) -> bool:
        return state.status is TaskStatus.OPEN and self._clock.now_ms() < state.task.expires_at_ms

    def _reaches(
        self, laid: Containment, state: TaskState, agents: Mapping[AgentId, Agent], server: str = "", action: str = ""
    ) -> bool:
        """Whether it lies on a task or on any of those it was handed on from (DELG-09)."""
        parents = [self._store.task(parent) for parent in state.task.parents]
        chain = [state.task, *(parent.task for parent in parents if parent is not None)]
        return through_of(chain, agents, server=server, action=action).meets(laid)

    async def _close(self, reached: Sequence[TaskState], by: str) -> tuple[TaskId, ...]:
        """Close tasks, those that were handed on first; one that is closed meanwhile is closed."""
        closed = []
        for state in sorted(reached, key=lambda one: -len(one.task.parents)):
            try:
                record = TaskClosed(task=state.task.id, by=by)
                await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
            except ConflictError:
                continue
            closed.append(state.task.id)
        return tuple(closed)

    async def _end_holds(self, laid: Containment, agents: Mapping[AgentId, Agent]) -> tuple[HoldId, ...]:
        """End what waits for people, and approvals that were not used yet: they were given before anybody knew."""
        ended = []
        for hold in self._store.holds(limit=HOLDS):
            if hold.status not in {HoldStatus.PENDING, HoldStatus.APPROVED} or not self._on_hold(laid, hold, agents):
                continue
            try:
                record = HoldExpired(hold=hold.id, why=Reason.CONTAINED.value)
                await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
            except ConflictError:
                continue  # answered or used at this moment; what it led to is refused by the restriction
            ended.append(hold.id)
        return tuple(ended)

    def _on_hold(self, laid: Containment, hold: Hold, agents: Mapping[AgentId, Agent]) -> bool:
        state = self._store.task(hold.task)
        action = action_name(hold.kind, hold.server, hold.name)
        return state is not None and self._reaches(laid, state, agents, server=hold.server, action=action)

    def _in_flight(self, laid: Containment, agents: Mapping[AgentId, Agent]) -> tuple[InFlight, ...]:
        started = self._store.open_executions()
        asked = self._requests(started)
        found = []
        for execution in started:
            state = self._store.task(execution.task)
            request = asked.get(execution.request)
            server, action = (request.server, _action(request)) if request is not None else ("", "")
            if state is not None and self._reaches(laid, state, agents, server=server, action=action):
                found.append(InFlight(execution=execution.execution, task=execution.task, action=action))
        return tuple(found)

    def _requests(self, started: Sequence[ExecutionStarted]) -> dict[str, RequestReceived]:
        """What was asked, from the end of the log: a call under way is recent."""
        wanted = {execution.request for execution in started}
        found: dict[str, RequestReceived] = {}
        end = self._store.size()
        oldest = max(0, end - SEARCHED)
        while wanted and end > oldest:
            start = max(oldest, end - 512)
            for entry in self._store.entries(start, end):
                record = decode_entry(entry.data).record
                if isinstance(record, RequestReceived) and record.request in wanted:
                    found[record.request] = record
                    wanted.discard(record.request)
            end = start
        return found

    def _now(self, call: InFlight) -> InFlight:
        if call.outcome != "started":
            return call
        outcome = self._store.execution_outcome(call.execution)
        return InFlight(execution=call.execution, task=call.task, action=call.action, outcome=outcome or "started")


def _action(request: RequestReceived) -> str:
    return action_name(request.kind, request.server, request.name)
