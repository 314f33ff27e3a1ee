"""PostgreSQL: one role for one lease, gone with all its sessions when the lease ends.

The role is named after the lease, so an ask that nobody answered is found again. The server gets a SCRAM verifier, never the
password, so its statement log has none. Refuses to know what the role's groups may do.
"""

import asyncio
import hashlib
import hmac
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_bytes, token_urlsafe
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from lictor.credentials.http import tls_context
from lictor.credentials.options import Options, Secrets, is_loopback, lease_name, need, need_name
from lictor.credentials.postgres_role import SESSION, Plan, Progress, end_role, make_role
from lictor.model.errors import LictorError, UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Clock, Issued, LeaseAsk

if TYPE_CHECKING:
    from lictor.credentials.postgres_role import Connection

PREFIX: Final = "lictor_"
LINGERS_S: Final = 30 * 86_400
"""So long a role that cannot be ended is tried to be ended: nothing of it goes by itself but the log-in."""
_ROUNDS: Final = 4096
"""SCRAM iterations, PostgreSQL's own default: the password has 256 random bits, so more of them buys nothing."""
_IDENTIFIER: Final = 63
"""Bytes; PostgreSQL cuts a longer name off, and another role might have the rest."""


class PostgresOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[credentials.NAME.options]` with `provider = "postgres"`."""

    host: str
    """A name, an address, or the folder of a socket."""
    port: int = 5432
    database: str
    user: str
    """A role with CREATEROLE, and ADMIN OPTION on every one of `roles`."""
    password_secret: str
    roles: tuple[str, ...] = ()
    """Whose member the lease's role is: that is what it may do."""
    read_schemas: tuple[str, ...] = ()
    """Schemas whose present tables it may read besides."""
    connections: int = 4
    """Sessions at the same time."""
    reassign_to: str = ""
    """Who gets the tables a lease made. Default: they are dropped, with all that depends on them."""
    tls: Literal["verify", "off"] = "verify"
    """`off` only to this machine."""
    ca_file: str = ""
    deadline_s: int = 15
    """For one issue or one revocation."""

    def check(self) -> None:
        """Names that the server would cut off, plain text over a network, a role that may do nothing."""
        near = is_loopback(self.host) or self.host.startswith("/")
        need(bool(self.host) and "," not in self.host, "host is one name, address or folder")
        need(0 < self.port < 65_536, "port is 1 to 65535")
        need(self.tls == "verify" or near, 'tls = "off" is for this machine only')
        need(bool(self.roles or self.read_schemas), "roles or read_schemas say what the lease may do")
        need(0 < self.connections <= 100, "connections is 1 to 100")
        need(0 < self.deadline_s <= 60, "deadline_s is 1 to 60")
        need_name(self.password_secret, "password_secret")
        for name in (self.database, self.user, *self.roles, *self.read_schemas, *filter(None, [self.reassign_to])):
            fits = 0 < len(name.encode()) <= _IDENTIFIER and "\x00" not in name
            need(fits, f"a name has 1 to {_IDENTIFIER} bytes")
        need(not any(name.startswith(PREFIX) for name in self.roles), f"names in {PREFIX!r} are leases")


def new_password() -> Secret:
    """256 random bits."""
    return Secret(token_urlsafe(32))


class Postgres:
    """The provider (`lictor.ports.Provider`).

    VALID UNTIL ends the log-in, not a session that is open: revoke it at expiry too.
    """

    def __init__(self, options: PostgresOptions, secrets: Secrets, clock: Clock) -> None:
        self._options = options
        self._secrets = secrets
        self._clock = clock
        self._tls = tls_context(options.ca_file) if options.tls == "verify" and options.host[0] != "/" else None

    async def issue(self, ask: LeaseAsk) -> Issued:
        """`username`, `password`.

        Raises:
            UpstreamError: see `ports.Provider`; an answered refusal of the server says that nothing was made.
        """
        name = lease_name(PREFIX, ask.lease)
        password = new_password()
        options = self._options
        plan = Plan(
            name,
            scram_verifier(password, token_bytes(16)),
            ask.ttl_s,
            options.connections,
            options.roles,
            options.read_schemas,
        )
        await self._within(partial(self._make, plan), Progress())
        return Issued(
            secret={"username": Secret(name), "password": password},
            expires_at_ms=self._clock.now_ms() + 1_000 * LINGERS_S,
            handle=name,
        )

    async def _make(self, plan: Plan, progress: Progress) -> None:
        async with self._connect(self._options.database) as connection:
            await make_role(connection, plan, progress)

    def longest_s(self, ttl_s: int) -> int:
        """Not `ttl_s`: the log-in ends then, the role and sessions that are open do not."""
        del ttl_s
        return LINGERS_S

    async def revoke(self, lease: LeaseId, credential: Credential, handle: str, revocation: Secret | None) -> None:
        """End the role of this lease and its sessions; its name follows from the lease, whatever was answered.

        Raises:
            UpstreamError: something of it may be left.
        """
        del credential, handle, revocation
        progress = Progress()
        progress.sent = True
        await self._within(partial(self._end, lease_name(PREFIX, lease)), progress)

    async def _end(self, name: str, progress: Progress) -> None:
        del progress
        async with self._connect(self._options.database) as connection:
            await end_role(connection, self._connect, name, self._options.reassign_to)

    async def _within(self, work: Callable[[Progress], Awaitable[None]], progress: Progress) -> None:
        """Do it within the deadline. Errors of the driver hold statements and frames: none is kept as a cause."""
        failed = await self._attempt(work, progress)
        if failed is not None:
            raise failed

    async def _attempt(self, work: Callable[[Progress], Awaitable[None]], progress: Progress) -> UpstreamError | None:
        where = f"postgresql {self._options.host}:{self._options.port}"
        try:
            async with asyncio.timeout(self._options.deadline_s):
                await work(progress)
            return None
        except TimeoutError:
            message = f"{where}: no answer within {self._options.deadline_s} s"
            return UpstreamError(Reason.UPSTREAM_TIMEOUT, message, effect_possible=progress.sent)
        except UpstreamError as error:
            return UpstreamError(
                error.reason, f"{where}: {error.message}", effect_possible=error.effect_possible, remedy=error.remedy
            )
        except asyncpg.PostgresError as error:
            return _told(where, error, progress)
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            return UpstreamError(Reason.UPSTREAM_DOWN, f"{where}: the connection failed", effect_possible=progress.sent)
        except LictorError:
            raise  # of the safe of secrets: it holds none
        except Exception as error:  # noqa: BLE001 - whatever a driver stumbles over must not carry its frames out
            message = f"{where}: {type(error).__name__}"
            return UpstreamError(Reason.INTERNAL, message, effect_possible=progress.sent)

    @asynccontextmanager
    async def _connect(self, database: str) -> "AsyncIterator[Connection]":
        """A connection that nothing in the environment bends (PGSSLMODE, PGSERVICE, .pgpass, …)."""
        options = self._options
        password = await self._secrets(options.password_secret)
        connection = await asyncpg.connect(
            host=options.host,
            port=options.port,
            user=options.user,
            password=password.reveal,  # called where it is sent
            database=database,
            ssl=self._tls if self._tls is not None else False,
            direct_tls=False,
            target_session_attrs=SessionAttribute.read_write,
            statement_cache_size=0,
            server_settings={**SESSION, "standard_conforming_strings": "on"},
        )
        try:
            yield connection
        finally:
            connection.terminate()  # what is open rolls back, locks go; never a wait on a server that does not answer


def _told(where: str, error: asyncpg.PostgresError, progress: Progress) -> UpstreamError:
    """By its code alone: texts of the server may quote what was sent. Class 57 and 08 end the connection, not the statement."""
    code = str(error.sqlstate or "")[:5]
    ended = code[:2] in ("57", "08") or not code.isalnum()
    return UpstreamError(
        Reason.UPSTREAM_DOWN if ended else Reason.UPSTREAM_INVALID,
        f"{where}: refused with sqlstate {code if code.isalnum() else 'unknown'} ({type(error).__name__})",
        effect_possible=progress.sent and (ended or code == "42710"),  # 42710: an earlier ask made it
    )


def scram_verifier(password: Secret, salt: bytes, rounds: int = _ROUNDS) -> str:
    """What PostgreSQL keeps of a password (RFC 5802; `SCRAM-SHA-256$<rounds>:<salt>$<StoredKey>:<ServerKey>`)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${rounds}:{_b64(salt)}${_b64(stored)}:{_b64(server)}"


def _b64(data: bytes) -> str:
    return b64encode(data).decode()


def build(options: Mapping[str, Any], secrets: Secrets, clock: Clock) -> Postgres:
    """A provider from options as written.

    Raises:
        OperatorError: `config_refused`.
    """
    return Postgres(PostgresOptions.read(options), secrets, clock)
