"""How this package says no. The text of a refusal never repeats anything of a token: it goes to logs and to the sender."""

from typing import Never

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason


def refuse(message: str, reason: Reason = Reason.UNAUTHENTICATED) -> Never:
    """Refuse a token.

    Raises:
        CallerError: always.
    """
    raise CallerError(reason, message)
