"""`[issuers.*]`, `[oauth]` and `[sign_in]`: tokens at the MCP endpoint, people at the task API, a browser at the console."""

import contextlib
import json
import os
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import svids
import tokens
from adversarial.wire import ask
from lictor.identity.x509 import verify_chain
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.model.record import TaskOpened, decode_entry
from security.now import lasting, now_s
from security.probes.issuer import Issuer, own_certificate, serving
from security.probes.stand import Place, Stand
from security.probes.table import probe

CORP = "https://corp.example"
FILE: dict[str, Any] = {
    "issuers.corp.kind": "jwks",
    "issuers.corp.url": CORP,
    "issuers.corp.file": "one.json",
    "oauth.mcp_clients": ["corp"],
}


@contextlib.contextmanager
def _keys(place: Place) -> Iterator[None]:
    """Two key sets in files."""
    (place.folder / "one.json").write_bytes(tokens.jwks("p256-one", "rsa2048-one"))
    (place.folder / "two.json").write_bytes(tokens.jwks("p256-two"))
    yield


def without(*keys: str) -> dict[str, Any]:
    """`FILE` but for some keys."""
    return {key: value for key, value in FILE.items() if key not in {f"issuers.corp.{one}" for one in keys}}


def _claims(stand: Stand, **changes: Any) -> dict[str, Any]:
    now = now_s()
    claims = {"iss": CORP, "sub": "robot", "aud": stand.house.settings.audience, "iat": now, "exp": now + 300}
    return {**claims, **changes}


async def _called(stand: Stand, token: str) -> str:
    """A call with an issuer's token."""
    return (await stand.call("echo", token=token)).reason


async def _admitted(place: Place, *, key: str = "p256-one", alg: str = "ES256", **changes: Any) -> object:
    """A call of an agent with its own issuer's token, which names its task."""
    async with place.stand() as stand:
        task = (await stand.opened()).task.id
        return await _called(stand, tokens.token(key, alg, **_claims(stand, lictor_task=task, **changes)))


# -- [issuers.*] ---------------------------------------------------------------------------------------------------------


@probe(
    "issuers.*.kind",
    ("jwks", ["robot", "robot"]),
    ("keys", ["robot", "unauthenticated"]),
    base={**without("kind"), "issuers.corp.url": "robot", "oauth.mcp_clients": []},
    around=_keys,
)
async def kind(place: Place) -> object:
    """The same token twice: an assertion of a client is good once."""
    async with place.stand() as stand:
        token = tokens.token("p256-one", **_claims(stand, iss="robot", jti="0123456789abcdef"))
        found = []
        for _ in range(2):
            try:
                proven = await stand.runtime.entrance.front.prove(
                    token, method="POST", url=stand.house.settings.audience
                )
                found.append(proven.subject)
            except CallerError as error:
                found.append(error.reason.value)
        return found


@probe(
    "issuers.*.url",
    (CORP, "permitted"),
    ("https://other.example", "unauthenticated"),
    base=without("url"),
    around=_keys,
)
async def url(place: Place) -> object:
    """A token that calls its issuer by one name."""
    return await _admitted(place)


@contextlib.contextmanager
def _published(place: Place) -> Iterator[None]:
    """Two issuers over HTTP with a key each."""
    with serving(Issuer("p256-one")) as one, serving(Issuer("p256-two")) as two:
        place.around["urls"] = [f"{one.url}/keys", f"{two.url}/keys"]
        yield


@probe(
    "issuers.*.jwks_url",
    (lambda place: place.around["urls"][0], "permitted"),
    (lambda place: place.around["urls"][1], "unauthenticated"),
    base=without("file"),
    around=_published,
)
async def jwks_url(place: Place) -> object:
    """A token of a key that is published at one of two places."""
    return await _admitted(place)


@probe("issuers.*.file", ("one.json", "permitted"), ("two.json", "unauthenticated"), base=without("file"), around=_keys)
async def file(place: Place) -> object:
    """A token of a key that is in one of two files."""
    return await _admitted(place)


