"""Edits of `agents.toml` as text: what a person wrote beside a key stays, and nothing but what was asked for changes.

Each edit is made by one library and checked by another: read back by the standard library's strict reader, the document has to
be the old one with exactly that change, or the edit is refused. Refuses to know files and clocks.
"""

import re
import tomllib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

import msgspec
import tomlkit
import tomlkit.exceptions
from tomlkit.items import Item, Key

from lictor.model.agent import Agent
from lictor.model.canonical import sha256_digest
from lictor.model.errors import CallerError, OperatorError
from lictor.model.identity import Proof
from lictor.model.reasons import Reason
from lictor.policy.names import name_problem
from lictor.policy.problems import quote

FILE: Final = "agents.toml"
REVIEW_DAYS: Final = 90
"""From one review to the next, unless somebody says otherwise."""
MAX_REVIEW_DAYS: Final = 366
"""A review further ahead is none: whoever looked has left by then (OWASP NHI1, NHI7)."""
_DAYS: Final = re.compile(r"([0-9]{1,3})d", re.ASCII)

Tables = dict[str, Any]
"""The agents of the file, as TOML reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgent:
    """What is registered."""

    name: str
    owner: str
    review_by: date
    autonomy: int = 0
    environment: str = "development"
    team: str = ""
    groups: tuple[str, ...] = ()
    delegates_to: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()


def review_date(asked: str, today: date) -> date:
    """A review date as a person writes it: `2027-02-01`, `90d` from today, or nothing for the usual 90 days.

    Raises:
        CallerError: `invalid_arguments`: no date, not after today, or more than a year ahead.
    """
    days = _DAYS.fullmatch(asked)
    try:
        day = today + timedelta(days=int(days[1]) if days else REVIEW_DAYS) if days or not asked else _date(asked)
    except ValueError:
        raise _refused(f"{quote(asked)} is no date", "write 2027-02-01, or 90d") from None
    if not today < day <= today + timedelta(days=MAX_REVIEW_DAYS):
        raise _refused(f"{day} is no review date", "it is after today, and at most one year ahead")
    return day


def add_agent(text: str, new: NewAgent) -> str:
    """The file with one agent more, at its end.

    Raises:
        CallerError: there is one of that name, active or not: a name is never used again; or it is no name.
        OperatorError: the file cannot be edited here.
    """
    problem = name_problem(new.name)
    if problem:
        raise _refused(f"{quote(new.name)}: {problem}")
    if new.name in _agents(text):
        raise _refused(f"there is an agent {quote(new.name)} already", "choose another name, or edit agents.toml")
    entry = _entry(new)

    def wanted(agents: Tables) -> None:
        agents[new.name] = entry

    agents = tomlkit.table(is_super_table=True)
    agents.append(new.name, tomlkit.item(entry))
    document = tomlkit.document()
    document.append("agents", agents)
    ending = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text or text.endswith("\n") else ending
    block = tomlkit.dumps(document).replace("\r\n", "\n").replace("\n", ending)
    return _checked(text, f"{text}{gap}{ending if text else ''}{block}", wanted)


def review_agent(text: str, name: str, review_by: date) -> str:
    """The file with another review date.

    Raises:
        CallerError: no such agent, or it was taken out of service.
        OperatorError: the file cannot be edited here.
    """
    if _one(text, name).get("active") is False:
        raise _refused(f"agent {quote(name)} was taken out of service", "a review does not bring it back")
    return _with(text, name, "review_by", review_by)


def retire_agent(text: str, name: str) -> str:
    """The file with the agent out of service. Its entry stays, so that its name is never given to another.

    Raises:
        CallerError: no such agent.
        OperatorError: the file cannot be edited here.
    """
    _one(text, name)
    return _with(text, name, "active", value=False)


def entry_digest(agent: Agent | None, proofs: tuple[Proof, ...] = ()) -> str:
    """SHA-256 of a registered agent and of how it proves itself, for the record; empty where there is none."""
    if agent is None:
        return ""
    return sha256_digest(msgspec.json.encode({**msgspec.to_builtins(agent), "proofs": proofs}, order="sorted"))


def _with(text: str, name: str, key: str, value: Any) -> str:
    def wanted(agents: Tables) -> None:
        agents[name][key] = value

    if _one(text, name).get(key) == value:
        return text
    try:
        document = tomlkit.parse(text)
        table: Any = document["agents"][name]
        fresh = key not in table
        table[key] = value
        if fresh and isinstance(table, tomlkit.items.Table):
            _before_remarks(table.value.body, key)
        after = tomlkit.dumps(document)
    except (tomlkit.exceptions.TOMLKitError, KeyError, TypeError) as error:
        raise _by_hand(name) from error
    return _checked(text, after, wanted)


def _before_remarks(body: list[tuple[Key | None, Item]], key: str) -> None:
    """A new key goes before the comments and blank lines at the end of a table: they belong to what follows."""
    last = body[-1][0]
    if last is None or last.key != key:  # it stands before the tables inside this one already
        return
    new = body.pop()
    end = len(body)
    while end and body[end - 1][0] is None:
        end -= 1
    body.insert(end, new)


def _entry(new: NewAgent) -> Tables:
    """The agent's table: what is empty is left out, so that defaults stay in one place."""
    proofs = [msgspec.to_builtins(proof) for proof in new.proofs]
    optional: Tables = {
        "team": new.team,
        "groups": list(new.groups),
        "delegates_to": list(new.delegates_to),
        "proofs": proofs,
    }
    return {
        "owner": new.owner,
        "review_by": new.review_by,
        "autonomy": new.autonomy,
        "environment": new.environment,
        **{key: value for key, value in optional.items() if value},
    }


def _checked(before: str, after: str, wanted: Callable[[Tables], None]) -> str:
    """The edited text, if it reads as the old one with exactly the wanted change."""
    expected = deepcopy(_read(before))
    wanted(expected.setdefault("agents", {}))
    try:
        found = tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        found = {}
    if found != expected:
        raise _by_hand("")
    return after


def _agents(text: str) -> Tables:
    agents = _read(text).get("agents", {})
    if not isinstance(agents, dict):
        raise OperatorError(Reason.BUNDLE_REFUSED, "agents must be a table of tables", where=FILE)
    return agents


def _one(text: str, name: str) -> Tables:
    found = _agents(text).get(name)
    if not isinstance(found, dict):
        raise CallerError(
            Reason.UNKNOWN_AGENT, f"there is no agent {quote(name)}", remedy="see them with: lictor agents list"
        )
    return found


def _read(text: str) -> Tables:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"not TOML: {error}", where=FILE) from None


def _date(asked: str) -> date:
    return date.fromisoformat(asked)


def _by_hand(name: str) -> OperatorError:
    what = f"the entry of {quote(name)}" if name else "the file"
    return OperatorError(
        Reason.BUNDLE_REFUSED, f"{what} cannot be changed without touching more", where=FILE, remedy="edit it by hand"
    )


def _refused(message: str, remedy: str = "") -> CallerError:
    return CallerError(Reason.INVALID_ARGUMENTS, message, remedy=remedy)
