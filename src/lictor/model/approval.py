"""A hold and a person's answer to it. An approval is a *fact* for `decide`; it is never permission by itself."""

from enum import StrEnum

import msgspec

from lictor.model.action import ActionKind
from lictor.model.ids import ActionDigest, AgentId, ApprovalId, HoldId, HumanId, RequestId, ServerName, TaskId


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
