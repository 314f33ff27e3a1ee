"""Small things that count and stay small: a figure with its last moment, the newest of many, a spread of times."""

from collections import Counter, deque
from collections.abc import Iterator
from typing import Final, Generic, TypeVar

import msgspec

_T = TypeVar("_T")
SHOWN: Final = 200
"""Things of a list that a report keeps, the newest; how many there were is always said."""
_SECOND_MS: Final = 1_000
_LONGEST_S: Final = 7 * 86_400


class Figure(msgspec.Struct):
    """So often, and when the last time (milliseconds since the epoch; 0: never)."""

    count: int = 0
    last_ms: int = 0

    def add(self, at_ms: int, count: int = 1) -> None:
        """Count something that happened then."""
        self.count += count
        self.last_ms = max(self.last_ms, at_ms)

    def join(self, other: "Figure") -> None:
        """Count what another figure counted."""
        self.add(other.last_ms, other.count)


class Latest(Generic[_T]):
    """The newest of a list that may be long, and how many there were."""

    __slots__ = ("_kept", "total")

    def __init__(self, most: int = SHOWN) -> None:
        self._kept: deque[_T] = deque(maxlen=most)
        self.total = 0

    def add(self, one: _T) -> None:
        """One more; the oldest goes when there are too many."""
        self._kept.append(one)
        self.total += 1

    def __iter__(self) -> Iterator[_T]:
        """Oldest of the kept first."""
        return iter(self._kept)

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._kept)


class Spread:
    """How long something took, to the second; a week and more is a week."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: Counter[int] = Counter()

    def add(self, took_ms: int) -> None:
        """One more; a clock that went back counts as no time at all."""
        self._seconds[min(_LONGEST_S, max(0, took_ms) // _SECOND_MS)] += 1

    @property
    def count(self) -> int:
        """How many."""
        return self._seconds.total()

    def median_s(self) -> int | None:
        """The lower median, in whole seconds; None of nothing."""
        half = (self.count + 1) // 2
        for second, many in sorted(self._seconds.items()):
            half -= many
            if half <= 0:
                return second
        return None

    def longest_s(self) -> int | None:
        """The longest, in whole seconds; None of nothing."""
        return max(self._seconds, default=None)
