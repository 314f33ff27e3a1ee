"""The token service over real HTTP, in a real gateway process: what a client sees, and what it is never let do."""

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import httpx2
import mcp
import pytest
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters
from mcp.client.streamable_http import streamable_http_client

from integration.token_world import ASSERTION, EXCHANGE, JWT, Key, World, world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One gateway for all tests of this file."""
    with world(tmp_path_factory.mktemp("tokens")) as found:
        yield found


@pytest.fixture(scope="module")
def task(made: World) -> str:
    """A task of the agent `helper`."""
    found: str = made.open_task()["task"]
    return found


def refused(answer: object) -> tuple[int, str, str]:
    """Status, OAuth error and our reason."""
    found = answer.json  # type: ignore[attr-defined]
    return answer.status, found["error"], found["lictor_reason"]  # type: ignore[attr-defined]


def test_a_workload_token_becomes_a_task_token(made: World, task: str) -> None:
    """RFC 8693 2.2.1: what comes back, and that it opens the door."""
    answer = made.exchange(made.workload(), {"task": task}, resource=made.audience)
    assert answer.status == 200
    assert answer.all("cache-control") == ["no-store"]
    found = answer.json
    assert found["token_type"] == "Bearer"
    assert found["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert 0 < found["expires_in"] <= 900
    assert found["authorization_details"] == [{"type": "lictor_task", "task": task, "purpose": "test"}]
    assert made.mcp(found["access_token"]).status == 200


def test_the_scope_names_a_task_too(made: World, task: str) -> None:
    """A client that can only send a scope says task:<id>; both at once is refused."""
    assert made.exchange(made.workload(), None, scope=f"task:{task}").status == 200
    both = made.exchange(made.workload(), {"task": task}, scope=f"task:{task}")
    assert refused(both) == (400, "invalid_scope", "invalid_message")


def test_without_a_token_the_door_says_where_to_get_one(made: World) -> None:
    """RFC 9728 5.1: the challenge leads to the metadata, the metadata to the token service."""
    answer = made.mcp("")
    assert answer.status == 401
    (challenge,) = answer.all("www-authenticate")
    url = f"{made.served.base}/.well-known/oauth-protected-resource/mcp"
    assert challenge == f'Bearer realm="lictor", resource_metadata="{url}"'
    found = made.http("GET", urllib.parse.urlsplit(url).path).json
    assert found["resource"] == made.audience
    assert found["authorization_servers"] == [made.served.base]
    assert made.http("GET", "/.well-known/oauth-protected-resource").json == found
    server = made.http("GET", "/.well-known/oauth-authorization-server").json
    assert (server["issuer"], server["token_endpoint"]) == (made.served.base, made.token_url)
    keys = made.http("GET", urllib.parse.urlsplit(server["jwks_uri"]).path).json["keys"]
    assert keys
    assert not any("d" in key for key in keys)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_request"),
        (b"grant_type=password&username=a&password=b", "unsupported_grant_type"),
        (f"grant_type={EXCHANGE}&grant_type={EXCHANGE}".encode(), "invalid_request"),
        (f"grant_type={EXCHANGE}".encode(), "invalid_request"),
        (f"grant_type={EXCHANGE}&subject_token=x".encode(), "invalid_request"),
        (f"grant_type={EXCHANGE}&subject_token=x&subject_token_type=saml2".encode(), "invalid_request"),
        (f"grant_type={EXCHANGE}&subject_token=x&subject_token_type={JWT}".encode(), "invalid_request"),
        (b"grant_type=client_credentials&client_id=a&client_secret=b", "invalid_client"),
        (b"grant_type=client_credentials", "invalid_client"),
        (b"grant_type=client_credentials&client_assertion=x", "invalid_client"),
        (b"grant_type=%zz", "invalid_request"),
        (b"grant_type=%ff", "invalid_request"),
        (b"grant_type", "invalid_request"),
        (b"&".join(b"a%d=1" % n for n in range(40)), "invalid_request"),
        (b"grant_type=client_credentials&resource=https%3A%2F%2Fother.example%2Fmcp", "invalid_target"),
        (b"grant_type=client_credentials&authorization_details=%5B%5D", "invalid_authorization_details"),
        (b"grant_type=client_credentials&authorization_details=%5B%7B%22type%22%3A%22payment%22%7D%5D", "invalid_authorization_details"),
        (b"grant_type=client_credentials&scope=admin", "invalid_scope"),
        (b"x" * 70_000, "invalid_request"),
    ],
)  # fmt: skip
def test_bad_requests(made: World, body: bytes, error: str) -> None:
    """Each has the error OAuth defines for it, and nothing is issued."""
    answer = made.token(body)
    assert answer.json["error"] == error
    assert 400 <= answer.status < 500
    assert all(32 <= ord(char) < 127 and char not in '"\\' for char in answer.json["error_description"])


def test_parameters_belong_into_the_body(made: World, task: str) -> None:
    """Not into the address, not as JSON, not with a password beside them, and by POST alone."""
    form = {"grant_type": EXCHANGE, "subject_token": made.workload(), "subject_token_type": JWT}
    details = json.dumps([{"type": "lictor_task", "task": task}])
    body = urllib.parse.urlencode({**form, "authorization_details": details}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    assert made.token(body).status == 200
    assert made.http("POST", f"/oauth/token?{body.decode()}", b"", kind).status == 400
    assert made.http("POST", "/oauth/token?x=1", body, kind).status == 400
    assert (
        made.http("POST", "/oauth/token", json.dumps(form).encode(), {"Content-Type": "application/json"}).status == 400
    )
    assert made.token(body, {"Authorization": "Basic YTpi"}).status == 401
    # No such row: whoever has not authenticated is told nothing more.
    assert made.http("GET", f"/oauth/token?{body.decode()}").status == 401
    assert made.token(body, {"Host": "evil.example"}).status in {400, 421}
    assert made.token(body, {"Origin": "https://evil.example"}).status == 403


def test_dpop_from_exchange_to_use(made: World, task: str) -> None:
    """Sender-constrained end to end, by the URLs that clients use."""
    key = Key()
    answer = made.exchange(made.workload(), {"task": task}, {"DPoP": key.proof("POST", made.token_url)})
    assert answer.json["token_type"] == "DPoP"
    token = answer.json["access_token"]
    good = key.proof("POST", made.audience, token)
    assert made.mcp(token, scheme="DPoP", DPoP=good).status == 200
    for scheme, headers in (
        ("DPoP", {"DPoP": good}),
        ("DPoP", {}),
        ("Bearer", {}),
        ("Bearer", {"DPoP": key.proof("POST", made.audience, token)}),
        ("DPoP", {"DPoP": key.proof("POST", made.token_url, token)}),
        ("DPoP", {"DPoP": key.proof("GET", made.audience, token)}),
        ("DPoP", {"DPoP": key.proof("POST", made.audience)}),
        ("DPoP", {"DPoP": Key().proof("POST", made.audience, token)}),
    ):
        turned = made.mcp(token, scheme=scheme, **headers)
        assert turned.status == 401, (scheme, headers)
        assert any(one.startswith("DPoP ") and "algs=" in one for one in turned.all("www-authenticate"))
    twice = made.http("POST", "/mcp", b"{}", [("Authorization", f"DPoP {token}"), ("DPoP", good), ("DPoP", good)])
    assert twice.status == 400


def test_a_refused_proof_at_the_token_endpoint(made: World, task: str) -> None:
    """A wrong htu is `invalid_dpop_proof`."""
    proof = Key().proof("POST", made.audience)
    answer = made.exchange(made.workload(), {"task": task}, {"DPoP": proof})
    assert refused(answer) == (400, "invalid_dpop_proof", "unauthenticated")


def test_splices_are_refused(made: World, task: str) -> None:
    """A person's token, or a task's, and an agent's that was not meant to come with it (DELG-05)."""
    wish = {"purpose": "test", "text": "hello"}
    answer = made.exchange(made.person(), wish, actor_token=made.workload())
    assert refused(answer) == (400, "invalid_request", "delegation")
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    answer = made.exchange(token, {"text": "hello"}, actor_token=made.workload("repo:stranger"))
    assert refused(answer) == (400, "invalid_request", "delegation")
    assert made.exchange(token, {"text": "hello"}, actor_token=made.workload("repo:clerk")).status == 200


