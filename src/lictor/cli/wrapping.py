"""Put Lictor in front of the servers an MCP client starts, and take it away again.

Rewrites `command` and `args` of each entry that starts a process; every other byte of the file stays. Works in two
steps, so that a person sees the diff before anything is written: `plan` reads, `apply` writes. Refuses to know how the
client runs, what the servers do, and where secrets go; never wraps what it does not fully understand.

What a crash of `apply` means: before the replacement the client's file is as it was, and a backup equal to it may lie
beside it (a new `apply` uses it, `unwrap` clears it away); after it the file is wrapped, backup and note are complete.
"""

import copy
import difflib
import hashlib
import json
import os
import re
import stat
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import tomlkit
import tomlkit.exceptions

from lictor.cli import clients, jsonc
from lictor.cli.clients import EVERY, ClientConfig, KeyPath
from lictor.cli.lifting import PLACE, Lifted, Moved, backup_of, found_in, in_words, masked
from lictor.model.errors import LictorError, OperatorError
from lictor.model.reasons import Reason
from lictor.stores.private import private_folder

Action = Literal["wrap", "already", "remote", "unknown", "unwrap", "kept"]
How = Literal["wrap", "backup", "entries"]

BACKUP_SUFFIX = ".lictor.bak"
NOTE_SUFFIX = ".lictor.json"

_CONTEXT = 3
"""Unchanged lines shown round a change."""
_AHEAD = 100
"""Lines looked ahead, in sum of both sides, for the place where two texts run together again."""

_SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_REMOTE_KEYS = ("url", "httpUrl", "serverUrl")
_REMOTE_TYPES = frozenset({"http", "sse", "streamable-http", "streamablehttp", "ws"})
_EXECUTABLES = frozenset({"lictor", "lictor.exe"})
_BOM = "\ufeff"
_TOML_LINE = re.compile(r"at line (\d+)")
_REMOTE_NOTE = "not wrapped: remote; point it at `lictor serve`"
_UNKNOWN_NOTE = "not wrapped: neither a command nor a url; calls to it do not pass through lictor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server in a client's configuration, and what happens to it.

    Attributes:
        name: the client's name for it.
        where: its keys from the root of the file.
        action: `wrap`, `unwrap`, or why it is left alone: `already` wrapped, `remote`, `unknown`, `kept`.
        server: the Lictor server name; empty when there is none.
        note: for people; empty when there is nothing to say.
    """

    name: str
    where: KeyPath
    action: Action
    server: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would be written.

    Attributes:
        path: the file as it was named.
        target: the file behind symbolic links, the one that is written.
        before: its text now. Encoded as UTF-8 it is the file, byte for byte.
        after: its text afterwards; equal to `before` when there is nothing to do.
        entries: every server found, in the order of the file.
        notes: what a person should know about the file as a whole.
        how: `wrap`; for unwrapping `backup` (the old bytes) or `entries` (each entry rewritten back).
        command: the executable written or recognised.
        leftovers: files of ours that go once `after` is in place (unwrapping only).
    """

    path: Path
    target: Path
    before: str
    after: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    how: How
    command: str
    leftovers: tuple[Path, ...] = ()
    lifted: tuple[Lifted, ...] = ()
    moved: tuple[Moved, ...] = ()
    backup: Path | None = None
    """Where the file as it was is kept, when it holds secrets; None: beside it."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was done: `backup` is the copy beside the file, None when nothing was written."""

    plan: Plan
    backup: Path | None


