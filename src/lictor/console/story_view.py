"""Tasks as the console's pages tell them: state, budget, the tree of delegation, and the steps with what they brought.

Every `str` is raw: it is rendered when it is drawn. Refuses to know HTML and who visits.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from lictor.model.agent import Agent
from lictor.model.containment import Containment, Scope
from lictor.model.contract import Contract, ContractSource
from lictor.model.ids import ExecutionId
from lictor.model.task import TaskState, TaskStatus
from lictor.policy.contracts import explain
from lictor.ports import RecordStore
from lictor.service.calls.registered import laid_on
from lictor.service.evidence.story import Step

STATES: Final = {"open": "open", "expired": "expired", "closed": "closed"}
MAX_TREE: Final = 200
"""Tasks of one tree on a page; how many more there are is said."""
_MADE: Final = {
    ContractSource.APPLICATION: "made by the application",
    ContractSource.PERSON: "made by the person who opened the task",
    ContractSource.DRAFTED: "drafted from the task's text",
}
_MOODS: Final = {
    "executed": "good",
    "started": "waiting",
    "indeterminate": "bad",
    "deny": "bad",
    "refused": "bad",
    "needs_approval": "waiting",
}


def status_of(state: TaskState, now_ms: int) -> str:
    """`open`, `expired` or `closed`: time decides the second."""
    if state.status is TaskStatus.OPEN and now_ms >= state.task.expires_at_ms:
        return "expired"
    return state.status.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tasks are listed."""

    agent: str = ""
    human: str = ""
    state: str = ""

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.agent or self.human or self.state)

    def fits(self, state: TaskState, now_ms: int) -> bool:
        """Whether a task is among them."""
        return (
            self.agent in {"", state.task.agent}
            and self.human in {"", state.task.human}
            and self.state in {"", status_of(state, now_ms)}
        )

    def address(self, start: int = 0) -> str:
        """The list with these, from so many on."""
        fields = {"agent": self.agent, "human": self.human, "state": self.state, "from": str(start) if start else ""}
        kept = {name: value for name, value in fields.items() if value}
        return f"/tasks?{urlencode(kept, errors='replace')}" if kept else "/tasks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One budget. Minor units where it is money."""

    name: str
    used: int
    most: int

    @property
    def share(self) -> int:
        """Per cent used, at most 100."""
        return min(100, self.used * 100 // self.most) if self.most else 100


def budgets_of(state: TaskState) -> tuple[Spent, ...]:
    """Calls first, then currencies by name."""
    value = state.task.budget.value
    names = sorted({*value, *state.value_used})
    money = [Spent(name=name, used=state.value_used.get(name, 0), most=value.get(name, 0)) for name in names]
    return (Spent(name="calls", used=state.calls_used, most=state.task.budget.calls), *money)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A contract: its clauses in words, each with how often it was used, and who stands for it."""

    made: str
    confirmed_by: str
    unconfirmed: bool
    clauses: tuple[tuple[str, int], ...]


def bound_of(state: TaskState) -> Bound | None:
    """The task's contract; None: there is none."""
    contract: Contract | None = state.contract
    if contract is None:
        return None
    lines = explain(contract)
    used = state.contract_used or (0,) * len(lines)
    return Bound(
        made=_MADE[contract.source],
        confirmed_by=contract.confirmed_by or "",
        unconfirmed=contract.source is ContractSource.DRAFTED and contract.confirmed_by is None,
        clauses=tuple(zip(lines, (*used, *(0,) * len(lines)), strict=False)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One task of a tree of delegation."""

    state: TaskState
    status: str
    depth: int
    here: bool


def tree_of(tasks: Iterable[TaskState], here: TaskState, now_ms: int) -> tuple[tuple[Link, ...], int]:
    """The tree a task is in, parents before their children, oldest first; and how many of it are left out."""
    mine = [one for one in tasks if one.task.root == here.task.root]
    below: dict[str, list[TaskState]] = {}
    for one in sorted(mine, key=lambda state: (state.task.opened_at_ms, state.task.id)):
        below.setdefault(one.task.parents[0] if one.task.parents else "", []).append(one)
    found = list(_down(below, "", 0))
    links = [
        Link(state=one, status=status_of(one, now_ms), depth=depth, here=one.task.id == here.task.id)
        for one, depth in found[:MAX_TREE]
    ]
    return tuple(links), max(0, len(mine) - len(links))


def _down(below: dict[str, list[TaskState]], parent: str, depth: int) -> Iterator[tuple[TaskState, int]]:
    """Depth is bounded by `MAX_DEPTH` of the model: a parent is always older than its child, so there is no circle."""
    for one in below.get(parent, ()):
        yield one, depth
        yield from _down(below, one.task.id, depth + 1)


def laid_on_task(state: TaskState, agent: Agent | None, laid: Sequence[Containment]) -> tuple[Containment, ...]:
    """The restrictions that reach a task whatever it does: its own, its parents', its agent's, its owner's, everybody's."""
    tasks = {state.task.id, *state.task.parents}
    own = [one for one in laid if one.scope is Scope.TASK and one.target in tasks]
    wide = laid_on(agent, laid) if agent is not None else ()
    return (*own, *wide)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step of the story."""

    step: Step
    mood: str
    brought: tuple[str, ...]
    """Labels the task took on when it started."""


def moments_of(store: RecordStore, steps: Iterable[Step]) -> list[Moment]:
    """The steps with what they brought, each label where it came first."""
    seen: set[str] = set()
    found = []
    for step in steps:
        started = store.execution(ExecutionId(step.execution)) if step.execution else None
        brought = tuple(label for label in (started.labels if started is not None else ()) if label not in seen)
        seen.update(brought)
        mood = _MOODS.get(step.execution_outcome or step.outcome, "quiet")
        found.append(Moment(step=step, mood=mood, brought=brought))
    return found
