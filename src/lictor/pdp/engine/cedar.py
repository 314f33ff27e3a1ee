"""The policy engine: Cedar, wrapped so that whatever goes wrong is a refusal.

The raw engine skips a policy that errors, a forbid too, and goes on to Allow. Here a diagnostic, no decision, an
exception or an absent entity is never an Allow (facts S1 to S7). This is the only module that asks the engine for a
decision (by `asking.py`), and `_entities` is the only place that builds entities: always with a schema, or action groups
silently match nothing (facts S7).

Refuses to know requests, tasks or approvals: it is handed entity ids and an encoded context. Holds no clock and no state
but compiled policies, what follows from them alone, and the last refusal; every allow is asked for anew.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import msgspec
from cedarpy import Decision, Entities, PolicySet, Schema

from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyId
from lictor.model.reasons import Reason
from lictor.pdp.engine import asking
from lictor.pdp.engine.entities import Directory, references, uid_of
from lictor.pdp.engine.judging import Unfit
from lictor.pdp.engine.schematext import SchemaShape, read_schema
from lictor.pdp.engine.selecting import MAX_ROUTES, Route, Selector
from lictor.pdp.engine.slicing import ScopeIndex, Uid
from lictor.pdp.engine.views import MAX_ERROR, Compiler, View, parse, policy_set, refusing
from lictor.pdp.verdict import Verdict, joined

MAX_REMEMBERED: Final = 4_096
"""Characters of context up to which the last refusal is remembered, for a second pass that changes nothing policy reads."""

MAX_SCHEMAS: Final = 4
"""Schemas read and kept, by their text: a change of policy alone, a what-if and a replay of old policy read theirs once."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Mode(Enum):
    """How much of policies and context one evaluation sees. All of them answer the same; tests compare them."""

    FULL = "full"
    SLICED = "sliced"
    PROJECTED = "projected"
    FILTERED = "filtered"


_Question = tuple[PolicySet, bool, Route, str]
"""Policies, whether they get the whole context, for whom, and the context."""


