"""How a step of a decision says no. Travels inside `lictor.pdp` only: `decide` turns it into a Deny."""

from lictor.model.reasons import Reason


class Refused(Exception):  # noqa: N818 - control flow, not an error
    """One step's refusal."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
