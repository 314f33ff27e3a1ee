"""Ids that count from 1. Guessable: for tests only."""

from collections import Counter


class SequenceIds:
    """`task_1`, `task_2`, `hold_1`, … (`lictor.ports.Ids`)."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def new(self, prefix: str) -> str:
        """The next id of this prefix."""
        self._counts[prefix] += 1
        return f"{prefix}_{self._counts[prefix]}"
