"""Values as the solver sees them: scalars of one type, sets, entities, and records kept as structure.

A record is never one solver value: its members are looked up while translating, so an attribute nobody reads costs nothing.
Refuses to know where values come from.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Protocol

import z3

from lictor.pdp.engine.schematext import Named, RecordOf, SetOf, Type
from lictor.policy.prove.logic import Truth, choose, every, negate, same, some
from lictor.policy.prove.unsupported import Unsupported

_INTEGERS: Final = frozenset({"Long", "datetime", "duration", "decimal"})
_PREFIX: Final = "__cedar::"
BOOL: Final = Named("Bool")
LONG: Final = Named("Long")
STRING: Final = Named("String")
DATETIME: Final = Named("datetime")
DURATION: Final = Named("duration")
DECIMAL: Final = Named("decimal")
PRIMITIVES: Final = frozenset({"Bool", "Long", "String", "datetime", "duration", "decimal", "ipaddr"})


def plain(type_: Type) -> Type:
    """The type without the engine's prefix for its own names."""
    return Named(type_.name.removeprefix(_PREFIX)) if isinstance(type_, Named) else type_


@dataclass(frozen=True, slots=True)
class Scalar:
    """A Bool, Long, String, datetime (ms), duration (ms) or decimal (ten-thousandths)."""

    type: Named
    z: Any


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity of a type known while translating; `z` is its id. `role` is the request variable it is, or empty."""

    type: str
    z: Any
    role: str = ""
    literal: str | None = None
    """Its id where policy writes it out."""


class Opaque:
    """A value of a type nothing can be said about: an address, a set of records. Every use raises."""

    __slots__ = ("type",)

    def __init__(self, type_: Type) -> None:
        self.type = type_


class Record(Protocol):
    """A record: its members with the truth of their presence."""

    def names(self) -> Iterable[str]:
        """Every member it can have."""
        ...

    def member(self, name: str) -> "tuple[Truth, Term] | None":
        """Presence and value, or None for a member it can never have."""
        ...


@dataclass(frozen=True)
class Collection:
    """A set. `elements` are known for a set that policy writes out; `array` maps each value to whether it is in.

    Attributes:
        element: its elements' type, or None for `[]`.
    """

    element: Type | None
    elements: "tuple[Term, ...] | None"
    given: Any = None

    @cached_property
    def array(self) -> Any:
        """The set as a solver array."""
        if self.given is not None:
            return self.given
        if self.element is None:
            raise Unsupported("an empty set of unknown type")
        return self.array_of(self.element)

    def array_of(self, element: Type) -> Any:
        """The array of a set written out, its elements' type given (for `[]`)."""
        if self.elements is None:
            return self.given
        made = z3.EmptySet(sort_of(element))
        for one in self.elements:
            made = z3.Store(made, scalar_of(one), True)
        return made


Term = Scalar | Entity | Collection | Record | Opaque


def is_record(term: object) -> bool:
    """Whether a term is a record."""
    return not isinstance(term, Scalar | Entity | Collection | Opaque)


@dataclass(frozen=True, slots=True)
class Written:
    """A record with members at hand: written out in policy, or put together here."""

    members: Mapping[str, tuple[Truth, Term]]

    def names(self) -> Iterable[str]:
        """See `Record`."""
        return self.members

    def member(self, name: str) -> tuple[Truth, Term] | None:
        """See `Record`."""
        return self.members.get(name)


class Derived:
    """A record whose members are made when asked for, once."""

    __slots__ = ("_known", "_make", "_names")

    def __init__(self, names: Iterable[str], make: Callable[[str], tuple[Truth, Term]]) -> None:
        self._names = tuple(names)
        self._make = make
        self._known: dict[str, tuple[Truth, Term]] = {}

    def names(self) -> Iterable[str]:
        """See `Record`."""
        return self._names

    def member(self, name: str) -> tuple[Truth, Term] | None:
        """See `Record`."""
        if name not in self._names:
            return None
        if name not in self._known:
            self._known[name] = self._make(name)
        return self._known[name]


def replaced(record: Record, path: tuple[str, ...], presence: Truth, term: Term | None) -> Record:
    """The record with one member replaced: present if `presence`, with value `term`, or its old value where that is None.

    Raises:
        Unsupported: there is no such member.
    """

    def make(name: str) -> tuple[Truth, Term]:
        old = record.member(name)
        if old is None:
            raise Unsupported(f"no attribute {name!r}")
        if name != path[0]:
            return old
        if len(path) == 1:
            return presence, old[1] if term is None else term
        inner = old[1]
        if isinstance(inner, Scalar | Entity | Collection | Opaque):
            raise Unsupported(f"{name!r} is no record")
        return old[0], replaced(inner, path[1:], presence, term)

    return Derived(record.names(), make)


def sort_of(type_: Type) -> Any:
    """The solver's sort for values of a type; an entity is its id.

    Raises:
        Unsupported: records, addresses, sets of sets.
    """
    type_ = plain(type_)
    if not isinstance(type_, Named) or type_.name == "ipaddr":
        raise Unsupported("a set of records, of sets or of addresses")
    if type_.name in _INTEGERS:
        return z3.IntSort()
    return z3.BoolSort() if type_.name == "Bool" else z3.StringSort()


