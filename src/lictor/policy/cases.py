"""Policy tests as data: cases into requests and snapshots, and `decide` says whether they hold.

Refuses to know clock, store and people: a case brings its facts along. `casefiles.py` reads `tests/*.toml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.agent import Agent
from lictor.model.approval import Approval
from lictor.model.canonical import sha256_digest
from lictor.model.catalog import CatalogEntry
from lictor.model.containment import Containment, Scope
from lictor.model.contract import Contract
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.history import Origin, Reading
from lictor.model.ids import AgentId, ApprovalId, DefinitionDigest, HoldId, HumanId, RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.containment import touching
from lictor.pdp.decide import Pdp, decide
from lictor.pdp.measures import asked_of, share_of
from lictor.pdp.normalise import paths_to_resolve
from lictor.pdp.origins.watched import forms_of
from lictor.pdp.refused import Refused
from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import Case, Suite, read_suites
from lictor.policy.compile import compile_bundle
from lictor.policy.contracts import contract_from
from lictor.policy.rebase import directory_vouches

__all__ = [
    "Case",
    "CaseResult",
    "Suite",
    "facts_of_case",
    "read_suites",
    "run_cases",
    "run_suite",
    "suite_pdp",
    "with_things",
]
_ANSWERS: Final[Mapping[type[Decision], str]] = {Allow: "allow", Deny: "deny", NeedsApproval: "needs_approval"}
_DAY_MS: Final = 86_400_000
_SOME_DAY_MS: Final = 1_767_225_600_000
"""2026-01-01: the time of a case that names no registered agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """What became of one case; `problem` is empty when it holds."""

    case: Case
    decision: Decision
    problem: str

    @property
    def passed(self) -> bool:
        """Whether the answer is the expected one."""
        return not self.problem


def run_suite(bundle: Bundle, suite: Suite) -> tuple[CaseResult, ...]:
    """Run the cases of one file against a bundle.

    Raises:
        OperatorError: the bundle does not compile with the file's things.
    """
    return run_cases(suite_pdp(bundle, suite), suite.cases)


def suite_pdp(bundle: Bundle, suite: Suite) -> Pdp:
    """The bundle compiled together with the things of a test file.

    Raises:
        OperatorError: it does not compile.
    """
    return compile_bundle(with_things(bundle, suite))


def with_things(bundle: Bundle, suite: Suite) -> Bundle:
    """The bundle together with the things of a test file; its revision stays the bundle's."""
    definitions = {**bundle.definitions, **suite.definitions}
    return replace(bundle, entries=(*bundle.entries, *suite.things), definitions=definitions)


def run_cases(pdp: Pdp, cases: Sequence[Case]) -> tuple[CaseResult, ...]:
    """Decide each case and compare."""
    results = []
    for case in cases:
        request, snapshot = facts_of_case(pdp, case)
        decision = decide(pdp, request, snapshot)
        results.append(CaseResult(case=case, decision=decision, problem=difference(case, decision)))
    return tuple(results)


def facts_of_case(pdp: Pdp, case: Case) -> tuple[ActionRequest, Snapshot]:
    """The request and the snapshot a case describes, put together as the gateway would: structure is tested with policy.

    Raises:
        CallerError: it names a measure, watched argument, kind of signal or action that the bundle has not.
    """
    request = ActionRequest.make(
        id=RequestId("case"),
        kind=case.kind,
        server=case.server,
        name=case.thing,
        arguments=case.arguments,
        agent=case.agent,
        human=case.human,
        task=TaskId("case"),
    )
    offering = pdp.offering(case.kind, case.server, case.thing)
    entry = offering.entry if offering else None
    _check_names(pdp, case, entry)
    agent = pdp.agents.get(case.agent)
    now = case.now_ms if case.now_ms is not None else agent.review_by_ms - _DAY_MS if agent else _SOME_DAY_MS
    tasks = _tasks(pdp, case, now)
    principals = tuple(pdp.agents.get(parent.task.agent) for parent in tasks[1:])
    pin = entry.pin if entry else None
    resolved = _resolved(entry, request, case)
    snapshot = Snapshot(
        at_ms=now,
        revision=pdp.revision,
        agent=agent,
        task=tasks[0],
        definition=DefinitionDigest("sha256:changed") if case.changed else pin,
        human_groups=pdp.humans.get(case.human, ()) if case.human_groups is None else case.human_groups,
        approval=_approval(pdp, case, request, now),
        parents=tasks[1:],
        principals=principals,
        measures=_readings(pdp, case, request, tasks[0].task.root, resolved),
        origins=_origins(pdp, case, request, entry),
        containments=_containments(case, request, tasks, (agent, *principals)),
        signals=dict(sorted(case.signals.items())),
        resolved=resolved,
    )
    return request, snapshot


