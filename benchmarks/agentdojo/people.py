"""Who answers what is held: nobody, or the honest person, who says yes to exactly their own calls."""

from dataclasses import dataclass

AGENT, HUMAN, PURPOSE = "assistant", "os:emma", "assist"
BUDGET = {"EUR": 100_000_00}
"""The hard bound of a task, in minor units: far above what policy asks about."""
APPROVERS = ("none", "honest")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call."""

    ran: bool
    asked: bool
    """A person was asked."""
    reason: str
    """A stable code where it did not run."""
    text: str = ""
    """What came back."""
