"""Single calls, timed while nobody else slows the core down.

On a shared host a virtual core's other half comes and goes with its neighbours, a few milliseconds at a time, and with it almost
half of the speed: CPU time of the very same work then differs by 1.9. A busy neighbour is no property of what is measured. So the
same small piece of work is timed between all calls, and a call counts where the two pieces before it and the two after it took as
long as at best. Whether it counts does not depend on how long the call itself took. All calls are kept, too, and shown beside.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from benchmarks.machine import fixed_work_us, uncollected
from benchmarks.stats import percentile

PACE = """\
*calls*: between all calls the same small piece of work is timed, and a call counts if the two pieces before it and the two after it took no
longer than 1.15 times their best of this run; the core's other half belongs to neighbours on a shared host, and takes almost half of the speed while they use it. p50 and p99 are of
the calls that count; the p99 of every call stands beside them."""
CALLS = 400
"""Counted calls of one measurement, unless `MOST_S` comes first."""
MOST_S = 4.0
LEAST = 100
"""With fewer counted calls, all calls stand for them: the machine was never its own."""
SLACK = 1.15
"""What the small piece may take, times its best."""
AROUND = 2
"""Pieces before a call and after it that have to be as quick: what slows the core down for less than a call falls between two."""
SHARE = 0.005
"""The best: so many of all its timings were quicker."""


@dataclass
class Timed:
    """Thread CPU of single calls in microseconds, in any order."""

    counted: list[float] = field(default_factory=list)
    every: list[float] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether there were enough calls that nobody disturbed."""
        return len(self.counted) >= LEAST

    def at(self, share: float) -> float:
        """A percentile of those that count."""
        return percentile(sorted(self.counted if self.alone else self.every), share)

    def of_every(self, share: float) -> float:
        """A percentile of all."""
        return percentile(sorted(self.every), share)

    def summary(self) -> dict[str, float]:
        """For the record."""
        return {
            "counted": len(self.counted),
            "p50_us": self.at(0.5),
            "p99_us": self.at(0.99),
            "every": len(self.every),
            "every_p50_us": self.of_every(0.5),
            "every_p99_us": self.of_every(0.99),
        }

    @property
    def how_many(self) -> str:
        """How many of how many count."""
        return f"{len(self.counted):,} of {len(self.every):,}" if self.alone else f"all {len(self.every):,}"


def timed(work: Callable[[], object], into: Timed | None = None) -> Timed:
    """Time calls without the garbage collector, on top of what was timed before."""
    found = Timed() if into is None else into
    limit = _best() * SLACK
    clock = time.thread_time_ns
    work()
    with uncollected():
        pieces = deque([_piece(), _piece()], 2 * AROUND)
        waiting: deque[float] = deque()
        counted, give_up = 0, time.perf_counter() + MOST_S
        while counted < CALLS and time.perf_counter() < give_up:
            start = clock()
            work()
            took = (clock() - start) / 1e3
            pieces.append(_piece())
            found.every.append(took)
            waiting.append(took)
            if len(pieces) == 2 * AROUND:
                took = waiting.popleft()
                if max(pieces) <= limit:
                    found.counted.append(took)
                    counted += 1
    return found


def each(work: Callable[[], object], calls: int) -> list[float]:
    """So many calls, disturbed or not: thread CPU in microseconds, sorted, without the garbage collector."""
    clock = time.thread_time_ns
    found = []
    with uncollected():
        for _ in range(calls):
            start = clock()
            work()
            found.append((clock() - start) / 1e3)
    return sorted(found)


@cache
def _best() -> float:
    """Of the small piece, over two seconds."""
    give_up = time.perf_counter() + 2
    found = []
    while time.perf_counter() < give_up:
        found.append(_piece())
    return percentile(sorted(found), SHARE)


_AGAIN = 3
"""Times in a row that the small piece is done: after a call it is cold, which is the call's doing and nobody else's."""
_TIMES = 50
"""Rounds of the fixed work in it: some 20 us."""


def _piece() -> float:
    """CPU time of the small piece of work in microseconds: the least of a few in a row."""
    return min(fixed_work_us(_TIMES) for _ in range(_AGAIN))
