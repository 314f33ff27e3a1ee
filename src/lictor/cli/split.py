"""Verify a log in stretches, on as many cores as there are: only whether all is well.

The tree is `records.stretch`'s part, what records say to each other `service.evidence.gist`'s.
Each process has a view of its own; a stretch is read once, for its tree and for what its records mean. What of the result is not
a clear yes is looked at again by the verifiers that read in order, so findings never depend on processes.
"""

import gc
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from lictor.model.errors import LictorError
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, LogKeys
from lictor.records.merkle import Frontier
from lictor.records.stretch import Claims, DoubtError, Growing, Joining, Signed, said_of, signed_heads
from lictor.service.evidence.gist import Gist, Listening, Reading, Told
from lictor.stores.ranged import RangedSnapshot

WIDTHS: Final = (1 << 13, 1 << 16)
"""Entries in a stretch, at least and at most: enough that what is handed over is little, few enough to be kept."""
SHARES: Final = 8
"""Stretches for each process, at least, where the log is long enough: then none waits long for another at the end."""
ODD: Final = (LictorError, TypeError, ValueError, OverflowError, AttributeError)
"""What a damaged file makes of reading it as if it were whole."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be verified.

    Attributes:
        path: the log's file.
        keys: who signs it.
        anchors: what its tree must contain.
        size: entries to be looked at; a checkpoint of this size is stored.
        width: entries in a stretch; a power of two.
    """

    path: Path
    keys: LogKeys
    anchors: tuple[Checkpoint, ...]
    size: int
    width: int

    def stretches(self) -> int:
        """How many there are."""
        return -(-self.size // self.width)

    def bounds(self, number: int) -> tuple[int, int]:
        """Number of the first entry, and one more than that of the last."""
        return number * self.width, min((number + 1) * self.width, self.size)


@dataclass(frozen=True, slots=True)
class Sound:
    """What is beyond doubt of the first entries of a log.

    Attributes:
        tree: of them; None: there is something to be found in it.
        heads: checkpoints read up to there.
        told: what their records mean; None: there is something to be found in that.
    """

    tree: Frontier | None
    heads: int
    told: Told | None


class Grown(NamedTuple):
    """What one process found out about one stretch.

    Attributes:
        size: entries up to its end.
        hashes: its subtrees.
        claims: what is said of roots in it, to be compared when what stands before is known; None: doubt.
        heads: how many of them are checkpoints.
        gist: what its records say to others; None: doubt.
    """

    size: int
    hashes: tuple[bytes, ...]
    claims: Claims | None
    heads: int
    gist: Gist | None


# -- in each process ---------------------------------------------------------------------------------------------------


class _Hand:
    """A process at work: its plan and its view."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.view = RangedSnapshot(plan.path)

    def grown(self, number: int, *, tree: bool, meaning: bool) -> Grown:
        """Read one stretch."""
        start, stop = self.plan.bounds(number)
        low = start or -1
        said = self._said(low, stop) if tree else None
        growing = Growing(start, [size for size, _ in said[0]]) if said is not None else None
        reading = Reading(start, self._back) if meaning else None
        at = start
        try:
            for page in self.view.pages(start, stop):
                growing, reading = _taken(growing, reading, page, at)
                at += len(page)
                if growing is None and reading is None:
                    break
        except ODD:
            growing = reading = None
        if at != stop:
            growing = reading = None
        gist = reading.gist() if reading is not None else None
        if growing is None or said is None:
            return Grown(stop, (), None, 0, gist)
        return Grown(stop, growing.hashes(), Claims.of(said[0], growing), said[1], gist)

    def _said(self, low: int, high: int) -> tuple[list[Signed], int] | None:
        view, plan = self.view, self.plan
        try:
            heads = signed_heads(view.heads, view.rolls_from(low, plan.size), plan.keys, low, high)
            return said_of(heads, plan.anchors, low, high), len(heads)
        except (DoubtError, *ODD):
            return None

    def _back(self, first: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for page in self.view.pages(first, stop):
            for seq, data, _ in page:
                yield seq, data


def _taken(
    growing: Growing | None, reading: Reading | None, page: list[tuple[int, bytes, bytes]], first: int
) -> tuple[Growing | None, Reading | None]:
    """Both read the page; whichever is in doubt is None from then on."""
    if growing is not None:
        try:
            growing.take(page)
        except DoubtError:
            growing = None
    if reading is not None:
        try:
            reading.take(first, [row[1] for row in page])
        except DoubtError:
            reading = None
    return growing, reading


_HANDS: list[_Hand] = []
"""Of this process, once it has begun."""


def _begin(plan: Plan) -> None:
    gc.disable()  # all that is made here is trees of values, and it is let go a stretch at a time
    _HANDS[:] = [_Hand(plan)]


def _grow(number: int, tree: bool, meaning: bool) -> Grown:
    return _HANDS[0].grown(number, tree=tree, meaning=meaning)


# -- here --------------------------------------------------------------------------------------------------------------


class _Here(Executor):
    """Everything in this process, at once."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Do it."""
        done: Future[T] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


@contextmanager
def _hands(plan: Plan, workers: int) -> Iterator[Executor]:
    if workers == 1:
        _HANDS[:] = [_Hand(plan)]
        try:
            yield _Here()
        finally:
            _HANDS.pop().view.close()
        return
    pool = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context(_way()), initializer=_begin, initargs=(plan,)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _way() -> str:
    """Forking starts in no time, and is safe where nothing else runs in this process."""
    return "fork" if sys.platform == "linux" and threading.active_count() == 1 else "spawn"


def width_for(size: int, workers: int) -> int:
    """How wide stretches of a log of this size should be."""
    least, most = WIDTHS
    return min(most, max(least, 1 << (size // (SHARES * workers)).bit_length() >> 1))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sound(
    plan: Plan,
    on_progress: Callable[[int], None],
    *,
    key_changes: frozenset[int] | None = None,
    workers: int,
) -> Sound:
    """What is beyond doubt of the first entries of a log.

    Args:
        plan: what to look at.
        on_progress: told how many entries were read.
        key_changes: where the log's key is known to have changed.
        workers: processes; 1: only this one.
    """
    count = min(workers, plan.stretches())
    joining, told = _Joined(plan), Told(key_changes)
    try:
        with _hands(plan, max(1, count)) as pool:
            return joining.run(pool, told, on_progress, ahead=2 * count + 1)
    except (LictorError, BrokenProcessPool):
        return Sound(None, 0, None)


class _Joined:
    """Stretches put together, in order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._tree: Joining | None = Joining(plan.width) if plan.size else None
        if any(one.origin != plan.keys.name for one in plan.anchors):
            self._tree = None
        self._heads = 0
        self._compared: deque[Future[bool]] = deque()

    def run(self, pool: Executor, told: Told | None, on_progress: Callable[[int], None], ahead: int) -> Sound:
        """Give out stretches, at most so many ahead, and join them."""
        waiting: deque[Future[Grown]] = deque()
        numbers = iter(range(self._plan.stretches()))
        while self._tree is not None or told is not None:
            for number in numbers:
                waiting.append(pool.submit(_grow, number, self._tree is not None, told is not None))
                if len(waiting) >= ahead:
                    break
            if not waiting:
                break
            grown = waiting.popleft().result()
            self._join(pool, grown)
            told = _told(told, grown.gist)
            on_progress(grown.size)
            self._settle(keep=ahead)
        self._settle(keep=0)
        return Sound(self._tree.frontier() if self._tree is not None else None, self._heads, told)

    def _join(self, pool: Executor, grown: Grown) -> None:
        if self._tree is None:
            return
        if grown.claims is None:
            self._tree = None
            return
        self._compared.append(pool.submit(grown.claims.fit, self._tree.before()))
        self._heads += grown.heads
        try:
            self._tree.join(grown.size, grown.hashes)
        except DoubtError:
            self._tree = None

    def _settle(self, *, keep: int) -> None:
        """Take in what was compared meanwhile."""
        while len(self._compared) > keep:
            if not self._compared.popleft().result():
                self._tree = None


def _told(told: Told | None, gist: Gist | None) -> Told | None:
    if told is None or gist is None:
        return None
    try:
        told.join(gist)
    except DoubtError:
        return None
    return told


def consistent(
    told: Told, first: int, rest: Iterable[StoredEntry], again: Callable[..., Iterable[StoredEntry]]
) -> bool:
    """Whether what records mean is beyond doubt to the end of the log.

    Args:
        told: up to `first`.
        first: number of the first of the rest.
        rest: entries behind those.
        again: entries from one number up to another.
    """

    def back(start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        return ((one.seq, one.data) for one in again(start, stop))

    listening = Listening(told, first, back)
    deque(listening.over(rest), maxlen=0)
    return listening.sure(again)
