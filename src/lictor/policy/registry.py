"""`agents.toml`, `approvers.toml`, `directory.toml`: who may act, who may answer, what somebody vouches for.

Refuses to know tools and policies.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from lictor.model.agent import Agent
from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.identity import Proof
from lictor.model.ids import AgentId, HumanId
from lictor.pdp.normalise import Directory, destination_of, valid_host_pattern
from lictor.pdp.normalise.account import iban
from lictor.pdp.normalise.domains import is_public_suffix
from lictor.pdp.normalise.git import repository_problem
from lictor.pdp.normalise.hosts import read_host
from lictor.pdp.roles import Approvers
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import human_problem, name_problem
from lictor.policy.problems import Problems, quote
from lictor.policy.proofs import check_proofs

MAX_AUTONOMY: Final = 5
LAST_REVIEW: Final = date(2100, 1, 1)
"""A review date past it is no review date."""


class _AgentTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    owner: str
    review_by: date
    team: str = ""
    autonomy: int = 0
    environment: str = "development"
    groups: tuple[str, ...] = ()
    active: bool = True
    delegates_to: tuple[str, ...] = ()
    proofs: tuple[Proof, ...] = ()


class _HumanTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    groups: tuple[str, ...]


class _ApproverTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Agents, the purposes a task may have, and the groups of those whom agents work for."""

    agents: Mapping[AgentId, Agent] = field(default_factory=dict)
    purposes: tuple[str, ...] = ()
    humans: Mapping[HumanId, tuple[str, ...]] = field(default_factory=dict)
    proofs: Mapping[AgentId, tuple[Proof, ...]] = field(default_factory=dict)
    """Ways an agent proves itself over the network; any of them will do. An agent without has no entry (a local process)."""


def read_agents(document: Document, problems: Problems) -> People:
    """Purposes, agents and groups of humans; an agent without owner or review date is refused (OWASP NHI1)."""
    only_keys(document, ("purposes", "agents", "humans"), problems)
    purposes = _purposes(document, problems)
    agents: dict[AgentId, Agent] = {}
    proofs: dict[AgentId, tuple[Proof, ...]] = {}
    for name, raw in tables(document, "agents", problems).items():
        path = ("agents", name)
        table = convert(document, path, raw, _AgentTable, problems)
        where = document.lines.where(path)
        _note(problems, where, name, name_problem(name))
        if table is None:
            continue
        _check_agent(document, name, table, problems)
        agents[AgentId(name)] = Agent(
            id=AgentId(name),
            owner=table.owner,
            team=table.team,
            autonomy=table.autonomy,
            environment=table.environment,
            groups=tuple(sorted(set(table.groups))),
            review_by_ms=end_of(min(table.review_by, LAST_REVIEW)),
            active=table.active,
            delegates_to=tuple(AgentId(other) for other in sorted(set(table.delegates_to))),
        )
        if table.proofs:
            proofs[AgentId(name)] = table.proofs
    _check_delegates(document, agents, problems)
    check_proofs(document, "agents", {str(name): stated for name, stated in proofs.items()}, problems)
    return People(agents=agents, purposes=purposes, humans=_humans(document, problems), proofs=proofs)


def _check_delegates(document: Document, agents: Mapping[AgentId, Agent], problems: Problems) -> None:
    for name, agent in agents.items():
        for other in agent.delegates_to:
            if other not in agents or other == name:
                where = document.lines.where(("agents", name, "delegates_to"))
                problems.add(
                    where, f"{quote(name)} cannot delegate to {quote(other)}", "name another agent of this file"
                )


def _humans(document: Document, problems: Problems) -> dict[HumanId, tuple[str, ...]]:
    found: dict[HumanId, tuple[str, ...]] = {}
    for human, raw in tables(document, "humans", problems).items():
        path = ("humans", human)
        table = convert(document, path, raw, _HumanTable, problems)
        _note(problems, document.lines.where(path), human, human_problem(human))
        for group in table.groups if table else ():
            _note(problems, document.lines.where((*path, "groups")), group, name_problem(group))
        found[HumanId(human)] = tuple(sorted(set(table.groups))) if table else ()
    return found


