"""`decide(request, snapshot) -> Decision`: pure, three-valued, no clock, no I/O.

The answer is the join on `Allow < NeedsApproval < Deny` of structure and policy. Order of the steps:

 1. the snapshot speaks of the bundle in force
 2. the agent is registered, active, owned, reviewed
 3. the task is open, unexpired, this agent's and this human's, within its calls
 4. the thing asked for is in the catalogue and its live definition is the pinned one
 5. the arguments are valid against the pinned schema, nothing undeclared
 6. destination and value, where the catalogue says there are any, can be normalised and are within budget
 7. an approval, where there is one, is for exactly this action, unexpired, from somebody who may still give it
 8. policy, pass 1: the real context. Allow -> Allow
 9. policy, pass 2: the same with a hypothetical approval. Allow -> NeedsApproval, with the smallest sufficient groups
10. otherwise Deny, with the reasons of pass 1

Any engine error is a Deny (Cedar skips an erroring forbid: facts S1-S3), and so is anything this module did not foresee.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, Final, Protocol

from lictor.model.action import ActionKind, ActionRequest
from lictor.model.agent import Agent
from lictor.model.approval import Approval
from lictor.model.catalog import CatalogEntry
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, PolicyId, PolicyRevision, SnapshotDigest
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp import facts
from lictor.pdp.normalise import Destination, Directory, Value, destination_of, value_of

Entity = tuple[str, str]
"""(type, id)."""


class Verdict(Protocol):
    """What the engine answered, already closed: `allowed` implies no errors and at least one permit."""

    @property
    def allowed(self) -> bool:
        """Permitted, and nothing went wrong."""
        ...

    @property
    def determining(self) -> tuple[PolicyId, ...]:
        """Policies that made the answer, sorted."""
        ...

    @property
    def errors(self) -> tuple[str, ...]:
        """What went wrong; any makes a deny."""
        ...


class Engine(Protocol):
    """The policy engine behind its port."""

    def evaluate(self, principal: Entity, action: str, resource: Entity, context: dict[str, Any]) -> Verdict:
        """Evaluate; never raises: an exception is an error in the verdict."""
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
class Approvers:
    """Who may answer holds."""

    groups_of: Mapping[HumanId, tuple[str, ...]]
    four_eyes: bool
    """The approver must not be the human behind the task."""

    @property
    def groups(self) -> frozenset[str]:
        """Every group that has a member."""
        return frozenset(group for groups in self.groups_of.values() for group in groups)


class _Refused(Exception):  # noqa: N818 - control flow inside this module only
    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdp:
    """One bundle revision, compiled. Immutable; a new revision is a new object, swapped as one reference."""

    revision: PolicyRevision
    agents: Mapping[AgentId, Agent]
    purposes: frozenset[str]
    approvers: Approvers
    directory: Directory
    exact: Mapping[tuple[ActionKind, str, str], Offering]
    prefixes: Mapping[str, tuple[tuple[str, Offering], ...]]
    """Resource patterns by server, longest prefix first."""
    engine: Engine
    definitions: Mapping[tuple[ActionKind, str, str], Mapping[str, Any]] = field(default_factory=dict)
    """Pinned definitions of tools and prompts, for transports that check headers by them; no decision reads them."""

    def offering(self, kind: ActionKind, server: str, name: str) -> Offering | None:
        """The catalogue's entry for a thing: exact, then, for resources only, the longest prefix. No other matching."""
        found = self.exact.get((kind, server, name))
        if found is not None or kind is not ActionKind.RESOURCE:
            return found
        return next((o for prefix, o in self.prefixes.get(server, ()) if name.startswith(prefix)), None)


@dataclass(frozen=True, slots=True)
class _Ready:
    """A request that passed structure, with its typed context."""

    offering: Offering
    context: dict[str, Any]
    approval: Approval | None


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
        return _policy(pdp, request, snapshot, digest, ready)
    except (_Refused, CallerError) as refused:
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
        return entry, *_selected(pdp, entry, arguments)
    except CallerError:
        return entry, None, None


