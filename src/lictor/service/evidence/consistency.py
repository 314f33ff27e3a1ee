"""What must hold between records, whatever the Merkle tree says: no effect without a decision, no approval spent twice.

The tree shows that nobody changed the records; this shows that what was recorded could rightly have happened. Reads entries,
knows no store. Used by `lictor log verify`.

Memory is bounded by what is open (executions, holds, allowances), not by the length of the log: an execution stands in the commit
of its decision, so only the newest decisions are kept. What refers further back is looked up in a second reading.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lictor.model.approval import Allowance, Approval, Hold, Strength
from lictor.model.errors import LictorError
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceGiven,
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    DecisionMade,
    DenyOverridden,
    EpochRaised,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    LogKeyChanged,
    PayloadsErased,
    Record,
    RequestReceived,
    ShadowDiffered,
    decode_entry,
)
from lictor.ports import StoredEntry
from lictor.records.keychain import Handover
from lictor.service.evidence.once import Recent, SeenIds

WINDOW: Final = 1 << 13
"""Decisions kept at least: far more than one commit holds."""
_GONE: Final = 1 << 17
"""Ids of holds that are over, kept to say why their approval is worth nothing; of older ones it is said that there is none."""
_SUSPECTS: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One rule broken, at one entry."""

    position: int
    message: str


@dataclass(slots=True)
class Seen:
    """What is remembered between records."""

    asked: RequestReceived | None = None
    """The latest request: what follows from it is in the same commit."""
    seq: int = 0
    """Number of the entry at hand."""
    decisions: Recent[DecisionMade] = field(default_factory=lambda: Recent(WINDOW))
    """The newest ones."""
    once: SeenIds = field(default_factory=SeenIds)
    suspects: set[str] = field(default_factory=set)
    """Decisions that were perhaps made before."""
    later: list[tuple[int, DenyOverridden]] | None = None
    """Overrides of decisions that are not at hand any more; None: nobody can look them up."""
    decided: Recent[bool] = field(default_factory=lambda: Recent(WINDOW))
    open: set[str] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)
    answers: dict[str, tuple[Approval, ...]] = field(default_factory=dict)
    gone: Recent[str] = field(default_factory=lambda: Recent(_GONE))
    """Holds that are over, and how: `spent` or `over` (denied or expired)."""
    overridden: set[str] = field(default_factory=set)
    allowances: dict[str, Allowance] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Tasks whose sealing keys are gone: nothing of theirs starts any more."""
    key_changes: frozenset[int] | None = None
    """Where the log's key is known to have changed (`KeyChain.places`); None: nobody asks."""


def inconsistencies(
    entries: Iterable[StoredEntry],
    again: Callable[[], Iterable[StoredEntry]] | None = None,
    key_changes: frozenset[int] | None = None,
) -> Iterator[Inconsistency]:
    """Every entry that could not rightly stand where it stands (goals R1, R3), in order but for what is found the second time.

    Args:
        entries: all, in order.
        again: the same once more, for the few questions about what lies far back; None: such an override counts as wrong.
        key_changes: where the keys that the log was verified with changed (`KeyChain.places`); None: that is not compared.
    """
    seen = Seen(later=None if again is None else [], key_changes=key_changes)
    for entry in entries:
        seen.seq = entry.seq
        try:
            decoded = decode_entry(entry.data)
        except msgspec.MsgspecError as error:
            yield Inconsistency(entry.seq, f"not a record: {str(error)[:200]}")
            continue
        message = take(seen, decoded.record, decoded.at)
        if message:
            yield Inconsistency(entry.seq, message)
    if again is not None and (seen.suspects or seen.later):
        yield from second_look(seen, again())


