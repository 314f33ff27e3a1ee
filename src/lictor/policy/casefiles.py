"""`tests/*.toml` into cases.

A case names a real tool, or a *thing* its own file declares to stand in for one, so that rules about classes can be tested before
there is a catalogue. Refuses to know how they are decided; `cases.py` runs what is read here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from lictor.model.action import ActionKind, SealedArguments
from lictor.model.approval import Strength
from lictor.model.catalog import CatalogEntry
from lictor.model.containment import Restriction, Scope
from lictor.model.contract import Clause, ContractSource
from lictor.model.errors import CallerError
from lictor.model.history import Origin
from lictor.model.ids import AgentId, HumanId, ServerName
from lictor.model.reasons import Reason
from lictor.model.signal import FULL
from lictor.pdp.facts import families
from lictor.pdp.history import VOUCHING
from lictor.policy.authority import NO_SERVER
from lictor.policy.catalogue import Definitions, pin_of, read_thing
from lictor.policy.documents import Document, convert, only_keys, read_toml, tables
from lictor.policy.load import is_test
from lictor.policy.problems import Problems, quote
from lictor.policy.recorded import RECORDED, Fixture, read_recorded
from lictor.policy.tomlpos import Path

STAND_IN: Final = ServerName("_things")
"""Server of the things that test files declare; no real server can have this name."""
ANSWERS: Final = ("allow", "deny", "needs_approval")
_TARGETS: Final = ("tool", "resource", "prompt", "feature", "credential", "opens", "thing")


_NAMED: Final = (ActionKind.TOOL, ActionKind.PROMPT, ActionKind.FEATURE, ActionKind.CREDENTIAL)


class _Uri(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    server: str
    uri: str


class CaseContract(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The contract of a case's task; `cases.py` brings its values to normal form."""

    clauses: tuple[Clause, ...]
    source: ContractSource = ContractSource.PERSON
    confirmed_by: str = ""
    used: tuple[int, ...] = ()


