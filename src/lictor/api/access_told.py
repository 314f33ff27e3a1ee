"""A hold, a refusal and an approval in the words of the Access Request and Approval Profile ("ARAP"). Knows no requests."""

from datetime import UTC, datetime
from typing import Final, assert_never

import msgspec
from starlette.responses import Response

from lictor.api import access_shapes as shapes
from lictor.api.problem import MEDIA_TYPE, Problem, problem
from lictor.model.approval import Hold, HoldStatus
from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.reasons import Reason

POLL_S: Final = 2
"""What a poller is told to wait: people take minutes."""

Fault = tuple[str, int, str]
"""The profile's word, the status, a sentence."""
BINDING: Final = ("invalid_denial_binding", 400, "the request is not for what was denied")
EXPIRED: Final = ("expired_denial", 410, "nobody can be asked about this denial any more")
DUPLICATE: Final = ("duplicate_request", 409, "this Idempotency-Key came with another request before")
UNKNOWN: Final = ("unknown_task", 404, "there is no such request")
_URN: Final = "urn:openid:authzen:access-request:error:"
_NEXT: Final = {Reason.APPROVAL_RATE: ("retry", 60), Reason.CONFLICT: ("retry", 1), Reason.OVERLOADED: ("retry", 5)}


class ProfileError(CallerError):
    """A refusal that the profile names (ARAP, "Error Responses")."""

    def __init__(self, fault: Fault, reason: Reason) -> None:
        """`reason`: ours, for the record."""
        self.word, self.status, text = fault
        super().__init__(reason, text)


def problem_of(error: LictorError) -> Response:
    """The answer to a refusal."""
    if not isinstance(error, ProfileError):
        return problem(error)
    body = Problem(
        type=_URN + error.word,
        title=error.word.replace("_", " "),
        status=error.status,
        reason=error.reason.value,
        detail=error.message,
    )
    return Response(msgspec.json.encode(body), status_code=error.status, media_type=MEDIA_TYPE)


def status_of_hold(hold: Hold, now_ms: int) -> shapes.AccessStatus:
    """A hold in the profile's words (ARAP, "Mapping Backend States").

    What a restriction or a changed precondition ended before its time is `cancelled`; past that time it is `expired`.
    """
    over = now_ms >= (hold.approval.expires_at_ms if hold.approval is not None else hold.expires_at_ms)
    match hold.status:
        case HoldStatus.PENDING:
            # One answer of several may be there, so it is the hold's own time that counts.
            return "expired" if now_ms >= hold.expires_at_ms else "pending"
        case HoldStatus.APPROVED:
            return "expired" if over else "approved"
        case HoldStatus.CONSUMED:
            return "approved"
        case HoldStatus.DENIED:
            return "denied"
        case HoldStatus.EXPIRED:
            return "expired" if over else "cancelled"
        case _:
            assert_never(hold.status)


def reference_of(hold: Hold) -> shapes.ApprovalReference:
    """What stands for an approval. `state` is the seal of what people said yes to.

    Raises:
        StoreError: `log_damaged`: it is approved, and nobody has.
    """
    approval = hold.approval
    if approval is None:
        raise StoreError(Reason.LOG_DAMAGED, f"hold {hold.id!r} has no approval")
    return shapes.ApprovalReference(
        id=approval.id,
        approved_at=moment(approval.given_at_ms),
        approved_until=moment(approval.expires_at_ms),
        state=approval.seal,
    )


def same_reference(said: shapes.ApprovalReference, real: shapes.ApprovalReference) -> bool:
    """Whether a reference is this one, in every member it has."""
    pairs = ((getattr(said, name), getattr(real, name)) for name in said.__struct_fields__)
    return said.id == real.id and all(one in {msgspec.UNSET, other} for one, other in pairs)


def refusal(reason: Reason, *, presented: bool) -> shapes.EvaluationAnswer:
    """A denial that nobody can be asked about; `presented`: although there was an approval."""
    action, after = _NEXT.get(reason, ("none" if presented else "", 0))
    return denied(shapes.DecisionContext(reason=reason.value, next_action=action, retry_after=after))


def denied(context: shapes.DecisionContext) -> shapes.EvaluationAnswer:
    """A denial."""
    return shapes.EvaluationAnswer(decision=False, context=context)


def waiting(told: shapes.AccessTask) -> dict[str, str]:
    """When to ask again."""
    return {"Retry-After": str(POLL_S)} if told.task.status == "pending" else {}


def moment(at_ms: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