class _Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file `<name>.lictor.json`: what `apply` wrote, so that `unwrap` knows whether somebody edited it since."""

    version: Literal[1]
    original: str
    """`sha256:<hex>` of the file before, and so of the backup."""
    wrote: str
    """`sha256:<hex>` of the file as written."""
    command: str
    """The executable written into the entries."""
    backup: str = ""
    """Where the file as it was is kept; empty: beside it."""


# -- planning ----------------------------------------------------------------------------------------------------------


def plan(config: ClientConfig, lictor_command: str, bundle: Path | None, state: Path | None = None) -> Plan:
    """Work out the wrapped form of one configuration file. Writes nothing. Wrapping twice changes nothing more.

    Args:
        config: the file, from `clients.discover` or `clients.describe`.
        lictor_command: the executable the client shall start.
        bundle: the bundle folder to name in each entry, made absolute because clients start servers from anywhere.
        state: the bundle's state folder, to lift what looks like a secret into its safe; None leaves everything where it is.

    Raises:
        OperatorError: unreadable, too large, not the format it should be, duplicate keys, an entry that starts a
            process but cannot be understood, or two names that would become one. With file and line where known.
    """
    _require_word(lictor_command, "the lictor executable")
    options = () if bundle is None else ("--bundle", _require_word(os.path.abspath(bundle), "the bundle folder"))  # noqa: PTH100
    target, notes = _locate(config.path)
    before = clients.decode(clients.read(target), target)
    document = _open(config, before)
    expected = copy.deepcopy(document.plain)
    found = [(keys, _server_at(document, keys)) for keys in _server_keys(document, config)]
    names = _taken_names(found, {lictor_command})
    entries = []
    lifting = _Lifting(document, expected, lictor_command, options, names, on=state is not None)
    for keys, server in found:
        entry = lifting.remote(keys, server, _plan_entry(document, keys, server, lictor_command, names))
        if entry.action == "wrap" and "command" in server:
            entry, taken = lifting.started(keys, server, entry)
            prefix = ["run", "--server", entry.server, *options, *_pass_env(server, taken), "--"]
            document.wrap(keys, lictor_command, prefix)
            _at(expected, keys).update(
                command=lictor_command, args=[*prefix, server["command"], *server.get("args", [])]
            )
        entries.append(entry)
    after = document.render()
    _require_same(config, after, expected)
    return Plan(
        path=config.path,
        target=target,
        before=before,
        after=after,
        entries=tuple(entries),
        notes=notes,
        how="wrap",
        command=lictor_command,
        lifted=tuple(lifting.lifted),
        moved=tuple(lifting.moved),
        backup=backup_of(state, target) if state is not None and lifting.lifted else None,
    )


def plan_unwrap(path: Path) -> Plan:
    """Work out how to take Lictor out of one file. Writes nothing.

    The backup is used only when the file is exactly what `apply` wrote and the backup exactly what `apply` saved; else
    each entry is rewritten back and a note says why.

    Raises:
        OperatorError: as `plan`.
    """
    config = clients.describe(path)
    target, notes = _locate(path)
    data = clients.read(target)
    before = clients.decode(data, target)
    note, note_problem = _read_note(target)
    kept = Path(note.backup) if note and note.backup else _backup_path(target)
    backup = _read_own(kept)
    known = {note.command} if note else set()
    original = backup if note and backup is not None and _digest(backup) == note.original else None
    entries, after = _reverse(config, before, known, original)
    how: How = "entries"
    leftovers = tuple(path for path in (_note_path(target), kept) if os.path.lexists(path))
    if note and backup is not None and _digest(backup) == note.original:
        if _digest(data) == note.wrote:
            how, after = "backup", clients.decode(backup, kept)
        elif data == backup:
            how, after = "backup", before
        else:
            notes += ("the file was edited after wrapping: only the wrapped entries are taken back, the edits stay",)
    elif backup is not None:
        notes += (f"{note_problem or 'the backup is not the one wrap made'}: it is not used and stays where it is",)
        leftovers = tuple(path for path in leftovers if note and path != kept)
    elif before != after:
        notes += ("there is no backup: the wrapped entries are rewritten back",)
    if how == "entries" and leftovers and any(entry.action == "kept" for entry in entries):
        notes += ("some entries could not be taken back, so the backup stays",)
        leftovers = ()
    return Plan(
        path=path,
        target=target,
        before=before,
        after=after,
        entries=entries,
        notes=notes,
        how=how,
        command=note.command if note else "lictor",
        leftovers=leftovers,
    )


def diff(plan: Plan) -> str:
    r"""The change as a unified diff for a person's eyes; empty when there is none.

    Control and direction characters are shown as `\uXXXX`: a comment in the file must not be able to redraw the
    terminal on which the change is judged.
    """
    title = _visible(str(plan.path))
    before, after = plan.before.split("\n"), plan.after.split("\n")
    lines: list[str] = []
    for hunk in _hunks(_changes(before, after)):
        start, lead = max(hunk[0].i - _CONTEXT, 0), min(hunk[0].i, _CONTEXT)
        end = min(hunk[-1].i_end + _CONTEXT, len(before))
        j_start, j_end = hunk[0].j - lead, hunk[-1].j_end + end - hunk[-1].i_end
        lines.append(f"@@ -{_span(start, end)} +{_span(j_start, j_end)} @@")
        for change in hunk:
            lines += [f" {line}" for line in before[start : change.i]]
            lines += [f"-{line}" for line in before[change.i : change.i_end]]
            lines += [f"+{line}" for line in after[change.j : change.j_end]]
            start = change.i_end
        lines += [f" {line}" for line in before[start:end]]
    if lines:
        lines[:0] = [f"--- {title}", f"+++ {title} ({plan.how})"]
    return masked("".join(f"{_visible(line)}\n" for line in lines), plan.lifted)


class _Change(NamedTuple):
    """Lines `before[i:i_end]` became `after[j:j_end]`."""

    i: int
    i_end: int
    j: int
    j_end: int


def _changes(before: list[str], after: list[str]) -> Iterator[_Change]:
    """Differences of two texts that differ in few, short places, found in one pass.

    `difflib` is quadratic where lines repeat: 60 s for a 5 MB `~/.claude.json` with 250 projects. This is always
    truthful and, where places of change lie closer than `_AHEAD`, not always the shortest.
    """
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            i, j = i + 1, j + 1
            continue
        i_end, j_end = _together(before, after, i, j)
        yield from _refined(before, after, _Change(i, i_end, j, j_end))
        i, j = i_end, j_end


def _refined(before: list[str], after: list[str], change: _Change) -> Iterator[_Change]:
    """A short change without the single lines in it that are equal after all."""
    i, i_end, j, j_end = change
    if i_end - i + j_end - j > _AHEAD:
        yield change
        return
    for tag, a, a_end, b, b_end in difflib.SequenceMatcher(None, before[i:i_end], after[j:j_end]).get_opcodes():
        if tag != "equal":
            yield _Change(i + a, i + a_end, j + b, j + b_end)


def _together(before: list[str], after: list[str], i: int, j: int) -> tuple[int, int]:
    """The nearest two places behind `i` and `j` from which two lines are equal; else the two ends."""
    for distance in range(1, _AHEAD):
        for step in range(distance + 1):
            at, to = i + step, j + distance - step
            if at <= len(before) and to <= len(after) and before[at : at + 2] == after[to : to + 2]:
                return at, to
    return len(before), len(after)


def _hunks(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """Changes whose context touches stand together."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change.i - hunk[-1].i_end > 2 * _CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _span(start: int, end: int) -> str:
    """`start,length` as unified diffs count: from 1, length 1 left out, the line before when the length is 0."""
    length = end - start
    return f"{start + 1}" if length == 1 else f"{start + 1 if length else start},{length}"


