"""Why a decision is what it is, and what would have been needed, in plain words.

Decides again, with the very `decide`, then asks the engine about each policy in scope alone. For operators: nothing of this is
ever shown to an agent. Refuses to know the store; it is handed request and snapshot.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec
from cedarpy import PolicySet

from lictor.model.action import ActionRequest
from lictor.model.decision import Allow, Decision, NeedsApproval
from lictor.model.ids import PolicyId
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Engine, Entity, Pdp, decide
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.verdict import Verdict, joined
from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import STAND_IN, stand_in
from lictor.policy.cedarschema import schema_text
from lictor.policy.compile import bundle_actions, entities
from lictor.policy.reach import action_keys, agent_keys, in_scope, policy_trees, thing_keys
from lictor.policy.text import ParsedPolicy
from lictor.policy.whatif import Suggestion, World, smallest_changes
from lictor.policy.whatif_facts import all_changes

Outcome = Literal["applies", "does not apply", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClauseNote:
    """One condition of a policy.

    Attributes:
        text: as Cedar text.
        holds: whether it is met, beside those before it that are; None where it cannot be evaluated.
        values: what it reads, by path, as it was; absent members are left out.
    """

    text: str
    holds: bool | None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyNote:
    """One policy whose scope matches.

    Attributes:
        clauses: its conditions in order, with what they read.
        outcome: with the facts as they were, this policy alone.
        failed: the first condition that was not met, as Cedar text; empty when it applies.
        error: what went wrong, where something did.
        with_approval: it would apply once people of all groups had approved.
    """

    id: PolicyId
    effect: str
    where: str
    reason: str
    owner: str
    outcome: Outcome
    failed: str = ""
    error: str = ""
    with_approval: bool = False
    clauses: tuple[ClauseNote, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision with what stands behind it. `policies` is empty when structure refused before policy was asked."""

    decision: Decision
    action: str
    policies: tuple[PolicyNote, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The context policy read, in Cedar's JSON form."""
    suggestions: tuple[Suggestion, ...] = ()
    """What would have changed the answer; each was decided."""

    def lines(self) -> list[str]:
        """For people, most important first."""
        return [*_headline(self), *_determining(self), *_needed(self), *(f"  {one.line()}" for one in self.suggestions)]

    def details(self) -> list[str]:
        """Every policy in scope with the truth of each of its conditions and what they read."""
        return [line for note in self.policies for line in _detail(note)]


def explain(
    bundle: Bundle, pdp: Pdp, request: ActionRequest, snapshot: Snapshot, *, search: bool = False
) -> Explanation:
    """Explain one decision.

    Args:
        bundle: what `pdp` was compiled from.
        pdp: the revision the snapshot speaks of; for a test case, with the things of its file.
        request: the request.
        snapshot: the facts.
        search: whether to look for what would have changed the answer.

    Raises:
        OperatorError: the bundle does not compile.
    """
    bundle = _with_stand_in(bundle, pdp, request)
    asked = _Listening(pdp.engine)
    decision = decide(replace(pdp, engine=asked), request, snapshot)
    world = World(pdp, request, snapshot)
    found = smallest_changes(world, all_changes(bundle, world, decision)) if search else ()
    if not asked.heard:
        return Explanation(decision=decision, action=request.action, suggestions=found)
    principal, action, resource, context = asked.heard[0]
    approved = next((one[3] for one in asked.heard if "approval" in one[3]), None)
    examiner = _Examiner(bundle, principal, action, resource, context, approved)
    notes = examiner.examine(_scoped(bundle, pdp, request))
    return Explanation(decision=decision, action=request.action, policies=notes, facts=context, suggestions=found)


def _with_stand_in(bundle: Bundle, pdp: Pdp, request: ActionRequest) -> Bundle:
    """The thing of a test file, which is in the Pdp but not in the bundle."""
    offering = pdp.offering(request.kind, request.server, request.name)
    if offering is None or request.server != STAND_IN or offering.entry in bundle.entries:
        return bundle
    definitions = {**bundle.definitions, (request.kind, request.server, request.name): stand_in(offering.entry)}
    return replace(bundle, entries=(*bundle.entries, offering.entry), definitions=definitions)


class _Listening:
    """The engine, remembering what it was asked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.heard: list[tuple[Entity, str, Entity, dict[str, Any]]] = []

    def evaluate(self, principal: Entity, action: str, resource: Entity, context: dict[str, Any]) -> Verdict:
        self.heard.append((principal, action, resource, context))
        return self._engine.evaluate(principal, action, resource, context)

    def for_all(
        self, principals: tuple[Entity, ...], action: str, resource: Entity, context: dict[str, Any]
    ) -> Verdict:
        return joined([self.evaluate(principal, action, resource, context) for principal in principals])

    def may_permit(self, principal: Entity, action: str, resource: Entity) -> bool:
        return self._engine.may_permit(principal, action, resource)

    def groups_named(self, action: str, resource: Entity) -> frozenset[str]:
        return self._engine.groups_named(action, resource)


def _scoped(bundle: Bundle, pdp: Pdp, request: ActionRequest) -> list[ParsedPolicy]:
    offering = pdp.offering(request.kind, request.server, request.name)
    agent = pdp.agents.get(request.agent)
    if offering is None or agent is None:
        return []
    groups = next(action.groups for action in bundle_actions(bundle) if action.name == request.action)
    keys = (agent_keys(agent), action_keys(request.action, groups), thing_keys(offering.entry))
    trees = policy_trees(bundle.policies)
    return [policy for policy in bundle.policies if in_scope(trees[policy.id], *keys)]


class _Examiner:
    """Asks about each policy alone, with everything else as it was."""

    def __init__(
        self,
        bundle: Bundle,
        principal: Entity,
        action: str,
        resource: Entity,
        context: dict[str, Any],
        approved: dict[str, Any] | None,
    ) -> None:
        self._schema = schema_text(bundle_actions(bundle))
        self._entities = entities(bundle)
        self._asked = (principal, action, resource)
        self._context = context
        self._approved = approved
        known = {(entity["uid"]["type"], entity["uid"]["id"]): entity["attrs"] for entity in self._entities}
        self._read = {"context": context, "principal": known.get(principal, {})}

    def examine(self, policies: Sequence[ParsedPolicy]) -> tuple[PolicyNote, ...]:
        """A note on each policy."""
        parts = [_conditions(policy.json) for policy in policies]
        outcomes, prefixes = self._whole_and_cut(policies, parts)
        approved = self._approves(policies, outcomes)
        clauses = self._clauses(policies, parts, prefixes)
        failed = [
            ""
            if outcome == "applies"
            else next((c.text for c, cut in zip(mine, cuts, strict=True) if cut != "applies"), "")
            for (outcome, _), mine, cuts in zip(outcomes, clauses, prefixes, strict=True)
        ]
        return tuple(
            PolicyNote(
                id=policy.id,
                effect=policy.effect,
                where=policy.where,
                reason=policy.annotations.get("reason", ""),
                owner=policy.annotations.get("owner", ""),
                outcome=outcome,
                failed=failed[place],
                error=error,
                with_approval=approved[place],
                clauses=clauses[place],
            )
            for place, (policy, (outcome, error)) in enumerate(zip(policies, outcomes, strict=True))
        )

    def _ask(self, policies: Sequence[Mapping[str, Any]], context: dict[str, Any]) -> list[tuple[Outcome, str]]:
        """What each policy alone would say. All of them are asked in one set: making an engine costs more than asking it.

        As permits they do not touch each other: an answer names every one that is satisfied. Only which of them an error is of
        it does not say, so then those are asked by themselves.
        """
        if not policies:
            return []
        verdict = self._verdict(policies, context)
        if verdict.errors and len(policies) == 1:
            return [("error", verdict.errors[0])]
        satisfied = set(verdict.determining)
        return [
            ("applies", "")
            if _name(place, policies) in satisfied
            else (self._ask([policy], context)[0] if verdict.errors else ("does not apply", ""))
            for place, policy in enumerate(policies)
        ]

    def _verdict(self, policies: Sequence[Mapping[str, Any]], context: dict[str, Any]) -> Verdict:
        # A forbid alone can not be told from no policy at all by its decision, but a permit can: only the conditions matter here.
        permits = {_name(place, policies): {**policy, "effect": "permit"} for place, policy in enumerate(policies)}
        principal, action, resource = self._asked
        return CedarEngine(permits, self._schema, self._entities).evaluate(principal, action, resource, context)

    def _approves(self, policies: Sequence[ParsedPolicy], outcomes: Sequence[tuple[Outcome, str]]) -> list[bool]:
        """Whether each policy that does not apply would, once people of all groups had approved."""
        wanting = [place for place, (outcome, _) in enumerate(outcomes) if outcome == "does not apply"]
        found = [False] * len(policies)
        if self._approved is not None:
            answers = self._ask([policies[place].json for place in wanting], self._approved)
            for place, (outcome, _) in zip(wanting, answers, strict=True):
                found[place] = outcome == "applies"
        return found

    def _whole_and_cut(
        self, policies: Sequence[ParsedPolicy], parts: Sequence[Sequence[dict[str, Any]]]
    ) -> tuple[list[tuple[Outcome, str]], list[list[Outcome]]]:
        """What each policy says; and what it would say if it ended behind each of its conditions, so that guards still guard."""
        cuts = [
            {**policy.json, "conditions": list(mine[:count])}
            for policy, mine in zip(policies, parts, strict=True)
            for count in range(1, len(mine) + 1)
        ]
        answers = self._ask([*(policy.json for policy in policies), *cuts], self._context)
        rest = iter(answers[len(policies) :])
        return answers[: len(policies)], [[next(rest)[0] for _ in mine] for mine in parts]

    def _clauses(
        self,
        policies: Sequence[ParsedPolicy],
        parts: Sequence[Sequence[dict[str, Any]]],
        prefixes: Sequence[Sequence[Outcome]],
    ) -> list[tuple[ClauseNote, ...]]:
        """Each condition beside those before it that are met: up to the first that is not, that is what the cuts say."""
        found: list[list[ClauseNote]] = [[] for _ in policies]
        met: list[list[dict[str, Any]]] = [[] for _ in policies]
        for number in range(max(map(len, parts), default=0)):
            places = [place for place, mine in enumerate(parts) if number < len(mine)]
            beyond = [at for at in places if len(met[at]) < number]
            asked = [{**policies[at].json, "conditions": [*met[at], parts[at][number]]} for at in beyond]
            answers = dict(zip(beyond, (outcome for outcome, _ in self._ask(asked, self._context)), strict=True))
            for at in places:
                part = parts[at][number]
                holds = _HOLDS[answers.get(at, prefixes[at][number])]
                if holds:
                    met[at].append(part)
                values = {".".join(path): value for path in reads(part) if (value := self._value(path)) is not None}
                text = condition_text(policies[at].json, part)
                found[at].append(ClauseNote(text=text, holds=holds, values=values))
        return [tuple(mine) for mine in found]

    def _value(self, path: tuple[str, ...]) -> Any:
        value: Any = self._read.get(path[0])
        for name in path[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        return value


_HOLDS: Final[Mapping[Outcome, bool | None]] = {"applies": True, "does not apply": False, "error": None}


def _name(place: int, policies: Sequence[object]) -> PolicyId:
    """What the engine calls one of several policies that are asked at once; errors name it."""
    return PolicyId("alone" if len(policies) == 1 else f"p{place}")


def _conditions(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conditions, with each `when` taken apart at its `&&`."""
    found: list[dict[str, Any]] = []
    for condition in policy.get("conditions", ()):
        waiting = [condition["body"]] if condition["kind"] == "when" else []
        if not waiting:
            found.append(condition)
        while waiting:
            body = waiting.pop()
            if isinstance(body, dict) and body.keys() == {"&&"}:
                waiting += [body["&&"]["right"], body["&&"]["left"]]
            else:
                found.append({"kind": "when", "body": body})
    return found


def reads(part: Any) -> list[tuple[str, ...]]:
    """The longest paths of attributes that a condition reads, in order."""
    found: dict[tuple[str, ...], None] = {}
    waiting = [part]
    while waiting:
        node = waiting.pop()
        path = _path(node)
        if len(path) > 1:
            found[path] = None
        elif isinstance(node, dict):
            waiting.extend(reversed(list(node.values())))
        elif isinstance(node, list):
            waiting.extend(reversed(node))
    return list(found)


def _path(node: Any) -> tuple[str, ...]:
    """`context.a.b` in the engine's JSON; empty for anything else."""
    names: list[str] = []
    while isinstance(node, dict) and len(node) == 1:
        ((kind, inner),) = node.items()
        if kind == "Var":
            return (str(inner), *reversed(names))
        if kind not in {".", "has"} or not isinstance(inner, dict) or not isinstance(inner.get("attr"), str):
            return ()
        names.append(inner["attr"])
        node = inner.get("left")
    return ()


def condition_text(policy: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
    """One condition for people, on one line; empty should the engine write it otherwise than expected."""
    return " ".join(condition_source(policy, condition).split())


_ANYTHING: Final = {"op": "All"}


def condition_source(policy: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
    """One condition as Cedar text, `when { … }`, as the engine writes it; empty should it not begin as expected.

    Nothing of the policy's scope and annotations is in the text that is cut, so nothing in their strings can move the cut.
    """
    scopes = dict.fromkeys(("principal", "action", "resource"), _ANYTHING)
    alone = {**policy, **scopes, "conditions": [condition], "annotations": {}}
    document = {"staticPolicies": {"alone": alone}, "templates": {}, "templateLinks": []}
    text = str(PolicySet.from_json_str(msgspec.json.encode(document).decode()))
    found = re.search(rf"\)\s*({condition['kind']}\s*\{{)", text)
    return text[found.start(1) :].rstrip("; \n") if found else ""


# -- words -----------------------------------------------------------------------------------------------------------


def _headline(found: Explanation) -> list[str]:
    decision = found.decision
    word = {"Allow": "allowed", "Deny": "denied", "NeedsApproval": "needs approval"}[type(decision).__name__]
    lines = [f"{found.action}: {word} ({decision.reason.value})"]
    lines += [f"  because: {error}" for error in decision.errors]
    if not found.policies:
        lines.append("  policy was not asked, or no policy's scope matches")
    return lines


def _determining(found: Explanation) -> list[str]:
    by_id = {note.id: note for note in found.policies}
    lines = []
    for policy in found.decision.policies:
        note = by_id.get(policy)
        said = f" ({note.where}): {note.reason}".rstrip(": ") if note else ""
        lines.append(f"  {note.effect if note else 'policy'} {policy}{said}")
    return lines


def _needed(found: Explanation) -> list[str]:
    decision = found.decision
    if isinstance(decision, Allow):
        return []
    lines = []
    if isinstance(decision, NeedsApproval):
        lines.append(f"  it runs once approved by {' or '.join(' and '.join(one) for one in decision.approvers)}")
    lines += [f"  {note.id} could not be evaluated: {note.error}" for note in found.policies if note.outcome == "error"]
    permits = [note for note in found.policies if note.effect == "permit" and note.outcome == "does not apply"]
    lines += [_missing(note) for note in permits]
    if not any(note.effect == "permit" for note in found.policies) and found.policies:
        lines.append("  no permit is about this agent, action and thing at all")
    return lines


def _missing(note: PolicyNote) -> str:
    hint = "; an approval would meet it" if note.with_approval else ""
    failed = note.failed or "its conditions"
    return f"  permit {note.id} ({note.where}) would allow it, but this is not met: {failed}{hint}"


_MARKS: Final = {True: "yes", False: "NO ", None: "?  "}


def _detail(note: PolicyNote) -> list[str]:
    lines = [f"  {note.effect} {note.id} ({note.where}) {note.outcome}"]
    for clause in note.clauses:
        values = ", ".join(f"{path} is {shown(value)}" for path, value in clause.values.items())
        lines.append(f"    {_MARKS[clause.holds]} {clause.text}{f'   [{values}]' if values else ''}")
    return lines


def shown(value: Any) -> str:
    """A fact in few words."""
    if isinstance(value, dict) and value.keys() == {"__extn"}:
        return str(value["__extn"]["arg"])
    if isinstance(value, dict):
        return "there"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


_LONGEST: Final = 120
