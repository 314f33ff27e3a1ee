"""Holds, the answers to them, allowances and passkeys: what a record does to their rows, or why it does nothing.

The rules here are the only place where an approval comes into being and is spent. Threats: double redemption (R3), an
approval for something else than was shown (BIND), one person counted twice, an assertion used twice.
"""

import msgspec

from lictor.lifecycle.reading import Changes, Read, task_state
from lictor.lifecycle.rows import Key, Pointer, Row, live_key
from lictor.lifecycle.table import HOLD
from lictor.model.approval import Allowance, Approval, Hold, HoldStatus, Passkey, Strength, seal_of
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceGiven,
    AllowanceRevoked,
    ApprovalGiven,
    ApprovalWithdrawn,
    DenyOverridden,
    ExecutionStarted,
    HoldOpened,
    PasskeyAdded,
    PasskeyRemoved,
)
from lictor.model.task import TaskStatus


def opened(read: Read, record: HoldOpened) -> Changes:
    """A hold, and the pointer by which the agent's retry finds it."""
    hold = record.hold
    _absent(read, ("hold", hold.id))
    key = live_key(hold.task, hold.digest)
    _absent(read, key)
    if task_state(read, hold.task).status is not TaskStatus.OPEN:
        raise ConflictError(Reason.TASK_CLOSED, f"task {hold.task!r} is closed")
    if hold.status is not HoldStatus.PENDING or hold.approval is not None or hold.given:
        raise ConflictError(Reason.CONFLICT, "a hold is born pending, without an answer")
    return {("hold", hold.id): _hold_row(hold), key: _pointer(key, hold.id, hold.opened_at_ms)}


def given(read: Read, record: ApprovalGiven, at_ms: int) -> Changes:
    """One person's yes. With the last that is needed the hold is approved."""
    approval = record.approval
    hold = hold_of(read, approval.hold)
    answered = (*hold.given, approval)
    need = hold.way_met(answered)
    status = _step(hold, "approve" if need is not None else "assent")
    _check_answer(hold, approval, at_ms)
    if hold.override and not record.note:
        raise ConflictError(Reason.CONFLICT, "nobody overrides without saying why")
    changed = msgspec.structs.replace(
        hold,
        status=HoldStatus(status),
        given=answered,
        approval=joined(need.counted(answered), need.groups) if need is not None else None,
        answered_by=approval.approver,
        answered_at_ms=at_ms,
        note=record.note,
    )
    changes: Changes = {("hold", hold.id): _hold_row(changed)}
    changes.update(used(read, approval.passkey, str(approval.approver), approval.uses))
    return changes


def _check_answer(hold: Hold, approval: Approval, at_ms: int) -> None:
    if approval.digest != hold.digest or (approval.seal and approval.seal != seal_of(hold)):
        raise ConflictError(Reason.ACTION_HASH_MISMATCH, "the approval is for another action than the hold")
    if approval.others or approval.met or approval.allowance:
        raise ConflictError(Reason.CONFLICT, "an answer is one person's")
    if any(one.approver == approval.approver for one in hold.given):
        raise ConflictError(Reason.CONFLICT, f"{approval.approver!r} has answered hold {hold.id!r} already")
    if at_ms >= hold.expires_at_ms:
        raise ConflictError(Reason.APPROVAL_TIMEOUT, f"hold {hold.id!r} has expired")
    if approval.override is not hold.override or (hold.override and approval.strength < Strength.PASSKEY):
        raise ConflictError(Reason.CONFLICT, "an override is given as one, with a passkey")


def joined(counted: tuple[Approval, ...], groups: tuple[str, ...]) -> Approval:
    """Several people's answers as the one that is redeemed: good until the first of them ends."""
    *others, last = counted
    until = min(one.expires_at_ms for one in counted)
    return msgspec.structs.replace(last, others=tuple(others), met=groups, expires_at_ms=until)


def withdrawn(read: Read, record: ApprovalWithdrawn, at_ms: int) -> Changes:
    """One person takes their yes back; the next round has another seal, so that no old assertion fits it."""
    hold = hold_of(read, record.hold)
    status = _step(hold, "withdraw")
    left = tuple(one for one in hold.given if one.approver != record.by)
    if len(left) == len(hold.given):
        raise ConflictError(Reason.CONFLICT, f"{record.by!r} has not approved hold {hold.id!r}")
    changed = msgspec.structs.replace(
        hold,
        status=HoldStatus(status),
        given=left,
        approval=None,
        answered_by=record.by,
        answered_at_ms=at_ms,
        note=record.note,
        rounds=hold.rounds + 1,
    )
    return {("hold", hold.id): _hold_row(changed)}


