"""Take in signals from detectors, guardrails and people. Each is a record of its own; what it restricts is the bundle's word.

Anybody who may write here can only make Lictor stricter. What cannot be read (not a number, out of range, another kind) is
written down as refused and counts as no signal: never as a low one (BEHV-03).
"""

import math
from typing import Any, Final

from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError
from lictor.model.ids import RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import FindingOpened, SignalObserved, SignalRefused
from lictor.model.signal import FULL, Signal
from lictor.ports import Batch, Clock, Ids, RecordStore
from lictor.service.policy import PolicyInForce

MAX_SOURCE: Final = 128


class Signals:
    """Signals about tasks."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids

    async def observe(
        self, task: TaskId, kind: str, score: Any, *, source: str, request: RequestId | None = None
    ) -> Signal:
        """Write a signal down; from the commit on it counts.

        Args:
            score: a number from 0 to 1.
            request: what it was observed on. A decision made before stays as it was; the records are linked by this id.

        Raises:
            CallerError: `unknown_task`; `invalid_arguments`: the score or kind cannot be read (and that is recorded).
        """
        rule = self._policy.current().signals.get(kind)
        now = self._clock.now_ms()
        if self._store.task(task) is None:
            raise CallerError(Reason.UNKNOWN_TASK, f"there is no task {task[:64]!r}")
        problem = _problem(kind, score, source) if rule is not None else f"{kind[:64]!r} is no kind of signals.toml"
        if problem:
            digest = sha256_digest(f"{kind!r} {_written(score)}"[:1_000].encode("utf-8", "backslashreplace"))
            refused = SignalRefused(task=task, source=source[:MAX_SOURCE], why=problem, digest=digest)
            await self._store.commit(Batch(at_ms=now, records=(refused,)))
            raise CallerError(Reason.INVALID_ARGUMENTS, problem)
        signal = Signal(
            id=self._ids.new("sig"),
            kind=kind,
            task=task,
            score=math.ceil(score * FULL),
            source=source,
            request=request,
        )
        records: tuple[SignalObserved | FindingOpened, ...] = (SignalObserved(signal=signal),)
        if rule is not None and signal.score >= rule.at_least:
            finding = FindingOpened(
                finding=self._ids.new("fnd"), signal=signal.id, task=task, restriction=rule.restriction
            )
            records = (*records, finding)
        await self._store.commit(Batch(at_ms=now, records=records))
        return signal


def _written(score: Any) -> str:
    """What was sent, for its digest. Python refuses to write very long integers in decimal."""
    try:
        return repr(score)
    except ValueError:
        return type(score).__name__


def _problem(kind: str, score: Any, source: str) -> str:
    # NaN compares false with everything, and an integer may be too long for a float: the range alone is asked for.
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        return f"the score of {kind[:64]!r} is no number from 0 to 1"
    if not source or len(source) > MAX_SOURCE or not source.isprintable():
        return "a signal names its source"
    return ""
