"""The policy engine: Cedar, wrapped so that whatever goes wrong is a refusal.

The raw engine skips a policy that errors, a forbid too, and goes on to Allow. Here a diagnostic, no decision, an
exception or an absent entity is never an Allow (facts S1 to S7). This is the only module that asks the engine for a
decision, and `_entities` is the only place that builds entities: always with a schema, or action groups silently match
nothing (facts S7).

Refuses to know requests, tasks or approvals: it is handed entity ids and an encoded context. Holds no clock and no state
but slices, which follow from the policies alone; there is no decision cache.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from cedarpy import Decision, Entities, PolicySet, Schema, is_authorized_batch, pst

from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyId
from lictor.model.reasons import Reason
from lictor.pdp import projection, slicing
from lictor.pdp.depth import MAX_EXPRESSION_DEPTH, too_deep
from lictor.pdp.entities import Directory, references, uid_of
from lictor.pdp.schematext import read_schema, render_action
from lictor.pdp.slicing import Indexed, Keys, ScopeIndex, Uid, entity_keys

MAX_SLICES: Final = 2048
"""Slices kept; the oldest goes first. One takes some 4 KiB a policy, and about 1 ms to make again."""
MAX_ERROR: Final = 500
"""Characters of one error kept in a verdict."""
_CHUNK: Final = 256
"""Policies parsed at a time: a parsed policy takes up to 26 KiB (facts section 11), and only slices are kept."""
_ACTION: Final = "Action"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

_Key = tuple[str, Keys, Keys]
_K = TypeVar("_K")
_T = TypeVar("_T")


class Mode(Enum):
    """How much of policies and context one evaluation sees. All three answer the same; tests compare them."""

    FULL = "full"
    SLICED = "sliced"
    PROJECTED = "projected"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the engine answered, closed: `allowed` implies no errors and at least one determining permit.

    Attributes:
        determining: on allow every satisfied permit, otherwise every satisfied forbid; sorted.
        errors: what went wrong, for operators only.
    """

    allowed: bool
    determining: tuple[PolicyId, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _View:
    """What one class of requests is evaluated with: the policies whose scopes match it and what they can read."""

    policies: PolicySet
    project: projection.Step | None
    schema: Schema
    """The one action with its groups, its context cut down to what `project` leaves."""
    mentioned: tuple[Uid, ...]


class CedarEngine:
    """One policy version over one set of entities. Immutable to its callers."""

    def __init__(
        self,
        policies: Mapping[PolicyId, Mapping[str, Any]],
        schema: str,
        entities: Sequence[Mapping[str, Any]],
        *,
        mode: Mode = Mode.PROJECTED,
    ) -> None:
        """Compile.

        Args:
            policies: static policies in Cedar's JSON form, under our own ids.
            schema: Cedar schema text without namespaces; declares every action and its groups.
            entities: Cedar JSON entities (`uid`, `attrs`, `parents`, optional `tags`); actions come from the schema.
            mode: see `Mode`.

        Raises:
            OperatorError: `no_policy` for an empty set; `bundle_refused` for everything the engine does not take.
        """
        if not policies:
            raise OperatorError(Reason.NO_POLICY, "there is no policy", remedy="add at least one permit to policies/")
        self._mode = mode
        self._schema = _refusing("the schema", lambda: Schema.from_str(schema))
        self._shape = read_schema(str(self._schema))
        self._directory = Directory(entities)
        self._entities = _refusing("the entities", lambda: _entities(entities, self._schema))
        templates = _parse(policies)
        self._index = _refusing("the policies", lambda: ScopeIndex(templates))
        self._full = _policy_set(templates) if mode is Mode.FULL else None
        self._actions: dict[str, tuple[Keys, Keys]] = {}
        self._candidates: dict[tuple[str, Keys], tuple[tuple[Indexed, ...], Keys]] = {}
        self._views: dict[_Key, _View] = {}
        self._schemas: dict[str, Schema] = {}

    def evaluate(
        self,
        principal: Uid,
        action: str,
        resource: Uid,
        context: Mapping[str, Any] | bytes,
        extra_entities: Sequence[Mapping[str, Any]] = (),
    ) -> Verdict:
        """Evaluate one request; total: whatever goes wrong is a verdict that does not allow.

        Args:
            principal: `(type, id)`, present among the entities (facts S3).
            action: id of a declared action.
            resource: `(type, id)`, present among the entities or the extra ones (facts S3).
            context: Cedar JSON, encoded by us field by field (facts S6); bytes are taken as they are.
            extra_entities: entities of this request only, none of which is in the static set.
        """
        try:
            return self._evaluate(principal, action, resource, context, extra_entities)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic of the engine is not an Exception, and is a deny as well
            return _refuse(f"{type(error).__name__}: {error}")

    def may_permit(self, principal: Uid, action: str, resource: Uid) -> bool:
        """Whether some permit's scope matches, whatever its conditions, and no unconditional forbid's does.

        False for an action, principal or resource that is not declared: what cannot run is not offered.
        """
        if action not in self._shape.actions or principal not in self._directory or resource not in self._directory:
            return False
        keys = self._directory.keys(principal)
        _, entries = self._classify(action, keys, self._directory.keys(resource))
        return slicing.may_permit(slicing.for_principal(entries, keys))

    def groups_named(self, action: str, resource: Uid) -> frozenset[str]:
        """Approver groups named as literals by policies that can match; bounds the second pass (facts section 5)."""
        if action not in self._shape.actions:
            return frozenset()
        action_keys, _ = self._action(action)
        entries = self._index.select(action_keys, self._directory.keys(resource))
        return slicing.groups_named(entry.policy for entry in entries)

    def _evaluate(
        self,
        principal: Uid,
        action: str,
        resource: Uid,
        context: Mapping[str, Any] | bytes,
        extra: Sequence[Mapping[str, Any]],
    ) -> Verdict:
        if action not in self._shape.actions:
            return _refuse(f"action {action[:80]!r} is not declared")
        directory = Directory(extra, self._directory) if extra else self._directory
        for role, uid in (("principal", principal), ("resource", resource)):
            if uid not in directory:
                return _refuse(f"{role} {uid[0][:80]}::{uid[1][:80]!r} is not in the directory")
        view = self._view(action, directory.keys(principal), directory.keys(resource))
        text, schema = self._context(view, context)
        entities = self._entities
        if extra:
            added = (uid_of(entity["uid"]) for entity in extra)
            roots = (principal, resource, *added, *view.mentioned, *references(_decode(text)))
            entities = _entities(directory.reachable(roots), view.schema)
        request = {
            "principal": {"type": principal[0], "id": principal[1]},
            "action": {"type": _ACTION, "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": text,
        }
        policies = view.policies if self._full is None else self._full
        result = is_authorized_batch([request], policies, entities, schema)[0]
        return _close(result.decision, result.diagnostics.reasons, result.diagnostics.errors)

    def _context(self, view: _View, context: Mapping[str, Any] | bytes) -> tuple[str, Schema]:
        """The context as text, with the schema that judges it: cut down if every part left out is known to be valid."""
        if view.project is not None:
            try:
                sent = view.project(_decode(context) if isinstance(context, bytes) else context)
            except (projection.Unfit, KeyError, TypeError, ValueError):
                pass  # not judged here: everything is sent, and the engine says what is wrong with it
            else:
                return _encode(sent).decode(), view.schema
        return (context if isinstance(context, bytes) else _encode(context)).decode(), self._schema

    def _view(self, action: str, principal: Keys, resource: Keys) -> _View:
        key, entries = self._classify(action, principal, resource)
        view = self._views.get(key)
        if view is None:
            matching = slicing.for_principal(entries, principal)
            view = self._compile(action, [entry.policy for entry in matching])
            _keep(self._views, key, view)
        return view

    def _action(self, action: str) -> tuple[Keys, Keys]:
        """An action's own keys, and the resource keys its policies ask for."""
        found = self._actions.get(action)
        if found is None:
            groups = self._shape.ancestors(action)
            keys = entity_keys((_ACTION, action), [(_ACTION, group) for group in groups])
            found = self._actions[action] = (keys, self._index.resource_keys(keys))
        return found

    def _classify(self, action: str, principal: Keys, resource: Keys) -> tuple[_Key, tuple[Indexed, ...]]:
        """What tells this class of requests from others, and the policies whose action and resource scopes match.

        The key holds only what some policy asks for, so there are as many as the policies make, not the agents.
        """
        action_keys, asked = self._action(action)
        resource_key = resource & asked
        found = self._candidates.get((action, resource_key))
        if found is None:
            entries = self._index.select(action_keys, resource)
            found = self._candidates[(action, resource_key)] = (entries, slicing.principal_keys(entries))
        return (action, resource_key, principal & found[1]), found[0]

    def _compile(self, action: str, policies: list[pst.Template]) -> _View:
        mentioned = tuple(sorted((str(uid.type), uid.id) for uid in pst.entity_uids(tuple(policies))))
        shape = self._shape.actions[action]
        context, project = projection.narrow(shape.context, projection.context_reads(policies))
        actions = {
            action,
            *(id_ for type_name, id_ in mentioned if type_name == _ACTION and id_ in self._shape.actions),
        }
        text = self._shape.declarations + "".join(
            self._render(name) for name in sorted(self._with_groups(actions) - {action})
        )
        text += render_action(shape, self._quoted(shape.parents), context)
        return _View(
            policies=_policy_set({policy.id: policy for policy in policies}),
            project=project if self._mode is Mode.PROJECTED else None,
            schema=self._narrowed(text),
            mentioned=mentioned,
        )

    def _narrowed(self, text: str) -> Schema:
        """A schema by its text: slices that read the same share one (60 KiB)."""
        schema = self._schemas.get(text)
        if schema is None:
            schema = Schema.from_str(text)
            _keep(self._schemas, text, schema)
        return schema

    def _with_groups(self, actions: Iterable[str]) -> set[str]:
        return {name for action in actions for name in (action, *self._shape.ancestors(action))}

    def _quoted(self, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._shape.actions[name].quoted for name in names)

    def _render(self, name: str) -> str:
        """An action only for its place among the groups: it applies to nothing."""
        shape = self._shape.actions[name]
        return render_action(replace(shape, applies=None), self._quoted(shape.parents), shape.context)


def _keep(kept: dict[_K, _T], key: _K, value: _T) -> None:
    while len(kept) >= MAX_SLICES:
        kept.pop(next(iter(kept)), None)
    kept[key] = value


def _entities(entities: Sequence[Mapping[str, Any]], schema: Schema) -> Entities:
    """The engine's entities. The schema brings the actions and their groups; without it they match nothing (S7)."""
    return Entities.from_json_str(_encode(entities).decode(), schema)


def _policy_set(policies: Mapping[str, pst.Template]) -> PolicySet:
    return PolicySet.from_pst(pst.PolicySet(templates={}, static_policies=policies, template_links=()))


def _parse(policies: Mapping[PolicyId, Mapping[str, Any]]) -> dict[str, pst.Template]:
    """Syntax trees under our ids, a chunk at a time: only trees and slices are kept."""
    found: dict[str, pst.Template] = {}
    names = list(policies)
    for name in names:
        if too_deep(policies[name]):
            raise OperatorError(
                Reason.BUNDLE_REFUSED,
                f"policy {name[:128]!r} nests deeper than {MAX_EXPRESSION_DEPTH} expressions",
                remedy="write a list as [...].contains(x)",
            )
    for start in range(0, len(names), _CHUNK):
        chunk = names[start : start + _CHUNK]
        try:
            found.update(_parse_chunk(policies, chunk))
        except ValueError:
            for name in chunk:  # again one by one, to name the culprit
                found.update(_refusing(f"policy {name[:128]!r}", partial(_parse_chunk, policies, [name])))
    return found


def _parse_chunk(policies: Mapping[PolicyId, Mapping[str, Any]], names: list[PolicyId]) -> Mapping[str, pst.Template]:
    document = {"staticPolicies": {name: policies[name] for name in names}, "templates": {}, "templateLinks": []}
    tree = PolicySet.from_json_str(_encode(document).decode()).to_pst()
    if tree.templates or tree.template_links or tree.static_policies.keys() != set(names):
        raise ValueError("templates are not supported")
    return tree.static_policies


def _refusing(what: str, make: Callable[[], _T]) -> _T:
    """Run a constructor of the engine; what it refuses is the operator's error."""
    try:
        return make()
    except (ValueError, TypeError, RecursionError) as error:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"{what}: {' '.join(str(error).split())[:MAX_ERROR]}") from error


def _refuse(message: str) -> Verdict:
    return Verdict(allowed=False, errors=(message[:MAX_ERROR],))


def _close(decision: Decision, reasons: Sequence[str], errors: Sequence[str]) -> Verdict:
    """The engine's answer, closed: an error of any policy refuses (facts S1, S2), and so does an allow without permit."""
    determining = tuple(PolicyId(reason) for reason in sorted(reasons))
    found = tuple(error[:MAX_ERROR] for error in errors)
    if decision is Decision.NoDecision and not found:
        found = ("the engine gave no decision",)
    if decision is Decision.Allow and not determining:
        found = (*found, "the engine allowed without a permit")
    return Verdict(decision is Decision.Allow and not found, determining, found)
