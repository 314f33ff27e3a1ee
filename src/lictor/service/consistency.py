"""What must hold between records, whatever the Merkle tree says: no effect without a decision, no approval spent twice.

The tree shows that nobody changed the records; this shows that what was recorded could rightly have happened. Reads entries,
knows no store. Used by `lictor log verify`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

from lictor.model.approval import Allowance, Approval, Hold, Strength
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceGiven,
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    Record,
    RequestReceived,
    decode_entry,
)
from lictor.ports import StoredEntry


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One rule broken, at one entry."""

    position: int
    message: str


@dataclass(slots=True)
class _Seen:
    asked: RequestReceived | None = None
    """The latest request: what follows from it is in the same commit."""
    decisions: dict[str, DecisionMade] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    decided: set[str] = field(default_factory=set)
    open: set[str] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    answers: dict[str, tuple[Approval, ...]] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    """Holds that were denied or expired."""
    overridden: set[str] = field(default_factory=set)
    allowances: dict[str, Allowance] = field(default_factory=dict)


def inconsistencies(entries: Iterable[StoredEntry]) -> Iterator[Inconsistency]:
    """Every entry that could not rightly stand where it stands, in order (goals R1, R3)."""
    seen = _Seen()
    for entry in entries:
        try:
            decoded = decode_entry(entry.data)
        except msgspec.MsgspecError as error:
            yield Inconsistency(entry.seq, f"not a record: {str(error)[:200]}")
            continue
        message = _take(seen, decoded.record, decoded.at)
        if message:
            yield Inconsistency(entry.seq, message)


def _take(seen: _Seen, record: Record, at_ms: int) -> str:
    """Note a record; what is wrong with it, or nothing."""
    match record:
        case RequestReceived():
            seen.asked = record
        case DecisionMade():
            twice = record.decision in seen.decisions
            seen.decisions.setdefault(record.decision, record)
            return f"{record.decision!r} was decided twice" if twice else ""
        case ExecutionStarted():
            return _start(seen, record, at_ms)
        case ExecutionEnded():
            known = record.execution in seen.open
            seen.open.discard(record.execution)
            return "" if known else f"{record.execution!r} ends without having started"
        case _:
            return _answered(seen, record)
    return ""


def _answered(seen: _Seen, record: Record) -> str:
    """Note what people said."""
    match record:
        case HoldOpened():
            seen.holds[record.hold.id] = record.hold
        case ApprovalGiven():
            hold = record.approval.hold
            seen.answers[hold] = (*seen.answers.get(hold, ()), record.approval)
        case ApprovalWithdrawn():
            left = (one for one in seen.answers.get(record.hold, ()) if one.approver != record.by)
            seen.answers[record.hold] = tuple(left)
        case HoldDenied() | HoldExpired():
            seen.over.add(record.hold)
        case DenyOverridden():
            seen.overridden.add(record.hold)
            made = seen.decisions.get(record.decision)
            if made is None or made.outcome != "deny" or made.request != record.request:
                return f"{record.hold!r} overrides what was no deny of that request"
        case AllowanceGiven():
            return _allowed(seen, record.allowance)
        case AllowanceRevoked():
            ended = seen.allowances.get(record.allowance)
            if ended is not None:
                seen.allowances[record.allowance] = msgspec.structs.replace(ended, revoked=True)
        case _:
            pass
    return ""


def _allowed(seen: _Seen, allowance: Allowance) -> str:
    """Whether somebody who gives an allowance had approved the hold it stands beside."""
    seen.allowances[allowance.id] = allowance
    approvers = {one.approver for one in seen.answers.get(allowance.hold, ())}
    if not {one.approver for one in allowance.approval.people} <= approvers:
        return f"{allowance.id!r} was given by somebody who had not approved {allowance.hold!r}"
    return ""


def _start(seen: _Seen, started: ExecutionStarted, at_ms: int) -> str:
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
    wrong = _drawn(seen, started, at_ms) if started.allowance else ""
    if wrong:
        return f"{started.execution!r} {wrong}"
    overrides = made.reason == Reason.OVERRIDDEN.value
    if started.hold is None:
        return f"{started.execution!r} overrides a deny without anybody's answer" if overrides else ""
    wrong = _spent(seen, started, started.hold, at_ms, overrides=overrides)
    seen.spent.add(started.hold)
    return f"{started.execution!r} {wrong}" if wrong else ""


def _spent(seen: _Seen, started: ExecutionStarted, hold_id: str, at_ms: int, *, overrides: bool) -> str:
    """What is wrong with an approval that is spent."""
    hold, answers = seen.holds.get(hold_id), seen.answers.get(hold_id, ())
    if not answers or any(one.digest != started.digest for one in answers):
        return "spent an approval that was given for another action, or never"
    if hold_id in seen.spent:
        return f"spent the approval of {hold_id!r} again"
    if hold is None or (hold.digest, hold.task) != (started.digest, started.task):
        return f"spent the approval of {hold_id!r}, which was not opened for it"
    if hold_id in seen.over:
        return f"spent the approval of {hold_id!r}, which was denied or had expired"
    need = hold.way_met(answers)
    if need is None:
        return f"spent the approval of {hold_id!r}, which those who approved it do not suffice for"
    if at_ms >= min(one.expires_at_ms for one in need.counted(answers)):
        return f"spent the approval of {hold_id!r} after its time"
    strong = all(one.override and one.strength >= Strength.PASSKEY for one in answers)
    if overrides and not (hold.override and strong and hold_id in seen.overridden):
        return f"overrides a deny, and {hold_id!r} is no override of one"
    return ""


def _drawn(seen: _Seen, started: ExecutionStarted, at_ms: int) -> str:
    """What is wrong with what is counted under an allowance; it is counted all the same."""
    found, asked = seen.allowances.get(started.allowance), seen.asked
    if found is None or started.hold is not None:
        return f"is counted under {started.allowance!r}, which was never given, or under two answers"
    value = found.used_value + started.value
    seen.allowances[found.id] = msgspec.structs.replace(found, used=found.used + 1, used_value=value)
    if found.revoked or found.used >= found.most or at_ms >= found.until_ms:
        return f"is counted under {found.id!r}, which was over"
    if started.value and (started.currency != found.currency or value > found.most_value):
        return f"is counted under {found.id!r}, which does not cover its value"
    about = (found.agent, found.human, found.kind, found.server, found.name)
    same = asked is not None and asked.request == started.request
    if asked is None or not same or about != (asked.agent, asked.human, asked.kind, asked.server, asked.name):
        return f"is counted under {found.id!r}, which is for other actions"
    if found.task not in ("", started.task):
        return f"is counted under {found.id!r}, which is for another task"
    return ""
