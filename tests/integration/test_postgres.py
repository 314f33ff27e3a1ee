"""PostgreSQL leases against a real server: a role for one lease, and nothing of it after."""

import asyncio
import contextlib
import re
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from lictor.credentials import postgres as under_test
from lictor.credentials.postgres import LINGERS_S, Postgres, PostgresOptions
from lictor.credentials.postgres_role import Plan, Progress, _lock_key, quoted
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Issued
from lictor.stores.clock import SystemClock
from servers import lending, postgres
from servers.certificates import self_signed
from servers.lending import Lender, fresh_lease
from servers.postgres import Postgres as Server

SETUP = """
CREATE ROLE reader; CREATE TABLE goods (name text); INSERT INTO goods VALUES ('lamp'); GRANT SELECT ON goods TO reader;
CREATE SCHEMA shop; CREATE TABLE shop.prices (p int); CREATE ROLE heir;
CREATE ROLE maker; GRANT CREATE ON SCHEMA public TO maker;
CREATE ROLE boss CREATEROLE; CREATE ROLE clerk; GRANT boss TO clerk;
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres.running() as running:

        async def setup() -> None:
            async with login(running) as admin:
                await admin.execute(SETUP)
                await admin.execute("CREATE DATABASE elsewhere")
                await admin.execute("CREATE ROLE broker LOGIN CREATEROLE PASSWORD 'broker-pw'")
                await admin.execute("GRANT reader, maker TO broker WITH ADMIN OPTION")

        asyncio.run(setup())
        yield running


@contextlib.asynccontextmanager
async def login(
    server: Server, user: str = "postgres", password: str = "", database: str = "postgres"
) -> AsyncIterator[Any]:
    """A connection, as the administrator unless said otherwise."""
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=server.port,
        user=user,
        password=password or server.password,
        database=database,
        ssl=False,
    )
    try:
        yield connection
    finally:
        connection.terminate()


def options(server: Server, **changed: Any) -> dict[str, Any]:
    said = {"host": "127.0.0.1", "port": server.port, "database": "postgres", "user": "postgres", "tls": "off"}
    return {**said, "password_secret": "pg", "roles": ["reader"], **changed}


def lender(server: Server, kind: type[Postgres] = Postgres, password: str = "", **changed: Any) -> Lender:
    secrets = {"pg": password or server.password}
    provider = kind(PostgresOptions.read(options(server, **changed)), lending.vault(**secrets), SystemClock())
    return Lender("postgres", options(server, **changed), provider=provider, **secrets)


def as_lease(server: Server, issued: Issued, database: str = "postgres") -> contextlib.AbstractAsyncContextManager[Any]:
    return login(server, issued.secret["username"].reveal(), issued.secret["password"].reveal(), database)


async def left(server: Server, lease: LeaseId) -> tuple[int, int]:
    """Roles of a lease, and sessions of roles that a lease had (a dropped role's sessions have no name any more)."""
    async with login(server) as admin:
        roles = await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", f"lictor_{lease}")
        sessions = await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            " AND usesysid IS NOT NULL AND (usename IS NULL OR usename = $1)",
            f"lictor_{lease}",
        )
        return roles, sessions


# -- issued ------------------------------------------------------------------------------------------------------------


