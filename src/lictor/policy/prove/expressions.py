"""One expression into (value, ok): what it is, and whether the evaluator would get that far without an error (facts 8.1).

Dispatch is on the exact class of a node, and all of its fields must be the known ones: a class or a field that a later engine
adds raises. Refuses to know policies and their effects.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import z3
from cedarpy import pst

from lictor.policy.prove import terms
from lictor.policy.prove.constants import DAY_MS, datetime_of, decimal_of, duration_of
from lictor.policy.prove.logic import Truth, choose, every, in_range, negate, some
from lictor.policy.prove.symbols import Symbols, View
from lictor.policy.prove.terms import (
    BOOL,
    DATETIME,
    DECIMAL,
    DURATION,
    LONG,
    STRING,
    Collection,
    Entity,
    Opaque,
    Record,
    Scalar,
    Term,
    Written,
)
from lictor.policy.prove.unsupported import Unsupported

_FIELDS: Final[Mapping[type, tuple[str, ...]]] = {
    pst.Var: ("name",),
    pst.BoolLit: ("value",),
    pst.LongLit: ("value",),
    pst.StringLit: ("value",),
    pst.EntityLit: ("value",),
    pst.EntityUid: ("type", "id"),
    pst.EntityType: ("basename", "namespace"),
    pst.Set: ("elements",),
    pst.Record: ("fields",),
    pst.GetAttr: ("base", "attr"),
    pst.HasAttr: ("base", "attrs"),
    pst.Is: ("base", "entity_type", "in_expr"),
    pst.Like: ("base", "pattern"),
    pst.Char: ("value",),
    pst.Wildcard: (),
    pst.IfThenElse: ("cond", "then_expr", "else_expr"),
    pst.UnaryOp: ("op", "arg"),
    pst.BinaryOp: ("op", "left", "right"),
    pst.When: ("expr",),
    pst.Unless: ("expr",),
    pst.ScopeAny: (),
    pst.ScopeEq: ("entity",),
    pst.ScopeIn: ("entity",),
    pst.ScopeIs: ("entity_type",),
    pst.ScopeIsIn: ("entity_type", "entity"),
    pst.ActionEq: ("entity",),
    pst.ActionIn: ("entities",),
    pst.Template: ("id", "effect", "principal", "action", "resource", "clauses", "annotations"),
}
"""Every class that is translated, with all its fields."""
_CHECKED: Final[set[type]] = set()
_EXTENSIONS: Final[Mapping[str, Callable[[str], tuple[Any, Any]]]] = {
    "decimal": lambda value: (DECIMAL, decimal_of(value)),
    "duration": lambda value: (DURATION, duration_of(value)),
    "datetime": lambda value: (DATETIME, datetime_of(value)),
}
_SHARES: Final = {
    "to_milliseconds": 1,
    "to_seconds": 1_000,
    "to_minutes": 60_000,
    "to_hours": 3_600_000,
    "to_days": DAY_MS,
}
_ORDERED: Final = (LONG, DATETIME, DURATION)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an expression is, and whether evaluating it ends without an error."""

    term: Term
    ok: Truth


def known(node: object) -> type:
    """The node's class, if it is one that is translated with all its fields.

    Raises:
        Unsupported: any other.
    """
    class_ = type(node)
    if class_ in _CHECKED:
        return class_
    expected = _FIELDS.get(class_)
    if expected is None or tuple(getattr(class_, "__dataclass_fields__", ())) != expected:
        raise Unsupported(f"the construct {class_.__name__}")
    _CHECKED.add(class_)
    return class_


def type_name(node: pst.EntityType) -> str:
    """`Namespace::Type`."""
    known(node)
    return "::".join((*node.namespace, node.basename))