def server_name(name: str) -> str:
    """The Lictor server name (`[a-z0-9][a-z0-9-]{0,31}`) for a client's name: lower case, other characters to `-`.

    Raises:
        OperatorError: `config_refused`: no letter or digit of ASCII is left.
    """
    folded = unicodedata.normalize("NFKD", name).casefold()
    result = re.sub(r"[^a-z0-9]+", "-", re.sub(r"[\u0300-\u036f]", "", folded)).strip("-")[:32].rstrip("-")
    if not _SERVER_NAME.fullmatch(result):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            f"no server name can be made from {name[:80]!r}",
            remedy="rename the entry, using letters a-z and digits",
        )
    return result


# -- writing -----------------------------------------------------------------------------------------------------------


def apply(plan: Plan) -> Applied:
    """Write a plan made by `plan`: backup first, then the note, then the file in one step.

    Raises:
        OperatorError: `conflict`: the file changed since planning, or an older, different backup lies there;
            `config_refused`: something could not be written. The client's file is then as it was.
    """
    if plan.how != "wrap":
        raise OperatorError(Reason.CONFIG_REFUSED, "this plan is for unwrapping", where=str(plan.path))
    if not plan.changed:
        return Applied(plan=plan, backup=None)
    before, after = plan.before.encode(), plan.after.encode()
    if clients.resolve(plan.path) != plan.target:
        raise OperatorError(
            Reason.CONFLICT, "the symbolic link points elsewhere now", remedy="run it again", where=str(plan.path)
        )
    clients.require_unchanged(plan.target, before)
    backup, note_path = plan.backup or _backup_path(plan.target), _note_path(plan.target)
    _require_ours(note_path)
    if plan.backup is not None:
        private_folder(plan.backup.parent)
    made = _keep(backup, before)
    named = str(plan.backup) if plan.backup is not None else ""
    note = _Note(version=1, original=_digest(before), wrote=_digest(after), command=plan.command, backup=named)
    try:
        clients.replace(note_path, msgspec.json.encode(note) + b"\n", expected=None)
        clients.replace(plan.target, after, expected=before)
    except LictorError:
        if made:
            clients.remove(note_path)
            clients.remove(backup)
        raise
    return Applied(plan=plan, backup=backup)


