"""How the token service says no: one of the error codes that OAuth defines, beside our own reason."""

from typing import Final, Literal, Never

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

Code = Literal[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_token_type",
    "invalid_scope",
    "invalid_target",
    "invalid_authorization_details",
    "invalid_dpop_proof",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
]
"""RFC 6749 5.2; RFC 8707 2 (`invalid_target`); RFC 9396 5; RFC 9449 5; RFC 7009 2.2.1. `access_denied`: policy said no."""

_STATUS: Final[dict[Code, int]] = {
    "invalid_client": 401,
    "server_error": 500,
    "temporarily_unavailable": 503,
}


class OAuthError(CallerError):
    """A refusal of the token service.

    Attributes:
        code: the OAuth error code.
        status: the HTTP status.
    """

    def __init__(self, code: Code, message: str, *, reason: Reason = Reason.INVALID_MESSAGE, remedy: str = "") -> None:
        """See the class."""
        super().__init__(reason, message, remedy=remedy)
        self.code = code
        self.status = _STATUS.get(code, 400)


def refuse(code: Code, message: str, *, reason: Reason = Reason.INVALID_MESSAGE, remedy: str = "") -> Never:
    """Refuse.

    Raises:
        OAuthError: always.
    """
    raise OAuthError(code, message, reason=reason, remedy=remedy)
