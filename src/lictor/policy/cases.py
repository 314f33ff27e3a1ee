"""Policy tests as data: cases into requests and snapshots, and `decide` says whether they hold.

Refuses to know clock, store and people: a case brings its facts along. `casefiles.py` reads `tests/*.toml`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from lictor.model.action import ActionRequest
from lictor.model.approval import Approval
from lictor.model.canonical import sha256_digest
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.ids import ApprovalId, DefinitionDigest, HoldId, HumanId, RequestId, TaskId
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.decide import Pdp, decide
from lictor.policy.bundle import Bundle
from lictor.policy.casefiles import Case, Suite, read_suites
from lictor.policy.compile import compile_bundle

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
        results.append(CaseResult(case=case, decision=decision, problem=_difference(case, decision)))
    return tuple(results)


def facts_of_case(pdp: Pdp, case: Case) -> tuple[ActionRequest, Snapshot]:
    """The request and the snapshot a case describes."""
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
    agent = pdp.agents.get(case.agent)
    now = case.now_ms if case.now_ms is not None else agent.review_by_ms - _DAY_MS if agent else _SOME_DAY_MS
    offering = pdp.offering(case.kind, case.server, case.thing)
    pin = offering.entry.pin if offering else None
    task = Task(
        id=TaskId("case"),
        agent=case.agent,
        human=case.human,
        purpose=case.purpose,
        trusted_text_digest=sha256_digest(b""),
        audience="local",
        opened_at_ms=now - 1_000,
        expires_at_ms=now + 3_600_000,
        budget=Budget(value=dict(case.budget)),
    )
    state = TaskState(task=task, calls_used=case.calls_used, value_used=dict(case.value_used), labels=case.labels)
    snapshot = Snapshot(
        at_ms=now,
        revision=pdp.revision,
        agent=agent,
        task=state,
        definition=DefinitionDigest("sha256:changed") if case.changed else pin,
        approval=_approval(pdp, case, request, now),
    )
    return request, snapshot


def _approval(pdp: Pdp, case: Case, request: ActionRequest, now: int) -> Approval | None:
    if not case.approval:
        return None
    groups_of, four_eyes = pdp.approvers.groups_of, pdp.approvers.four_eyes
    able = [
        human
        for human, groups in sorted(groups_of.items())
        if set(case.approval).issubset(groups) and not (four_eyes and human == case.human)
    ]
    # Nobody able: the case's own human, whom `decide` then refuses with the true reason.
    approver = HumanId(case.approved_by) if case.approved_by else able[0] if able else case.human
    return Approval(
        id=ApprovalId("case"),
        hold=HoldId("case"),
        digest=request.digest,
        approver=approver,
        groups=case.approval,
        given_at_ms=now,
        expires_at_ms=now + 600_000,
    )


def _difference(case: Case, decision: Decision) -> str:
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
