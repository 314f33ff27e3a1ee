"""One place where data goes, and several of them as one destination. Refuses to know how they were written."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from lictor.model.catalog import DestinationKind
from lictor.pdp.normalise.domains import registered_domain
from lictor.pdp.normalise.hosts import Host

_T = TypeVar("_T")


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One URL's host, one e-mail address, one host, one repository or one account, in its one spelling."""

    kind: DestinationKind
    scheme: str = ""
    host: str = ""
    """ASCII, lower case, no trailing dot; of an e-mail address the domain; empty for accounts."""
    domain: str = ""
    """Registered domain; empty for addresses, single labels and public suffixes."""
    port: int = 0
    address: str = ""
    """E-mail address (lower case), `host/path` of a repository, or account; empty for other kinds."""
    repository: str = ""
    """Path of a repository on its host."""
    path: str = ""
    """Of a URL, decoded once and without dot segments, beginning with a slash; empty if readers take it differently."""
    directory: tuple[str, ...] = ()
    """Groups of the directory that list it, sorted; empty means nobody vouched for it."""
    ip: bool = False
    private: bool = False
    idn: bool = False
    mixed_script: bool = False

    @property
    def text(self) -> str:
        """For people and logs: enough to tell it from any other."""
        match self.kind:
            case "url":
                return f"{self.scheme}://{self.host}:{self.port}"
            case "host":
                return f"{self.host}:{self.port}" if self.port else self.host
            case "email" | "git" | "account":
                return self.address


class GitRef(msgspec.Struct, frozen=True, kw_only=True):
    """What a push does to the refs of the one repository it goes to."""

    host: str
    repository: str
    ref: str
    """The branch without `refs/heads/`, or the whole name of any other ref; empty for several."""
    refs: tuple[str, ...]
    force: bool
    delete: bool

    def cedar(self) -> dict[str, Any]:
        """As a Cedar record."""
        return {
            "host": self.host,
            "repository": self.repository,
            "ref": self.ref,
            "refs": list(self.refs),
            "force": self.force,
            "delete": self.delete,
        }


GIT_TYPE = "{host: String, repository: String, ref: String, refs: Set<String>, force: Bool, delete: Bool}"


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one call reaches. A member that has not the same value for all of it is empty; the sets have all values."""

    kind: DestinationKind
    scheme: str
    host: str
    domain: str
    port: int
    address: str
    directory: tuple[str, ...]
    """Groups that list *all* of it."""
    external: bool
    """Some of it is in no group at all."""
    ip: bool
    private: bool
    idn: bool
    mixed_script: bool
    targets: tuple[Target, ...]
    path: str = ""
    git: GitRef | None = None

    def cedar(self) -> dict[str, Any]:
        """As a Cedar record of `DESTINATION_TYPE`."""
        found: dict[str, Any] = {
            "kind": self.kind,
            "scheme": self.scheme,
            "host": self.host,
            "domain": self.domain,
            "port": self.port,
            "address": self.address,
            "directory": list(self.directory),
            "external": self.external,
            "ip": self.ip,
            "private": self.private,
            "idn": self.idn,
            "mixed_script": self.mixed_script,
            "count": len(self.targets),
            "hosts": _set([target.host for target in self.targets]),
            "domains": _set([target.domain for target in self.targets]),
            "addresses": _set([target.address for target in self.targets]),
        }
        if self.path:
            found["path"] = self.path
        return found


DESTINATION_TYPE = (
    "{kind: String, scheme: String, host: String, domain: String, port: Long, address: String, directory: Set<String>, "
    "external: Bool, ip: Bool, private: Bool, idn: Bool, mixed_script: Bool, count: Long, path?: String, "
    "hosts: Set<String>, domains: Set<String>, addresses: Set<String>}"
)


def destination_from(targets: tuple[Target, ...], git: GitRef | None = None) -> Destination:
    """Several targets, at least one, as one destination."""
    first, others = targets[0], targets[1:]
    if not others:
        return Destination(
            kind=first.kind,
            scheme=first.scheme,
            host=first.host,
            domain=first.domain,
            port=first.port,
            address=first.address,
            directory=first.directory,
            external=not first.directory,
            ip=first.ip,
            private=first.private,
            idn=first.idn,
            mixed_script=first.mixed_script,
            targets=targets,
            path=first.path,
            git=git,
        )
    shared = set(first.directory).intersection(*(target.directory for target in others))
    return Destination(
        kind=first.kind,
        scheme=_same(first.scheme, (target.scheme for target in others), ""),
        host=_same(first.host, (target.host for target in others), ""),
        domain=_same(first.domain, (target.domain for target in others), ""),
        port=_same(first.port, (target.port for target in others), 0),
        address=_same(first.address, (target.address for target in others), ""),
        directory=tuple(sorted(shared)),
        external=any(not target.directory for target in targets),
        ip=any(target.ip for target in targets),
        private=any(target.private for target in targets),
        idn=any(target.idn for target in targets),
        mixed_script=any(target.mixed_script for target in targets),
        targets=targets,
        path=_same(first.path, (target.path for target in others), ""),
        git=git,
    )


def domain_of(host: Host, *, private_suffixes: bool) -> str:
    """A host's registered domain, empty for an address."""
    return "" if host.ip else registered_domain(host.name, private=private_suffixes)


def _same(first: _T, others: Iterable[_T], mixed: _T) -> _T:
    return first if all(other == first for other in others) else mixed


def _set(items: list[str]) -> list[str]:
    if len(items) == 1:
        return items if items[0] else []
    return sorted({item for item in items if item})
