"""What every selector of a catalogue entry finds. Refuses to know what policy makes of it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry, CommandSelector, DestinationSelector, SqlSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.command import CommandFacts, command_facts
from lictor.pdp.normalise.account import account_target
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.git import git_target, ref_facts
from lictor.pdp.normalise.mail import addresses_in, email_target
from lictor.pdp.normalise.money import Value, value_of
from lictor.pdp.normalise.path import PathFacts, path_facts
from lictor.pdp.normalise.pointers import MAX_VALUES, MISSING, point, values
from lictor.pdp.normalise.target import Destination, GitRef, Target, destination_from
from lictor.pdp.normalise.url import host_target, port_of, url_target
from lictor.pdp.once import Once
from lictor.pdp.sql import SqlFacts, sql_facts

_NOTHING_RESOLVED: Final[Mapping[str, str]] = {}


class Selected(msgspec.Struct, frozen=True, kw_only=True):
    """What the selectors found; None where the entry has no such selector."""

    destination: Destination | None = None
    value: Value | None = None
    path: PathFacts | None = None
    sql: SqlFacts | None = None
    command: CommandFacts | None = None

    def records(self) -> dict[str, dict[str, Any]]:
        """Context members by name, all but `value`, which needs the task's totals."""
        found: dict[str, dict[str, Any]] = {}
        if self.destination is not None:
            found["destination"] = self.destination.cedar()
            if self.destination.git is not None:
                found["git"] = self.destination.git.cedar()
        if self.path is not None:
            found["path"] = self.path.cedar()
        if self.sql is not None:
            found["sql"] = self.sql.cedar()
        if self.command is not None:
            found["command"] = self.command.cedar()
        return found


_NOTHING: Final = Selected()


def select(
    entry: CatalogEntry,
    arguments: dict[str, Any],
    directory: Directory,
    resolved: Mapping[str, str] = _NOTHING_RESOLVED,
) -> Selected:
    """What an action's arguments name, by its catalogue entry.

    Raises:
        CallerError: `unknown_destination`, `unknown_value`, `unknown_path`, `unknown_query`, `unknown_command`.
    """
    if not (entry.destination or entry.value or entry.path or entry.sql or entry.command):
        return _NOTHING
    return Selected(
        destination=destination_of(entry.destination, arguments, directory) if entry.destination else None,
        value=value_of(entry.value, arguments) if entry.value else None,
        path=path_facts(entry.path, arguments, resolved) if entry.path else None,
        sql=_sql(entry.sql, arguments) if entry.sql else None,
        command=_command(entry.command, arguments) if entry.command else None,
    )


_ONCE: Final = Once[Selected]()


def select_once(
    request: ActionRequest,
    entry: CatalogEntry,
    directory: Directory,
    resolved: Mapping[str, str] = _NOTHING_RESOLVED,
) -> Selected:
    """`select`, worked out once for an action: gathering, deciding and recording ask for the same.

    Raises:
        CallerError: as `select`; what is refused is not kept.
    """
    told: tuple[str, ...] = (request.digest,)
    if resolved:
        told = (request.digest, *(part for pair in sorted(resolved.items()) for part in pair))
    return _ONCE.of(told, (entry, directory), lambda: select(entry, request.arguments.open(), directory, resolved))


def destination_of(selector: DestinationSelector, arguments: dict[str, Any], directory: Directory) -> Destination:
    """The destination an action's arguments name.

    Raises:
        CallerError: `unknown_destination`: absent, of another form than declared, or of two readings.
    """
    found = values(arguments, selector.targets, Reason.UNKNOWN_DESTINATION)
    match selector.kind:
        case "url":
            return destination_from(tuple(url_target(raw, selector, directory, where) for where, raw in found))
        case "email":
            return destination_from(_emails(found, selector, directory))
        case "host":
            port = _port(selector, arguments)
            return destination_from(tuple(host_target(raw, port, selector, directory, at) for at, raw in found))
        case "git":
            targets = tuple(git_target(raw, selector, directory, where) for where, raw in found)
            return destination_from(targets, _git(targets, selector, arguments))
        case "account":
            return destination_from(tuple(account_target(raw, selector, directory, at) for at, raw in found))


def _emails(found: list[tuple[str, Any]], selector: DestinationSelector, directory: Directory) -> tuple[Target, ...]:
    targets = tuple(
        email_target(address, selector, directory, where)
        for where, raw in found
        for address in addresses_in(raw, selector.separator, where)
    )
    if len(targets) > MAX_VALUES:
        raise CallerError(Reason.UNKNOWN_DESTINATION, f"more than {MAX_VALUES} addresses", where=found[0][0])
    return targets


def _port(selector: DestinationSelector, arguments: dict[str, Any]) -> int:
    if not selector.port:
        return 0
    raw = point(arguments, selector.port)
    return 0 if raw is MISSING or raw is None else port_of(raw, selector.port)


def _git(targets: tuple[Target, ...], selector: DestinationSelector, arguments: dict[str, Any]) -> GitRef | None:
    if not selector.ref:
        return None
    if len(targets) != 1:
        raise CallerError(Reason.UNKNOWN_DESTINATION, "refs need exactly one remote", where=selector.targets[0])
    force = point(arguments, selector.force) if selector.force else False
    if force is MISSING or force is None:
        force = False
    if not isinstance(force, bool):
        raise CallerError(Reason.UNKNOWN_DESTINATION, "force is not a boolean", where=selector.force)
    pointers = (selector.ref,) if isinstance(selector.ref, str) else selector.ref
    return ref_facts(targets[0], values(arguments, pointers, Reason.UNKNOWN_DESTINATION), force=force)


def _sql(selector: SqlSelector, arguments: dict[str, Any]) -> SqlFacts:
    raw = point(arguments, selector.text)
    if not isinstance(raw, str):
        raise CallerError(Reason.UNKNOWN_QUERY, "the query is missing or not a string", where=selector.text)
    return sql_facts(raw, selector.dialect)


def _command(selector: CommandSelector, arguments: dict[str, Any]) -> CommandFacts:
    where = selector.text or selector.argv
    raw = point(arguments, where)
    words = isinstance(raw, list) and bool(raw) and all(isinstance(word, str) for word in raw)
    if not (isinstance(raw, str) if selector.text else words):
        raise CallerError(Reason.UNKNOWN_COMMAND, "the command is missing or not of the declared form", where=where)
    facts = command_facts(raw)
    if not facts.understood and selector.unclear == "deny":
        message = f"the command is not wholly understood: {facts.why}"[:300]
        raise CallerError(Reason.UNKNOWN_COMMAND, message, where=where)
    return facts
