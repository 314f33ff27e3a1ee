"""Policies into logic: each one's *satisfied* and *errs*, and what the gateway makes of all of them together.

As the engine: scopes never err, clauses are evaluated in order, an error skips the policy. As `decide`: any error denies. Refuses
to know what is asked about them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cedarpy import pst

from lictor.model.ids import PolicyId
from lictor.policy.prove.expressions import Expressions, known, type_name
from lictor.policy.prove.logic import Truth, every, negate, some
from lictor.policy.prove.symbols import Symbols, View
from lictor.policy.prove.terms import Entity
from lictor.policy.prove.unsupported import Unsupported

_SCOPES: Final = frozenset({pst.ScopeAny, pst.ScopeEq, pst.ScopeIn, pst.ScopeIs, pst.ScopeIsIn})
_ACTIONS: Final = frozenset({pst.ScopeAny, pst.ActionEq, pst.ActionIn})


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy in one view of one environment."""

    id: PolicyId
    permits: bool
    satisfied: Truth
    errs: Truth


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all policies make of one request: `allow` is the gateway's, which no error leaves standing."""

    rules: tuple[Rule, ...]
    allow: Truth
    errs: Truth


def translate(
    policies: Mapping[PolicyId, pst.Template],
    symbols: Symbols,
    view: View,
    reuse: "Outcome | None" = None,
    touched: frozenset[PolicyId] = frozenset(),
) -> Outcome:
    """Translate a set.

    Args:
        policies: under our own ids; templates are refused before.
        symbols: of the environment.
        view: the request they are asked about.
        reuse: the same policies in another view; only the `touched` ones are translated again.
        touched: ids of those that can tell the two views apart.

    Raises:
        Unsupported: with the policy's id.
    """
    translator = Expressions(symbols, view)
    if reuse is not None and not touched:
        return reuse
    old = {rule.id: rule for rule in reuse.rules} if reuse else {}
    rules = []
    for name, policy in policies.items():
        if reuse is not None and name not in touched:
            rules.extend([old[name]] if name in old else [])
            continue
        try:
            rule = _rule(name, policy, symbols, translator)
        except Unsupported as unknown:
            raise Unsupported(unknown.what, policy=name) from unknown
        if rule.satisfied is not False or rule.errs is not False:
            rules.append(rule)
    return combine(rules)


def combine(rules: Iterable[Rule]) -> Outcome:
    """`allow = some permit ∧ no forbid ∧ no error`."""
    found = tuple(rules)
    errs = some(rule.errs for rule in found)
    permitted = some(rule.satisfied for rule in found if rule.permits)
    forbidden = some(rule.satisfied for rule in found if not rule.permits)
    return Outcome(found, every((permitted, negate(forbidden), negate(errs))), errs)


def in_action_scope(policy: pst.Template, symbols: Symbols) -> bool:
    """Whether the policy's action scope takes the environment's action: a constant."""
    return _action(policy.action, symbols.environment.action, symbols.environment.groups)


def _rule(name: PolicyId, policy: pst.Template, symbols: Symbols, translator: Expressions) -> Rule:
    known(policy)
    if policy.effect not in ("permit", "forbid"):
        raise Unsupported(f"the effect {policy.effect!r}")
    value = every(
        (
            _action(policy.action, symbols.environment.action, symbols.environment.groups),
            _scope(policy.principal, symbols.principal, symbols, translator),
            _scope(policy.resource, symbols.resource, symbols, translator),
        )
    )
    ok: Truth = True
    for clause in policy.clauses:
        if value is False:
            break
        class_ = known(clause)
        if class_ not in (pst.When, pst.Unless):
            raise Unsupported(f"the clause {class_.__name__}")
        condition, condition_ok = translator.truth(clause.expr)
        ok = every((ok, some((negate(value), condition_ok))))
        value = every((value, condition if class_ is pst.When else negate(condition)))
    return Rule(name, policy.effect == "permit", every((value, ok)), negate(ok))


def _action(scope: object, action: str, groups: frozenset[str]) -> bool:
    class_ = known(scope)
    if class_ not in _ACTIONS:
        raise Unsupported(f"the action scope {class_.__name__}")
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ActionEq(entity):
            return _action_name(entity) == action
        case pst.ActionIn(entities):
            names = [_action_name(entity) for entity in entities]
            return any(name == action or name in groups for name in names)
        case _:
            raise Unsupported(f"the action scope {class_.__name__}")


def _action_name(entity: pst.EntityUid) -> str:
    if known(entity) is not pst.EntityUid or type_name(entity.type) != "Action":
        raise Unsupported("an action in a namespace")
    return str(entity.id)


def _scope(scope: object, subject: Entity, symbols: Symbols, translator: Expressions) -> Truth:
    class_ = known(scope)
    if class_ not in _SCOPES:
        raise Unsupported(f"the scope {class_.__name__}")
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ScopeEq(entity):
            other = translator.entity(entity)
            return subject.type == other.type and subject.z == other.z
        case pst.ScopeIn(entity):
            return symbols.member(subject, translator.entity(entity))
        case pst.ScopeIs(entity_type):
            return subject.type == type_name(entity_type)
        case pst.ScopeIsIn(entity_type, entity):
            parent = translator.entity(entity)
            return subject.type == type_name(entity_type) and symbols.member(subject, parent)
        case _:
            raise Unsupported(f"the scope {class_.__name__}")


@dataclass(frozen=True, slots=True)
class Reads:
    """What a policy's conditions can read: attribute names anywhere, and whether the context is used as a whole."""

    names: frozenset[str]
    whole: bool


def reads_of(policy: pst.Template) -> Reads:
    """Everything a policy's conditions can read, nodes of classes not known here included."""
    names: set[str] = set()
    whole = False
    stack: list[Any] = [clause.expr for clause in policy.clauses]
    while stack:
        node = stack.pop()
        class_ = type(node)
        if class_ is pst.GetAttr or class_ is pst.HasAttr:
            names.update((node.attr,) if class_ is pst.GetAttr else node.attrs)
            if type(node.base) is not pst.Var:
                stack.append(node.base)
            continue
        whole = whole or (class_ is pst.Var and node.name == "context")
        stack.extend(_below(node))
    return Reads(frozenset(names), whole)


def reading(reads: Mapping[PolicyId, Reads], root: str, name: str) -> frozenset[PolicyId]:
    """Ids of the policies that can read a member of principal, resource or context: by name, or with the whole record."""
    whole = root == "context"
    return frozenset(id_ for id_, one in reads.items() if name in one.names or (whole and one.whole))


def _below(node: Any) -> Sequence[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    if isinstance(node, tuple | list):
        return list(node)
    return [getattr(node, name) for name in getattr(type(node), "__dataclass_fields__", ())]
