"""Secrets in a client's configuration, found by name and shape, and where they go: the safe and `credentials.toml`.

What looks like one may be none, and a secret may look like nothing: the plan shows every name, never a value, and a person
decides (`--keep-secrets` leaves everything where it is). Refuses to know how a client's file is edited: that is `wrapping`.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import tomlkit

from lictor.cli import clients
from lictor.config import Settings
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret

PLACE: Final = "(in the lictor safe)"
"""What stands in a configuration where a secret was. The server never sees it: the variable is not handed on."""
MIN_BYTES: Final = 8

_NAMES: Final = re.compile(
    r"token|secret|passw|passphrase|credential|api[_-]?key|access[_-]?key|private[_-]?key|auth|bearer|cookie|(?:^|[_-])(?:key|pat|pwd|pass)$",
    re.IGNORECASE,
)
_NOT: Final = re.compile(r"(?:_|-)(?:file|path|dir|url|name|id|user|username|type|env|host|port)$", re.IGNORECASE)
"""`GITHUB_TOKEN_FILE` says where one is."""
_KNOWN: Final = re.compile(
    r"sk-|sk_live_|rk_live_|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|xapp-|AKIA|ASIA|AIza|ya29\.|eyJ[A-Za-z0-9_-]{8,}\.|npm_|pypi-"
    r"|dop_v1_|hf_|SG\.|-----BEGIN |shpat_|lin_api_|ntn_|secret_|Bearer \S|Basic \S"
)
_OPAQUE: Final = re.compile(r"[A-Za-z0-9_+=.~-]{24,512}", re.ASCII)
_BITS: Final = 3.5
"""Bits a character from which on an opaque word is no word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """One value that leaves a client's file.

    Attributes:
        server: the Lictor server it is for.
        place: `env` or `headers`.
        name: of the variable or field.
        value: it.
    """

    server: str
    place: Literal["env", "headers"]
    name: str
    value: Secret

    @property
    def secret(self) -> str:
        """What it is called in the safe."""
        return re.sub(r"[^A-Za-z0-9_.-]", "-", f"{self.server}.{self.name}")[:128]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A remote server that moves from the client's file into `lictor.toml`."""

    server: str
    url: str
    headers: Mapping[str, str]


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable or field probably holds a secret."""
    if "${" in value or not value.strip():
        return False
    if _NAMES.search(name) and not _NOT.search(name):
        return True
    if _KNOWN.match(value):
        return True
    if "://" in value:
        return bool(_password_of(value))
    return _OPAQUE.fullmatch(value) is not None and any(c.isdigit() for c in value) and _bits(value) >= _BITS


def _password_of(value: str) -> str:
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return ""


def _bits(value: str) -> float:
    size = len(value)
    return -sum(count / size * math.log2(count / size) for count in Counter(value).values())


def found_in(server: str, place: Literal["env", "headers"], given: object) -> tuple[list[Lifted], list[str]]:
    """What of an entry's variables or fields is lifted, and the names that look secret but are too short to be protected."""
    lifted, short = [], []
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if not isinstance(name, str) or not isinstance(value, str) or not looks_secret(name, value):
            continue
        printable = value.isascii() and value.isprintable() and value == value.strip()
        if len(value.encode()) < MIN_BYTES or (place == "headers" and not printable):
            short.append(name)
        else:
            lifted.append(Lifted(server=server, place=place, name=name, value=Secret(value)))
    return lifted, short


def in_words(args: object) -> list[str]:
    """Words of a command line that look like a secret, by their option or place, never by their value.

    They stay where they are: what a server reads in place of them, only whoever wrote it knows.
    """
    words = [word for word in args if isinstance(word, str)] if isinstance(args, Sequence) else []
    found = []
    for index, word in enumerate(words):
        option, given, value = word.partition("=")
        before = words[index - 1] if index else ""
        if not given:
            option, value = (before, word) if before.startswith("-") and not word.startswith("-") else ("", word)
        field, said, text = value.partition(": ")
        if said and field.isprintable() and " " not in field:  # a header field as one word
            option, value = field, text
        plain = option.lstrip("-")
        if len(value.encode()) >= MIN_BYTES and not value.startswith("-") and looks_secret(plain, value):
            found.append(option or f"word {index + 1}")
    return found


