"""Credentials for one call: narrowed to what the call is about, made only for what would be granted, gone behind it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from integration import call_world
from integration.call_world import LENDS, POLICY, Shop
from integration.test_aws import POLICY as SESSION_POLICY
from integration.test_aws import ROLE, asked, moto, way
from lictor.model.approval import seal_of
from lictor.model.ids import HumanId
from lictor.pep.mcp.gateway import Gateway
from lictor.service.people.approve import Proof
from servers import github, postgres
from servers.github import GitHub
from servers.hop import Hop
from servers.postgres import Postgres as Server

__all__ = ["moto", "way"]
pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def hub() -> Iterator[GitHub]:
    with github.running() as running:
        yield running


def for_github(hub: GitHub, source: str = '{ argument = "/repository" }') -> str:
    return f"""provider = "github"
lease = "grant"
env = {{ GITHUB_TOKEN = "{{token}}" }}
narrow = {{ repository = {source} }}
[credentials.it.options]
app_id = "{hub.app}"
installation_id = {hub.installation}
key_secret = "key"
owner = "shop"
repositories = ["{{repository}}"]
permissions = {{ contents = "read" }}
api_url = "{hub.url}"
"""


def shop(tmp_path: Path, hub: GitHub, **more: str) -> Any:
    server = f'env = {{ GITHUB_URL = "{hub.url}" }}\n'
    bundle = call_world.write(tmp_path, for_github(hub), {"key": github.PEM}, server=server, **more)
    return call_world.live(bundle)


async def test_an_installation_token_is_for_the_repository_of_the_call(tmp_path: Path, hub: GitHub) -> None:
    """Two calls, two tokens, each for its own repository and nothing else; policy and the record know which; both given back."""
    async with shop(tmp_path, hub) as gateway:
        _, token = await gateway.task()
        for name in ("lamps", "chairs"):
            assert f'repositories\\": [\\"{name}\\"]' in await gateway.ask(token, repository=f"shop/{name}")
        assert [one["narrow"] for one in gateway.told()] == [["repository=shop/lamps"], ["repository=shop/chairs"]]
        await gone(gateway)
    assert hub.tokens == {}


async def test_a_token_of_the_owner_s_every_repository_is_what_narrowing_prevents(tmp_path: Path, hub: GitHub) -> None:
    """Control: the same server with a token for another repository reads that one; so what it says is what the token is for."""
    credential = for_github(hub, '"shop/secret-plans"')
    server = f'env = {{ GITHUB_URL = "{hub.url}" }}\n'
    async with call_world.live(call_world.write(tmp_path, credential, {"key": github.PEM}, server=server)) as gateway:
        _, token = await gateway.task()
        assert "secret-plans" in await gateway.ask(token, repository="shop/lamps")


async def test_policy_decides_about_what_it_is_narrowed_to(tmp_path: Path, hub: GitHub) -> None:
    """A permit for one repository lends for that one; the other is refused, and no token is made."""
    only = LENDS.replace(
        "resource);",
        'resource)\nwhen { context.input has narrow && context.input.narrow.contains("repository=shop/lamps") };',
    )
    async with shop(tmp_path, hub, policy=POLICY + only) as gateway:
        _, token = await gateway.task()
        assert "lamps" in await gateway.ask(token, repository="shop/lamps")
        assert "not_permitted" in await gateway.ask(token, repository="shop/chairs")
        assert len(gateway.asked()) == 1


@pytest.mark.parametrize("arguments", [{}, {"repository": ""}, {"repository": "a" * 513}, {"repository": "a\u0007"}])
async def test_a_call_that_does_not_say_it_is_lent_nothing(
    tmp_path: Path, hub: GitHub, arguments: dict[str, str]
) -> None:
    """Absent, empty, too long, not printable: refused before anything is decided about the credential."""
    async with shop(tmp_path, hub) as gateway:
        _, token = await gateway.task()
        assert "unknown_value" in await gateway.ask(token, **arguments)
        assert not gateway.asked()
        assert not gateway.told()


async def test_its_tools_are_listed_without_a_credential(tmp_path: Path, hub: GitHub) -> None:
    """A list is no call, so nothing can be lent for one: what people pinned is shown, and nothing is asked for."""
    async with shop(tmp_path, hub) as gateway:
        _, token = await gateway.task()
        assert b'"shop__ask"' in (await gateway.send(token, "tools/list", {})).body
        assert b'"tools"' in (await gateway.send(token, "server/discover", {})).body
        assert not gateway.asked()
        assert hub.tokens == {}


async def test_an_aws_session_is_for_the_folder_of_the_call(tmp_path: Path, way: Hop) -> None:
    """The session policy holds what the path was found to be, in its one spelling."""
    url = f"http://127.0.0.1:{way.port}"
    options = {"role": ROLE, "policy": SESSION_POLICY, "access_key_id": "AKIALICTOR", "secret_key_secret": "aws"}
    told = {**options, "sts_url": url, "iam_url": url, "revoke": "deny"}
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in told.items())
    credential = f"""provider = "aws"
