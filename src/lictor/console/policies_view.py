"""A bundle as pages show it: its policies with annotations and source, its other files, what is claimed of it. Values only.

Refuses to know stores, and to judge: lints and claims are other people's words.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lictor.policy.bundle import Bundle
from lictor.policy.explain import Explanation, shown
from lictor.policy.standing import STANDING
from lictor.policy.text import ParsedPolicy

PER_PAGE: Final = 100
"""Policies of one list."""
PER_FILE_PAGE: Final = 100
"""Policies of one page of source."""
MAX_LINES: Final = 3_000
"""Lines of a file that is no policy; the download has all."""
MAX_LINE: Final = 2_000
"""Characters of one line of it."""
MAX_CLAIMS_BYTES: Final = 256 * 1024
_KINDS: Final = ("invariants", "tightening")
_OWN_PLACE: Final = frozenset({"id", "reason", "owner"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """One policy."""

    id: str
    effect: str
    file: str
    line: int
    reason: str
    owner: str
    annotations: tuple[tuple[str, str], ...]
    """All others."""
    lines: tuple[str, ...]
    digest: str
    page: int
    """Which page of its file it stands on, from 1."""
    decided: int = 0
    """How often it determined a decision lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """One file of a bundle."""

    path: str
    size: int
    policies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What somebody claims of every request. `built_in`: the gateway's own promise."""

    name: str
    title: str
    says: str
    built_in: bool
    waived: str = ""
    """Why nobody holds the bundle to it; empty: it is held."""


@dataclass(frozen=True, slots=True)
class ClauseView:
    """One condition of a policy: whether it was met, and what it read."""

    text: str
    holds: bool | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteView:
    """One policy whose scope matches, with each of its conditions."""

    id: str
    effect: str
    where: str
    reason: str
    outcome: str
    error: str
    with_approval: bool
    clauses: tuple[ClauseView, ...]


@dataclass(frozen=True, slots=True)
class Lines:
    """A text cut to what a page holds."""

    lines: tuple[str, ...]
    left_out: int
    """Lines left out."""
    cut: int
    """Lines whose end is left out."""


def policies_of(bundle: Bundle, decided: Mapping[str, int]) -> tuple[PolicyView, ...]:
    """Every policy, in the order of files and lines."""
    found: list[PolicyView] = []
    place: dict[str, int] = {}
    for policy in sorted(bundle.policies, key=lambda one: (one.file, one.line)):
        count = place.get(policy.file, 0)
        place[policy.file] = count + 1
        found.append(_view(policy, count // PER_FILE_PAGE + 1, decided.get(policy.id, 0)))
    return tuple(found)


def _view(policy: ParsedPolicy, page: int, decided: int) -> PolicyView:
    others = [(name, value) for name, value in policy.annotations.items() if name not in _OWN_PLACE]
    return PolicyView(
        id=policy.id,
        effect=policy.effect,
        file=policy.file,
        line=policy.line,
        reason=policy.annotations.get("reason", ""),
        owner=policy.annotations.get("owner", ""),
        annotations=tuple(sorted(others)),
        lines=tuple(policy.text.split("\n")),
        digest=policy.digest,
        page=page,
        decided=decided,
    )


def matching(policies: Iterable[PolicyView], text: str, effect: str) -> list[PolicyView]:
    """Those whose id, reason, owner, place or text has all the words, and that have the effect."""
    words = text.casefold().split()
    found = []
    for one in policies:
        searched = "\n".join((one.id, one.reason, one.owner, one.file, *one.lines)).casefold()
        if all(word in searched for word in words) and effect in {"", one.effect}:
            found.append(one)
    return found


def notes_of(found: Explanation) -> tuple[NoteView, ...]:
    """What an explanation says of each policy in scope, in words."""
    return tuple(
        NoteView(
            id=note.id,
            effect=note.effect,
            where=note.where,
            reason=note.reason,
            outcome=note.outcome,
            error=note.error,
            with_approval=note.with_approval,
            clauses=tuple(
                ClauseView(one.text, one.holds, tuple((path, shown(value)) for path, value in one.values.items()))
                for one in note.clauses
            ),
        )
        for note in found.policies
    )


def files_of(bundle: Bundle) -> tuple[FileView, ...]:
    """Its files, policies first."""
    counts: dict[str, int] = {}
    for policy in bundle.policies:
        counts[policy.file] = counts.get(policy.file, 0) + 1
    found = [
        FileView(path=path, size=len(data), policies=counts.get(path, 0)) for path, data in sorted(bundle.files.items())
    ]
    return tuple(sorted(found, key=lambda one: (one.policies == 0, one.path)))


def lines_of(data: bytes) -> Lines:
    """A file as lines; what is no UTF-8 is shown as what it is not."""
    lines = data.decode("utf-8", "replace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    shown = lines[:MAX_LINES]
    long = sum(len(line) > MAX_LINE for line in shown)
    return Lines(tuple(line[:MAX_LINE] for line in shown), len(lines) - len(shown), long)


def claims_of(own: bytes | None) -> tuple[tuple[Claim, ...], str]:
    """The standing claims and those of `invariants.toml`, as they stand there, and why that file could not be read.

    Its conditions are shown and not parsed: whether they are conditions, and hold, is for `lictor policy check` and `prove`.
    """
    standing = tomllib.loads(STANDING)
    if own is None:
        return tuple(_claims(standing, {}, built_in=True)), ""
    if len(own) > MAX_CLAIMS_BYTES:
        return tuple(_claims(standing, {}, built_in=True)), f"larger than {MAX_CLAIMS_BYTES} bytes"
    try:
        raw = tomllib.loads(own.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return tuple(_claims(standing, {}, built_in=True)), " ".join(str(error).split())[:300]
    waived = {
        name: _text(_table(why), "reason") or "no reason given" for name, why in _table(raw.get("waived")).items()
    }
    return (*_claims(standing, waived, built_in=True), *_claims(raw, {}, built_in=False)), ""


def _claims(raw: Mapping[str, Any], waived: Mapping[str, str], *, built_in: bool) -> Iterable[Claim]:
    for kind in _KINDS:
        for name, value in _table(raw.get(kind)).items():
            table = _table(value)
            says = _invariant(table) if kind == "invariants" else _tightening(table)
            yield Claim(
                name=name, title=_text(table, "title"), says=says, built_in=built_in, waived=waived.get(name, "")
            )


def _invariant(table: Mapping[str, Any]) -> str:
    when, unless = _text(table, "when"), _text(table, "unless")
    outcome = f"never {_text(table, 'never')}" if table.get("never") else f"always {_text(table, 'always')}"
    return f"{outcome}{f' when {when}' if when else ''}{f' unless {unless}' if unless else ''}"


def _tightening(table: Mapping[str, Any]) -> str:
    return f"{_text(table, 'change')} {_text(table, 'fact')}: never laxer"


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name, "")
    return value if isinstance(value, str) else str(value)[:100]


def numbers(bundle: Bundle) -> Sequence[tuple[str, int]]:
    """How much there is of each kind, for a glance."""
    things = [entry for entry in bundle.entries if entry.server]
    return (
        ("Policies", len(bundle.policies)),
        ("Catalogue entries", len(things)),
        ("Servers", len({entry.server for entry in things})),
        ("Agents", len(bundle.agents)),
        ("Approvers", len(bundle.approvers.groups_of)),
        ("Measures", len(bundle.measures)),
        ("Signals", len(bundle.signals)),
        ("Credentials", len(bundle.credentials)),
    )
