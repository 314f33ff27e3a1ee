"""Git remotes and refs. Forms that run a program or name a local path are refused (`ext::`, `-oProxyCommand`, `../x`)."""

import re
from typing import Any, Final

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise.directory import Directory
from lictor.pdp.normalise.hosts import read_host
from lictor.pdp.normalise.target import GitRef, Target, domain_of

_HOST: Final = r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][^/?#\\@%:\[\]\x00-\x20\x7f]*)"
_USER: Final = r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
_URL: Final = re.compile(
    rf"(?P<scheme>[A-Za-z]+)://{_USER}{_HOST}(?::(?P<port>[0-9]{{1,5}}))?/(?P<path>[^?#\\%\x00-\x20\x7f]+)"
)
_SCP: Final = re.compile(rf"{_USER}{_HOST}:(?P<path>[^:?#\\%\x00-\x20\x7f]+)")
_SEGMENT: Final = re.compile(r"(?![-.~])[A-Za-z0-9._+~-]+", re.ASCII)
_DEFAULT_PORTS: Final = {"https": 443, "ssh": 22, "http": 80, "git": 9418}
_FOLDING: Final = frozenset({"github.com", "gitlab.com", "bitbucket.org", "codeberg.org"})
"""Hosts that do not tell `Acme/App` from `acme/app`."""
_BAD_REF: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)|^[./-]|[./]$")
"""git-check-ref-format(1), and a leading `-`."""
_LOCAL_NAMES: Final = frozenset({"HEAD", "@", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD"})
_MAX_REF: Final = 255


def git_target(raw: Any, selector: DestinationSelector, directory: Directory, where: str) -> Target:
    """The repository a remote's URL names.

    Raises:
        CallerError: `unknown_destination`: no string, a name of a configured remote, a local path, a transport helper,
            credentials, an unusual path.
    """
    if not isinstance(raw, str) or len(raw) > 2_048:
        raise _unknown("the remote is missing, too long or not a string", where)
    match = _URL.fullmatch(raw)
    scheme, port = (match["scheme"].lower(), int(match["port"] or 0)) if match else ("ssh", 0)
    match = match or _SCP.fullmatch(raw)
    if match is None or "::" in raw.partition("[")[0] or (len(match["host"]) == 1 and match.re is _SCP):
        raise _unknown("this is no https, ssh or host:path remote", where)
    if scheme not in (("https", "ssh") if selector.schemes is None else selector.schemes):
        raise _unknown(f"scheme {scheme[:20]!r} is not accepted", where)
    if match["user"] and scheme != "ssh":
        raise _unknown("a remote with user information is refused", where)
    if port > 65_535:
        raise _unknown("the port is not from 1 to 65535", where)
    host = read_host(match["host"], where)
    repository = _repository(match["path"], where)
    if host.name in _FOLDING:
        repository = repository.lower()
    default = _DEFAULT_PORTS.get(scheme, 0)
    port = port or default
    address = f"{host.name}/{repository}" if port == default else f"{host.name}:{port}/{repository}"
    return Target(
        kind="git",
        scheme=scheme,
        host=host.name,
        domain=domain_of(host, private_suffixes=selector.private_suffixes),
        port=port,
        address=address,
        repository=repository,
        directory=directory.names_of_repository(address),
        ip=host.ip,
        private=host.private,
        idn=host.idn,
        mixed_script=host.mixed_script,
    )


def repository_problem(address: str) -> str:
    """Why a directory's `host/path` or `host/path/*` could match nothing; empty when it can."""
    host, _, path = address.removesuffix("/*").partition("/")
    name, _, port = host.partition(":")
    try:
        found = read_host(name, "").name
        repository = _repository(path, "") if path or not address.endswith("/*") else ""
    except CallerError as error:
        return error.message
    if found in _FOLDING:
        repository = repository.lower()
    if name != found or repository != path or (port and not port.isdigit()):
        return "remotes are normalised to another form: host in lower case, no .git, no slash at the end"
    return ""


def ref_facts(target: Target, refs: list[tuple[str, Any]], *, force: bool) -> GitRef:
    """What a push of these refspecs does.

    Raises:
        CallerError: `unknown_destination`: no string, no valid ref, a pattern, a negative refspec, a name only the local
            clone knows.
    """
    names: set[str] = set()
    delete = False
    for where, raw in refs:
        if not isinstance(raw, str) or not raw or len(raw) > _MAX_REF:
            raise _unknown("the ref is missing, too long or not a string", where)
        text = raw.removeprefix("+")
        force = force or text != raw
        source, colon, target_name = text.partition(":")
        if colon and source and source not in _LOCAL_NAMES:
            _ref(source, where)
        delete = delete or (colon == ":" and not source)
        names.add(_ref(target_name if colon else source, where))
    known = tuple(sorted(names))
    return GitRef(
        host=target.host,
        repository=target.repository,
        ref=known[0] if len(known) == 1 else "",
        refs=known,
        force=force,
        delete=delete,
    )


def _ref(text: str, where: str) -> str:
    if text in _LOCAL_NAMES or not text or _BAD_REF.search(text) or not text.isascii() or text.endswith(".lock"):
        raise _unknown("this is no plain branch or ref name", where)
    if text.startswith("refs/"):
        return text.removeprefix("refs/heads/")
    if text.partition("/")[0] in {"heads", "tags", "remotes"}:
        raise _unknown("an abbreviated ref has two readings: write refs/heads/... or the branch alone", where)
    return text


def _repository(path: str, where: str) -> str:
    segments = path.removeprefix("/").removesuffix("/").split("/")
    segments[-1] = segments[-1].removesuffix(".git")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise _unknown("the path of the repository has an empty or unusual part", where)
    return "/".join(segments)


def _unknown(message: str, where: str) -> CallerError:
    return CallerError(Reason.UNKNOWN_DESTINATION, message, where=where)
