"""`catalog/<server>.toml` with `catalog/<server>.definitions.json`: what is known about each thing a server offers.

A tool or prompt counts only with the digest of the very definition a person looked at (TOOL-01, TOOL-02): the definitions file
holds what was pulled, the pin in the entry says that somebody accepted it. Refuses to know policies and live servers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lictor.model.action import ActionKind
from lictor.model.canonical import canonical, sha256_digest
from lictor.model.catalog import (
    CatalogEntry,
    CommandSelector,
    DestinationSelector,
    EffectClass,
    PathSelector,
    SqlSelector,
    ValueSelector,
    Watch,
)
from lictor.model.errors import CallerError
from lictor.model.ids import DefinitionDigest, ServerName
from lictor.model.preview_rule import PreviewRule
from lictor.pdp.facts import families
from lictor.policy.documents import Document, caller_message, convert, only_keys, tables
from lictor.policy.names import FEATURES, label_problem, resource_problem, tag_problem, thing_problem
from lictor.policy.preview_rules import rule_faults, tool_fault
from lictor.policy.problems import Problems, quote
from lictor.policy.selectors import (
    Fault,
    command_faults,
    destination_faults,
    path_faults,
    sql_faults,
    value_faults,
    watch_faults,
)
from lictor.policy.tomlpos import Path

Key = tuple[ActionKind, str, str]
Definitions = dict[Key, dict[str, Any]]

SECTIONS: Final = {
    "tools": ActionKind.TOOL,
    "resources": ActionKind.RESOURCE,
    "prompts": ActionKind.PROMPT,
    "features": ActionKind.FEATURE,
}
PINNED: Final = {"tools": ActionKind.TOOL, "prompts": ActionKind.PROMPT}
_MAX_TIMEOUT_S: Final = 3_600


class _Feature(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    effect: EffectClass
    reversible: bool = False
    idempotent: bool = False
    tags: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    timeout_s: int | None = None


class _Resource(_Feature, forbid_unknown_fields=True, kw_only=True):
    destination: DestinationSelector | None = None
    path: PathSelector | None = None
    watch: dict[str, Watch] = {}


class _StandIn(_Resource, forbid_unknown_fields=True, kw_only=True):
    value: ValueSelector | None = None
    sql: SqlSelector | None = None
    command: CommandSelector | None = None


class _Thing(_StandIn, forbid_unknown_fields=True, kw_only=True):
    pin: str = ""
    preview: PreviewRule | None = None


_FAULTS: Final[dict[str, Callable[[Any], Iterable[Fault]]]] = {
    "destination": destination_faults,
    "value": value_faults,
    "path": path_faults,
    "sql": sql_faults,
    "command": command_faults,
    "watch": watch_faults,
}
_TABLE: Final[dict[ActionKind, type[_Feature]]] = {
    ActionKind.TOOL: _Thing,
    ActionKind.PROMPT: _Thing,
    ActionKind.RESOURCE: _Resource,
    ActionKind.FEATURE: _Feature,
}


@dataclass(slots=True)
class Catalogue:
    """What all files say together."""

    entries: list[CatalogEntry] = field(default_factory=list)
    lines: dict[Key, str] = field(default_factory=dict)


def pin_of(definition: dict[str, Any]) -> DefinitionDigest:
    """Digest of a whole definition in canonical form; the live one is held against it at every decision.

    Raises:
        CallerError: it has no canonical form.
    """
    return DefinitionDigest(sha256_digest(canonical(definition)))


def read_definitions(file: str, server: str, raw: dict[str, Any], problems: Problems) -> Definitions:
    """`{"tools": [...], "prompts": [...]}` as pulled, by (kind, server, name)."""
    found: Definitions = {}
    for key in raw.keys() - PINNED.keys():
        problems.add(file, f"unknown key {quote(key)}", "known: tools, prompts")
    for section, kind in PINNED.items():
        items = raw.get(section, [])
        if not isinstance(items, list):
            problems.add(file, f"{section} must be a list of definitions")
            continue
        for index, item in enumerate(items):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                problems.add(file, f"{section}[{index}] is no definition with a name")
            elif (kind, server, name) in found:
                problems.add(file, f"{section} has {quote(name)} twice")
            else:
                found[kind, server, name] = item
    return found


def read_catalogue(
    document: Document, server: ServerName, definitions: Definitions, catalogue: Catalogue, problems: Problems
) -> None:
    """Add one server's entries."""
    only_keys(document, tuple(SECTIONS), problems)
    added = len(catalogue.entries)
    for section, kind in SECTIONS.items():
        for name, raw in tables(document, section, problems).items():
            path = (section, name)
            problem = _name_problem(kind, name)
            if problem:
                problems.add(document.lines.where(path), f"{quote(name)}: {problem}")
            table = convert(document, path, raw, _TABLE[kind], problems)
            if table is None:
                continue
            key = (kind, str(server), name)
            _Checks(document, path, problems).run(table)
            if isinstance(table, _Thing):
                _check_pin(document, path, table.pin, definitions.get(key), problems)
            catalogue.entries.append(_entry(server, kind, name, table))
            catalogue.lines[key] = document.lines.where(path)
    _check_previews(document, catalogue.entries[added:], problems)
    _check_resources(document, catalogue.entries[added:], problems)


