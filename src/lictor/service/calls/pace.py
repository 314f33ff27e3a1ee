"""How often somebody may ask: a bucket for each name, and a bounded number of names. Refuses to know who they are.

A bucket that is not in the table is full; the table forgets whoever has not asked for longest. Memory is bounded, and a flood of
fresh names buys nobody more than their one bucket.
"""

from collections import OrderedDict
from typing import Final

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

BURST: Final = 60
PER_S: Final = 1.0
"""Sixty at once, then one a second: a token lives for 15 minutes."""
MOST: Final = 4_096


class Pace:
    """Buckets of one process."""

    def __init__(self, *, burst: int = BURST, per_s: float = PER_S, most: int = MOST) -> None:
        """`burst` at once, then `per_s`; `most` names remembered."""
        self._burst = float(burst)
        self._per_ms = per_s / 1_000
        self._most = most
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        """Names remembered."""
        return len(self._buckets)

    def take(self, name: str, now_ms: int) -> None:
        """Count one.

        Raises:
            CallerError: `overloaded`: too many; this one is not counted.
        """
        left, at_ms = self._buckets.pop(name, (self._burst, now_ms))
        # A clock that goes back fills nothing, and what was seen of it stays the later moment.
        left = min(self._burst, left + max(0, now_ms - at_ms) * self._per_ms)
        enough = left >= 1.0
        self._buckets[name] = (left - 1.0 if enough else left, max(now_ms, at_ms))
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if not enough:
            raise CallerError(Reason.OVERLOADED, "too many requests: ask again in a moment")
