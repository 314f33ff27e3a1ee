"""Rows of signals: the highest score of each kind, for a whole tree of tasks. Nothing lowers one."""

from lictor.lifecycle.reading import Changes, Read, task_state
from lictor.lifecycle.rows import Key, Row, Score
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import SignalObserved
from lictor.model.signal import FULL


def signal_key(root: str, kind: str) -> Key:
    """Where the highest score of a kind stands."""
    return ("signal", f"{root} {kind}")


def highest(read: Read, root: str, kind: str) -> int | None:
    """The highest score of a kind in a tree."""
    row = read(signal_key(root, kind))
    return row.body.highest if row is not None and isinstance(row.body, Score) else None


def observed(read: Read, record: SignalObserved, at_ms: int) -> Changes:
    """Keep the score if it is the highest.

    Raises:
        ConflictError: `unknown_task`; `conflict`: the score is out of range.
    """
    signal = record.signal
    root = task_state(read, signal.task).task.root
    if not 0 <= signal.score <= FULL:
        raise ConflictError(Reason.CONFLICT, f"a score is 0 to {FULL}")
    key = signal_key(root, signal.kind)
    before = read(key)
    if before is not None and isinstance(before.body, Score) and before.body.highest >= signal.score:
        return {}
    body = Score(highest=signal.score, signal=signal.id)
    return {key: Row(kind=key[0], id=key[1], status="", owner=root, at_ms=at_ms, body=body)}
