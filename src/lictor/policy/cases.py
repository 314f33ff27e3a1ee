"""Policy tests as data: `tests/*.toml` into cases, cases into requests and snapshots, and `decide` says whether they hold.

A case names a real tool, or a *thing* its own file declares to stand in for one, so that rules about classes can be tested before
there is a catalogue. Refuses to know clock, store and people: a case brings its facts along.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import Approval
from lictor.model.canonical import sha256_digest
from lictor.model.catalog import CatalogEntry
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, ApprovalId, DefinitionDigest, HoldId, HumanId, RequestId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget, Task, TaskState
from lictor.pdp.decide import Pdp, decide
from lictor.policy.bundle import Bundle
from lictor.policy.catalogue import Definitions, pin_of, read_thing
from lictor.policy.compile import compile_bundle
from lictor.policy.documents import Document, convert, only_keys, read_toml, tables
from lictor.policy.load import is_test
from lictor.policy.problems import Problems, quote

STAND_IN: Final = ServerName("_things")
"""Server of the things that test files declare; no real server can have this name."""
_ANSWERS: Final[Mapping[str, type[Decision]]] = {"allow": Allow, "deny": Deny, "needs_approval": NeedsApproval}
_DAY_MS: Final = 86_400_000
_SOME_DAY_MS: Final = 1_767_225_600_000
"""2026-01-01: the time of a case that names no registered agent."""
_TARGETS: Final = ("tool", "resource", "prompt", "feature", "thing")


class _Uri(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    server: str
    uri: str


class _CaseTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    expect: str
    agent: str = ""
    human: str = ""
    purpose: str = ""
    tool: str = ""
    resource: _Uri | None = None
    prompt: str = ""
    feature: str = ""
    thing: str = ""
    arguments: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    approved_by: str = ""
    budget: dict[str, int] = {}
    value_used: dict[str, int] = {}
    calls_used: int = 0
    changed: bool = False
    now: datetime | None = None
    reason: str = ""
    groups: tuple[tuple[str, ...], ...] = ()
    policies: tuple[str, ...] = ()


class _Defaults(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    agent: str = ""
    human: str = ""
    purpose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One question with its expected answer.

    Attributes:
        where: `file:line`.
        labels: what the task has seen; a kind comes along with each detail, as in the catalogue.
        approval: groups somebody has approved it in; empty means no approval.
        approved_by: who approved; empty picks an approver in these groups.
        changed: the server's live definition is not the pinned one.
        now_ms: time of the question; None means one day before the agent's review date.
        reason, groups, policies: checked where they are not empty; `policies` must be among the determining ones.
    """

    where: str
    name: str
    kind: ActionKind
    server: ServerName
    thing: str
    arguments: SealedArguments
    agent: AgentId
    human: HumanId
    purpose: str
    labels: tuple[str, ...]
    approval: tuple[str, ...]
    approved_by: str
    budget: Mapping[str, int]
    value_used: Mapping[str, int]
    calls_used: int
    changed: bool
    now_ms: int | None
    expect: str
    reason: str
    groups: tuple[tuple[str, ...], ...]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The cases of one file, and the things it declares."""

    file: str
    cases: tuple[Case, ...]
    things: tuple[CatalogEntry, ...] = ()
    definitions: Definitions = field(default_factory=dict)


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


def read_suites(files: Mapping[str, bytes]) -> tuple[Suite, ...]:
    """Every `tests/*.toml` among a bundle's files.

    Raises:
        BundleRefused: with every fault.
    """
    problems = Problems()
    documents = [read_toml(path, files[path], problems) for path in sorted(filter(is_test, files))]
    suites = tuple(_suite(document, problems) for document in documents if document)
    problems.raise_if_any()
    return suites


def run_suite(bundle: Bundle, suite: Suite) -> tuple[CaseResult, ...]:
    """Run the cases of one file against a bundle.

    Raises:
        OperatorError: the bundle does not compile with the file's things.
    """
    return run_cases(suite_pdp(bundle, suite), suite.cases)


def suite_pdp(bundle: Bundle, suite: Suite) -> Pdp:
    """The bundle, compiled together with the things of a test file; its revision stays the bundle's."""
    if not suite.things:
        return compile_bundle(bundle)
    return compile_bundle(
        replace(
            bundle, entries=(*bundle.entries, *suite.things), definitions={**bundle.definitions, **suite.definitions}
        )
    )


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
    answer = next(name for name, type_ in _ANSWERS.items() if type(decision) is type_)
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


