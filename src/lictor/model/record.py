"""What is written down: one versioned type a record, kinds kept apart.

Wire rule: a published type only ever gains members with defaults; anything else is a new tag. Prompts and model text never
enter a record; argument payloads are sealed beside the log under a per-task key and appear here as digests.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from lictor.model.action import ActionKind
from lictor.model.approval import Allowance, Approval, Hold, Need, Passkey
from lictor.model.containment import Containment, Restriction
from lictor.model.contract import Contract
from lictor.model.history import Move
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    AllowanceId,
    ArgumentsDigest,
    DecisionId,
    ExecutionId,
    HoldId,
    HumanId,
    InstanceId,
    LeaseId,
    PolicyId,
    PolicyRevision,
    RequestId,
    ServerName,
    SnapshotDigest,
    TaskId,
)
from lictor.model.lease import Lease
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
    needs: tuple[Need, ...] = ()
    """As `approvers`, where more than one person or a stronger proof is needed."""


class HoldOpened(_Body, frozen=True, tag="approval.hold_opened"):
    """A decision needs people."""

    hold: Hold


class ApprovalGiven(_Body, frozen=True, tag="approval.given"):
    """A person said yes to exactly one digest."""

    approval: Approval
    note: str = ""


class ApprovalWithdrawn(_Body, frozen=True, tag="approval.withdrawn"):
    """A person took back their yes before it was used. Others' stand."""

    hold: HoldId
    by: HumanId
    note: str = ""


class DenyOverridden(_Body, frozen=True, tag="approval.overridden"):
    """Break-glass: a person overrode one deny of policy, for one action, once. Always something to look into."""

    hold: HoldId
    request: RequestId
    """The request that was denied."""
    decision: DecisionId
    """The deny."""
    by: HumanId
    why: str


class AllowanceGiven(_Body, frozen=True, tag="approval.allowance_given"):
    """A person said yes ahead, within limits."""

    allowance: Allowance
    note: str = ""


class AllowanceRevoked(_Body, frozen=True, tag="approval.allowance_revoked"):
    """Nothing more comes of an allowance."""

    allowance: AllowanceId
    by: HumanId
    note: str = ""


class HoldDenied(_Body, frozen=True, tag="approval.denied"):
    """A person said no."""

    hold: HoldId
    by: HumanId
    note: str = ""


class HoldExpired(_Body, frozen=True, tag="approval.expired"):
    """Nobody answered, or nobody came back for the answer, in time; or what it was for was stopped (`why`)."""

    hold: HoldId
    why: str = ""


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
    key: str = ""
    """Digest of the opener and its idempotency key; a second task never opens with it."""
    asked: str = ""
    """Digest of what was asked for with that key."""


class TaskClosed(_Body, frozen=True, tag="privilege.task_closed"):
    """Authority ended."""

    task: TaskId
    by: str


class TokenIssued(_Body, frozen=True, tag="privilege.token_issued"):
    """A task token left the token service: who proved to be the task's agent, and by whose word."""

    jti: str
    task: TaskId
    agent: AgentId
    issuer: str
    """Name of the issuer in the settings; `lictor` where a task token of ours was presented."""
    subject: str
    how: str
    proof: str
    """SHA-256 of what was presented as the proof; never the proof."""
    expires_at_ms: int
    thumbprint: str = ""
    """What its sender is bound to; empty: a bearer."""


class TokenRevoked(_Body, frozen=True, tag="privilege.token_revoked"):
    """One task token is good for nothing any more; its task lives on."""

    jti: str
    task: TaskId
    expires_at_ms: int
    by: str


class IdentityClaimed(_Body, frozen=True, tag="request.identity_claimed"):
    """A client's header said who it is. Nobody believes it: the token says who asks."""

    task: TaskId
    header: str
    claimed: str
    """The value, at most 200 characters, as it came: untrusted."""


class PartyRefused(_Body, frozen=True, tag="request.party_refused"):
    """Somebody who had proved who they are was refused before there was a request to decide."""

    by: str
    """`issuer:subject` of a token or certificate, `kind:name` of an enrolled secret, at most 300 characters."""
    where: str
    """`token`: the token endpoint; `sign_in`: the console."""
    reason: str
    task: str = ""
    """That was asked for, as it was asked; it may be none."""


class SignedIn(_Body, frozen=True, tag="privilege.signed_in"):
    """A person signed in at the console, where holds are answered."""

    human: HumanId
    how: str
    """`secret`, `passkey`, or the name of the issuer."""
    passkey: str = ""
    uses: int = 0
    """Of the passkey, by its own count."""


