"""What can be said about a policy's condition without any request: whether it is always true, or never.

Says "unknown" wherever it is not certain, so its word is only ever a warning to a person, never part of a decision. Refuses to
know what the conditions are for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cedarpy import pst

MAX_LONG: Final = 2**63 - 1
FACT_BOUND: Final = 2**54
"""Largest magnitude of any integer fact: arguments keep to 2^53 (facts S2), a task's total to twice that."""

_Node = Any


def conjuncts(policy: pst.Template) -> list[_Node]:
    """Everything that must be true for the policy to apply, `unless` turned round, `&&` taken apart."""
    found: list[_Node] = []
    for clause in policy.clauses:
        expr = clause.expr if type(clause) is pst.When else pst.UnaryOp(op="not", arg=clause.expr)
        found.extend(_parts(expr, "and"))
    return found


def truth(node: _Node) -> bool | None:
    """True or False where the expression has that value whenever it has one; None where it depends."""
    match node:
        case pst.BoolLit(value):
            return bool(value)
        case pst.UnaryOp("not", arg):
            inner = truth(arg)
            return None if inner is None else not inner
        case pst.BinaryOp("and" | "or" as op, _, _):
            return _joined(_parts(node, op), op)
        case pst.IfThenElse(cond, then_expr, else_expr):
            return _chosen(truth(cond), truth(then_expr), truth(else_expr))
        case pst.BinaryOp(op, left, right):
            return _compared(op, left, right)
        case pst.UnaryOp("is_empty", pst.Set(elements)):
            return not elements
        case pst.Like(_, pattern) if pattern and all(type(part) is pst.Wildcard for part in pattern):
            return True
        case _:
            return None


def contradiction(parts: Iterable[_Node]) -> bool:
    """Whether these can not all be true together: `x` and `!x`, two different values, an empty range."""
    seen: set[_Node] = set()
    negated: set[_Node] = set()
    ranges: dict[_Node, _Range] = {}
    for part in parts:
        inner = _negated(part)
        (negated if inner is not None else seen).add(part if inner is None else inner)
        _narrow(part, ranges)
    return not seen.isdisjoint(negated) or any(found.empty for found in ranges.values())


def may_overflow(node: _Node) -> bool:
    """Whether arithmetic in this expression can leave 64 bits for facts within their bounds (facts S2)."""
    return isinstance(node, pst.BinaryOp | pst.UnaryOp) and _bound(node) > MAX_LONG


def _bound(node: _Node) -> int:
    match node:
        case pst.LongLit(value):
            return abs(int(value))
        case pst.UnaryOp("neg", arg):
            return _bound(arg)
        case pst.BinaryOp("add" | "sub", left, right):
            return _bound(left) + _bound(right)
        case pst.BinaryOp("mul", left, right):
            return _bound(left) * _bound(right)
        case pst.IfThenElse(_, then_expr, else_expr):
            return max(_bound(then_expr), _bound(else_expr))
        case _:
            return FACT_BOUND


def _joined(parts: Sequence[_Node], op: str) -> bool | None:
    values = [truth(part) for part in parts]
    absorbing = op == "or"
    if absorbing in values:
        return absorbing
    if all(value is (not absorbing) for value in values):
        return not absorbing
    turned = parts if op == "and" else [_negation(part) for part in parts]
    return absorbing if contradiction(turned) else None


def _chosen(cond: bool | None, then: bool | None, otherwise: bool | None) -> bool | None:
    if cond is not None:
        return then if cond else otherwise
    return then if then == otherwise else None


def _compared(op: str, left: _Node, right: _Node) -> bool | None:
    empty_left, empty_right = _is_empty(left), _is_empty(right)
    match op:
        case "contains" | "contains_any" if empty_left or (op == "contains_any" and empty_right):
            return False
        case "contains_all" if empty_left or empty_right:
            # With the empty list on the left it is true for whatever has nothing in it, which is what a careless caller sends.
            return True
        case "eq" | "not_eq" | "less_eq" | "greater_eq" | "less" | "greater" if left == right:
            return op in {"eq", "less_eq", "greater_eq"}
        case "eq" | "not_eq" if _literal(left) and _literal(right):
            return op == "not_eq"
        case _:
            pass
    if type(left) is pst.LongLit and type(right) is pst.LongLit:
        known = {"less": left.value < right.value, "less_eq": left.value <= right.value}
        known |= {"greater": left.value > right.value, "greater_eq": left.value >= right.value}
        return known.get(op)
    return None


@dataclass(slots=True)
class _Range:
    low: int = -MAX_LONG - 1
    high: int = MAX_LONG
    value: _Node = None
    clash: bool = False

    @property
    def empty(self) -> bool:
        return self.clash or self.low > self.high


def _narrow(part: _Node, ranges: dict[_Node, _Range]) -> None:
    if type(part) is not pst.BinaryOp or _literal(part.left) or not _literal(part.right):
        return
    found = ranges.setdefault(part.left, _Range())
    if part.op == "eq":
        found.clash = found.clash or (found.value is not None and found.value != part.right)
        found.value = part.right
    if type(part.right) is not pst.LongLit:
        return
    value = int(part.right.value)
    lows = {"eq": value, "greater_eq": value, "greater": value + 1}
    highs = {"eq": value, "less_eq": value, "less": value - 1}
    found.low = max(found.low, lows.get(part.op, found.low))
    found.high = min(found.high, highs.get(part.op, found.high))


def _parts(node: _Node, op: str) -> list[_Node]:
    """The operands of a chain of `&&` or `||`, in order, without recursion."""
    found: list[_Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if type(one) is pst.BinaryOp and one.op == op:
            waiting += [one.right, one.left]
        else:
            found.append(one)
    return found


def chain_length(node: _Node, op: str) -> int:
    """Operands of a chain of `&&` or `||`."""
    return len(_parts(node, op))


def _negated(node: _Node) -> _Node | None:
    """What is negated, for `!x` and `x != y`."""
    if type(node) is pst.UnaryOp and node.op == "not":
        return node.arg
    if type(node) is pst.BinaryOp and node.op == "not_eq":
        return pst.BinaryOp(op="eq", left=node.left, right=node.right)
    return None


def _negation(node: _Node) -> _Node:
    inner = _negated(node)
    return pst.UnaryOp(op="not", arg=node) if inner is None else inner


def _is_empty(node: _Node) -> bool:
    return type(node) is pst.Set and not node.elements


def _literal(node: _Node) -> bool:
    return type(node) in {pst.BoolLit, pst.LongLit, pst.StringLit, pst.EntityLit}