class CedarEngine:
    """One policy version over one set of entities. Immutable to its callers."""

    def __init__(
        self,
        policies: Mapping[PolicyId, Mapping[str, Any]],
        schema: str,
        entities: Sequence[Mapping[str, Any]],
        *,
        mode: Mode = Mode.FILTERED,
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
        self._schema, shape = refusing("the schema", lambda: _read(schema))
        self._actions = shape.actions
        self._directory = Directory(entities)
        self._entities = refusing("the entities", lambda: _entities(entities, self._schema))
        templates = parse(policies)
        index = refusing("the policies", lambda: ScopeIndex(templates))
        self._full = policy_set(templates) if mode is Mode.FULL else None
        compiler = Compiler(shape, projecting=mode in {Mode.PROJECTED, Mode.FILTERED})
        self._selector = Selector(index, shape, self._directory, compiler, filtering=mode is Mode.FILTERED)
        self._ask = asking.chosen()
        self._fitting: set[tuple[str, str, str]] = set()
        self._factless: dict[tuple[Uid, str, Uid], tuple[View, Verdict]] = {}
        self._last: tuple[_Question | None, Verdict] = (None, Verdict(allowed=False))

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

    def for_all(
        self, principals: tuple[Uid, ...], action: str, resource: Uid, context: Mapping[str, Any] | bytes
    ) -> Verdict:
        """One request of several principals, evaluated for each; total.

        What no policy can tell apart is asked once: a policy that looks at nothing of the principal but what is the same for
        all is satisfied for all whom its scope names, or for none. So it answers exactly as `joined` does of one `evaluate` each.
        """
        try:
            found = self._for_all(principals, action, resource, context) if len(principals) > 1 else None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the engine is not an Exception; each answer below says what it was
            found = None
        if found is None:
            return joined([self.evaluate(principal, action, resource, context) for principal in principals])
        return found

    def may_permit(self, principal: Uid, action: str, resource: Uid) -> bool:
        """Whether some permit's scope matches, whatever its conditions, and no unconditional forbid's does.

        False for an action, principal or resource that is not declared: what cannot run is not offered.
        """
        return self._selector.may_permit(principal, action, resource)

    def groups_named(self, action: str, resource: Uid) -> frozenset[str]:
        """Approver groups named as literals by policies that can match; bounds the second pass (facts section 5)."""
        return self._selector.groups_named(action, resource)

    def _evaluate(
        self,
        principal: Uid,
        action: str,
        resource: Uid,
        context: Mapping[str, Any] | bytes,
        extra: Sequence[Mapping[str, Any]],
    ) -> Verdict:
        if extra:
            return self._with_extra(principal, action, resource, context, extra)
        route = self._selector.route(principal, action, resource)
        if route is None:
            return self._undeclared(self._directory, principal, action, resource)
        decoded = _decode(context) if isinstance(context, bytes) else context
        return self._routed(route, self._selector.view(route, decoded), context, decoded)

    def _for_all(
        self, principals: tuple[Uid, ...], action: str, resource: Uid, context: Mapping[str, Any] | bytes
    ) -> Verdict | None:
        """None where it has to be asked one by one: to say what is wrong, and of whom."""
        chain = None if self._full is not None else self._selector.chain(principals, action, resource)
        if chain is None:
            return None
        decoded = _decode(context) if isinstance(context, bytes) else context
        view, whose = self._selector.common(chain, decoded)
        common = self._routed(chain.common, view, context, decoded)
        if common.errors:
            return None
        # The context was judged with the common ones: without policies there is nothing left to ask.
        own = [_NOTHING if route is None else self._of_its_own(route, decoded) for route in chain.own]
        # Of the common ones, each forbid concerns somebody; whose permits are satisfied is only known where no forbid is.
        forbids: set[PolicyId] = set()
        for verdict in (common, *own):
            if verdict.errors:
                return None
            if not verdict.allowed:
                forbids.update(verdict.determining)
        if forbids:
            return Verdict(allowed=False, determining=tuple(sorted(forbids)))
        permits = [
            named.intersection(common.determining).union(verdict.determining)
            for named, verdict in zip(whose, own, strict=True)
        ]
        if not all(permits):
            return Verdict(allowed=False)
        return Verdict(allowed=True, determining=tuple(sorted(frozenset().union(*permits))))

    def _of_its_own(self, route: Route, context: Mapping[str, Any]) -> Verdict:
        """What one agent's own policies say of a context that is known to fit.

        Where they read no fact of the request, that is the same each time: it is kept.
        """
        view = self._selector.view(route, context)
        if not view.size:
            return _NOTHING
        if view.check is None:
            return self._routed(route, view, context, context)
        triple = (route.uids["principal"], route.kind[1], route.uids["resource"])
        kept = self._factless.get(triple)
        if kept is not None and kept[0] is view:
            return kept[1]
        text = _encode(view.pick(context)).decode()
        known = view.judged and route.kind in self._fitting
        verdict = self._asked(view, None if known else view.schema, route, text, self._entities)
        if view.factless and not verdict.errors:
            if len(self._factless) >= MAX_ROUTES:
                self._factless.clear()
            self._factless[triple] = (view, verdict)
        return verdict

    def _routed(
        self, route: Route, view: View, context: Mapping[str, Any] | bytes, decoded: Mapping[str, Any]
    ) -> Verdict:
        text, schema = self._context(view, context, decoded)
        projected = schema is view.schema
        question = (view.policies, projected, route, text)
        last = self._last
        # Refused a moment ago for the very same facts: the engine is a function of these. An allow is always asked for anew.
        if last[0] is not None and _same(last[0], question):
            return last[1]
        # What was all judged here the engine need not judge, once it has said that the action applies to these types.
        known = projected and view.judged and route.kind in self._fitting
        verdict = self._asked(view, None if known else schema, route, text, self._entities)
        if not known and not verdict.errors:
            self._fitting.add(route.kind)
        if not verdict.allowed and not verdict.errors and len(text) <= MAX_REMEMBERED:
            self._last = (question, verdict)
        return verdict

    def _with_extra(
        self,
        principal: Uid,
        action: str,
        resource: Uid,
        context: Mapping[str, Any] | bytes,
        extra: Sequence[Mapping[str, Any]],
    ) -> Verdict:
        directory = Directory(extra, self._directory)
        if action not in self._actions or principal not in directory or resource not in directory:
            return self._undeclared(directory, principal, action, resource)
        route, view = self._selector.view_over(directory, principal, action, resource)
        text, schema = self._context(view, context, _decode(context) if isinstance(context, bytes) else context)
        added = (uid_of(entity["uid"]) for entity in extra)
        roots = (principal, resource, *added, *view.mentioned, *references(_decode(text)))
        return self._asked(view, schema, route, text, _entities(directory.reachable(roots), view.schema))

    def _undeclared(self, directory: Directory, principal: Uid, action: str, resource: Uid) -> Verdict:
        if action not in self._actions:
            return _refuse(f"action {action[:80]!r} is not declared")
        role, uid = ("resource", resource) if principal in directory else ("principal", principal)
        return _refuse(f"{role} {uid[0][:80]}::{uid[1][:80]!r} is not in the directory")

    def _asked(self, view: View, schema: Schema | None, route: Route, text: str, entities: Entities) -> Verdict:
        policies = view.policies if self._full is None else self._full
        return _close(*self._ask({**route.request, "context": text}, policies, entities, schema))

    def _context(
        self, view: View, context: Mapping[str, Any] | bytes, decoded: Mapping[str, Any]
    ) -> tuple[str, Schema]:
        """The context as text, with the schema that judges it: cut down if every part left out is known to be valid."""
        if view.check is not None:
            try:
                view.check(decoded)
                sent = view.pick(decoded)
            except (Unfit, KeyError, TypeError, ValueError):
                pass  # not judged here: everything is sent, and the engine says what is wrong with it
            else:
                return (_encode(sent).decode() if sent else "{}"), view.schema
        return (context if isinstance(context, bytes) else _encode(context)).decode(), self._schema


_NOTHING: Final = Verdict(allowed=False)


def _same(one: _Question, other: _Question) -> bool:
    return one[0] is other[0] and one[1] is other[1] and one[2] is other[2] and one[3] == other[3]


@lru_cache(maxsize=MAX_SCHEMAS)
def _read(schema: str) -> tuple[Schema, SchemaShape]:
    """A schema as the engine takes it, and as we read its own rendering of it; neither is ever changed."""
    made = Schema.from_str(schema)
    return made, read_schema(str(made))


def _entities(entities: Sequence[Mapping[str, Any]], schema: Schema) -> Entities:
    """The engine's entities. The schema brings the actions and their groups; without it they match nothing (S7)."""
    return Entities.from_json_str(_encode(entities).decode(), schema)


def _refuse(message: str) -> Verdict:
    return Verdict(allowed=False, errors=(message[:MAX_ERROR],))


def _close(decision: Decision, reasons: Sequence[str], errors: Sequence[str]) -> Verdict:
    """The engine's answer, closed: an error of any policy refuses (facts S1, S2), and so does an allow without permit."""
    determining = tuple(map(PolicyId, sorted(reasons)))
    # Sorted: their order follows which other policies are in the set, and that may differ between a decision and its replay.
    found = tuple(sorted(error[:MAX_ERROR] for error in errors)) if errors else ()
    if decision is Decision.NoDecision and not found:
        found = ("the engine gave no decision",)
    if decision is Decision.Allow and not determining:
        found = (*found, "the engine allowed without a permit")
    return Verdict(decision is Decision.Allow and not found, determining, found)