async def test_a_lease_is_a_role_that_can_do_what_its_groups_can(server: Server) -> None:
    """It reads what it may, writes nothing, becomes nobody else, and its end is the lease's."""
    lent, lease = lender(server, read_schemas=["shop"]), fresh_lease()
    before = SystemClock().now_ms()
    issued = await lent.issue(lease, ttl_s=60)
    assert before + 1_000 * LINGERS_S <= issued.expires_at_ms <= SystemClock().now_ms() + 1_000 * LINGERS_S
    assert issued.handle == issued.secret["username"].reveal() == f"lictor_{lease}"
    async with as_lease(server, issued) as agent:
        assert await agent.fetchval("SELECT name FROM goods") == "lamp"
        assert await agent.fetch("SELECT * FROM shop.prices") == []
        for text in ("DELETE FROM goods", "SET ROLE reader", "CREATE ROLE other", "CREATE TABLE mine (a int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await agent.execute(text)
    await lent.revoke(lease, issued)
    assert await left(server, lease) == (0, 0)


async def test_it_cannot_open_more_sessions_than_said(server: Server) -> None:
    """The limit of the options is the server's."""
    lent, lease = lender(server, connections=2), fresh_lease()
    issued = await lent.issue(lease)
    async with as_lease(server, issued), as_lease(server, issued):
        with pytest.raises(asyncpg.TooManyConnectionsError):
            async with as_lease(server, issued):
                pass
    await lent.revoke(lease, issued)


class ForgetsTheEnd(Postgres):
    """Control: a role that never expires."""

    async def _make(self, plan: Plan, progress: Progress) -> None:
        await super()._make(plan, progress)
        async with self._connect(self._options.database) as connection:
            await connection.execute(f"ALTER ROLE {quoted(plan.name)} VALID UNTIL 'infinity'")


async def expires_as_said(server: Server, kind: type[Postgres]) -> bool:
    """Whether nobody logs in once the lease's time is over."""
    lent, lease = lender(server, kind), fresh_lease()
    issued = await lent.issue(lease, ttl_s=1)
    async with as_lease(server, issued):
        pass
    await asyncio.sleep(1.1)
    try:
        async with as_lease(server, issued):
            return False
    except asyncpg.InvalidPasswordError:
        return True
    finally:
        await lent.revoke(lease, issued)


async def test_after_its_time_nobody_logs_in_and_the_test_would_notice(server: Server) -> None:
    """VALID UNTIL is the lease's end; a provider that forgets it is found out."""
    assert await expires_as_said(server, Postgres)
    assert not await expires_as_said(server, ForgetsTheEnd)


class SendsThePassword(Postgres):
    """Control: the clear password in the statement."""

    async def _make(self, plan: Plan, progress: Progress) -> None:
        await super()._make(msgspec.structs.replace(plan, verifier="canary-clear-password"), progress)


async def test_the_servers_log_has_no_password_and_the_test_would_notice(server: Server) -> None:
    """It logs every statement and sees a SCRAM verifier."""
    for kind, seen in ((Postgres, False), (SendsThePassword, True)):
        lent, lease = lender(server, kind), fresh_lease()
        issued = await lent.issue(lease)
        password = issued.secret["password"].reveal()
        assert bool(lending.leaked(server.log, [password, "canary-clear-password"])) is seen
        assert f'CREATE ROLE "lictor_{lease}"' in server.log
        await lent.revoke(lease, issued)


@pytest.mark.parametrize("role", ["postgres", "pg_execute_server_program", "boss", "clerk", "pg_write_server_files"])
async def test_a_group_that_leads_to_more_than_data_is_refused(server: Server, role: str) -> None:
    """A superuser, who makes roles, who reads the server's files: over any number of hops."""
    lent, lease = lender(server, roles=["reader", role]), fresh_lease()
    with pytest.raises(UpstreamError) as caught:
        await lent.issue(lease)
    assert (caught.value.reason, caught.value.effect_possible) == (Reason.CONFIG_REFUSED, False)
    assert await left(server, lease) == (0, 0)


async def test_names_are_quoted(server: Server) -> None:
    """A role's name with quotes in it is that role."""
    odd = 'odd"; DROP TABLE goods; --'
    async with login(server) as admin:
        await admin.execute(f"CREATE ROLE {quoted(odd)}")
    lent, lease = lender(server, roles=[odd]), fresh_lease()
    issued = await lent.issue(lease)
    async with login(server) as admin:
        assert await admin.fetchval("SELECT pg_has_role($1::name, $2::name, 'USAGE')", f"lictor_{lease}", odd)
        assert await admin.fetchval("SELECT count(*) FROM goods") == 1
    await lent.revoke(lease, issued)


# -- revoked -----------------------------------------------------------------------------------------------------------


class OnlyDrops(Postgres):
    """Control: the role goes, its sessions stay."""

    async def _end(self, name: str, progress: Progress) -> None:
        async with self._connect(self._options.database) as connection:
            if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
                await connection.execute(f"DROP OWNED BY {quoted(name)} CASCADE")
                await connection.execute(f"DROP ROLE {quoted(name)}")


async def survivors(server: Server, lent: Lender, sessions: int) -> tuple[int, int, float]:
    """Roles and sessions left by a revocation in the middle of work, and the seconds it took."""
    lease = fresh_lease()
    issued = await lent.issue(lease)
    async with contextlib.AsyncExitStack() as stack:
        busy = [await stack.enter_async_context(as_lease(server, issued)) for _ in range(sessions)]
        texts = (
            "SELECT pg_sleep(60)",
            "SELECT count(*) FROM generate_series(1, 2000000000)",
            "BEGIN; LOCK goods IN ACCESS SHARE MODE",
        )
        work = [asyncio.ensure_future(one.execute(texts[place % 3])) for place, one in enumerate(busy)]
        await asyncio.sleep(0.3)
        started = time.perf_counter()
        await lent.revoke(lease, issued)
        took = time.perf_counter() - started
        found = await left(server, lease)
        async with login(server) as admin:
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid IS NOT NULL AND usename IS NULL"
            )
        await asyncio.gather(*work, return_exceptions=True)
    return (*found, took)