def read_thing(
    document: Document, server: ServerName, path: tuple[str, str], problems: Problems
) -> CatalogEntry | None:
    """One table as a tool without definition, for policy tests; its pin is empty."""
    table = convert(document, path, document.raw[path[0]][path[1]], _StandIn, problems)
    if table is None:
        return None
    _Checks(document, path, problems).run(table)
    return _entry(server, ActionKind.TOOL, str(path[1]), table)


def _entry(server: ServerName, kind: ActionKind, name: str, table: _Feature) -> CatalogEntry:
    return CatalogEntry(
        server=server,
        kind=kind,
        name=name,
        effect=table.effect,
        reversible=table.reversible,
        idempotent=table.idempotent,
        tags=tuple(sorted(set(table.tags))),
        labels=tuple(families(table.labels)),
        destination=table.destination if isinstance(table, _Resource) else None,
        path=table.path if isinstance(table, _Resource) else None,
        watch=table.watch if isinstance(table, _Resource) else {},
        value=table.value if isinstance(table, _StandIn) else None,
        sql=table.sql if isinstance(table, _StandIn) else None,
        command=table.command if isinstance(table, _StandIn) else None,
        pin=DefinitionDigest(table.pin) if isinstance(table, _Thing) else None,
        timeout_s=table.timeout_s,
        preview=table.preview if isinstance(table, _Thing) else None,
    )


def _name_problem(kind: ActionKind, name: str) -> str:
    match kind:
        case ActionKind.RESOURCE:
            return resource_problem(name)
        case ActionKind.FEATURE:
            return "" if name in FEATURES else f"unknown feature; known: {', '.join(FEATURES)}"
        case ActionKind.TOOL | ActionKind.PROMPT:
            return thing_problem(name)
        case ActionKind.CREDENTIAL | ActionKind.TASK:
            return "this does not stand in a catalogue"


def _check_pin(document: Document, path: Path, pin: str, definition: dict[str, Any] | None, problems: Problems) -> None:
    where = document.lines.where((*path, "pin"))
    if definition is None:
        problems.add(
            where, f"{quote(path[1])} has no definition beside the catalogue", "pull it: lictor catalog pull SERVER"
        )
        return
    try:
        digest = pin_of(definition)
    except CallerError as error:
        problems.add(where, f"the definition of {quote(path[1])} cannot be pinned: {caller_message(error)}")
        return
    if not pin:
        problems.add(where, f"{quote(path[1])} has no pin", f'look at its definition, then write: pin = "{digest}"')
    elif pin != digest:
        problems.add(
            where,
            f"the pin of {quote(path[1])} is not that of its definition",
            f'look at the definition again, then write: pin = "{digest}"',
        )


def _check_previews(document: Document, entries: list[CatalogEntry], problems: Problems) -> None:
    """Previews stand on the entry's other selectors, and on other entries."""
    effects = {entry.name: entry.effect for entry in entries if entry.kind is ActionKind.TOOL}
    for entry in entries:
        if entry.preview is None:
            continue
        section = next(name for name, kind in SECTIONS.items() if kind is entry.kind)
        where = document.lines.where((section, entry.name, "preview"))
        for value, problem in (*rule_faults(entry, entry.preview), *tool_fault(entry, entry.preview, effects)):
            problems.add(where, f"the preview of {quote(entry.name)}: {quote(value)}: {problem}")


def _check_resources(document: Document, entries: list[CatalogEntry], problems: Problems) -> None:
    """A server's resources share one action, `resource:server`, so they share class and tags; the highest class is safe."""
    resources = [entry for entry in entries if entry.kind is ActionKind.RESOURCE]
    for entry in resources[1:]:
        if (entry.effect, entry.tags) != (resources[0].effect, resources[0].tags):
            problems.add(
                document.lines.where(("resources", entry.name)),
                f"{quote(entry.name)} differs in effect or tags from {quote(resources[0].name)}",
                "all resources of a server are one action: give them the highest effect and all tags",
            )


class _Checks:
    """The parts of one entry that types alone do not settle."""

    def __init__(self, document: Document, path: Path, problems: Problems) -> None:
        self._document = document
        self._path = path
        self._problems = problems

    def run(self, table: _Feature) -> None:
        for tag in table.tags:
            self._note("tags", tag, tag_problem(tag))
        for label in table.labels:
            self._note("labels", label, label_problem(label))
        if table.timeout_s is not None and not 0 < table.timeout_s <= _MAX_TIMEOUT_S:
            self._note("timeout_s", table.timeout_s, f"a timeout is 1 to {_MAX_TIMEOUT_S} seconds")
        for member, faults in _FAULTS.items():
            selector = getattr(table, member, None)
            if selector is not None:
                for value, problem in faults(selector):
                    self._note(member, value, problem)

    def _note(self, key: str, value: object, problem: str) -> None:
        if problem:
            self._problems.add(self._document.lines.where((*self._path, key)), f"{quote(value)}: {problem}")
