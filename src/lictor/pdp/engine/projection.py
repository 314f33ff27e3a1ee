"""Which parts of the context a set of policies can read, and how to send only those.

Most of an evaluation's cost is the engine reading the context from JSON. A policy cannot observe what it does not
mention, so the rest is checked here, cheaply, against the schema and left out. Whatever does not fit is *not* judged
here: the caller then sends everything, and the engine judges. So a projected answer equals the full one, errors included.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from typing import Any, Final

from cedarpy import pst

from lictor.pdp.engine.schematext import Attribute, Named, RecordOf, SetOf, Type

MAX_LONG: Final = 2**63 - 1
MIN_LONG: Final = -(2**63)

_MOMENT: Final = re.compile(
    r"((?!0000)\d{4}-(?:0[1-9]|1[0-2])-(\d\d))T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{3})?Z", re.ASCII
)


class Reads:
    """A tree of attribute paths. `whole`: the value itself is used; otherwise only its children and its presence."""

    __slots__ = ("children", "whole")

    def __init__(self) -> None:
        self.whole = False
        self.children: dict[str, Reads] = {}

    def reach(self, path: Iterable[str]) -> "Reads":
        """The node at a path, made if need be."""
        node = self
        for name in path:
            node = node.children.setdefault(name, Reads())
        return node

    def key(self) -> Any:
        """A hashable form, equal for equal trees."""
        return self.whole or tuple(sorted((name, child.key()) for name, child in self.children.items()))


def context_reads(policies: Iterable[pst.Template]) -> Reads:
    """What the clauses of these policies can read of `context`.

    Every node of the syntax tree is visited, of classes not known here too: a bare `context` anywhere that is not the
    base of an attribute path means the whole record.
    """
    reads = Reads()
    for policy in policies:
        for clause in policy.clauses:
            _visit(clause.expr, reads)
    return reads


def _visit(root: object, reads: Reads) -> None:
    stack: list[Any] = [root]
    while stack:
        node = stack.pop()
        path, rest = context_path(node)
        if path is not None:
            target = reads.reach(path)
            # `has` observes presence only; everything else observes the value.
            target.whole = target.whole or type(node) is not pst.HasAttr
        elif rest is not None:
            stack.extend(children(rest))


def context_path(node: object) -> tuple[tuple[str, ...] | None, object]:
    """The path below `context` a node reads, or None and the node itself when it is not such a path."""
    path: list[str] = []
    base: Any = node
    if type(base) is pst.HasAttr:
        path.extend(reversed(base.attrs))
        base = base.base
    while type(base) is pst.GetAttr:
        path.append(base.attr)
        base = base.base
    if type(base) is pst.Var and base.name == "context":
        return tuple(reversed(path)), None
    return None, node


def children(node: object) -> list[Any]:
    """Everything directly below a node, whatever its class."""
    if isinstance(node, Mapping):
        return list(node.values())
    if isinstance(node, (tuple, list)):
        return list(node)
    if is_dataclass(node) and not isinstance(node, type):
        return [getattr(node, f.name) for f in fields(node)]
    return []


class Unfit(Exception):  # noqa: N818 - control flow between here and the engine only
    """The value cannot be judged here: send it all and let the engine judge."""


Step = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of a record type is sent."""

    type: RecordOf
    """Without what cannot be observed."""
    step: Step
    """Takes what is not sent out of a value. Raises `Unfit`, KeyError, TypeError or ValueError for a value of which a part that
    is judged here does not fit."""
    pick: Step
    """The same for a value that is known to fit: checks nothing."""
    judged: bool
    """Whether every part is judged here, those that are sent too: then a value that `step` takes fits the full type."""


