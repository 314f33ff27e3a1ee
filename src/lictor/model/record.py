"""What is written down: one versioned type a record, kinds kept apart.

Wire rule: a published type only ever gains members with defaults; anything else is a new tag. Prompts and model text never
enter a record; argument payloads are sealed beside the log under a per-task key and appear here as digests.
"""

from typing import Literal

import msgspec

from lictor.model.action import ActionKind
from lictor.model.approval import Approval, Hold
from lictor.model.containment import Containment, Restriction
from lictor.model.contract import Contract
from lictor.model.history import Move
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    ArgumentsDigest,
    DecisionId,
    ExecutionId,
    HoldId,
    HumanId,
    InstanceId,
    PolicyId,
    PolicyRevision,
    RequestId,
    ServerName,
    SnapshotDigest,
    TaskId,
)
from lictor.model.signal import Signal
from lictor.model.task import Task


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class RequestReceived(_Body, frozen=True, tag="request.received"):
    """An agent asked for an action; arguments as digest."""

    request: RequestId
    kind: ActionKind
    server: ServerName
    name: str
    arguments: ArgumentsDigest
    digest: ActionDigest
    agent: AgentId
    human: HumanId
    task: TaskId


class RequestRefused(_Body, frozen=True, tag="request.refused"):
    """The strict door refused the bytes: policy was never asked. The bytes appear as digest and length only."""

    task: TaskId
    reason: str
    where: str
    size: int
    digest: str


class DecisionMade(_Body, frozen=True, tag="decision.made"):
    """What `decide` answered; `snapshot` is the digest of the facts sealed with the request."""

    decision: DecisionId
    request: RequestId
    digest: ActionDigest
    snapshot: SnapshotDigest
    revision: PolicyRevision
    engine: str
    outcome: str
    reason: str
    policies: tuple[PolicyId, ...] = ()
    approvers: tuple[tuple[str, ...], ...] = ()
    errors: tuple[str, ...] = ()


class HoldOpened(_Body, frozen=True, tag="approval.hold_opened"):
    """A decision needs people."""

    hold: Hold


class ApprovalGiven(_Body, frozen=True, tag="approval.given"):
    """A person said yes to exactly one digest."""

    approval: Approval
    note: str = ""


class HoldDenied(_Body, frozen=True, tag="approval.denied"):
    """A person said no."""

    hold: HoldId
    by: HumanId
    note: str = ""


class HoldExpired(_Body, frozen=True, tag="approval.expired"):
    """Nobody answered, or nobody came back for the answer, in time."""

    hold: HoldId


class HoldRefused(_Body, frozen=True, tag="approval.refused"):
    """An ask for people, or a return with their answer, that was turned away: rate limit, foreign, used, late or denied hold."""

    request: RequestId
    reason: str
    hold: HoldId | None = None


class TaskOpened(_Body, frozen=True, tag="privilege.task_opened"):
    """Authority came into being. `token` is the SHA-256 of the bearer token; empty for a local process."""

    task: Task
    opened_by: str
    token: str = ""
    contract: Contract | None = None
    values: tuple[str, ...] = ()
    """Keyed digests of the values in the trusted text, each after `t` (the text) or `d` (declared)."""


class TaskClosed(_Body, frozen=True, tag="privilege.task_closed"):
    """Authority ended."""

    task: TaskId
    by: str


class ContractSet(_Body, frozen=True, tag="privilege.contract_set"):
    """A task was bound, once, or its contract narrowed or confirmed."""

    task: TaskId
    contract: Contract
    by: str


class ContainmentLaid(_Body, frozen=True, tag="privilege.containment_laid"):
    """A restriction came into force."""

    containment: Containment


class ContainmentLifted(_Body, frozen=True, tag="privilege.containment_lifted"):
    """A person took a restriction away."""

    containment: str
    by: HumanId
    why: str = ""


class ApproverEnrolled(_Body, frozen=True, tag="privilege.approver_enrolled"):
    """A person can answer holds. `secret` is the SHA-256 of the approver's token; a new enrolment replaces the old."""

    human: HumanId
    secret: str
    by: str


class BundleActivated(_Body, frozen=True, tag="privilege.bundle_activated"):
    """Policy changed: from this record on decisions cite this revision."""

    revision: PolicyRevision
    previous: PolicyRevision | None
    files: int


