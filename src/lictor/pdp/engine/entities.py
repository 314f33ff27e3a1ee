"""The entity set as plain data: who is in it, what each is transitively in, and what can be reached from where.

Refuses to know the engine: `cedar.py` builds the engine's own form from the same list.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.engine.slicing import Keys, Uid, entity_keys

Json = Mapping[str, Any]


def uid_of(value: Any) -> Uid:
    """`(type, id)` of an entity reference in JSON, with or without the `__entity` escape.

    Raises:
        OperatorError: `bundle_refused`: not an entity reference.
    """
    if isinstance(value, Mapping):
        value = value.get("__entity", value)
        if isinstance(value, Mapping):
            type_name, id_ = value.get("type"), value.get("id")
            if isinstance(type_name, str) and isinstance(id_, str):
                return (type_name, id_)
    raise OperatorError(Reason.BUNDLE_REFUSED, f"not an entity reference: {str(value)[:80]!r}")


def references(value: Any) -> set[Uid]:
    """Everything in a JSON value that could be an entity reference (too many is harmless, too few is not)."""
    found: set[Uid] = set()
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("type"), str) and isinstance(node.get("id"), str):
                found.add((node["type"], node["id"]))
            stack.extend(node.values())
        elif isinstance(node, (list, tuple)):
            stack.extend(node)
    return found


class Directory:
    """Entities by uid. An entity named as a parent only is an ancestor too, as it is for the engine."""

    __slots__ = ("_base", "_entities", "_keys")

    def __init__(self, entities: Sequence[Json], base: "Directory | None" = None) -> None:
        """Index a list of Cedar JSON entities, alone or on top of another set.

        Raises:
            OperatorError: `bundle_refused`: two entities with one uid, an action, a cycle of parents (facts C5).
        """
        self._base = base
        self._entities: dict[Uid, Json] = {}
        self._keys: dict[Uid, Keys] = {}
        for entity in entities:
            uid = uid_of(entity.get("uid"))
            if uid in self:
                raise OperatorError(Reason.BUNDLE_REFUSED, f"entity {_show(uid)} is declared twice")
            if uid[0].split("::")[-1] == "Action":
                raise OperatorError(Reason.BUNDLE_REFUSED, f"entity {_show(uid)}: actions come from the schema only")
            self._entities[uid] = entity
        for uid in self._entities:
            if uid in self.ancestors(uid):
                raise OperatorError(Reason.BUNDLE_REFUSED, f"entity {_show(uid)} is in itself through its parents")

    def __contains__(self, uid: object) -> bool:
        return uid in self._entities or (self._base is not None and uid in self._base)

    def get(self, uid: Uid) -> Json | None:
        """One entity, if it is there."""
        found = self._entities.get(uid)
        return self._base.get(uid) if found is None and self._base is not None else found

    def attributes(self, uid: Uid) -> Any:
        """An entity's own attributes as JSON; None where there are none to be seen."""
        entity = self.get(uid)
        return None if entity is None else entity.get("attrs")

    def ancestors(self, uid: Uid) -> frozenset[Uid]:
        """All an entity is transitively in."""
        found: set[Uid] = set()
        stack = [uid]
        while stack:
            entity = self.get(stack.pop())
            for value in () if entity is None else entity.get("parents", ()):
                parent = uid_of(value)
                if parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return frozenset(found)

    def keys(self, uid: Uid) -> Keys:
        """What scopes can ask for that an entity satisfies; kept for those of this set, which is finite."""
        keys = self._keys.get(uid)
        if keys is None:
            keys = entity_keys(uid, self.ancestors(uid))
            if uid in self:
                self._keys[uid] = keys
        return keys

    def reachable(self, roots: Iterable[Uid]) -> list[Json]:
        """The entities that an evaluation can observe from these: themselves and all they refer to, transitively.

        An entity missing here would be an error or, in `a in b`, silently false.
        """
        reached: dict[Uid, Json] = {}
        stack = list(roots)
        while stack:
            uid = stack.pop()
            entity = self.get(uid)
            if entity is not None and uid not in reached:
                reached[uid] = entity
                stack.extend(references(entity))
        return list(reached.values())


def _show(uid: Uid) -> str:
    return f"{uid[0][:80]}::{uid[1][:80]!r}"
