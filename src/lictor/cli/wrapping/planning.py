"""How one file would look with Lictor in front of its servers. Writes nothing."""

import copy
import os
from pathlib import Path

from lictor.cli import clients
from lictor.cli.clients import ClientConfig
from lictor.cli.lifting import backup_of
from lictor.cli.wrapping.beside import locate
from lictor.cli.wrapping.documents import open_document, require_same, value_at
from lictor.cli.wrapping.entries import pass_env, plan_entry, server_at, server_keys, taken_names
from lictor.cli.wrapping.lift import Lifting
from lictor.cli.wrapping.plans import Plan
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


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
    target, notes = locate(config.path)
    before = clients.decode(clients.read(target), target)
    document = open_document(config, before)
    expected = copy.deepcopy(document.plain)
    found = [(keys, server_at(document, keys)) for keys in server_keys(document, config)]
    names = taken_names(found, {lictor_command})
    entries = []
    lifting = Lifting(document, expected, lictor_command, options, names, on=state is not None)
    for keys, server in found:
        entry = lifting.remote(keys, server, plan_entry(document, keys, server, lictor_command, names))
        if entry.action == "wrap" and "command" in server:
            entry, taken = lifting.started(keys, server, entry)
            prefix = ["run", "--server", entry.server, *options, *pass_env(server, taken), "--"]
            document.wrap(keys, lictor_command, prefix)
            value_at(expected, keys).update(
                command=lictor_command, args=[*prefix, server["command"], *server.get("args", [])]
            )
        entries.append(entry)
    after = document.render()
    require_same(config, after, expected)
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


def _require_word(word: str, what: str) -> str:
    """A word that every client hands on unchanged: encodable, printable, without `${…}`, which clients replace."""
    if not word or not word.isprintable() or "${" in word:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{what} cannot be written into a client's configuration: {word[:200]!r}"
        )
    return word
