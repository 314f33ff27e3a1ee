"""The registry's use cases: what is written down of a change, how an agent is stopped for good, and what is known about one.

Editing the file is not done here (`policy.registry_edit`). Laying a restriction and closing tasks need nobody's word; what gives
authority (a new agent, a review) is for a person whom the caller has authenticated.

If the process dies inside `stop`: the restriction comes first, so that everything after it is tidying up.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec

from lictor.model.action import action_name
from lictor.model.agent import Agent
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import ConflictError, StoreError
from lictor.model.identity import Proof
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason
from lictor.model.record import AgentChanged, decode_entry
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.decide import Offering, Pdp
from lictor.policy.registry_edit import entry_digest
from lictor.ports import Batch, Clock, RecordStore, StoredEntry
from lictor.service.calls.registered import laid_on
from lictor.service.calls.traffic import Wanted, passed
from lictor.service.containment.contain import Contain
from lictor.service.tasks.tasks import Tasks

DAY_MS: Final = 86_400_000
_MARGIN_MS: Final = 3_600_000
DUE_WITHIN_DAYS: Final = 14
"""A review that is due so soon is said."""
What = Literal["added", "reviewed", "offboarded", "changed"]


class Standing(StrEnum):
    """What an agent is worth now, from good to bad."""

    OK = "ok"
    DUE = "review due"
    OVERDUE = "OVERDUE"
    SUSPENDED = "suspended"
    NO_OWNER = "no owner"
    OFFBOARDED = "offboarded"


@dataclass(frozen=True, slots=True)
class State:
    """Standing, and in one line what it means."""

    standing: Standing
    words: str


def state_of(agent: Agent, now_ms: int, laid: Sequence[Containment] = ()) -> State:
    """Where an agent stands; what takes its authority away comes first."""
    left = (agent.review_by_ms - now_ms) // DAY_MS
    day = datetime.fromtimestamp((agent.review_by_ms - 1) / 1_000, UTC).strftime("%Y-%m-%d")
    if not agent.active:
        return State(Standing.OFFBOARDED, "out of service: it has no authority")
    if not agent.owner.strip():
        return State(Standing.NO_OWNER, "nobody answers for it: it has no authority")
    if now_ms >= agent.review_by_ms:
        return State(Standing.OVERDUE, f"its review was due by {day}: it has no authority until somebody has looked")
    if any(one.restriction is Restriction.SUSPENDED for one in laid_on(agent, laid)):
        return State(Standing.SUSPENDED, "suspended: it may do nothing until a person lifts that")
    if left < DUE_WITHIN_DAYS:
        return State(Standing.DUE, f"review due in {_days(left)}, by {day}")
    return State(Standing.OK, f"reviewed; the next review is due by {day}")


def _days(left: int) -> str:
    return "1 day" if left == 1 else f"{left} days"


@dataclass(frozen=True, slots=True)
class Stopped:
    """What taking an agent out of service ended."""

    containment: str
    tasks: tuple[str, ...]


@dataclass(slots=True)
class Done:
    """What became of one action over a span of the log."""

    action: str
    allowed: int = 0
    denied: int = 0
    held: int = 0
    last_ms: int = 0
    reasons: set[str] = field(default_factory=set)


class Registry:
    """Agents as records and restrictions."""

    def __init__(self, *, store: RecordStore, clock: Clock, tasks: Tasks, contain: Contain) -> None:
        self._store = store
        self._clock = clock
        self._tasks = tasks
        self._contain = contain

    async def record(
        self,
        what: What,
        before: Agent | None,
        after: Agent | None,
        *,
        by: str,
        proofs: tuple[tuple[Proof, ...], tuple[Proof, ...]] = ((), ()),
    ) -> None:
        """Write a change down. It comes before the file is replaced: what cannot be recorded is not done.

        Args:
            what: was done.
            before: the entry as it was; None: there was none.
            after: the entry as it will be.
            by: who does it.
            proofs: how it proved itself, and how it will.

        Raises:
            ValueError: there is no agent before and none after.
            StoreError: it cannot be recorded.
        """
        agent = after or before
        if agent is None:
            raise ValueError("a change of no agent")
        record = AgentChanged(
            agent=agent.id,
            what=what,
            by=by,
            before=entry_digest(before, proofs[0]),
            after=entry_digest(after, proofs[1]),
        )
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    async def stop(self, agent: AgentId, *, by: str, why: str) -> Stopped:
        """Suspend an agent in every gateway on the store, then close its open tasks and with them those below.

        Raises:
            StoreError: the restriction cannot be recorded: nothing is stopped.
        """
        there = next((one.id for one in self._store.containments() if _suspends(one, agent)), "")
        if not there:
            laid = await self._contain.lay(Scope.AGENT, agent, Restriction.SUSPENDED, by=by, why=why)
            there = laid.id
        closed: list[str] = []
        for state in self.open_tasks(agent):
            try:
                await self._tasks.close(state.task.id, by)
            except ConflictError:
                continue  # somebody closed it meanwhile
            closed.append(state.task.id)
        return Stopped(containment=there, tasks=tuple(closed))

    def open_tasks(self, agent: AgentId) -> tuple[TaskState, ...]:
        """Its tasks that are neither closed nor expired, newest first."""
        now = self._clock.now_ms()
        return tuple(
            state
            for state in self._store.tasks()
            if state.task.agent == agent and state.status is TaskStatus.OPEN and now < state.task.expires_at_ms
        )

    def restrictions(self, agent: Agent) -> tuple[Containment, ...]:
        """What is laid on it, on its owner, on everything, or on one of its open tasks."""
        tasks = {state.task.id for state in self.open_tasks(agent.id)}
        laid = self._store.containments()
        own = [one for one in laid if one.scope is Scope.TASK and one.target in tasks]
        return (*laid_on(agent, laid), *own)

    def done(self, agent: AgentId, since_ms: int, on_progress: Callable[[int], None] | None = None) -> tuple[Done, ...]:
        """What it asked for since a moment, by action, most used first.

        Raises:
            StoreError: an entry of the log cannot be read.
        """
        found: dict[str, Done] = {}
        start = first_since(self._store, since_ms)
        for one in passed(self._store, Wanted(since_ms=since_ms, agent=agent, start=start), on_progress):
            if one.asked is None:
                continue
            name = f"{one.asked.server}/{one.asked.name}" if one.asked.server else one.asked.name
            done = found.setdefault(name, Done(name))
            match one.decided.outcome:
                case "allow":
                    done.allowed += 1
                case "needs_approval":
                    done.held += 1
                case _:
                    done.denied += 1
                    done.reasons.add(one.decided.reason)
            done.last_ms = max(done.last_ms, one.at_ms)
        return tuple(sorted(found.values(), key=lambda done: (-done.allowed, -done.held, done.action)))


def within_reach(pdp: Pdp, agent: AgentId) -> tuple[Offering, ...]:
    """Everything of the catalogue that some permit's scope reaches for an agent, whatever its conditions."""
    offered = [*pdp.exact.values(), *(one for found in pdp.prefixes.values() for _, one in found)]
    return tuple(one for one in offered if pdp.engine.may_permit(("Agent", agent), action_of(one), one.resource))


def action_of(offering: Offering) -> str:
    """The action's name in policy."""
    entry = offering.entry
    return action_name(entry.kind, entry.server, entry.name)


def first_since(store: RecordStore, at_ms: int) -> int:
    """Sequence number near the first entry at or after a moment, by halving: good enough for a report, not for a decision.

    Entries are in the order of their commits; clocks of gateways differ by seconds at most, hence the margin.

    Raises:
        StoreError: an entry of the log cannot be read.
    """
    low, high, at_ms = 0, store.size(), at_ms - _MARGIN_MS
    while low < high:
        middle = (low + high) // 2
        entry = next(iter(store.entries(middle, middle + 1)), None)
        if entry is not None and entry_time(entry) < at_ms:
            low = middle + 1
        else:
            high = middle
    return low


def entry_time(entry: StoredEntry) -> int:
    """When an entry was written: milliseconds since the epoch.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        return decode_entry(entry.data).at
    except msgspec.MsgspecError as error:
        message = f"entry {entry.seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error


def _suspends(one: Containment, agent: AgentId) -> bool:
    return one.scope is Scope.AGENT and one.target == agent and one.restriction is Restriction.SUSPENDED