def unwrap(path: Path) -> Plan:
    """Take Lictor out of one file, then delete backup and note. Returns what was done; `notes` says what was not.

    Raises:
        OperatorError: as `plan_unwrap` and `apply`.
    """
    plan = plan_unwrap(path)
    if plan.changed:
        clients.replace(plan.target, plan.after.encode(), expected=plan.before.encode())
    for leftover in plan.leftovers:
        clients.remove(leftover)
    return plan


# -- one entry ---------------------------------------------------------------------------------------------------------


def _plan_entry(
    document: "_Document", keys: KeyPath, server: Mapping[str, Any], lictor: str, names: dict[str, str]
) -> Entry:
    name = keys[-1]
    if "command" not in server:
        remote = any(key in server for key in _REMOTE_KEYS) or str(server.get("type", "")).casefold() in _REMOTE_TYPES
        action: Action = "remote" if remote else "unknown"
        return Entry(name=name, where=keys, action=action, note=_REMOTE_NOTE if remote else _UNKNOWN_NOTE)
    if _is_wrapped(server, {lictor}):
        other = "" if server["command"] == lictor else f"wrapped with another executable: {server['command'][:200]!r}"
        return Entry(name=name, where=keys, action="already", server=_named_server(server), note=other)
    try:
        mapped = server_name(name)
    except OperatorError as error:
        raise document.fault(keys, error.message, remedy=error.remedy) from error
    if names.setdefault(mapped, name) != name:
        raise document.fault(
            keys,
            f"{names[mapped][:80]!r} and {name[:80]!r} would both be the server {mapped!r}",
            remedy="rename one of them in the client's configuration",
        )
    return Entry(name=name, where=keys, action="wrap", server=mapped, note="" if mapped == name else f"as {mapped}")


class _Lifting:
    """Takes what looks like a secret out of the entries of one document."""

    def __init__(
        self,
        document: "_Document",
        expected: Any,
        command: str,
        options: Sequence[str],
        names: dict[str, str],
        *,
        on: bool,
    ) -> None:
        self._document = document
        self._expected = expected
        self._command = command
        self._options = options
        self._names = names
        self._on = on
        self.lifted: list[Lifted] = []
        self.moved: list[Moved] = []

    def started(self, keys: KeyPath, server: Mapping[str, Any], entry: Entry) -> tuple[Entry, frozenset[str]]:
        """A server that the client starts: a word stands where each value was, and the variable is not handed on."""
        lifted, short = found_in(entry.server, "env", server.get("env")) if self._on else ([], [])
        for one in lifted:
            self._document.put((*keys, "env", one.name), PLACE)
            _at(self._expected, (*keys, "env"))[one.name] = PLACE
        self.lifted += lifted
        stay = in_words(server.get("args")) if self._on else []
        return _noted(entry, lifted, short, stay), frozenset(one.name for one in lifted)

    def remote(self, keys: KeyPath, server: Mapping[str, Any], entry: Entry) -> Entry:
        """A server behind a URL, with a secret in its fields: it moves into `lictor.toml`, and the client starts `lictor run`."""
        url, headers = server.get("url"), server.get("headers", server.get("http_headers"))
        if not self._on or entry.action != "remote" or not isinstance(headers, Mapping):
            return entry
        try:
            mapped = server_name(entry.name)
        except OperatorError as error:
            raise self._document.fault(keys, error.message, remedy=error.remedy) from error
        lifted, short = found_in(mapped, "headers", headers)
        left = _noted(entry, (), short, [one.name for one in lifted])
        if not lifted or not isinstance(url, str) or not url.startswith(("https://", "http://")) or "${" in url:
            return left
        if self._names.setdefault(mapped, entry.name) != entry.name:
            raise self._document.fault(
                keys, f"two entries would both be the server {mapped!r}", remedy="rename one of them"
            )
        value = {"command": self._command, "args": ["run", "--server", mapped, *self._options]}
        if not self._document.put_table(keys, value):
            return left
        _at(self._expected, keys[:-1])[keys[-1]] = value
        taken = {one.name for one in lifted}
        rest = {name: text for name, text in headers.items() if name not in taken and isinstance(text, str)}
        self.lifted += lifted
        self.moved.append(Moved(server=mapped, url=url, headers=rest))
        moved = Entry(name=entry.name, where=keys, action="wrap", server=mapped, note="its url moves into lictor.toml")
        return _noted(moved, lifted, short)


