"""The solver's answer to one question about two bundles: do the new policies permit more? Refuses to know what follows."""

from typing import Final

from lictor.policy.bundle import Bundle
from lictor.policy.prove.difference import diff_in_principle, shown_action
from lictor.policy.prove.prover import Status

ENOUGH: Final = 5
"""Ways that are shown; one would do."""
TIMEOUT_MS: Final = 5_000
"""For one question about one action; past it a person looks."""


def widened(old: Bundle, new: Bundle) -> tuple[str, ...]:
    """Each action that some request is answered more laxly for, or may be: what is not proved counts (`policy.widening.Compare`).

    Raises:
        OperatorError: one of them does not compile.
    """
    found = []
    for change in diff_in_principle(old, new, timeout_ms=TIMEOUT_MS, looser_only=True, enough=ENOUGH).changes:
        if change.status is not Status.BROKEN:
            found.append(
                f"{shown_action(change.action)}: nothing shows that it permits no more ({change.detail[:120]})"
            )
        elif change.looser:
            found.append(f"{shown_action(change.action)}: {change.new.value} where it was {change.old.value}")
    return tuple(dict.fromkeys(found))