def second_look(seen: Seen, entries: Iterable[StoredEntry]) -> Iterator[Inconsistency]:
    """Decisions that were perhaps made twice, and denies that were overridden long after."""
    wanted = {record.decision for _, record in seen.later or ()}
    made: dict[str, DecisionMade] = {}
    met: set[str] = set()
    for entry in entries:
        if b'"decision.made"' not in entry.data:
            continue
        try:
            record = decode_entry(entry.data).record
        except msgspec.MsgspecError:  # told the first time
            continue
        if not isinstance(record, DecisionMade):
            continue
        if record.decision in wanted:
            made.setdefault(record.decision, record)
        if record.decision in seen.suspects:
            if record.decision in met:
                yield Inconsistency(entry.seq, f"{record.decision!r} was decided twice")
            met.add(record.decision)
    for position, override in seen.later or ():
        message = _overrides(override, made.get(override.decision))
        if message:
            yield Inconsistency(position, message)


def _decide(seen: Seen, record: DecisionMade, _at_ms: int) -> str:
    if seen.decisions.get(record.decision) is not None:
        return f"{record.decision!r} was decided twice"
    if seen.once.add(record.decision) and len(seen.suspects) < _SUSPECTS:
        seen.suspects.add(record.decision)
    seen.decisions.add(record.decision, record)
    return ""


def _raise(seen: Seen, record: EpochRaised, _at_ms: int) -> str:
    """Nothing that people gave before a restored log went on is worth anything after it (goal R22)."""
    for given in (seen.holds, seen.answers, seen.allowances, seen.overridden):
        given.clear()
    wrong = record.restored != seen.seq
    return f"an epoch that begins at {record.restored} stands at {seen.seq}" if wrong else ""


def _change_key(seen: Seen, record: LogKeyChanged, _at_ms: int) -> str:
    """Whoever has an old key can go on signing with it; that the log itself says it was handed over shows it."""
    try:
        Handover.recorded(record, seen.seq)
    except LictorError as error:
        return error.message
    if seen.key_changes is not None and seen.seq not in seen.key_changes:
        return "the log's key was changed here, and the log goes on as if it had not been"
    return ""


def _overrides(record: DenyOverridden, made: DecisionMade | None) -> str:
    if made is None or made.outcome != "deny" or made.request != record.request:
        return f"{record.hold!r} overrides what was no deny of that request"
    return ""


def _end_hold(seen: Seen, hold: str, how: str) -> None:
    seen.holds.pop(hold, None)
    seen.answers.pop(hold, None)
    seen.gone.add(hold, how)


def take(seen: Seen, record: Record, at_ms: int) -> str:
    """Note a record; what is wrong with it, or nothing."""
    judge = _JUDGES.get(type(record))
    return judge(seen, record, at_ms) if judge is not None else ""


def _ask(seen: Seen, record: RequestReceived, _at_ms: int) -> str:
    seen.asked = record
    return ""


def _erase(seen: Seen, record: PayloadsErased, _at_ms: int) -> str:
    twice = record.task in seen.erased
    seen.erased.add(record.task)
    return f"the payloads of {record.task!r} were erased twice" if twice else ""


def _compare(seen: Seen, record: ShadowDiffered, _at_ms: int) -> str:
    told = was_told(record, seen.decisions.get(record.decision))
    return "" if told else f"{record.request!r} is compared with a decision that was not made on it"


def was_told(record: ShadowDiffered, made: DecisionMade | None) -> bool:
    """Whether a candidate bundle is compared with the decision that was made."""
    return made is not None and (made.request, made.outcome) == (record.request, record.was)


def _end(seen: Seen, record: ExecutionEnded, _at_ms: int) -> str:
    known = record.execution in seen.open
    seen.open.discard(record.execution)
    return "" if known else f"{record.execution!r} ends without having started"


def _open_hold(seen: Seen, record: HoldOpened, _at_ms: int) -> str:
    seen.holds[record.hold.id] = record.hold
    return ""


def _approve(seen: Seen, record: ApprovalGiven, _at_ms: int) -> str:
    hold = record.approval.hold
    seen.answers[hold] = (*seen.answers.get(hold, ()), record.approval)
    return ""


def _withdraw(seen: Seen, record: ApprovalWithdrawn, _at_ms: int) -> str:
    left = (one for one in seen.answers.get(record.hold, ()) if one.approver != record.by)
    seen.answers[record.hold] = tuple(left)
    return ""


def _close_hold(seen: Seen, record: HoldDenied | HoldExpired, _at_ms: int) -> str:
    _end_hold(seen, record.hold, "over")
    return ""


