"""What the inside asks of the outside. A docstring is the contract; `tests/contract` tests it on every back end."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.approval import Allowance, Hold, Passkey
from lictor.model.catalog import CatalogEntry
from lictor.model.containment import Containment
from lictor.model.decision import Decision
from lictor.model.history import Member, Origin, Total
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    AllowanceId,
    DecisionId,
    ExecutionId,
    HoldId,
    HumanId,
    InstanceId,
    LeaseId,
    PolicyRevision,
    RequestId,
    TaskId,
)
from lictor.model.lease import Credential, Lease
from lictor.model.preview import Preview
from lictor.model.record import ExecutionStarted, Record
from lictor.model.secret import Secret
from lictor.model.task import Task, TaskState


class Clock(Protocol):
    """Wall time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        ...


class Ids(Protocol):
    """Fresh identifiers and secrets."""

    def new(self, prefix: str) -> str:
        """`<prefix>_<at least 120 random bits>`, unguessable, URL-safe."""
        ...


class Files(Protocol):
    """The file system that servers on this host see."""

    async def resolve(self, paths: Mapping[str, str]) -> dict[str, str]:
        """Where absolute paths lead, links followed, by the same keys.

        What does not exist yet is resolved up to its deepest existing parent. A path that cannot be resolved for certain, or not
        in time, is left out. Raises nothing.
        """
        ...


class Previewer(Protocol):
    """Finds out what would become of an action, without letting it happen, by the gateway's own authority to read."""

    async def preview(self, request: ActionRequest, entry: CatalogEntry, resolved: Mapping[str, str]) -> Preview | None:
        """What it would do; None: its catalogue entry asks for no preview.

        Bounded in time and size by itself. What cannot be found out is a part of the answer (`whole` false, and why), so it
        raises nothing.

        Args:
            resolved: where its paths lead on this host, by selector pointer.
        """
        ...

    async def changed(self, preview: Preview) -> str:
        """What is not as it was when the preview was made, in one line; empty: everything is. In doubt it has changed."""
        ...