async def test_no_session_survives_and_the_test_would_notice(server: Server) -> None:
    """Twenty sessions, sleeping, computing, holding locks: none is left. A provider that only drops the role is found out."""
    roles, sessions, took = await survivors(server, lender(server, connections=20), 20)
    assert (roles, sessions) == (0, 0)
    assert took < 5  # 0.2 s on an idle machine
    roles, sessions, _ = await survivors(server, lender(server, OnlyDrops, connections=20), 20)
    assert (roles, sessions) == (0, 20)


async def test_a_broker_that_is_no_superuser_can_do_it(server: Server) -> None:
    """CREATEROLE and ADMIN OPTION on the groups are enough, to end busy sessions too."""
    lent = lender(server, password="broker-pw", user="broker", connections=6)
    roles, sessions, _ = await survivors(server, lent, 6)
    assert (roles, sessions) == (0, 0)


async def test_revoking_is_idempotent(server: Server) -> None:
    """Twice, at once, what never was: all is revoked."""
    lent, lease = lender(server), fresh_lease()
    issued = await lent.issue(lease)
    await asyncio.gather(*(lent.revoke(lease, issued) for _ in range(4)))
    await lent.revoke(lease, issued)
    await lent.revoke(fresh_lease())
    assert await left(server, lease) == (0, 0)


