"""What must hold between records, whatever the Merkle tree says: no effect without a decision, no approval spent twice.

The tree shows that nobody changed the records; this shows that what was recorded could rightly have happened. Reads entries,
knows no store. Used by `lictor log verify`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from lictor.model.record import ApprovalGiven, DecisionMade, ExecutionEnded, ExecutionStarted, decode_entry
from lictor.ports import StoredEntry


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One rule broken, at one entry."""

    position: int
    message: str


@dataclass(slots=True)
class _Seen:
    decisions: dict[str, DecisionMade] = field(default_factory=dict)
    approved: dict[str, str] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)


def inconsistencies(entries: Iterable[StoredEntry]) -> Iterator[Inconsistency]:
    """Every entry that could not rightly stand where it stands, in order (goals R1, R3)."""
    seen = _Seen()
    for entry in entries:
        try:
            record = decode_entry(entry.data).record
        except msgspec.MsgspecError as error:
            yield Inconsistency(entry.seq, f"not a record: {str(error)[:200]}")
            continue
        message = ""
        match record:
            case DecisionMade():
                seen.decisions[record.decision] = record
            case ApprovalGiven():
                seen.approved[record.approval.hold] = record.approval.digest
            case ExecutionStarted():
                message = _start(seen, record)
            case ExecutionEnded():
                message = "" if record.execution in seen.open else f"{record.execution!r} ends without having started"
                seen.open.discard(record.execution)
            case _:
                pass
        if message:
            yield Inconsistency(entry.seq, message)


def _start(seen: _Seen, started: ExecutionStarted) -> str:
    """Whether an execution stands on an Allow of its own for the same action, and on an approval nobody spent before."""
    made = seen.decisions.get(started.decision)
    fresh = started.decision not in seen.decided
    seen.decided.add(started.decision)
    seen.open.add(started.execution)
    if made is None or made.outcome != "allow":
        return f"{started.execution!r} started without an allow"
    if made.digest != started.digest or made.request != started.request:
        return f"{started.execution!r} started on the decision of another action"
    if not fresh:
        return f"{started.execution!r} started on a decision that was used before"
    if started.hold is None:
        return ""
    if seen.approved.get(started.hold) != started.digest:
        return f"{started.execution!r} spent an approval that was given for another action, or never"
    if started.hold in seen.spent:
        return f"{started.execution!r} spent the approval of {started.hold!r} again"
    seen.spent.add(started.hold)
    return ""
