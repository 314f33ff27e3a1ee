"""`[previews.NAME]` of `lictor.toml`: what the gateway itself may read to find out effects. Never an agent's authority.

A secret is named, not written. Refuses to know who asks.
"""

import ipaddress
import re
from typing import Final

import msgspec

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}", re.ASCII)
_SECRET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IDENTIFIER: Final = 63
"""Bytes; PostgreSQL cuts a longer name off."""
MAX_COPY: Final = 1024 * 1024 * 1024


class _Authority(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all have in common."""


class SqliteAuthority(_Authority, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sqlite"):
    """A database file that the gateway may read. Statements run on a copy in memory."""

    path: str
    max_bytes: int = 64 * 1024 * 1024
    """Of a larger database nothing is copied: rows stay unknown."""


class PostgresAuthority(_Authority, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="postgres"):
    """An account of a database, for reading."""

    host: str
    """A name, an address, or the folder of a socket."""
    port: int = 5432
    database: str
    user: str
    password_secret: str
    """A secret of the safe."""
    tls: str = "verify"
    """`verify`, or `off` to this machine only."""
    ca_file: str = ""
    schema: str = "public"
    """Where names without a schema are looked up: that of the server's own account."""
    rollback: bool = False
    """Plain changes are run and rolled back, not only read. The account needs the right to change; locks are held meanwhile, and
    numbers of sequences stay taken."""


PreviewAuthority = SqliteAuthority | PostgresAuthority


def check_previews(authorities: dict[str, PreviewAuthority], where: str) -> None:
    """Refuse what types alone do not.

    Raises:
        OperatorError: `config_refused`.
    """
    for name, authority in authorities.items():
        problem = "" if NAME.fullmatch(name) else "a name is lower case letters, digits, - and _"
        problem = problem or (_sqlite(authority) if isinstance(authority, SqliteAuthority) else _postgres(authority))
        if problem:
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                f"preview authority {name[:80]!r}: {problem}",
                where=f"{where} [previews.{name[:80]}]",
            )


def _sqlite(authority: SqliteAuthority) -> str:
    if not authority.path.startswith("/") or "\0" in authority.path:
        return "path is absolute"
    return "" if 0 < authority.max_bytes <= MAX_COPY else f"max_bytes is 1 to {MAX_COPY}"


def _postgres(authority: PostgresAuthority) -> str:
    names = (authority.database, authority.user, authority.schema)
    if not authority.host or "," in authority.host or not 0 < authority.port < 65_536:
        return "host is one name, address or folder, and port is 1 to 65535"
    if authority.tls not in {"verify", "off"}:
        return "tls is verify or off"
    if authority.tls == "off" and not _near(authority.host):
        return 'tls = "off" is for this machine only'
    if _SECRET.fullmatch(authority.password_secret) is None:
        return "password_secret names a secret of the safe"
    fits = all(0 < len(name.encode()) <= _IDENTIFIER and "\0" not in name for name in names)
    return "" if fits else f"a name has 1 to {_IDENTIFIER} bytes"


def _near(host: str) -> bool:
    if host == "localhost" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
