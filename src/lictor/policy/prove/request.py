"""A solver's model read back as a request: principal, resource, their groups, and a whole context as the schema types it.

What no formula speaks of gets the plainest value of its type. Refuses to know whether the request is one the engine confirms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import z3

from lictor.pdp.engine.schematext import Named, RecordOf, SetOf, Type
from lictor.pdp.facts import moment
from lictor.policy.prove.constants import DECIMAL_SCALE
from lictor.policy.prove.logic import Truth, read_text
from lictor.policy.prove.symbols import Symbols, View
from lictor.policy.prove.terms import Collection, Entity, Opaque, Record, Scalar, Term, plain

LAST_PRINTABLE_MS: Final = 253_402_300_800_000
"""The year 10000: later moments are written as an offset."""
SOME_MOMENT_MS: Final = 1_767_225_600_000
"""2026-01-01, where the time does not matter."""
_FRESH: Final = "~"
"""Begins text that stands for "anything else"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One concrete request, as the engine takes it.

    Attributes:
        principal, resource: `(type, id)`.
        entities: principal, resource and what they are in, as Cedar JSON; entities of the bundle may be among them.
        context: Cedar JSON, `approval` included where there is one.
    """

    principal: tuple[str, str]
    action: str
    resource: tuple[str, str]
    entities: tuple[Mapping[str, Any], ...]
    context: Mapping[str, Any]


class Reader:
    """Reads one model."""

    def __init__(self, symbols: Symbols, model: Any) -> None:
        self._symbols = symbols
        self._model = model
        self._candidates = self._known_texts()

    def request(self, view: View) -> Asked:
        """The request that a view is in this model."""
        principal = self._uid(self._symbols.principal)
        resource = self._uid(self._symbols.resource)
        return Asked(
            principal=principal,
            action=self._symbols.environment.action,
            resource=resource,
            entities=tuple(self._entities(principal, resource, view)),
            context=self._record(view.context, self._symbols.environment.context),
        )

    def truth(self, formula: Truth) -> bool:
        """Whether a formula holds in the model."""
        return (
            formula if isinstance(formula, bool) else bool(z3.is_true(self._model.eval(formula, model_completion=True)))
        )

    def _uid(self, entity: Entity) -> tuple[str, str]:
        return entity.type, self._text(entity.z)

    def _entities(self, principal: tuple[str, str], resource: tuple[str, str], view: View) -> list[Mapping[str, Any]]:
        types = self._symbols.environment.entities
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for uid, record in ((principal, view.principal), (resource, view.resource)):
            found[uid] = {"attrs": self._record(record, types[uid[0]].attributes), "parents": []}
        for key, entity in self._symbols.chained.items():
            uid = self._uid(entity)
            there = z3.Function(f"there {entity.type}", z3.StringSort(), z3.BoolSort())(entity.z)
            if uid not in found and self.truth(there):
                found[uid] = {"attrs": self._chained(key, types[uid[0]].attributes), "parents": []}
        for pair in self._symbols.memberships.values():
            child, parent = self._uid(pair.child), self._uid(pair.parent)
            if child != parent and self.truth(pair.truth):
                found.setdefault(child, {"attrs": {}, "parents": []})["parents"].append(_reference(parent))
        return [{"uid": _reference(uid), **body} for uid, body in found.items()]

    def _chained(self, key: str, type_: RecordOf) -> dict[str, Any]:
        known = self._symbols.chains[key]
        made: dict[str, Any] = {}
        for name, attribute in type_.attributes.items():
            term = known.get((name,))
            if term is not None and self.truth(term[0]):
                made[name] = self._value(term[1], plain(attribute.type))
            elif term is None and not attribute.optional:
                made[name] = self._plainest(plain(attribute.type))
        return made

    def _record(self, record: Record, type_: RecordOf) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, attribute in type_.attributes.items():
            found = record.member(name)
            if found is None or (attribute.optional and not self.truth(found[0])):
                continue
            made[name] = self._value(found[1], plain(attribute.type))
        return made

    def _value(self, term: Term, type_: Type) -> Any:
        if isinstance(type_, RecordOf) and not isinstance(term, Scalar | Entity | Collection | Opaque):
            return self._record(term, type_)
        if isinstance(term, Collection):
            return self._set(term)
        if isinstance(term, Entity):
            return {"__entity": _reference(self._uid(term))}
        if isinstance(term, Scalar):
            return _written(term.type, self._scalar(term))
        return self._plainest(type_)

    def _scalar(self, term: Scalar) -> Any:
        if isinstance(term.z, bool | int):
            return term.z
        if term.type.name == "String":
            return self._text(term.z)
        value = self._model.eval(term.z, model_completion=False)
        if term.type.name == "Bool":
            return z3.is_true(value)
        if z3.is_int_value(value):
            return value.as_long()
        return SOME_MOMENT_MS if term.type.name == "datetime" else 0

    def _text(self, z: Any) -> str:
        value = self._model.eval(z, model_completion=True)
        return read_text(value) if z3.is_string_value(value) else ""

    def _set(self, term: Collection) -> list[Any]:
        """The values that formulas tell apart and the model has in it; something else where it only is not empty."""
        if term.elements is not None:
            return [self._element(term.element, one) for one in term.elements]
        element = term.element
        if element is None:
            return []
        array = self._model.eval(term.array, model_completion=True)
        chosen = [value for value in self._of_type(element) if self._holds(array, value)]
        if not chosen and not z3.is_true(z3.simplify(array == z3.EmptySet(array.sort().domain()))):
            chosen = [value for value in (self._fresh(element),) if self._holds(array, value)]
        return [_element(element, value) for value in chosen]

    def _element(self, element: Type | None, term: Term) -> Any:
        return self._value(term, plain(element) if element is not None else RecordOf())

    def _holds(self, array: Any, value: Any) -> bool:
        return bool(z3.is_true(z3.simplify(z3.Select(array, value))))

    def _of_type(self, element: Type) -> Sequence[Any]:
        sort = element.name if isinstance(element, Named) else ""
        if sort == "Bool":
            return (z3.BoolVal(False), z3.BoolVal(True))
        if sort in ("Long", "datetime", "duration", "decimal"):
            return self._numbers
        return self._candidates

    def _fresh(self, element: Type) -> Any:
        if isinstance(element, Named) and element.name in ("Long", "datetime", "duration", "decimal"):
            return z3.IntVal(max((value.as_long() for value in self._numbers), default=0) + 1)
        return z3.StringVal(_FRESH + str(len(self._candidates)))

    def _known_texts(self) -> list[Any]:
        """Every constant that the formulas or the model name."""
        texts: dict[str, Any] = {value: self._symbols.literal(value) for value in sorted(self._symbols.literals)}
        numbers: dict[int, Any] = {}
        stack = [self._model[known] for known in self._model.decls() if known.arity() == 0]
        seen: set[int] = set()
        while stack:
            node = stack.pop()
            if node is None or not z3.is_expr(node) or node.get_id() in seen:
                continue
            seen.add(node.get_id())
            if z3.is_string_value(node):
                texts.setdefault(read_text(node), node)
            elif z3.is_int_value(node):
                numbers.setdefault(node.as_long(), node)
            stack.extend([node.body()] if z3.is_quantifier(node) else node.children())
        self._numbers = list(numbers.values())
        return list(texts.values())

    def _plainest(self, type_: Type) -> Any:
        match type_:
            case RecordOf(attributes):
                return {n: self._plainest(plain(a.type)) for n, a in attributes.items() if not a.optional}
            case SetOf():
                return []
            case Named("ipaddr"):
                return {"__extn": {"fn": "ip", "arg": "192.0.2.1"}}
            case Named("Bool" | "Long" | "datetime" | "duration" | "decimal" as name):
                return _written(Named(name), _PLAIN[name])
            case Named("String"):
                return ""
            case Named(name):
                return {"__entity": {"type": name, "id": ""}}


_PLAIN: Final[Mapping[str, Any]] = {"Bool": False, "Long": 0, "datetime": SOME_MOMENT_MS, "duration": 0, "decimal": 0}


def _reference(uid: tuple[str, str]) -> dict[str, str]:
    return {"type": uid[0], "id": uid[1]}


def _element(element: Type, value: Any) -> Any:
    name = element.name if isinstance(element, Named) else ""
    if name == "Bool":
        return z3.is_true(value)
    if z3.is_int_value(value):
        return _written(Named(name), value.as_long())
    text = read_text(value)
    return text if name == "String" else {"__entity": {"type": name, "id": text}}


def _written(type_: Named, value: Any) -> Any:
    """A scalar as Cedar JSON."""
    match type_.name:
        case "datetime":
            return written_moment(value)
        case "duration":
            return {"__extn": {"fn": "duration", "arg": f"{value}ms"}}
        case "decimal":
            whole, rest = divmod(abs(value), DECIMAL_SCALE)
            return {"__extn": {"fn": "decimal", "arg": f"{'-' if value < 0 else ''}{whole}.{rest:04d}"}}
        case _:
            return value


def written_moment(ms: int) -> Any:
    """A datetime as Cedar JSON, also one no calendar reaches (facts 8.2)."""
    if 0 <= ms < LAST_PRINTABLE_MS:
        return moment(ms)
    start = {"__extn": {"fn": "datetime", "arg": "1970-01-01"}}
    return {"__extn": {"fn": "offset", "args": [start, {"__extn": {"fn": "duration", "arg": f"{ms}ms"}}]}}