_FLAGS: Final = {"four_eyes": True, "owners": True}
"""Keys that are true or false, and what they are unless said otherwise."""
_ROLES: Final = ("operators", "authors", "overriders")


def read_approvers(document: Document, problems: Problems) -> Approvers:
    """Who answers holds, and who runs the control plane.

    `[approvers."os:alice"] groups = [...]`; `[viewers."os:carol"] groups = [...]`; `four_eyes` and `owners` (both true unless
    they say otherwise); `operators`, `authors`, `overriders`: lists of groups, each empty unless it says otherwise.
    """
    only_keys(document, (*_FLAGS, *_ROLES, "approvers", "viewers"), problems)
    flags = {name: _flag(document, name, usual, problems) for name, usual in _FLAGS.items()}
    groups_of = _members(document, "approvers", problems)
    viewers = _members(document, "viewers", problems)
    for both in sorted(groups_of.keys() & viewers.keys()):
        problems.add(
            document.lines.where(("viewers", both)), f"{quote(both)} is an approver, who sees everything anyway"
        )
    operators, authors, overriders = (_role(document, name, problems) for name in _ROLES)
    return Approvers(
        groups_of=groups_of,
        viewers=viewers,
        four_eyes=flags["four_eyes"],
        owners=flags["owners"],
        operators=operators,
        authors=authors,
        overriders=overriders,
    )


def _flag(document: Document, name: str, usual: bool, problems: Problems) -> bool:
    value = document.raw.get(name, usual)
    if isinstance(value, bool):
        return value
    problems.add(document.lines.where((name,)), f"{name} must be true or false")
    return usual


def _members(document: Document, what: str, problems: Problems) -> dict[HumanId, tuple[str, ...]]:
    found: dict[HumanId, tuple[str, ...]] = {}
    one = what.removesuffix("s")
    for human, raw in tables(document, what, problems).items():
        path = (what, human)
        table = convert(document, path, raw, _ApproverTable, problems)
        _note(problems, document.lines.where(path), human, human_problem(human))
        if table is None:
            continue
        where = document.lines.where((*path, "groups"))
        if not table.groups and what == "approvers":
            problems.add(where, f"{one} {quote(human)} is in no group", f"name a group, or remove the {one}")
        for group in table.groups:
            _note(problems, where, group, name_problem(group))
        found[HumanId(human)] = tuple(sorted(set(table.groups)))
    return found


def _role(document: Document, name: str, problems: Problems) -> frozenset[str]:
    raw: Any = document.raw.get(name, [])
    where = document.lines.where((name,))
    if not isinstance(raw, list) or not all(isinstance(group, str) for group in raw):
        problems.add(where, f"{name} must be a list of groups", f'for example: {name} = ["{name}"]')
        return frozenset()
    for group in raw:
        _note(problems, where, group, name_problem(group))
    return frozenset(raw)


def read_directory(document: Document, problems: Problems) -> Directory:
    """`[hosts]`, `[domains]`, `[emails]`, `[accounts]`, `[repositories]`: each `group = ["entry", ...]`."""
    only_keys(document, tuple(_ENTRIES), problems)
    return Directory(**{table: _groups(document, table, problems) for table in _ENTRIES})


def _groups(document: Document, table: str, problems: Problems) -> dict[str, tuple[str, ...]]:
    what, problem = _ENTRIES[table]
    found: dict[str, tuple[str, ...]] = {}
    for group, entries in tables(document, table, problems).items():
        where = document.lines.where((table, group))
        _note(problems, where, group, name_problem(group))
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
            problems.add(where, f"group {quote(group)} of {table} must be a list of {what}, not empty")
            continue
        for entry in entries:
            _note(problems, where, entry, problem(entry))
        found[group] = tuple(entries)
    return found


