"""What policy answered, and how the answers for a chain of agents are put together. Refuses to know who was asked."""

from collections.abc import Sequence

import msgspec

from lictor.model.ids import PolicyId


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What the engine answered, closed: `allowed` implies no errors and at least one determining permit.

    Attributes:
        determining: on allow every satisfied permit, otherwise every satisfied forbid; sorted.
        errors: what went wrong, for operators only; sorted.
    """

    allowed: bool
    determining: tuple[PolicyId, ...] = ()
    errors: tuple[str, ...] = ()


def joined(verdicts: Sequence[Verdict]) -> Verdict:
    """The answers for every agent of a chain: allowed by all; what made those refuse that do; every error of any.

    A child can never do what its parent may not (DESIGN section 4). Of no answers at all: not allowed.
    """
    refusing = [verdict for verdict in verdicts if not verdict.allowed] or verdicts
    return Verdict(
        allowed=bool(verdicts) and all(verdict.allowed for verdict in verdicts),
        determining=tuple(sorted({policy for verdict in refusing for policy in verdict.determining})),
        errors=tuple(error for verdict in verdicts for error in verdict.errors),
    )
