"""What a policy needs to be true before it can matter: facts that, when false, make it false without an error.

`needs` finds, in the order in which the engine evaluates a policy's conditions, a part such that nothing before it can err
and that compares one fact with literals. When that part is false the engine stops there: the policy is neither satisfied
nor in error, so leaving it out changes nothing. Every other policy has no needs and is always evaluated.

Refuses to know requests: it reads syntax trees and declared types, once per policy. It never says that a policy holds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cedarpy import pst

from lictor.pdp.engine.schematext import Attribute, Named, RecordOf, SetOf, Type
from lictor.pdp.engine.slicing import scope_keys

Test = Literal["equal", "truth", "element", "at_least", "at_most", "present", "absent", "key"]
Place = tuple[str, tuple[str, ...]]
"""Variable and attribute path; an entity itself has an empty path."""
Present = frozenset[Place]


@dataclass(frozen=True, slots=True)
class Need:
    """One test of one fact.

    Attributes:
        test: `key` asks whether an entity has a scope key; `element` whether a set has a member; `truth` is a Boolean used as
            a condition, which errs for any other value, where `equal` is false.
        value: the literal compared with; a Boolean for `truth` and `equal`, None for presence.
        guards: lengths of the path's beginnings whose absence makes the policy false. Absence elsewhere proves nothing.
    """

    place: Place
    test: Test
    value: Any = None
    guards: frozenset[int] = frozenset()


Needs = tuple[Need, ...]
"""If *all* of them are known to be false the policy is false and does not err."""

_FREE: Final[Present] = frozenset()
_COST: Final[Mapping[Test, int]] = {
    "key": 0,
    "equal": 1,
    "truth": 1,
    "element": 1,
    "at_least": 2,
    "at_most": 2,
    "present": 3,
    "absent": 4,
}
"""Which test to prefer where several would do: those that are rarely true."""
_MIRRORED: Final = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}
_NEGATED: Final = {"less": "greater_eq", "less_eq": "greater", "greater": "less_eq", "greater_eq": "less"}
_PRIMITIVE: Final = {"String": str, "Long": int, "Bool": bool}
_ENTITIES: Final = frozenset({"principal", "resource", "action"})

Conjunct = tuple[Any, bool]
"""An expression and whether it (True) or its negation (False) is meant."""


def common_type(types: Iterable[RecordOf]) -> RecordOf:
    """What is declared alike in all of these record types: a fact of it means the same for every action."""
    first, *others = list(types) or [RecordOf()]
    attributes: dict[str, Attribute] = {}
    for name, attribute in first.attributes.items():
        found = [other.attributes[name] for other in others if name in other.attributes]
        if len(found) < len(others):
            continue
        optional = attribute.optional or any(other.optional for other in found)
        alike = [attribute.type, *(other.type for other in found)]
        if all(type_ == attribute.type for type_ in alike):
            attributes[name] = Attribute(attribute.type, optional, attribute.quoted)
        elif all(isinstance(type_, RecordOf) for type_ in alike):
            inner = common_type(type_ for type_ in alike if isinstance(type_, RecordOf))
            attributes[name] = Attribute(inner, optional, attribute.quoted)
    return RecordOf(attributes)


def needs(policy: pst.Template, context: RecordOf) -> Needs | None:
    """What this policy needs; None where that is not understood.

    Args:
        policy: static; its clauses are evaluated in order after the scopes, which never err.
        context: a type to which the context of every request that reaches the policy conforms, or the engine refuses it.
    """
    chain: list[Conjunct] = []
    for clause in policy.clauses:
        if type(clause) is pst.When:
            chain += _conjuncts(clause.expr, meant=True)
        elif type(clause) is pst.Unless:
            chain += _conjuncts(clause.expr, meant=False)
        else:
            break
    return _Reader(context).of_chain(chain, _FREE)


def _conjuncts(expr: Any, *, meant: bool) -> list[Conjunct]:
    """The parts of a conjunction in the order of evaluation: `!(a || b)` is `!a && !b`, errors included."""
    found: list[Conjunct] = []
    stack: list[Conjunct] = [(expr, meant)]
    while stack:
        node, truth = stack.pop()
        if type(node) is pst.UnaryOp and node.op == "not":
            stack.append((node.arg, not truth))
        elif type(node) is pst.BinaryOp and node.op == ("and" if truth else "or"):
            stack += [(node.right, truth), (node.left, truth)]
        else:
            found.append((node, truth))
    return found


def place_of(node: Any) -> Place | None:
    """The variable and path an attribute access reads."""
    path: list[str] = []
    while type(node) is pst.GetAttr:
        path.append(node.attr)
        node = node.base
    return (node.name, tuple(reversed(path))) if type(node) is pst.Var else None


class _Reader:
    """Reads conditions against one context type."""

    def __init__(self, context: RecordOf) -> None:
        self._context = context

    def of_chain(self, chain: Sequence[Conjunct], present: Present) -> Needs | None:
        """The best part of a conjunction that is reached without an error."""
        best: Needs | None = None
        for node, meant in chain:
            found = self._of(node, present, meant=meant)
            if found is not None and (best is None or _cost(found) < _cost(best)):
                best = found
            if self._kind(node, present) != "Bool":
                break
            if meant and type(node) is pst.HasAttr:
                present |= _implied(node)
        return best

    def _of(self, node: Any, present: Present, *, meant: bool) -> Needs | None:
        kind = type(node)
        if kind is pst.BinaryOp and node.op in {"and", "or"}:  # here a disjunction: each side must be known to be false
            parts = [self.of_chain(_conjuncts(side, meant=meant), present) for side in (node.left, node.right)]
            return None if parts[0] is None or parts[1] is None else parts[0] + parts[1]
        if kind is pst.HasAttr:
            return self._of_presence(node, present, meant=meant)
        if kind is pst.GetAttr:
            return self._leaf(node, "truth", meant, present)
        if kind is pst.Is and meant:
            return self._of_kind(node)
        if kind is pst.BinaryOp:
            return self._of_comparison(node, present, meant=meant)
        return None

    def _of_presence(self, node: Any, present: Present, *, meant: bool) -> Needs | None:
        base = place_of(node.base)
        if base is None:
            return None
        place = (base[0], base[1] + node.attrs)
        if not self._known(place):
            return None
        guards = _guards(place, present)
        if meant:  # absent below the base is false; of the base itself it would be an error
            guards |= frozenset(range(len(base[1]) + 1, len(place[1]) + 1))
        return (Need(place, "present" if meant else "absent", None, guards),)

    def _of_kind(self, node: Any) -> Needs | None:
        if type(node.base) is not pst.Var or node.base.name not in _ENTITIES:
            return None
        if node.in_expr is None:
            return (Need((node.base.name, ()), "key", scope_keys(pst.ScopeIs(node.entity_type))[0]),)
        if type(node.in_expr) is pst.EntityLit:
            return (Need((node.base.name, ()), "key", scope_keys(pst.ScopeIn(node.in_expr.value))[0]),)
        return None

    def _of_comparison(self, node: Any, present: Present, *, meant: bool) -> Needs | None:
        op, left, right = node.op, node.left, node.right
        if op in {"in", "eq"} and meant:
            keys = _entity_keys(op, left, right) or (_entity_keys(op, right, left) if op == "eq" else None)
            if keys is not None:
                return keys
        if op == ("eq" if meant else "not_eq"):
            return self._leaf(left, "equal", _literal(right), present) or self._leaf(
                right, "equal", _literal(left), present
            )
        if op in _MIRRORED:
            return self._of_order(op if meant else _NEGATED[op], left, right, present)
        if meant and op in {"contains", "contains_any", "contains_all"}:
            return self._of_membership(op, left, right, present)
        return None

    def _of_order(self, op: str, left: Any, right: Any, present: Present) -> Needs | None:
        if type(left) is pst.LongLit:
            op, left, right = _MIRRORED[op], right, left
        if type(right) is not pst.LongLit:
            return None
        bound = right.value + (1 if op == "greater" else -1 if op == "less" else 0)
        return self._leaf(left, "at_least" if op.startswith("greater") else "at_most", bound, present)

    def _of_membership(self, op: str, left: Any, right: Any, present: Present) -> Needs | None:
        if op == "contains" and type(left) is pst.Set:
            tests = [self._leaf(right, "equal", _literal(element), present) for element in left.elements]
        else:
            wanted = (right,) if op == "contains" else right.elements if type(right) is pst.Set else ()
            # one member that is not there is enough for `containsAll` to be false
            some = wanted[:1] if op == "contains_all" and all(type(w) is pst.StringLit for w in wanted) else wanted
            tests = [self._leaf(left, "element", _literal(element), present) for element in some]
        if not tests or any(test is None for test in tests):
            return None
        return tuple(need for test in tests if test is not None for need in test)

    def _leaf(self, node: Any, test: Test, value: Any, present: Present) -> Needs | None:
        """A test of an attribute against a literal of exactly its type."""
        place = place_of(node) if value is not None else None
        if place is None or not place[1] or not self._known(place):
            return None
        if place[0] == "context":
            declared = self._type(place[1])
            if test == "element":
                fits = declared == SetOf(Named("String")) and type(value) is str
            else:
                fits = isinstance(declared, Named) and _PRIMITIVE.get(declared.name) is type(value)
            if not fits:
                return None
        elif test == "element" and type(value) is not str:
            return None
        return (Need(place, test, value, _guards(place, present)),)

    def _known(self, place: Place) -> bool:
        """Whether a path leads through records only: below an entity only its own attributes, for a reference looks alike."""
        variable, path = place
        if any(name.startswith("__") for name in path):
            return False
        if variable == "context":
            return self._type(path) is not None
        return variable in {"principal", "resource"} and len(path) == 1

    def _type(self, path: tuple[str, ...]) -> Type | None:
        type_: Type = self._context
        for name in path:
            attribute = type_.attributes.get(name) if isinstance(type_, RecordOf) else None
            if attribute is None:
                return None
            type_ = attribute.type
        return type_

    def _defined(self, path: tuple[str, ...], present: Present) -> bool:
        """Whether every attribute on the way is required, or known to be there."""
        type_: Type = self._context
        for depth, name in enumerate(path, 1):
            attribute = type_.attributes.get(name) if isinstance(type_, RecordOf) else None
            if attribute is None or (attribute.optional and ("context", path[:depth]) not in present):
                return False
            type_ = attribute.type
        return True

    def _kind(self, node: Any, present: Present) -> str | None:
        """The type of an expression that cannot err; None for one that may, or that is not known here."""
        match node:
            case pst.BoolLit():
                return "Bool"
            case pst.LongLit():
                return "Long"
            case pst.StringLit():
                return "String"
            case pst.EntityLit():
                return "entity"
            case pst.Var(name):
                return "record" if name == "context" else "entity"
            case pst.Set(elements):
                return "set" if all(self._kind(element, present) for element in elements) else None
            case pst.GetAttr():
                place = place_of(node)
                if place is None or place[0] != "context" or not self._defined(place[1], present):
                    return None
                return _kind_of(self._type(place[1]))
            case pst.HasAttr(base, attrs):
                return self._kind_of_presence(base, attrs, present)
            case pst.UnaryOp("not", arg):
                return "Bool" if self._kind(arg, present) == "Bool" else None
            case pst.Like(base, _):
                return "Bool" if self._kind(base, present) == "String" else None
            case pst.Is(base, _, within):
                fits = self._kind(base, present) == "entity" and (within is None or type(within) is pst.EntityLit)
                return "Bool" if fits else None
            case pst.BinaryOp():
                return "Bool" if self._total(node, present) else None
            case _:
                return None

    def _kind_of_presence(self, base: Any, attrs: tuple[str, ...], present: Present) -> str | None:
        kind = self._kind(base, present)
        if kind == "entity":
            return "Bool" if len(attrs) == 1 else None
        place = place_of(base)
        if kind != "record" or place is None:
            return None
        return "Bool" if isinstance(self._type(place[1] + attrs[:-1]), RecordOf) else None

    def _total(self, node: Any, present: Present) -> bool:
        left, right = self._kind(node.left, present), self._kind(node.right, present)
        if left is None or right is None:
            return False
        match node.op:
            case "eq" | "not_eq":
                return True
            case "and" | "or":
                return left == right == "Bool"
            case "less" | "less_eq" | "greater" | "greater_eq":
                return left == right and left in {"Long", "datetime", "duration"}
            case "in":
                return left == right == "entity"
            case "contains":
                return left == "set"
            case "contains_any" | "contains_all":
                return left == right == "set"
            case _:
                return False


def _kind_of(type_: Type | None) -> str | None:
    match type_:
        case RecordOf():
            return "record"
        case SetOf():
            return "set"
        case Named(name):
            name = name.removeprefix("__cedar::")
            return name if name in {"String", "Long", "Bool", "datetime", "duration"} else "other"
        case _:
            return None


def _entity_keys(op: str, variable: Any, literal: Any) -> Needs | None:
    if type(variable) is not pst.Var or variable.name not in _ENTITIES:
        return None
    scope = pst.ScopeEq if op == "eq" else pst.ScopeIn
    entities: tuple[Any, ...] = literal.elements if op == "in" and type(literal) is pst.Set else (literal,)
    if not entities or any(type(entity) is not pst.EntityLit for entity in entities):
        return None
    return tuple(Need((variable.name, ()), "key", scope_keys(scope(entity.value))[0]) for entity in entities)


def _literal(node: Any) -> str | int | bool | None:
    return node.value if type(node) in {pst.StringLit, pst.LongLit, pst.BoolLit} else None


def _implied(node: Any) -> Present:
    """What is there when `has` is true."""
    base = place_of(node.base)
    if base is None:
        return _FREE
    path = base[1] + node.attrs
    return frozenset((base[0], path[:depth]) for depth in range(len(base[1]) + 1, len(path) + 1))


def _guards(place: Place, present: Present) -> frozenset[int]:
    return frozenset(depth for depth in range(1, len(place[1]) + 1) if (place[0], place[1][:depth]) in present)


def _cost(found: Needs) -> int:
    return max(_COST[need.test] for need in found)
