"""Credentials on behalf of the person who opened the task, from a real authorisation server (npm `oidc-provider`)."""

import asyncio
import json
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adversarial.wire import ask
from integration import call_world
from integration.call_world import POLICY, Shop
from integration.live import PORT
from integration.test_oauth import SECRETS, Issuer, issuing
from integration.token_world import CI, EXCHANGE, JWT, Key, now_s
from lictor.model.ids import TaskId
from lictor.protocol.scrub import forms

pytestmark = pytest.mark.timeout(120)
GATEWAY = f"http://127.0.0.1:{PORT}/mcp"
OPENS = (
    POLICY
    + """
@id("opens") @owner("os:me") @reason("people open tasks, and their tokens may be exchanged")
permit (principal, action in [Action::"task:open", Action::"credential:shop/it"], resource);
"""
)
PROOF = '[[agents.coder.proofs]]\nissuer = "ci"\nsubject = "repo:coder"\n'


class Desk:
    """The gateway, its issuer, and the agent's own key."""

    def __init__(self, shop: Shop, issuer: Issuer, key: Key) -> None:
        self.shop = shop
        self.issuer = issuer
        self.key = key

    async def exchange(self, subject: str) -> tuple[TaskId, str]:
        """A person's token and the agent's: the task opened with them, and its token."""
        now = now_s()
        claims = {"iss": CI, "sub": "repo:coder", "aud": GATEWAY, "iat": now, "exp": now + 300}
        details = [{"type": "lictor_task", "purpose": "test"}]
        form = {
            "grant_type": EXCHANGE,
            "subject_token": subject,
            "subject_token_type": JWT,
            "actor_token": self.key.sign(claims),
            "actor_token_type": JWT,
            "authorization_details": json.dumps(details),
        }
        headers = [("Host", f"127.0.0.1:{PORT}"), ("Content-Type", "application/x-www-form-urlencoded")]
        done = await ask(self.shop.app, "POST", "/oauth/token", headers, urllib.parse.urlencode(form).encode())
        said = json.loads(done.body)
        assert "access_token" in said, said
        (task,) = {state.task.id for state in self.shop.house.store.tasks()}
        return task, said["access_token"]

    async def kept(self) -> tuple[str, ...]:
        """Tasks for which a person's token is in the safe."""
        return await self.shop.runtime.lending.safe.names("subject:")


@asynccontextmanager
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    key = Key()
    (tmp_path / "ci.jwks").write_text(json.dumps({"keys": [key.public]}))
    with issuing(gateway=GATEWAY, agent="coder") as issuer:
        server = f"""[servers.shop.env]
INTROSPECTION_URL = "{issuer.url}/token/introspection"
INTROSPECTION = "{SECRETS["post"]}"
"""
        settings = f"""[issuers.ci]
kind = "jwks"
url = "{CI}"
file = "{tmp_path}/ci.jwks"
[issuers.corp]
kind = "oidc"
url = "{issuer.url}"
[oauth]
people = ["corp"]
"""
        credential = f"""provider = "oauth"
env = {{ PERSON_TOKEN = "{{token}}" }}
[credentials.it.options]
token_url = "{issuer.url}/token"
revocation_url = "{issuer.url}/token/revocation"
client_id = "post"
auth = "client_secret_post"
secret = "post"
grant = "token_exchange"
scopes = ["read"]
audiences = ["https://api.test/things"]
"""
        bundle = call_world.write(
            tmp_path,
            credential,
            {"post": "x" * 8},
            policy=OPENS,
            server=server,
            settings=settings,
            proofs=PROOF,
        )
        async with call_world.live(bundle) as shop:
            await shop.runtime.lending.safe.write("post", _secret(SECRETS["post"]))
            yield Desk(shop, issuer, key)


def _secret(text: str):
    from lictor.model.secret import Secret

    return Secret(text)


async def test_the_person_is_the_subject_and_we_are_the_actor(tmp_path: Path) -> None:
    """Who opened the task is whom the server's token stands for; closed, the token is revoked and theirs forgotten, not revoked."""
    async with desk(tmp_path) as world:
        task, token = await world.exchange(world.issuer.signed)
        assert await world.kept() == (f"subject:{task}",)
        said = json.loads(json.loads(await world.shop.ask(token))["result"]["content"][0]["text"])["person"]
        assert said == {
            "active": True,
            "sub": "alice",
            "act": {"sub": "post"},
            "aud": "https://api.test/things",
        }
        await world.shop.house.tasks.close(task, by="os:me")
        async with asyncio.timeout(5):
            while await world.kept() or world.shop.house.store.leases():
                await asyncio.sleep(0.05)
        (lease,) = world.shop.house.store.leases(live_only=False)
        assert lease.status.value == "revoked"
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not [form for form in forms(world.issuer.signed) if form in everything]


async def test_without_a_person_s_token_nothing_is_lent(tmp_path: Path) -> None:
    """A task that an operator opened: refused with a reason, and why is said to whoever runs the gateway."""
    async with desk(tmp_path) as world:
        said: list[str] = []
        world.shop.runtime.lending._parts = _saying(world.shop.runtime.lending._parts, said)
        _, token = await world.shop.task()
        assert "unknown_value" in await world.shop.ask(token)
        assert any("the person's own token is not at hand" in line for line in said)
        assert await world.kept() == ()


def _saying(parts, said):
    from dataclasses import replace

    return replace(parts, say=said.append)
