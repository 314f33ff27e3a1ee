"""What is restricted, what runs, and what a restriction would reach, as data for pages. Only reads; refuses to know HTTP.

What is found here informs people. What is stopped is decided by `service.containment.contain` and by every gateway for itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lictor.console.records_tail import Logged
from lictor.model.action import action_name
from lictor.model.agent import Agent
from lictor.model.approval import Hold, HoldStatus
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.record import ExecutionStarted, RequestReceived
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.decide import Pdp
from lictor.ports import RecordStore
from lictor.service.calls.standing import through_of

SHOWN: Final = 50
"""Rows of one table; the number above it counts all."""
SHOWN_RESTRICTIONS: Final = 200
SUGGESTED: Final = 200
"""Names offered while one is typed."""
MAX_HOLDS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A call under way. `action` is empty and `since_ms` 0 where its records are too old to be found."""

    execution: str
    task: str
    agent: str
    action: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a restriction lies on now. Of a server or an action: the calls and holds that go there; every task may go there."""

    tasks: tuple[TaskState, ...] = ()
    flights: tuple[Flight, ...] = ()
    holds: tuple[Hold, ...] = ()
    known: bool = True
    """Whether anything of this name is known at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What uses authority now."""

    tasks: tuple[TaskState, ...]
    flights: tuple[Flight, ...]
    leases: tuple[Any, ...]
    counts: Mapping[str, int] = field(default_factory=dict)


class Calls:
    """Names and times of calls, from the records that began them."""

    def __init__(self, logged: Iterable[Logged]) -> None:
        self._actions: dict[str, str] = {}
        self._servers: dict[str, str] = {}
        self._since: dict[str, int] = {}
        for one in logged:
            record = one.record
            if isinstance(record, RequestReceived):
                self._actions[record.request] = action_name(record.kind, record.server, record.name)
                self._servers[record.request] = record.server
            elif isinstance(record, ExecutionStarted):
                self._since[record.execution] = one.at_ms

    def flight(self, started: ExecutionStarted, agent: str) -> Flight:
        """One call for people."""
        return Flight(
            execution=started.execution,
            task=started.task,
            agent=agent,
            action=self._actions.get(started.request, ""),
            since_ms=self._since.get(started.execution, 0),
        )

    def place(self, started: ExecutionStarted) -> tuple[str, str]:
        """Server and action of a call; empty where they are not known."""
        return self._servers.get(started.request, ""), self._actions.get(started.request, "")


def running(store: RecordStore, calls: Calls, now_ms: int) -> Running:
    """What uses authority now, the newest first where there is much."""
    tasks = open_tasks(store, now_ms)
    started = store.open_executions()
    leases = store.leases(live_only=True)
    newest = list(started)[-SHOWN:][::-1]
    return Running(
        tasks=tuple(tasks[:SHOWN]),
        flights=tuple(calls.flight(one, _agent(store, one.task)) for one in newest),
        leases=tuple(list(leases)[-SHOWN:][::-1]),
        counts={"tasks": len(tasks), "flights": len(started), "leases": len(leases)},
    )


def open_tasks(store: RecordStore, now_ms: int) -> list[TaskState]:
    """Tasks that live, newest first."""
    return [state for state in store.tasks() if state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms]


def reach_of(store: RecordStore, pdp: Pdp, calls: Calls, laid: Containment, now_ms: int) -> Reach:
    """What lies under a restriction now."""
    agents = pdp.agents
    tasks = tuple(state for state in open_tasks(store, now_ms) if meets(store, agents, laid, state))
    flights = []
    for started in store.open_executions():
        state = store.task(started.task)
        server, action = calls.place(started)
        if state is not None and meets(store, agents, laid, state, server=server, action=action):
            flights.append(calls.flight(started, state.task.agent))
    holds = []
    for hold in store.holds(limit=MAX_HOLDS):
        state = store.task(hold.task)
        action = action_name(hold.kind, hold.server, hold.name)
        waits = hold.status in {HoldStatus.PENDING, HoldStatus.APPROVED} and now_ms < hold.expires_at_ms
        if waits and state is not None and meets(store, agents, laid, state, server=hold.server, action=action):
            holds.append(hold)
    return Reach(tasks=tasks, flights=tuple(flights), holds=tuple(holds), known=known_to(store, pdp, laid))


def meets(
    store: RecordStore,
    agents: Mapping[AgentId, Agent],
    laid: Containment,
    state: TaskState,
    *,
    server: str = "",
    action: str = "",
) -> bool:
    """Whether a restriction lies on a task, or on any of those it was handed on from (DELG-09)."""
    parents = [store.task(parent) for parent in state.task.parents]
    chain = [state.task, *(parent.task for parent in parents if parent is not None)]
    return through_of(chain, agents, server=server, action=action).meets(laid)


def known_to(store: RecordStore, pdp: Pdp, laid: Containment) -> bool:
    """Whether there is anything of this name: a restriction on a name that nobody has stops nothing."""
    match laid.scope:
        case Scope.EVERYTHING:
            return True
        case Scope.TASK:
            return store.task(TaskId(laid.target)) is not None
        case _:
            return laid.target in names_of(pdp)[laid.scope]


def names_of(pdp: Pdp) -> dict[Scope, list[str]]:
    """Names that a restriction can be laid on, by scope, in order; tasks and everything left out."""
    offerings = [*pdp.exact.values(), *(one for found in pdp.prefixes.values() for _, one in found)]
    entries = [offering.entry for offering in offerings]
    return {
        Scope.AGENT: sorted(pdp.agents),
        Scope.OWNER: sorted({agent.owner for agent in pdp.agents.values() if agent.owner}),
        Scope.SERVER: sorted({str(entry.server) for entry in entries if entry.server}),
        Scope.ACTION: sorted({action_name(entry.kind, entry.server, entry.name) for entry in entries if entry.server}),
    }


def suggestions(pdp: Pdp, tasks: Sequence[TaskState]) -> list[str]:
    """`scope:target` texts to choose from."""
    found = [f"{scope.value}:{name}" for scope, names in names_of(pdp).items() for name in names]
    return ["everything", *(f"task:{state.task.id}" for state in tasks), *found][:SUGGESTED]


def written(scope: Scope, target: str) -> str:
    """How a scope is typed: `agent:coder`, or `everything`."""
    return scope.value if scope is Scope.EVERYTHING else f"{scope.value}:{target}"


def read_scope(text: str) -> tuple[Scope, str] | None:
    """The inverse of `written`; None: it is no scope, or has a target where none belongs, or none where one does."""
    name, colon, target = text.strip().partition(":")
    try:
        scope = Scope(name)
    except ValueError:
        return None
    if (scope is Scope.EVERYTHING) is bool(colon) or bool(target) is (scope is Scope.EVERYTHING):
        return None
    return scope, target


def freed(store: RecordStore, pdp: Pdp, laid: Containment, others: Iterable[Containment], reach: Reach) -> int:
    """How many of the tasks a restriction lies on would be under no other one."""
    rest = [one for one in others if one.id != laid.id]
    return sum(not any(meets(store, pdp.agents, one, state) for one in rest) for state in reach.tasks)


def owns(store: RecordStore, human: HumanId, state: TaskState) -> bool:
    """Whether a task works for a person, or they opened the one at the top of its chain (as the control plane has it)."""
    if state.task.human == human:
        return True
    root = state if not state.task.parents else store.task(state.task.root)
    return root is not None and root.task.opener == f"person:{human}"


EFFECTS: Final[Mapping[Restriction, str]] = {
    Restriction.STEP_UP: "whatever policy would allow needs approval",
    Restriction.READ_ONLY: "it may only read",
    Restriction.SUSPENDED: "it may do nothing, and what is under way is stopped",
}
"""What each restriction means."""


def _agent(store: RecordStore, task: TaskId) -> str:
    state = store.task(task)
    return state.task.agent if state is not None else ""