def _noted(entry: Entry, lifted: Sequence[Lifted], short: Sequence[str], stay: Sequence[str] = ()) -> Entry:
    """What happens to the secrets, by name."""
    notes = [entry.note] if entry.note else []
    if lifted:
        notes.append(f"into the safe: {', '.join(one.name for one in lifted)}")
    if short:
        notes.append(f"stays, too short or not text: {', '.join(short)}")
    if stay:
        notes.append(f"stays in this file in the clear: {', '.join(stay)} (see: lictor secret set)")
    return Entry(name=entry.name, where=entry.where, action=entry.action, server=entry.server, note="; ".join(notes))


def _pass_env(server: Mapping[str, Any], taken: frozenset[str] = frozenset()) -> list[str]:
    """Options that hand the entry's own variables on to the server; of the rest of its environment a server gets little."""
    env = server.get("env")
    own = [name for name in env if _VARIABLE.fullmatch(name)] if isinstance(env, Mapping) else []
    names = [name for name in own if name not in taken]
    return [word for name in names for word in ("--pass-env", name)]


def _taken_names(found: Sequence[tuple[KeyPath, Mapping[str, Any]]], known: Collection[str]) -> dict[str, str]:
    """Server names that wrapped entries use already, to the client's names for them."""
    taken: dict[str, str] = {}
    for keys, server in found:
        if "command" in server and _is_wrapped(server, known) and (name := _named_server(server)):
            taken.setdefault(name, keys[-1])
    return taken


def _is_wrapped(server: Mapping[str, Any], known: Collection[str]) -> bool:
    """Whether the entry starts `lictor run`, by the executable's name or as one of the known commands."""
    command, args = server.get("command"), server.get("args", [])
    if not isinstance(command, str) or not args or args[0] != "run":
        return False
    return command in known or re.split(r"[\\/]", command)[-1].casefold() in _EXECUTABLES


def _named_server(server: Mapping[str, Any]) -> str:
    args = server["args"]
    return str(args[2]) if len(args) > 2 and args[1] == "--server" else ""


def _prefix_length(args: Sequence[str]) -> int:
    """How many words `plan` put before the original command; 0 when the entry is not in that form."""
    if args[:2] != ["run", "--server"] or len(args) < 3 or not _SERVER_NAME.fullmatch(args[2]):
        return 0
    end = 5 if args[3:4] == ["--bundle"] else 3
    while args[end : end + 1] == ["--pass-env"]:
        end += 2
    return end + 1 if len(args) > end + 1 and args[end] == "--" else 0