lease = "grant"
env = {{ AWS_SESSION_TOKEN = "{{session_token}}" }}
narrow = {{ folder = {{ fact = "path.relative" }} }}
[credentials.it.options]
{lines}"""
    tool = 'path = { pointer = "/path", roots = { shop = "/srv/shop" } }\n'
    bundle = call_world.write(tmp_path, credential, {"aws": "the-secret-key"}, tool=tool)
    async with call_world.live(bundle) as gateway:
        _, token = await gateway.task()
        assert "session" in await gateway.ask(token, path="/srv/shop/lamps/./2026")
        policy = json.loads(asked(way)["Policy"])
        assert policy["Statement"][0]["Resource"] == "arn:aws:s3:::shop/lamps/2026/*"
        count = len(way.requests)
        for elsewhere in ("/srv/shop/../other", "/srv/shop/a*", "/etc"):
            assert "session" not in await gateway.ask(token, path=elsewhere)
        assert not [one for one in way.requests[count:] if b"AssumeRole" in one]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(one)}" for key, one in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


# -- decided first: PostgreSQL ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with postgres.running() as running:

        async def setup() -> None:
            async with admin(running) as connection:
                await connection.execute("CREATE ROLE reader; CREATE TABLE goods (name text)")
                await connection.execute("INSERT INTO goods VALUES ('lamp'); GRANT SELECT ON goods TO reader")

        asyncio.run(setup())
        yield running


@contextlib.asynccontextmanager
async def admin(server: Server) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=server.port,
        user="postgres",
        password=server.password,
        database="postgres",
        ssl=False,
    )
    try:
        yield connection
    finally:
        connection.terminate()


async def roles(server: Server) -> list[str]:
    async with admin(server) as connection:
        found = await connection.fetch(
            "SELECT rolname AS who FROM pg_roles WHERE rolname LIKE 'lictor%' "
            "UNION ALL SELECT usename FROM pg_stat_activity WHERE usename LIKE 'lictor%'"
        )
        return [row["who"] for row in found]


def sells(tmp_path: Path, server: Server) -> Any:
    credential = f"""provider = "postgres"
lease = "grant"
env = {{ DATABASE_URL = "postgresql://{{username}}:{{password}}@127.0.0.1:{server.port}/postgres" }}
[credentials.it.options]
host = "127.0.0.1"
port = {server.port}
database = "postgres"
user = "postgres"
tls = "off"
password_secret = "pg"
roles = ["reader"]
"""
    return call_world.live(call_world.write(tmp_path, credential, {"pg": server.password}))


async def gone(gateway: Shop) -> None:
    """Nothing is on loan any more."""
    async with asyncio.timeout(10):
        while gateway.house.store.leases():
            await asyncio.sleep(0.05)


def made(server: Server) -> int:
    """Roles that were ever made, by the server's own log."""
    return server.log.count('CREATE ROLE "lictor_')


async def test_a_role_appears_for_one_grant_is_used_and_is_gone(tmp_path: Path, database: Server) -> None:
    """While the call runs there is one role with the lease's name, which reads; behind it neither role nor session."""
    async with sells(tmp_path, database) as gateway:
        _, token = await gateway.task()
        go = tmp_path / "go"
        call = asyncio.ensure_future(gateway.ask(token, f"wait:{go}"))
        async with asyncio.timeout(20):
            while not (during := await roles(database)):
                await asyncio.sleep(0.02)
        (lease,) = {record.lease.id for record in gateway.asked()}
        assert set(during) == {f"lictor_{lease}"}
        go.touch()
        answer = await call
        assert 'user\\": \\"[credential it removed]' in answer  # even its own name is not for the agent
        assert "lamp" in answer
        await gone(gateway)
        assert await roles(database) == []


async def test_what_is_denied_or_held_leaves_no_role(tmp_path: Path, database: Server) -> None:
    """No credential is even asked for; after a person's yes there is one, for that call, and the yes is good once."""
    before = made(database)
    async with sells(tmp_path, database) as gateway:
        _, token = await gateway.task()
        assert "not_permitted" in await gateway.ask(token, "no")
        assert "input_required" in await gateway.ask(token, "please")
        assert (gateway.asked(), gateway.told(), await roles(database)) == ([], [], [])
        (hold,) = gateway.house.store.holds()
        await gateway.house.answer.approve(hold.id, Proof(human=HumanId("os:me")), seal_of(hold))
        assert "lamp" in await gateway.ask(token, "please")
        assert "lamp" not in await gateway.ask(token, "please")
        assert len(gateway.asked()) == 1
        await gone(gateway)
    assert made(database) == before + 1
    assert await roles(database) == []


async def test_a_gateway_that_connects_before_it_decides_is_found_out(
    tmp_path: Path, database: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: without the decision ahead a denied call has a role made."""

    async def blind(*_: Any) -> None:
        return None

    monkeypatch.setattr(Gateway, "_ahead", blind)
    before = made(database)
    async with sells(tmp_path, database) as gateway:
        _, token = await gateway.task()
        assert "not_permitted" in await gateway.ask(token, "no")
    assert made(database) == before + 1
