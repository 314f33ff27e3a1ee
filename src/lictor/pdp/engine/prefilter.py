"""Which policies of a slice a request's own facts leave standing: by look-up, not by evaluating any of them.

Each policy stands under what it needs (`necessity.py`). One look-up a fact gives a *cell*: the part of that fact's range in
which the same policies stay. The cells of all facts together name a candidate set, so equal facts share one compiled set. A
fact that is missing or of an unexpected form keeps every policy that asks for it: then the engine says what is wrong.

Refuses to decide: a policy that stays is evaluated by the engine, one that is left out was false.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from lictor.pdp.engine.necessity import Need, Needs, Place
from lictor.pdp.engine.slicing import Keys, Uid

MAX_PROBES: Final = 24
"""Facts looked up a call; policies that need others are always evaluated. A look-up costs under a microsecond."""
MAX_STEPS: Final = 32
"""Parts into which the bounds of one number divide its range: coarser than the bounds, so that sets can be used again."""
MAX_MEMBERS: Final = 64
"""Members of a set that are looked up; a longer one keeps every policy that asks for a member."""

Cell = Hashable
_STRANGE: Final[Cell] = "strange"
_NO_MEMBERS: Final[Cell] = ("members", frozenset())
_NONE: Final[tuple[int, ...]] = ()


class _Missing:
    """How far down a path the first absent attribute is."""

    __slots__ = ("depth",)

    def __init__(self, depth: int) -> None:
        self.depth = depth


_MISSING: Final = tuple(_Missing(depth) for depth in range(1, 65))
_UNKNOWN: Final = object()


def look_up(record: object, path: tuple[str, ...]) -> object:
    """The value at a path, a `_Missing`, or `_UNKNOWN` below what is no record."""
    for depth, name in enumerate(path):
        if type(record) is not dict:
            return _UNKNOWN
        if name not in record:
            return _MISSING[depth] if depth < len(_MISSING) else _UNKNOWN
        record = record[name]
    return record


class _Keys:
    """Policies by the scope keys of which an entity must have one."""

    __slots__ = ("_by_key", "place")

    def __init__(self, place: Place, needs: Sequence[tuple[int, Need]]) -> None:
        self.place = place
        self._by_key: dict[Any, tuple[int, ...]] = _grouped((need.value, at) for at, need in needs)

    def cell(self, keys: Keys) -> Cell:
        return frozenset(self._by_key.keys() & keys)

    def stay(self, cell: Any) -> Iterable[int]:
        for key in cell:
            yield from self._by_key[key]


class _Probe:
    """Policies by what they need of one attribute."""

    __slots__ = (
        "_absent",
        "_all",
        "_elements",
        "_equal",
        "_guarded",
        "_high",
        "_low",
        "_numeric",
        "_present",
        "_truth",
        "place",
    )

    def __init__(self, place: Place, needs: Sequence[tuple[int, Need]]) -> None:
        self.place = place
        of: Callable[[str], list[tuple[int, Need]]] = lambda test: [n for n in needs if n[1].test == test]  # noqa: E731
        self._all = tuple({at: None for at, _ in needs})
        self._equal = _grouped((_tagged(need.value), at) for at, need in of("equal"))
        self._truth = _grouped((need.value, at) for at, need in of("truth"))
        self._elements = _grouped((need.value, at) for at, need in of("element"))
        self._present = tuple(at for at, _ in of("present"))
        self._absent = tuple(at for at, _ in of("absent"))
        self._low = _Bounds.of([(need.value, at) for at, need in of("at_least")])
        self._high = _Bounds.of([(-need.value, at) for at, need in of("at_most")])
        self._numeric = self._low is not None or self._high is not None
        self._guarded = {
            depth: tuple({at: None for at, need in needs if depth not in need.guards})
            for depth in range(1, len(place[1]) + 1)
        }

    def cell(self, value: object) -> Cell:
        kind = type(value)
        if kind is _Missing:
            return ("missing", value.depth)  # type: ignore[attr-defined] # the class is checked on the line above
        if kind is bool:
            return _STRANGE if self._elements or self._numeric else ("bool", value)
        if self._truth:
            return _STRANGE
        if kind is str:
            if self._elements or self._numeric:
                return _STRANGE
            return ("equal", value if value in self._equal else None)
        if kind is int:
            if self._elements:
                return _STRANGE
            number: Any = value
            low = self._low.step(number) if self._low is not None else 0
            high = self._high.step(-number) if self._high is not None else 0
            return ("equal", value if value in self._equal else None, low, high)
        if kind is list:
            return self._members(value)
        return ("some",) if kind is dict and not self._valued() else _STRANGE

    def stay(self, cell: Any) -> Iterable[int]:
        match cell:
            case ("missing", depth):
                return self._guarded[depth]
            case ("bool", value):
                return (*self._present, *self._truth.get(value, _NONE), *self._equal.get(_tagged(value), _NONE))
            case ("equal", value):
                return (*self._present, *self._equal.get(value, _NONE))
            case ("equal", value, low, high):
                return (
                    *self._present,
                    *self._equal.get(value, _NONE),
                    *(self._low.within(low) if self._low is not None else ()),
                    *(self._high.within(high) if self._high is not None else ()),
                )
            case ("members", members):
                return (*self._present, *(at for member in members for at in self._elements[member]))
            case ("some",):
                return self._present
            case _:
                return self._all

    def _valued(self) -> bool:
        return bool(self._equal or self._elements) or self._numeric

    def _members(self, value: Any) -> Cell:
        if self._equal or self._numeric or len(value) > MAX_MEMBERS:
            return _STRANGE
        found = []
        for member in value:
            if type(member) is not str:
                return _STRANGE
            if member in self._elements:
                found.append(member)
        return ("members", frozenset(found)) if found else _NO_MEMBERS


class _Bounds:
    """Policies that hold from a bound upwards, in steps of several bounds."""

    __slots__ = ("_at", "_bounds", "_size")

    @classmethod
    def of(cls, bounds: list[tuple[int, int]]) -> "_Bounds | None":
        """None: no policy has one."""
        return cls(bounds) if bounds else None

    def __init__(self, bounds: list[tuple[int, int]]) -> None:
        ordered = sorted(bounds)
        self._bounds = [bound for bound, _ in ordered]
        self._at = tuple(at for _, at in ordered)
        self._size = max(1, -(-len(ordered) // MAX_STEPS))

    def step(self, value: int) -> int:
        """The step a value is in, rounded up: it may keep more policies than hold, never fewer."""
        return -(-bisect_right(self._bounds, value) // self._size)

    def within(self, step: int) -> tuple[int, ...]:
        return self._at[: step * self._size]


class Prefilter:
    """What needs to be asked about a request to one slice. Immutable."""

    __slots__ = ("_always", "_keys", "_looked_up", "_own", "_probes", "size")

    def __init__(self, needs: Sequence[Needs | None]) -> None:
        """Index the policies of a slice by position.

        Args:
            needs: what each policy needs; None for one that is always evaluated.
        """
        self.size = len(needs)
        asked = Counter(place for found in needs if found is not None for place in {need.place for need in found})
        places = {place for place, _ in asked.most_common(MAX_PROBES)}
        always: list[int] = []
        by_place: dict[Place, list[tuple[int, Need]]] = {}
        for at, found in enumerate(needs):
            if found is None or any(need.place not in places for need in found):
                always.append(at)
                continue
            for need in found:
                by_place.setdefault(need.place, []).append((at, need))
        self._always = tuple(always)
        ordered = sorted(by_place.items())
        self._keys = [_Keys(place, found) for place, found in ordered if not place[1]]
        self._own = [_Probe(place, found) for place, found in ordered if place[1] and place[0] != "context"]
        self._probes = [_Probe(place, found) for place, found in ordered if place[1] and place[0] == "context"]
        # By the record in which they stand: it is looked up once for all of them.
        self._looked_up = [
            (above, len(above), [(probe.place[1][-1], probe.cell) for probe in inside])
            for above, inside in groupby(self._probes, lambda probe: probe.place[1][:-1])
        ]

    @property
    def of_use(self) -> bool:
        """Whether any policy can ever be left out."""
        return len(self._always) < self.size

    def cells(
        self,
        keys: Mapping[str, Keys],
        uids: Mapping[str, Uid],
        attributes: Callable[[Uid], object],
        context: object,
    ) -> tuple[Cell, ...]:
        """Where a request's facts lie. Equal cells have equal candidates.

        Args:
            keys: scope keys of `principal`, `action` and `resource`.
            uids: `principal` and `resource`.
            attributes: gives an entity's own, as JSON.
            context: as JSON.
        """
        found: list[Cell] = []
        for above, depth, inside in self._looked_up:
            record = look_up(context, above) if above else context
            if type(record) is dict and depth < len(_MISSING):
                for name, cell in inside:
                    found.append(cell(record[name] if name in record else _MISSING[depth]))
            else:
                strange = record if type(record) is _Missing else _UNKNOWN
                found += [cell(strange) for _, cell in inside]
        if self._keys:
            found += [probe.cell(keys[probe.place[0]]) for probe in self._keys]
        if self._own:
            found += [probe.cell(look_up(attributes(uids[probe.place[0]]), probe.place[1])) for probe in self._own]
        return tuple(found)

    def candidates(self, cells: tuple[Cell, ...]) -> list[int]:
        """Positions of the policies that stay, in order."""
        found = set(self._always)
        probes: list[_Probe | _Keys] = [*self._probes, *self._keys, *self._own]
        for probe, cell in zip(probes, cells, strict=True):
            found.update(probe.stay(cell))
        return sorted(found)


def _tagged(value: Any) -> Any:
    """Python takes True for 1."""
    return ("bool", value) if type(value) is bool else value


def _grouped(pairs: Iterable[tuple[Any, int]]) -> dict[Any, tuple[int, ...]]:
    found: dict[Any, list[int]] = {}
    for key, at in pairs:
        found.setdefault(key, []).append(at)
    return {key: tuple(positions) for key, positions in found.items()}