def _reverse(
    config: ClientConfig, text: str, known: Collection[str], original: bytes | None = None
) -> tuple[tuple[Entry, ...], str]:
    """Every wrapped entry rewritten back; the rest untouched. What was lifted comes from the file as it was."""
    before = _plain(config, original)
    document = _open(config, text)
    expected = copy.deepcopy(document.plain)
    entries: list[Entry] = []
    for keys in _server_keys(document, config):
        server = _server_at(document, keys)
        if "command" not in server or not _is_wrapped(server, known):
            continue
        args = server["args"]
        count = _prefix_length(args)
        old = _found(before, keys)
        if not count and isinstance(old, dict) and "command" not in old and document.put_table(keys, old):
            _at(expected, keys[:-1])[keys[-1]] = old
            entries.append(Entry(name=keys[-1], where=keys, action="unwrap", server=_named_server(server)))
            continue
        if not count:
            note = "left alone: not in the form wrap writes"
            entries.append(Entry(name=keys[-1], where=keys, action="kept", server=_named_server(server), note=note))
            continue
        document.unwrap(keys, count)
        _at(expected, keys).update(command=args[count], args=args[count + 1 :])
        lost = []
        for name, value in server.get("env", {}).items() if isinstance(server.get("env"), dict) else ():
            if value == PLACE:
                was = _found(before, (*keys, "env", name))
                if isinstance(was, str):
                    document.put((*keys, "env", name), was)
                    _at(expected, (*keys, "env"))[name] = was
                else:
                    lost.append(name)
        note = f"not known any more, and still in the safe: {', '.join(lost)}" if lost else ""
        entries.append(Entry(name=keys[-1], where=keys, action="unwrap", server=args[2], note=note))
    after = document.render()
    _require_same(config, after, expected)
    return tuple(entries), after


def _plain(config: ClientConfig, original: bytes | None) -> Any:
    """The file as it was, read; None where it is not known."""
    return None if original is None else _open(config, clients.decode(original, config.path)).plain


def _found(value: Any, keys: KeyPath) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


# -- finding servers in a document -------------------------------------------------------------------------------------


def _server_keys(document: "_Document", config: ClientConfig) -> Iterator[KeyPath]:
    for root in config.root_key_paths:
        for keys in _expand(document, document.plain, root, ()):
            yield from ((*keys, name) for name in _table(document, keys))


def _expand(document: "_Document", value: Any, rest: KeyPath, done: KeyPath) -> Iterator[KeyPath]:
    if not rest:
        yield done
        return
    if not isinstance(value, dict):
        raise document.fault(done, "expected an object here")
    for key in value if rest[0] == EVERY else rest[:1]:
        if key in value:
            yield from _expand(document, value[key], rest[1:], (*done, key))


def _table(document: "_Document", keys: KeyPath) -> dict[str, Any]:
    value = _at(document.plain, keys)
    if not isinstance(value, dict):
        raise document.fault(keys, f"expected an object under {keys[-1][:80]!r}" if keys else "expected an object")
    return value


def _server_at(document: "_Document", keys: KeyPath) -> dict[str, Any]:
    """One entry, checked: if it starts a process, `command` is a string, `args` strings, and there is no url as well."""
    server = _table(document, keys)
    name = keys[-1][:80]
    if "command" not in server:
        return server
    if not isinstance(server["command"], str) or not server["command"]:
        raise document.fault(keys, f"the command of {name!r} is not a non-empty string")
    args = server.get("args", [])
    if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
        raise document.fault(keys, f"the args of {name!r} are not a list of strings")
    if any(key in server for key in _REMOTE_KEYS):
        raise document.fault(keys, f"{name!r} has both a command and a url", remedy="remove the one that is not used")
    return server


def _at(value: Any, keys: KeyPath) -> Any:
    for key in keys:
        value = value[key]
    return value


# -- the two file formats ----------------------------------------------------------------------------------------------


class _Document(Protocol):
    """A configuration file being edited. `plain` stays what was read."""

    plain: Any

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        """Make the entry `command prefix… old-command old-args…`."""

    def unwrap(self, keys: KeyPath, count: int) -> None:
        """Drop `count` words of args; the next one becomes the command."""

    def put(self, keys: KeyPath, value: str) -> None:
        """Put a string in the place of another one."""

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:
        """Put a table in the place of another one; whether this format can."""

    def render(self) -> str:
        """The text with all edits made."""

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        """An error that points at the keys."""


def _open(config: ClientConfig, text: str) -> _Document:
    if config.format == "toml":
        return _Toml(text, str(config.path))
    return _Json(text, str(config.path), comments=config.format == "jsonc")