class SignedOut(_Body, frozen=True, tag="privilege.signed_out"):
    """A person ended their sign-in."""

    human: HumanId


class PasskeyAdded(_Body, frozen=True, tag="privilege.passkey_added"):
    """A person can prove who they are with one more key."""

    passkey: Passkey
    by: str


class PasskeyRemoved(_Body, frozen=True, tag="privilege.passkey_removed"):
    """A key is good for nothing any more."""

    passkey: str
    human: HumanId
    by: str


class PayloadsErased(_Body, frozen=True, tag="privilege.payloads_erased"):
    """A task's sealing key is gone, from this record on: nobody reads any more what its requests carried and were decided on.

    Record and key are one commit. What is written here stays: who asked for what, and what became of it.
    """

    task: TaskId
    by: str
    """A person, or `retention`."""
    why: str = ""


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


class LeaseAsked(_Body, frozen=True, tag="privilege.lease_asked"):
    """A credential is about to be asked for. Durable before the provider hears of it: from here on one may exist."""

    lease: Lease


class LeaseGiven(_Body, frozen=True, tag="privilege.lease_given"):
    """The provider made it. `handle` is its name there, and no secret."""

    lease: LeaseId
    handle: str
    expires_at_ms: int


class LeaseEnding(_Body, frozen=True, tag="privilege.lease_ending"):
    """What it was for is over: it is used no more, and has to be revoked."""

    lease: LeaseId
    why: str


class LeaseEnded(_Body, frozen=True, tag="privilege.lease_ended"):
    """It cannot be used any more: `revoked` (the provider says so), `expired` (its own life is over), `never` (none was made)."""

    lease: LeaseId
    outcome: str
    why: str = ""


class LeaseKept(_Body, frozen=True, tag="signal.lease_kept"):
    """A revocation was tried in vain. It is tried again until the credential's own end (R21)."""

    lease: LeaseId
    attempts: int
    why: str


class ApproverEnrolled(_Body, frozen=True, tag="privilege.approver_enrolled"):
    """A person can answer holds. `secret` is the SHA-256 of the approver's token; a new enrolment replaces the old."""

    human: HumanId
    secret: str
    by: str


class ApplicationEnrolled(_Body, frozen=True, tag="privilege.application_enrolled"):
    """An application can open tasks. `secret` is the SHA-256 of its token; a new enrolment replaces the old."""

    application: str
    secret: str
    by: str


class BundleActivated(_Body, frozen=True, tag="privilege.bundle_activated"):
    """Policy changed: from this record on decisions cite this revision."""

    revision: PolicyRevision
    previous: PolicyRevision | None
    files: int
    by: str = ""
    """Who put it in force: the person who approved it or wrote it by a command, else the user whose process loaded it, `os:NAME`.
    Empty: a record of before this was written down."""
    authors: tuple[str, ...] = ()
    """The users who own the files that are new or changed in it: as much as a folder tells of who wrote them."""


class BundleApproved(_Body, frozen=True, tag="privilege.bundle_approved"):
    """A second person looked at a change that widens what is permitted, and stands for it. Good for this change, once."""

    revision: PolicyRevision
    previous: PolicyRevision
    """What it was compared with; with another bundle in force the approval is worth nothing."""
    by: HumanId
    widens: tuple[str, ...]
    """What they were shown: each way in which it permits more, or cannot be shown not to."""
    why: str = ""


class EpochRaised(_Body, frozen=True, tag="privilege.epoch_raised"):
    """A log that was restored from a backup may be used again. What could have been spent since the backup is ended beside it."""

    epoch: int
    """How often that has happened, this time included."""
    restored: int
    """Entries the log had then: the number of this record."""
    by: str
    over: str = ""
    """The newest checkpoint known of the log that was lost, signed by its key; empty: none is known."""
    unapproved: tuple[PolicyRevision, ...] = ()
    """Revisions a second person had approved; nobody can tell whether that was spent, so it is worth nothing."""
    why: str = ""


class LogKeyChanged(_Body, frozen=True, tag="privilege.log_key_changed"):
    """The log is signed with another key from the next commit on. The old key signs the checkpoint that covers this record.

    It is the last record of its commit. `statement` is what counts (`records.keychain`); the other members repeat it for readers.
    """

    old: str
    """Verifier key, as others have it: `name+hash+base64`."""
    new: str
    size: int
    """Entries the log had then: the number of this record."""
    statement: str
    """A note signed by both keys: it names them, the size, and the root of the log up to it."""
    by: str
    why: str = ""


