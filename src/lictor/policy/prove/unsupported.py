"""What this translator does not know. Raised, never skipped: a construct left out would make a false proof (facts 8.5)."""

from typing import Final

_BOUND: Final = 120


class Unsupported(Exception):  # noqa: N818 - an answer of the prover's, not a fault of the bundle's
    """A construct that is not translated: the property it stands in is not proved.

    Attributes:
        policy: id of the policy, or name of the invariant; empty while it is not known.
        what: the construct, one line.
    """

    def __init__(self, what: str, policy: str = "") -> None:
        self.what = what[:_BOUND]
        self.policy = policy
        super().__init__(f"{policy}: {self.what}" if policy else self.what)