class _Json:
    """JSON: edits are spans of the text, so that nothing else can move. Tokens move as written, escapes and all."""

    def __init__(self, text: str, name: str, *, comments: bool) -> None:
        self._text, self._name = text, name
        self._root = jsonc.parse(text, comments=comments, name=name)
        self._edits: list[jsonc.Edit] = []
        self.plain: Any = jsonc.plain(self._root)

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        entry = self._object(keys)
        old = _member(entry, "command")
        tokens = [*map(jsonc.quote, prefix), self._token(old.value)]
        args = entry.get("args")
        self._edits += (
            jsonc.Edit(old.value.start, old.value.end, jsonc.quote(command)),
            jsonc.insert_first(self._text, args, tokens)
            if isinstance(args, jsonc.Array)
            else jsonc.insert_after(self._text, entry, old, "args", f"[{', '.join(tokens)}]"),
        )

    def unwrap(self, keys: KeyPath, count: int) -> None:
        entry = self._object(keys)
        command, args = _member(entry, "command").value, entry.get("args")
        if not isinstance(args, jsonc.Array):
            raise self.fault(keys, "there are no args to take back")
        self._edits += (
            jsonc.Edit(command.start, command.end, self._token(args.items[count])),
            jsonc.remove_first(self._text, args, count + 1),
        )

    def put(self, keys: KeyPath, value: str) -> None:
        node = _member(self._object(keys[:-1]), keys[-1]).value
        self._edits.append(jsonc.Edit(node.start, node.end, jsonc.quote(value)))

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:
        entry = self._object(keys)
        self._edits.append(jsonc.Edit(entry.start, entry.end, json.dumps(_written(value), ensure_ascii=False)))
        return True

    def render(self) -> str:
        return jsonc.apply_edits(self._text, self._edits)

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        node: jsonc.Node | None = self._root
        at = self._root.start
        for key in keys:
            member = node.member(key) if isinstance(node, jsonc.Object) else None
            if member is None:
                break
            node, at = member.value, member.start
        where = f"{self._name}:{jsonc.line_of(self._text, at)}"
        return OperatorError(Reason.CONFIG_REFUSED, what, remedy=remedy, where=where)

    def _object(self, keys: KeyPath) -> jsonc.Object:
        node: jsonc.Node | None = self._root
        for key in keys:
            node = node.get(key) if isinstance(node, jsonc.Object) else None
        if not isinstance(node, jsonc.Object):
            raise self.fault(keys, "expected an object here")
        return node

    def _token(self, node: jsonc.Node) -> str:
        return self._text[node.start : node.end]


def _member(entry: jsonc.Object, key: str) -> jsonc.Member:
    member = entry.member(key)
    if member is None:
        raise ValueError("the entry has no such member")
    return member


class _Toml:
    """TOML through tomlkit. The standard library's reader goes first: it is the stricter one and says the line."""

    def __init__(self, text: str, name: str) -> None:
        self._mark = _BOM if text.startswith(_BOM) else ""
        self._name = name
        body = text.removeprefix(_BOM)
        self._line_end = "\r\n" if "\r\n" in body else "\n"
        try:
            self.plain: Any = tomllib.loads(body)
            self._root: Any = tomlkit.parse(body)
        except (tomllib.TOMLDecodeError, tomlkit.exceptions.TOMLKitError) as error:
            line = _TOML_LINE.search(str(error))
            where = f"{name}:{line[1]}" if line else name
            raise OperatorError(Reason.CONFIG_REFUSED, f"not TOML: {str(error).lower()[:200]}", where=where) from error
        except RecursionError as error:
            raise OperatorError(Reason.TOO_DEEP, "nested too deeply", where=name) from error
        if self.render() != text:
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                "the file cannot be edited without changing its formatting",
                remedy="edit this file by hand",
                where=name,
            )

    def wrap(self, keys: KeyPath, command: str, prefix: Sequence[str]) -> None:
        entry = _at(self._root, keys)
        words = [*prefix, self._copy(entry["command"])]
        entry["command"] = command
        if "args" in entry:
            for word in reversed(words):
                entry["args"].insert(0, word)
            return
        args = tomlkit.array()
        args.extend(words)
        args.trivia.trail = self._line_end
        entry["args"] = args

    def unwrap(self, keys: KeyPath, count: int) -> None:
        entry = _at(self._root, keys)
        entry["command"] = self._copy(entry["args"][count])
        for _ in range(count + 1):
            del entry["args"][0]

    def put(self, keys: KeyPath, value: str) -> None:
        _at(self._root, keys[:-1])[keys[-1]] = value

    def put_table(self, keys: KeyPath, value: Mapping[str, Any]) -> bool:  # noqa: ARG002 - tables of TOML stand in many places
        return False

    def render(self) -> str:
        return self._mark + tomlkit.dumps(self._root)

    def fault(self, keys: KeyPath, what: str, *, remedy: str = "") -> OperatorError:
        where = ".".join((f"{self._name}: [{keys[0]}", *keys[1:])) + "]" if keys else self._name
        return OperatorError(Reason.CONFIG_REFUSED, what, remedy=remedy, where=where)

    @staticmethod
    def _copy(item: Any) -> Any:
        """The string as written, quotes and escapes included, without the comment beside it."""
        return tomlkit.parse(f"x = {item.as_string()}\n")["x"]