class AgentChanged(_Body, frozen=True, tag="privilege.agent_changed"):
    """The registry changed. The bundle that holds the change is activated in a record of its own."""

    agent: AgentId
    what: Literal["added", "reviewed", "offboarded", "changed"]
    by: str
    before: str = ""
    """SHA-256 of the agent's entry before it; empty: there was none."""
    after: str = ""


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
    """Somebody has to look: a signal was strong enough to restrict, or a person overrode a deny."""

    finding: str
    signal: str
    task: TaskId
    restriction: Restriction | None = None
    """None: nothing was restricted by it."""


class ShadowDiffered(_Body, frozen=True, tag="signal.shadow_differed"):
    """The bundle that runs in shadow would have answered a recorded request otherwise. Nothing ever follows from it."""

    request: RequestId
    decision: DecisionId
    """What was decided, and stays so."""
    task: TaskId
    agent: AgentId
    action: str
    """For people: `server/name`."""
    was: str
    was_reason: str
    revision: PolicyRevision
    """Of the bundle in shadow."""
    outcome: str
    reason: str
    was_policies: tuple[PolicyId, ...] = ()
    policies: tuple[PolicyId, ...] = ()
    why: str = ""
    """Whom it would ask instead, where both ask people."""
    more: int = 0
    """Others of the same sort since the last record of that sort, which have none of their own."""


class LogContradicted(_Body, frozen=True, tag="signal.log_contradicted"):
    """A witness has seen another version of this log: it was rolled back, forked or rewritten. Somebody has to look."""

    witness: str
    """Its name, as in its key."""
    size: int
    """Entries this log had then."""
    seen: int
    """Entries of the log that the witness knows."""
    why: str


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
    allowance: AllowanceId = AllowanceId("")
    """The allowance it is counted under; spent in the same commit."""
    lease: str = ""
    """The lease it asks for, when it is the use of a credential: that is none of the task's calls."""
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


class ExecutionReconciled(_Body, frozen=True, tag="execution.reconciled"):
    """A person found out what had become of an indeterminate execution. It is not run again by that."""

    execution: ExecutionId
    outcome: Literal["confirmed", "refuted"]
    """`confirmed`: it happened. `refuted`: it did not, and the value it would have moved is given back."""
    by: HumanId
    note: str = ""


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
    | ApprovalWithdrawn
    | DenyOverridden
    | AllowanceGiven
    | AllowanceRevoked
    | HoldDenied
    | HoldExpired
    | HoldRefused
    | TaskOpened
    | TaskClosed
    | PayloadsErased
    | TokenIssued
    | TokenRevoked
    | IdentityClaimed
    | PartyRefused
    | SignedIn
    | SignedOut
    | PasskeyAdded
    | PasskeyRemoved
    | ContractSet
    | ContainmentLaid
    | ContainmentLifted
    | LeaseAsked
    | LeaseGiven
    | LeaseEnding
    | LeaseEnded
    | LeaseKept
    | ApproverEnrolled
    | ApplicationEnrolled
    | BundleActivated
    | BundleApproved
    | EpochRaised
    | LogKeyChanged
    | AgentChanged
    | ToolQuarantined
    | SignalObserved
    | SignalRefused
    | FindingOpened
    | LogContradicted
    | ShadowDiffered
    | ExecutionStarted
    | ExecutionEnded
    | ExecutionReconciled
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
    try:
        entry = _ENTRY.decode(data)
    except UnicodeDecodeError:  # of a string in it; msgspec does not call that an error of its own
        raise msgspec.ValidationError("the entry is not text") from None
    if _ENCODER.encode(entry) != data:
        raise msgspec.ValidationError("the entry is not in canonical form")
    return entry


def decode_entries(datas: Sequence[bytes]) -> list[LogEntry]:
    """As `decode_entry` for each of them, in less time.

    Raises:
        msgspec.MsgspecError: one of them is none; which one, `decode_entry` says.
    """
    lines = b"\n".join(datas)
    try:
        entries = _ENTRY.decode_lines(lines)
    except UnicodeDecodeError:
        raise msgspec.ValidationError("an entry is not text") from None
    # A canonical entry holds no line feed, so as many equal lines as there are entries are one line each: nothing that began in
    # one and ended in another, and no two in one.
    if len(entries) != len(datas) or _ENCODER.encode_lines(entries) != lines + b"\n" * bool(datas):
        raise msgspec.ValidationError("an entry is not in canonical form")
    return entries
