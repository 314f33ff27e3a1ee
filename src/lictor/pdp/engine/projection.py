"""Which parts of the context a set of policies can read, and how to send only those.

Most of an evaluation's cost is the engine reading the context from JSON. A policy cannot observe what it does not
mention, so the rest is checked cheaply against the schema (`judging`) and left out. Whatever does not fit is *not* judged
there: the caller then sends everything, and the engine judges. So a projected answer equals the full one, errors included.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from cedarpy import pst

from lictor.pdp.engine.judging import judged
from lictor.pdp.engine.schematext import Attribute, RecordOf


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


Step = Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of a record type is sent."""

    type: RecordOf
    """Without what cannot be observed."""
    pick: Step
    """Takes what is not sent out of a value that fits as far as it is judged here; checks nothing."""
    judged: bool
    """Whether every part is judged here, those that are sent too: then what is picked from a value that fits fits too."""


def narrow(type_: RecordOf, reads: Reads) -> Narrow:
    """The record type without what cannot be observed, and the function that takes it out of a value."""
    if reads.whole:
        return Narrow(type_, _same, judged(type_))
    kept: dict[str, Attribute] = {}
    picks: dict[str, Step] = {}
    whole = True
    for name, attribute in type_.attributes.items():
        child = reads.children.get(name)
        escape = name.startswith("__")
        if child is not None and isinstance(attribute.type, RecordOf) and not escape:
            inner = narrow(attribute.type, child)
            kept[name] = Attribute(inner.type, attribute.optional, attribute.quoted)
            picks[name] = inner.pick
            whole = whole and inner.judged
            continue
        known = judged(attribute.type) and not escape
        if child is not None or not known:
            kept[name] = attribute
            picks[name] = _same
        whole = whole and known
    return Narrow(RecordOf(kept), _picker(picks), whole)


def _picker(picks: Mapping[str, Step]) -> Step:
    same = tuple(name for name, step in picks.items() if step is _same)
    inner = tuple((name, step) for name, step in picks.items() if step is not _same)

    def pick(value: Any) -> dict[str, Any]:
        found = {name: value[name] for name in same if name in value}
        for name, step in inner:
            if name in value:
                found[name] = step(value[name])
        return found

    return pick
