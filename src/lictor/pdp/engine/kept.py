"""Things that are costly to make, kept up to a weight: a hot one stays, a stream of new ones only pushes out its like.

Two parts, each in order of last use. What is new comes on trial; what is asked for again moves to the kept part. So somebody
who makes up a new key for every call empties the trial part and nothing else. Refuses to know what is kept.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Kept(Generic[K, V]):
    """A bounded mapping. Not locked: no step fails when another thread comes between, and losing an entry only costs time."""

    __slots__ = ("_hot", "_limit", "_new", "_weights")

    def __init__(self, limit: int) -> None:
        """Empty.

        Args:
            limit: weight of all entries together; a quarter of it is for entries on trial.
        """
        self._limit = limit
        self._new: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._hot: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._weights = [0, 0]

    @property
    def weight(self) -> int:
        """Of all that is kept."""
        return sum(self._weights)

    def __len__(self) -> int:
        return len(self._new) + len(self._hot)

    def get(self, key: K) -> V | None:
        """What is kept under a key; it counts as used."""
        found = self._hot.pop(key, None)
        if found is not None:
            self._hot[key] = found
            return found[0]
        found = self._new.pop(key, None)
        if found is None:
            return None
        self._weights[0] -= found[1]
        self._hot[key] = found
        self._weights[1] += found[1]
        # What is no longer hot is on trial again, and may come back from there.
        for old, fallen in self._shrink(self._hot, 1, self._limit - self._limit // 4):
            self._add(old, fallen)
        return found[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a new entry on trial; one heavier than the trial part is alone there."""
        for part, held in ((0, self._new), (1, self._hot)):
            previous = held.pop(key, None)
            if previous is not None:
                self._weights[part] -= previous[1]
        self._add(key, (value, weight))

    def _add(self, key: K, entry: tuple[V, int]) -> None:
        self._new[key] = entry
        self._weights[0] += entry[1]
        self._shrink(self._new, 0, self._limit // 4)

    def _shrink(self, held: OrderedDict[K, tuple[V, int]], part: int, limit: int) -> list[tuple[K, tuple[V, int]]]:
        gone: list[tuple[K, tuple[V, int]]] = []
        while self._weights[part] > limit and len(held) > 1:
            key, entry = held.popitem(last=False)
            self._weights[part] -= entry[1]
            gone.append((key, entry))
        return gone