def test_policy_decides_who_opens(made: World) -> None:
    """The request and its denial are in the log; there is no task and no token."""
    person = made.person(may_act={"sub": "helper"})
    answer = made.exchange(person, {"purpose": "test", "text": "x", "calls": 1001}, actor_token=made.workload())
    assert refused(answer) == (400, "access_denied", "not_permitted")
    made_records = [entry["record"]["type"] for entry in made.log()][-2:]
    assert made_records == ["request.received", "decision.made"]


def test_revocation_reaches_the_door(made: World, task: str) -> None:
    """RFC 7009: 200 for whatever is sent; a token of ours is dead afterwards."""
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    assert made.mcp(token).status == 200
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for one in (token, token, "a.b.c", "nonsense"):
        assert made.http("POST", "/oauth/revoke", f"token={one}".encode(), kind).status == 200
    assert made.http("POST", "/oauth/revoke", b"", kind).status == 400
    assert made.http("POST", "/oauth/revoke", b"token=lt_x", kind).json["error"] == "unsupported_token_type"
    assert made.mcp(token).status == 401


def test_cookies_and_claims_count_for_nothing(made: World, task: str) -> None:
    """No cookie authenticates at the MCP door; a header that says who asks is written down as untrusted (IDEN-12)."""
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    assert made.mcp("", Cookie=f"lictor_signin={token}; __Host-lictor={token}").status == 401
    assert made.mcp("", **{"X-Agent-Id": "helper", "X-Lictor-Task": task}).status == 401
    for _ in range(2):
        assert made.mcp(token, **{"X-Agent-Id": "spiffe://t.example/agent/pay"}).status == 200
    claimed = [entry["record"] for entry in made.log() if entry["record"]["type"] == "request.identity_claimed"]
    assert [(one["header"], one["claimed"]) for one in claimed] == [("x-agent-id", "spiffe://t.example/agent/pay")]


