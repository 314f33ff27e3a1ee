"""`decide(request, snapshot) -> Decision`: pure, three-valued, no clock, no I/O.

The answer is the join on `Allow < NeedsApproval < Deny` of structure, policy and containment. Order of the steps:

 1. the snapshot speaks of the bundle in force
 2. the agent is registered, active, owned, reviewed
 3. the task is open, unexpired, this agent's and this human's, within its calls; so is every task it was delegated through
 4. the thing asked for is in the catalogue and its live definition is the pinned one
 5. the arguments are valid against the pinned schema, nothing undeclared
 6. what the catalogue's selectors point at can be normalised, and the value is within budget
 7. an approval, where there is one, is for exactly this action, unexpired, from people who may still give it
 8. the contract of every task of the chain, where there is one, has a clause for it
 9. policy, pass 1, for every agent of the chain: the real context. Allow -> Allow
10. policy, pass 2: the same with a hypothetical approval. Allow -> NeedsApproval, with the smallest sufficient groups, people and
    proof; otherwise Deny, with the reasons of pass 1, unless a person overrides exactly this deny (break-glass): Allow, said so
11. restrictions in force raise the answer, and never lower it

Any engine error is a Deny (Cedar skips an erroring forbid: facts S1-S3), and so is anything this module did not foresee.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final, Protocol

import msgspec

from lictor.model.action import ActionKind, ActionRequest, action_name
from lictor.model.agent import Agent
from lictor.model.application import Application
from lictor.model.approval import Approval, Need, Strength
from lictor.model.catalog import CatalogEntry
from lictor.model.containment import Restriction
from lictor.model.content import Content
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.history import Measure
from lictor.model.identity import Proof
from lictor.model.ids import AgentId, HumanId, PolicyId, PolicyRevision, SnapshotDigest
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.signal import SignalRule
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.model.task import TaskState
from lictor.pdp import containment, facts
from lictor.pdp.approval import counting
from lictor.pdp.contract import clause_of
from lictor.pdp.history import history_facts
from lictor.pdp.measures import Asked, values_of
from lictor.pdp.normalise import Destination, Directory, Value, destination_of, select_once, value_of
from lictor.pdp.origins.watched import forms_once
from lictor.pdp.refused import Refused
from lictor.pdp.roles import Approvers
from lictor.pdp.standing import check_agent, check_chain, check_task
from lictor.pdp.verdict import Verdict

Entity = tuple[str, str]
"""(type, id)."""


class Engine(Protocol):
    """The policy engine behind its port."""

    def evaluate(self, principal: Entity, action: str, resource: Entity, context: dict[str, Any]) -> Verdict:
        """Evaluate; never raises: an exception is an error in the verdict."""
        ...

    def for_all(
        self, principals: tuple[Entity, ...], action: str, resource: Entity, context: dict[str, Any]
    ) -> Verdict:
        """Evaluate for each of several principals, as `joined` puts the answers together; never raises."""
        ...

    def may_permit(self, principal: Entity, action: str, resource: Entity) -> bool:
        """Whether some permit's scope matches, whatever its conditions, and no unconditional forbid's does."""
        ...

    def groups_named(self, action: str, resource: Entity) -> frozenset[str]:
        """Approver groups the policies that can match mention."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """One catalogued thing, compiled: how its arguments are checked and turned into typed facts."""

    entry: CatalogEntry
    resource: Entity
    check: Callable[[dict[str, Any]], None]
    """Raises CallerError (`invalid_arguments`, `unknown_argument`)."""
    encode: Callable[[dict[str, Any]], tuple[dict[str, Any], bool]]
    """Typed input record, and whether a part of the arguments could not be typed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdp:
    """One bundle revision, compiled. Immutable; a new revision is a new object, swapped as one reference."""

    revision: PolicyRevision
    agents: Mapping[AgentId, Agent]
    purposes: frozenset[str]
    humans: Mapping[HumanId, tuple[str, ...]] = field(default_factory=dict)
    """Groups of those whom agents work for."""
    approvers: Approvers
    directory: Directory
    content: Content = field(default_factory=Content)
    """What is looked for in what servers send; no decision reads it."""
    exact: Mapping[tuple[ActionKind, str, str], Offering]
    prefixes: Mapping[str, tuple[tuple[str, Offering], ...]]
    """Resource patterns by server, longest prefix first."""
    engine: Engine
    measures: Mapping[str, Measure] = field(default_factory=dict)
    """Running totals over history, by name."""
    signals: Mapping[str, SignalRule] = field(default_factory=dict)
    """What signals restrict, by kind."""
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    """What the broker can lend, by `server/name`."""
    applications: Mapping[str, Application] = field(default_factory=dict)
    """Who may open tasks beside people, by name; no decision reads it."""
    proofs: Mapping[AgentId, tuple[Proof, ...]] = field(default_factory=dict)
    """Ways agents prove themselves over the network: for doors. No decision reads it, and no snapshot carries it."""
    words: frozenset[str] = frozenset()
    """Names of arguments that reviewed definitions declare: what records may name. No decision reads it."""
    definitions: Mapping[tuple[ActionKind, str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Pinned definitions of tools and prompts, for transports that check headers by them; no decision reads them."""

    def named(self, action: str) -> Offering | None:
        """The catalogue's entry behind an action's name (`server/tool`)."""
        return next(
            (found for (kind, server, name), found in self.exact.items() if action_name(kind, server, name) == action),
            None,
        )

    def offering(self, kind: ActionKind, server: str, name: str) -> Offering | None:
        """The catalogue's entry for a thing: exact, then, for resources only, the longest prefix. No other matching."""
        found = self.exact.get((kind, server, name))
        if found is not None or kind is not ActionKind.RESOURCE:
            return found
        return next((o for prefix, o in self.prefixes.get(server, ()) if name.startswith(prefix)), None)


class _Ready(msgspec.Struct, frozen=True, gc=False):
    """A request that passed structure, with its typed context."""

    offering: Offering
    principals: tuple[Entity, ...]
    """Every agent of the chain, the one that asks first: policy has to allow it for each."""
    context: dict[str, Any]
    approval: Approval | None
    clauses: tuple[int, ...]


def decide(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, *, encoded: bytes | None = None) -> Decision:
    """Decide one request on one snapshot. Total: every failure is a Deny with its reason.

    Args:
        pdp: the bundle in force.
        request: sealed at the door.
        snapshot: every fact that may be read.
        encoded: what `snapshot.encode()` gave, from a caller that keeps it with the record.
    """
    digest = snapshot_digest(snapshot.encode() if encoded is None else encoded)
    try:
        ready = _structure(pdp, request, snapshot)
        decision = _policy(pdp, request, snapshot, digest, ready)
        return _contained(pdp, request, snapshot, ready, decision) if snapshot.containments or pdp.signals else decision
    except (Refused, CallerError) as refused:
        return _deny(pdp, request, digest, refused.reason, errors=(str(refused),))
    except Exception as error:  # noqa: BLE001 - the last door: what nobody foresaw is a deny, and is recorded as such
        return _deny(pdp, request, digest, Reason.INTERNAL, errors=(f"{type(error).__name__}: {error}"[:500],))


def facts_of(pdp: Pdp, request: ActionRequest) -> tuple[CatalogEntry | None, Destination | None, Value | None]:
    """What the catalogue says of a request: entry, destination, value. For records and screens; raises nothing.

    A destination or value that cannot be normalised is None here and a Deny in `decide`.
    """
    offering = pdp.offering(request.kind, request.server, request.name)
    if offering is None:
        return None, None, None
    entry = offering.entry
    if entry.destination is None and entry.value is None:
        return entry, None, None
    arguments = request.arguments.open()
    try:
        destination = destination_of(entry.destination, arguments, pdp.directory) if entry.destination else None
        return entry, destination, value_of(entry.value, arguments) if entry.value else None
    except CallerError:
        return entry, None, None


def _structure(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> _Ready:
    """Steps 1-8."""
    if snapshot.revision != pdp.revision:
        raise Refused(Reason.NO_POLICY, "the snapshot speaks of another bundle revision")
    check_agent(request, snapshot)
    state = check_task(pdp.purposes, request, snapshot)
    parents = check_chain(state, snapshot)
    offering = _check_catalogue(pdp, request, snapshot)
    arguments = request.arguments.open()
    offering.check(arguments)
    selected = select_once(request, offering.entry, pdp.directory, snapshot.resolved)
    _check_value(state, selected.value)
    encoded = offering.encode(arguments)
    if _weight(request, encoded[0]) > MAX_PARTS:
        raise Refused(Reason.TOO_MANY, f"the arguments have more than {MAX_PARTS} parts that policy would read")
    chain = (state, *parents)
    clauses = _clauses(request, snapshot, chain, offering.entry)
    context = facts.build_context(request, snapshot, chain, offering.entry, encoded, selected)
    asked = Asked(request=request, root=state.task.root, entry=offering.entry, selected=selected)
    totals = values_of(pdp.measures, asked, snapshot.measures) if pdp.measures else {}
    context.update(history_facts(snapshot, request.agent, totals))
    approval = snapshot.approval
    if approval is not None:
        counted, groups = counting(pdp.approvers, request, snapshot, offering.entry, selected)
        if not approval.override:
            context["approval"] = facts.approval_fact(approval, request.digest, counted, groups)
    principals = tuple([("Agent", link.task.agent) for link in chain])
    return _Ready(offering, principals, context, approval, clauses)


_UNKNOWN = {
    ActionKind.TOOL: Reason.UNKNOWN_TOOL,
    ActionKind.RESOURCE: Reason.UNKNOWN_RESOURCE,
    ActionKind.PROMPT: Reason.UNKNOWN_PROMPT,
    ActionKind.FEATURE: Reason.FEATURE_DENIED,
    ActionKind.CREDENTIAL: Reason.UNKNOWN_CREDENTIAL,
    ActionKind.TASK: Reason.UNKNOWN_TASK,
}
_OUTSIDE_CONTRACTS = frozenset({ActionKind.CREDENTIAL, ActionKind.TASK})
"""A contract names actions on servers; what authority those need, and the opening itself, is for policy alone."""
PINNED_KINDS = frozenset({ActionKind.TOOL, ActionKind.PROMPT})
"""Things that have a definition of their own, which a person looked at."""


def _check_catalogue(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> Offering:
    offering = pdp.offering(request.kind, request.server, request.name)
    if offering is None:
        raise Refused(_UNKNOWN[request.kind], f"{request.action!r} has no catalogue entry")
    if request.kind in PINNED_KINDS:
        if snapshot.definition is None:
            raise Refused(_UNKNOWN[request.kind], f"the server does not offer {request.action!r}")
        if offering.entry.pin is None or snapshot.definition != offering.entry.pin:
            raise Refused(Reason.TOOL_CHANGED, f"the definition of {request.action!r} is not the pinned one")
    return offering


def _clauses(
    request: ActionRequest,
    snapshot: Snapshot,
    chain: tuple[TaskState, ...],
    entry: CatalogEntry,
) -> tuple[int, ...]:
    """The clause each contract of the chain lets the request run under; empty when there is no contract."""
    if request.kind in _OUTSIDE_CONTRACTS or all(link.contract is None for link in chain):
        return ()
    named = forms_once(request, entry.watch)
    found = []
    for link in chain:
        if link.contract is None:
            found.append(-1)
            continue
        index, fits = clause_of(link.contract, link.contract_used, request.action, named, snapshot.origins)
        if index < 0:
            reason = Reason.CONTRACT_USED if fits else Reason.OUTSIDE_CONTRACT
            raise Refused(reason, f"the contract of task {link.task.id!r} does not cover it")
        found.append(index)
    return tuple(found)


def _check_value(state: TaskState, value: Value | None) -> None:
    if value is None:
        return
    used = state.value_used.get(value.currency, 0)
    if used + value.amount > state.task.budget.value.get(value.currency, 0):
        raise Refused(Reason.BUDGET_VALUE, f"the task's budget in {value.currency} does not cover it")


def _policy(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, digest: SnapshotDigest, ready: _Ready) -> Decision:
    """Steps 9 and 10."""
    first = _evaluate(pdp, request, ready, ready.context)
    if first.allowed and not first.errors:
        return Allow(
            request=request.digest,
            snapshot=digest,
            revision=pdp.revision,
            reason=Reason.PERMITTED,
            policies=first.determining,
            clauses=ready.clauses,
        )
    if first.errors:
        return _deny(pdp, request, digest, Reason.POLICY_ERROR, policies=first.determining, errors=first.errors)
    if ready.approval is not None and ready.approval.override:
        return Allow(
            request=request.digest,
            snapshot=digest,
            revision=pdp.revision,
            reason=Reason.OVERRIDDEN,
            policies=first.determining,
            clauses=ready.clauses,
        )
    if ready.approval is None:
        needs = _sufficient(pdp, request, snapshot, ready)
        if needs:
            return NeedsApproval(
                request=request.digest,
                snapshot=digest,
                revision=pdp.revision,
                reason=Reason.NEEDS_APPROVAL,
                policies=first.determining,
                approvers=tuple(need.groups for need in needs),
                needs=needs if any(need != Need(groups=need.groups) for need in needs) else (),
            )
    reason = Reason.FORBIDDEN if first.determining else Reason.NOT_PERMITTED
    return _deny(pdp, request, digest, reason, policies=first.determining)


def _evaluate(pdp: Pdp, request: ActionRequest, ready: _Ready, context: dict[str, Any]) -> Verdict:
    """Policy for every agent of the chain: a child can never do what its parent may not (DESIGN section 4)."""
    action, resource = request.action, ready.offering.resource
    if len(ready.principals) == 1:
        return pdp.engine.evaluate(ready.principals[0], action, resource, context)
    return pdp.engine.for_all(ready.principals, action, resource, context)


def _contained(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, ready: _Ready, decision: Decision) -> Decision:
    """Step 11: restrictions in force raise the answer, and never lower it."""
    if isinstance(decision, Deny):
        return decision
    effect = ready.offering.entry.effect
    # Signals are about a tree of tasks: one that is not open yet can have none, so that a needed one is not missing either.
    first = request.kind is ActionKind.TASK and snapshot.task is not None and not snapshot.task.task.parents
    rules = () if first else pdp.signals.values()
    restrictions = containment.restrictions(snapshot.containments, rules, snapshot.signals, effect)
    if containment.forbids(restrictions, effect):
        return _deny(pdp, request, decision.snapshot, Reason.CONTAINED, policies=decision.policies)
    # Of what was approved ahead nobody looked at this very action, which is what stepping up asks for.
    looked = ready.approval is not None and not ready.approval.allowance
    if isinstance(decision, NeedsApproval) or looked:
        return decision
    if Restriction.STEP_UP not in restrictions:
        return decision
    groups = tuple((group,) for group in sorted(pdp.approvers.groups))
    if not groups:
        return _deny(pdp, request, decision.snapshot, Reason.CONTAINED, policies=decision.policies)
    return NeedsApproval(
        request=decision.request,
        snapshot=decision.snapshot,
        revision=decision.revision,
        reason=Reason.CONTAINED,
        policies=decision.policies,
        approvers=groups,
    )


def _sufficient(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, ready: _Ready) -> tuple[Need, ...]:
    """The smallest ways in which people can make policy allow it; empty when no approval can.

    Trusts no annotation: each answer is the engine's. Bounded to the groups that exist and that policy mentions, and to
    `facts.MOST_PEOPLE`. One person with any proof is asked for where that is enough; more only where it is not.
    """
    action, resource = request.action, ready.offering.resource

    def permits(need: Need) -> bool:
        approval = facts.hypothetical_approval(request, snapshot.at_ms, need)
        verdict = _evaluate(pdp, request, ready, {**ready.context, "approval": approval})
        return verdict.allowed and not verdict.errors

    everybody = tuple(sorted(pdp.approvers.groups))
    people, strength = 1, Strength.SECRET
    if not everybody:
        return ()
    if not permits(Need(groups=everybody)):
        people, strength = facts.MOST_PEOPLE, Strength.PASSKEY
        if not permits(Need(groups=everybody, people=people, strength=strength)):
            return ()
    # Policy that names no group cannot tell them apart: then anybody's will do.
    candidates = sorted(pdp.approvers.groups & pdp.engine.groups_named(action, resource)) or everybody
    tries = min(MAX_GROUP_SETS, MAX_PARTS_READ // max(1, _weight(request, ready.context["input"])))
    found: tuple[tuple[str, ...], ...] = (everybody,)
    for size in (1, 2):
        sets = _some(combinations(candidates, size), tries)
        enough = tuple(one for one in sets if permits(Need(groups=one, people=people, strength=strength)))
        if enough:
            found = enough
            break
    return tuple(_smallest(permits, Need(groups=groups, people=people, strength=strength)) for groups in found)


def _smallest(permits: Callable[[Need], bool], need: Need) -> Need:
    """The same groups with as few people and as weak a proof as policy still takes: first people, then proof."""
    for people in range(1, need.people):
        fewer = msgspec.structs.replace(need, people=people)
        if permits(fewer):
            need = fewer
            break
    for strength in range(Strength.SECRET, need.strength):
        weaker = msgspec.structs.replace(need, strength=int(strength))
        if permits(weaker):
            return weaker
    return need


MAX_GROUP_SETS = 64
"""Sets of groups tried at each size; past it the whole set is demanded, which is stricter, never laxer."""


MAX_PARTS: Final = 10_000
"""Items and members of typed arguments: the engine reads some 250,000 a second; nobody else is served meanwhile (facts C4)."""
MAX_PARTS_READ: Final = 64_000
"""... and all of them together over the sets tried at one size."""
_LIGHT_BYTES: Final = 2_000
"""Arguments shorter than this have fewer than `MAX_PARTS_READ / MAX_GROUP_SETS` parts, each being two bytes at least."""


def _weight(request: ActionRequest, encoded: dict[str, Any]) -> int:
    """How many items and members the engine would read; 0 for arguments too short for it to matter."""
    if len(request.arguments.data) < _LIGHT_BYTES:
        return 0
    count = 0
    waiting: list[Any] = [encoded]
    while waiting:
        value = waiting.pop()
        parts = value.values() if isinstance(value, dict) else value
        count += len(parts)
        waiting.extend(part for part in parts if isinstance(part, dict | list))
    return count


def _some(sets: Iterable[tuple[str, ...]], most: int) -> Iterable[tuple[str, ...]]:
    for index, groups in enumerate(sets):
        if index >= most:
            return
        yield groups


def _deny(
    pdp: Pdp,
    request: ActionRequest,
    digest: SnapshotDigest,
    reason: Reason,
    *,
    policies: tuple[PolicyId, ...] = (),
    errors: tuple[str, ...] = (),
) -> Deny:
    return Deny(
        request=request.digest, snapshot=digest, revision=pdp.revision, reason=reason, policies=policies, errors=errors
    )