async def test_sessions_that_keep_coming_are_outrun(server: Server) -> None:
    """A client that logs in again and again gets in no more, and none is left."""
    lent, lease = lender(server, connections=10), fresh_lease()
    issued = await lent.issue(lease)
    stop = asyncio.Event()
    opened: list[Any] = []

    async def knock() -> None:
        while not stop.is_set():
            with contextlib.suppress(asyncpg.PostgresError, OSError, asyncpg.InterfaceError):
                opened.append(
                    await asyncpg.connect(
                        host="127.0.0.1",
                        port=server.port,
                        user=issued.handle,
                        database="postgres",
                        ssl=False,
                        password=issued.secret["password"].reveal(),
                    )
                )
            await asyncio.sleep(0)

    knocking = [asyncio.ensure_future(knock()) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert opened
    await lent.revoke(lease, issued)
    assert await left(server, lease) == (0, 0)
    stop.set()
    await asyncio.gather(*knocking)
    assert await left(server, lease) == (0, 0)
    for one in opened:
        one.terminate()


HOLDS = {
    "the lock that is named after it": "SELECT pg_advisory_lock({key})",
    "the same without a session": "BEGIN; SELECT pg_advisory_xact_lock({key}); PREPARE TRANSACTION 'holds-{key}'",
    "its own entry": "BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'",
    "its own entry without a session": "BEGIN; ALTER ROLE CURRENT_USER PASSWORD 'mine'; PREPARE TRANSACTION 'own-{key}'",
}


@pytest.mark.parametrize("user", ["postgres", "broker"])
@pytest.mark.parametrize("name", HOLDS)
async def test_an_agent_cannot_hold_up_its_own_end(server: Server, name: str, user: str) -> None:
    """It knows its role's name, so it can hold what a revocation has to have; VALID UNTIL would never end that session."""
    password = "broker-pw" if user == "broker" else ""
    lent, lease = lender(server, user=user, password=password), fresh_lease()
    issued = await lent.issue(lease)
    async with as_lease(server, issued) as agent:
        await agent.execute(HOLDS[name].format(key=_lock_key(issued.handle)))
        started = time.perf_counter()
        await lent.revoke(lease, issued)
        assert time.perf_counter() - started < 5
    assert await left(server, lease) == (0, 0)
    async with login(server) as admin:
        assert await admin.fetchval("SELECT count(*) FROM pg_prepared_xacts") == 0


async def leave_things(server: Server, issued: Issued) -> None:
    """What a hostile agent could leave behind."""
    async with as_lease(server, issued) as agent:
        await agent.execute(
            "CREATE TABLE loot (a int); INSERT INTO loot VALUES (1);"
            "CREATE FUNCTION back_door() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';"
            "CREATE VIEW window_ AS SELECT 1 AS a;"
            "CREATE RULE trap AS ON INSERT TO loot DO ALSO DELETE FROM loot;"
            "GRANT ALL ON loot TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC"
        )
        await agent.execute("BEGIN; LOCK loot; PREPARE TRANSACTION 'left ''behind'")
    async with login(server, database="elsewhere") as admin:
        await admin.execute(f"GRANT CREATE ON SCHEMA public TO {quoted(issued.handle)}")
    async with as_lease(server, issued, "elsewhere") as agent:
        await agent.execute("CREATE TABLE public.loot (a int)")


@pytest.mark.parametrize("heir", ["", "heir"])
async def test_nothing_an_agent_leaves_behind_keeps_the_role_or_gets_rights(server: Server, heir: str) -> None:
    """Tables in two databases, a back door, a view, a rule, a prepared transaction: gone; tables go to the heir if one is named."""
    lent, lease = lender(server, roles=["maker"], reassign_to=heir), fresh_lease()
    issued = await lent.issue(lease)
    await leave_things(server, issued)
    await lent.revoke(lease, issued)
    assert await left(server, lease) == (0, 0)
    async with login(server) as admin, login(server, database="elsewhere") as there:
        owned = "SELECT count(*) FROM pg_class WHERE relname = 'loot' AND relowner = 'heir'::regrole"
        assert await admin.fetchval(owned) == await there.fetchval(owned) == (1 if heir else 0)
        assert await admin.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'back_door'") == 0
        assert await admin.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'window_'") == 0
        assert await admin.fetchval("SELECT count(*) FROM pg_rewrite WHERE rulename = 'trap'") == 0
        assert await admin.fetchval("SELECT count(*) FROM pg_prepared_xacts") == 0
        if heir:
            await admin.execute("DROP TABLE loot")
            await there.execute("DROP TABLE loot")


# -- broken ------------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def roles_locked(server: Server) -> AsyncIterator[None]:
    """Nobody can create a role; logging in works."""
    async with login(server) as admin:
        await admin.execute("BEGIN; LOCK pg_authid IN SHARE MODE")
        yield


async def fails(work: Awaitable[object]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value


async def test_an_ask_that_is_cut_off_is_found_again(server: Server) -> None:
    """The server is slow, we stop waiting: an effect is possible, and revoking without a handle ends it."""
    lent, lease = lender(server, deadline_s=1), fresh_lease()
    async with roles_locked(server):
        error = await fails(lent.issue(lease))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)
    await lender(server).revoke(lease)
    await asyncio.sleep(0.2)
    assert await left(server, lease) == (0, 0)


@contextlib.asynccontextmanager
async def deaf_after(server: Server, word: bytes) -> AsyncIterator[int]:
    """A way to the server on which no answer comes back once a word went up; its port."""
    tasks: list[asyncio.Task[None]] = []

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
        deaf = False

        async def down() -> None:
            while data := await up_reader.read(65_536):
                if not deaf:
                    writer.write(data)

        tasks.append(asyncio.ensure_future(down()))
        while data := await reader.read(65_536):
            deaf = deaf or word in data
            up_writer.write(data)
        up_writer.close()

    listening = await asyncio.start_server(between, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0.1)


async def test_an_answer_that_is_lost_leaves_a_role_that_is_found(server: Server) -> None:
    """The commit arrives and its answer does not: the role exists, the error says it may, its lease ends it."""
    lease = fresh_lease()
    async with deaf_after(server, b"COMMIT") as port:
        error = await fails(lender(server, port=port, deadline_s=1).issue(lease))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)
    assert (await left(server, lease))[0] == 1
    again = await fails(lender(server).issue(lease))
    assert again.effect_possible
    await lender(server).revoke(lease)
    assert await left(server, lease) == (0, 0)


async def test_ask_and_revocation_at_once_leave_nothing_that_the_next_try_does_not_find(server: Server) -> None:
    """Whoever comes first, after one more revocation there is no role."""
    lent = lender(server)
    for _ in range(8):
        lease = fresh_lease()
        await asyncio.gather(lent.issue(lease), lent.revoke(lease), return_exceptions=True)
        await lent.revoke(lease)
        assert await left(server, lease) == (0, 0)