def in_the_clear(settings: Settings) -> list[tuple[str, list[str]]]:
    """Names of servers in `lictor.toml`, with what looks like a secret in their variables, fields and words."""
    found = []
    for name, server in settings.servers.items():
        names = [
            key for part in (server.env, server.headers) for key, value in part.items() if looks_secret(key, value)
        ]
        names += in_words(list(server.command[1:]))
        if names:
            found.append((name, names))
    return found


def masked(text: str, lifted: Sequence[Lifted]) -> str:
    """Text for a person's eyes, without the values; also as they stand in JSON and TOML."""
    for one in sorted(lifted, key=lambda one: -len(one.value.reveal())):
        value = one.value.reveal()
        for form in (value, value.replace("\\", "\\\\").replace('"', '\\"'), value.replace("/", "\\/")):
            text = text.replace(form, "(secret)")
    return text


def backup_of(state: Path, target: Path) -> Path:
    """Where the file with its secrets is kept: in the state folder, for its owner alone."""
    return state / "wrapped" / f"{hashlib.sha256(str(target).encode()).hexdigest()[:24]}.bak"


def lent(bundle: Path, one: Lifted) -> bool:
    """Whether `credentials.toml` has it already, from another client's configuration with the same server."""
    return f"[credentials.{one.server}-{one.place}]" in _read(bundle / "credentials.toml")


# -- the bundle's side ---------------------------------------------------------------------------------------------------


def drafted(bundle: Path, lifted: Sequence[Lifted], moved: Sequence[Moved]) -> dict[Path, str]:
    """The files of the bundle as they would be: credentials, the permit for their use, remote servers, empty catalogues.

    Raises:
        OperatorError: `conflict`: something of the name is there already and is not what would be written.
    """
    files: dict[Path, str] = {}
    servers = {one.server for one in lifted}
    urls = {one.server: one.url for one in moved}
    credentials = _read(bundle / "credentials.toml")
    policy = _read(bundle / "policies" / "lifted.cedar")
    for server in sorted(servers):
        own = [one for one in lifted if one.server == server]
        name = f"{server}-{own[0].place}"
        if f"[credentials.{name}]" in credentials:
            raise _there(bundle / "credentials.toml", name)
        credentials += _credential(name, own, urls.get(server, ""))
        policy += _permit(name, server)
        catalogue = bundle / "catalog" / f"{server}.toml"
        if not catalogue.is_file():
            files[catalogue] = (
                f"# Nobody has reviewed this server yet, so none of its tools may run.\n# lictor catalog pull {server}\n"
            )
    if servers:
        files[bundle / "credentials.toml"] = credentials
        files[bundle / "policies" / "lifted.cedar"] = policy
    settings = _read(bundle / "lictor.toml")
    for one in moved:
        if one.server in tomlkit.parse(settings).unwrap().get("servers", {}):
            raise _there(bundle / "lictor.toml", one.server)
        settings += _table(
            f"servers.{one.server}", {"url": one.url, **({"headers": dict(one.headers)} if one.headers else {})}
        )
    if moved:
        files[bundle / "lictor.toml"] = settings
    return files


def _credential(name: str, own: Sequence[Lifted], url: str) -> str:
    place = own[0].place
    fields = {f"f{index}": one for index, one in enumerate(own)}
    table = {
        "server": own[0].server,
        "destination": _origin(url) if url else "command",
        "provider": "static",
        place: {one.name: f"{{{field}}}" for field, one in fields.items()},
        "options": {"fields": {field: one.secret for field, one in fields.items()}},
    }
    return _table(f"credentials.{name}", table)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
    port = "" if parts.port in {None, {"http": 80, "https": 443}.get(parts.scheme)} else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def _permit(name: str, server: str) -> str:
    return (
        f'\n@id("lends-{name}")\n@owner("wrap")\n@reason("its secrets were lifted out of a client\'s configuration")\n'
        f'permit (principal, action == Action::"credential:{server}/{name}", resource);\n'
    )


def _table(name: str, members: Mapping[str, object]) -> str:
    """A table of ours behind what is there; the rest of the file stays as somebody wrote it."""
    root: dict[str, object] = {}
    at = root
    for part in name.split("."):
        at = at.setdefault(part, {})  # type: ignore[assignment]
    at.update(members)
    return f"\n{tomlkit.dumps(root)}"


def _read(path: Path) -> str:
    return clients.decode(clients.read(path), path) if path.exists() else ""


def _there(path: Path, name: str) -> OperatorError:
    return OperatorError(
        Reason.CONFLICT, f"{name!r} is there already", remedy="remove it, or add --keep-secrets", where=str(path)
    )