@contextlib.contextmanager
def _private(place: Place) -> Iterator[None]:
    """An issuer whose certificate is of no public authority."""
    with serving(Issuer("p256-one"), own_certificate(place.folder)) as one:
        place.said["issuers.corp.jwks_url"] = f"{one.url}/keys"
        yield


@probe("issuers.*.ca_file", ("", "unauthenticated"), ("ca.pem", "permitted"), base=without("file"), around=_private)
async def ca_file(place: Place) -> object:
    """Keys behind a private authority."""
    return await _admitted(place)


@probe("issuers.*.audience", ("", "permitted"), ("api://other", "audience"), base=FILE, around=_keys)
async def audience(place: Place) -> object:
    """A token that is for this gateway."""
    return await _admitted(place)


@probe("issuers.*.algs", (["ES256"], "alg_not_allowed"), (["RS256"], "permitted"), base=FILE, around=_keys)
async def algs(place: Place) -> object:
    """A token signed with RS256."""
    return await _admitted(place, key="rsa2048-one", alg="RS256")


@probe("issuers.*.leeway_s", (1, "unauthenticated"), (60, "permitted"), base=FILE, around=_keys)
async def leeway_s(place: Place) -> object:
    """A token of an issuer whose clock is half a minute ahead."""
    now = now_s()
    return await _admitted(place, iat=now + 30, nbf=now + 30)


@probe("issuers.*.max_life_s", (100, "unauthenticated"), (900, "permitted"), base=FILE, around=_keys)
async def max_life_s(place: Place) -> object:
    """A token that lives five minutes."""
    return await _admitted(place)


@contextlib.contextmanager
def _mesh(place: Place) -> Iterator[None]:
    """A trust domain, and a workload in it whose certificate lives for two hours."""
    now = datetime.fromtimestamp(now_s(), UTC)
    root = svids.issue(ca=True, uris=["spiffe://mesh.example"], **lasting())
    times = {"begins": now - timedelta(hours=1), "ends": now + timedelta(hours=1)}
    place.around["leaf"] = svids.issue(root, uris=["spiffe://mesh.example/one"], **times).der
    (place.folder / "mesh.json").write_bytes(svids.bundle(root))
    yield


_MESH = {"issuers.corp.kind": "spiffe", "issuers.corp.url": "spiffe://mesh.example", "issuers.corp.file": "mesh.json"}


@probe("issuers.*.svid_life_s", (3_600, "unauthenticated"), (10_800, "permitted"), base=_MESH, around=_mesh)
async def svid_life_s(place: Place) -> object:
    """A certificate that lives for two hours."""
    async with place.stand() as stand:
        issuers = stand.runtime.entrance.front.issuers
        try:
            await verify_chain([place.around["leaf"]], issuers, stand.house.clock.now_ms())
        except CallerError as error:
            return error.reason
        return "permitted"


@probe("issuers.*.client_id", ("", "permitted"), ("somebody", "audience"), base=FILE, around=_keys)
async def client_id(place: Place) -> object:
    """A token that was issued to another client."""
    return await _admitted(place, azp="another")


# -- [oauth] -------------------------------------------------------------------------------------------------------------


async def _opens(place: Place) -> object:
    """A person opens a task with a token of the company: who the log says it was, or why not."""
    async with place.stand() as stand:
        said = {"sub": "ann", "login": "zoe", "aud": stand.house.settings.public_url}
        token = tokens.token("p256-one", **_claims(stand, **said))
        wish = {"agent": "one", "human": "corp:ann", "purpose": "test", "ttl_s": 60}
        headers = [("Host", stand.host), ("Authorization", f"Bearer {token}"), ("Content-Type", "application/json")]
        answer = json.loads((await ask(stand.app, "POST", "/v1/tasks", headers, json.dumps(wish).encode())).body)
        if "reason" in answer:
            return answer["reason"]
        records = [decode_entry(entry.data).record for entry in stand.house.store.entries()]
        return next(one.opened_by for one in records if isinstance(one, TaskOpened))


