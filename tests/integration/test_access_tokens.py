"""Who may ask ahead: tokens of the token service, bound to a key or not, at a real gateway."""

import json
from collections.abc import Iterator

import pytest

from integration.access_world import evaluation
from integration.token_world import Answer, Key, World, world

PATH = "/access/v1/evaluation"


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


def asked(made: World, token: str, scheme: str, **headers: str) -> Answer:
    """One evaluation in the name of `helper`."""
    body = json.dumps({**evaluation(), "subject": {"type": "agent", "id": "helper"}}).encode()
    sent = {"Content-Type": "application/json", "Authorization": f"{scheme} {token}", **headers}
    return made.http("POST", PATH, body, sent)


def test_a_token_of_the_service_asks(made: World, task: str) -> None:
    """A bearer as it is; a workload's own token, which names no task, is worth nothing."""
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    assert asked(made, token, "Bearer").status == 200
    turned = asked(made, made.workload(), "Bearer")
    assert turned.status == 401
    assert 'error="invalid_token"' in turned.all("www-authenticate")[0]


def test_a_bound_token_needs_its_proof_for_this_url(made: World, task: str) -> None:
    """Once, by its own key, for this address and method: a proof for the MCP endpoint opens nothing here."""
    key, url = Key(), f"{made.served.base}{PATH}"
    answer = made.exchange(made.workload(), {"task": task}, {"DPoP": key.proof("POST", made.token_url)})
    token = answer.json["access_token"]
    good = key.proof("POST", url, token)
    assert asked(made, token, "DPoP", DPoP=good).status == 200
    for scheme, headers in (
        ("DPoP", {"DPoP": good}),
        ("DPoP", {}),
        ("Bearer", {}),
        ("Bearer", {"DPoP": key.proof("POST", url, token)}),
        ("DPoP", {"DPoP": key.proof("POST", made.audience, token)}),
        ("DPoP", {"DPoP": key.proof("GET", url, token)}),
        ("DPoP", {"DPoP": key.proof("POST", url)}),
        ("DPoP", {"DPoP": Key().proof("POST", url, token)}),
    ):
        turned = asked(made, token, scheme, **headers)
        assert turned.status == 401, (scheme, headers)
        (challenge,) = turned.all("www-authenticate")
        assert challenge.startswith('DPoP realm="lictor", error="invalid_dpop_proof", algs=')


def test_a_revoked_token_asks_nothing(made: World, task: str) -> None:
    """As at the MCP endpoint."""
    token = made.exchange(made.workload(), {"task": task}).json["access_token"]
    assert asked(made, token, "Bearer").status == 200
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert made.http("POST", "/oauth/revoke", f"token={token}".encode(), form).status == 200
    assert asked(made, token, "Bearer").status == 401
