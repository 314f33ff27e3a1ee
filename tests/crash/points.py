"""Named places to die at, numbered as the steps of docs/explanation/how-an-action-runs.md, and the wrappers that put them at the seams.

Nothing of this is in the product: a worker wraps its store, its signing key, its engine and its upstream before it starts.
"""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldOpened,
    Record,
    TaskOpened,
)
from lictor.ports import Batch, Receipt
from lictor.stores import journal, scribe
from lictor.stores.copyist import Copyist
from lictor.stores.group import Group
from lictor.stores.right import Right

LOAD_POINTS = (
    "1 asked",
    "3 gathered",
    "4 decided",
    "5 allow, before commit",
    "5 allow, after commit",
    "5 deny, before commit",
    "5 deny, after commit",
    "5 inside a transaction",
    "5 committed, nobody told",
    "6 held, before commit",
    "6 held, after commit",
    "6 approval, before commit",
    "6 approval, after commit",
    "6 refusal, before commit",
    "6 refusal, after commit",
    "6 approved, not retried",
    "7 granted",
    "7 claimed",
    "8 effect, before sync",
    "8 after effect",
    "9 outcome, before commit",
    "9 outcome, after commit",
)
JOURNAL_POINTS = (
    "J started",
    "J frame written, not synced",
    "J frame durable, nobody told",
    "J before catching up",
    "J caught up",
    "J before it ends",
    "J ended, right not given back",
)
RECOVERY_POINTS = ("R before commit", "R inside a transaction", "R committed, nobody told", "R after commit")


@dataclass
class Points:
    """One armed point; the process is killed the `nth` time it is reached."""

    armed: str = ""
    nth: int = 1
    report: Callable[[str], None] | None = None

    def hit(self, name: str) -> None:
        """Die here if this is the place and the time."""
        if not name or name != self.armed:
            return
        self.nth -= 1
        if self.nth <= 0:
            if self.report is not None:
                self.report(name)
            os.kill(os.getpid(), signal.SIGKILL)


_STEPS: tuple[tuple[type[Record], str], ...] = (
    (ExecutionStarted, "5 allow"),
    (HoldOpened, "6 held"),
    (ApprovalGiven, "6 approval"),
    (HoldDenied, "6 refusal"),
    (ExecutionEnded, "9 outcome"),
    (TaskOpened, "0 task"),
    (DecisionMade, "5 deny"),
)


def step_of(batch: Batch) -> str:
    """The step a batch belongs to."""
    kinds = {type(record) for record in batch.records}
    return next((step for kind, step in _STEPS if kind in kinds), "0 other")


class StoreSeam:
    """A store that dies before or after a commit, or while facts are gathered."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points
        self.recovering = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """Commit, with a place to die on either side."""
        step = "R" if self.recovering else f"{step_of(batch)},"
        self._points.hit(f"{step} before commit")
        receipt: Receipt = await self._inner.commit(batch)
        self._points.hit(f"{step} after commit")
        return receipt

    def live_hold(self, task: Any, digest: Any) -> Any:
        """The last fact that is gathered."""
        found = self._inner.live_hold(task, digest)
        self._points.hit("3 gathered")
        return found


class SignerSeam:
    """A signing key that dies while it signs the head: inside the transaction, everything written, nothing committed."""

    def __init__(self, inner: Any, points: Points, recovering: Callable[[], bool]) -> None:
        self._inner = inner
        self._points = points
        self._recovering = recovering

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        self._points.hit("R inside a transaction" if self._recovering() else "5 inside a transaction")
        signed: bytes = self._inner.sign(data)
        return signed


class EngineSeam:
    """An engine whose answer nobody hears."""

    def __init__(self, inner: Any, points: Points) -> None:
        self._inner = inner
        self._points = points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def evaluate(self, *asked: Any) -> Any:
        """Evaluate."""
        verdict = self._inner.evaluate(*asked)
        self._points.hit("4 decided")
        return verdict


def die_unacknowledged(points: Points, recovering: Callable[[], bool]) -> None:
    """Die between COMMIT and the answer to those who wait for it. Of this process only."""
    committed = Group.committed

    def then_die(group: Group) -> None:
        committed(group)
        points.hit("R committed, nobody told" if recovering() else "5 committed, nobody told")

    Group.committed = then_die  # type: ignore[method-assign]


JOURNAL_BYTES = 262_144
"""Small enough to be written over within a life."""


def journaled(points: Points, log: Path) -> None:
    """Every group of this process after the first goes to a journal, with a place to die at each of its steps."""
    scribe.BUSY_AFTER = 0  # type: ignore[misc]
    scribe.QUIET_S = 0.003  # type: ignore[misc]
    journal.FILE_BYTES = JOURNAL_BYTES  # type: ignore[misc]
    log.parent.mkdir(mode=0o700, exist_ok=True)
    journal.make(log)
    _hit(points, Right, "mark", after="J started", only={"journal": True})
    _hit(points, journal, "write", after="J frame written, not synced")
    _hit(points, journal.Journal, "append", after="J frame durable, nobody told")
    _hit(points, Copyist, "_copy", before="J before copying", after="J copied, nobody told")
    _hit(points, scribe.Scribe, "catch_up", before="J before catching up", after="J caught up")
    _hit(points, journal.Journal, "close", before="J before it ends")
    _hit(points, Right, "mark", after="J ended, right not given back", only={"journal": False})


def _hit(
    points: Points, owner: Any, name: str, *, before: str = "", after: str = "", only: dict[str, Any] | None = None
) -> None:
    real = getattr(owner, name)

    def dying(*args: Any, **named: Any) -> Any:
        points.hit(before)
        found = real(*args, **named)
        if only is None or only == named:
            points.hit(after)
        return found

    setattr(owner, name, dying)