def test_a_task_token_is_nothing_at_the_control_plane(made: World, task: str) -> None:
    """An agent opens no tasks: 403, whatever kind of token it has."""
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    for one in (token, made.workload(aud=made.served.base)):
        answer = made.http("GET", "/v1/tasks", headers={"Authorization": f"Bearer {one}"})
        assert (answer.status, answer.json["reason"]) == (403, "forbidden")


def test_a_persons_token_works_at_the_control_plane_if_it_is_for_it(made: World) -> None:
    """A token for the MCP endpoint, as an MCP client gets it, is no credential of the person."""
    good = made.http("GET", "/v1/tasks", headers={"Authorization": f"Bearer {made.person(aud=made.served.base)}"})
    assert good.status == 200
    other = made.http("GET", "/v1/tasks", headers={"Authorization": f"Bearer {made.person()}"})
    assert other.status == 401


async def test_the_official_client_gets_in_by_itself(made: World) -> None:
    """MCP SDK, private_key_jwt: 401, metadata, token, call; the assertion itself names the task."""
    task = made.open_task("robot")["task"]
    key = made.robot.native
    parameters = SignedJWTParameters(
        issuer="robot-7",
        subject="robot-7",
        signing_key=key.as_pem(private=True).decode(),
        signing_algorithm="ES256",
        lifetime_seconds=60,
        additional_claims={"lictor_task": task},
    )
    auth = PrivateKeyJWTOAuthProvider(
        server_url=made.audience,
        storage=_Storage(),
        client_id="robot-7",
        issuer=made.served.base,
        assertion_provider=parameters.create_assertion_provider(),
    )
    async with (
        httpx2.AsyncClient(auth=auth, timeout=20) as http,
        mcp.Client(streamable_http_client(made.audience, http_client=http)) as client,
    ):
        await client.list_tools()


class _Storage:
    """In memory."""

    def __init__(self) -> None:
        self.tokens = self.info = None

    async def get_tokens(self) -> object:
        return self.tokens

    async def set_tokens(self, tokens: object) -> None:
        self.tokens = tokens  # type: ignore[assignment]

    async def get_client_info(self) -> object:
        return self.info

    async def set_client_info(self, client_info: object) -> None:
        self.info = client_info  # type: ignore[assignment]


def test_an_assertion_is_good_once(made: World, tmp_path: Path) -> None:
    """RFC 7523: the same assertion twice is a replay."""
    task = made.open_task("robot")["task"]
    form = {
        "grant_type": "client_credentials",
        "client_assertion": made.assertion(lictor_task=task),
        "client_assertion_type": ASSERTION,
    }
    assert made.token(form).status == 200
    assert refused(made.token(form)) == (401, "invalid_client", "unauthenticated")
