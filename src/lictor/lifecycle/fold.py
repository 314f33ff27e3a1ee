"""What a record does to state: `fold(read, record, at) -> rows`, or a refusal that writes nothing.

Every store calls this inside its own commit, so "check and mark" is one atomic step whatever the store. The rules here are
the only place where an approval is spent, a budget is used and a task dies. Threats: double redemption (R3), use after
close (R4), budget splitting by parallel calls (HIST).
"""

import msgspec

from lictor.lifecycle import approvals, bounds, containments, leases, measures, origins, signals, tokens
from lictor.lifecycle.reading import Changes, Changing, Read, task_changes, task_state
from lictor.lifecycle.rows import (
    BUNDLE_KEY,
    EPOCH_KEY,
    LOG_KEY,
    Body,
    Execution,
    Key,
    Pointer,
    Row,
    approval_key,
    erased_key,
    log_key_change,
)
from lictor.lifecycle.table import EXECUTION, TASK
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import (
    AgentChanged,
    AllowanceGiven,
    AllowanceRevoked,
    ApplicationEnrolled,
    ApprovalGiven,
    ApprovalWithdrawn,
    ApproverEnrolled,
    BundleActivated,
    BundleApproved,
    ContainmentLaid,
    ContainmentLifted,
    ContentSeen,
    ContractSet,
    DecisionMade,
    DenyOverridden,
    EpochRaised,
    ExecutionEnded,
    ExecutionReconciled,
    ExecutionStarted,
    FindingOpened,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    HoldRefused,
    IdentityClaimed,
    LeaseAsked,
    LeaseEnded,
    LeaseEnding,
    LeaseGiven,
    LeaseKept,
    LogContradicted,
    LogKeyChanged,
    PartyRefused,
    PasskeyAdded,
    PasskeyRemoved,
    PayloadsErased,
    Record,
    RequestReceived,
    RequestRefused,
    ShadowDiffered,
    SignalObserved,
    SignalRefused,
    SignedIn,
    SignedOut,
    TaskClosed,
    TaskOpened,
    TokenIssued,
    TokenRevoked,
    ToolQuarantined,
)
from lictor.model.task import TaskState, TaskStatus

__all__ = ["Changes", "Read", "fold"]


def fold(read: Read, record: Record, at_ms: int) -> Changes:
    """Rows changed by one record.

    Raises:
        ConflictError: the life cycles do not permit this record now. The reason code says which rule.
    """
    match record:
        case RequestReceived() | RequestRefused() | DecisionMade() | HoldRefused() | ToolQuarantined() | AgentChanged():
            return {}
        case ExecutionStarted():
            return _start(read, record, at_ms)
        case ExecutionEnded():
            return _end(read, record, at_ms)
        case ContentSeen():
            return origins.shown(read, record)
        case TaskOpened():
            return _open_task(read, record)
        case TaskClosed():
            return _close_task(read, record, at_ms)
        case PayloadsErased():
            return _erase(read, record, at_ms)
        case SignalObserved():
            return signals.observed(read, record, at_ms)
        case (
            LogContradicted()
            | SignalRefused()
            | FindingOpened()
            | ShadowDiffered()
            | IdentityClaimed()
            | PartyRefused()
            | SignedOut()
        ):
            return {}
        case TokenIssued():
            return tokens.issued(read, record, at_ms)
        case TokenRevoked():
            return tokens.revoked(read, record, at_ms)
        case ContractSet():
            return bounds.bound(read, record)
        case ContainmentLaid():
            return containments.laid(read, record, at_ms)
        case ContainmentLifted():
            return containments.lifted(read, record, at_ms)
        case ApproverEnrolled():
            return _enrol(read, ("approver", record.human), ("secret", record.secret), at_ms)
        case ApplicationEnrolled():
            return _enrol(read, ("application", record.application), ("application_secret", record.secret), at_ms)
        case BundleActivated():
            return _activate(read, record, at_ms)
        case BundleApproved():
            return _rows(_pointer(approval_key(record.revision), record.previous, at_ms))
        case EpochRaised():
            return _raise(read, record, at_ms)
        case LogKeyChanged():
            return _change_key(read, record, at_ms)
        case LeaseAsked():
            return leases.asked(read, record, at_ms)
        case LeaseGiven():
            return leases.given(read, record)
        case LeaseEnding():
            return leases.ending(read, record)
        case LeaseEnded():
            return leases.ended(read, record, at_ms)
        case LeaseKept():
            return leases.kept(read, record)
        case HoldOpened():
            return approvals.opened(read, record)
        case ApprovalGiven():
            return approvals.given(read, record, at_ms)
        case ApprovalWithdrawn():
            return approvals.withdrawn(read, record, at_ms)
        case DenyOverridden():
            return approvals.overridden(read, record)
        case HoldDenied():
            return approvals.ended(read, record.hold, "deny", at_ms, by=record.by, note=record.note)
        case HoldExpired():
            return approvals.ended(read, record.hold, "expire", at_ms, note=record.why)
        case AllowanceGiven():
            return approvals.allowed_ahead(read, record, at_ms)
        case AllowanceRevoked():
            return approvals.revoked(read, record)
        case PasskeyAdded():
            return approvals.key_added(read, record)
        case PasskeyRemoved():
            return approvals.key_removed(read, record)
        case SignedIn():
            return approvals.used(read, record.passkey, record.human, record.uses)
        case ExecutionReconciled():
            return _reconcile(read, record, at_ms)


