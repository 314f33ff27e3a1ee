"""Which policies can match a request at all: an index by the scopes of action and resource, then by the principal's.

A scope (`==`, `in`, `is`) never errors, and a policy whose scope does not match is false. So leaving out every policy
whose scope cannot match changes neither the decision, nor the determining policies, nor the errors (facts section 6).

Refuses to know what conditions mean. Keys are tuples, never rendered text: rendering does not escape (facts section 2),
and an index that misses a forbid because of a quote in an id fails open.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from cedarpy import pst

from lictor.model.ids import PolicyId
from lictor.pdp.engine.projection import children, context_path

Key = tuple[Any, ...]
"""What a scope asks for: `ANY`, `("is", namespace, type)`, `("eq"|"in", namespace, type, id)`."""
Keys = frozenset[Key]
Uid = tuple[str, str]
"""(type, id) as in a request; the type may carry a namespace (`A::B`)."""

ANY: Final[Key] = ("any",)


def _split(type_name: str) -> tuple[tuple[str, ...], str]:
    *namespace, basename = type_name.split("::")
    return tuple(namespace), basename


def entity_keys(uid: Uid, ancestors: Iterable[Uid]) -> Keys:
    """Everything a scope can ask for that this entity satisfies.

    Args:
        uid: the entity.
        ancestors: all it is transitively in, in the very entity set the engine is given.
    """
    namespace, basename = _split(uid[0])
    keys: set[Key] = {ANY, ("is", namespace, basename), ("eq", namespace, basename, uid[1])}
    keys.update(("in", *_split(type_name), id_) for type_name, id_ in (uid, *ancestors))
    return frozenset(keys)


def _entity(kind: str, entity: object) -> Key:
    if not isinstance(entity, pst.EntityUid):
        raise TypeError(f"not an entity but {type(entity).__name__}")  # a slot: a template that is not expanded
    return (kind, tuple(entity.type.namespace), entity.type.basename, entity.id)


def scope_keys(scope: object) -> tuple[Key, ...]:
    """The keys that must *all* be among an entity's for a principal or resource scope to match.

    Raises:
        TypeError: a scope this module does not know, or a template's slot: neither is ever taken for "never matches".
    """
    match scope:
        case pst.ScopeAny():
            return (ANY,)
        case pst.ScopeEq(entity):
            return (_entity("eq", entity),)
        case pst.ScopeIn(entity):
            return (_entity("in", entity),)
        case pst.ScopeIs(entity_type):
            return (("is", tuple(entity_type.namespace), entity_type.basename),)
        case pst.ScopeIsIn(entity_type, entity):
            return (_entity("in", entity), ("is", tuple(entity_type.namespace), entity_type.basename))
        case _:
            raise TypeError(f"unknown scope {type(scope).__name__}")


def action_keys(scope: object) -> tuple[Key, ...]:
    """The keys of which *one* must be among an action's for an action scope to match.

    Raises:
        TypeError: a scope this module does not know.
    """
    match scope:
        case pst.ScopeAny():
            return (ANY,)
        case pst.ActionEq(entity):
            return (_entity("eq", entity),)
        case pst.ActionIn(entities):
            return tuple(_entity("in", entity) for entity in entities)
        case _:
            raise TypeError(f"unknown action scope {type(scope).__name__}")


@dataclass(frozen=True, slots=True)
class Indexed:
    """One policy with the keys its scopes ask for."""

    id: PolicyId
    policy: pst.Template
    principal: tuple[Key, ...]
    resource: tuple[Key, ...]


class ScopeIndex:
    """Policies by what their scopes ask for. Belongs to one policy version."""

    __slots__ = ("_buckets", "size")

    def __init__(self, policies: Mapping[str, pst.Template]) -> None:
        """Build once per policy version.

        Raises:
            TypeError: a template's slot, or a scope of a kind not known here.
        """
        self.size = len(policies)
        self._buckets: dict[Key, dict[Key, list[Indexed]]] = {}
        for name, policy in policies.items():
            entry = Indexed(PolicyId(name), policy, scope_keys(policy.principal), scope_keys(policy.resource))
            for key in action_keys(policy.action):
                self._buckets.setdefault(key, {}).setdefault(entry.resource[0], []).append(entry)

    def select(self, action: Keys, resource: Keys) -> tuple[Indexed, ...]:
        """Every policy whose action and resource scopes match, sorted by id; principals are not looked at."""
        found: dict[PolicyId, Indexed] = {}
        for action_key in action & self._buckets.keys():
            bucket = self._buckets[action_key]
            for resource_key in resource & bucket.keys():
                for entry in bucket[resource_key]:
                    if resource.issuperset(entry.resource):
                        found[entry.id] = entry
        return tuple(found[name] for name in sorted(found))

    def resource_keys(self, action: Keys) -> Keys:
        """Every resource key the policies for an action ask for: what tells two resources apart."""
        return frozenset(
            key
            for action_key in action & self._buckets.keys()
            for entries in self._buckets[action_key].values()
            for entry in entries
            for key in entry.resource
        )


def principal_keys(entries: Iterable[Indexed]) -> Keys:
    """Every principal key these policies ask for: what tells two principals apart."""
    return frozenset(key for entry in entries for key in entry.principal)


def for_principal(entries: Iterable[Indexed], principal: Keys) -> tuple[Indexed, ...]:
    """Those of the policies whose principal scope matches, in the same order."""
    return tuple(entry for entry in entries if principal.issuperset(entry.principal))


def unscoped(entry: Indexed) -> Indexed:
    """The same policy for every principal: of those whom its scope names it is satisfied, and in error, as the policy itself."""
    if type(entry.policy.principal) is pst.ScopeAny:
        return entry
    return replace(entry, policy=replace(entry.policy, principal=pst.ScopeAny()), principal=(ANY,))


def may_permit(entries: Iterable[Indexed]) -> bool:
    """Whether, of policies whose scopes match, some permit is there and no forbid is without conditions."""
    permit = False
    for entry in entries:
        if entry.policy.effect == "permit":
            permit = True
        elif not entry.policy.clauses:
            return False
    return permit


_GROUPS_PATH: Final = ("approval", "groups")
_SET_TESTS: Final = frozenset({"contains", "contains_any", "contains_all", "eq", "not_eq"})


def groups_named(policies: Iterable[pst.Template]) -> frozenset[str]:
    """String literals these policies compare with `context.approval.groups`: what bounds the second pass.

    A group that is compared through anything but a literal is not found; the caller then asks for all groups together,
    which is stricter.
    """
    found: set[str] = set()
    stack: list[Any] = [clause.expr for policy in policies for clause in policy.clauses]
    while stack:
        node = stack.pop()
        if type(node) is pst.BinaryOp and node.op in _SET_TESTS:
            for one, other in ((node.left, node.right), (node.right, node.left)):
                if context_path(one)[0] == _GROUPS_PATH:
                    found.update(_literals(other))
        stack.extend(children(node))
    return frozenset(found)


def _literals(node: object) -> Iterable[str]:
    if type(node) is pst.StringLit:
        yield node.value
    elif type(node) is pst.Set:
        for element in node.elements:
            if type(element) is pst.StringLit:
                yield element.value
