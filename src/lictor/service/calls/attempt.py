"""One attempt at an action, and whether what people said of it fits what is asked now. Pure: whoever calls has read the store."""

from collections.abc import Callable, Mapping
from typing import assert_never

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.approval import Hold, HoldStatus
from lictor.model.decision import Decision
from lictor.model.ids import DecisionId, DefinitionDigest, ExecutionId
from lictor.model.reasons import Reason
from lictor.model.record import LeaseAsked
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp
from lictor.service.calls.paths import places

Lending = Callable[[ExecutionId, int], LeaseAsked]
"""(the execution that is about to start, its time in milliseconds) -> the lease it asks for."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Facts, and what was decided on them without a pause between the two."""

    pdp: Pdp
    """Under which it was decided."""
    request: ActionRequest
    snapshot: Snapshot
    encoded: bytes
    decision: Decision
    decide_s: float
    """How long deciding took."""
    id: DecisionId
    live: Hold | None
    laid: int
    """How often restrictions had changed before they were read."""
    lending: Lending | None
    definition: DefinitionDigest | None
    changed: str
    """What of the approval's preconditions is not as it was."""


class Changed(msgspec.Struct, frozen=True):
    """What became of the preconditions of a hold's approval; nothing: they are as they were."""

    hold: Hold
    what: str


def spoiled(attempt: Attempt, resolved: Mapping[str, str]) -> Reason | None:
    """Why an action that policy allows is refused for what people said of it."""
    live = attempt.live
    if live is not None and live.status is HoldStatus.DENIED:
        # A person's no outlives a policy that would no longer have asked: it holds for the task (ADR 0008).
        return Reason.APPROVAL_DENIED
    if live is not None and attempt.snapshot.approval is not None and live.resolved != places(resolved):
        # The approver saw where the paths led; a link moved since, so this is another action (BIND-01).
        return Reason.ACTION_HASH_MISMATCH
    if live is not None and attempt.snapshot.approval is not None and attempt.changed:
        # What people said yes to is not what would happen now: they are asked again (BIND-12, BIND-13).
        return Reason.PRECONDITION_CHANGED
    if live is not None and live.override and attempt.decision.reason is Reason.OVERRIDDEN:
        # The person overrode the deny they were shown. What denies now and did not then is another one.
        revision, *policies = live.over or ("",)
        if attempt.decision.revision != revision or not set(attempt.decision.policies).issubset(policies):
            return Reason.PRECONDITION_CHANGED
    return None


def unfit(hold: Hold | None, request: ActionRequest, now_ms: int) -> Reason | None:
    """Why the hold that a client names cannot serve this retry (BIND-01, 02, 06, 08, TOOL-10); None: it can."""
    if hold is None:
        return Reason.UNKNOWN_APPROVAL
    if hold.task != request.task:
        return Reason.APPROVAL_PRINCIPAL
    if hold.digest != request.digest:
        return Reason.ACTION_HASH_MISMATCH
    match hold.status:
        case HoldStatus.CONSUMED:
            return Reason.APPROVAL_USED
        case HoldStatus.DENIED:
            return Reason.APPROVAL_DENIED
        case HoldStatus.EXPIRED:
            return Reason.APPROVAL_TIMEOUT if hold.approval is None else Reason.APPROVAL_EXPIRED
        case HoldStatus.PENDING:
            return None
        case HoldStatus.APPROVED:
            expired = hold.approval is None or now_ms >= hold.approval.expires_at_ms
            return Reason.APPROVAL_EXPIRED if expired else None
        case _:
            assert_never(hold.status)
