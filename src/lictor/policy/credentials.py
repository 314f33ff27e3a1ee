"""`credentials.toml`: what the broker may lend, for which server, to which destination, in which place. Never a secret.

Refuses to know providers: their options are read where they are made (`lictor.credentials`).
"""

import re
from typing import Any, Final

import msgspec

from lictor.model.ids import ServerName
from lictor.model.lease import Credential, Narrowing
from lictor.policy.authority import COMMAND
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import name_problem
from lictor.policy.problems import Problems, quote

MAX_TTL_S: Final = 3_600
"""The longest life of a lease: an hour, however long its task (CRED-11)."""

_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\[\]:-]{1,255}", re.ASCII)
_FIELD: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}", re.ASCII)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
FACTS: Final = ("destination", "path", "git", "sql", "command")
"""Members of a call's context whose texts a credential can be narrowed to."""
_FACT: Final = re.compile(rf"({'|'.join(FACTS)})\.[a-z][a-z_]{{0,31}}", re.ASCII)
MAX_NARROW: Final = 512
"""Characters of one value."""
_NOT_OURS: Final = frozenset(
    {"host", "content-length", "content-type", "connection", "transfer-encoding", "mcp-session-id"}
)
_NO_VARIABLE: Final = frozenset({"PATH", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "NODE_OPTIONS", "HOME", "IFS"})


class _Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    server: str
    destination: str
    provider: str
    lease: str = "task"
    ttl_s: int = 900
    headers: dict[str, str] = {}
    env: dict[str, str] = {}
    narrow: dict[str, str | Narrowing] = {}
    options: dict[str, Any] = {}


def read_credentials(document: Document, servers: frozenset[ServerName], problems: Problems) -> dict[str, Credential]:
    """`[credentials.NAME]`, by `server/name`."""
    only_keys(document, ("credentials",), problems)
    found: dict[str, Credential] = {}
    for name, raw in tables(document, "credentials", problems).items():
        path = ("credentials", name)
        where = document.lines.where(path)
        problem = name_problem(name)
        if problem:
            problems.add(where, f"{quote(name)}: {problem}")
        table = convert(document, path, raw, _Table, problems)
        if table is None:
            continue
        for fault in _faults(table, servers):
            problems.add(where, f"credential {quote(name)}: {fault}")
        if table.lease in ("task", "grant"):
            found[f"{table.server}/{name}"] = Credential(
                name=name,
                server=ServerName(table.server),
                destination=table.destination,
                provider=table.provider,
                lease="grant" if table.lease == "grant" else "task",
                ttl_s=table.ttl_s,
                headers=table.headers,
                env=table.env,
                narrow=table.narrow,
                options=table.options,
            )
    return found


def _faults(table: _Table, servers: frozenset[ServerName]) -> list[str]:
    faults = []
    if table.server not in servers:
        faults.append(f"the catalogue knows no server {quote(table.server)}")
    if table.destination != COMMAND and not _ORIGIN.fullmatch(table.destination):
        faults.append(f'destination is the origin of the server\'s URL, in lower case, or "{COMMAND}"')
    if table.lease not in ("task", "grant"):
        faults.append('lease is "task" or "grant"')
    if not 0 < table.ttl_s <= MAX_TTL_S:
        faults.append(f"ttl_s is 1 to {MAX_TTL_S} seconds")
    if bool(table.headers) is (table.destination == COMMAND) or bool(table.env) is not (table.destination == COMMAND):
        faults.append("a server with a URL takes headers, one that is started takes env, and either has to be said")
    for header, text in table.headers.items():
        if not _HEADER.fullmatch(header) or header.lower() in _NOT_OURS:
            faults.append(f"{quote(header)} is no field that a credential goes into")
        faults.extend(_template_faults(text))
    for variable, text in table.env.items():
        if not _VARIABLE.fullmatch(variable) or variable in _NO_VARIABLE:
            faults.append(f"{quote(variable)} is no variable that a credential goes into")
        faults.extend(_template_faults(text))
    for name, source in table.narrow.items():
        faults.extend(_narrow_faults(name, source, table.lease))
    return faults


def _narrow_faults(name: str, source: str | Narrowing, lease: str) -> list[str]:
    """A value that follows from a call is for that call alone."""
    if not _NAME.fullmatch(name):
        return [f"{quote(name)} is no name of a narrowing: lower-case letters, digits and _"]
    if isinstance(source, str):
        fits = 0 < len(source) <= MAX_NARROW and source.isprintable()
        return [] if fits else [f"narrow.{name} is a printable text of 1 to {MAX_NARROW} characters"]
    faults = []
    if bool(source.argument) is bool(source.fact):
        faults.append(f"narrow.{name} has either `argument` or `fact`")
    if source.argument and (not source.argument.startswith("/") or "*" in source.argument.split("/")):
        faults.append(f"narrow.{name}: argument is a JSON pointer to one value")
    if source.fact and not _FACT.fullmatch(source.fact):
        faults.append(f"narrow.{name}: fact is member.name, of {', '.join(FACTS)}")
    if lease != "grant":
        faults.append(f'narrow.{name} follows from a call, so lease is "grant"')
    return faults


def _template_faults(text: str) -> list[str]:
    rest = _FIELD.sub("", text)
    if not _FIELD.search(text) or not rest.isascii() or not (rest.isprintable()) or "{" in rest or "}" in rest:
        return [f"{quote(text)} is printable ASCII with at least one {{field}} of the secret"]
    return []
