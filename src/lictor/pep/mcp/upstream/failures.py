"""How a server behind us fails, in words: one constructor for each reason. Refuses to know transports."""

from typing import Final

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason

_QUOTED: Final = 120
"""Characters of a server's text that go into an error message of ours."""


def quoted(value: object) -> str:
    """A server's text for an error message: `repr`, bounded."""
    text = repr(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


def down(message: str, *, effect_possible: bool, remedy: str = "") -> UpstreamError:
    """The server is not there, or went away."""
    return UpstreamError(Reason.UPSTREAM_DOWN, message, effect_possible=effect_possible, remedy=remedy)


def invalid(message: str, *, effect_possible: bool, remedy: str = "") -> UpstreamError:
    """The server sent what no correct server sends."""
    return UpstreamError(Reason.UPSTREAM_INVALID, message, effect_possible=effect_possible, remedy=remedy)


def late(message: str, *, effect_possible: bool) -> UpstreamError:
    """The server did not answer in time."""
    return UpstreamError(Reason.UPSTREAM_TIMEOUT, message, effect_possible=effect_possible)


def too_large(message: str, *, effect_possible: bool) -> UpstreamError:
    """The server sent more than is accepted."""
    return UpstreamError(Reason.UPSTREAM_TOO_LARGE, message, effect_possible=effect_possible)


def unsent(error: UpstreamError) -> UpstreamError:
    """The same failure, for a caller whose own request was never sent (it happened while connecting)."""
    return UpstreamError(
        error.reason, error.message, effect_possible=False, remedy=error.remedy, where=error.where
    ).with_traceback(error.__traceback__)


def sent(error: UpstreamError) -> UpstreamError:
    """The same failure, for a caller whose own request had been written before it happened."""
    return UpstreamError(
        error.reason, error.message, effect_possible=True, remedy=error.remedy, where=error.where
    ).with_traceback(error.__traceback__)
