"""One pass over a log: every record counted once, what takes two records to know joined, memory bounded by what is open.

A record is counted when it was written in the period, which has its beginning and not its end. State (holds, restrictions,
credentials) is followed from the log's first record. If the process dies here, nothing is lost: it only reads.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from lictor.model.action import action_words
from lictor.model.errors import StoreError
from lictor.model.ids import AgentId, ExecutionId, PolicyId, PolicyRevision, RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import (
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    HoldRefused,
    LogEntry,
    PartyRefused,
    Record,
    RequestReceived,
    RequestRefused,
    TaskClosed,
    TaskOpened,
    decode_entry,
)
from lictor.model.task import Task
from lictor.ports import StoredEntry
from lictor.service.evidence.reporting.counted import Figure
from lictor.service.evidence.reporting.figures import figures_of
from lictor.service.evidence.reporting.people import People
from lictor.service.evidence.reporting.standing import MAX_OPEN, Standing

_K = TypeVar("_K")
_V = TypeVar("_V")
MAX_WAITING: Final = 10_000
"""Requests remembered for the decisions on them: both are in one commit."""
MAX_RULES: Final = 100_000
"""Different combinations of revision, answer and policies that are told apart."""
MAX_AGENTS: Final = 10_000
MAX_REASONS: Final = 1_000
DAY_MS: Final = 86_400_000
_OUTCOMES: Final = {"allow": 0, "needs_approval": 1, "deny": 2}

Ruled = tuple[PolicyRevision, str, tuple[PolicyId, ...]]
"""By which revision, with what answer, by which policies."""


@dataclass(slots=True)
class Did:
    """What one agent asked for in the period, and when it last asked at all."""

    allowed: int = 0
    held: int = 0
    denied: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class Tally:
    """The counts of a period.

    Attributes:
        since_ms: its beginning, milliseconds since the epoch.
        until_ms: its end, which is outside it.
    """

    since_ms: int
    until_ms: int
    figures: dict[str, Figure] = field(default_factory=dict)
    reasons: dict[str, Figure] = field(default_factory=dict)
    ruled: dict[Ruled, Figure] = field(default_factory=dict)
    days: dict[int, list[int]] = field(default_factory=dict)
    """Allowed, held and denied by day since the epoch."""
    agents: dict[AgentId, Did] = field(default_factory=dict)
    people: People = field(default_factory=People)
    standing: Standing = field(default_factory=Standing)
    read: int = 0
    """Entries read, of the period or before it."""
    counted: int = 0
    begins: int | None = None
    """Number of the period's first entry; None: it has none."""
    above: dict[TaskId, tuple[AgentId, ...]] = field(default_factory=dict)
    """The agents that a task was handed on by, nearest first; of tasks that were handed on."""
    first_ms: int = 0
    """When the log's first record was written; 0: it is empty."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What could not be told apart any more, by what it is; nothing is left out in silence."""
    _waiting: dict[RequestId, RequestReceived] = field(default_factory=dict)
    _agent_of: dict[TaskId, AgentId] = field(default_factory=dict)
    _sending: dict[ExecutionId, str] = field(default_factory=dict)

    def take(self, entry: LogEntry, seq: int = 0) -> None:
        """Fold in the next entry of the log, and its number. One after the period's end changes nothing."""
        self.read += 1
        self.first_ms = self.first_ms or entry.at
        if entry.at >= self.until_ms:
            return
        counted = entry.at >= self.since_ms
        record = entry.record
        if counted:
            self.counted += 1
            self.begins = seq if self.begins is None else self.begins
            for name in figures_of(record):
                self._figure(name).add(entry.at)
        self._joined(record, entry.at, counted=counted)

    def _joined(self, record: Record, at_ms: int, *, counted: bool) -> None:
        match record:
            case RequestReceived():
                _keep(self._waiting, record.request, record, MAX_WAITING)
            case DecisionMade():
                self._decided(record, at_ms, counted=counted)
            case ExecutionStarted():
                self._started(record, at_ms, counted=counted)
            case ExecutionEnded():
                sealed = self._sending.pop(record.execution, "")
                if counted and sealed and record.sent:
                    self._figure("joined.as_decided" if record.sent == sealed else "joined.other_bytes").add(at_ms)
                self.standing.take(record, at_ms, counted=counted)
            case RequestRefused() | HoldRefused() | PartyRefused():
                if counted:
                    self._reason(record.reason, at_ms)
            case TaskOpened(task=task):
                self._opened(task)
            case TaskClosed(task=closed):
                self._agent_of.pop(closed, None)
            case _:
                self.people.take(record, at_ms, counted=counted)
                self.standing.take(record, at_ms, counted=counted)

    def _opened(self, task: Task) -> None:
        """A task is handed on while it is open: until then it is enough to know its agent."""
        if task.parents:
            agents = (self._agent_of.get(parent) for parent in task.parents)
            _keep(self.above, task.id, tuple(agent for agent in agents if agent is not None), MAX_OPEN)
        _keep(self._agent_of, task.id, task.agent, MAX_OPEN)

    def _decided(self, record: DecisionMade, at_ms: int, *, counted: bool) -> None:
        asked = self._waiting.get(record.request)
        did = self._agent(asked.agent) if asked is not None else None
        if did is not None:
            did.last_ms = max(did.last_ms, at_ms)
        if not counted:
            return
        if record.outcome == "deny":
            self._reason(record.reason, at_ms)
        self._rules(record, at_ms)
        place = _OUTCOMES.get(record.outcome)
        if place is None:
            return
        self.days.setdefault(at_ms // DAY_MS, [0, 0, 0])[place] += 1
        if did is not None:
            did.allowed += place == 0
            did.held += place == 1
            did.denied += place == len(_OUTCOMES) - 1

    def _started(self, record: ExecutionStarted, at_ms: int, *, counted: bool) -> None:
        asked = self._waiting.pop(record.request, None)
        action = action_words(asked.kind, asked.server, asked.name) if asked else ""
        agent = asked.agent if asked else ""
        _keep(self._sending, record.execution, record.arguments, MAX_OPEN)
        if self.people.take(record, at_ms, counted=counted) and counted:
            self._figure("joined.two_people").add(at_ms)
        self.standing.take(record, at_ms, counted=counted, action=action, agent=agent)

    def _figure(self, name: str) -> Figure:
        return self.figures.setdefault(name, Figure())

    def _reason(self, reason: str, at_ms: int) -> None:
        if reason not in self.reasons and len(self.reasons) >= MAX_REASONS:
            self.left_out["reasons"] += 1
            return
        self.reasons.setdefault(reason, Figure()).add(at_ms)

    def _rules(self, record: DecisionMade, at_ms: int) -> None:
        key = (record.revision, record.outcome, record.policies)
        if key not in self.ruled and len(self.ruled) >= MAX_RULES:
            self.left_out["decisions by policy"] += 1
            return
        self.ruled.setdefault(key, Figure()).add(at_ms)

    def _agent(self, agent: AgentId) -> Did | None:
        if agent not in self.agents and len(self.agents) >= MAX_AGENTS:
            self.left_out["decisions by agent"] += 1
            return None
        return self.agents.setdefault(agent, Did())


def tally(
    entries: Iterable[StoredEntry], since_ms: int, until_ms: int, on_progress: Callable[[int], None] | None = None
) -> Tally:
    """Count a log.

    Args:
        entries: all of them, from the first.
        since_ms: the period's beginning.
        until_ms: its end, outside it.
        on_progress: told how many entries were read.

    Raises:
        StoreError: `log_damaged`: an entry cannot be read.
    """
    found = Tally(since_ms, until_ms)
    for entry in entries:
        found.take(_decoded(entry), entry.seq)
        if on_progress is not None:
            on_progress(found.read)
    return found


def _decoded(entry: StoredEntry) -> LogEntry:
    try:
        return decode_entry(entry.data)
    except msgspec.MsgspecError as error:
        message = f"entry {entry.seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error


def _keep(kept: dict[_K, _V], key: _K, value: _V, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        kept.pop(next(iter(kept)))
