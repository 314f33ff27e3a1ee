"""What follows from an action and its bundle alone, worked out once: gathering, deciding and recording ask for the same.

Kept for the few actions that are between these at a time. An action stands for itself by its digest, which binds everything that
was asked for; whatever else the answer follows from is compared by identity. Refuses to know what is kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

MAX_KEPT: Final = 64
"""Actions whose answer is kept."""

V = TypeVar("V")


class Once(Generic[V]):
    """Answers by action. Not locked: losing one only costs time."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], tuple[tuple[object, ...], V]] = OrderedDict()

    def of(self, digest: tuple[str, ...], sources: tuple[object, ...], work_out: Callable[[], V]) -> V:
        """The answer, worked out unless it is kept; what raises is not kept.

        Args:
            digest: of the action, with whatever else tells answers apart by its value.
            sources: everything else the answer follows from, none of which ever changes.
            work_out: makes the answer; nobody may change it afterwards.
        """
        key = (*digest, *map(id, sources))
        found = self._kept.get(key)
        # They are held as long as the answer is, so nothing else has come to have their identity.
        if found is not None:
            return found[1]
        answer = work_out()
        # One goes for one that comes: letting all go at once costs one call as much as half a decision.
        if len(self._kept) >= MAX_KEPT:
            self._kept.popitem(last=False)
        self._kept[key] = (sources, answer)
        return answer
