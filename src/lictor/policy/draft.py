"""A server's own lists into catalogue entries for a person to review: `lictor catalog pull`.

Everything a server says about itself is a claim: it ends up in comments, on one line, escaped. What is drafted is the careful
reading (`write`), and what somebody has reviewed is never changed: a new definition under an old name is reported, and taken over
only when its name is given. Refuses to know connections and folders.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.errors import LictorError
from lictor.model.ids import ServerName
from lictor.policy.arguments import ArgumentsValidator
from lictor.policy.catalogue import Catalogue, Definitions, pin_of, read_catalogue, read_definitions
from lictor.policy.cedarschema import action_type, arguments_schema
from lictor.policy.documents import read_json, read_toml
from lictor.policy.names import resource_problem, server_problem, thing_problem
from lictor.policy.problems import BundleRefused, Problem, Problems, quote

Json = dict[str, Any]

_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
_URLS: Final = ("url", "uri", "link", "href", "endpoint")
_HEADER: Final = """\
# {server}: drafted from what the server says about itself. Review every entry; delete what nobody needs.
# A thing without an entry is denied. `write` is the careful reading: look at what a tool really does before you write `read`,
# and write `destructive` where it cannot be undone.
#   labels       what its results bring into a task, e.g. ["untrusted:web"] for strangers' words, ["confidential"]
#   tags         e.g. ["communicates"] when something can leave through it
#   destination  where its arguments name a URL: {{ url = "/url" }}
"""
_KINDS: Final = {"tools": ActionKind.TOOL, "prompts": ActionKind.PROMPT}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server listed: the items of `tools/list`, `prompts/list`, `resources/list`, `resources/templates/list`."""

    tools: Sequence[Json] = ()
    prompts: Sequence[Json] = ()
    resources: Sequence[Json] = ()
    templates: Sequence[Json] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """New content of `catalog/<server>.toml` and `catalog/<server>.definitions.json`.

    Attributes:
        added: names drafted now, e.g. `tools.read_file`.
        changed: names whose definition is no longer the pinned one; the entries still say what was reviewed.
        accepted: names whose new definition was taken over.
        gone: names in the catalogue that the server does not list.
        skipped: what cannot be catalogued, with the reason.
    """

    server: str
    text: str
    definitions: bytes
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """The content by name within `catalog/`."""
        return {f"{self.server}.toml": self.text, f"{self.server}.definitions.json": self.definitions.decode()}


@dataclass(slots=True)
class _Work:
    server: ServerName
    text: str
    known: set[tuple[ActionKind, str]]
    pins: dict[tuple[ActionKind, str], str]
    definitions: Definitions
    accept: Collection[str]
    blocks: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def merge_draft(text: str, definitions: bytes, server: str, listing: Listing, *, accept: Collection[str] = ()) -> Draft:
    """Add what is new to a reviewed catalogue; change nothing in it but the pins that are accepted.

    Args:
        text: the existing `catalog/<server>.toml`, or empty.
        definitions: the existing `catalog/<server>.definitions.json`, or empty.
        server: the server's name.
        listing: what it lists now.
        accept: names (`tools.NAME`, `prompts.NAME`) whose new definition a person has looked at and accepts.

    Raises:
        OperatorError: `bundle_refused`: not a server name, or the existing files are broken: mend them first.
    """
    problem = server_problem(server)
    if problem:
        raise BundleRefused([Problem(f"catalog/{quote(server)}", problem)])
    work = _open(text, definitions, ServerName(server), accept)
    _draft_defined(work, "tools", listing.tools)
    _draft_defined(work, "prompts", listing.prompts)
    _draft_resources(work, listing)
    parts = [work.text.rstrip("\n") + "\n" if work.text else _HEADER.format(server=server), *work.blocks]
    return Draft(
        server=server,
        text="\n".join(parts),
        definitions=_definitions_json(work.definitions),
        added=tuple(work.added),
        changed=tuple(work.changed),
        accepted=tuple(work.accepted),
        gone=tuple(_gone(work, listing)),
        skipped=tuple(work.skipped),
    )


def _open(text: str, definitions: bytes, server: ServerName, accept: Collection[str]) -> _Work:
    file, kept = f"catalog/{server}.toml", f"catalog/{server}.definitions.json"
    problems = Problems()
    raw = read_json(kept, definitions, problems) if definitions else None
    pulled = read_definitions(kept, server, raw, problems) if raw else {}
    document = read_toml(file, text.encode(), problems)
    catalogue = Catalogue()
    if document is not None:
        read_catalogue(document, server, pulled, catalogue, problems)
    problems.raise_if_any()
    return _Work(
        server=server,
        text=text,
        known={(entry.kind, entry.name) for entry in catalogue.entries},
        pins={(entry.kind, entry.name): entry.pin for entry in catalogue.entries if entry.pin},
        definitions=pulled,
        accept=accept,
    )


def _draft_defined(work: _Work, section: str, items: Sequence[Json]) -> None:
    kind = _KINDS[section]
    for name, definition in _unique(work, section, items):
        key = (kind, str(work.server), name)
        try:
            pin = pin_of(definition)
            _try_to_type(work.server, kind, name, definition)
        except (LictorError, ValueError, TypeError) as error:
            message = error.message if isinstance(error, LictorError) else str(error)
            work.skipped.append((f"{section}.{name}", message))
            continue
        if (kind, name) in work.known:
            _compare(work, section, name, definition, pin)
            continue
        work.definitions[key] = definition
        work.added.append(f"{section}.{name}")
        work.blocks.append(_block(section, name, definition, pin))


