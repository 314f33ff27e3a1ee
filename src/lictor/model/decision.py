"""The three answers, as types. Each says about which bytes, on which facts, under which policy it was given."""

from typing import NoReturn

import msgspec

from lictor.model.approval import Need
from lictor.model.ids import ActionDigest, PolicyId, PolicyRevision, SnapshotDigest
from lictor.model.reasons import Reason


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What every decision carries."""

    request: ActionDigest
    snapshot: SnapshotDigest
    revision: PolicyRevision
    reason: Reason
    policies: tuple[PolicyId, ...] = ()
    """Determining policies, sorted: the engine returns them in random order."""
    errors: tuple[str, ...] = ()
    """What went wrong inside, for operators only; never shown to the agent."""

    def __bool__(self) -> NoReturn:
        """A decision has three values; truth is not one of them.

        Raises:
            TypeError: always.
        """
        raise TypeError("a decision has three values: match on its class")


class Allow(_Answer, frozen=True, kw_only=True, tag="allow"):
    """It may run now, once."""

    clauses: tuple[int, ...] = ()
    """The clause it runs under in the contract of the task and of each of its parents, -1 where there is none."""


class Deny(_Answer, frozen=True, kw_only=True, tag="deny"):
    """It may not run; no approval would change that."""


class NeedsApproval(_Answer, frozen=True, kw_only=True, tag="needs_approval"):
    """It may run if people in one of these sets of groups approve exactly this action."""

    approvers: tuple[tuple[str, ...], ...]
    needs: tuple[Need, ...] = ()
    """As `approvers`, where one person with any proof is not enough."""


Decision = Allow | Deny | NeedsApproval
