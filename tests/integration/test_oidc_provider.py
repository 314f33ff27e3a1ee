"""A real authorisation server (npm `oidc-provider`) as issuer: discovery, client credentials, DPoP, rotation, and its end."""

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from integration.peers import node
from lictor.cli.demonstration.stage import free_port
from lictor.identity.front import Front, open_front
from lictor.identity.settings import IssuerSettings
from lictor.model.errors import CallerError
from lictor.model.identity import Proof
from lictor.pdp.proof import whose
from lictor.stores.clock import SystemClock
from lictor.testing.clock import ManualClock
from tokens import b64, dpop, jwk, number, private_key, thumbprint

SCRIPT = Path(__file__).parents[1] / "servers" / "node" / "oidc_provider.mjs"
AUDIENCE = "https://gateway.example/mcp"
OTHER = "https://other.example/mcp"


def private_jwk(name: str) -> dict[str, Any]:
    """A signing key with its private part, for the server alone."""
    return {**jwk(name, alg="ES256", use="sig"), "d": number(private_key(name).private_numbers().private_value, 32)}


@contextlib.contextmanager
def provider(port: int, *keys: str) -> Iterator[None]:
    """The server, with these signing keys."""
    settings = {
        "port": port,
        "resource": AUDIENCE,
        "keys": [private_jwk(key) for key in keys],
        "clients": ["agent-7", "agent-8"],
    }
    # A session of its own: the environment's `node` is a program that starts the real one.
    process = subprocess.Popen(
        [node(), str(SCRIPT), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout
        while (line := process.stdout.readline()) != "ready\n":
            assert line, "the provider did not start"
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port: int, client: str = "agent-7", *, resource: str = AUDIENCE, proof: str = "") -> str:
    """An access token by client credentials."""
    secret = base64.b64encode(f"{client}:secret-of-{client}-0123456789abcdef0123456789abcdef".encode()).decode()
    headers = {"Authorization": f"Basic {secret}", "Content-Type": "application/x-www-form-urlencoded"}
    if proof:
        headers["DPoP"] = proof
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    body = urlencode({"grant_type": "client_credentials", "resource": resource, "scope": "call"})
    connection.request("POST", "/token", body, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert "access_token" in answer, answer
    return answer["access_token"]


@pytest.fixture
async def gate(tmp_path: Path) -> Any:
    """A port for the issuer, a front that trusts it, and the front's clock."""
    port, clock = free_port(), ManualClock(SystemClock().now_ms())
    settings = {"idp": IssuerSettings(kind="oidc", url=f"http://127.0.0.1:{port}")}
    front = open_front(settings, folder=tmp_path, state=tmp_path, audience=AUDIENCE, clock=clock, report=lambda _: None)
    yield port, front, clock
    await front.close()


async def who(front: Front, token: str, proof: str | None = None) -> str:
    """The agent, or `!` and the reason."""
    try:
        proven = await front.identify(
            authorization=f"{'DPoP' if proof else 'Bearer'} {token}", dpop=proof, method="POST", url=AUDIENCE
        )
        return whose(
            proven,
            [("seven", [Proof(issuer="idp", subject="agent-7")]), ("eight", [Proof(issuer="idp", subject="agent-8")])],
        )
    except CallerError as error:
        return f"!{error.reason.value}"


async def test_its_clients_are_who_their_tokens_say(gate: Any) -> None:
    """Two clients are two agents; a token for another resource is nobody's; a stolen signature part is not enough."""
    port, front, _ = gate
    with provider(port, "p256-one"):
        token = ask(port)
        assert await who(front, token) == "seven"
        assert await who(front, ask(port, "agent-8")) == "eight"
        assert await who(front, ask(port, resource=OTHER)) == "!audience"
        head, payload, signature = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
        forged = b64(json.dumps({**claims, "sub": "agent-8"}))
        assert await who(front, f"{head}.{forged}.{signature}") == "!unauthenticated"


async def test_a_token_it_binds_to_a_key_is_bound_here(gate: Any) -> None:
    """The server's `cnf.jkt` is our thumbprint; without a fresh proof of that key its token is worth nothing."""
    port, front, clock = gate
    now = clock.now_ms() // 1_000
    with provider(port, "p256-one"):
        token = ask(port, proof=dpop(htu=f"http://127.0.0.1:{port}/token", iat=now, jti="for-the-issuer"))
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["cnf"] == {"jkt": thumbprint("p256-dpop")}
    with provider(port, "p256-one"):
        assert await who(front, token) == "!unauthenticated"
        assert await who(front, token, dpop("p256-evil", access_token=token, iat=now)) == "!unauthenticated"
        assert await who(front, token, dpop(access_token=token, iat=now)) == "seven"
        assert await who(front, token, dpop(access_token=token, iat=now)) == "!unauthenticated"


async def test_it_rotates_its_keys(gate: Any) -> None:
    """A new key counts after 30 seconds at the latest, an old one until it is withdrawn, and no longer."""
    port, front, clock = gate
    with provider(port, "p256-one"):
        old = ask(port)
        assert await who(front, old) == "seven"
    with provider(port, "p256-two", "p256-one"):
        new = ask(port)
        assert await who(front, new) == "!unauthenticated"
        clock.advance(30_000)
        assert await who(front, new) == "seven"
        assert await who(front, old) == "seven"
    with provider(port, "p256-two"):
        clock.advance(30_000)
        assert await who(front, ask(port)) == "seven"
        assert await who(front, old) == "seven"  # kept, until what is published is looked at again
        clock.advance(120_000)
        unknown = ask(port, "agent-8").split(".")
        unknown[0] = b64(json.dumps({"alg": "ES256", "kid": "never-heard-of", "typ": "at+jwt"}))
        assert await who(front, ".".join(unknown)) == "!unauthenticated"
        assert await who(front, old) == "!unauthenticated"


async def test_it_stops(gate: Any) -> None:
    """What it published is good for an hour; then, and where it never answered, its tokens are nobody's."""
    port, front, clock = gate
    with provider(port, "p256-one"):
        token = ask(port)
    assert await who(front, token) == "!unauthenticated"
    clock.advance(5_000)
    with provider(port, "p256-one"):
        assert await who(front, token) == "seven"
    clock.advance(200_000)
    assert await who(front, token) == "seven"
    assert not front.issuers.problems()
    clock.advance(3_600_000)
    assert await who(front, token) == "!unauthenticated"
    assert front.issuers.problems()