def scalar_of(term: Term) -> Any:
    """The solver's value of a scalar or an entity.

    Raises:
        Unsupported: any other term.
    """
    if isinstance(term, Scalar | Entity):
        return term.z
    raise Unsupported("a record or a set as an element")


def type_of(term: Term) -> Type | None:
    """The type of a term; None for `[]`. Records have structure, not a type."""
    match term:
        case Scalar():
            return term.type
        case Entity():
            return Named(term.type)
        case Collection():
            return None if term.element is None else SetOf(term.element)
        case Opaque():
            return term.type
        case _:
            return RecordOf()


def equal(one: Term, other: Term) -> Truth:
    """`==`: by value, records member by member, sets by what is in them.

    Raises:
        Unsupported: two kinds of value that strict validation would not let be compared, or an opaque one.
    """
    if isinstance(one, Opaque) or isinstance(other, Opaque):
        raise Unsupported("comparing an address, or a set of records")
    if isinstance(one, Entity) and isinstance(other, Entity):
        return one.type == other.type and same(one.z, other.z)
    if isinstance(one, Scalar) and isinstance(other, Scalar) and one.type == other.type:
        return same(one.z, other.z)
    if isinstance(one, Collection) and isinstance(other, Collection):
        return _equal_sets(one, other)
    if isinstance(one, Scalar | Entity | Collection) or isinstance(other, Scalar | Entity | Collection):
        raise Unsupported("comparing two kinds of value")
    return every(_equal_member(one, other, name) for name in dict.fromkeys((*one.names(), *other.names())))


def _equal_member(one: Record, other: Record, name: str) -> Truth:
    left, right = one.member(name), other.member(name)
    if left is None or right is None:
        there = left or right
        return True if there is None else negate(there[0])
    both = every((left[0], right[0]))
    values = True if both is False else some((negate(both), equal(left[1], right[1])))
    return every((same(left[0], right[0]), values))


def _equal_sets(one: Collection, other: Collection) -> Truth:
    element = one.element or other.element
    if element is None:
        return True
    if one.element is not None and other.element is not None and one.element != other.element:
        raise Unsupported("comparing sets of two types")
    return same(one.array_of(element), other.array_of(element))


def contains(collection: Collection, item: Term) -> Truth:
    """`set.contains(item)`."""
    if collection.elements is not None:
        return some(equal(element, item) for element in collection.elements)
    if type_of(item) != collection.element:
        raise Unsupported("looking for another type in a set")
    return z3.Select(collection.array, scalar_of(item))


def contains_all(one: Collection, other: Collection) -> Truth:
    """`one.containsAll(other)`."""
    if other.elements is not None:
        return every(contains(one, element) for element in other.elements)
    if other.element is None:
        return True
    return z3.IsSubset(other.array, one.array_of(other.element))


def contains_any(one: Collection, other: Collection) -> Truth:
    """`one.containsAny(other)`."""
    if other.elements is not None:
        return some(contains(one, element) for element in other.elements)
    if one.elements is not None:
        return some(contains(other, element) for element in one.elements)
    if one.element != other.element or one.element is None:
        raise Unsupported("comparing sets of two types")
    empty = z3.EmptySet(sort_of(one.element))
    return negate(same(z3.SetIntersect(one.array, other.array), empty))


def is_empty(collection: Collection) -> Truth:
    """`set.isEmpty()`."""
    if collection.elements is not None:
        return not collection.elements
    if collection.element is None:
        return True
    return same(collection.array, z3.EmptySet(sort_of(collection.element)))


def either(condition: Truth, one: Term, other: Term) -> Term:
    """`if condition then one else other`, member by member for records.

    Raises:
        Unsupported: the two are of different types, or opaque.
    """
    if isinstance(condition, bool):
        return one if condition else other
    if isinstance(one, Scalar) and isinstance(other, Scalar) and one.type == other.type:
        return Scalar(one.type, choose(condition, one.z, other.z))
    if isinstance(one, Entity) and isinstance(other, Entity) and one.type == other.type:
        return Entity(one.type, choose(condition, one.z, other.z))
    if isinstance(one, Collection) and isinstance(other, Collection):
        element = one.element or other.element
        if element is None or (one.element or element) != (other.element or element):
            raise Unsupported("choosing between sets of two types")
        return Collection(element, None, choose(condition, one.array_of(element), other.array_of(element)))
    if isinstance(one, Scalar | Entity | Collection | Opaque) or isinstance(
        other, Scalar | Entity | Collection | Opaque
    ):
        raise Unsupported("choosing between two kinds of value")
    return _either_record(condition, one, other)


def _either_record(condition: Truth, one: Record, other: Record) -> Record:
    def make(name: str) -> tuple[Truth, Term]:
        left, right = one.member(name), other.member(name)
        if left is not None and right is not None:
            return choose(condition, left[0], right[0]), either(condition, left[1], right[1])
        if left is not None:
            return every((condition, left[0])), left[1]
        if right is not None:
            return every((negate(condition), right[0])), right[1]
        raise Unsupported(f"no attribute {name!r}")

    return Derived(dict.fromkeys((*one.names(), *other.names())), make)
