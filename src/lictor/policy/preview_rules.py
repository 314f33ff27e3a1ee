"""`preview` of a catalogue entry: what types alone do not settle.

A preview that could never be made, or that would look somewhere else than the action does, is a fault of the bundle. Refuses to
know files, lines and how a preview is made.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from lictor.model.action import ActionKind
from lictor.model.catalog import CatalogEntry, EffectClass, many
from lictor.model.preview_rule import (
    CommandPreview,
    FilePreview,
    GitPreview,
    HttpPreview,
    ListPreview,
    MessagePreview,
    PaymentPreview,
    PreviewRule,
    SqlPreview,
    ToolPreview,
)
from lictor.policy.names import name_problem, thing_problem
from lictor.policy.selectors import Fault, pointer_faults

MAX_LISTED: Final = 1_000
MAX_OVERRIDES: Final = 16
_CONTENT: Final = frozenset({"write", "create", "append"})


def rule_faults(entry: CatalogEntry, rule: PreviewRule) -> Iterator[Fault]:
    """Faults of one rule, beside its entry's other selectors."""
    if entry.kind is not ActionKind.TOOL:
        yield entry.kind.value, "previews are of tools"
        return
    yield from pointer_faults("preview", tuple(dict.fromkeys(rule.pointers)), needed=False)
    match rule:
        case FilePreview():
            yield from _file(entry, rule)
        case ListPreview():
            yield from _list(rule)
        case CommandPreview():
            yield from _command(entry, rule)
        case SqlPreview():
            yield from _sql(entry, rule)
        case HttpPreview():
            yield from _http(entry, rule)
        case MessagePreview():
            yield from _message(entry, rule)
        case GitPreview():
            yield from _git(entry, rule)
        case PaymentPreview():
            if entry.destination is None or entry.destination.kind != "account" or entry.value is None:
                yield "payment", "it needs destination.account and value"
        case ToolPreview():
            yield from _tool(rule)


def tool_fault(entry: CatalogEntry, rule: PreviewRule, effects: Mapping[str, EffectClass]) -> Iterator[Fault]:
    """Whether a preview's tool only looks: it is called before anybody has answered.

    Args:
        entry: whose preview it is.
        rule: of any kind.
        effects: what the server's catalogued tools do at worst, by name.
    """
    if not isinstance(rule, ToolPreview) or (rule.tool == entry.name and rule.put):
        return
    if rule.tool == entry.name:
        yield rule.tool, 'it would do what it is to show: give `put` what makes it a dry run, as { "/dryRun" = true }'
    elif effects.get(rule.tool) is not EffectClass.READ:
        yield rule.tool, "a preview is made before anybody has answered: its tool must be catalogued with effect read"


def _file(entry: CatalogEntry, rule: FilePreview) -> Iterator[Fault]:
    yield from _host_path(entry, rule.path)
    if rule.to:
        yield from _host_path(entry, rule.to)
    if "*" in rule.path.split("/") and rule.action != "delete":
        yield rule.path, "several paths are for delete only"
    if bool(rule.content) is not (rule.action in _CONTENT):
        yield rule.content, f"content belongs to {', '.join(sorted(_CONTENT))}, and only there"
    if bool(rule.to) is not (rule.action == "move"):
        yield rule.to, "to belongs to move, and only there"
    if bool(rule.edits) is not (rule.action == "edit"):
        yield rule.edits, "edits belongs to edit, and only there"
    if rule.base64 and not rule.content:
        yield rule.base64, "base64 says something about content"
    for pointer in filter(None, (rule.content, rule.to, rule.edits)):
        if "*" in pointer.split("/"):
            yield pointer, "it is one pointer, without *"


def _host_path(entry: CatalogEntry, pointer: str) -> Iterator[Fault]:
    """What is shown has to be what the decision was about: the same argument, resolved on this host."""
    if entry.path is None or entry.path.resolve != "host" or entry.path.style != "posix":
        yield pointer, 'it needs path with resolve = "host": files are read where the gateway runs'
    elif pointer not in many(entry.path.pointer) and pointer != entry.path.base:
        yield pointer, "it is none of the pointers of path"


def _list(rule: ListPreview) -> Iterator[Fault]:
    if not rule.pattern:
        yield rule.pattern, "pattern is a JSON pointer into the arguments, such as /pattern"
    if not rule.roots:
        yield rule.roots, "roots names at least one directory"
    for name, root in rule.roots.items():
        if problem := name_problem(name):
            yield name, problem
        yield from _directory(root)
    if rule.base and rule.base not in rule.roots:
        yield rule.base, "base is the name of a root"
    if not 0 < rule.limit <= MAX_LISTED:
        yield rule.limit, f"limit is 1 to {MAX_LISTED}"


def _directory(path: str) -> Iterator[Fault]:
    if not path.startswith("/") or path.startswith("//") or "\0" in path or {".", ".."} & set(path.split("/")):
        yield path, "it is an absolute directory without . and .."


def _command(entry: CatalogEntry, rule: CommandPreview) -> Iterator[Fault]:
    if entry.command is None:
        yield "command", "it needs command"
    if rule.base:
        yield from _directory(rule.base)
    if "*" in rule.cwd.split("/"):
        yield rule.cwd, "cwd is one pointer, without *"


def _sql(entry: CatalogEntry, rule: SqlPreview) -> Iterator[Fault]:
    if entry.sql is None:
        yield "sql", "it needs sql"
    if rule.authority and (problem := name_problem(rule.authority)):
        yield rule.authority, problem


def _http(entry: CatalogEntry, rule: HttpPreview) -> Iterator[Fault]:
    if entry.destination is None or entry.destination.kind not in {"url", "host"}:
        yield "http", "it needs destination.url or destination.host"
    if rule.lookup == "none" and (rule.follow or rule.strict):
        yield rule.lookup, "follow and strict need look-ups"


def _message(entry: CatalogEntry, rule: MessagePreview) -> Iterator[Fault]:
    if not many(rule.to) and (entry.destination is None or entry.destination.kind != "email"):
        yield "message", "it needs destination.email, or to"
    if not frozenset(",;").issuperset(rule.separator):
        yield rule.separator, "separator is ',' or ';' or both"


def _git(entry: CatalogEntry, rule: GitPreview) -> Iterator[Fault]:
    if entry.destination is None or entry.destination.kind != "git" or not entry.destination.ref:
        yield "git", "it needs destination.git with ref"
    if bool(rule.repository) is bool(rule.clone):
        yield [rule.repository, rule.clone], "it needs either repository, a pointer, or clone, a directory"
    elif rule.clone:
        yield from _directory(rule.clone)
    else:
        yield from _host_path(entry, rule.repository)


def _tool(rule: ToolPreview) -> Iterator[Fault]:
    if problem := thing_problem(rule.tool):
        yield rule.tool, problem
    if len(rule.put) + len(rule.drop) > MAX_OVERRIDES:
        yield len(rule.put) + len(rule.drop), f"at most {MAX_OVERRIDES} arguments are put or dropped"
    for pointer in (*rule.put, *rule.drop):
        yield from pointer_faults("put and drop", pointer)
        if "*" in pointer.split("/"):
            yield pointer, "it is one pointer, without *"
    for pointer in rule.drop:
        if pointer in rule.put:
            yield pointer, "it is put and dropped"
