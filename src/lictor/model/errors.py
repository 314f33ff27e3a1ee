"""Errors, one class for each party at fault.

Each carries a stable reason code, a sentence saying what is wrong and a sentence saying what to do. Whatever escapes from
a decision path without being one of these is a defect of ours and is answered as `internal_error`, which denies.
"""

from lictor.model.reasons import Reason


class LictorError(Exception):
    """Base: something was refused.

    Attributes:
        reason: the stable code.
        message: one lower-case line; user input quoted.
        remedy: what the reader can do next; empty when there is nothing.
        where: position of the fault: a JSON pointer, or `file:line`; empty when it has none.
    """

    def __init__(self, reason: Reason, message: str, *, remedy: str = "", where: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy
        self.where = where

    def __str__(self) -> str:
        """One line: `where: message (remedy)`."""
        place = f"{self.where}: " if self.where else ""
        hint = f" ({self.remedy})" if self.remedy else ""
        return f"{place}{self.message}{hint}"


class CallerError(LictorError):
    """The caller (agent, client) sent something unacceptable. Nothing was decided, nothing ran."""


class OperatorError(LictorError):
    """Bundle, configuration or command line is wrong. The previous good state, if any, stays in force."""


class UpstreamError(LictorError):
    """A server behind us is dead, slow, huge or lying.

    Attributes:
        effect_possible: whether a byte of the request had left us, so that the effect may have happened (*Indeterminate*).
    """

    def __init__(
        self, reason: Reason, message: str, *, effect_possible: bool, remedy: str = "", where: str = ""
    ) -> None:
        super().__init__(reason, message, remedy=remedy, where=where)
        self.effect_possible = effect_possible


class StoreError(LictorError):
    """The record store cannot do what was asked. If it cannot write, nothing runs."""


class ConflictError(StoreError):
    """A guard of a commit did not hold: somebody else was first. Nothing of the commit was written."""
