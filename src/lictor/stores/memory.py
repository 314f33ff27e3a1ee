"""The record store without durability: for tests, trials and measurements. Same contract, same life cycles, a real tree.

A crash loses everything, so no effect that matters may hang on it; `lictor serve` and `lictor run` refuse to use it.
"""

from collections.abc import Iterator, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.lifecycle.leases import OVER
from lictor.lifecycle.rows import Execution, Key, Row
from lictor.model.approval import Allowance, Hold, HoldStatus, Passkey
from lictor.model.errors import ConflictError, StoreError
from lictor.model.ids import AgentId, HumanId, InstanceId, PolicyRevision, RequestId, TaskId
from lictor.model.lease import Lease
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted, LogKeyChanged, PayloadsErased, TaskOpened
from lictor.model.task import TaskState
from lictor.pdp.origins.digest import origin_key
from lictor.ports import Batch, Payload, Receipt, StoredEntry
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.merkle import FrontierBuilder
from lictor.stores.commit import changes_of, entries_of
from lictor.stores.sealing import new_key
from lictor.stores.state import StateReads


class MemoryStore(StateReads):
    """`lictor.ports.RecordStore` in dictionaries. For one thread."""

    def __init__(self, *, signer: Ed25519PrivateKey | None = None, origin: str = "lictor.local/memory") -> None:
        self._signer = signer or Ed25519PrivateKey.generate()
        self._origin = origin
        self._tree = FrontierBuilder()
        self._entries: list[StoredEntry] = []
        self._checkpoints: list[str] = []
        self._signed = -1
        self._rows: dict[Key, Row] = {}
        self._by_kind: dict[str, dict[str, Row]] = {
            kind: {} for kind in ("task", "hold", "lease", "allowance", "passkey")
        }
        self._started: dict[str, Row] = {}
        self._unknown: dict[str, Row] = {}
        self._payloads: dict[RequestId, Payload] = {}
        self._erased: set[TaskId] = set()
        self._keys: dict[TaskId, bytes] = {}
        self._bundles: dict[PolicyRevision, dict[str, bytes]] = {}
        self._closed = False

    @property
    def verifier_key(self) -> VerifierKey:
        """What checkpoints are verified with."""
        return VerifierKey.of(self._origin, self._signer)

    async def commit(self, batch: Batch) -> Receipt:
        """See `RecordStore.commit`; nothing is awaited, so nobody sees it half done."""
        if self._closed:
            raise StoreError(Reason.CANNOT_RECORD, "the record store is closed")
        if any(isinstance(record, LogKeyChanged) for record in batch.records):
            raise StoreError(Reason.CANNOT_RECORD, "a log in memory keeps its key")
        entries = entries_of(batch)
        changes = changes_of(batch, self._rows.get)
        requests = [payload.request for payload in batch.payloads]
        if any(request in self._payloads for request in requests) or len(set(requests)) < len(requests):
            raise ConflictError(Reason.CONFLICT, "a request's payload is kept already")
        tree = self._tree
        first = tree.size
        for seq, data in enumerate(entries, start=first):
            self._entries.append(StoredEntry(seq, data, tree.append(data)))
        for key, row in changes.items():
            self._put(key, row)
        for record in batch.records:
            if isinstance(record, TaskOpened):
                self._keys[record.task.id] = batch.key or new_key()
            elif isinstance(record, PayloadsErased):
                self._erase(record.task)
        for payload in batch.payloads:
            if payload.task not in self._erased:
                self._keys.setdefault(payload.task, new_key())
                self._payloads[payload.request] = payload
        return Receipt(first, tree.size)

    def _erase(self, task: TaskId) -> None:
        self._erased.add(task)
        self._keys.pop(task, None)
        self._payloads = {request: kept for request, kept in self._payloads.items() if kept.task != task}

    def _put(self, key: Key, row: Row | None) -> None:
        kind, name = key
        if row is None:
            self._rows.pop(key, None)
            return
        self._rows[key] = row
        if kind == "execution":
            for status, rows in (("started", self._started), ("indeterminate", self._unknown)):
                if row.status == status:
                    rows[name] = row
                else:
                    rows.pop(name, None)
        elif kind in self._by_kind:
            self._by_kind[kind][name] = row

    def tasks(self) -> Sequence[TaskState]:
        """See `RecordStore.tasks`."""
        rows = _newest_first(self._by_kind["task"])
        return [row.body for row in rows if isinstance(row.body, TaskState)]

    def descendants(self, task: TaskId) -> Sequence[TaskState]:
        """See `RecordStore.descendants`."""
        return [state for state in self.tasks() if task in state.task.parents]

    def holds(self, *, pending_only: bool = False, limit: int = 200) -> Sequence[Hold]:
        """See `RecordStore.holds`."""
        rows = _newest_first(self._by_kind["hold"])
        holds = [row.body for row in rows if isinstance(row.body, Hold)]
        if pending_only:
            holds = [hold for hold in holds if hold.status is HoldStatus.PENDING]
        return holds[: max(0, limit)]

    def holds_opened_since(self, task: TaskId, since_ms: int) -> int:
        """See `RecordStore.holds_opened_since`."""
        return sum(row.owner == task and row.at_ms >= since_ms for row in self._by_kind["hold"].values())

    def passkeys(self, human: HumanId) -> Sequence[Passkey]:
        """See `RecordStore.passkeys`."""
        bodies = (row.body for row in reversed(_newest_first(self._by_kind["passkey"])))
        return [body for body in bodies if isinstance(body, Passkey) and body.human == human and not body.removed]

    def allowances(self, agent: AgentId | None = None) -> Sequence[Allowance]:
        """See `RecordStore.allowances`."""
        rows = (row for row in reversed(_newest_first(self._by_kind["allowance"])) if row.status == "live")
        return [row.body for row in rows if isinstance(row.body, Allowance) and agent in (None, row.body.agent)]

    def indeterminate(self, limit: int = 200) -> Sequence[ExecutionStarted]:
        """See `RecordStore.indeterminate`."""
        rows = _newest_first(self._unknown)
        return [row.body.started for row in rows if isinstance(row.body, Execution)][: max(0, limit)]

    def open_executions(self, instance: InstanceId | None = None) -> Sequence[ExecutionStarted]:
        """See `RecordStore.open_executions`; oldest first."""
        rows = sorted(self._started.values(), key=lambda row: (row.at_ms, row.id))
        bodies = [row.body.started for row in rows if isinstance(row.body, Execution)]
        return [body for body in bodies if instance is None or body.instance == instance]

    def leases(self, *, live_only: bool = True) -> Sequence[Lease]:
        """See `RecordStore.leases`."""
        rows = self._by_kind["lease"].values()
        found = [row.body for row in rows if isinstance(row.body, Lease)]
        if live_only:
            found = [lease for lease in found if lease.status not in OVER]
        return sorted(found, key=lambda lease: (lease.asked_at_ms, lease.id))

    def payload(self, request: RequestId) -> Payload | None:
        """See `RecordStore.payload`."""
        return self._payloads.get(request)

    def sealed(self, after: str = "", limit: int = 200) -> Sequence[TaskId]:
        """See `RecordStore.sealed`."""
        return sorted(task for task in self._keys if task > after)[: max(0, limit)]

    def scrub(self) -> bool:
        """See `RecordStore.scrub`; there are no files."""
        return True

    def origin_key(self, root: TaskId) -> bytes | None:
        """See `RecordStore.origin_key`."""
        key = self._keys.get(root)
        return None if key is None else origin_key(key)

    def keep_bundle(self, revision: PolicyRevision, files: dict[str, bytes]) -> None:
        """See `RecordStore.keep_bundle`."""
        self._bundles.setdefault(revision, dict(files))

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """See `RecordStore.bundle`."""
        files = self._bundles.get(revision)
        return None if files is None else dict(files)

    def size(self) -> int:
        """See `RecordStore.size`."""
        return self._tree.size

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `RecordStore.entries`."""
        end = self.size() if stop is None else min(stop, self.size())
        for seq in range(max(0, start), end):
            yield self._entries[seq]

    def newest_checkpoint(self) -> str:
        """A signed checkpoint of everything committed so far."""
        if self._signed != self._tree.size:
            head = Checkpoint(self._origin, self._tree.size, self._tree.root())
            self._checkpoints.append(sign_checkpoint(head, self._signer))
            self._signed = self._tree.size
        return self._checkpoints[-1]

    def checkpoints(self) -> Sequence[str]:
        """See `RecordStore.checkpoints`; signed when asked for, since none is needed to survive a crash."""
        self.newest_checkpoint()
        return tuple(self._checkpoints)

    def close(self) -> None:
        """See `RecordStore.close`; what was committed can still be read."""
        self._closed = True

    def _row(self, key: Key) -> Row | None:
        return self._rows.get(key)


def _newest_first(rows: dict[str, Row]) -> list[Row]:
    """By time; of one moment by id, so that every store lists alike."""
    return sorted(rows.values(), key=lambda row: (row.at_ms, row.id), reverse=True)