def _open_task(read: Read, record: TaskOpened) -> Changes:
    task = record.task
    _absent(read, ("task", task.id))
    now = Changing(read)
    now.changes.update(task_changes(TaskState(task=task)))
    if record.token:
        key = ("token", record.token)
        _absent(read, key)
        now.changes[key] = _pointer(key, task.id, task.opened_at_ms)
    if record.key:
        key = ("idempotency", record.key)
        _absent(read, key)
        now.changes[key] = _pointer(key, f"{task.id} {record.asked}", task.opened_at_ms)
    now.changes.update(bounds.opened(now.read, record))
    now.changes.update(origins.opened(now.read, record))
    return now.changes


def _close_task(read: Read, record: TaskClosed, at_ms: int) -> Changes:
    state = task_state(read, record.task)
    status = _step(TASK, state.status.value, "close", Reason.TASK_CLOSED, f"task {record.task!r}")
    now = Changing(read)
    over = msgspec.structs.replace(state, status=TaskStatus(status), closed_at_ms=at_ms)
    now.changes.update(task_changes(over))
    now.changes.update(bounds.closed(now.read, record))
    now.changes.update(leases.of_closed_task(now.read, record.task))
    now.changes.update(tokens.of_closed_task(now.read, record.task))
    return now.changes


def _erase(read: Read, record: PayloadsErased, at_ms: int) -> Changes:
    """Once, and only of a task that is over: what may still run stays readable, and its history comparable."""
    row = read(("task", record.task))
    # A task that never was has a key too: what its opener asked for was refused, and is sealed all the same.
    state = row.body if row is not None and isinstance(row.body, TaskState) else None
    if state is not None and state.status is TaskStatus.OPEN and at_ms < state.task.expires_at_ms:
        raise ConflictError(
            Reason.CONFLICT,
            f"task {record.task!r} is live: its payloads are needed",
            remedy="close it first: lictor task close",
        )
    key = erased_key(record.task)
    _absent(read, key)
    return _rows(_pointer(key, record.by, at_ms))


def _activate(read: Read, record: BundleActivated, at_ms: int) -> Changes:
    """The bundle in force; a second person's approval of it is spent."""
    changes: Changes = dict(_rows(_pointer(BUNDLE_KEY, record.revision, at_ms)))
    if read(approval_key(record.revision)) is not None:
        changes[approval_key(record.revision)] = None
    return changes


def _raise(read: Read, record: EpochRaised, at_ms: int) -> Changes:
    """A restored log goes on: epochs are counted, and nobody's approval of a bundle outlives one."""
    before = read(EPOCH_KEY)
    last = int(before.body.target) if before is not None and isinstance(before.body, Pointer) else 0
    if record.epoch != last + 1:
        raise ConflictError(Reason.CONFLICT, f"the epoch is {last}: it cannot become {record.epoch}")
    changes: Changes = dict(_rows(_pointer(EPOCH_KEY, str(record.epoch), at_ms)))
    for revision in record.unapproved:
        changes[approval_key(revision)] = None
    return changes


def _change_key(read: Read, record: LogKeyChanged, at_ms: int) -> Changes:
    """The old key is the one in force, and never comes back; what the statement says and who signed it the store looks at."""
    before = read(LOG_KEY)
    in_force = before.body.target if before is not None and isinstance(before.body, Pointer) else record.old
    if record.old != in_force or record.new == record.old:
        message = f"the key of the log is {in_force!r:.120} now, and cannot become {record.new!r:.120}"
        raise ConflictError(Reason.CONFLICT, message)
    change = log_key_change(record.size)
    _absent(read, change)
    return _rows(_pointer(LOG_KEY, record.new, at_ms), _pointer(change, record.new, at_ms))


def _enrol(read: Read, holder: Key, secret: Key, at_ms: int) -> Changes:
    """Holder and secret point at each other. The holder's secret of before is gone; secrets of two kinds never meet."""
    changes: Changes = {}
    previous = read(holder)
    if previous is not None and isinstance(previous.body, Pointer):
        changes[secret[0], previous.body.target] = None
    _absent(read, secret)
    changes[secret] = _pointer(secret, holder[1], at_ms)
    changes[holder] = _pointer(holder, secret[1], at_ms)
    return changes


