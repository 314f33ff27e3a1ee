"""Leases of Vault's kind against a real OpenBao that makes roles in a real PostgreSQL."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Issued
from lictor.stores.clock import SystemClock
from servers import openbao, postgres
from servers.lending import Lender, fresh_lease, leaked
from servers.openbao import OpenBao
from servers.postgres import Postgres

POLICY = """
path "database/creds/*" { capabilities = ["read"] }
path "kv/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "auth/token/accessors" { capabilities = ["list", "sudo"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
"""
MAKE = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE reader"
END = [
    'ALTER ROLE "{{name}}" NOLOGIN',
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'",
    'DROP OWNED BY "{{name}}"',
    'DROP ROLE "{{name}}"',
]


@dataclass
class Peers:
    """A vault, its database, and AppRole's secret id."""

    bao: OpenBao
    pg: Postgres
    role: str
    secret: str

    async def roles(self) -> list[str]:
        """Roles that the vault has made and not ended."""
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.pg.port,
            user="postgres",
            password=self.pg.password,
            database="postgres",
            ssl=False,
        )
        try:
            rows = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")
            return [row["rolname"] for row in rows]
        finally:
            await connection.close()

    async def login(self, issued: Issued) -> Any:
        """A session with what was issued."""
        said = {name: value.reveal() for name, value in issued.secret.items()}
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.pg.port,
            user=said["username"],
            password=said["password"],
            database="postgres",
            ssl=False,
        )


def configure(bao: OpenBao, pg: Postgres) -> tuple[str, str]:
    """AppRole, a policy, and a database role; its ids."""
    bao.ask("POST", "sys/auth/approle", {"type": "approle"})
    bao.ask("POST", "sys/mounts/database", {"type": "database"})
    bao.ask("POST", "sys/mounts/kv", {"type": "kv"})
    bao.ask("POST", "kv/static", {"password": "a static one"})
    bao.ask("PUT", "sys/policies/acl/broker", {"policy": POLICY})
    bao.ask("POST", "auth/approle/role/broker", {"token_policies": ["broker"], "token_ttl": "30m"})
    bao.ask(
        "POST",
        "database/config/pg",
        {
            "plugin_name": "postgresql-database-plugin",
            "allowed_roles": ["*"],
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{pg.port}/postgres?sslmode=disable",
            "username": "postgres",
            "password": pg.password,
        },
    )
    for name, ttl in (("reader", "5m"), ("long", "10h")):
        bao.ask(
            "POST",
            f"database/roles/{name}",
            {
                "db_name": "pg",
                "creation_statements": [MAKE],
                "revocation_statements": END,
                "default_ttl": ttl,
                "max_ttl": ttl,
            },
        )
    role = bao.ask("GET", "auth/approle/role/broker/role-id")["data"]["role_id"]
    return role, bao.ask("POST", "auth/approle/role/broker/secret-id")["data"]["secret_id"]


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    with postgres.running() as pg, openbao.running() as bao:

        async def setup() -> None:
            connection = await asyncpg.connect(
                host="127.0.0.1", port=pg.port, user="postgres", password=pg.password, database="postgres", ssl=False
            )
            await connection.execute("CREATE ROLE reader")
            await connection.close()

        asyncio.run(setup())
        yield Peers(bao, pg, *configure(bao, pg))


def lender(peers: Peers, **changed: Any) -> Lender:
    said = {"url": peers.bao.url, "path": "database/creds/reader", "role_id": peers.role, "role_secret": "approle"}
    return Lender("vault", {**said, **changed}, approle=peers.secret, root=peers.bao.root)


async def fails(work: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value


async def test_a_secret_is_issued_and_revoked_with_its_sessions(peers: Peers) -> None:
    """The database role appears for the lease, works, and is gone with its open session; twice is once."""
    lent, lease = lender(peers), fresh_lease()
    now = SystemClock().now_ms()
    issued = await lent.issue(lease, ttl_s=120)
    assert sorted(issued.secret) == ["password", "username"]
    assert issued.expires_at_ms - now <= 121_000
    session = await peers.login(issued)
    assert await peers.roles() == [issued.secret["username"].reveal()]
    await lent.revoke(lease, issued)
    assert await peers.roles() == []
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError)):
        await session.fetchval("SELECT 1")
    session.terminate()
    await lent.revoke(lease, issued)


async def test_it_ends_by_itself_with_the_lease_although_the_path_says_hours(peers: Peers) -> None:
    """The token it hangs on lives as long as the lease, whatever the path's own time is."""
    lent = lender(peers, path="database/creds/long")
    await lent.issue(fresh_lease(), ttl_s=2)
    assert len(await peers.roles()) == 1
    for _ in range(60):
        await asyncio.sleep(0.1)
        if not await peers.roles():
            return
    pytest.fail("the role outlived its lease")