def _structure(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> _Ready:
    """Steps 1-7."""
    if snapshot.revision != pdp.revision:
        raise _Refused(Reason.NO_POLICY, "the snapshot speaks of another bundle revision")
    _check_agent(request, snapshot)
    state = _check_task(pdp, request, snapshot)
    offering = _check_catalogue(pdp, request, snapshot)
    arguments = request.arguments.open()
    offering.check(arguments)
    destination, value = _selected(pdp, offering.entry, arguments)
    _check_value(state, value)
    encoded = offering.encode(arguments)
    if _weight(request, encoded[0]) > MAX_PARTS:
        raise _Refused(Reason.TOO_MANY, f"the arguments have more than {MAX_PARTS} parts that policy would read")
    context = facts.build_context(request, snapshot, state, offering.entry, encoded, destination, value)
    approval = snapshot.approval
    if approval is not None:
        context["approval"] = facts.approval_fact(approval, _check_approval(pdp, request, snapshot, approval))
    return _Ready(offering, context, approval)


def _check_agent(request: ActionRequest, snapshot: Snapshot) -> None:
    agent = snapshot.agent
    if agent is None or agent.id != request.agent:
        raise _Refused(Reason.UNKNOWN_AGENT, f"agent {request.agent!r} is not registered")
    if not agent.active or not agent.owner:
        raise _Refused(Reason.AGENT_INACTIVE, f"agent {agent.id!r} is inactive or has no owner")
    if snapshot.at_ms >= agent.review_by_ms:
        raise _Refused(Reason.AGENT_REVIEW_OVERDUE, f"agent {agent.id!r} is past its review date")


def _check_task(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> TaskState:
    state = snapshot.task
    if state is None or state.task.id != request.task:
        raise _Refused(Reason.UNKNOWN_TASK, "no such task")
    if state.task.agent != request.agent or state.task.human != request.human:
        raise _Refused(Reason.UNKNOWN_TASK, "the task belongs to another agent or human")
    if state.status is not TaskStatus.OPEN:
        raise _Refused(Reason.TASK_CLOSED, "the task is closed")
    if not state.task.opened_at_ms <= snapshot.at_ms < state.task.expires_at_ms:
        raise _Refused(Reason.TASK_EXPIRED, "the task has expired")
    if state.task.purpose not in pdp.purposes:
        raise _Refused(Reason.UNKNOWN_TASK, f"purpose {state.task.purpose!r} is not declared")
    if state.calls_used >= state.task.budget.calls:
        raise _Refused(Reason.BUDGET_CALLS, "the task's calls are used up")
    return state


_UNKNOWN = {
    ActionKind.TOOL: Reason.UNKNOWN_TOOL,
    ActionKind.RESOURCE: Reason.UNKNOWN_RESOURCE,
    ActionKind.PROMPT: Reason.UNKNOWN_PROMPT,
    ActionKind.FEATURE: Reason.FEATURE_DENIED,
}
PINNED_KINDS = frozenset({ActionKind.TOOL, ActionKind.PROMPT})
"""Things that have a definition of their own, which a person looked at."""


def _check_catalogue(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> Offering:
    offering = pdp.offering(request.kind, request.server, request.name)
    if offering is None:
        raise _Refused(_UNKNOWN[request.kind], f"{request.action!r} has no catalogue entry")
    if request.kind in PINNED_KINDS:
        if snapshot.definition is None:
            raise _Refused(_UNKNOWN[request.kind], f"the server does not offer {request.action!r}")
        if offering.entry.pin is None or snapshot.definition != offering.entry.pin:
            raise _Refused(Reason.TOOL_CHANGED, f"the definition of {request.action!r} is not the pinned one")
    return offering


def _selected(pdp: Pdp, entry: CatalogEntry, arguments: dict[str, Any]) -> tuple[Destination | None, Value | None]:
    destination = destination_of(entry.destination, arguments, pdp.directory) if entry.destination else None
    return destination, value_of(entry.value, arguments) if entry.value else None


def _check_value(state: TaskState, value: Value | None) -> None:
    if value is None:
        return
    used = state.value_used.get(value.currency, 0)
    if used + value.amount > state.task.budget.value.get(value.currency, 0):
        raise _Refused(Reason.BUDGET_VALUE, f"the task's budget in {value.currency} does not cover it")


def _check_approval(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, approval: Approval) -> tuple[str, ...]:
    """The groups the approver is still in (OWASP AISVS 9.2.8: bound to the action, 9.2.9: expiring)."""
    if approval.digest != request.digest:
        raise _Refused(Reason.ACTION_HASH_MISMATCH, "the approval is for another action")
    if not approval.given_at_ms <= snapshot.at_ms < approval.expires_at_ms:
        raise _Refused(Reason.APPROVAL_EXPIRED, "the approval has expired")
    if pdp.approvers.four_eyes and approval.approver == request.human:
        raise _Refused(Reason.APPROVER_IS_REQUESTER, "the approver is the human behind the task")
    current = pdp.approvers.groups_of.get(approval.approver, ())
    groups = tuple(sorted(set(approval.groups).intersection(current)))
    if not groups:
        raise _Refused(Reason.NOT_AN_APPROVER, "the approver is in no group any more")
    return groups


def _policy(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, digest: SnapshotDigest, ready: _Ready) -> Decision:
    """Steps 8-10."""
    principal: Entity = ("Agent", request.agent)
    action, resource = request.action, ready.offering.resource
    first = pdp.engine.evaluate(principal, action, resource, ready.context)
    if first.allowed and not first.errors:
        return Allow(
            request=request.digest,
            snapshot=digest,
            revision=pdp.revision,
            reason=Reason.PERMITTED,
            policies=first.determining,
        )
    if first.errors:
        return _deny(pdp, request, digest, Reason.POLICY_ERROR, policies=first.determining, errors=first.errors)
    if ready.approval is None:
        approvers = _sufficient(pdp, request, snapshot, ready)
        if approvers:
            return NeedsApproval(
                request=request.digest,
                snapshot=digest,
                revision=pdp.revision,
                reason=Reason.NEEDS_APPROVAL,
                policies=first.determining,
                approvers=approvers,
            )
    reason = Reason.FORBIDDEN if first.determining else Reason.NOT_PERMITTED
    return _deny(pdp, request, digest, reason, policies=first.determining)


def _sufficient(pdp: Pdp, request: ActionRequest, snapshot: Snapshot, ready: _Ready) -> tuple[tuple[str, ...], ...]:
    """The smallest sets of approver groups with which policy would allow; empty when no approval can.

    Trusts no annotation: each answer is the engine's. Bounded to the groups that exist and that policy mentions.
    """
    principal: Entity = ("Agent", request.agent)
    action, resource = request.action, ready.offering.resource

    def permits(groups: tuple[str, ...]) -> bool:
        approval = facts.hypothetical_approval(request, snapshot.at_ms, groups)
        verdict = pdp.engine.evaluate(principal, action, resource, {**ready.context, "approval": approval})
        return verdict.allowed and not verdict.errors

    existing = pdp.approvers.groups
    if not existing or not permits(tuple(sorted(existing))):
        return ()
    candidates = sorted(existing & pdp.engine.groups_named(action, resource))
    tries = min(MAX_GROUP_SETS, MAX_PARTS_READ // max(1, _weight(request, ready.context["input"])))
    for size in (1, 2):
        found = tuple(groups for groups in _some(combinations(candidates, size), tries) if permits(groups))
        if found:
            return found
    return (tuple(sorted(existing)),)


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