# -- reading ---------------------------------------------------------------------------------------------------------


def _suite(document: Document, problems: Problems) -> Suite:
    only_keys(document, ("things", "defaults", "case"), problems)
    things: list[CatalogEntry] = []
    definitions: Definitions = {}
    for name in tables(document, "things", problems):
        entry = read_thing(document, STAND_IN, ("things", name), problems)
        if entry is not None:
            definition = _stand_in(entry)
            definitions[entry.kind, entry.server, entry.name] = definition
            things.append(msgspec.structs.replace(entry, pin=pin_of(definition)))
    defaults = convert(document, ("defaults",), document.raw.get("defaults", {}), _Defaults, problems) or _Defaults()
    raw = document.raw.get("case", [])
    if not isinstance(raw, list) or not raw:
        problems.add(document.file, "there is no case", "write [[case]] with name, a target and expect")
        raw = []
    known = {thing.name for thing in things}
    cases = [_case(document, index, item, defaults, known, problems) for index, item in enumerate(raw)]
    return Suite(
        file=document.file,
        cases=tuple(case for case in cases if case),
        things=tuple(things),
        definitions=definitions,
    )


def _stand_in(entry: CatalogEntry) -> dict[str, Any]:
    """A definition that takes anything, and declares what the selectors point at."""
    pointers = [entry.destination.url] if entry.destination else []
    if entry.value:
        pointers += [entry.value.amount, entry.value.currency]
    declared = {pointer.split("/")[1]: True for pointer in pointers if pointer.startswith("/")}
    return {"name": entry.name, "inputSchema": {"type": "object", "properties": declared, "additionalProperties": True}}


def _case(
    document: Document, index: int, raw: Any, defaults: _Defaults, known: set[str], problems: Problems
) -> Case | None:
    path = ("case", index)
    table = convert(document, path, raw, _CaseTable, problems)
    where = document.lines.where(path)
    if table is None:
        return None
    if table.expect not in _ANSWERS:
        problems.add(document.lines.where((*path, "expect")), f"expect is one of {', '.join(_ANSWERS)}")
    if table.reason and table.reason not in set(Reason):
        problems.add(document.lines.where((*path, "reason")), f"{quote(table.reason)} is no reason code")
    named = [target for target in _TARGETS if getattr(table, target)]
    if len(named) != 1:
        problems.add(where, f"case {quote(table.name)} must name exactly one of {', '.join(_TARGETS)}")
        return None
    if table.thing and table.thing not in known:
        problems.add(where, f"thing {quote(table.thing)} is not declared in this file", f"add [things.{table.thing}]")
    kind, server, thing, arguments = _target(table)
    try:
        sealed = SealedArguments.seal(arguments)
    except (CallerError, TypeError) as error:
        problems.add(where, f"the arguments have no canonical form: {quote(str(error))}", "use strings for dates")
        return None
    return Case(
        where=where,
        name=table.name,
        kind=kind,
        server=ServerName(server),
        thing=thing,
        arguments=sealed,
        agent=AgentId(table.agent or defaults.agent),
        human=HumanId(table.human or defaults.human),
        purpose=table.purpose or defaults.purpose,
        labels=tuple(sorted({*table.labels, *(label.partition(":")[0] for label in table.labels)})),
        approval=tuple(sorted(set(table.approval))),
        approved_by=table.approved_by,
        budget=table.budget,
        value_used=table.value_used,
        calls_used=table.calls_used,
        changed=table.changed,
        now_ms=_moment(table.now),
        expect=table.expect,
        reason=table.reason,
        groups=table.groups,
        policies=table.policies,
    )


def _target(table: _CaseTable) -> tuple[ActionKind, str, str, dict[str, Any]]:
    if table.resource is not None:
        return ActionKind.RESOURCE, table.resource.server, table.resource.uri, {"uri": table.resource.uri}
    if table.thing:
        return ActionKind.TOOL, STAND_IN, table.thing, table.arguments
    kind = ActionKind.TOOL if table.tool else ActionKind.PROMPT if table.prompt else ActionKind.FEATURE
    server, _, name = (table.tool or table.prompt or table.feature).partition("/")
    return kind, server, name, table.arguments


def _moment(now: datetime | None) -> int | None:
    if now is None:
        return None
    return int((now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp() * 1_000)