def _compare(work: _Work, section: str, name: str, definition: Json, pin: str) -> None:
    kind, label = _KINDS[section], f"{section}.{name}"
    old = work.pins[kind, name]
    if old == pin:
        return
    if label not in work.accept:
        work.changed.append(label)
        return
    place = read_toml("", work.text.encode(), Problems())
    line = int(place.lines.where((section, name, "pin")).rpartition(":")[2]) - 1 if place else 0
    lines = work.text.split("\n")
    lines[line] = lines[line].replace(old, pin)
    work.text = "\n".join(lines)
    work.definitions[kind, str(work.server), name] = definition
    work.accepted.append(label)


def _unique(work: _Work, section: str, items: Sequence[Json]) -> Iterator[tuple[str, Json]]:
    """Items with a usable name that is offered once; of two with one name nobody knows which would answer (TOOL-05)."""
    names = [item.get("name") for item in items]
    for item in sorted(items, key=lambda item: str(item.get("name"))):
        name = item.get("name")
        if not isinstance(name, str):
            work.skipped.append((section, "an item without a name"))
        elif names.count(name) > 1:
            work.skipped.append((f"{section}.{name}", "offered more than once"))
        elif thing_problem(name):
            work.skipped.append((f"{section}.{name}", thing_problem(name)))
        else:
            yield name, item


def _try_to_type(server: ServerName, kind: ActionKind, name: str, definition: Json) -> None:
    """Refuse now what the bundle would be refused for later."""
    entry = CatalogEntry(server=server, kind=kind, name=name, effect=EffectClass.WRITE)
    action_type(entry, definition).text()
    ArgumentsValidator(arguments_schema(entry, definition))


def _draft_resources(work: _Work, listing: Listing) -> None:
    for uri in sorted({item["uri"] for item in listing.resources if isinstance(item.get("uri"), str)}):
        label = f"resources.{uri}"
        if resource_problem(uri) or "*" in uri:
            work.skipped.append((label, resource_problem(uri) or "the URI holds a *"))
        elif (ActionKind.RESOURCE, uri) not in work.known and not _covered(work, uri):
            work.added.append(label)
            work.blocks.append(f'[resources.{_key(uri)}]\neffect = "write"\n')
    for item in listing.templates:
        template = item.get("uriTemplate")
        prefix = template.partition("{")[0] if isinstance(template, str) else ""
        if prefix and not resource_problem(prefix) and (ActionKind.RESOURCE, f"{prefix}*") not in work.known:
            block = f'# the server has the template {quote(template)}\n# [resources.{_key(prefix + "*")}]\n# effect = "write"\n'
            if block not in work.blocks and f"[resources.{_key(prefix + '*')}]" not in work.text:
                work.blocks.append(block)


def _covered(work: _Work, uri: str) -> bool:
    prefixes = (name[:-1] for kind, name in work.known if kind is ActionKind.RESOURCE and name.endswith("*"))
    return any(uri.startswith(prefix) for prefix in prefixes)


def _block(section: str, name: str, definition: Json, pin: str) -> str:
    said = [definition.get(key) for key in ("title", "description")]
    lines = [f"# the server says: {quote(text)}" for text in said if text and isinstance(text, str)]
    lines += _hints(definition)
    lines += [f"[{section}.{_key(name)}]", 'effect = "write"']
    lines += _suggestions(definition)
    lines.append(f'pin = "{pin}"')
    return "\n".join(lines) + "\n"


def _hints(definition: Json) -> list[str]:
    """Annotations are claims of the server (MCP 2025-11-25, server/tools: untrusted unless the server is)."""
    annotations = definition.get("annotations")
    if not isinstance(annotations, dict):
        return []
    said = [f"{hint}={str(annotations[hint]).lower()}" for hint in _HINTS if isinstance(annotations.get(hint), bool)]
    return [f"# the server says {', '.join(said)}; look before you lower the effect"] if said else []


def _suggestions(definition: Json) -> list[str]:
    schema = definition.get("inputSchema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    found = [name for name in _URLS if isinstance(properties, Mapping) and name in properties]
    return [f'# destination = {{ url = "/{name}" }}\n# labels = ["untrusted:web"]' for name in found[:1]]


def _gone(work: _Work, listing: Listing) -> Iterator[str]:
    listed = {
        *((ActionKind.TOOL, item.get("name")) for item in listing.tools),
        *((ActionKind.PROMPT, item.get("name")) for item in listing.prompts),
    }
    sections = {kind: section for section, kind in _KINDS.items()}
    for kind, name in sorted(work.known):
        if kind in sections and (kind, name) not in listed:
            yield f"{sections[kind]}.{name}"


def _definitions_json(definitions: Definitions) -> bytes:
    """Readable, sorted, pure ASCII: a definition that hides characters shows them as escapes."""
    document = {
        section: [definition for (found, _, _), definition in sorted(definitions.items()) if found is kind]
        for section, kind in _KINDS.items()
    }
    return (json.dumps(document, indent=2, ensure_ascii=True) + "\n").encode()


def _key(name: str) -> str:
    """A name as a TOML key; bare where that is possible."""
    if name.isascii() and name.replace("_", "").replace("-", "").isalnum():
        return name
    return json.dumps(name, ensure_ascii=False)
