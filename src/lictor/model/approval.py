"""A hold and people's answers to it. An approval is a *fact* for `decide`; it is never permission by itself."""

from collections.abc import Iterable
from enum import IntEnum, StrEnum

import msgspec

from lictor.model.action import ActionKind
from lictor.model.canonical import canonical, sha256_digest
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    AllowanceId,
    ApprovalId,
    DecisionId,
    HoldId,
    HumanId,
    RequestId,
    SealDigest,
    ServerName,
    TaskId,
)


class Strength(IntEnum):
    """How somebody proved who they are when they answered. Policy reads the number; more is stronger."""

    SECRET = 1
    """An enrolled secret: whoever has it is the person."""
    LOGIN = 2
    """Signed in with an issuer."""
    PASSKEY = 3
    """A WebAuthn assertion, user verified, whose challenge is the seal of what was approved."""


class Need(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way in which people can approve: so many of them, who cover these groups, each proved at least so strongly."""

    groups: tuple[str, ...]
    people: int = 1
    strength: int = Strength.SECRET

    def counted(self, given: "Iterable[Approval]") -> "tuple[Approval, ...]":
        """The answers that count towards it: of somebody in one of its groups, strong enough, one for each person."""
        counted = {
            one.approver: one for one in given if one.strength >= self.strength and set(self.groups) & {*one.groups}
        }
        return tuple(counted.values())

    def met(self, given: "Iterable[Approval]") -> bool:
        """Whether these answers suffice."""
        counted = self.counted(given)
        covered = {group for one in counted for group in one.groups}
        return len(counted) >= max(1, self.people) and covered.issuperset(self.groups)


class Approval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One person's authenticated yes to exactly one action digest, once, until a moment."""

    id: ApprovalId
    hold: HoldId
    digest: ActionDigest
    approver: HumanId
    groups: tuple[str, ...]
    """The approver groups this person was in, by the bundle in force when they answered. Sorted."""
    given_at_ms: int
    expires_at_ms: int
    strength: int = Strength.SECRET
    seal: SealDigest = SealDigest("")
    """What was shown and said yes to (`seal_of`); empty in records older than seals."""
    passkey: str = ""
    """Id of the passkey that signed the seal."""
    uses: int = 0
    """The passkey's own counter of its uses; 0 where it has none."""
    others: "tuple[Approval, ...]" = ()
    """Those who approved before, where several people had to. Each is in a record of its own."""
    met: tuple[str, ...] = ()
    """The groups of the need that they met together; empty in records older than needs: those of the one approver."""
    allowance: AllowanceId = AllowanceId("")
    """It comes from an allowance, and nobody looked at this very action."""
    override: bool = False
    """Break-glass: one deny of policy is overridden, once."""

    @property
    def people(self) -> "tuple[Approval, ...]":
        """Everybody's."""
        return (*self.others, self)


class HoldStatus(StrEnum):
    """See `lifecycle.hold` for who may go where and what a crash means in each state."""

    PENDING = "pending"
    APPROVED = "approved"
    CONSUMED = "consumed"
    DENIED = "denied"
    EXPIRED = "expired"


class Hold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An action waiting for people."""

    id: HoldId
    request: RequestId
    digest: ActionDigest
    task: TaskId
    agent: AgentId
    human: HumanId
    kind: ActionKind
    server: ServerName
    name: str
    groups: tuple[tuple[str, ...], ...]
    """The smallest sufficient sets of approver groups: any one of them is enough."""
    opened_at_ms: int
    expires_at_ms: int
    status: HoldStatus = HoldStatus.PENDING
    approval: Approval | None = None
    answered_by: HumanId | None = None
    note: str = ""
    resolved: str = ""
    """Digest of where its paths led when people were asked; empty where nobody looked. They said yes to that place only."""
    decision: DecisionId = DecisionId("")
    """That asked for it."""
    preview: str = ""
    """SHA-256 of what would become of it (`model.preview`), as it is sealed under the hold's id; empty: nobody looked."""
    needs: tuple[Need, ...] = ()
    """As `groups`, with how many people and how strongly they have to prove who they are; empty: one, anyhow."""
    given: tuple[Approval, ...] = ()
    """Every answer of this round."""
    answered_at_ms: int = 0
    """When the last answer came; 0 without one."""
    override: bool = False
    """A person opened it over a deny of policy."""
    over: tuple[str, ...] = ()
    """What an override is over: the revision that denied, then the policies that did. It is good against no other deny."""
    rounds: int = 0
    """How often an answer was taken back. A new round has a new seal: what was signed before is for nothing."""

    @property
    def ways(self) -> tuple[Need, ...]:
        """Each way in which people can approve it."""
        return self.needs or tuple(Need(groups=groups) for groups in self.groups)

    def way_met(self, given: tuple[Approval, ...]) -> Need | None:
        """The first way that these answers meet."""
        return next((need for need in self.ways if need.met(given)), None)


def seal_of(hold: Hold) -> SealDigest:
    """What an approval is bound to: the action's digest, what its effect was shown to be, its preconditions, and the decision.

    Preconditions are part of the preview. This is the challenge that a passkey signs.
    """
    shown = (hold.id, hold.digest, hold.decision, hold.preview, str(hold.rounds))
    return SealDigest(sha256_digest(canonical(["lictor approval v1", *shown])))


class Terms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much somebody says yes to ahead, beside the held action itself."""

    most: int
    """How many more."""
    most_value: int
    """Of all together, in minor units of the held action's currency; 0 where it moves none."""
    until_ms: int
    """Milliseconds since the epoch."""
    this_task: bool
    """For the held action's task only; otherwise for all of its agent's for the same human."""


def seal_ahead(hold: Hold, terms: Terms) -> SealDigest:
    """What a yes ahead is bound to: all that a yes to this hold is (`seal_of`), and the terms. Neither is ever the other."""
    shown = (seal_of(hold), str(terms.most), str(terms.most_value), str(terms.until_ms), str(terms.this_task))
    return SealDigest(sha256_digest(canonical(["lictor approval ahead v1", *shown])))


class Passkey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person's WebAuthn credential (W3C WebAuthn level 3, section 4)."""

    id: str
    """Credential id, base64url."""
    human: HumanId
    public_key: str
    """COSE key, base64url."""
    name: str
    """What the person calls it."""
    uses: int = 0
    """Its own counter when it was last used; going back means that it was copied."""
    added_at_ms: int = 0
    removed: bool = False


class Allowance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A person's yes, ahead, to a bounded number of the like of one action. A fact with limits; policy may refuse to count it."""

    id: AllowanceId
    hold: HoldId
    """The hold at which it was given."""
    agent: AgentId
    human: HumanId
    kind: ActionKind
    server: ServerName
    name: str
    targets: tuple[str, ...] = ()
    """The destinations, all of them, that an action must have; none: it must have the `arguments`."""
    arguments: str = ""
    """Digest of the arguments, where the action goes to no destination."""
    task: TaskId = TaskId("")
    """Only for this task; empty: for all of this agent for this human."""
    most: int
    """How many."""
    currency: str = ""
    most_value: int = 0
    """Of all together, in minor units; 0: the action moves no value."""
    until_ms: int
    approval: Approval
    """Who gave it, and how."""
    used: int = 0
    used_value: int = 0
    revoked: bool = False
