"""The smallest change of facts that would have changed an answer, found by asking the real engine; nothing is reasoned out.

Single facts are tried first, then pairs; where a fact is a number its boundary is found by halving. Everything that is suggested
has been decided, so it is true; that nothing is suggested does not mean that there is nothing. For operators, never for an agent.
What is tried is made in `whatif_facts.py`. Refuses to know the store.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from lictor.model.action import ActionRequest
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, decide

MAX_SINGLE: Final = 400
"""Changes tried alone."""
MAX_PAIRED: Final = 40
"""Changes tried in pairs: at most 780 pairs, some tenths of a second."""
MAX_SUGGESTIONS: Final = 6
_ORDER: Final[Mapping[type[Decision], int]] = {Allow: 0, NeedsApproval: 1, Deny: 2}
_WORDS: Final[Mapping[type[Decision], str]] = {Allow: "allowed", NeedsApproval: "held for approval", Deny: "denied"}


@dataclass(frozen=True, slots=True)
class World:
    """A request with everything its decision reads."""

    pdp: Pdp
    request: ActionRequest
    snapshot: Snapshot

    def decide(self) -> Decision:
        """The very decision."""
        return decide(self.pdp, self.request, self.snapshot)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One fact otherwise.

    Attributes:
        fact: which fact; two changes of one fact are never tried together.
        said: in words, after "it would have been … if".
        apply: the world with it.
        alone: only tried by itself, for facts with many values.
    """

    fact: str
    said: str
    apply: Callable[[World], World]
    alone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One number otherwise: from what it is towards an extreme.

    Attributes:
        now, extreme: what it is, and the furthest that is tried.
        at: the change to a value; its words say on which side of it the fact has to be.
    """

    now: int
    extreme: int
    at: Callable[[int], Change]


Try = Change | Knob


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Facts that, had they been otherwise, would have changed the answer to `outcome`. Verified."""

    changes: tuple[str, ...]
    outcome: str
    world: World

    def line(self) -> str:
        """For people."""
        return f"it would have been {self.outcome} if {' and '.join(self.changes)}"


def smallest_changes(world: World, tries: Sequence[Try]) -> tuple[Suggestion, ...]:
    """What would have changed the answer: looser if it was refused or held, stricter if it was allowed. Pairs come last.

    Args:
        world: the request as it was decided.
        tries: what is tried, the most telling first.
    """
    search = _Search(world)
    tries = tries[:MAX_SINGLE]
    found = [one for attempt in tries if (one := search.single(attempt)) is not None]
    if not found:
        paired = [attempt for attempt in tries if not _extreme(attempt).alone][:MAX_PAIRED]
        found = [one for pair in combinations(paired, 2) if (one := search.pair(*pair)) is not None]
    found = _varied(found)
    found.sort(key=lambda one: _ORDER[type(one[1])] if search.loosening else -_ORDER[type(one[1])])
    return tuple(
        Suggestion(
            changes=tuple(change.said for change in changes),
            outcome=_WORDS[type(decision)],
            world=search.after(changes),
        )
        for changes, decision in found[:MAX_SUGGESTIONS]
    )


_Found = tuple[tuple[Change, ...], Decision]
_PER_FACT: Final = 2


def _varied(found: list[_Found]) -> list[_Found]:
    """At most two changes of one fact, and one of a fact with many values: six hours of a day say no more than one."""
    seen: Counter[tuple[str, ...]] = Counter()
    kept = []
    for changes, decision in found:
        facts = tuple(change.fact for change in changes)
        seen[facts] += 1
        if seen[facts] <= (1 if changes[0].alone else _PER_FACT):
            kept.append((changes, decision))
    return kept


class _Search:
    def __init__(self, world: World) -> None:
        self._world = world
        self._before = _ORDER[type(world.decide())]
        self.loosening = self._before > 0

    def after(self, changes: Sequence[Change]) -> World:
        world = self._world
        for change in changes:
            world = change.apply(world)
        return world

    def _other(self, *changes: Change) -> Decision | None:
        """The decision, if it is another one in the direction that is wanted."""
        decision = self.after(changes).decide()
        order = _ORDER[type(decision)]
        return decision if (order < self._before if self.loosening else order > self._before) else None

    def single(self, attempt: Try) -> _Found | None:
        if self._other(_extreme(attempt)) is None:
            return None
        return self._settled((attempt,))

    def pair(self, one: Try, other: Try) -> _Found | None:
        first, second = _extreme(one), _extreme(other)
        if first.fact == second.fact or self._other(first, second) is None:
            return None
        return self._settled((one, other))

    def _settled(self, attempts: tuple[Try, ...]) -> _Found | None:
        """Each number as near to what it was as it can be, the others held; decided once more."""
        changes = [_extreme(attempt) for attempt in attempts]
        for index, attempt in enumerate(attempts):
            if isinstance(attempt, Knob):
                changes[index] = self._nearest(attempt, changes, index)
        decision = self._other(*changes)
        return (tuple(changes), decision) if decision is not None else None

    def _nearest(self, knob: Knob, changes: list[Change], index: int) -> Change:
        works, fails = knob.extreme, knob.now
        while abs(works - fails) > 1:
            middle = (works + fails) // 2
            if self._other(*changes[:index], knob.at(middle), *changes[index + 1 :]) is None:
                fails = middle
            else:
                works = middle
        return knob.at(works)


def _extreme(attempt: Try) -> Change:
    return attempt.at(attempt.extreme) if isinstance(attempt, Knob) else attempt
