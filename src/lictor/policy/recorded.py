"""Recorded traffic as test fixtures: `[[recorded]]` tables of `tests/*.toml`, written by `lictor policy record`.

A fixture holds a request, the facts it was decided on and by what they were gathered, each as one JSON text, and the answer that
is expected of today's bundle. Arguments are in clear. Refuses to know the log.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, RequestId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, decide
from lictor.policy.documents import Document, convert
from lictor.policy.problems import Problems, quote
from lictor.policy.rebase import Basis, rebase

RECORDED: Final = "recorded"
ANSWERS: Final[Mapping[type[Decision], str]] = {Allow: "allow", Deny: "deny", NeedsApproval: "needs_approval"}
_HEADER: Final = """\
# Recorded traffic, as `lictor policy record` wrote it. Arguments are in clear: keep this file as you would keep them.
# `lictor policy test` asks today's bundle; edit `expect` where another answer is wanted. The JSON is evidence: leave it alone.
"""


class _Asked(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    id: str
    kind: ActionKind
    server: str
    name: str
    arguments: dict[str, Any]
    agent: str
    human: str
    task: str


class _Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    expect: str
    request: str
    snapshot: str
    basis: str
    changed: bool = False
    reason: str = ""
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """One recorded request with the answer expected of it.

    Attributes:
        where: `file:line`; empty for one that was not read from a file.
        changed: the live definition was not the pinned one.
        reason, policies: checked where they are not empty; `policies` must be among the determining ones.
    """

    where: str
    name: str
    request: ActionRequest
    snapshot: Snapshot
    basis: Basis
    changed: bool
    expect: str
    reason: str = ""
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FixtureResult:
    """What became of one fixture; `problem` is empty when it holds, `unknown` names facts that were never recorded."""

    fixture: Fixture
    decision: Decision
    problem: str
    unknown: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the answer is the expected one. What cannot be told does not pass."""
        return not self.problem


def read_recorded(document: Document, problems: Problems) -> tuple[Fixture, ...]:
    """The `[[recorded]]` tables of one file; each fault with its line."""
    raw = document.raw.get(RECORDED, [])
    if not isinstance(raw, list):
        problems.add(document.file, f"{RECORDED} is a list of tables", f"write [[{RECORDED}]]")
        return ()
    found = (_fixture(document, index, item, problems) for index, item in enumerate(raw))
    return tuple(fixture for fixture in found if fixture)


def _fixture(document: Document, index: int, raw: Any, problems: Problems) -> Fixture | None:
    path = (RECORDED, index)
    where = document.lines.where(path)
    table = convert(document, path, raw, _Table, problems)
    if table is None:
        return None
    if table.expect not in ANSWERS.values():
        problems.add(document.lines.where((*path, "expect")), f"expect is one of {', '.join(ANSWERS.values())}")
    if table.reason and table.reason not in set(Reason):
        problems.add(document.lines.where((*path, "reason")), f"{quote(table.reason)} is no reason code")
    try:
        asked = msgspec.json.decode(table.request, type=_Asked)
        snapshot = Snapshot.decode(table.snapshot.encode())
        basis = msgspec.json.decode(table.basis, type=Basis)
        request = _request(asked)
    except (msgspec.MsgspecError, CallerError, ValueError, RecursionError) as error:
        problems.add(where, f"not a recorded request: {quote(str(error))}", "record it again: lictor policy record")
        return None
    return Fixture(
        where=where,
        name=table.name,
        request=request,
        snapshot=snapshot,
        basis=basis,
        changed=table.changed,
        expect=table.expect,
        reason=table.reason,
        policies=table.policies,
    )


def _request(asked: _Asked) -> ActionRequest:
    return ActionRequest.make(
        id=RequestId(asked.id),
        kind=asked.kind,
        server=ServerName(asked.server),
        name=asked.name,
        arguments=SealedArguments.seal(asked.arguments),
        agent=AgentId(asked.agent),
        human=HumanId(asked.human),
        task=TaskId(asked.task),
    )


def run_recorded(pdp: Pdp, fixtures: Sequence[Fixture]) -> tuple[FixtureResult, ...]:
    """Decide each fixture with this bundle and compare."""
    return tuple(_run(pdp, fixture) for fixture in fixtures)


def _run(pdp: Pdp, fixture: Fixture) -> FixtureResult:
    facts = rebase(pdp, fixture.request, fixture.snapshot, fixture.basis, changed=fixture.changed)
    decision = decide(pdp, fixture.request, facts.snapshot)
    if not facts.tells(decision):
        problem = f"cannot tell: never recorded: {', '.join(facts.unknown)}; record it again under this bundle"
        return FixtureResult(fixture=fixture, decision=decision, problem=problem, unknown=facts.unknown)
    return FixtureResult(fixture=fixture, decision=decision, problem=_difference(fixture, decision))


def _difference(fixture: Fixture, decision: Decision) -> str:
    answer = ANSWERS[type(decision)]
    got = f"{answer} ({decision.reason.value})"
    if decision.errors:
        got += f": {decision.errors[0][:200]}"
    if answer != fixture.expect:
        return f"expected {fixture.expect}, got {got}"
    if fixture.reason and decision.reason.value != fixture.reason:
        return f"expected reason {fixture.reason}, got {got}"
    missing = sorted(set(fixture.policies) - set(decision.policies))
    return f"expected policy {missing[0]!r} to decide, got {', '.join(decision.policies) or 'none'}" if missing else ""


def fixtures_text(fixtures: Sequence[Fixture]) -> str:
    """The content of a `tests/*.toml`; `read_recorded` is its inverse."""
    return "\n".join((_HEADER, *map(_text, fixtures)))


def _text(fixture: Fixture) -> str:
    request = fixture.request
    asked = _Asked(
        id=request.id,
        kind=request.kind,
        server=request.server,
        name=request.name,
        arguments=request.arguments.open(),
        agent=request.agent,
        human=request.human,
        task=request.task,
    )
    lines = [
        f"[[{RECORDED}]]",
        f"name = {toml_string(fixture.name)}",
        f"expect = {toml_string(fixture.expect)}",
        *([f"reason = {toml_string(fixture.reason)}"] if fixture.reason else []),
        *([f"policies = [{', '.join(map(toml_string, fixture.policies))}]"] if fixture.policies else []),
        *(["changed = true"] if fixture.changed else []),
        f"request = {toml_string(msgspec.json.encode(asked).decode())}",
        f"snapshot = {toml_string(fixture.snapshot.encode().decode())}",
        f"basis = {toml_string(msgspec.json.encode(fixture.basis, order='sorted').decode())}",
    ]
    return "\n".join(lines) + "\n"


def toml_string(text: str) -> str:
    """A TOML basic string: JSON's escapes are TOML's, but for DEL (TOML 1.0); what is no ASCII is escaped, so nothing hides."""
    parts = []
    for letter in text:
        point = ord(letter)
        parts.append(f"\\U{point:08X}" if point >= _ASTRAL or point == _DEL else json.dumps(letter)[1:-1])
    return f'"{"".join(parts)}"'


_ASTRAL: Final = 0x10000
_DEL: Final = 0x7F