def _check_names(pdp: Pdp, case: Case, entry: CatalogEntry | None) -> None:
    """What a case names and nobody would read makes it say less than it seems to."""
    watched = entry.watch if entry is not None else {}
    for what, named, known, reason in (
        ("measure", case.measures, pdp.measures, Reason.UNKNOWN_MEASURE),
        ("kind of signal", case.signals, pdp.signals, Reason.INVALID_ARGUMENTS),
        ("watched argument of this thing", case.origins, watched, Reason.INVALID_ARGUMENTS),
    ):
        for name in named:
            if name not in known:
                raise CallerError(reason, f"the bundle has no {what} {name!r:.100}", where=case.where)


def _tasks(pdp: Pdp, case: Case, now: int) -> tuple[TaskState, ...]:
    """The case's task and those it was delegated through, nearest first; only its own has used and seen something."""
    ids = (TaskId("case"), *(TaskId(f"case-parent-{index + 1}") for index in range(len(case.chain))))
    states = []
    for index, agent in enumerate((case.agent, *case.chain)):
        task = Task(
            id=ids[index],
            agent=AgentId(agent),
            human=case.human,
            purpose=case.purpose,
            trusted_text_digest=sha256_digest(b""),
            audience="local",
            opened_at_ms=now - 1_000,
            expires_at_ms=now + 3_600_000,
            budget=Budget(value=dict(case.budget)),
            parents=ids[index + 1 :],
        )
        states.append(TaskState(task=task))
    first = msgspec.structs.replace(
        states[0],
        calls_used=case.calls_used,
        value_used=dict(case.value_used),
        labels=case.labels,
        contract=_contract(pdp, case),
        contract_used=case.contract.used if case.contract else (),
    )
    return (first, *states[1:])


def _contract(pdp: Pdp, case: Case) -> Contract | None:
    if case.contract is None:
        return None
    clauses = [msgspec.to_builtins(clause) for clause in case.contract.clauses]
    made = contract_from({"clauses": clauses}, case.contract.source, pdp)
    by = case.contract.confirmed_by
    return msgspec.structs.replace(made, confirmed_by=HumanId(by)) if by else made


def _containments(
    case: Case, request: ActionRequest, tasks: Sequence[TaskState], agents: Sequence[Agent | None]
) -> tuple[Containment, ...]:
    """Those in force that touch the request; the others are not even gathered."""
    own = {
        Scope.EVERYTHING: "",
        Scope.AGENT: str(case.agent),
        Scope.OWNER: agents[0].owner if agents[0] is not None else "",
        Scope.TASK: str(request.task),
        Scope.SERVER: str(case.server),
        Scope.ACTION: request.action,
    }
    laid = [
        Containment(
            id=f"case-{index}",
            scope=one.scope,
            target=one.target or own[one.scope],
            restriction=one.restriction,
            by="case",
        )
        for index, one in enumerate(case.containment)
    ]
    return touching(laid, request, [state.task.id for state in tasks], agents)


def _origins(pdp: Pdp, case: Case, request: ActionRequest, entry: CatalogEntry | None) -> dict[str, Origin]:
    """Every watched argument that is there has an origin; only the directory vouches by itself.

    Raises:
        CallerError: the case gives the origin of an argument that it does not have.
    """
    if entry is None or not entry.watch:
        return {}
    arguments = request.arguments.open()
    found = {}
    for name, watch in entry.watch.items():
        forms = forms_of(watch, arguments)
        given = case.origins.get(name)
        if given is not None and not forms:
            message = f"{name!r:.100} has an origin and no value in the arguments"
            raise CallerError(Reason.INVALID_ARGUMENTS, message, where=case.where)
        if forms:
            vouched = directory_vouches(pdp.directory, watch.kind, forms)
            found[name] = given or Origin(sources=("directory",) if vouched else ())
    return found


