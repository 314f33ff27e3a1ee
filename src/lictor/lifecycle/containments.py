"""The row of containments: laid by a rule or a person, lifted by a person. One row, because every decision reads all of it.

Nothing here can loosen: a second restriction on the same thing stands beside the first.
"""

from typing import Final

from lictor.lifecycle.reading import Changes, Read
from lictor.lifecycle.rows import CONTAINMENTS_KEY, Laid, Row
from lictor.model.containment import Containment, Scope
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import ContainmentLaid, ContainmentLifted, ExecutionStarted

MAX_LAID: Final = 10_000
"""Restrictions in force at a time; whoever needs more suspends the agent, the server or everything."""
KEPT_FREE: Final = 1_000
"""More, on everything: nobody takes the kill switch away by using up the room."""


def laid(read: Read, record: ContainmentLaid, at_ms: int) -> Changes:
    """A restriction in force.

    Raises:
        ConflictError: `conflict`: the id is taken, scope and target do not fit each other, or there are too many.
    """
    new = record.containment
    before = in_force(read)
    if any(new.id == containment.id for containment in before):
        raise ConflictError(Reason.CONFLICT, f"containment {new.id!r} exists already")
    if bool(new.target) is (new.scope is Scope.EVERYTHING):
        raise ConflictError(Reason.CONFLICT, "everything has no target, and every other scope has one")
    if len(before) >= MAX_LAID + (KEPT_FREE if new.scope is Scope.EVERYTHING else 0):
        raise ConflictError(Reason.CONFLICT, f"{MAX_LAID} restrictions are in force: lay one on a wider scope")
    return _row(read, (*before, new), at_ms)


def lifted(read: Read, record: ContainmentLifted, at_ms: int) -> Changes:
    """A restriction taken away.

    Raises:
        ConflictError: `conflict`: there is none of that id.
    """
    before = in_force(read)
    after = tuple(containment for containment in before if containment.id != record.containment)
    if len(after) == len(before):
        raise ConflictError(Reason.CONFLICT, f"no containment {record.containment!r} is in force")
    return _row(read, after, at_ms)


def in_force(read: Read) -> tuple[Containment, ...]:
    """All of them, in the order in which they were laid."""
    row = read(CONTAINMENTS_KEY)
    return row.body.laid if row is not None and isinstance(row.body, Laid) else ()


def times_changed(read: Read) -> int:
    """How often what is in force has changed."""
    row = read(CONTAINMENTS_KEY)
    return row.body.changes if row is not None and isinstance(row.body, Laid) else 0


def check_unchanged(read: Read, record: ExecutionStarted) -> None:
    """A decision that was made before a restriction does not start after it.

    Raises:
        ConflictError: `conflict`: gather and decide again.
    """
    if record.laid != times_changed(read):
        raise ConflictError(Reason.CONFLICT, "restrictions changed since the decision read them")


def _row(read: Read, laid_now: tuple[Containment, ...], at_ms: int) -> Changes:
    kind, name = CONTAINMENTS_KEY
    body = Laid(laid=laid_now, changes=times_changed(read) + 1)
    return {CONTAINMENTS_KEY: Row(kind=kind, id=name, status="", owner="", at_ms=at_ms, body=body)}