def overridden(read: Read, record: DenyOverridden) -> Changes:
    """Says of what it is; the hold and its answer are records of their own, in the same commit."""
    hold = hold_of(read, record.hold)
    if not hold.override or hold.request != record.request or not record.why:
        raise ConflictError(Reason.CONFLICT, f"hold {hold.id!r} is no override of this")
    return {}


def ended(read: Read, hold_id: str, event: str, at_ms: int, *, by: str | None = None, note: str = "") -> Changes:
    """Denied or expired."""
    hold = hold_of(read, hold_id)
    status = _step(hold, event)
    changed = msgspec.structs.replace(
        hold,
        status=HoldStatus(status),
        answered_by=by or hold.answered_by,
        answered_at_ms=at_ms if by else hold.answered_at_ms,
        note=note or hold.note,
    )
    changes: Changes = {("hold", hold.id): _hold_row(changed)}
    if changed.status is HoldStatus.EXPIRED:
        # A denied action stays denied for the task: nobody is asked again.
        changes[live_key(hold.task, hold.digest)] = None
    return changes


def consumed(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
    """The approval is spent, in the commit that starts what it was for."""
    hold = hold_of(read, record.hold or "")
    if hold.status is HoldStatus.CONSUMED:
        raise ConflictError(Reason.APPROVAL_USED, f"the approval of hold {hold.id!r} is spent")
    status = HOLD.get((hold.status.value, "consume"))
    if status is None:
        raise ConflictError(Reason.UNKNOWN_APPROVAL, f"hold {hold.id!r} is {hold.status.value}: cannot consume")
    if hold.task != record.task:
        raise ConflictError(Reason.APPROVAL_PRINCIPAL, "the approval belongs to another task")
    if hold.digest != record.digest:
        raise ConflictError(Reason.ACTION_HASH_MISMATCH, "the approval is for another action")
    if hold.approval is None or at_ms >= hold.approval.expires_at_ms:
        raise ConflictError(Reason.APPROVAL_EXPIRED, f"the approval of hold {hold.id!r} has expired")
    changed = msgspec.structs.replace(hold, status=HoldStatus(status))
    return {("hold", hold.id): _hold_row(changed), live_key(hold.task, hold.digest): None}


# -- allowances ----------------------------------------------------------------------------------------------------------


def allowed_ahead(read: Read, record: AllowanceGiven, at_ms: int) -> Changes:
    """A bounded yes, by somebody who has approved the hold it stands beside."""
    allowance = record.allowance
    key = ("allowance", allowance.id)
    _absent(read, key)
    hold = hold_of(read, allowance.hold)
    about = (allowance.agent, allowance.human, allowance.kind, allowance.server, allowance.name)
    if about != (hold.agent, hold.human, hold.kind, hold.server, hold.name) or hold.override:
        raise ConflictError(Reason.ACTION_HASH_MISMATCH, "the allowance is for something else than the hold")
    approvers = {one.approver for one in hold.given}
    if hold.approval is None or not {one.approver for one in allowance.approval.people} <= approvers:
        raise ConflictError(Reason.NOT_AN_APPROVER, "the allowance is not of those who approved the hold")
    fresh = not allowance.used and not allowance.used_value and not allowance.revoked
    bound = bool(allowance.targets) is not bool(allowance.arguments)
    if not fresh or not bound or allowance.most < 1 or allowance.most_value < 0 or allowance.until_ms <= at_ms:
        raise ConflictError(Reason.CONFLICT, "an allowance has limits, and none of it is used")
    return {key: _allowance_row(allowance, at_ms)}


def revoked(read: Read, record: AllowanceRevoked) -> Changes:
    """Nothing more comes of it."""
    allowance = allowance_of(read, record.allowance)
    if allowance.revoked:
        raise ConflictError(Reason.CONFLICT, f"allowance {allowance.id!r} is revoked already")
    changed = msgspec.structs.replace(allowance, revoked=True)
    return {("allowance", allowance.id): _allowance_row(changed, allowance.approval.given_at_ms)}


def drawn(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
    """One more of it is used. What fails is not given back: asking again is what people were spared."""
    allowance = allowance_of(read, record.allowance)
    task = task_state(read, record.task).task
    if allowance.revoked or at_ms >= allowance.until_ms or allowance.used >= allowance.most:
        raise ConflictError(Reason.CONFLICT, f"allowance {allowance.id!r} is over")
    if (task.agent, task.human) != (allowance.agent, allowance.human) or allowance.task not in ("", record.task):
        raise ConflictError(Reason.APPROVAL_PRINCIPAL, "the allowance belongs to somebody else")
    value = allowance.used_value + record.value
    if record.value and (record.value < 0 or record.currency != allowance.currency or value > allowance.most_value):
        raise ConflictError(Reason.CONFLICT, f"allowance {allowance.id!r} does not cover the value")
    changed = msgspec.structs.replace(allowance, used=allowance.used + 1, used_value=value)
    return {("allowance", allowance.id): _allowance_row(changed, allowance.approval.given_at_ms)}


def allowance_of(read: Read, allowance: str) -> Allowance:
    """An allowance's row.

    Raises:
        ConflictError: there is none.
    """
    row = read(("allowance", allowance))
    if row is None or not isinstance(row.body, Allowance):
        raise ConflictError(Reason.UNKNOWN_APPROVAL, f"no allowance {allowance!r}")
    return row.body


# -- passkeys ------------------------------------------------------------------------------------------------------------


def key_added(read: Read, record: PasskeyAdded) -> Changes:
    """One more key of a person. An id is never used again, also not by the same person."""
    passkey = record.passkey
    _absent(read, ("passkey", passkey.id))
    return {("passkey", passkey.id): _passkey_row(passkey)}


def key_removed(read: Read, record: PasskeyRemoved) -> Changes:
    """A key of a person is good for nothing any more."""
    passkey = _passkey(read, record.passkey, record.human)
    return {("passkey", passkey.id): _passkey_row(msgspec.structs.replace(passkey, removed=True))}


def used(read: Read, passkey_id: str, human: str, uses: int) -> Changes:
    """A key was used: its counter goes forward, or somebody has a copy (WebAuthn level 3, section 6.1.1)."""
    if not passkey_id:
        return {}
    passkey = _passkey(read, passkey_id, human)
    if (uses or passkey.uses) and uses <= passkey.uses:
        raise ConflictError(
            Reason.PASSKEY_REPLAYED, f"the counter of passkey {passkey.name[:40]!r} has not gone forward"
        )
    return {("passkey", passkey.id): _passkey_row(msgspec.structs.replace(passkey, uses=uses))}


def _passkey(read: Read, passkey_id: str, human: str) -> Passkey:
    row = read(("passkey", passkey_id))
    if row is None or not isinstance(row.body, Passkey) or row.body.removed or row.body.human != human:
        raise ConflictError(Reason.PASSKEY_UNKNOWN, f"{human[:80]!r} has no such passkey")
    return row.body


# -- rows ----------------------------------------------------------------------------------------------------------------


def hold_of(read: Read, hold_id: str) -> Hold:
    """A hold's row.

    Raises:
        ConflictError: there is none.
    """
    row = read(("hold", hold_id))
    if row is None or not isinstance(row.body, Hold):
        raise ConflictError(Reason.UNKNOWN_APPROVAL, f"no hold {hold_id!r}")
    return row.body


def _step(hold: Hold, event: str) -> str:
    after = HOLD.get((hold.status.value, event))
    if after is None:
        raise ConflictError(Reason.CONFLICT, f"hold {hold.id!r} is {hold.status.value}: cannot {event}")
    return after


def _absent(read: Read, key: Key) -> None:
    if read(key) is not None:
        raise ConflictError(Reason.CONFLICT, f"{key[0]} {key[1]!r} exists already")


def _hold_row(hold: Hold) -> Row:
    return Row(kind="hold", id=hold.id, status=hold.status.value, owner=hold.task, at_ms=hold.opened_at_ms, body=hold)


def _allowance_row(allowance: Allowance, at_ms: int) -> Row:
    over = allowance.revoked or allowance.used >= allowance.most
    status = "over" if over else "live"
    return Row(kind="allowance", id=allowance.id, status=status, owner=allowance.agent, at_ms=at_ms, body=allowance)


def _passkey_row(passkey: Passkey) -> Row:
    status = "removed" if passkey.removed else "live"
    return Row(
        kind="passkey", id=passkey.id, status=status, owner=passkey.human, at_ms=passkey.added_at_ms, body=passkey
    )


def _pointer(key: Key, target: str, at_ms: int) -> Row:
    return Row(kind=key[0], id=key[1], status="", owner="", at_ms=at_ms, body=Pointer(target=target))