def _override(seen: Seen, record: DenyOverridden, _at_ms: int) -> str:
    seen.overridden.add(record.hold)
    made = seen.decisions.get(record.decision)
    if made is None and seen.later is not None and len(seen.later) < _SUSPECTS:
        seen.later.append((seen.seq, record))
        return ""
    return _overrides(record, made)


def _allow(seen: Seen, record: AllowanceGiven, _at_ms: int) -> str:
    return _allowed(seen, record.allowance)


def _revoke(seen: Seen, record: AllowanceRevoked, _at_ms: int) -> str:
    ended = seen.allowances.get(record.allowance)
    if ended is not None:
        seen.allowances[record.allowance] = msgspec.structs.replace(ended, revoked=True)
    return ""


def _allowed(seen: Seen, allowance: Allowance) -> str:
    """Whether somebody who gives an allowance had approved the hold it stands beside."""
    seen.allowances[allowance.id] = allowance
    approvers = {one.approver for one in seen.answers.get(allowance.hold, ())}
    if not {one.approver for one in allowance.approval.people} <= approvers:
        return f"{allowance.id!r} was given by somebody who had not approved {allowance.hold!r}"
    return ""


def _start(seen: Seen, started: ExecutionStarted, at_ms: int) -> str:
    """Whether an execution stands on an Allow of its own for the same action, and on an approval nobody spent before."""
    made = seen.decisions.get(started.decision)
    fresh = seen.decided.get(started.decision) is None
    seen.decided.add(started.decision, True)
    seen.open.add(started.execution)
    if made is None or made.outcome != "allow":
        return f"{started.execution!r} started without an allow"
    if started.task in seen.erased:
        return f"{started.execution!r} started for a task whose payloads were erased"
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
    seen.overridden.discard(started.hold)
    _end_hold(seen, started.hold, "spent")
    return f"{started.execution!r} {wrong}" if wrong else ""


def _spent(seen: Seen, started: ExecutionStarted, hold_id: str, at_ms: int, *, overrides: bool) -> str:
    """What is wrong with an approval that is spent."""
    hold, answers, over = seen.holds.get(hold_id), seen.answers.get(hold_id, ()), seen.gone.get(hold_id)
    if over is not None:
        again = " again" if over == "spent" else ", which was denied or had expired"
        return f"spent the approval of {hold_id!r}{again}"
    if not answers or any(one.digest != started.digest for one in answers):
        return "spent an approval that was given for another action, or never"
    if hold is None or (hold.digest, hold.task) != (started.digest, started.task):
        return f"spent the approval of {hold_id!r}, which was not opened for it"
    need = hold.way_met(answers)
    if need is None:
        return f"spent the approval of {hold_id!r}, which those who approved it do not suffice for"
    if at_ms >= min(one.expires_at_ms for one in need.counted(answers)):
        return f"spent the approval of {hold_id!r} after its time"
    strong = all(one.override and one.strength >= Strength.PASSKEY for one in answers)
    if overrides and not (hold.override and strong and hold_id in seen.overridden):
        return f"overrides a deny, and {hold_id!r} is no override of one"
    return ""


def _drawn(seen: Seen, started: ExecutionStarted, at_ms: int) -> str:
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


_JUDGES: Final[dict[type[Any], Callable[[Seen, Any, int], str]]] = {
    RequestReceived: _ask,
    DecisionMade: _decide,
    EpochRaised: _raise,
    LogKeyChanged: _change_key,
    ExecutionStarted: _start,
    PayloadsErased: _erase,
    ShadowDiffered: _compare,
    ExecutionEnded: _end,
    HoldOpened: _open_hold,
    ApprovalGiven: _approve,
    ApprovalWithdrawn: _withdraw,
    HoldDenied: _close_hold,
    HoldExpired: _close_hold,
    DenyOverridden: _override,
    AllowanceGiven: _allow,
    AllowanceRevoked: _revoke,
}
JUDGED: Final = frozenset(_JUDGES)
"""Records that mean something to others; all others stand by themselves."""