def narrow(type_: RecordOf, reads: Reads) -> Narrow:
    """The record type without what cannot be observed, and the function that takes it out of a value."""
    if reads.whole:
        check = checker(type_)
        return Narrow(type_, _same if check is None else _checked(check), _same, check is not None)
    kept: dict[str, Attribute] = {}
    steps: dict[str, Step] = {}
    checks: dict[str, Step] = {}
    picks: dict[str, Step] = {}
    judged = True
    for name, attribute in type_.attributes.items():
        child = reads.children.get(name)
        # A name like `__extn` would be an escape of the engine's: never judged here.
        check = None if name.startswith("__") else checker(attribute.type)
        if child is not None and isinstance(attribute.type, RecordOf) and not name.startswith("__"):
            inner = narrow(attribute.type, child)
            kept[name] = Attribute(inner.type, attribute.optional, attribute.quoted)
            steps[name] = inner.step
            picks[name] = inner.pick
            judged = judged and inner.judged
            continue
        if child is not None or check is None:
            kept[name] = attribute
            steps[name] = picks[name] = _same
        if check is None:
            judged = False
        else:
            checks[name] = check
    required = frozenset(name for name, attribute in type_.attributes.items() if not attribute.optional)
    return Narrow(RecordOf(kept), _projector(steps, checks, required), _picker(picks), judged)


def _picker(picks: Mapping[str, Step]) -> Step:
    def pick(value: Any) -> dict[str, Any]:
        return {name: step(value[name]) for name, step in picks.items() if name in value}

    return pick


def _checked(check: Step) -> Step:
    def step(value: Any) -> Any:
        check(value)
        return value

    return step


def _projector(steps: Mapping[str, Step], checks: Mapping[str, Step], required: frozenset[str]) -> Step:
    # The three plain types are checked without a call: this runs for every fact of every request.
    plain: dict[str, Any] = {name: _PLAIN[check] for name, check in checks.items() if check in _PLAIN}
    whole = frozenset(name for name, step in steps.items() if step is _same)

    def project(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not required <= value.keys():
            raise Unfit
        sent: dict[str, Any] = {}
        for name, item in value.items():
            if name in plain:
                kind = plain[name]
                if type(item) is not kind:
                    raise Unfit
                if kind is str:
                    if not item.isascii():
                        item.encode()  # see `_check_string`
                elif kind is int and not MIN_LONG <= item <= MAX_LONG:
                    raise Unfit
            elif name in checks:
                checks[name](item)
            elif name not in whole:
                sent[name] = steps[name](item)  # KeyError: undeclared
                continue
            if name in whole:
                sent[name] = item
        return sent

    return project


def checker(type_: Type) -> Step | None:
    """A function that raises unless the engine would take a value of this type; None when only the engine can say."""
    match type_:
        case Named(name):
            return _PRIMITIVE.get(name.removeprefix("__cedar::"))
        case SetOf(element):
            inner = checker(element)
            return None if inner is None else _set_checker(inner)
        case RecordOf(attributes):
            inners = {name: checker(attribute.type) for name, attribute in attributes.items()}
            if any(inner is None or name.startswith("__") for name, inner in inners.items()):
                return None
            required = frozenset(name for name, attribute in attributes.items() if not attribute.optional)
            return _projector({}, {name: inner for name, inner in inners.items() if inner is not None}, required)


def _set_checker(element: Step) -> Step:
    def check(value: Any) -> None:
        if type(value) is not list:
            raise Unfit
        for item in value:
            if element is not _check_string or type(item) is not str or not item.isascii():
                element(item)

    return check


def _check_string(value: Any) -> None:
    if type(value) is not str:
        raise Unfit
    if not value.isascii():
        value.encode()  # a lone surrogate is a UnicodeEncodeError, which is a ValueError


def _check_long(value: Any) -> None:
    if type(value) is not int or not MIN_LONG <= value <= MAX_LONG:
        raise Unfit


def _check_bool(value: Any) -> None:
    if type(value) is not bool:
        raise Unfit


def _check_datetime(value: Any) -> None:
    if type(value) is not dict or len(value) != 1:
        raise Unfit
    call = value["__extn"]
    if type(call) is not dict or len(call) != 2 or call["fn"] != "datetime":
        raise Unfit
    match = _MOMENT.fullmatch(call["arg"])
    if match is None:
        raise Unfit
    if not "01" <= match[2] <= "28":
        date.fromisoformat(match[1])  # the thirty-first of February is a ValueError


_PLAIN: Final[Mapping[Step, type]] = {_check_string: str, _check_long: int, _check_bool: bool}
_PRIMITIVE: Final[Mapping[str, Step]] = {
    "String": _check_string,
    "Long": _check_long,
    "Bool": _check_bool,
    "datetime": _check_datetime,
}