def _start(read: Read, record: ExecutionStarted, at_ms: int) -> Changes:
    _absent(read, ("execution", record.execution))
    state = _open_state(read, record.task)
    containments.check_unchanged(read, record)
    now = Changing(read)
    changes = now.changes
    changes.update(task_changes(_use(state, record, at_ms)))
    changes.update(
        _rows(
            _row(
                ("execution", record.execution),
                _step(EXECUTION, "", "start", Reason.CONFLICT, "execution"),
                record.instance,
                at_ms,
                Execution(started=record, outcome="started"),
            )
        )
    )
    if record.hold is not None:
        changes.update(approvals.consumed(read, record, at_ms))
    if record.allowance:
        changes.update(approvals.drawn(read, record, at_ms))
    changes.update(bounds.used(now.read, record, at_ms))
    if record.labels:
        changes.update(bounds.take_labels(now.read, record.task, record.labels))
    changes.update(measures.start(now.read, record, at_ms))
    return changes


def _use(state: TaskState, record: ExecutionStarted, at_ms: int) -> TaskState:
    """Spend one call and the value; refuse past any limit."""
    task = state.task
    if at_ms >= task.expires_at_ms:
        raise ConflictError(Reason.TASK_EXPIRED, f"task {task.id!r} has expired")
    if state.calls_used >= task.budget.calls:
        raise ConflictError(Reason.BUDGET_CALLS, f"task {task.id!r} has used its {task.budget.calls} calls")
    value_used = state.value_used
    if record.value:
        used = value_used.get(record.currency, 0) + record.value
        if record.value < 0 or used > task.budget.value.get(record.currency, 0):
            raise ConflictError(Reason.BUDGET_VALUE, f"task {task.id!r} has no budget left in {record.currency!r}")
        value_used = {**value_used, record.currency: used}
    calls = state.calls_used if record.lease else state.calls_used + 1
    return msgspec.structs.replace(state, calls_used=calls, value_used=value_used)


def _end(read: Read, record: ExecutionEnded, at_ms: int) -> Changes:
    row = read(("execution", record.execution))
    if row is None or not isinstance(row.body, Execution):
        raise ConflictError(Reason.CONFLICT, f"no execution {record.execution!r}")
    outcome = _step(EXECUTION, row.status, record.outcome, Reason.CONFLICT, f"execution {record.execution!r}")
    body = msgspec.structs.replace(row.body, outcome=outcome)
    now = Changing(read)
    now.changes.update(_rows(msgspec.structs.replace(row, status=outcome, body=body)))
    started = row.body.started
    if outcome == "failed" and started.value:
        now.changes.update(_give_back(now.read, started))
    executed = outcome == "executed" and not record.is_error
    now.changes.update(measures.end(now.read, started, at_ms, failed=outcome == "failed", executed=executed))
    now.changes.update(origins.seen(now.read, started, record))
    return now.changes


def _reconcile(read: Read, record: ExecutionReconciled, at_ms: int) -> Changes:
    """A person's word on what nobody knew. What did not happen cost nothing."""
    row = read(("execution", record.execution))
    if row is None or not isinstance(row.body, Execution):
        raise ConflictError(Reason.CONFLICT, f"no execution {record.execution!r}")
    outcome = _step(EXECUTION, row.status, record.outcome, Reason.CONFLICT, f"execution {record.execution!r}")
    body = msgspec.structs.replace(row.body, outcome=outcome)
    now = Changing(read)
    now.changes.update(_rows(msgspec.structs.replace(row, status=outcome, body=body)))
    started, refuted = row.body.started, outcome == "refuted"
    if refuted and started.value:
        now.changes.update(_give_back(now.read, started))
    now.changes.update(measures.end(now.read, started, at_ms, failed=refuted, executed=not refuted))
    return now.changes


def _give_back(read: Read, started: ExecutionStarted) -> Changes:
    """Nothing left us, so the value was not spent. The call stays counted: retries are not free."""
    state = task_state(read, started.task)
    used = {**state.value_used, started.currency: max(0, state.value_used.get(started.currency, 0) - started.value)}
    return task_changes(msgspec.structs.replace(state, value_used=used))


def _step(table: dict[tuple[str, str], str], status: str, event: str, reason: Reason, what: str) -> str:
    after = table.get((status, event))
    if after is None:
        raise ConflictError(reason, f"{what} is {status or 'absent'}: cannot {event}")
    return after


def _open_state(read: Read, task_id: str) -> TaskState:
    state = task_state(read, task_id)
    if state.status is not TaskStatus.OPEN:
        raise ConflictError(Reason.TASK_CLOSED, f"task {task_id!r} is closed")
    return state


def _absent(read: Read, key: Key) -> None:
    if read(key) is not None:
        raise ConflictError(Reason.CONFLICT, f"{key[0]} {key[1]!r} exists already")


def _row(key: Key, status: str, owner: str, at_ms: int, body: Body) -> Row:
    return Row(kind=key[0], id=key[1], status=status, owner=owner, at_ms=at_ms, body=body)


def _pointer(key: Key, target: str, at_ms: int) -> Row:
    return _row(key, "", "", at_ms, Pointer(target=target))


def _rows(*rows: Row) -> Changes:
    return {row.key: row for row in rows}