class LeaseAsk(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is asked for."""

    lease: LeaseId
    credential: Credential
    agent: AgentId
    human: HumanId
    task: TaskId
    purpose: str
    ttl_s: int
    """Not longer than the task lives, and not longer than the credential allows."""
    narrow: Mapping[str, str] = {}
    """Facts of the grant that a provider can narrow to (`repository`, `path`, …), by name."""
    subject_token: Secret | None = None
    """The person's own token, where a provider acts on behalf of them (RFC 8693)."""


class Issued(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider made."""

    secret: Mapping[str, Secret]
    """Fields by name: `token`, or `username` and `password`, …"""
    expires_at_ms: int
    """When it dies by itself at the latest, by the provider's word."""
    handle: str = ""
    """Names it at the provider; goes into the record, so it is no secret."""
    revocation: Secret | None = None
    """What revoking needs beside the handle; kept sealed until it is done."""


class Provider(Protocol):
    """Makes and revokes credentials of one kind. Stateless: everything a revocation needs is in its arguments."""

    async def issue(self, ask: LeaseAsk) -> Issued:
        """Make one.

        Raises:
            UpstreamError: `effect_possible` says whether one may exist all the same; its text holds no secret.
        """
        ...

    def longest_s(self, ttl_s: int) -> int:
        """The longest life, in seconds from when it is made, of what `issue` may make when it is asked for `ttl_s`.

        Whoever never heard an answer counts on it: until then something may be there.
        """
        ...

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """Make it useless now, sessions that use it included. Idempotent: what is gone already is revoked.

        `handle` is empty where asking was never answered: it is found by the lease's id, which `issue` puts into what it
        makes.

        Raises:
            UpstreamError: not confirmed; it will be tried again.
        """
        ...


class Safe(Protocol):
    """Small secrets, sealed at rest, by name (`credentials.vault`)."""

    async def read(self, name: str) -> Secret | None:
        """The newest value; None: there is none.

        Raises:
            StoreError: it is there and cannot be opened, or the key is out of reach.
        """
        ...

    async def write(self, name: str, secret: Secret) -> None:
        """Keep a value durably in place of any older one.

        Raises:
            StoreError: it is not kept.
        """
        ...

    async def remove(self, name: str) -> None:
        """Forget it. Idempotent."""
        ...

    async def names(self, prefix: str) -> tuple[str, ...]:
        """Names that begin so, in order; no key is needed.

        Raises:
            StoreError: it cannot be read.
        """
        ...


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a record only names by digest: sealed arguments and snapshot of one request. Stored encrypted per task."""

    request: RequestId
    task: TaskId
    arguments: bytes
    snapshot: bytes


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Records that become durable together or not at all, in this order."""

    at_ms: int
    records: tuple[Record, ...]
    payloads: tuple[Payload, ...] = ()
    patient: bool = False
    """Nobody waits for it: a store may let it ride with the next batch, but not for longer than some milliseconds."""
    key: bytes = b""
    """The sealing key (`RecordStore.fresh_key`) of the one task this batch opens; empty: the store makes one."""


class Receipt(msgspec.Struct, frozen=True):
    """Where a batch stands in the log: sequence number of its first record, and the tree size after it."""

    first: int
    size: int


class StoredEntry(msgspec.Struct, frozen=True):
    """One log entry as stored: `data` is the Merkle leaf's data."""

    seq: int
    data: bytes
    leaf: bytes


class RecordStore(Protocol):
    """The log, and the state that follows from it.

    Every commit is checked against the life cycles (`lictor.lifecycle.fold`) *inside* the commit: what they do not permit
    raises `ConflictError` and writes nothing. When `commit` returns, the records survive a power cut.
    """

    async def commit(self, batch: Batch) -> Receipt:
        """Make a batch durable.

        Raises:
            ConflictError: a life cycle refuses it (task closed, budget spent, approval already used, …); nothing written.
            StoreError: `cannot_record`: disk full, read-only, damaged, closed; nothing may run.
        """
        ...

    def task(self, task: TaskId) -> TaskState | None:
        """Latest committed state of a task, also when another process committed it."""
        ...

    def task_by_token(self, token_digest: str) -> TaskState | None:
        """The task whose bearer token has this SHA-256 (hex)."""
        ...

    def revoked(self, jti: str) -> bool:
        """Whether a task token of the token service was revoked, also by another process."""
        ...

    def tasks(self) -> Sequence[TaskState]:
        """All tasks, newest first."""
        ...

    def descendants(self, task: TaskId) -> Sequence[TaskState]:
        """Tasks that were delegated below one, at any depth, newest first; it costs what was opened in its lifetime."""
        ...

    def containment_changes(self) -> int:
        """How often the restrictions in force have changed. Read it before them: a start on an older number is refused."""
        ...

    def containments(self) -> Sequence[Containment]:
        """The restrictions in force, oldest first; also those another process laid."""
        ...

    def approver_by_secret(self, secret_digest: str) -> HumanId | None:
        """The approver whose current secret has this SHA-256 (hex)."""
        ...

    def enrolled(self, human: HumanId) -> bool:
        """Whether this person has an approver secret."""
        ...

    def application_by_secret(self, secret_digest: str) -> str | None:
        """The application whose current secret has this SHA-256 (hex)."""
        ...

    def application_enrolled(self, name: str) -> bool:
        """Whether this application has a secret."""
        ...

    def opened_with(self, key: str) -> tuple[TaskId, str] | None:
        """The task that was opened with an idempotency key (`TaskOpened.key`), and the digest of what was asked for."""
        ...

    def hold(self, hold: HoldId) -> Hold | None:
        """One hold."""
        ...

    def live_hold(self, task: TaskId, digest: ActionDigest) -> Hold | None:
        """The hold a task has for an action: pending, approved or denied (the `live` pointer row); at most one."""
        ...

    def holds(self, *, pending_only: bool = False, limit: int = 200) -> Sequence[Hold]:
        """Holds, newest first."""
        ...

    def holds_opened_since(self, task: TaskId, since_ms: int) -> int:
        """How many holds a task has opened since a moment (the fatigue limit)."""
        ...

    def passkey(self, passkey: str) -> Passkey | None:
        """One passkey, by credential id; None also when it was removed."""
        ...

    def passkeys(self, human: HumanId) -> Sequence[Passkey]:
        """A person's passkeys that can be used, oldest first."""
        ...

    def allowance(self, allowance: AllowanceId) -> Allowance | None:
        """One allowance, whatever became of it."""
        ...

    def allowances(self, agent: AgentId | None = None) -> Sequence[Allowance]:
        """Allowances neither revoked nor used up, oldest first; of one agent or of all. Some may be past their time."""
        ...

    def indeterminate(self, limit: int = 200) -> Sequence[ExecutionStarted]:
        """Executions of which nobody knows what became, newest first."""
        ...

    def open_executions(self, instance: InstanceId | None = None) -> Sequence[ExecutionStarted]:
        """Executions started and not ended, of one gateway instance or of all."""
        ...

    def execution_outcome(self, execution: ExecutionId) -> str | None:
        """`started`, `executed`, `failed`, `indeterminate`, or None."""
        ...

    def execution(self, execution: ExecutionId) -> ExecutionStarted | None:
        """How an execution started, whatever became of it."""
        ...

    def lease(self, lease: LeaseId) -> Lease | None:
        """Latest committed state of a lease."""
        ...

    def leases(self, *, live_only: bool = True) -> Sequence[Lease]:
        """Leases, oldest first: those that are not over yet, or all there ever were."""
        ...

    def payload(self, request: RequestId) -> Payload | None:
        """The sealed payload of a request; None when it never existed or was erased."""
        ...

    def erased(self, task: TaskId) -> tuple[int, str] | None:
        """When (milliseconds since the epoch) and by whom a task's sealing key was destroyed; None: it was not."""
        ...

    def sealed(self, after: str = "", limit: int = 200) -> Sequence[TaskId]:
        """Tasks that have a sealing key, by id, behind a given one.

        Some may never have been opened: a refused request named them.
        """
        ...

    def scrub(self) -> bool:
        """See to it that no copy of an erased key is left in what the store has written. Idempotent, from any thread.

        Returns:
            Whether that is so now; False: somebody reads an older state, try again later.

        Raises:
            StoreError: `cannot_record`: it is not known.
        """
        ...

    def fresh_key(self) -> bytes:
        """A sealing key for a task that is about to be opened (`Batch.key`)."""
        ...

    def origin_key(self, root: TaskId) -> bytes | None:
        """The key of the value digests of a tree of tasks (`pdp.origins.digest`); None when it was erased or never was."""
        ...

    def origin(self, root: TaskId, digest: str) -> Origin | None:
        """Where a value was seen, by its digest, latest committed; None: nowhere. One read, however long the history."""
        ...

    def signal(self, root: TaskId, kind: str) -> int | None:
        """The highest score of a kind of signal for a tree of tasks; None when there was none."""
        ...

    def measure(self, key: str) -> Total | None:
        """A measure's row (`pdp.measures.row_key`), latest committed; None: nothing was ever counted.

        Its arithmetic: `pdp.tally`.
        """
        ...

    def member(self, key: str, member: str) -> Member | None:
        """One value of a distinct count."""
        ...

    def spilled(self, root: TaskId) -> tuple[str, ...]:
        """The labels of results whose values were not all kept: any value may carry them."""
        ...

    def revision(self) -> PolicyRevision | None:
        """The last bundle revision recorded as activated."""
        ...

    def approved_over(self, revision: PolicyRevision) -> PolicyRevision | None:
        """The revision over which a second person approved this one, unspent; None: nobody did."""
        ...

    def keep_bundle(self, revision: PolicyRevision, files: dict[str, bytes]) -> None:
        """Keep a bundle's files so that its decisions replay later. Idempotent."""
        ...

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """The files of a kept bundle."""
        ...

    def size(self) -> int:
        """Number of entries in the log."""
        ...

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """Entries by sequence number, in order, streamed."""
        ...

    def checkpoints(self) -> Iterable[str]:
        """Signed checkpoints, oldest first."""
        ...

    def newest_checkpoint(self) -> str:
        """The newest signed checkpoint: what to keep outside the store."""
        ...

    def close(self) -> None:
        """Drain and release. Idempotent."""
        ...


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The newest state of what can be revoked, read afresh from the store and from nowhere else."""

    containments: tuple[Containment, ...]
    tasks: Mapping[TaskId, TaskState]
    """Of those asked for; one that is not there is unknown."""
    newest_ms: int
    """Time of the newest record; 0 without one."""


class Probe(Protocol):
    """Reads what can be revoked, on a thread of its own, so that a store that hangs keeps nobody from noticing."""

    async def look(self, tasks: Collection[TaskId]) -> Look:
        """The newest state. It may never return: whoever asks has a deadline of their own.

        Raises:
            StoreError: the store cannot be read, or is not the one that was opened.
        """
        ...

    def close(self) -> None:
        """Ask no more. Idempotent; does not wait for a read that hangs."""
        ...


class Watched(Protocol):
    """Something that is looked at from the `with` to its end. Entering and leaving raise nothing of their own."""

    def __enter__(self) -> Self:
        """It begins."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """It is over; an error is looked at and passes on."""
        ...

    def answered(self, result: bytes | None, error: Mapping[str, Any] | None) -> None:
        """What came of it: a JSON-RPC result's text or an error object. Of the text no more than `isError` is looked at."""
        ...

    def meta(self, passed: dict[str, Any]) -> dict[str, Any]:
        """What of `_meta` travels on with it: `passed`, or that with a trace context of ours in the client's place."""
        ...


class Watch(Protocol):
    """Looks on while actions go by: counts, times, traces. It decides nothing and changes nothing of an action.

    No method raises, waits, or keeps what it is shown: arguments and results never leave the process by this way.
    """

    def call(self, method: str, meta: object, *, task: Task, version: str) -> Watched:
        """A client's request, from when it was read to its answer.

        Args:
            method: JSON-RPC; the client's own word.
            meta: its `params._meta`, if any; not believed.
            task: whose authority it uses.
            version: of the protocol.
        """
        ...

    def decided(
        self, request: ActionRequest, decision: DecisionId, answer: Decision, *, decide_s: float, record_s: float
    ) -> None:
        """An action was decided, and that is durable now. Seconds: of the decision, of the commit, which has just ended."""
        ...

    def unrecorded(self) -> None:
        """A decision could not be recorded."""
        ...

    def waiting(self, hold: Hold) -> Watched:
        """People are waited for while the client's call stays open."""
        ...

    def sending(self, method: str, request: ActionRequest) -> Watched:
        """A granted action on its way to its server and back."""
        ...


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of what the log leads to, at one moment."""

    entries: int
    tasks_open: int
    """Neither closed nor past their time."""
    holds_open: int
    """People have not answered, and still can."""
    executions_open: int
    executions_indeterminate: int
    """Nobody has found out yet what became of them."""
    leases_live: int
    """Credentials that may exist: asked for, given, or being revoked."""
    leases_kept: int
    """Of these: those whose revocation was tried in vain."""
    containments: Mapping[str, int]
    """In force, by restriction."""


class Follower(Protocol):
    """Reads a log from beside it: whoever counts keeps nobody who decides waiting."""

    async def since(self, seq: int, limit: int) -> Sequence[bytes]:
        """The data of entries from `seq` on, in order, at most so many; also those that other processes wrote.

        Raises:
            StoreError: the log cannot be read. It may also never return: whoever asks has a deadline of their own.
        """
        ...

    async def counts(self, now_ms: int, longest_task_ms: int) -> Counts:
        """How much there is now; tasks that were opened longer ago than the longest may live are not looked at.

        Raises:
            StoreError: as `since`.
        """
        ...

    def close(self) -> None:
        """Ask no more. Idempotent; does not wait for a read that hangs."""
        ...
