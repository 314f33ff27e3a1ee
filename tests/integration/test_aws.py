"""AWS leases against moto's STS and IAM: what is asked for, what comes back, what is attached to end it."""

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs

import botocore.session
import pytest

from lictor.credentials.aws import Aws, AwsOptions
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.ports import Issued
from servers.hop import Hop, hop
from servers.lending import Lender, Wall, fresh_lease, vault
from servers.postgres import free_port

ROLE = "arn:aws:iam::123456789012:role/agents"
POLICY = {
    "Statement": [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/{folder}/*"},
    ]
}


@pytest.fixture(scope="module")
def moto() -> Iterator[int]:
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 40
        while True:
            assert process.poll() is None, "moto did not start: make test installs it"
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                    f"http://127.0.0.1:{port}/moto-api/", timeout=5
                ).close()
                break
            time.sleep(0.1)
        client(port, "iam").create_role(RoleName="agents", AssumeRolePolicyDocument="{}")
        yield port
    finally:
        process.kill()
        process.wait(10)


def client(port: int, service: str, issued: Issued | None = None) -> Any:
    """A client of its own: as the administrator, or with what was issued."""
    said = {name: value.reveal() for name, value in issued.secret.items()} if issued else {}
    return botocore.session.Session().create_client(
        service,
        region_name="us-east-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=said.get("access_key_id", "AKIATESTS"),
        aws_secret_access_key=said.get("secret_access_key", "tests"),
        aws_session_token=said.get("session_token"),
    )


def lender(port: int, clock: Wall | None = None, **changed: Any) -> Lender:
    url = f"http://127.0.0.1:{port}"
    said = {"role": ROLE, "policy": POLICY, "access_key_id": "AKIALICTOR", "secret_key_secret": "aws"}
    options = {**said, "sts_url": url, "iam_url": url, **changed}
    provider = Aws(AwsOptions.read(options), vault(aws="the-secret-key"), clock or Wall())
    return Lender("aws", options, provider=provider)


@pytest.fixture
async def way(moto: int) -> AsyncIterator[Hop]:
    async with hop(moto) as through:
        yield through


def asked(way: Hop) -> dict[str, str]:
    """The form of the last request."""
    body = way.requests[-1].partition(b"\r\n\r\n")[2]
    return {name: values[0] for name, values in parse_qs(body.decode()).items()}


async def fails(work: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await work
    return caught.value


async def test_a_session_is_narrowed_named_and_tagged(moto: int, way: Hop) -> None:
    """The session's policy has the grant's facts as values and forbids going on to other roles; it works, for its time."""
    lent, lease = lender(way.port), fresh_lease()
    issued = await lent.issue(lease, ttl_s=1_200, folder="lamps/2026")
    sent = asked(way)
    assert (sent["Action"], sent["RoleArn"], sent["DurationSeconds"]) == ("AssumeRole", ROLE, "1200")
    assert sent["RoleSessionName"] == f"lictor-{lease}"
    policy = json.loads(sent["Policy"])
    assert policy["Statement"][0]["Resource"] == "arn:aws:s3:::shop/lamps/2026/*"
    assert policy["Statement"][1]["Effect"] == "Deny"
    assert policy["Statement"][1]["Action"] == ["sts:AssumeRole*", "sts:GetFederationToken"]
    tags = {sent[f"Tags.member.{n}.Key"]: sent[f"Tags.member.{n}.Value"] for n in range(1, 5)}
    assert tags == {
        "lictor:agent": "worker",
        "lictor:task": "task_1",
        "lictor:human": "os:alice",
        "lictor:purpose": "support",
    }
    assert re.fullmatch(r"os-alice\.[0-9a-f]{16}", sent["SourceIdentity"])
    assert sorted(issued.secret) == ["access_key_id", "secret_access_key", "session_token"]
    assert abs(issued.expires_at_ms - Wall().now_ms() - 1_200_000) < 5_000
    assert issued.handle == f"lictor-{lease}@{issued.expires_at_ms}"
    who = client(moto, "sts", issued).get_caller_identity()
    assert who["Arn"].endswith(f"assumed-role/agents/lictor-{lease}")


async def test_the_shortest_session_is_a_quarter_of_an_hour(way: Hop) -> None:
    """AWS makes none shorter; the lease says how long it really lives."""
    issued = await lender(way.port, tags=False, source_identity=False).issue(fresh_lease(), ttl_s=60, folder="a")
    assert asked(way)["DurationSeconds"] == "900"
    assert issued.expires_at_ms - Wall().now_ms() > 800_000
    assert not [name for name in asked(way) if name.startswith(("Tags", "SourceIdentity"))]


@pytest.mark.parametrize(
    "folder", ["*", "a/*", "a?", "${aws:username}", "a:b", "../b", "a//b", "", 'a","Resource":"*', "a b", "ä"]
)
async def test_a_fact_cannot_mean_more_than_itself(way: Hop, folder: str) -> None:
    """Patterns, variables, other fields of an ARN, quotes: refused before anything is asked."""
    error = await fails(lender(way.port).issue(fresh_lease(), folder=folder))
    assert (error.reason, error.effect_possible, way.requests) == (Reason.UNKNOWN_VALUE, False, [])
    assert (await fails(lender(way.port).issue(fresh_lease()))).reason is Reason.UNKNOWN_VALUE


async def test_revoking_attaches_a_deny_for_this_session_alone(moto: int) -> None:
    """Once however often it is asked for; without a handle too; taken away when the session has ended by itself."""
    wall, iam = Wall(), client(moto, "iam")
    lent, lease, lost = lender(moto, wall, revoke="deny"), fresh_lease(), fresh_lease()
    issued = await lent.issue(lease, folder="a")
    for _ in range(2):
        await lent.revoke(lease, issued)
    name = f"lictor-deny-{issued.expires_at_ms}-lictor-{lease}"
    assert iam.list_role_policies(RoleName="agents")["PolicyNames"] == [name]
    (statement,) = iam.get_role_policy(RoleName="agents", PolicyName=name)["PolicyDocument"]["Statement"]
    assert statement == {
        "Effect": "Deny",
        "Action": "*",
        "Resource": "*",
        "Condition": {"StringLike": {"aws:userid": f"*:lictor-{lease}"}},
    }
    await lent.revoke(lost)
    assert len(iam.list_role_policies(RoleName="agents")["PolicyNames"]) == 2
    wall.ahead_ms = 2 * 3_600_000
    await lent.revoke(lost)
    (left,) = iam.list_role_policies(RoleName="agents")["PolicyNames"]
    assert left.endswith(lost)
    iam.delete_role_policy(RoleName="agents", PolicyName=left)


async def test_what_cannot_be_taken_back_stays_visible(moto: int) -> None:
    """Without `deny` a revocation is never called done, and says what would."""
    lent, lease = lender(moto), fresh_lease()
    error = await fails(lent.revoke(lease, await lent.issue(lease, folder="a")))
    assert error.effect_possible
    assert "deny" in error.remedy


async def test_a_revocation_that_fails_is_told(moto: int) -> None:
    """No such role, no server: not confirmed."""
    gone = lender(moto, revoke="deny", role="arn:aws:iam::123456789012:role/nobody")
    error = await fails(gone.revoke(fresh_lease()))
    assert ("NoSuchEntity" in error.message, error.effect_possible) == (True, True)
    error = await fails(lender(free_port(), revoke="deny").revoke(fresh_lease()))
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_DOWN, True)


async def test_an_answer_that_is_lost_or_wrong(way: Hop) -> None:
    """Cut off, late, 500, not what was asked: an effect is possible. No server, a refusal: none."""
    lent = lender(way.port, deadline_s=1)
    for spoil in (
        lambda _, reply: reply[: len(reply) // 2],
        lambda _, reply: None,
        lambda _, reply: b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        lambda _, reply: reply.replace(b"/lictor-", b"/another-"),
        lambda _, reply: b"garbage",
    ):
        way.spoil = spoil
        assert (await fails(lent.issue(fresh_lease(), folder="a"))).effect_possible
    said = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>x</Message></Error></ErrorResponse>"
    way.spoil = lambda _, reply: b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said)
    assert not (await fails(lent.issue(fresh_lease(), folder="a"))).effect_possible
    assert not (await fails(lender(free_port()).issue(fresh_lease(), folder="a"))).effect_possible
    await asyncio.sleep(0.1)


async def test_the_environment_bends_nothing(moto: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles, proxies, endpoints and other people's keys in the environment count for nothing."""
    said = {"AWS_PROFILE": "nobody", "HTTP_PROXY": "http://192.0.2.1:1", "HTTPS_PROXY": "http://192.0.2.1:1"}
    more = {"AWS_ENDPOINT_URL_STS": "http://192.0.2.1:1", "AWS_ACCESS_KEY_ID": "x", "AWS_CONFIG_FILE": "/nowhere"}
    for name, value in {**said, **more, "NO_PROXY": ""}.items():
        monkeypatch.setenv(name, value)
    await lender(moto).issue(fresh_lease(), folder="a")


def test_options_that_bind_nothing_are_refused(moto: int) -> None:
    """No statement, IAM's own variables, facts as keys, half a key, a key and the machine's own, plain HTTP elsewhere."""
    for changed in (
        {"policy": {}},
        {"policy": {"Statement": [{"Resource": "${aws:username}"}]}},
        {"policy": {"Statement": [{"{action}": "x"}]}},
        {"policy": {"Statement": [{"Resource": "{Folder}"}]}},
        {"role": "arn:aws:iam::123456789012:user/alice"},
        {"access_key_id": ""},
        {"ambient": True},
        {"sts_url": "http://sts.test"},
        {"secret_access_key": "x"},
        {"ca_file": "/nowhere"},
    ):
        with pytest.raises(OperatorError) as caught:
            lender(moto, **changed)
        assert caught.value.reason is Reason.CONFIG_REFUSED