class CaseContainment(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A restriction in force; without `target` it is laid on what the case itself has of this scope."""

    restriction: Restriction
    scope: Scope = Scope.TASK
    target: str = ""


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
    credential: str = ""
    opens: str = ""
    """The purpose of a task that is opened."""
    thing: str = ""
    arguments: dict[str, Any] = {}
    labels: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    approved_by: str = ""
    people: int = 1
    strength: Literal["secret", "login", "passkey"] = "secret"
    budget: dict[str, int] = {}
    value_used: dict[str, int] = {}
    measures: dict[str, int] = {}
    origin: dict[str, Origin] = {}
    chain: tuple[str, ...] = ()
    contract: CaseContract | None = None
    containment: tuple[CaseContainment, ...] = ()
    signals: dict[str, float] = {}
    human_groups: tuple[str, ...] | None = None
    resolved: dict[str, str] = {}
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
        measures: what measures say before this request; those not named say 0.
        origins: of watched arguments that are there; of one not named, the directory alone vouches.
        chain: agents of the tasks it was delegated through, nearest first.
        signals: scores by kind, in thousandths.
        human_groups: None means the bundle's.
        resolved: where links lead, by pointer; a path not named leads where it says.
        approval: groups somebody has approved it in; empty means no approval.
        approved_by: who approved; empty picks an approver in these groups.
        people, strength: how many approved it, and how they proved who they are.
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
    measures: Mapping[str, int]
    calls_used: int
    changed: bool
    now_ms: int | None
    expect: str
    reason: str
    groups: tuple[tuple[str, ...], ...]
    policies: tuple[str, ...]
    origins: Mapping[str, Origin] = field(default_factory=dict)
    chain: tuple[AgentId, ...] = ()
    contract: CaseContract | None = None
    containment: tuple[CaseContainment, ...] = ()
    signals: Mapping[str, int] = field(default_factory=dict)
    human_groups: tuple[str, ...] | None = None
    resolved: Mapping[str, str] = field(default_factory=dict)
    people: int = 1
    strength: Strength = Strength.SECRET


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The cases of one file, the things it declares, and the traffic that was recorded into it."""

    file: str
    cases: tuple[Case, ...]
    recorded: tuple[Fixture, ...] = ()
    things: tuple[CatalogEntry, ...] = ()
    definitions: Definitions = field(default_factory=dict)


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


def _suite(document: Document, problems: Problems) -> Suite:
    only_keys(document, ("things", "defaults", "case", RECORDED), problems)
    things: list[CatalogEntry] = []
    definitions: Definitions = {}
    for name in tables(document, "things", problems):
        entry = read_thing(document, STAND_IN, ("things", name), problems)
        if entry is not None:
            definition = stand_in(entry)
            definitions[entry.kind, entry.server, entry.name] = definition
            things.append(msgspec.structs.replace(entry, pin=pin_of(definition)))
    defaults = convert(document, ("defaults",), document.raw.get("defaults", {}), _Defaults, problems) or _Defaults()
    recorded = read_recorded(document, problems)
    raw = document.raw.get("case", [])
    if not isinstance(raw, list) or (not raw and RECORDED not in document.raw):
        problems.add(document.file, "there is no case", "write [[case]] with name, a target and expect")
        raw = []
    known = {thing.name for thing in things}
    cases = [_case(document, index, item, defaults, known, problems) for index, item in enumerate(raw)]
    return Suite(
        file=document.file,
        cases=tuple(case for case in cases if case),
        recorded=recorded,
        things=tuple(things),
        definitions=definitions,
    )


def stand_in(entry: CatalogEntry) -> dict[str, Any]:
    """A definition that takes anything, and declares what the selectors point at."""
    declared = {pointer.split("/")[1]: True for pointer in entry.pointers}
    return {"name": entry.name, "inputSchema": {"type": "object", "properties": declared, "additionalProperties": True}}


def _case(
    document: Document, index: int, raw: Any, defaults: _Defaults, known: set[str], problems: Problems
) -> Case | None:
    path = ("case", index)
    table = convert(document, path, raw, _CaseTable, problems)
    where = document.lines.where(path)
    if table is None:
        return None
    if table.expect not in ANSWERS:
        problems.add(document.lines.where((*path, "expect")), f"expect is one of {', '.join(ANSWERS)}")
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
        people=table.people,
        strength=Strength[table.strength.upper()],
        budget=table.budget,
        value_used=table.value_used,
        measures=table.measures,
        calls_used=table.calls_used,
        changed=table.changed,
        now_ms=_moment(table.now),
        expect=table.expect,
        reason=table.reason,
        groups=table.groups,
        policies=table.policies,
        origins=_origins(document, path, table, problems),
        chain=tuple(map(AgentId, table.chain)),
        contract=table.contract,
        containment=table.containment,
        signals=_signals(document, path, table, problems),
        human_groups=None if table.human_groups is None else tuple(sorted(set(table.human_groups))),
        resolved=table.resolved,
    )


def _origins(document: Document, path: Path, table: _CaseTable, problems: Problems) -> dict[str, Origin]:
    found = {}
    for name, origin in table.origin.items():
        for source in origin.sources:
            if source not in VOUCHING and not source.startswith("tool:"):
                where = document.lines.where((*path, "origin"))
                problems.add(
                    where, f"{quote(source)} is no source", f"one of {', '.join(sorted(VOUCHING))}, tool:SERVER/NAME"
                )
        found[name] = Origin(sources=tuple(sorted(set(origin.sources))), labels=tuple(families(origin.labels)))
    return found


def _signals(document: Document, path: Path, table: _CaseTable, problems: Problems) -> dict[str, int]:
    for kind, score in table.signals.items():
        if not 0 <= score <= 1:
            problems.add(document.lines.where((*path, "signals")), f"the score of {quote(kind)} is 0 to 1")
            return {}
    return {kind: round(score * FULL) for kind, score in table.signals.items()}


def _target(table: _CaseTable) -> tuple[ActionKind, str, str, dict[str, Any]]:
    if table.resource is not None:
        return ActionKind.RESOURCE, table.resource.server, table.resource.uri, {"uri": table.resource.uri}
    if table.thing:
        return ActionKind.TOOL, STAND_IN, table.thing, table.arguments
    if table.opens:
        return ActionKind.TASK, NO_SERVER, table.opens, table.arguments
    kind = next(kind for kind in _NAMED if getattr(table, kind.value))
    server, _, name = getattr(table, kind.value).partition("/")
    return kind, server, name, table.arguments


def _moment(now: datetime | None) -> int | None:
    if now is None:
        return None
    return int((now if now.tzinfo else now.replace(tzinfo=UTC)).timestamp() * 1_000)
