"""What a policy's conditions see of the principal: so that agents whom it cannot tell apart are asked about once.

A condition sees an attribute, or only on which side of a literal it is: `principal.autonomy < 3` is the same for 0 and 2.
Whatever else it does with the principal tells everybody apart. Scopes are no conditions (`slicing`). Refuses to know requests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

import msgspec
from cedarpy import pst

from lictor.pdp.engine.projection import children

_encode = msgspec.json.Encoder(order="sorted").encode

_LITERALS: Final = frozenset({str, int, bool, type(None)})
_IMPERSONAL: Final = frozenset({"action", "resource", "context"})
_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "less": lt,
    "less_eq": le,
    "greater": gt,
    "greater_eq": ge,
    "eq": eq,
    "not_eq": ne,
}
_MIRRORED: Final = {"less": "greater", "less_eq": "greater_eq", "greater": "less", "greater_eq": "less_eq"}


@dataclass(frozen=True, slots=True)
class Look:
    """An attribute of the principal, and what it is compared with; without `test` its value is used in some other way."""

    attribute: str
    test: str = ""
    literal: int | str = 0

    def seen(self, attributes: object) -> object:
        """What is seen of a principal's own attributes, as JSON. Where it is the same, a condition cannot tell."""
        value = attributes.get(self.attribute) if isinstance(attributes, Mapping) else None
        # Exactly a number, or a text: to Python, 1 and true are the same.
        if self.test and type(value) is type(self.literal):
            return _COMPARED[self.test](value, self.literal)
        return None if value is None else _encode(value)


Looks = frozenset[Look]


def looks(policy: pst.Template) -> Looks | None:
    """What a policy's conditions see of the principal; None where they can tell who it is."""
    found: set[Look] = set()
    stack: list[Any] = [clause.expr for clause in policy.clauses]
    while stack:
        node = stack.pop()
        if type(node) in _LITERALS:
            continue
        look = _look(node)
        if look is not None:
            found.add(look)
            continue
        # What is not known could be anybody's name.
        opaque = not isinstance(node, (tuple, list, Mapping)) and not is_dataclass(node)
        if opaque or type(node) is pst.Slot or (type(node) is pst.Var and node.name not in _IMPERSONAL):
            return None
        stack.extend(children(node))
    return frozenset(found)


def alike(policy_looks: Looks | None, principals: list[object]) -> bool:
    """Whether conditions that see this cannot tell principals with these attributes apart."""
    if policy_looks is None:
        return False
    return all(len({look.seen(attributes) for attributes in principals}) == 1 for look in policy_looks)


def _look(node: Any) -> Look | None:
    name = _attribute(node)
    if name is not None:
        return Look(name)
    if type(node) is not pst.BinaryOp or node.op not in _COMPARED:
        return None
    for one, other, test in (
        (node.left, node.right, node.op),
        (node.right, node.left, _MIRRORED.get(node.op, node.op)),
    ):
        name = _attribute(one)
        # What a text is less than is no question but an error: seen by its value.
        ordered = test in _MIRRORED
        if name is not None and type(one) is pst.GetAttr:
            if type(other) is pst.LongLit or (type(other) is pst.StringLit and not ordered):
                return Look(name, test, other.value)
            break
    return None


def _attribute(node: Any) -> str | None:
    """The attribute of the principal that a node reads or asks for."""
    if type(node) not in {pst.GetAttr, pst.HasAttr} or type(node.base) is not pst.Var or node.base.name != "principal":
        return None
    name = node.attr if type(node) is pst.GetAttr else node.attrs[0]
    return name if type(name) is str else None
