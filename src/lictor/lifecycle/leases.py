"""The life of a lease: asked for, given, ending, ended. What was asked for counts as made until somebody knows better.

A lease ends with its task in the very commit that closes the task. No step leads from an ending back to use (CRED-09, R21).
"""

from typing import Final

import msgspec

from lictor.lifecycle.reading import Changes, Changing, Read, task_state
from lictor.lifecycle.rows import Execution, Live, Row
from lictor.lifecycle.table import LEASE
from lictor.model.errors import ConflictError
from lictor.model.lease import Lease, LeaseStatus
from lictor.model.reasons import Reason
from lictor.model.record import LeaseAsked, LeaseEnded, LeaseEnding, LeaseGiven, LeaseKept
from lictor.model.task import TaskStatus

OVER: Final = frozenset({LeaseStatus.REVOKED, LeaseStatus.EXPIRED, LeaseStatus.NEVER})


def asked(read: Read, record: LeaseAsked, at_ms: int) -> Changes:
    """A use of a credential that was decided is about to ask its provider.

    Raises:
        ConflictError: `conflict`: no execution of this task started for it; `task_closed`, `task_expired`.
    """
    lease = record.lease
    state = task_state(read, lease.task)
    execution = read(("execution", lease.execution))
    if read(("lease", lease.id)) is not None or lease.status is not LeaseStatus.ASKED or lease.handle:
        raise ConflictError(Reason.CONFLICT, "a lease is born asked for, under an id of its own")
    if state.status is not TaskStatus.OPEN:
        raise ConflictError(Reason.TASK_CLOSED, f"task {lease.task!r} is closed")
    if at_ms >= state.task.expires_at_ms:
        raise ConflictError(Reason.TASK_EXPIRED, f"task {lease.task!r} has expired")
    if execution is None or not isinstance(execution.body, Execution) or execution.status != "started":
        raise ConflictError(Reason.CONFLICT, "no execution has started for this lease")
    started = execution.body.started
    if started.lease != lease.id or started.task != lease.task:
        raise ConflictError(Reason.CONFLICT, "the execution is not for this lease")
    return {**_row(lease), **_live(read, lease.task, add=lease.id)}


def given(read: Read, record: LeaseGiven) -> Changes:
    """The provider made it; where its task is over by now, it goes on ending, with a name to end it by."""
    lease = _lease(read, record.lease)
    status = _step(lease, "give")
    return _row(msgspec.structs.replace(lease, status=status, handle=record.handle, expires_at_ms=record.expires_at_ms))


def ending(read: Read, record: LeaseEnding) -> Changes:
    """What it was for is over."""
    lease = _lease(read, record.lease)
    return _row(msgspec.structs.replace(lease, status=_step(lease, "end"), why=record.why))


def ended(read: Read, record: LeaseEnded, at_ms: int) -> Changes:
    """It is of no use to anybody any more.

    Raises:
        ConflictError: `conflict`: it is over already, or called expired before its time, or never made though it was given.
    """
    lease = _lease(read, record.lease)
    status = _step(lease, record.outcome)
    if status is LeaseStatus.EXPIRED and at_ms < lease.expires_at_ms:
        raise ConflictError(Reason.CONFLICT, f"lease {lease.id!r} can be used until {lease.expires_at_ms}")
    if status is LeaseStatus.NEVER and lease.handle:
        raise ConflictError(Reason.CONFLICT, f"lease {lease.id!r} was given")
    changes = _row(msgspec.structs.replace(lease, status=status, why=record.why or lease.why))
    return {**changes, **_live(read, lease.task, drop=lease.id)}


def kept(read: Read, record: LeaseKept) -> Changes:
    """A revocation failed; it is seen, and tried again."""
    lease = _lease(read, record.lease)
    return _row(msgspec.structs.replace(lease, status=_step(lease, "keep"), attempts=record.attempts, why=record.why))


def of_closed_task(read: Read, task: str) -> Changes:
    """Every lease of a task that closes begins to end, in the same commit."""
    now = Changing(read)
    row = read(("leases", task))
    for one in row.body.ids if row is not None and isinstance(row.body, Live) else ():
        lease = _lease(now.read, one)
        if lease.status is not LeaseStatus.REVOKING:
            ending_now = msgspec.structs.replace(lease, status=_step(lease, "end"), why="task closed")
            now.changes.update(_row(ending_now))
    return now.changes


def _lease(read: Read, lease: str) -> Lease:
    row = read(("lease", lease))
    if row is None or not isinstance(row.body, Lease):
        raise ConflictError(Reason.CONFLICT, f"no lease {lease!r}")
    return row.body


def _step(lease: Lease, event: str) -> LeaseStatus:
    after = LEASE.get((lease.status.value, event))
    if after is None:
        raise ConflictError(Reason.CONFLICT, f"lease {lease.id!r} is {lease.status.value}: cannot {event}")
    return LeaseStatus(after)


def _row(lease: Lease) -> Changes:
    row = Row(
        kind="lease", id=lease.id, status=lease.status.value, owner=lease.task, at_ms=lease.asked_at_ms, body=lease
    )
    return {row.key: row}


def _live(read: Read, task: str, *, add: str = "", drop: str = "") -> Changes:
    """The ids of a task's leases that are not over; no row where there is none."""
    key = ("leases", task)
    row = read(key)
    before = row.body.ids if row is not None and isinstance(row.body, Live) else ()
    after = tuple(one for one in before if one != drop) + ((add,) if add else ())
    if not after:
        return {key: None}
    return {key: Row(kind="leases", id=task, status="", owner=task, at_ms=0, body=Live(ids=after))}
