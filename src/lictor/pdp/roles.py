"""Who of those who answer holds may do what else, by their groups. Refuses to know how they proved who they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lictor.model.ids import HumanId


class Role(StrEnum):
    """What somebody may do in the console and over the network."""

    VIEWER = "viewer"
    """See everything that is not sealed."""
    APPROVER = "approver"
    """Answer holds."""
    OPERATOR = "operator"
    """Loosen what was restricted, end what runs, open tasks."""
    AUTHOR = "author"
    """Ask what policy would decide about recorded requests with other facts."""
    OVERRIDER = "overrider"
    """Override one deny of policy, once, with a passkey and a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Who may answer holds, and in which roles."""

    groups_of: Mapping[HumanId, tuple[str, ...]] = field(default_factory=dict)
    four_eyes: bool = True
    """The approver must not be the human behind the task."""
    owners: bool = True
    """Whether an agent's owner may approve what it does."""
    operators: frozenset[str] = frozenset()
    """Groups of those who may loosen what was restricted and run the control plane; empty: nobody over the network."""
    authors: frozenset[str] = frozenset()
    overriders: frozenset[str] = frozenset()
    viewers: Mapping[HumanId, tuple[str, ...]] = field(default_factory=dict)
    """Those who may look and do nothing else."""

    @property
    def groups(self) -> frozenset[str]:
        """Every group that has a member."""
        return frozenset(group for groups in self.groups_of.values() for group in groups)

    def roles_of(self, human: HumanId) -> frozenset[Role]:
        """What a person may do; empty: nothing at all."""
        if human not in self.groups_of:
            return frozenset({Role.VIEWER}) if human in self.viewers else frozenset()
        groups = self.groups_of[human]
        wide = ((Role.OPERATOR, self.operators), (Role.AUTHOR, self.authors), (Role.OVERRIDER, self.overriders))
        return frozenset(
            {Role.VIEWER, Role.APPROVER, *(role for role, members in wide if members.intersection(groups))}
        )

    def may_answer(self, human: HumanId, *, requester: HumanId, owner: str) -> bool:
        """Whether a person is far enough from what is asked."""
        return not (self.four_eyes and human == requester) and (self.owners or human != owner)
