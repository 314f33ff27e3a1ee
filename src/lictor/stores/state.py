"""What a store says of one thing, read from its rows: the half of `RecordStore` that is the same wherever rows are kept.

A new kind of row that is asked for by its key gets its reading method here, and every store has it. Lists, sums and the log
itself are each store's own: they are queries. It refuses to know where rows come from.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lictor.lifecycle.containments import in_force, times_changed
from lictor.lifecycle.origins import origin_row, tally_row
from lictor.lifecycle.rows import (
    BUNDLE_KEY,
    Execution,
    Key,
    Pointer,
    Row,
    Tally,
    active_revision,
    approval_key,
    erased_key,
    live_key,
    measure_key,
    member_key,
    revoked_key,
)
from lictor.lifecycle.signals import highest
from lictor.model.approval import Allowance, Hold, Passkey
from lictor.model.containment import Containment
from lictor.model.history import Member, Origin, Total
from lictor.model.ids import ActionDigest, AllowanceId, ExecutionId, HoldId, HumanId, LeaseId, PolicyRevision, TaskId
from lictor.model.lease import Lease
from lictor.model.record import ExecutionStarted
from lictor.model.task import TaskState
from lictor.stores.sealing import new_key


class StateReads(ABC):
    """The reads of `lictor.ports.RecordStore` that need one row each, over `_row`."""

    @abstractmethod
    def _row(self, key: Key) -> Row | None:
        """The latest committed row of a key, whoever committed it.

        Raises:
            StoreError: it cannot be read.
        """

    def _scoped(self, key: Key) -> Row | None:
        """The same for a row whose id is `scope rest`, of a scope with few rows, that nearly always is not there."""
        return self._row(key)

    def task(self, task: TaskId) -> TaskState | None:
        """See `RecordStore.task`."""
        row = self._row(("task", task))
        return row.body if row is not None and isinstance(row.body, TaskState) else None

    def task_by_token(self, token_digest: str) -> TaskState | None:
        """See `RecordStore.task_by_token`."""
        target = _target(self._row(("token", token_digest)))
        return None if target is None else self.task(TaskId(target))

    def revoked(self, jti: str) -> bool:
        """See `RecordStore.revoked`."""
        return self._row(revoked_key(jti)) is not None

    def erased(self, task: TaskId) -> tuple[int, str] | None:
        """See `RecordStore.erased`."""
        row = self._row(erased_key(task))
        return None if row is None else (row.at_ms, _target(row) or "")

    def containment_changes(self) -> int:
        """See `RecordStore.containment_changes`."""
        return times_changed(self._row)

    def containments(self) -> Sequence[Containment]:
        """See `RecordStore.containments`."""
        return in_force(self._row)

    def approver_by_secret(self, secret_digest: str) -> HumanId | None:
        """See `RecordStore.approver_by_secret`."""
        target = _target(self._row(("secret", secret_digest)))
        return None if target is None else HumanId(target)

    def enrolled(self, human: HumanId) -> bool:
        """See `RecordStore.enrolled`."""
        return _target(self._row(("approver", human))) is not None

    def application_by_secret(self, secret_digest: str) -> str | None:
        """See `RecordStore.application_by_secret`."""
        return _target(self._row(("application_secret", secret_digest)))

    def application_enrolled(self, name: str) -> bool:
        """See `RecordStore.application_enrolled`."""
        return _target(self._row(("application", name))) is not None

    def opened_with(self, key: str) -> tuple[TaskId, str] | None:
        """See `RecordStore.opened_with`."""
        target = _target(self._row(("idempotency", key)))
        if target is None:
            return None
        task, _, asked = target.partition(" ")
        return TaskId(task), asked

    def hold(self, hold: HoldId) -> Hold | None:
        """See `RecordStore.hold`."""
        row = self._row(("hold", hold))
        return row.body if row is not None and isinstance(row.body, Hold) else None

    def live_hold(self, task: TaskId, digest: ActionDigest) -> Hold | None:
        """See `RecordStore.live_hold`; asked before every call."""
        target = _target(self._scoped(live_key(task, digest)))
        return None if target is None else self.hold(HoldId(target))

    def passkey(self, passkey: str) -> Passkey | None:
        """See `RecordStore.passkey`."""
        row = self._row(("passkey", passkey))
        body = row.body if row is not None else None
        return body if isinstance(body, Passkey) and not body.removed else None

    def allowance(self, allowance: AllowanceId) -> Allowance | None:
        """See `RecordStore.allowance`."""
        row = self._row(("allowance", allowance))
        return row.body if row is not None and isinstance(row.body, Allowance) else None

    def execution_outcome(self, execution: ExecutionId) -> str | None:
        """See `RecordStore.execution_outcome`."""
        row = self._row(("execution", execution))
        return None if row is None else row.status

    def fresh_key(self) -> bytes:
        """See `RecordStore.fresh_key`."""
        return new_key()

    def origin(self, root: TaskId, digest: str) -> Origin | None:
        """See `RecordStore.origin`."""
        row = self._row(origin_row(root, digest))
        return row.body if row is not None and isinstance(row.body, Origin) else None

    def spilled(self, root: TaskId) -> tuple[str, ...]:
        """See `RecordStore.spilled`."""
        row = self._row(tally_row(root))
        return row.body.spilled if row is not None and isinstance(row.body, Tally) else ()

    def execution(self, execution: ExecutionId) -> ExecutionStarted | None:
        """See `RecordStore.execution`."""
        row = self._row(("execution", execution))
        return row.body.started if row is not None and isinstance(row.body, Execution) else None

    def lease(self, lease: LeaseId) -> Lease | None:
        """See `RecordStore.lease`."""
        row = self._row(("lease", lease))
        return row.body if row is not None and isinstance(row.body, Lease) else None

    def signal(self, root: TaskId, kind: str) -> int | None:
        """See `RecordStore.signal`."""
        return highest(self._row, root, kind)

    def measure(self, key: str) -> Total | None:
        """See `RecordStore.measure`."""
        row = self._row(measure_key(key))
        return row.body if row is not None and isinstance(row.body, Total) else None

    def member(self, key: str, member: str) -> Member | None:
        """See `RecordStore.member`."""
        row = self._row(member_key(key, member))
        return row.body if row is not None and isinstance(row.body, Member) else None

    def revision(self) -> PolicyRevision | None:
        """See `RecordStore.revision`."""
        return active_revision(self._row(BUNDLE_KEY))

    def approved_over(self, revision: PolicyRevision) -> PolicyRevision | None:
        """See `RecordStore.approved_over`."""
        return active_revision(self._row(approval_key(revision)))


def _target(row: Row | None) -> str | None:
    return row.body.target if row is not None and isinstance(row.body, Pointer) else None