async def test_the_server_dies_in_the_middle_and_comes_back(server: Server) -> None:
    """Killed while asked, down while revoked: errors, then, restarted, a revocation that leaves nothing."""
    lent, lease, asked = lender(server), fresh_lease(), fresh_lease()
    issued = await lent.issue(lease)
    lock = roles_locked(server)
    await lock.__aenter__()
    asking = asyncio.ensure_future(fails(lent.issue(asked)))
    await asyncio.sleep(0.4)
    server.stop(signal.SIGQUIT)
    assert (await asking).effect_possible
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        await lock.__aexit__(None, None, None)
    error = await fails(lent.revoke(lease, issued))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, True)
    assert not (await fails(lent.issue(fresh_lease()))).effect_possible
    server.start()
    await lent.revoke(lease, issued)
    await lent.revoke(asked)
    assert await left(server, lease) == await left(server, asked) == (0, 0)


async def test_a_hanging_server_is_not_waited_for(server: Server) -> None:
    """The deadline holds whatever the server does."""
    lent = lender(server, deadline_s=1)
    with server.hanging():
        started = time.perf_counter()
        assert (await fails(lent.revoke(fresh_lease()))).reason is Reason.UPSTREAM_TIMEOUT
        assert time.perf_counter() - started < 3


async def test_the_environment_bends_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of PostgreSQL's clients lead nowhere else and switch nothing off."""
    said = {"PGHOST": "192.0.2.1", "PGPORT": "1", "PGSSLMODE": "require", "PGUSER": "x", "PGDATABASE": "x"}
    for name, value in {**said, "PGPASSWORD": "x", "PGSERVICE": "x", "PGTARGETSESSIONATTRS": "standby"}.items():
        monkeypatch.setenv(name, value)
    lent, lease = lender(server), fresh_lease()
    await lent.revoke(lease, await lent.issue(lease))


def test_options_that_would_weaken_it_are_refused(server: Server) -> None:
    """Plain text over a network, no bounds, names that would be cut off, an unknown key."""
    for changed in (
        {"host": "db.example"},
        {"roles": []},
        {"roles": ["r" * 64]},
        {"roles": ["lictor_other"]},
        {"connections": 0},
        {"sslmode": "x"},
        {"deadline_s": 600},
        {"tls": "prefer"},
        {"ca_file": "/nowhere", "tls": "verify"},
    ):
        with pytest.raises(OperatorError) as caught:
            lender(server, **changed)
        assert caught.value.reason is Reason.CONFIG_REFUSED


def test_the_verifier_is_postgresqls_own() -> None:
    """The example of RFC 7677: user, pencil."""
    salt = __import__("base64").b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    made = under_test.scram_verifier(Secret("pencil"), salt)
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:W22ZaJ0SNY7soEsUEjb6gQ==\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=", made)
    assert made.endswith("$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")


# -- over a network ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def tls_front(server: Server, context: ssl.SSLContext) -> AsyncIterator[int]:
    """PostgreSQL's own negotiation (SSLRequest, `S`, handshake) in front of the server; its port."""
    running: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
            writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            assert await reader.readexactly(8) == b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
            writer.write(b"S")
            await writer.start_tls(context)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server.port)
            for pair in ((reader, up_writer), (up_reader, writer)):
                running.add(asyncio.ensure_future(pump(*pair)))

    listening = await asyncio.start_server(between, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in running:
            task.cancel()
        await asyncio.sleep(0.05)


async def test_tls_is_verified(server: Server, tmp_path: Path) -> None:
    """The certificate's name and authority count; without them nothing is sent; a server without TLS is not spoken to."""
    context, trusted = self_signed(tmp_path, "localhost")
    async with tls_front(server, context) as port:
        said = {"port": port, "tls": "verify", "host": "localhost"}
        lent, lease = lender(server, **said, ca_file=str(trusted)), fresh_lease()
        await lent.revoke(lease, await lent.issue(lease))
        assert await left(server, lease) == (0, 0)
        for wrong in ({}, {"host": "127.0.0.1", "ca_file": str(trusted)}):
            error = await fails(lender(server, **{**said, **wrong}).issue(lease))
            assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, False)
    assert not (await fails(lender(server, tls="verify").issue(lease))).effect_possible