class ToolQuarantined(_Body, frozen=True, tag="signal.tool_quarantined"):
    """A server's definition no longer matches what a person looked at; unusable until re-pinned."""

    server: ServerName
    kind: ActionKind
    name: str
    pinned: str
    live: str


class SignalObserved(_Body, frozen=True, tag="signal.observed"):
    """Somebody observed something about a task. It can only make decisions after it stricter."""

    signal: Signal


class SignalRefused(_Body, frozen=True, tag="signal.refused"):
    """What was sent as a signal could not be read: it counts as none. Its bytes appear as digest only."""

    task: TaskId
    source: str
    why: str
    digest: str


class FindingOpened(_Body, frozen=True, tag="signal.finding_opened"):
    """A signal was strong enough to restrict: somebody has to look."""

    finding: str
    signal: str
    task: TaskId
    restriction: Restriction


class ExecutionStarted(_Body, frozen=True, tag="execution.started"):
    """Durable before a byte leaves. Spends the approval, if there is one, in the same commit.

    `labels` are taken on by the task now; `value` is reserved against its budget now.
    """

    execution: ExecutionId
    request: RequestId
    decision: DecisionId
    digest: ActionDigest
    arguments: ArgumentsDigest
    task: TaskId
    instance: InstanceId
    hold: HoldId | None = None
    labels: tuple[str, ...] = ()
    currency: str = ""
    value: int = 0
    moves: tuple[Move, ...] = ()
    """The measures this decision read or moves."""
    laid: int = 0
    """How often restrictions had changed when the decision read them; the commit refuses another number."""
    clauses: tuple[int, ...] = ()
    """Index of the contract's clause it runs under, of the task and each of its parents; -1 without a contract."""


class ExecutionEnded(_Body, frozen=True, tag="execution.ended"):
    """What became of it. `sent` is the digest of the argument bytes that left; empty if none did.

    outcome: `executed` (a reply came), `failed` (nothing left us), `indeterminate` (it may have happened; shown to a person,
    never run again by itself).
    """

    execution: ExecutionId
    outcome: str
    reason: str = ""
    sent: str = ""
    result: str = ""
    is_error: bool = False
    labels: tuple[str, ...] = ()
    """What content rules found in the result; durable before the agent sees it."""
    values: tuple[str, ...] = ()
    """Keyed digests of the values in the result, for origins; durable before the agent sees it.

    `+`: not all were kept. `~` before one: the call itself named it, so the result is no source of it; its labels count.
    """
    source: str = ""
    """Of `values`: `tool:` and the action."""


class ContentSeen(_Body, frozen=True, tag="execution.content_seen"):
    """What a server sent outside a result (a notice, progress, a question): durable before the agent sees it."""

    task: TaskId
    source: str
    labels: tuple[str, ...] = ()
    """Taken on by the task: the catalogue's of what sent it, and what content rules found."""
    carried: tuple[str, ...] = ()
    """Labels that the values carry beside these."""
    values: tuple[str, ...] = ()


Record = (
    RequestReceived
    | RequestRefused
    | DecisionMade
    | HoldOpened
    | ApprovalGiven
    | HoldDenied
    | HoldExpired
    | HoldRefused
    | TaskOpened
    | TaskClosed
    | ContractSet
    | ContainmentLaid
    | ContainmentLifted
    | ApproverEnrolled
    | BundleActivated
    | ToolQuarantined
    | SignalObserved
    | SignalRefused
    | FindingOpened
    | ExecutionStarted
    | ExecutionEnded
    | ContentSeen
)


class LogEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wire form of one log entry: version, milliseconds since the epoch, and the record with its tag."""

    v: Literal[1] = 1
    at: int
    record: Record


def encode_entry(at_ms: int, record: Record) -> bytes:
    """Canonical bytes of an entry (no floats, keys sorted): the Merkle leaf's data."""
    return _ENCODER.encode(LogEntry(at=at_ms, record=record))


_ENCODER = msgspec.json.Encoder(order="sorted")
_ENTRY = msgspec.json.Decoder(LogEntry)


def decode_entry(data: bytes) -> LogEntry:
    """Inverse of `encode_entry`.

    Raises:
        msgspec.ValidationError: unknown tag, member or version; or other bytes than `encode_entry` would have written.
    """
    entry = _ENTRY.decode(data)
    if _ENCODER.encode(entry) != data:
        raise msgspec.ValidationError("the entry is not in canonical form")
    return entry