def _resolved(entry: CatalogEntry | None, request: ActionRequest, case: Case) -> dict[str, str]:
    """Where paths lead in a case: where they say, but for the links it names."""
    if entry is None or entry.path is None or entry.path.resolve == "none":
        return {}
    try:
        paths = paths_to_resolve(entry.path, request.arguments.open())
    except CallerError:
        return {}  # `decide` says why
    unknown = sorted(case.resolved.keys() - paths.keys())
    if unknown:
        message = f"{unknown[0]!r:.100} points at no path that is looked up"
        raise CallerError(Reason.INVALID_ARGUMENTS, message, where=case.where)
    return {**paths, **case.resolved}


def _readings(
    pdp: Pdp, case: Case, request: ActionRequest, root: TaskId, resolved: Mapping[str, str]
) -> dict[str, tuple[Reading, ...]]:
    """The measures a case names, as if they had been read; a value this request adds is never in a distinct count yet."""
    offering = pdp.offering(case.kind, case.server, case.thing)
    if offering is None or not pdp.measures:
        return {}
    asked = asked_of(request, root, offering.entry, pdp.directory, resolved)
    found = {}
    for name, measure in pdp.measures.items():
        try:
            keys = share_of(measure, asked).keys
        except Refused:
            continue  # `decide` says so
        found[name] = tuple(Reading(key=key, version=0, before=case.measures.get(name, 0)) for key in keys)
    return found


def _approval(pdp: Pdp, case: Case, request: ActionRequest, now: int) -> Approval | None:
    if not case.approval:
        return None
    agent = pdp.agents.get(case.agent)
    owner, wanted = agent.owner if agent is not None else "", set(case.approval)
    able = {
        human: wanted.intersection(groups)
        for human, groups in sorted(pdp.approvers.groups_of.items())
        if wanted.intersection(groups) and pdp.approvers.may_answer(human, requester=case.human, owner=owner)
    }
    # One person has to be in all of the groups, several in them together. Nobody able: the case's own human, whom `decide`
    # then refuses with the true reason.
    alone = [human for human, groups in able.items() if groups == wanted]
    if case.approved_by:
        chosen = [HumanId(case.approved_by)]
    else:
        chosen = (alone[:1] if case.people == 1 else list(able)[: case.people]) or [case.human]
    answers = [
        Approval(
            id=ApprovalId("case"),
            hold=HoldId("case"),
            digest=request.digest,
            approver=human,
            groups=tuple(sorted(able.get(human, case.approval))),
            given_at_ms=now,
            expires_at_ms=now + 600_000,
            strength=case.strength,
        )
        for human in chosen
    ]
    return msgspec.structs.replace(answers[-1], others=tuple(answers[:-1]), met=case.approval)


def difference(case: Case, decision: Decision) -> str:
    answer = _ANSWERS[type(decision)]
    got = f"{answer} ({decision.reason.value})"
    if decision.errors:
        got += f": {decision.errors[0][:200]}"
    if answer != case.expect:
        return f"expected {case.expect}, got {got}"
    if case.reason and decision.reason.value != case.reason:
        return f"expected reason {case.reason}, got {got}"
    if case.groups:
        found = {frozenset(groups) for groups in decision.approvers} if isinstance(decision, NeedsApproval) else set()
        if found != {frozenset(groups) for groups in case.groups}:
            return f"expected groups {_sets(case.groups)}, got {_sets(sorted(map(sorted, found)))}"
    missing = sorted(set(case.policies) - set(decision.policies))
    if missing:
        return f"expected policy {missing[0]!r} to decide, got {', '.join(decision.policies) or 'none'}"
    return ""


def _sets(groups: Sequence[Sequence[str]]) -> str:
    return " or ".join("+".join(sorted(one)) for one in groups) or "none"
