"""Raising the epoch of a restored log: everything that may have been spent since the backup is ended in one commit (facts R22).

Nobody can tell what happened between the backup and now. So no task, no hold, no approval, no allowance and no second person's
word of before lives on; leases of closed tasks go on ending as ever; executions that were under way have an unknown outcome.
What the lost part of the log restricted (a containment, an agent off-boarded, a passkey removed) is *not* known here: whoever
raises the epoch has to lay it again. Refuses to know how the log was sealed.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from lictor.model.approval import HoldStatus
from lictor.model.errors import LictorError, OperatorError
from lictor.model.ids import HumanId, PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.record import (
    AllowanceRevoked,
    BundleApproved,
    EpochRaised,
    ExecutionEnded,
    HoldExpired,
    Record,
    TaskClosed,
    decode_entry,
)
from lictor.model.task import TaskStatus
from lictor.ports import Batch, Clock, RecordStore, StoredEntry
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint

WHY: Final = "restored from a backup"
_ALL: Final = 2**31 - 1
_WHY_MOST: Final = 500
_LIVE: Final = frozenset({HoldStatus.PENDING, HoldStatus.APPROVED})


async def raise_epoch(store: RecordStore, clock: Clock, *, by: str, over: str = "", why: str = "") -> EpochRaised:
    """End what could be spent twice, and say so, in one commit. The whole log is read for what nobody lists.

    Args:
        by: the operator.
        over: the newest checkpoint known of the log that was lost (`newest_lost`).

    Raises:
        ConflictError: somebody else raised it meanwhile.
        StoreError: it is not recorded; the log stays sealed.
    """
    epochs, approved = _told(store.entries())
    raised = EpochRaised(
        epoch=epochs + 1, restored=store.size(), by=by, over=over, unapproved=approved, why=why[:_WHY_MOST]
    )
    records: list[Record] = [raised]
    records += [HoldExpired(hold=one.id, why=WHY) for one in store.holds(limit=_ALL) if one.status in _LIVE]
    records += [AllowanceRevoked(allowance=one.id, by=HumanId(by), note=WHY) for one in store.allowances()]
    records += [
        ExecutionEnded(
            execution=one.execution,
            outcome="indeterminate",
            reason=Reason.OUTCOME_UNKNOWN.value,
            sent=one.arguments,
        )
        for one in store.open_executions()
    ]
    open_tasks = (one.task for one in store.tasks() if one.status is TaskStatus.OPEN)
    records += [TaskClosed(task=task.id, by=by) for task in open_tasks]
    await store.commit(Batch(at_ms=clock.now_ms(), records=tuple(records)))
    return raised


def _told(entries: Iterable[StoredEntry]) -> tuple[int, tuple[PolicyRevision, ...]]:
    """How often the epoch was raised, and every revision a second person ever approved."""
    epochs = 0
    approved: set[PolicyRevision] = set()
    for entry in entries:
        if b'"privilege.epoch_raised"' not in entry.data and b'"privilege.bundle_approved"' not in entry.data:
            continue
        try:
            record = decode_entry(entry.data).record
        except msgspec.MsgspecError:  # the log is damaged there: `verify` says so
            continue
        if isinstance(record, EpochRaised):
            epochs = record.epoch
        elif isinstance(record, BundleApproved):
            approved.add(record.revision)
    return epochs, tuple(sorted(approved))


def newest_lost(known: Iterable[str], key: LogKeys | str, own: Iterable[str]) -> str:
    """Of checkpoints kept elsewhere, the newest that this log does not continue: what it was restored over. Empty: none.

    Args:
        known: signed checkpoints from outside.
        key: of the log.
        own: the log's own checkpoints.

    Raises:
        OperatorError: `config_refused`: one is not of this log.
    """
    bodies = {head.body(): (head.size, text) for text in known for head in (_opened(text, key),)}
    for text in own if bodies else ():
        bodies.pop(
            text.partition("\n\n")[0] + "\n", None
        )  # a damaged one of ours is none: then the other counts as lost
    return max(bodies.values())[1] if bodies else ""


def _opened(text: str, key: LogKeys | str) -> Checkpoint:
    try:
        return open_checkpoint(text, key)
    except LictorError as error:
        message = f"a checkpoint that was given is not of this log: {error}"
        raise OperatorError(Reason.CONFIG_REFUSED, message, remedy="give a checkpoint of this log") from error