async def test_what_was_never_answered_is_found_by_the_lease(peers: Peers) -> None:
    """Without a handle: the token that bears the lease's id is found, and takes the secret with it; another lease's stays."""
    lent, lease, other = lender(peers), fresh_lease(), fresh_lease()
    await lent.issue(lease)
    kept = await lent.issue(other)
    await lent.revoke(lease)
    for _ in range(50):
        if len(await peers.roles()) == 1:
            break
        await asyncio.sleep(0.1)
    assert await peers.roles() == [kept.secret["username"].reveal()]
    await lent.revoke(other, kept)
    assert await peers.roles() == []
    await lent.revoke(fresh_lease())


async def test_a_reply_that_is_lost_is_ended_at_once(peers: Peers) -> None:
    """The secret is made and its answer cut off: the token it hangs on is revoked before the error is told."""
    cut = asyncio.Event()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", peers.bao.port)
        length = [
            int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        up_writer.write(head + (await reader.readexactly(length[0]) if length else b""))
        reply = await up_reader.read(1 << 20)
        if b"database/creds" in head:
            cut.set()
            reply = reply[: len(reply) // 2]
        writer.write(reply)
        writer.close()
        up_writer.close()

    async with await asyncio.start_server(between, "127.0.0.1", 0) as way:
        port = way.sockets[0].getsockname()[1]
        error = await fails(lender(peers, url=f"http://127.0.0.1:{port}").issue(fresh_lease()))
    assert cut.is_set()
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, False)
    for _ in range(50):
        if not await peers.roles():
            return
        await asyncio.sleep(0.1)
    pytest.fail("the secret of a lost reply is still there")


async def test_a_token_of_our_own_works_too(peers: Peers) -> None:
    """A token from the vault of secrets in place of AppRole."""
    lent, lease = lender(peers, role_id="", role_secret="", token_secret="root"), fresh_lease()
    await lent.revoke(lease, await lent.issue(lease))
    assert await peers.roles() == []


async def test_what_is_no_dynamic_secret_is_refused(peers: Peers) -> None:
    """A path without a lease could not be revoked; a missing or forbidden one gives nothing."""
    error = await fails(lender(peers, path="kv/static").issue(fresh_lease()))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_INVALID, False)
    assert not (await fails(lender(peers, path="database/creds/nobody").issue(fresh_lease()))).effect_possible
    assert not (await fails(lender(peers, path="sys/mounts/x").issue(fresh_lease()))).effect_possible
    assert not (await fails(lender(peers, fields={"token": "nothing"}).issue(fresh_lease()))).effect_possible
    wrong = Lender("vault", lender(peers).credential.options, approle="not-the-secret-id")
    error = await fails(wrong.issue(fresh_lease()))
    assert not error.effect_possible
    assert not leaked(str(error), ["not-the-secret-id"])


async def test_fields_are_named_as_the_options_say(peers: Peers) -> None:
    """Only the members named, under the names given."""
    lent, lease = lender(peers, fields={"pw": "password"}), fresh_lease()
    issued = await lent.issue(lease)
    assert list(issued.secret) == ["pw"]
    assert isinstance(issued.revocation, Secret)
    await lent.revoke(lease, issued)


async def test_a_revocation_without_the_right_is_not_confirmed(peers: Peers) -> None:
    """A forbidden revocation raises and says where to look."""
    lease = fresh_lease()
    issued = await lender(peers).issue(lease)
    weak = peers.bao.ask("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
    options = {"url": peers.bao.url, "path": "database/creds/reader", "token_secret": "weak"}
    lent = Lender("vault", options, weak=weak)
    for handle in (issued, None):
        error = await fails(lent.revoke(lease, handle))
        assert error.effect_possible
        assert "policy" in error.remedy
    assert len(await peers.roles()) == 1
    await lender(peers).revoke(lease, issued)
    assert await peers.roles() == []


async def test_a_vault_that_goes_away(peers: Peers) -> None:
    """Killed: nothing can be asked for, and no revocation is called done."""
    with openbao.running() as bao:
        other = Peers(bao, peers.pg, *configure(bao, peers.pg))
        lent, lease = lender(other), fresh_lease()
        issued = await lent.issue(lease)
        bao.stop()
        assert not (await fails(lent.issue(fresh_lease()))).effect_possible
        assert (await fails(lent.revoke(lease, issued))).reason is Reason.UPSTREAM_DOWN


def test_options_that_say_too_little_or_too_much_are_refused(peers: Peers) -> None:
    """Two ways to log in or none, a path that climbs, plain HTTP to another machine, an unknown key."""
    for changed in (
        {"token_secret": "root"},
        {"role_id": ""},
        {"path": "database/../sys/raw"},
        {"path": "database"},
        {"url": "http://vault.test:8200"},
        {"renew": True},
        {"namespace": "a b"},
    ):
        with pytest.raises(OperatorError) as caught:
            lender(peers, **changed)
        assert caught.value.reason is Reason.CONFIG_REFUSED
