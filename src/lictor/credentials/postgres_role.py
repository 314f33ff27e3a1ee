"""The statements that make and end one PostgreSQL role, in their order. Fixed texts; names and literals are quoted here.

An agent that holds the role is taken for hostile: nothing it left behind may outlive it or run with somebody else's rights.
Refuses to know how a connection is made and what an error means.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import msgspec

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
    Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Connection]]

SESSION: Final = {
    "application_name": "lictor",
    "search_path": "pg_catalog",  # nothing that an agent created is found by an unqualified name
    "lock_timeout": "5s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "10s",  # an ask that was cut off holds its lock no longer than this
}
"""Settings of every connection of ours."""
_SETS: Final = 160_000
"""From this version on a membership can be given without `SET ROLE` (release notes of PostgreSQL 16)."""
_TWICE: Final = 2
"""Looks without a session before the role goes: one that was past its log-in check may show a moment later."""
_ROUNDS: Final = 3
_PAUSE_S: Final = 0.02
_TERMINATE: Final = (
    "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1 AND pid <> pg_backend_pid()"
)
_POWERS: Final = (
    "pg_execute_server_program",
    "pg_write_server_files",
    "pg_read_server_files",
    "pg_signal_backend",
    "pg_create_subscription",
    "pg_write_all_data",
    "pg_maintain",
)
"""Predefined roles that lead out of the database or into other sessions (PostgreSQL documentation, 21.5)."""


class Plan(msgspec.Struct, frozen=True):
    """A role to make."""

    name: str
    verifier: str
    """SCRAM; no password."""
    ttl_s: int
    connections: int
    roles: tuple[str, ...]
    read_schemas: tuple[str, ...]


class Progress:
    """How far an ask has come: whether the server may have made what it was asked for."""

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent = False


def quoted(name: str) -> str:
    """An identifier (PostgreSQL documentation, 4.1.1). The caller has checked its length."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string constant under `standard_conforming_strings`, which is how every connection of ours is set up."""
    return "'" + text.replace("'", "''") + "'"


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


async def make_role(connection: "Connection", plan: Plan, progress: Progress) -> None:
    """Create the role in one transaction.

    The lock is held until the transaction is over, so that ending the same role (`end_role`) waits for an ask that is still under
    way and cannot look before it commits.

    Raises:
        UpstreamError: `config_refused`: a role named in the options leads to more than data.
    """
    await connection.execute("BEGIN")
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _lock_key(plan.name))
    await _refuse_powers(connection, plan.roles)
    until = await connection.fetchval(
        "SELECT to_char((clock_timestamp() + make_interval(secs => $1)) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')",
        float(plan.ttl_s),
    )
    role = quoted(plan.name)
    progress.sent = True
    await connection.execute(
        f"CREATE ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT LOGIN"
        f" CONNECTION LIMIT {plan.connections} PASSWORD {literal(plan.verifier)} VALID UNTIL {literal(f'{until}+00')}"
    )
    # Without SET ROLE the lease's role owns what it creates, so that it goes with it.
    how = " WITH INHERIT TRUE, SET FALSE" if _version(connection) >= _SETS else ""
    for group in plan.roles:
        await connection.execute(f"GRANT {quoted(group)} TO {role}{how}")
    for schema in plan.read_schemas:
        await connection.execute(f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {role}")
        await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {quoted(schema)} TO {role}")
    await connection.execute("COMMIT")


async def _refuse_powers(connection: "Connection", roles: Sequence[str]) -> None:
    """No group may lead, over any number of hops, to what is more than data: a superuser, other roles, the server's files."""
    for group in roles:
        power = await connection.fetchval(
            "SELECT r.rolname FROM pg_roles r WHERE (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication"
            " OR r.rolbypassrls OR r.rolname = ANY($2::name[])) AND pg_has_role($1::name, r.oid, 'MEMBER') LIMIT 1",
            group,
            list(_POWERS),
        )
        if power is not None:
            raise UpstreamError(
                Reason.CONFIG_REFUSED,
                f"role {group!r} leads to {str(power)[:63]!r}, which is more than access to data",
                effect_possible=False,
                remedy="name roles that hold table privileges only",
            )


async def end_role(connection: "Connection", connect: "Connect", name: str, heir: str) -> None:
    """End the role: no new session, no old one, nothing owned, no role. Idempotent; returns only when nothing shows.

    Args:
        connection: to the database of the options, where the lock is.
        connect: opens one to another database of the same server.
        name: the role.
        heir: who gets the tables it made; empty: they are dropped.
    """
    # The agent knows its role's name. Whatever it could hold that is waited for here, in a session or prepared, is ended first,
    # as often as it takes; the caller's deadline bounds it.
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _lock_key(name)):
        await _evict(connection, connect, name)
        await asyncio.sleep(_PAUSE_S)
    while await _evict(connection, connect, name) and not await _closed(connection, name):
        continue
    oid = await connection.fetchval("SELECT oid FROM pg_roles WHERE rolname = $1", name)
    if oid is None:
        return
    await _end_sessions(connection, oid)
    await _forget_prepared(connection, connect, name)
    await _drop(connection, connect, name, oid, heir)
    await _end_sessions(connection, oid)


