"""Policies under our own ids: from a file's text and its JSON (as the guard's child wrote it) to `ParsedPolicy`.

The engine numbers policies by position, which changes with every edit; a record must name a policy so that it can be found
again. So `@id` is required and unique in the bundle. Refuses to know what a policy means, and templates.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from lictor.model.canonical import sha256_digest
from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyId
from lictor.model.reasons import Reason
from lictor.policy.guard import Statement, scan_policy_text

_ID: Final = re.compile(r"[A-Za-z0-9._/-]{1,128}", re.ASCII)
_POSITION: Final = re.compile(r"policy(\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPolicy:
    """One static policy.

    Attributes:
        id: its `@id`.
        annotations: all of them, `@id` included; they inform people and decide nothing.
        json: the engine's JSON form.
        text: as written, annotations included.
        file: where it stands, with `line` (from 1).
        digest: `sha256:<hex>` of `json` with sorted keys.
    """

    id: PolicyId
    effect: Literal["permit", "forbid"]
    annotations: Mapping[str, str]
    json: Mapping[str, Any]
    text: str
    file: str
    line: int
    digest: str

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"


def parse_policies(file: str, text: str, policy_json: str | bytes) -> tuple[ParsedPolicy, ...]:
    """The policies of one file, in the file's order.

    Args:
        file: its name, for messages.
        text: its content.
        policy_json: the same content as the engine's JSON.

    Raises:
        OperatorError: `bundle_refused`, with `where="file:line"`: a template, `@id` missing, badly formed or twice, or JSON
            that is not this text's.
    """
    statements = scan_policy_text(file, text)
    try:
        document = msgspec.json.decode(policy_json, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refused(f"{file}:1", f"not policy JSON: {str(error)[:200]}") from error
    for position in document.get("templates", ()):
        where = f"{file}:{_statement(file, statements, position)[1].line}"
        raise _refused(where, "templates (?principal, ?resource) are not supported: write a policy for each")
    static = document.get("staticPolicies", {})
    if document.get("templateLinks") or len(static) != len(statements):
        raise _refused(f"{file}:1", f"{len(statements)} policies in the text, {len(static)} in its JSON")
    placed = sorted((*_statement(file, statements, position), policy) for position, policy in static.items())
    return unique(_policy(file, statement, policy) for _, statement, policy in placed)


def unique(policies: Iterable[ParsedPolicy]) -> tuple[ParsedPolicy, ...]:
    """The same policies, in the same order, no id twice.

    Raises:
        OperatorError: `bundle_refused` at the second of two policies with one id.
    """
    found: dict[PolicyId, ParsedPolicy] = {}
    for policy in policies:
        first = found.setdefault(policy.id, policy)
        if first is not policy:
            raise _refused(policy.where, f"@id({policy.id!r}) is already used at {first.where}", "choose another @id")
    return tuple(found.values())


def _statement(file: str, statements: tuple[Statement, ...], position: str) -> tuple[int, Statement]:
    match = _POSITION.fullmatch(position)
    if match is None or int(match[1]) >= len(statements):
        raise _refused(f"{file}:1", f"policy {position[:80]!r} is not in the text")
    return int(match[1]), statements[int(match[1])]


def _policy(file: str, statement: Statement, policy: dict[str, Any]) -> ParsedPolicy:
    where = f"{file}:{statement.line}"
    annotations = {name: "" if value is None else str(value) for name, value in policy.get("annotations", {}).items()}
    name = annotations.get("id", "")
    if not name:
        raise _refused(where, "a policy without @id", 'put @id("team/what-it-does") before it')
    if _ID.fullmatch(name) is None:
        raise _refused(where, f"@id({name[:140]!r}) is not 1 to 128 of A-Z a-z 0-9 . _ / -")
    effect = policy["effect"]
    if effect not in ("permit", "forbid"):
        raise _refused(where, f"unknown effect {effect!r}")
    return ParsedPolicy(
        id=PolicyId(name),
        effect=effect,
        annotations=annotations,
        json=policy,
        text=statement.text,
        file=file,
        line=statement.line,
        digest=sha256_digest(msgspec.json.encode(policy, order="sorted")),
    )


def _refused(where: str, message: str, remedy: str = "") -> OperatorError:
    return OperatorError(Reason.BUNDLE_REFUSED, message, remedy=remedy, where=where)
