"""Which agent or application a verified identity is. Pure; it refuses to know tokens and keys.

Nothing is normalised and nothing is guessed: a proof that names nothing matches nobody, and an identity that fits two is
nobody's.
"""

from collections.abc import Iterable
from typing import TypeVar

from lictor.model.errors import CallerError
from lictor.model.identity import Proof, Proven
from lictor.model.reasons import Reason

Name = TypeVar("Name", bound=str)


def matches(proof: Proof, proven: Proven) -> bool:
    """Whether an identity is what a proof asks for: its issuer, and everything else it names, as it stands."""
    if proof.issuer != proven.issuer or not (proof.subject or proof.claims):
        return False
    if proof.subject and proof.subject != proven.subject:
        return False
    return all(_holds(proven.claims.get(name), value) for name, value in proof.claims.items())


def _holds(claim: object, value: str) -> bool:
    """A text that is the value, or a list that has it. Numbers and booleans are not turned into text."""
    if isinstance(claim, list):
        return any(isinstance(one, str) and one == value for one in claim)
    return isinstance(claim, str) and claim == value


def whose(proven: Proven, known: Iterable[tuple[Name, Iterable[Proof]]]) -> Name:
    """The one name whose proofs the identity matches.

    Args:
        proven: as verified.
        known: names of agents (or applications) with their proofs.

    Raises:
        CallerError: `unknown_agent`: it is nobody's, or more than one's.
    """
    found = [name for name, proofs in known if any(matches(proof, proven) for proof in proofs)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CallerError(
            Reason.UNKNOWN_AGENT,
            f"the identity proves more than one: {', '.join(sorted(found))[:200]}",
            remedy="make their proofs in the bundle exclude each other",
        )
    raise CallerError(Reason.UNKNOWN_AGENT, "the identity is that of nobody who is registered")
