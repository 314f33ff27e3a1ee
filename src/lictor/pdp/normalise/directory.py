"""The directory: hosts, domains, e-mail addresses, accounts and repositories somebody vouches for, by named group.

Entries are already in the form that arguments are normalised to; the bundle's reader sees to that. Refuses to know arguments.
"""

import re
from dataclasses import dataclass, field
from typing import Final

Groups = dict[str, tuple[str, ...]]

_HOST_PATTERN: Final = re.compile(r"(\*\.)?[a-z0-9_.\-\[\]:]+", re.ASCII)
_NONE: Final[frozenset[str]] = frozenset()


def _index(groups: Groups) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for group, items in groups.items():
        for item in items:
            found.setdefault(item, set()).add(group)
    return {item: frozenset(names) for item, names in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """Trusted values by group. The same group name in several tables is one group."""

    hosts: Groups = field(default_factory=dict)
    """`host`, `host:port` or `*.domain` (sub-domains only), lower case; without a port the scheme's default port only."""
    domains: Groups = field(default_factory=dict)
    """A domain with everything below it: hosts on their default port, and e-mail addresses."""
    emails: Groups = field(default_factory=dict)
    """Whole addresses, lower case."""
    accounts: Groups = field(default_factory=dict)
    """IBANs without blanks, or declared identifiers."""
    repositories: Groups = field(default_factory=dict)
    """`host/path`, or `host/path/*` for all below."""
    _indexes: dict[str, dict[str, frozenset[str]]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tables = ("hosts", "domains", "emails", "accounts", "repositories")
        object.__setattr__(self, "_indexes", {table: _index(getattr(self, table)) for table in tables})

    @property
    def groups(self) -> frozenset[str]:
        """Every group's name."""
        tables = (self.hosts, self.domains, self.emails, self.accounts, self.repositories)
        return frozenset(name for table in tables for name in table)

    def names_of(self, host: str, port: int, *, default_port: bool) -> tuple[str, ...]:
        """Groups that list this host; a pattern without port stands for the scheme's default port only."""
        hosts, domains = self._indexes["hosts"], self._indexes["domains"]
        if not hosts and not domains:
            return ()
        parents = _parents(host)
        found: frozenset[str] = _NONE
        if hosts:
            for pattern in (host, *[f"*.{parent}" for parent in parents]):
                found |= hosts.get(f"{pattern}:{port}", _NONE)
                if default_port:
                    found |= hosts.get(pattern, _NONE)
        if domains and default_port:
            for domain in (host, *parents):
                found |= domains.get(domain, _NONE)
        return tuple(sorted(found))

    def names_of_email(self, address: str, domain: str) -> tuple[str, ...]:
        """Groups that list this address, or the domain it lies in."""
        found = self._indexes["emails"].get(address, _NONE)
        domains = self._indexes["domains"]
        if domains:
            for above in (domain, *_parents(domain)):
                found |= domains.get(above, _NONE)
        return tuple(sorted(found))

    def names_of_account(self, account: str) -> tuple[str, ...]:
        """Groups that list this account."""
        return tuple(sorted(self._indexes["accounts"].get(account, _NONE)))

    def names_of_repository(self, address: str) -> tuple[str, ...]:
        """Groups that list this repository or a path above it."""
        index = self._indexes["repositories"]
        found = set(index.get(address, _NONE))
        parent = address
        while "/" in parent:
            parent = parent.rpartition("/")[0]
            found |= index.get(f"{parent}/*", _NONE)
        return tuple(sorted(found))

    def lists(self, kind: str, form: str) -> bool:
        """Whether it lists a value of a watched kind itself. A listed host does not vouch for a URL on it."""
        match kind:
            case "email":
                return bool(self.names_of_email(form, form.rpartition("@")[2]))
            case "host":
                return bool(self.names_of(form, 443, default_port=True))
            case "account":
                return bool(self.names_of_account(form))
            case _:
                return False


def valid_host_pattern(pattern: str) -> bool:
    """Whether a directory pattern has a form that can match something."""
    return pattern == pattern.lower() and _HOST_PATTERN.fullmatch(pattern) is not None


def _parents(host: str) -> list[str]:
    """The domains above a host, nearest first. Harmless for addresses: no pattern is a part of one."""
    labels = host.split(".")
    return [".".join(labels[index:]) for index in range(1, len(labels))]