def _written(value: Any) -> Any:
    """A value of `jsonc.plain` for the standard encoder."""
    match value:
        case jsonc.Number():
            return json.loads(value.text)
        case Mapping():
            return {key: _written(one) for key, one in value.items()}
        case list():
            return [_written(one) for one in value]
        case _:
            return value


def _require_same(config: ClientConfig, text: str, expected: Any) -> None:
    """Read what was built and compare: only the intended values differ. An editor's defect must not reach the disk."""
    if not _equal(_open(config, text).plain, expected):
        raise OperatorError(
            Reason.CONFIG_REFUSED,
            "the rewritten file would differ in more than command and args",
            remedy="edit this file by hand",
            where=str(config.path),
        )


def _equal(left: Any, right: Any) -> bool:
    """Equality that tells 1, 1.0 and true apart and lets nan equal itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right) or (isinstance(left, float) and repr(left) == repr(right))


# -- files beside the configuration ------------------------------------------------------------------------------------


def _locate(path: Path) -> tuple[Path, tuple[str, ...]]:
    target = clients.resolve(path)
    notes: tuple[str, ...] = ()
    if path.is_symlink():
        notes += (f"{path} is a symbolic link: the file it points to, {target}, is the one edited",)
    return target, notes


def _backup_path(target: Path) -> Path:
    return target.with_name(target.name + BACKUP_SUFFIX)


def _note_path(target: Path) -> Path:
    return target.with_name(target.name + NOTE_SUFFIX)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _read_own(path: Path) -> bytes | None:
    """A file of ours, None when there is none. A link in its place is refused: it was not us who put it there."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise OperatorError(
                Reason.CONFLICT, "not a regular file", remedy="move it away and try again", where=str(path)
            )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise clients.unusable("cannot look at the file", path, error) from error
    return clients.read(path)


def _read_backup(target: Path) -> bytes | None:
    return _read_own(_backup_path(target))


def _read_note(target: Path) -> tuple[_Note | None, str]:
    """The note, or why there is none."""
    data = _read_own(_note_path(target))
    if data is None:
        return None, "there is no note of what wrap wrote beside the backup"
    try:
        return msgspec.json.decode(data, type=_Note), ""
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None, f"{_note_path(target).name} cannot be read"


def _require_ours(note_path: Path) -> None:
    """Refuse to write over a file that merely has the name of our note."""
    data = _read_own(note_path)
    if data is None:
        return
    try:
        msgspec.json.decode(data, type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(
            Reason.CONFLICT, "this file is in the way", remedy="move it away and try again", where=str(note_path)
        ) from error


def _keep(backup: Path, data: bytes) -> bool:
    """Have a backup of exactly `data`; whether it was made now."""
    try:
        clients.create(backup, data)
    except FileExistsError as error:
        if _read_own(backup) == data:
            return False
        raise OperatorError(
            Reason.CONFLICT,
            "an older backup is there and differs from the file",
            remedy="run `lictor unwrap` on the configuration first, or move the backup away",
            where=str(backup),
        ) from error
    return True


def _require_word(word: str, what: str) -> str:
    """A word that every client hands on unchanged: encodable, printable, without `${…}`, which clients replace."""
    if not word or not word.isprintable() or "${" in word:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{what} cannot be written into a client's configuration: {word[:200]!r}"
        )
    return word


def _visible(line: str) -> str:
    """The line with everything unprintable but tabs escaped; the CR of a CRLF line end is dropped."""
    return "".join(
        char if char == "\t" or char.isprintable() else f"\\u{ord(char):04x}" for char in line.removesuffix("\r")
    )
