"""A task's story straight from the log: each request with what was decided, who was asked, what ran and what came of it.

A record seldom names its task; most name the request, hold, execution or lease they belong to. `Belonging` follows these names
through the log, one entry after another, so that nothing has to be looked up and a log of any length is read in bounded memory.
The console's pages (`service.evidence.story`) ask the state what became of a request; here every record stands for itself,
with its time.

Refuses to know how it is shown.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from lictor.model.action import ActionKind
from lictor.model.containment import Scope
from lictor.model.ids import TaskId
from lictor.model.record import (
    AllowanceGiven,
    ApprovalGiven,
    ContainmentLaid,
    DecisionMade,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    LeaseAsked,
    LeaseEnded,
    LogEntry,
    Record,
    RequestReceived,
    SignalObserved,
    TaskOpened,
    decode_entry,
)
from lictor.ports import StoredEntry

MAX_NAMES: Final = 10_000
"""Names followed at a time; the oldest is given up first: what comes of it later stands by itself."""
MAX_OPEN: Final = 1_000
"""Requests that wait for their end before they are told; the oldest is told first, as far as it is known."""
RECENT: Final = 16
"""Requests whose names are followed, newest first: what comes later names a hold, an execution or a lease of theirs."""
_ITSELF: Final = ""
"""The place of a record that is about the task itself."""
_NAMED: Final = ("hold", "execution", "lease", "allowance", "containment")
"""Members by which a record names what it belongs to."""


class Belonging:
    """Which records of a log are one task's. Shown every entry in order, and sees each once."""

    def __init__(self, task: TaskId) -> None:
        self.task = task
        self._needle = task.encode()
        self._places: dict[str, str] = {}
        """Request, hold, execution, lease, … to the request it belongs to."""
        self._needles: dict[str, bytes] = {}
        self._opening = _ITSELF
        self._recent: deque[str] = deque()

    def take(self, stored: StoredEntry) -> tuple[str, LogEntry] | None:
        """A record of the task with the request it belongs to, `""` for the task itself; None: another's.

        Raises:
            msgspec.ValidationError: it is no entry.
        """
        data = stored.data
        if self._needle not in data and not any(needle in data for needle in self._needles.values()):
            return None
        entry = decode_entry(data)
        place = self.place(entry.record)
        self._settle(entry.record)
        return None if place is None else (place, entry)

    def place(self, record: Record) -> str | None:
        """Where a record belongs; the names that it brings are followed from here on."""
        match record:
            case RequestReceived():
                return self._asked(record)
            case TaskOpened():
                return self._opened(record)
            case HoldOpened():
                return self._begins(record.hold.id, record.hold.task, record.hold.request)
            case ExecutionStarted():
                return self._begins(record.execution, record.task, record.request)
            case LeaseAsked():
                return self._begins(record.lease.id, record.lease.task, record.lease.execution)
            case ApprovalGiven():
                return self._places.get(record.approval.hold)
            case AllowanceGiven():
                return self._begins(record.allowance.id, "", record.allowance.hold)
            case ContainmentLaid():
                laid = record.containment
                mine = laid.scope is Scope.TASK and laid.target == self.task
                return self._follow(laid.id, _ITSELF) if mine else None
            case SignalObserved():
                mine = record.signal.task == self.task
                return self._places.get(record.signal.request or "", _ITSELF) if mine else None
            case _:
                return self._named(record)

    def _asked(self, record: RequestReceived) -> str | None:
        if record.task != self.task:
            return None
        self._opening = record.request if record.kind is ActionKind.TASK else _ITSELF
        self._recent.append(record.request)
        if len(self._recent) > RECENT:
            self._forget(self._recent.popleft())
        return self._follow(record.request, record.request)

    def _opened(self, record: TaskOpened) -> str | None:
        if record.task.id == self.task:
            return self._opening
        return _ITSELF if record.task.parents[:1] == (self.task,) else None

    def _begins(self, name: str, task: str, of: str) -> str | None:
        """Something with a name of its own: it belongs where what it names belongs, or to the task it names."""
        place = self._places.get(of, _ITSELF if task == self.task else None)
        return None if place is None else self._follow(name, place)

    def _named(self, record: Record) -> str | None:
        request = getattr(record, "request", None)
        if request in self._places:
            return self._places[request]
        for member in _NAMED:
            place = self._places.get(getattr(record, member, None) or "")
            if place is not None:
                return place
        return _ITSELF if getattr(record, "task", None) == self.task else None

    def _follow(self, name: str, place: str) -> str:
        if len(self._places) >= MAX_NAMES:
            self._forget(next(iter(self._places)))
        self._places[name] = place
        self._needles[name] = name.encode()
        return place

    def _settle(self, record: Record) -> None:
        """Give up the name of what nothing more comes of."""
        match record:
            case HoldDenied() | HoldExpired():
                self._forget(record.hold)
            case ExecutionStarted() if record.hold is not None:
                self._forget(record.hold)
            case ExecutionEnded() if record.outcome != "indeterminate":
                self._forget(record.execution)
            case ExecutionReconciled():
                self._forget(record.execution)
            case LeaseEnded():
                self._forget(record.lease)
            case _:
                pass

    def _forget(self, name: str) -> None:
        self._places.pop(name, None)
        self._needles.pop(name, None)


