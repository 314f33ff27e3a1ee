"""Which tokens of a task may still be used, and which were taken back: one row a task, bounded, gone when the task closes.

Refuses to know signatures. A task has at most `MAX_LIVE` tokens that neither have expired nor were revoked. One more is refused,
and none of the others ends for it: whoever works with a token does not lose it in the middle because somebody asks for another.

What was revoked is remembered until its token would have died anyway (`revoked` rows, which the door looks up), and forgotten at
the next revocation for the same task, or when the task closes: tokens of a closed task are refused for that.
"""

from typing import Final

from lictor.lifecycle.reading import Changes, Read, task_state
from lictor.lifecycle.rows import Named, Pointer, Row, TaskTokens, revoked_key
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import TokenIssued, TokenRevoked
from lictor.model.task import TaskStatus

MAX_LIVE: Final = 32
"""Of one task: some processes of one agent, each renewing its own every few minutes."""
SLACK_MS: Final = 60_000
"""Clocks of processes differ; a revocation is remembered for so much longer."""


def issued(read: Read, record: TokenIssued, at_ms: int) -> Changes:
    """One more.

    Raises:
        ConflictError: `task_closed`; `overloaded`: the task has as many as it may have.
    """
    if task_state(read, record.task).status is not TaskStatus.OPEN:
        raise ConflictError(Reason.TASK_CLOSED, f"task {record.task!r} is closed")
    before = _of(read, record.task)
    live = tuple(one for one in before.live if at_ms < one.expires_at_ms)
    if len(live) >= MAX_LIVE:
        raise ConflictError(Reason.OVERLOADED, f"task {record.task!r} has {MAX_LIVE} live tokens: revoke one, or wait")
    named = Named(jti=record.jti, expires_at_ms=record.expires_at_ms)
    return _row(record.task, TaskTokens(live=(*live, named), revoked=before.revoked))


def revoked(read: Read, record: TokenRevoked, at_ms: int) -> Changes:
    """One fewer. Of a closed task there is nothing to remember.

    Raises:
        ConflictError: `unknown_task`.
    """
    if task_state(read, record.task).status is not TaskStatus.OPEN:
        return {}
    before = _of(read, record.task)
    dead = [one for one in before.revoked if one.expires_at_ms + SLACK_MS <= at_ms]
    changes: Changes = {revoked_key(one.jti): None for one in dead}
    kept = tuple(one for one in before.revoked if one not in dead and one.jti != record.jti)
    named = Named(jti=record.jti, expires_at_ms=record.expires_at_ms)
    live = tuple(one for one in before.live if one.jti != record.jti and at_ms < one.expires_at_ms)
    key = revoked_key(record.jti)
    pointer = Row(kind=key[0], id=key[1], status="", owner="", at_ms=at_ms, body=Pointer(target=record.task))
    return changes | _row(record.task, TaskTokens(live=live, revoked=(*kept, named))) | {key: pointer}


def of_closed_task(read: Read, task: str) -> Changes:
    """Nothing of it is needed any more."""
    key = ("tokens", task)
    if read(key) is None:
        return {}
    return {key: None, **{revoked_key(one.jti): None for one in _of(read, task).revoked}}


def _of(read: Read, task: str) -> TaskTokens:
    row = read(("tokens", task))
    return row.body if row is not None and isinstance(row.body, TaskTokens) else TaskTokens()


def _row(task: str, body: TaskTokens) -> Changes:
    return {("tokens", task): Row(kind="tokens", id=task, status="", owner=task, at_ms=0, body=body)}
