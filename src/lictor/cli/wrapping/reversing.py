"""How one file would look with Lictor taken out again. Writes nothing."""

import copy
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lictor.cli import clients
from lictor.cli.clients import ClientConfig
from lictor.cli.lifting import PLACE
from lictor.cli.wrapping.beside import backup_file, digest, locate, note_file, read_note, read_own
from lictor.cli.wrapping.documents import found_at, open_document, require_same, value_at
from lictor.cli.wrapping.entries import is_wrapped, named_server, prefix_length, server_at, server_keys
from lictor.cli.wrapping.plans import Entry, How, Plan


def plan_unwrap(path: Path) -> Plan:
    """Work out how to take Lictor out of one file. Writes nothing.

    The backup is used only when the file is exactly what `apply` wrote and the backup exactly what `apply` saved; else
    each entry is rewritten back and a note says why.

    Raises:
        OperatorError: as `plan`.
    """
    config = clients.describe(path)
    target, notes = locate(path)
    data = clients.read(target)
    before = clients.decode(data, target)
    note, note_problem = read_note(target)
    kept = Path(note.backup) if note and note.backup else backup_file(target)
    backup = read_own(kept)
    known = {note.command} if note else set()
    original = backup if note and backup is not None and digest(backup) == note.original else None
    entries, after = _reverse(config, before, known, original)
    how: How = "entries"
    leftovers = tuple(path for path in (note_file(target), kept) if os.path.lexists(path))
    if note and backup is not None and digest(backup) == note.original:
        if digest(data) == note.wrote:
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


def _reverse(
    config: ClientConfig, text: str, known: Collection[str], original: bytes | None = None
) -> tuple[tuple[Entry, ...], str]:
    """Every wrapped entry rewritten back; the rest untouched. What was lifted comes from the file as it was."""
    before = _plain(config, original)
    document = open_document(config, text)
    expected = copy.deepcopy(document.plain)
    entries: list[Entry] = []
    for keys in server_keys(document, config):
        server = server_at(document, keys)
        if "command" not in server or not is_wrapped(server, known):
            continue
        args = server["args"]
        count = prefix_length(args)
        old = found_at(before, keys)
        if not count and isinstance(old, dict) and "command" not in old and document.put_table(keys, old):
            value_at(expected, keys[:-1])[keys[-1]] = old
            entries.append(Entry(name=keys[-1], where=keys, action="unwrap", server=named_server(server)))
            continue
        if not count:
            note = "left alone: not in the form wrap writes"
            entries.append(Entry(name=keys[-1], where=keys, action="kept", server=named_server(server), note=note))
            continue
        document.unwrap(keys, count)
        value_at(expected, keys).update(command=args[count], args=args[count + 1 :])
        lost = []
        for name, value in server.get("env", {}).items() if isinstance(server.get("env"), dict) else ():
            if value == PLACE:
                was = found_at(before, (*keys, "env", name))
                if isinstance(was, str):
                    document.put((*keys, "env", name), was)
                    value_at(expected, (*keys, "env"))[name] = was
                else:
                    lost.append(name)
        note = f"not known any more, and still in the safe: {', '.join(lost)}" if lost else ""
        entries.append(Entry(name=keys[-1], where=keys, action="unwrap", server=args[2], note=note))
    after = document.render()
    require_same(config, after, expected)
    return tuple(entries), after


def _plain(config: ClientConfig, original: bytes | None) -> Any:
    """The file as it was, read; None where it is not known."""
    return None if original is None else open_document(config, clients.decode(original, config.path)).plain
