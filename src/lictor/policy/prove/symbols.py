"""The free values of one environment: principal, resource and context as variables, made when policy first reads them.

What is free is an over-approximation: membership is one free truth a pair, without transitivity, except where the bundle's own
entities settle it. So a contradiction is a proof, and everything else has to be replayed (facts 8.1). Refuses to know policies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import z3

from lictor.pdp.engine.entities import Directory
from lictor.pdp.engine.schematext import Attribute, Named, RecordOf, SetOf, Type
from lictor.policy.prove.environment import Environment
from lictor.policy.prove.logic import MAX_LONG, MIN_LONG, Truth, every, same, some, text
from lictor.policy.prove.terms import (
    PRIMITIVES,
    Collection,
    Derived,
    Entity,
    Opaque,
    Record,
    Scalar,
    Term,
    plain,
    sort_of,
)
from lictor.policy.prove.unsupported import Unsupported

Path = tuple[str, ...]
"""`("context", "task", "calls")`."""


@dataclass(frozen=True, slots=True)
class View:
    """One request over the symbols: a second copy differs in some member."""

    principal: Record
    resource: Record
    context: Record


@dataclass(frozen=True, slots=True)
class Membership:
    """One pair the formulas speak of: `child in parent`."""

    child: Entity
    parent: Entity
    truth: Any


class Symbols:
    """Variables of one environment, and what their types say of them."""

    def __init__(self, environment: Environment, directory: Directory, apart: frozenset[Path] = frozenset()) -> None:
        """Name the variables.

        Args:
            environment: what is typed how.
            directory: the bundle's entities.
            apart: members that are not those of the same name in another environment's symbols.
        """
        self._apart = apart
        self.environment = environment
        self.directory = directory
        self.principal = Entity(environment.principal, z3.String("principal"), "principal")
        self.resource = Entity(environment.resource, z3.String("resource"), "resource")
        self.action = Entity("Action", text(environment.action), "action", environment.action)
        self.values: dict[Path, Any] = {}
        self.kinds: dict[Path, str] = {}
        """The scalar type of each of `values`, or empty for a set."""
        self.flags: dict[Path, Any] = {}
        self.chained: dict[str, Entity] = {}
        self.chains: dict[str, dict[Path, tuple[Truth, Term]]] = {}
        self.constraints: list[Any] = []
        self.memberships: dict[tuple[str, str], Membership] = {}
        self.literals: set[str] = set()
        attributes = environment.entities
        self.view = View(
            self._record(("principal",), attributes[environment.principal].attributes),
            self._record(("resource",), attributes[environment.resource].attributes),
            self._record(("context",), environment.context),
        )

    def literal(self, value: str) -> Any:
        """A string that policy writes out; remembered, for sets are told apart by these only."""
        self.literals.add(value)
        return text(value)

    def variable(self, name: str, type_: Type) -> Any:
        """A further variable of a scalar type, constrained as its type says."""
        made = z3.Const(name, sort_of(type_))
        self._constrain(type_, made)
        return made

    def attributes(self, entity: Entity, view: View) -> tuple[Truth, Record]:
        """Whether an entity is there, and its attributes.

        Principal and resource always are: `decide` refuses without them (facts S3).
        """
        if entity.role == "principal":
            return True, view.principal
        if entity.role == "resource":
            return True, view.resource
        return self._chain(entity)

    def member(self, child: Entity, parent: Entity) -> Truth:
        """`child in parent`."""
        itself = child.type == parent.type and same(child.z, parent.z)
        if child.role == "action":
            if parent.type != "Action":
                return False
            if parent.literal is None:
                raise Unsupported("`action in` something that is not written out")
            return parent.literal == child.literal or parent.literal in self.environment.groups
        declared = self.environment.entities.get(child.type)
        if declared is None:
            raise Unsupported(f"membership of {child.type[:60]!r}")
        if parent.type not in declared.above:
            return itself
        return some((itself, self._below(child, parent)))

    def _below(self, child: Entity, parent: Entity) -> Truth:
        if child.literal is not None and parent.literal is not None:
            above = self.directory.ancestors((child.type, child.literal))
            return (parent.type, parent.literal) in above
        key = (f"{child.type} {child.z.sexpr()}", f"{parent.type} {parent.z.sexpr()}")
        found = self.memberships.get(key)
        if found is None:
            if child.role and parent.literal is not None:
                truth = z3.Bool(f"{child.role} in {parent.type}::{parent.literal}")
            else:
                relation = z3.Function(
                    f"{child.type} in {parent.type}", z3.StringSort(), z3.StringSort(), z3.BoolSort()
                )
                truth = relation(child.z, parent.z)
            found = self.memberships[key] = Membership(child, parent, truth)
        return found.truth

    def seen(self, path: Path) -> bool:
        """Whether a formula reads this member or something in it."""
        return any(known[: len(path)] == path for known in (*self.values, *self.flags))

    def _name(self, path: Path) -> str:
        apart = any(path[: len(one)] == one for one in self._apart)
        return ("other " if apart else "") + ".".join(path)

    def _record(self, path: Path, type_: RecordOf) -> Record:
        def make(name: str) -> tuple[Truth, Term]:
            attribute = type_.attributes[name]
            inner = (*path, name)
            presence = self._flag(inner) if attribute.optional else True
            return presence, self._value(inner, plain(attribute.type))

        return Derived(type_.attributes, make)

    def _flag(self, path: Path) -> Any:
        return self.flags.setdefault(path, z3.Bool("has " + self._name(path)))

    def _value(self, path: Path, type_: Type) -> Term:
        if isinstance(type_, RecordOf):
            return self._record(path, type_)
        self.kinds[path] = type_.name if isinstance(type_, Named) else ""
        return self._made(type_, lambda sort: self.values.setdefault(path, z3.Const(self._name(path), sort)))

    def _made(self, type_: Type, make: Callable[[Any], Any]) -> Term:
        """A term of a type around the solver value that `make` gives for a sort."""
        if isinstance(type_, SetOf):
            element = plain(type_.element)
            try:
                sort = sort_of(element)
            except Unsupported:
                return Opaque(type_)
            return Collection(element, None, make(z3.SetSort(sort)))
        if not isinstance(type_, Named) or type_.name == "ipaddr":
            return Opaque(type_)
        made = make(sort_of(type_))
        if type_.name not in PRIMITIVES:
            if type_.name not in self.environment.entities:
                return Opaque(type_)
            return Entity(type_.name, made)
        self._constrain(type_, made)
        return Scalar(type_, made)

    def _constrain(self, type_: Type, made: Any) -> None:
        if sort_of(type_) == z3.IntSort():
            self.constraints.append(every((made >= MIN_LONG, made <= MAX_LONG)))

    def _chain(self, entity: Entity) -> tuple[Truth, Record]:
        """Attributes of an entity that is neither principal nor resource: functions of its id."""
        declared = self.environment.entities.get(entity.type)
        if declared is None:
            raise Unsupported(f"attributes of {entity.type[:60]!r}")
        if entity.literal is not None or any(
            isinstance(plain(a.type), RecordOf) for a in declared.attributes.attributes.values()
        ):
            # A written-out entity is a fact of the bundle's, not a free value: not encoded.
            raise Unsupported(f"attributes of {entity.type[:60]!r} reached through another entity")
        there = z3.Function(f"there {entity.type}", z3.StringSort(), z3.BoolSort())(entity.z)
        key = f"{entity.type} {entity.z.sexpr()}"
        self.chained[key] = entity
        known = self.chains.setdefault(key, {})
        roles = [(role, view) for role, view in self._roles() if role.type == entity.type]
        if not known:
            self.constraints.extend(z3.Implies(entity.z == role.z, there) for role, _ in roles)

        def make(name: str) -> tuple[Truth, Term]:
            found = known[name,] = self._chained_member(entity, name, declared.attributes.attributes[name], roles)
            return found

        return there, Derived(declared.attributes.attributes, make)

    def _roles(self) -> tuple[tuple[Entity, Record], ...]:
        return (self.principal, self.view.principal), (self.resource, self.view.resource)

    def _chained_member(
        self, entity: Entity, name: str, attribute: Attribute, roles: list[tuple[Entity, Record]]
    ) -> tuple[Truth, Term]:
        label = f"{entity.type}.{name}"

        def apply(sort: Any, what: str = "") -> Any:
            return z3.Function(what + label, z3.StringSort(), sort)(entity.z)

        presence = apply(z3.BoolSort(), "has ") if attribute.optional else True
        term = self._made(plain(attribute.type), apply)
        for role, record in roles:
            own = record.member(name)
            if own is None:
                raise Unsupported(f"no attribute {name!r}")
            alike = every((same(presence, own[0]), same(_raw(term), _raw(own[1]))))
            if alike is not True:
                self.constraints.append(z3.Implies(entity.z == role.z, alike))
        return presence, term


def _raw(term: Term) -> Any:
    if isinstance(term, Scalar | Entity):
        return term.z
    if isinstance(term, Collection):
        return term.array
    raise Unsupported("an address, or a set of records, of an entity reached through another")


def lookup(record: Record, path: Path) -> tuple[Truth, Term] | None:
    """Presence and value of a member by its path, all on the way being present; None where the schema has none."""
    presence: Truth = True
    term: Term = record
    for name in path:
        if isinstance(term, Scalar | Entity | Collection | Opaque):
            return None
        found = term.member(name)
        if found is None:
            return None
        presence, term = every((presence, found[0])), found[1]
    return presence, term