@dataclass(frozen=True, slots=True)
class Chapter:
    """What belongs together: a request with all that came of it, or one record about the task itself.

    `over` is false where something is still expected: an answer, an outcome.
    """

    request: str
    records: tuple[tuple[int, LogEntry], ...]
    """Each with its number in the log, in order."""
    over: bool


@dataclass(slots=True)
class _Open:
    request: str
    records: list[tuple[int, LogEntry]] = field(default_factory=list)
    waits: set[str] = field(default_factory=set)
    decided: bool = False

    @property
    def over(self) -> bool:
        return self.decided and not self.waits

    def done(self) -> Chapter:
        return Chapter(self.request, tuple(self.records), self.over)


def chapters(entries: Iterable[StoredEntry], task: TaskId) -> Iterator[Chapter]:
    """A task's story, each request where it was asked.

    Args:
        entries: the log from where the task begins, or earlier, in order.

    Raises:
        StoreError: what `entries` raises.
        msgspec.ValidationError: an entry is none.
    """
    mine = Belonging(task)
    waiting: deque[_Open] = deque()
    by_request: dict[str, _Open] = {}
    by_hold: dict[str, _Open] = {}
    for stored in entries:
        found = mine.take(stored)
        if found is None:
            continue
        place, entry = found
        # What one commit holds stands together, so a request is told when the next thing begins, and not at its decision.
        while waiting and waiting[0].request != place and (waiting[0].over or len(waiting) > MAX_OPEN):
            by_request.pop(waiting[0].request, None)
            yield waiting.popleft().done()
        one = by_request.get(place) if place else None
        if one is None:
            one = _Open(place, decided=not isinstance(entry.record, RequestReceived))
            waiting.append(one)
            if place:
                by_request[place] = one
        one.records.append((stored.seq, entry))
        _note(one, entry.record, by_hold)
    for left in waiting:
        yield left.done()


def _note(one: _Open, record: Record, by_hold: dict[str, _Open]) -> None:
    """What a chapter waits for from here on, and what it does not wait for any more."""
    match record:
        case DecisionMade():
            one.decided = True
        case HoldOpened():
            one.waits.add(record.hold.id)
            by_hold[record.hold.id] = one
        case HoldDenied() | HoldExpired():
            _ended(record.hold, by_hold)
        case ExecutionStarted():
            one.waits.add(record.execution)
            if record.hold is not None:
                _ended(record.hold, by_hold)
        case ExecutionEnded():
            one.waits.discard(record.execution)
        case _:
            pass


def _ended(hold: str, by_hold: dict[str, _Open]) -> None:
    """A hold is answered for good, or used: by another request as a rule."""
    held = by_hold.pop(hold, None)
    if held is not None:
        held.waits.discard(hold)