def host_problem(pattern: str) -> str:
    """Why a host pattern could never match what a URL's host is normalised to (WHATWG URL 3.5), or matches too much."""
    bare, port = pattern, ""
    if not pattern.endswith("]") and ":" in pattern:
        bare, _, port = pattern.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= 65_535 or port[0] == "0":
            return "the port must be 1 to 65535"
    wild = bare.startswith("*.")
    host = bare[2:] if wild else bare
    if not valid_host_pattern(pattern) or not host:
        return "a host pattern is `host`, `host:port` or `*.domain`, in lower case"
    if wild and ("." not in host or host.startswith("[") or host.replace(".", "").isdigit()):
        return "a wildcard needs a domain of two labels at least"
    try:
        normal = read_host(host, "").name
    except CallerError:
        return "this is no host"
    if normal != host:
        return f"URLs have this host as {quote(normal)}: write it so"
    return "anybody can register below this domain" if wild and is_public_suffix(host) else ""


def domain_problem(domain: str) -> str:
    """Why a domain could never match, or matches too much."""
    if "." not in domain or domain.startswith("["):
        return "a domain has two labels at least"
    problem = host_problem(f"*.{domain}")
    return "a domain is written without *. and port" if ":" in domain or domain.startswith("*.") else problem


def email_problem(address: str) -> str:
    """Why an e-mail address could never match what addresses are normalised to."""
    return _unlike(address, DestinationSelector(email="/x"))


def account_problem(account: str) -> str:
    """Why an account could never match: neither a plain identifier nor an IBAN as it is normalised."""
    selector = DestinationSelector(account="/x", form="id" if iban(account) is None else "iban")
    return _unlike(account, selector)


def _unlike(text: str, selector: DestinationSelector) -> str:
    try:
        normal = destination_of(selector, {"x": text}, Directory()).address
    except CallerError as error:
        return error.message
    return "" if normal == text else f"arguments have this as {quote(normal)}: write it so"


_ENTRIES: Final[dict[str, tuple[str, Callable[[str], str]]]] = {
    "hosts": ("host patterns", host_problem),
    "domains": ("domains", domain_problem),
    "emails": ("e-mail addresses", email_problem),
    "accounts": ("accounts", account_problem),
    "repositories": ("host/path or host/path/*", repository_problem),
}
"""Tables of `directory.toml`: what an entry is, and why one is none."""


def _purposes(document: Document, problems: Problems) -> tuple[str, ...]:
    raw: Any = document.raw.get("purposes", [])
    where = document.lines.where(("purposes",))
    if not isinstance(raw, list) or not raw or not all(isinstance(purpose, str) for purpose in raw):
        problems.add(where, "purposes must be a list of names, not empty", 'for example: purposes = ["development"]')
        return ()
    for purpose in raw:
        _note(problems, where, purpose, name_problem(purpose))
    return tuple(sorted(set(raw)))


def _check_agent(document: Document, name: str, table: _AgentTable, problems: Problems) -> None:
    def where(key: str) -> str:
        return document.lines.where(("agents", name, key))

    if not table.owner.strip() or not table.owner.isprintable():
        problems.add(where("owner"), f"agent {quote(name)} has no owner", "name the person or team who answers for it")
    if not 0 <= table.autonomy <= MAX_AUTONOMY:
        problems.add(where("autonomy"), f"autonomy is 0 to {MAX_AUTONOMY}, not {table.autonomy}")
    if table.review_by > LAST_REVIEW:
        problems.add(where("review_by"), f"review_by must be before {LAST_REVIEW}")
    if table.review_by.year < 1970:
        problems.add(where("review_by"), "review_by must be after 1970")
    if table.team:
        _note(problems, where("team"), table.team, name_problem(table.team))
    _note(problems, where("environment"), table.environment, name_problem(table.environment))
    for group in table.groups:
        _note(problems, where("groups"), group, name_problem(group))


def end_of(day: date) -> int:
    """The last moment of a day counts as before the review date, in UTC; milliseconds since the epoch."""
    next_day = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return int(next_day.timestamp()) * 1_000


def _note(problems: Problems, where: str, value: str, problem: str) -> None:
    if problem:
        problems.add(where, f"{quote(value)}: {problem}")
