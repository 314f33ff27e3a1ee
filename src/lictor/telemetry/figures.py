"""Running counts and times, as plain numbers: what is counted costs some hundred nanoseconds. Knows no format and no clock.

For one thread: counting and reading happen on the event loop.
"""

from bisect import bisect_left
from collections.abc import Mapping

from lictor.telemetry.families import FAMILIES

Labels = tuple[str, ...]


class Times:
    """One histogram: observations by upper bound, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        """Nothing was observed."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One more; in the bucket whose bound is the first that is not smaller."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.counts)


class Figures:
    """All counters and histograms of a process.

    Attributes:
        counters: by family and label values.
        times: the same for histograms.
    """

    def __init__(self) -> None:
        """All zero."""
        self.counters: dict[tuple[str, Labels], int] = {}
        self.times: dict[tuple[str, Labels], Times] = {}
        self.under_way = 0

    def add(self, name: str, *labels: str, by: int = 1) -> None:
        """Count one more."""
        key = (name, labels)
        self.counters[key] = self.counters.get(key, 0) + by

    def histogram(self, name: str, *labels: str) -> Times:
        """The histogram of these label values; it is there from now on."""
        key = (name, labels)
        times = self.times.get(key)
        if times is None:
            times = self.times[key] = Times(FAMILIES[name].buckets)
        return times

    def of(self, name: str) -> Mapping[Labels, int]:
        """A counter's values by label values."""
        return {labels: value for (family, labels), value in self.counters.items() if family == name}