class Expressions:
    """Translates the expressions of one view of one environment."""

    def __init__(self, symbols: Symbols, view: View) -> None:
        self._symbols = symbols
        self._view = view
        self._handlers: dict[type, Callable[[Any], Meaning]] = {
            pst.Var: self._variable,
            pst.BoolLit: lambda node: Meaning(Scalar(BOOL, bool(node.value)), True),
            pst.LongLit: lambda node: Meaning(Scalar(LONG, int(node.value)), True),
            pst.StringLit: lambda node: Meaning(Scalar(STRING, symbols.literal(node.value)), True),
            pst.EntityLit: lambda node: Meaning(self.entity(node.value), True),
            pst.Set: self._set,
            pst.Record: self._record,
            pst.GetAttr: self._attribute,
            pst.HasAttr: self._has,
            pst.Is: self._is,
            pst.Like: self._like,
            pst.IfThenElse: self._if,
            pst.UnaryOp: self._unary,
            pst.BinaryOp: self._binary,
        }

    def meaning(self, node: object) -> Meaning:
        """Translate.

        Raises:
            Unsupported: something in it is not known.
        """
        handler = self._handlers.get(known(node))
        if handler is None:
            raise Unsupported(f"{type(node).__name__} as an expression")
        return handler(node)

    def truth(self, node: object) -> tuple[Truth, Truth]:
        """A condition: its truth, and whether it ends without an error."""
        found = self.meaning(node)
        return _bool(found.term), found.ok

    def entity(self, uid: pst.EntityUid | pst.Slot) -> Entity:
        """An entity that policy writes out.

        Raises:
            Unsupported: a template's slot.
        """
        if not isinstance(uid, pst.EntityUid):
            raise Unsupported("a template's slot")
        known(uid)
        return Entity(type_name(uid.type), self._symbols.literal(uid.id), literal=uid.id)

    def _variable(self, node: pst.Var) -> Meaning:
        match node.name:
            case "principal":
                return Meaning(self._symbols.principal, True)
            case "action":
                return Meaning(self._symbols.action, True)
            case "resource":
                return Meaning(self._symbols.resource, True)
            case "context":
                return Meaning(self._view.context, True)
            case other:
                raise Unsupported(f"the variable {other!r}")

    def _set(self, node: pst.Set) -> Meaning:
        parts = [self.meaning(element) for element in node.elements]
        types = {terms.type_of(part.term) for part in parts}
        if len(types) > 1 or not all(isinstance(part.term, Scalar | Entity) for part in parts):
            raise Unsupported("a set of sets, of records or of several types")
        element = next(iter(types), None)
        return Meaning(Collection(element, tuple(part.term for part in parts)), every(part.ok for part in parts))

    def _record(self, node: pst.Record) -> Meaning:
        parts = {name: self.meaning(value) for name, value in node.fields.items()}
        members: dict[str, tuple[Truth, Term]] = {name: (True, part.term) for name, part in parts.items()}
        return Meaning(Written(members), every(part.ok for part in parts.values()))

    def _members(self, base: Meaning) -> tuple[Truth, Record]:
        """Whether the thing is there, and its attributes."""
        term = base.term
        if isinstance(term, Entity):
            return self._symbols.attributes(term, self._view)
        if isinstance(term, Scalar | Collection | Opaque):
            raise Unsupported("an attribute of something that is neither record nor entity")
        return True, term

    def _attribute(self, node: pst.GetAttr) -> Meaning:
        base = self.meaning(node.base)
        there, record = self._members(base)
        found = record.member(node.attr)
        if found is None:
            raise Unsupported(f"the attribute {node.attr[:60]!r}, which the schema does not declare")
        return Meaning(found[1], every((base.ok, there, found[0])))

    def _has(self, node: pst.HasAttr) -> Meaning:
        base = self.meaning(node.base)
        presence: Truth = True
        term: Term = base.term
        for name in node.attrs:
            there, record = self._members(Meaning(term, True))
            found = record.member(name)
            if found is None:
                return Meaning(Scalar(BOOL, False), base.ok)
            presence, term = every((presence, there, found[0])), found[1]
        return Meaning(Scalar(BOOL, presence), base.ok)

    def _is(self, node: pst.Is) -> Meaning:
        base = self.meaning(node.base)
        if not isinstance(base.term, Entity):
            raise Unsupported("`is` on something that is no entity")
        matches = base.term.type == type_name(node.entity_type)
        if node.in_expr is None or not matches:
            return Meaning(Scalar(BOOL, matches), base.ok)
        return self._in(base, self.meaning(node.in_expr))

    def _like(self, node: pst.Like) -> Meaning:
        base = self.meaning(node.base)
        if not isinstance(base.term, Scalar) or base.term.type != STRING:
            raise Unsupported("`like` on something that is no string")
        parts = []
        written = ""
        for part in node.pattern:
            known(part)
            if isinstance(part, pst.Wildcard):
                parts.extend([self._plain(written)] if written else [])
                parts.append(z3.Star(z3.AllChar(z3.ReSort(z3.StringSort()))))
                written = ""
            else:
                written += part.value
        if written or not parts:
            parts.append(self._plain(written))
        pattern = parts[0] if len(parts) == 1 else z3.Concat(*parts)
        return Meaning(Scalar(BOOL, z3.InRe(base.term.z, pattern)), base.ok)

    def _plain(self, written: str) -> Any:
        return z3.Re(self._symbols.literal(written))

    def _if(self, node: pst.IfThenElse) -> Meaning:
        condition, ok = self.truth(node.cond)
        if isinstance(condition, bool):
            taken = self.meaning(node.then_expr if condition else node.else_expr)
            return Meaning(taken.term, every((ok, taken.ok)))
        one, other = self.meaning(node.then_expr), self.meaning(node.else_expr)
        term = terms.either(condition, one.term, other.term)
        return Meaning(term, every((ok, choose(condition, one.ok, other.ok))))

    def _unary(self, node: pst.UnaryOp) -> Meaning:
        if node.op in _EXTENSIONS:
            known(node.arg)
            if not isinstance(node.arg, pst.StringLit):
                raise Unsupported(f"{node.op}() of something that is not written out")
            return Meaning(Scalar(*_EXTENSIONS[node.op](node.arg.value)), True)
        arg = self.meaning(node.arg)
        term = arg.term
        match node.op:
            case "not":
                return Meaning(Scalar(BOOL, negate(_bool(term))), arg.ok)
            case "neg":
                value = -_integer(term, LONG)
                return Meaning(Scalar(LONG, value), every((arg.ok, in_range(value))))
            case "is_empty" if isinstance(term, Collection):
                return Meaning(Scalar(BOOL, terms.is_empty(term)), arg.ok)
            case "to_date":
                value = _integer(term, DATETIME)
                day = value - value % DAY_MS
                return Meaning(Scalar(DATETIME, day), every((arg.ok, in_range(day))))
            case "to_time":
                return Meaning(Scalar(DURATION, _integer(term, DATETIME) % DAY_MS), arg.ok)
            case op if op in _SHARES:
                return Meaning(Scalar(LONG, _truncated(_integer(term, DURATION), _SHARES[op])), arg.ok)
            case op:
                raise Unsupported(f"{op}()")

    def _binary(self, node: pst.BinaryOp) -> Meaning:
        if node.op in ("and", "or"):
            return self._joined(node)
        left, right = self.meaning(node.left), self.meaning(node.right)
        one, other, ok = left.term, right.term, every((left.ok, right.ok))
        match node.op:
            case "eq":
                return Meaning(Scalar(BOOL, terms.equal(one, other)), ok)
            case "not_eq":
                return Meaning(Scalar(BOOL, negate(terms.equal(one, other))), ok)
            case "in":
                return self._in(left, right)
            case "less" | "less_eq" | "greater" | "greater_eq" as op:
                return Meaning(Scalar(BOOL, _compared(op, *_alike(one, other, _ORDERED))), ok)
            case "decimal_less_than" | "decimal_less_eq" | "decimal_greater" | "decimal_greater_eq" as op:
                return Meaning(Scalar(BOOL, _compared(_DECIMAL_ORDER[op], *_alike(one, other, (DECIMAL,)))), ok)
            case "add" | "sub" | "mul" as op:
                return _calculated(op, one, other, ok)
            case "offset":
                value = _integer(one, DATETIME) + _integer(other, DURATION)
                return Meaning(Scalar(DATETIME, value), every((ok, in_range(value))))
            case "duration_since":
                value = _integer(one, DATETIME) - _integer(other, DATETIME)
                return Meaning(Scalar(DURATION, value), every((ok, in_range(value))))
            case "contains" if isinstance(one, Collection):
                return Meaning(Scalar(BOOL, terms.contains(one, other)), ok)
            case "contains_all" if isinstance(one, Collection) and isinstance(other, Collection):
                return Meaning(Scalar(BOOL, terms.contains_all(one, other)), ok)
            case "contains_any" if isinstance(one, Collection) and isinstance(other, Collection):
                return Meaning(Scalar(BOOL, terms.contains_any(one, other)), ok)
            case op:
                raise Unsupported(f"{op}()")

    def _joined(self, node: pst.BinaryOp) -> Meaning:
        """`&&` and `||`: what decides already is never evaluated further."""
        one, ok = self.truth(node.left)
        stops = node.op == "or"
        if one is stops:
            return Meaning(Scalar(BOOL, stops), ok)
        other, other_ok = self.truth(node.right)
        value = some((one, other)) if stops else every((one, other))
        skipped = one if stops else negate(one)
        return Meaning(Scalar(BOOL, value), every((ok, some((skipped, other_ok)))))

    def _in(self, left: Meaning, right: Meaning) -> Meaning:
        child, parent = left.term, right.term
        ok = every((left.ok, right.ok))
        if not isinstance(child, Entity):
            raise Unsupported("`in` on something that is no entity")
        parents: tuple[Term, ...] = (parent,)
        if isinstance(parent, Collection) and parent.elements is not None:
            parents = parent.elements
        found = []
        for one in parents:
            if not isinstance(one, Entity):
                raise Unsupported("`in` a set that is not written out")
            found.append(self._symbols.member(child, one))
        return Meaning(Scalar(BOOL, some(found)), ok)


