"""A task's whole story: what it may do, what it has used and seen, what it asked for and what became of each ask. Only reads.

The log is read from where the task begins, a bounded number of entries at a time: a long log keeps nobody waiting. What became
of an execution or a hold is what the state says now, so the story needs no record behind the page.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from lictor.model.action import ActionKind, action_name
from lictor.model.ids import ExecutionId, HoldId, RequestId, TaskId
from lictor.model.record import (
    DecisionMade,
    ExecutionStarted,
    HoldOpened,
    RequestReceived,
    RequestRefused,
    decode_entry,
)
from lictor.model.task import TaskState
from lictor.ports import RecordStore, StoredEntry

MAX_ENTRIES: Final = 10_000
"""Log entries looked at for one page."""
SLACK_MS: Final = 60_000
"""Records stand in the order of their commits, and their times may differ so much from it."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing the task asked for."""

    seq: int
    """Of its decision in the log; of the refusal, where it was never decided."""
    at_ms: int
    action: str
    kind: str
    """`tool`, `resource`, … ; empty where the request could not be read."""
    outcome: str
    """`allow`, `deny`, `needs_approval`; `refused`: it was turned away before policy was asked."""
    reason: str
    request: str = ""
    policies: tuple[str, ...] = ()
    hold: str = ""
    hold_status: str = ""
    execution: str = ""
    execution_outcome: str = ""
    """`started`, `executed`, `failed`, `indeterminate`."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Steps in the order of the log, and where the next page begins."""

    steps: tuple[Step, ...]
    next: int | None
    """Ask again from here; None: that is all there is so far."""


def page_of(store: RecordStore, state: TaskState, *, after: int, limit: int) -> Page:
    """One page of a task's story.

    Args:
        store: the log.
        state: the task.
        after: where the page before ended; 0: the beginning.
        limit: steps at most.

    Raises:
        StoreError: the log cannot be read.
    """
    task = state.task
    start = first_at(store, task.opened_at_ms) if after == 0 else after
    end = min(store.size(), start + MAX_ENTRIES)
    steps: list[Step] = []
    for step, upto in _steps(store, task.id, start, end):
        if len(steps) == limit:
            return Page(steps=tuple(steps), next=upto)
        steps.append(step)
    return Page(steps=tuple(steps), next=end if end < store.size() else None)


def _steps(store: RecordStore, task: TaskId, start: int, end: int) -> Iterator[tuple[Step, int]]:
    """Steps, each with the number of the entry it begins at. A request and what was decided of it are committed together."""
    name = task.encode()
    asked: tuple[RequestReceived, int] | None = None
    found: Step | None = None
    for entry in store.entries(start, min(store.size(), end + 8)):
        mine = name in entry.data
        if found is not None and asked is not None:
            more = _followed(store, found, entry) if mine else None
            if more is not None:
                found = more
                continue
            yield found, asked[1]
            asked = found = None
        if asked is not None and asked[0].request.encode() in entry.data:
            found = _decided(asked[0], entry)
        elif mine and entry.seq < end:
            record = decode_entry(entry.data).record
            if isinstance(record, RequestReceived) and record.task == task:
                asked = (record, entry.seq)
            elif isinstance(record, RequestRefused) and record.task == task:
                yield _turned(record, entry), entry.seq
    if found is not None and asked is not None:
        yield found, asked[1]


def _decided(asked: RequestReceived, entry: StoredEntry) -> Step | None:
    decoded = decode_entry(entry.data)
    made = decoded.record
    if not isinstance(made, DecisionMade) or made.request != asked.request:
        return None
    action = action_name(asked.kind, asked.server, asked.name)
    return Step(
        seq=entry.seq,
        at_ms=decoded.at,
        action=f"{action} {asked.name}" if asked.kind in {ActionKind.RESOURCE, ActionKind.TASK} else action,
        kind=asked.kind.value,
        outcome=made.outcome,
        reason=made.reason,
        request=asked.request,
        policies=tuple(made.policies),
    )


def _followed(store: RecordStore, step: Step, entry: StoredEntry) -> Step | None:
    """The step with what its decision led to, if this entry is that."""
    record = decode_entry(entry.data).record
    if isinstance(record, ExecutionStarted) and record.request == step.request:
        outcome = store.execution_outcome(ExecutionId(record.execution)) or ""
        hold = _hold(store, record.hold) if record.hold else {}
        return msgspec.structs.replace(step, execution=record.execution, execution_outcome=outcome, **hold)
    if isinstance(record, HoldOpened) and record.hold.request == RequestId(step.request):
        return msgspec.structs.replace(step, **_hold(store, record.hold.id))
    return None


def _hold(store: RecordStore, hold: HoldId) -> dict[str, str]:
    found = store.hold(hold)
    return {"hold": hold, "hold_status": found.status.value if found is not None else ""}


def _turned(record: RequestRefused, entry: StoredEntry) -> Step:
    at_ms = decode_entry(entry.data).at
    return Step(seq=entry.seq, at_ms=at_ms, action="", kind="", outcome="refused", reason=record.reason)


def first_at(store: RecordStore, at_ms: int) -> int:
    """Where to begin to read for what was recorded at a moment or later, by halving; some of the first may be older.

    Entries stand in the order of time, give or take `SLACK_MS`.

    Raises:
        StoreError: the log cannot be read.
    """
    low, high = 0, store.size()
    at_ms -= SLACK_MS
    while low < high:
        middle = (low + high) // 2
        entry = next(iter(store.entries(middle, middle + 1)), None)
        if entry is None or decode_entry(entry.data).at >= at_ms:
            high = middle
        else:
            low = middle + 1
    return low