@probe(
    "oauth.people",
    ([], "unknown_agent"),
    (["corp"], "person:corp:ann"),
    base={**FILE, "oauth.mcp_clients": []},
    around=_keys,
)
async def people(place: Place) -> object:
    """A token of a company, where its people may open tasks and where they may not."""
    return await _opens(place)


@probe(
    "issuers.*.human_claim",
    ("sub", "person:corp:ann"),
    ("login", "forbidden"),
    base={**FILE, "oauth.mcp_clients": [], "oauth.people": ["corp"]},
    around=_keys,
)
async def human_claim(place: Place) -> object:
    """What a person is called: nobody opens tasks in another one's name."""
    return await _opens(place)


@probe(
    "oauth.mcp_clients",
    ([], "unauthenticated"),
    (["corp"], "permitted"),
    base={key: value for key, value in FILE.items() if key != "oauth.mcp_clients"},
    around=_keys,
)
async def mcp_clients(place: Place) -> object:
    """An access token at the MCP endpoint itself."""
    return await _admitted(place)


# -- [sign_in] -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _company(place: Place) -> Iterator[None]:
    """Two issuers people could sign in with."""
    with serving(Issuer("p256-one")) as corp, serving(Issuer("p256-two")) as other:
        place.around["issuers"] = {"corp": corp, "other": other}
        for name, one in place.around["issuers"].items():
            place.said |= {f"issuers.{name}.kind": "oidc", f"issuers.{name}.url": one.url}
        yield


async def _sent(place: Place, member: str) -> object:
    """What a browser is sent to the issuer with; None: it is not sent anywhere."""
    async with place.stand() as stand:
        answer = await stand.get("/login/start")
        if answer.status != 303:
            return None
        asked = urllib.parse.urlsplit(answer.header("location"))
        if member == "to":
            found = f"{asked.scheme}://{asked.netloc}"
            return next(name for name, one in place.around["issuers"].items() if one.url == found)
        return urllib.parse.parse_qs(asked.query)[member][0]


SIGN_IN = {"sign_in.issuer": "corp", "sign_in.client_id": "console"}


@probe("sign_in.issuer", ("corp", "corp"), ("other", "other"), base={"sign_in.client_id": "console"}, around=_company)
async def issuer(place: Place) -> object:
    """Where a browser is sent."""
    return await _sent(place, "to")


@probe("sign_in.client_id", ("one", "one"), ("two", "two"), base={"sign_in.issuer": "corp"}, around=_company)
async def client(place: Place) -> object:
    """As whom it is sent there."""
    return await _sent(place, "client_id")


@probe("sign_in.scope", ("openid", "openid"), ("openid email", "openid email"), base=SIGN_IN, around=_company)
async def scope(place: Place) -> object:
    """What for."""
    return await _sent(place, "scope")


@probe("sign_in.client_secret_env", ("", False), ("LICTOR_PROBE_SECRET", True), base=SIGN_IN, around=_company)
async def client_secret_env(place: Place) -> object:
    """Whether the code is redeemed with a secret."""
    with patch.dict(os.environ, LICTOR_PROBE_SECRET="a secret of the probe"):
        async with place.stand() as stand:
            begun = await stand.get("/login/start")
            cookie = begun.header("set-cookie").partition(";")[0]
            asked = urllib.parse.parse_qs(urllib.parse.urlsplit(begun.header("location")).query)
            corp: Issuer = place.around["issuers"]["corp"]
            corp.nonce = asked["nonce"][0]
            back = urllib.parse.urlencode({"code": "c", "state": asked["state"][0]})
            answer = await stand.get("/login/callback", {"Cookie": cookie}, query=back)
            if b"corp:ann" not in answer.body:
                raise CallerError(Reason.UNAUTHENTICATED, answer.body[:300].decode())
            return "authorization" in corp.sent[0][0]