async def _evict(connection: "Connection", connect: "Connect", name: str) -> bool:
    """End its sessions and its prepared transactions, once; False where there is no such role."""
    oid = await connection.fetchval("SELECT oid FROM pg_roles WHERE rolname = $1", name)
    if oid is None:
        return False
    if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        # Ending sessions and dropping what a role owns takes its privileges; this goes with the role.
        how = " WITH INHERIT TRUE, SET TRUE" if _version(connection) >= _SETS else ""
        if not await _done(connection, f"GRANT {quoted(name)} TO CURRENT_USER{how}"):
            return True
    await connection.fetch(_TERMINATE, oid)
    await _forget_prepared(connection, connect, name)
    return True


async def _closed(connection: "Connection", name: str) -> bool:
    """Whether nobody logs in as the role any more; False: somebody holds its entry."""
    return await _done(connection, f"ALTER ROLE {quoted(name)} NOLOGIN PASSWORD NULL CONNECTION LIMIT 0")


async def _done(connection: "Connection", statement: str) -> bool:
    """Execute a statement about a role; False where another transaction has the role's entry, or had it until now."""
    await connection.execute("SET lock_timeout = '500ms'")
    try:
        await connection.execute(statement)
    except (asyncpg.LockNotAvailableError, asyncpg.InternalServerError, asyncpg.UniqueViolationError):
        await asyncio.sleep(_PAUSE_S)
        return False
    finally:
        await connection.execute(f"SET lock_timeout = {literal(SESSION['lock_timeout'])}")
    return True


async def _end_sessions(connection: "Connection", oid: int) -> None:
    """Until the server shows none twice in a row; the caller's deadline bounds it."""
    clean, pause = 0, 0.01
    while clean < _TWICE:
        ended = await connection.fetch(_TERMINATE, oid)
        clean = 0 if ended else clean + 1
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.2)


async def _forget_prepared(connection: "Connection", connect: "Connect", name: str) -> None:
    """A prepared transaction outlives its session and keeps its locks."""
    rows = await connection.fetch("SELECT gid, database FROM pg_prepared_xacts WHERE owner = $1", name)
    for row in rows:
        async with connect(row["database"]) as there:
            await there.execute(f"SET ROLE {quoted(name)}")
            await there.execute(f"ROLLBACK PREPARED {literal(row['gid'])}")


async def _drop(connection: "Connection", connect: "Connect", name: str, oid: int, heir: str) -> None:
    """What it owns and may do, in every database where it has anything, then itself."""
    for _ in range(_ROUNDS):
        async for there in _databases(connection, connect, oid):
            if heir:
                await _refuse_powers(there, [heir])
                await _disarm(there, oid)
                await there.execute(f"REASSIGN OWNED BY {quoted(name)} TO {quoted(heir)}")
            await there.execute(f"DROP OWNED BY {quoted(name)} CASCADE")
        rest = await connection.fetchval(
            "SELECT count(*) FROM pg_shdepend WHERE refclassid = 1260 AND refobjid = $1", oid
        )
        if not rest:
            break
    await connection.execute(f"DROP ROLE IF EXISTS {quoted(name)}")


async def _databases(connection: "Connection", connect: "Connect", oid: int) -> "AsyncIterator[Connection]":
    """Connections to the databases where something depends on the role (`pg_shdepend`), ours first."""
    yield connection
    names = await connection.fetch(
        "SELECT DISTINCT d.datname FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid"
        " WHERE s.refclassid = 1260 AND s.refobjid = $1 AND d.datname <> current_database()",
        oid,
    )
    for row in names:
        async with connect(row["datname"]) as there:
            yield there


async def _disarm(connection: "Connection", oid: int) -> None:
    """Drop what would run with an heir's rights: routines (SECURITY DEFINER), views, rules. Tables and their rows stay."""
    texts = await connection.fetch(
        "SELECT format('DROP RULE %I ON %s CASCADE', w.rulename, c.oid::regclass) AS text FROM pg_rewrite w"
        " JOIN pg_class c ON c.oid = w.ev_class WHERE c.relowner = $1 AND c.relkind IN ('r', 'p', 'f') "
        "UNION ALL SELECT format('DROP %s IF EXISTS %s CASCADE',"
        " CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'MATERIALIZED VIEW' END, oid::regclass)"
        " FROM pg_class WHERE relowner = $1 AND relkind IN ('v', 'm') "
        "UNION ALL SELECT format('DROP %s IF EXISTS %s CASCADE',"
        " CASE prokind WHEN 'a' THEN 'AGGREGATE' WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure)"
        " FROM pg_proc WHERE proowner = $1",
        oid,
    )
    for row in texts:
        await connection.execute(row["text"])


def _version(connection: "Connection") -> int:
    found = connection.get_server_version()
    return found.major * 10_000 + found.minor
