"""`agents.toml`, `approvers.toml`, `directory.toml`: who may act, who may answer, which hosts somebody vouches for.

Refuses to know tools and policies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec

from lictor.model.agent import Agent
from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId
from lictor.pdp.normalise import Directory, destination_of, valid_host_pattern
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import human_problem, name_problem
from lictor.policy.problems import Problems, quote

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


class _ApproverTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Agents and the purposes a task may have."""

    agents: Mapping[AgentId, Agent] = field(default_factory=dict)
    purposes: tuple[str, ...] = ()


def read_agents(document: Document, problems: Problems) -> People:
    """`purposes = [...]` and `[agents.NAME]`; an agent without owner or review date is refused (OWASP NHI1)."""
    only_keys(document, ("purposes", "agents"), problems)
    purposes = _purposes(document, problems)
    agents: dict[AgentId, Agent] = {}
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
            review_by_ms=_end_of(min(table.review_by, LAST_REVIEW)),
            active=table.active,
        )
    return People(agents=agents, purposes=purposes)


def read_approvers(document: Document, problems: Problems) -> tuple[dict[HumanId, tuple[str, ...]], bool]:
    """`[approvers."os:alice"] groups = [...]` and `four_eyes`, which is true unless it says otherwise."""
    only_keys(document, ("four_eyes", "approvers"), problems)
    four_eyes = document.raw.get("four_eyes", True)
    if not isinstance(four_eyes, bool):
        problems.add(document.lines.where(("four_eyes",)), "four_eyes must be true or false")
        four_eyes = True
    groups_of: dict[HumanId, tuple[str, ...]] = {}
    for human, raw in tables(document, "approvers", problems).items():
        path = ("approvers", human)
        table = convert(document, path, raw, _ApproverTable, problems)
        _note(problems, document.lines.where(path), human, human_problem(human))
        if table is None:
            continue
        where = document.lines.where((*path, "groups"))
        if not table.groups:
            problems.add(where, f"approver {quote(human)} is in no group", "name a group, or remove the approver")
        for group in table.groups:
            _note(problems, where, group, name_problem(group))
        groups_of[HumanId(human)] = tuple(sorted(set(table.groups)))
    return groups_of, four_eyes


def read_directory(document: Document, problems: Problems) -> Directory:
    """`[hosts] group = ["host", "host:port", "*.domain"]`."""
    only_keys(document, ("hosts",), problems)
    hosts: dict[str, tuple[str, ...]] = {}
    for group, patterns in tables(document, "hosts", problems).items():
        where = document.lines.where(("hosts", group))
        _note(problems, where, group, name_problem(group))
        if not isinstance(patterns, list) or not patterns or not all(isinstance(p, str) for p in patterns):
            problems.add(where, f"host group {quote(group)} must be a list of host patterns, not empty")
            continue
        for pattern in patterns:
            _note(problems, where, pattern, host_problem(pattern))
        hosts[group] = tuple(patterns)
    return Directory(hosts=hosts)


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
        normal = destination_of(DestinationSelector(url="/url"), {"url": f"https://{host}/"}, Directory()).host
    except CallerError:
        return "this is no host"
    return "" if normal == host else f"URLs have this host as {quote(normal)}: write it so"


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


def _end_of(day: date) -> int:
    """The last moment of a day counts as before the review date, in UTC; milliseconds since the epoch."""
    next_day = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    return int(next_day.timestamp()) * 1_000


def _note(problems: Problems, where: str, value: str, problem: str) -> None:
    if problem:
        problems.add(where, f"{quote(value)}: {problem}")
