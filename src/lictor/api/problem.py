"""A refusal as RFC 9457 problem details: our reason code, one sentence, what to do. Never how policy is built, never a stack."""

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from lictor.model.errors import CallerError, ConflictError, LictorError, StoreError
from lictor.model.reasons import Reason

MEDIA_TYPE: Final = "application/problem+json"
_URN: Final = "urn:lictor:reason:"

HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""What goes with every answer. There is no CORS: no browser page of another origin reads or sends here."""

_STATUS: Final[Mapping[Reason, int]] = {
    Reason.UNAUTHENTICATED: 401,
    Reason.ALG_NOT_ALLOWED: 401,
    Reason.CRIT_NOT_UNDERSTOOD: 401,
    Reason.AUDIENCE: 401,
    Reason.TASK_EXPIRED: 401,
    Reason.FORBIDDEN: 403,
    Reason.NOT_PERMITTED: 403,
    Reason.NEEDS_APPROVAL: 403,
    Reason.DELEGATION: 403,
    Reason.CONTAINED: 403,
    Reason.NOT_AN_APPROVER: 403,
    Reason.APPROVER_IS_REQUESTER: 403,
    Reason.UNKNOWN_AGENT: 403,
    Reason.AGENT_INACTIVE: 403,
    Reason.AGENT_NO_OWNER: 403,
    Reason.AGENT_REVIEW_OVERDUE: 403,
    Reason.BAD_ORIGIN: 403,
    Reason.UNKNOWN_TASK: 404,
    Reason.UNKNOWN_APPROVAL: 404,
    Reason.UNKNOWN_METHOD: 405,
    Reason.TASK_CLOSED: 409,
    Reason.CONFLICT: 409,
    Reason.KEY_REUSED: 409,
    Reason.TOO_LARGE: 413,
    Reason.BAD_HOST: 421,
    Reason.INVALID_ARGUMENTS: 422,
    Reason.UNKNOWN_MEMBER: 422,
    Reason.BUDGET_CALLS: 422,
    Reason.BUDGET_VALUE: 422,
    Reason.OVERLOADED: 503,
    Reason.CANNOT_RECORD: 503,
    Reason.NO_POLICY: 503,
}


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every refusal looks like (RFC 9457)."""

    type: str
    """`urn:lictor:reason:` and the reason code."""
    title: str
    """The reason code in words."""
    status: int
    reason: str
    """The stable code (docs/reference/reason-codes.md)."""
    detail: str = ""
    remedy: str = ""
    """What to do about it."""
    where: str = ""
    """JSON pointer to the member at fault."""


class Turned(CallerError):  # noqa: N818 - not an accident: an answer with its own status
    """A refusal whose status does not follow from its reason."""

    def __init__(
        self, status: int, reason: Reason, message: str, *, remedy: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """`headers` go with the answer."""
        super().__init__(reason, message, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


def status_of(error: LictorError) -> int:
    """The HTTP status of a refusal: by its reason, else by the party at fault."""
    if isinstance(error, Turned):
        return error.status
    known = _STATUS.get(error.reason)
    if isinstance(error, ConflictError):
        return known if known == 403 else 409
    if known is not None:
        return known
    if isinstance(error, StoreError):
        return 503
    return 400 if isinstance(error, CallerError) else 500


def problem(error: LictorError) -> Response:
    """The answer to a refusal."""
    status = status_of(error)
    body = Problem(
        type=f"{_URN}{error.reason.value}",
        title=error.reason.value.replace("_", " "),
        status=status,
        reason=error.reason.value,
        detail=error.message,
        remedy=error.remedy,
        where=error.where,
    )
    headers = dict(HEADERS)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="lictor"'
    if isinstance(error, Turned):
        headers.update(error.headers)
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type=MEDIA_TYPE)