_DECIMAL_ORDER: Final = {
    "decimal_less_than": "less",
    "decimal_less_eq": "less_eq",
    "decimal_greater": "greater",
    "decimal_greater_eq": "greater_eq",
}


def _bool(term: Term) -> Truth:
    if not isinstance(term, Scalar) or term.type != BOOL:
        raise Unsupported("something that is no Boolean as a condition")
    return term.z


def _integer(term: Term, type_: Any) -> Any:
    if not isinstance(term, Scalar) or term.type != type_:
        raise Unsupported(f"something that is no {type_.name} in a calculation")
    return term.z


def _alike(one: Term, other: Term, types: tuple[Any, ...]) -> tuple[Any, Any]:
    if isinstance(one, Scalar) and isinstance(other, Scalar) and one.type == other.type and one.type in types:
        return one.z, other.z
    raise Unsupported("ordering two kinds of value")


def _compared(op: str, one: Any, other: Any) -> Truth:
    match op:
        case "less":
            return one < other
        case "less_eq":
            return one <= other
        case "greater":
            return one > other
        case _:
            return one >= other


def _calculated(op: str, one: Term, other: Term, ok: Truth) -> Meaning:
    left, right = _integer(one, LONG), _integer(other, LONG)
    value = left + right if op == "add" else left - right if op == "sub" else left * right
    return Meaning(Scalar(LONG, value), every((ok, in_range(value))))


def _truncated(value: Any, unit: int) -> Any:
    """Division towards zero, as the engine does it; the solver's own rounds down."""
    if isinstance(value, int):
        return value // unit if value >= 0 else -(-value // unit)
    return z3.If(value >= 0, value / unit, -((-value) / unit))
