"""One server in a client's configuration: how it reads, whether it is wrapped, the words that wrap it. Refuses to know files."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from lictor.cli.clients import EVERY, ClientConfig, KeyPath
from lictor.cli.lifting import Lifted
from lictor.cli.wrapping.documents import Document, value_at
from lictor.cli.wrapping.plans import Action, Entry
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

_SERVER_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_REMOTE_KEYS = ("url", "httpUrl", "serverUrl")
_REMOTE_TYPES = frozenset({"http", "sse", "streamable-http", "streamablehttp", "ws"})
_EXECUTABLES = frozenset({"lictor", "lictor.exe"})
_REMOTE_NOTE = "not wrapped: remote; point it at `lictor serve`"
_UNKNOWN_NOTE = "not wrapped: neither a command nor a url; calls to it do not pass through lictor"


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


def plan_entry(
    document: Document, keys: KeyPath, server: Mapping[str, Any], lictor: str, names: dict[str, str]
) -> Entry:
    """What happens to an entry. `names` are the server names in use, to the client's names for them; this one is added.

    Raises:
        OperatorError: no server name can be made of its own, or another entry has it.
    """
    name = keys[-1]
    if "command" not in server:
        remote = any(key in server for key in _REMOTE_KEYS) or str(server.get("type", "")).casefold() in _REMOTE_TYPES
        action: Action = "remote" if remote else "unknown"
        return Entry(name=name, where=keys, action=action, note=_REMOTE_NOTE if remote else _UNKNOWN_NOTE)
    if is_wrapped(server, {lictor}):
        other = "" if server["command"] == lictor else f"wrapped with another executable: {server['command'][:200]!r}"
        return Entry(name=name, where=keys, action="already", server=named_server(server), note=other)
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


def noted(entry: Entry, lifted: Sequence[Lifted], short: Sequence[str], stay: Sequence[str] = ()) -> Entry:
    """What happens to the secrets, by name."""
    notes = [entry.note] if entry.note else []
    if lifted:
        notes.append(f"into the safe: {', '.join(one.name for one in lifted)}")
    if short:
        notes.append(f"stays, too short or not text: {', '.join(short)}")
    if stay:
        notes.append(f"stays in this file in the clear: {', '.join(stay)} (see: lictor secret set)")
    return Entry(name=entry.name, where=entry.where, action=entry.action, server=entry.server, note="; ".join(notes))


def pass_env(server: Mapping[str, Any], taken: frozenset[str] = frozenset()) -> list[str]:
    """Options that hand the entry's own variables on to the server; of the rest of its environment a server gets little."""
    env = server.get("env")
    own = [name for name in env if _VARIABLE.fullmatch(name)] if isinstance(env, Mapping) else []
    names = [name for name in own if name not in taken]
    return [word for name in names for word in ("--pass-env", name)]


def taken_names(found: Sequence[tuple[KeyPath, Mapping[str, Any]]], known: Collection[str]) -> dict[str, str]:
    """Server names that wrapped entries use already, to the client's names for them."""
    taken: dict[str, str] = {}
    for keys, server in found:
        if "command" in server and is_wrapped(server, known) and (name := named_server(server)):
            taken.setdefault(name, keys[-1])
    return taken


def is_wrapped(server: Mapping[str, Any], known: Collection[str]) -> bool:
    """Whether the entry starts `lictor run`, by the executable's name or as one of the known commands."""
    command, args = server.get("command"), server.get("args", [])
    if not isinstance(command, str) or not args or args[0] != "run":
        return False
    return command in known or re.split(r"[\\/]", command)[-1].casefold() in _EXECUTABLES


def named_server(server: Mapping[str, Any]) -> str:
    """The server that a wrapped entry names; empty where it names none."""
    args = server["args"]
    return str(args[2]) if len(args) > 2 and args[1] == "--server" else ""


def prefix_length(args: Sequence[str]) -> int:
    """How many words `plan` put before the original command; 0 when the entry is not in that form."""
    if args[:2] != ["run", "--server"] or len(args) < 3 or not _SERVER_NAME.fullmatch(args[2]):
        return 0
    end = 5 if args[3:4] == ["--bundle"] else 3
    while args[end : end + 1] == ["--pass-env"]:
        end += 2
    return end + 1 if len(args) > end + 1 and args[end] == "--" else 0


def server_keys(document: Document, config: ClientConfig) -> Iterator[KeyPath]:
    """Where the servers are, in the order of the file."""
    for root in config.root_key_paths:
        for keys in _expand(document, document.plain, root, ()):
            yield from ((*keys, name) for name in _table(document, keys))


def _expand(document: Document, value: Any, rest: KeyPath, done: KeyPath) -> Iterator[KeyPath]:
    if not rest:
        yield done
        return
    if not isinstance(value, dict):
        raise document.fault(done, "expected an object here")
    for key in value if rest[0] == EVERY else rest[:1]:
        if key in value:
            yield from _expand(document, value[key], rest[1:], (*done, key))


def _table(document: Document, keys: KeyPath) -> dict[str, Any]:
    value = value_at(document.plain, keys)
    if not isinstance(value, dict):
        raise document.fault(keys, f"expected an object under {keys[-1][:80]!r}" if keys else "expected an object")
    return value


def server_at(document: Document, keys: KeyPath) -> dict[str, Any]:
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
