"""The control plane over real HTTP: a real gateway process, real secrets, and the log as the witness."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import pytest

from integration import control
from integration.control import Gateway, wish
from lictor.model.record import (
    DecisionMade,
    FindingOpened,
    RequestReceived,
    RequestRefused,
    SignalObserved,
    TaskClosed,
    TaskOpened,
)

OPEN_TO_ALL = {("GET", "/v1/healthz"), ("GET", "/v1/readyz")}
"""The health pair. What else answers without a credential authenticates by itself, or is what OAuth publishes."""
OAUTH = ("/oauth/", "/.well-known/")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = control.make(tmp_path_factory.mktemp("control") / "bundle")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def fresh(tmp_path: Any) -> Iterator[Gateway]:
    made = control.make(tmp_path / "bundle")
    made.start()
    yield made
    made.stop()


def opened(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    answer = gateway.call("POST", "/v1/tasks", wish(**changes))
    assert answer.status == 201, answer.data
    return dict(answer.body)


# -- opening is decided and recorded -----------------------------------------------------------------------------------------


def test_an_opening_is_request_decision_and_task_in_one_piece(gateway: Gateway) -> None:
    """Three records side by side; the decision cites the permit, and the task names its opener."""
    task = opened(gateway)["task"]
    records = gateway.records()
    at = next(i for i, one in enumerate(records) if isinstance(one, TaskOpened) and one.task.id == task)
    asked, made, born = records[at - 2 : at + 1]
    assert isinstance(asked, RequestReceived)
    assert (asked.kind.value, asked.server, asked.name, asked.task) == ("task", "", "support", task)
    assert isinstance(made, DecisionMade)
    assert (made.outcome, made.policies) == ("allow", ("open/desk",))
    assert born.task.opener == born.opened_by == "application:desk"


@pytest.mark.parametrize(
    ("changes", "who", "reason"),
    [
        ({"purpose": "research"}, "desk", "not_permitted"),
        ({"purpose": "audit"}, "desk", "needs_approval"),
        ({"purpose": "cooking"}, "desk", "unknown_task"),
        ({"agent": "nobody"}, "desk", "unknown_agent"),
        ({"agent": "retired"}, "desk", "agent_review_overdue"),
        ({"human": "os:bob", "calls": 1001}, "bob", "not_permitted"),
    ],
)
def test_a_refused_opening_is_recorded_and_leaves_no_task(
    gateway: Gateway, changes: dict[str, Any], who: str, reason: str
) -> None:
    """403 with the reason; request and decision are in the log, a task and a payload without one are not."""
    answer = gateway.call("POST", "/v1/tasks", wish(**changes), who=who)
    assert (answer.status, answer.reason) == (403, reason)
    records = gateway.records()
    asked, made = records[-2:]
    assert isinstance(asked, RequestReceived)
    assert isinstance(made, DecisionMade)
    assert made.reason == reason
    assert not any(isinstance(one, TaskOpened) and one.task.id == asked.task for one in records)


def test_a_person_opens_in_their_own_name_only(gateway: Gateway) -> None:
    """Whoever is asked in a hold is the person behind the task: nobody makes somebody else that."""
    answer = gateway.call("POST", "/v1/tasks", wish(human="os:ann"), who="bob")
    assert (answer.status, answer.reason) == (403, "forbidden")
    assert gateway.call("POST", "/v1/tasks", wish(human="os:bob"), who="bob").status == 201


def test_a_restriction_in_force_refuses(fresh: Gateway) -> None:
    """An agent that is suspended gets no new task, and does when a person has lifted it."""
    lay = [sys.executable, "-m", "lictor", "contain"]
    done = subprocess.run(
        [*lay, "add", "agent:helper", "suspended", "--why", "odd", "--bundle", str(fresh.folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:  # the words of the command are not what is tested here
        pytest.fail(done.stderr)
    answer = fresh.call("POST", "/v1/tasks", wish())
    assert (answer.status, answer.reason) == (403, "contained")
    assert fresh.call("POST", "/v1/tasks", wish(agent="clerk")).status == 201


def test_every_opening_replays_and_the_log_verifies(fresh: Gateway) -> None:
    """Allowed and refused openings are decided again from the log, bit for bit; the sealed facts of both are there."""
    opened(fresh)
    for changes in ({"purpose": "research"}, {"purpose": "audit"}, {"agent": "nobody"}):
        assert fresh.call("POST", "/v1/tasks", wish(**changes)).status == 403
    fresh.stop()
    for words in (("replay",), ("log", "verify")):
        done = subprocess.run(
            [sys.executable, "-m", "lictor", *words, "--bundle", str(fresh.folder), "--json"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        if words == ("replay",):
            told = json.loads(done.stdout)
            assert (told["decisions"], told["identical"], told["faults"]) == (4, 4, [])


# -- once --------------------------------------------------------------------------------------------------------------------


def test_a_key_opens_one_task(gateway: Gateway) -> None:
    """Same key, same body: the same task, without its token. Same key, another body: 409. Another opener's key is another key."""
    key = {"Idempotency-Key": "one"}
    first = gateway.call("POST", "/v1/tasks", wish(), headers=key)
    again = gateway.call("POST", "/v1/tasks", wish(), headers=key)
    assert (first.status, again.status) == (201, 200)
    assert again.body["task"] == first.body["task"]
    assert again.body["repeated"] is True
    assert "token" in first.body
    assert "token" not in again.body
    other = gateway.call("POST", "/v1/tasks", wish(text="something else"), headers=key)
    assert (other.status, other.reason) == (409, "key_reused")
    theirs = gateway.call("POST", "/v1/tasks", wish(text="something else"), headers=key, who="other")
    assert theirs.status == 201


def test_64_at_once_open_one_task(fresh: Gateway) -> None:
    """Sixty-four posts with one key, at two processes on one store: one task, one token, one decision."""
    second = fresh.start()
    key = {"Idempotency-Key": "the-same"}

    def post(number: int) -> control.Answer:
        port = second if number % 2 else fresh.ports[0]
        return fresh.call("POST", "/v1/tasks", wish(), headers=key, port=port)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(post, range(64)))
    assert Counter(answer.status for answer in answers) == {201: 1, 200: 63}
    assert len({answer.body["task"] for answer in answers}) == 1
    assert sum("token" in answer.body for answer in answers) == 1
    records = fresh.records()
    assert sum(isinstance(one, TaskOpened) for one in records) == 1
    assert sum(isinstance(one, DecisionMade) for one in records) == 1


def test_no_task_twice_though_the_process_dies(fresh: Gateway) -> None:
    """Posts under way when the process is killed, and repeated after: every key has one task, and none that was told is lost."""
    told: dict[str, str] = {}
    stop = threading.Event()

    def post(number: int) -> None:
        for turn in range(1_000):
            if stop.is_set():
                return
            key = f"{number}-{turn}"
            try:
                answer = fresh.call("POST", "/v1/tasks", wish(text=key), headers={"Idempotency-Key": key}, timeout=5)
            except (OSError, HTTPException):  # no answer, or half of one
                told.setdefault(key, "")
                return
            told[key] = answer.body["task"]

    threads = [threading.Thread(target=post, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.7)
    fresh.kill()
    stop.set()
    for thread in threads:
        thread.join()
    fresh.restart()
    assert sum(not task for task in told.values()) > 0, "nothing was under way: the kill came too late"
    for key, task in told.items():
        again = fresh.call("POST", "/v1/tasks", wish(text=key), headers={"Idempotency-Key": key})
        assert again.body["task"] == (task or again.body["task"])
        assert again.status == 200 if task else again.status in {200, 201}
    keys = Counter(one.key for one in fresh.records() if isinstance(one, TaskOpened))
    assert len(keys) == len(told)
    assert set(keys.values()) == {1}


# -- whose it is -------------------------------------------------------------------------------------------------------------


def test_somebody_elses_task_is_not_there(gateway: Gateway) -> None:
    """The answer to another's task is, byte for byte, the answer to one that never was (ISOL-06)."""
    task = opened(gateway)["task"]
    paths = {"GET": "", "POST": "/close"}
    for who in ("other", "bob"):
        for method, more in paths.items():
            theirs = gateway.call(method, f"/v1/tasks/{task}{more}", who=who)
            absent = gateway.call(method, f"/v1/tasks/task_AAAAAAAAAAAAAAAAAAAAAA{more}", who=who)
            assert theirs.status == absent.status == 404
            assert theirs.data == absent.data
        assert task not in gateway.call("GET", "/v1/tasks?limit=200", who=who).data.decode()
    assert gateway.call("GET", f"/v1/tasks/{task}").status == 200
    assert gateway.call("GET", f"/v1/tasks/{task}", who="ann").status == 200, "an operator sees it"


def test_a_person_sees_what_runs_in_their_name(gateway: Gateway) -> None:
    """And can end it, whoever opened it."""
    task = opened(gateway, human="os:bob")["task"]
    assert gateway.call("POST", f"/v1/tasks/{task}/close", who="bob").body["state"] == "closed"
    assert gateway.call("POST", f"/v1/tasks/{task}/close", who="bob").reason == "task_closed"
    closed = [one for one in gateway.records() if isinstance(one, TaskClosed) and one.task == task]
    assert [one.by for one in closed] == ["person:os:bob"]


def test_the_whole_story(gateway: Gateway) -> None:
    """State, budgets, contract, children and the decisions in order, a page at a time."""
    clauses = [{"action": "feature:stub/logging"}]
    task = opened(gateway, contract={"clauses": clauses}, value={"EUR": 500})["task"]
    child = gateway.call(
        "POST", f"/v1/tasks/{task}/delegate", {"agent": "clerk", "calls": 3, "contract": {"clauses": clauses}}
    )
    assert child.status == 201, child.data
    told = gateway.call("GET", f"/v1/tasks/{task}").body
    assert told["task"]["value_budget"] == {"EUR": 500}
    assert told["task"]["calls_used"] == 3, "carved for the child"
    assert told["task"]["contract"]["source"] == "application"
    assert told["children"] == [child.body["task"]]
    assert [step["action"] for step in told["steps"]] == ["task:open support"]
    assert gateway.call("GET", f"/v1/tasks/{child.body['task']}").body["task"]["parents"] == [task]
    assert gateway.call("GET", f"/v1/tasks/{child.body['task']}", who="other").status == 404


def test_a_contract_is_bound_once_and_confirmed_by_its_person(gateway: Gateway) -> None:
    """Bound by the application, confirmed by the person it is for; nobody else, and not twice."""
    task = opened(gateway, human="os:bob")["task"]
    path, bind = f"/v1/tasks/{task}/contract", {"bind": {"clauses": [{"action": "feature:stub/logging"}]}}
    assert gateway.call("POST", path, bind).status == 200
    assert gateway.call("POST", path, bind).status == 409
    assert gateway.call("POST", path, {"confirm": True}).reason == "not_an_approver"
    assert gateway.call("POST", path, {"confirm": True}, who="bob").body["contract"]["confirmed_by"] == "os:bob"
    assert gateway.call("POST", path, {}, who="bob").status == 409
    unknown = {"bind": {"clauses": [{"action": "bank/transfer"}]}}
    assert gateway.call("POST", f"/v1/tasks/{opened(gateway)['task']}/contract", unknown).status == 409


# -- the door ----------------------------------------------------------------------------------------------------------------


def rows(gateway: Gateway) -> list[tuple[str, str]]:
    """Every row of the running table: from the code that makes it, not from what it says of itself."""
    script = (
        "import asyncio, json, sys\n"
        "from pathlib import Path\n"
        "from lictor.app import Runtime, open_house, servers_of\n"
        "from lictor.app.web import control_plane, http_app\n"
        "async def main():\n"
        "    house = await open_house(Path(sys.argv[1]))\n"
        "    runtime = Runtime(house, servers_of(house.settings), prefixed=True)\n"
        "    http_app(runtime)\n"
        "    app = control_plane(runtime)\n"
        "    print(json.dumps([[m, r.path] for r in app.routes for m in r.app._methods]))\n"
        "    house.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(gateway.folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [(method, path) for method, path in json.loads(done.stdout.splitlines()[-1])]


def test_no_route_answers_without_a_credential(gateway: Gateway) -> None:
    """Every row of the table, with none, with nonsense, and with a cookie: 401, but for the health pair (ADMN-01, OAUT-18)."""
    found = rows(gateway)
    assert {("POST", "/v1/tasks"), ("GET", "/v1/openapi.json")} <= set(found)
    for method, path in found:
        if path.startswith(OAUTH):
            continue
        filled = path.replace("{", "").replace("}", "")
        for sent in (
            {},
            {"Authorization": "Bearer nonsense"},
            {"Authorization": "Basic YTpi"},
            {"Cookie": f"lictor_signin={gateway.secrets['ann']}"},
        ):
            answer = gateway.call(method, filled, who=None, headers=dict(sent), raw=b"{}" if method == "POST" else None)
            assert answer.status == (200 if (method, path) in OPEN_TO_ALL else 401), (method, path, sent)
            if answer.status == 401:
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v1/nothing", "/v1/tasks/", "/v1/tasks/x/y/z", "/v1/sys/seal", "/v1/../mcp"]
)
def test_what_is_not_there_says_so_to_the_known_only(gateway: Gateway, path: str) -> None:
    """An unknown path is 401 to a stranger and 404 to a caller: nobody maps us from outside (ADMN-02)."""
    assert gateway.call("GET", path, who=None).status == 401
    assert gateway.call("GET", path).status == 404


def test_an_agent_is_refused_and_reported(fresh: Gateway) -> None:
    """An agent's token at the control plane: 403, a signal and a finding; once a minute is enough (ADMN-05)."""
    task = opened(fresh)
    for _ in range(5):
        answer = fresh.call("POST", "/v1/tasks", wish(), who=task["token"])
        assert (answer.status, answer.reason) == (403, "forbidden")
    records = fresh.records()
    signals = [one.signal for one in records if isinstance(one, SignalObserved)]
    assert [(one.kind, one.task, one.score) for one in signals] == [("control_plane", task["task"], 1_000)]
    assert [one.task for one in records if isinstance(one, FindingOpened)] == [task["task"]]
    refused = [one for one in records if isinstance(one, RequestRefused)]
    assert [(one.task, one.where) for one in refused] == [(task["task"], "POST /v1/tasks by helper")]
    assert sum(isinstance(one, TaskOpened) for one in records) == 1


def test_a_flood_without_credentials_locks_nobody_out(fresh: Gateway) -> None:
    """Strangers are told to come back later; whoever has a credential never is (ADMN-02)."""
    statuses = Counter(fresh.call("GET", "/v1/tasks", who="guess").status for _ in range(200))
    assert set(statuses) == {401, 429}
    assert fresh.call("GET", "/v1/tasks", who="guess").headers["retry-after"]
    assert fresh.call("GET", "/v1/tasks").status == 200
    assert fresh.call("POST", "/v1/tasks", wish()).status == 201


def test_an_application_past_its_review_opens_nothing(gateway: Gateway) -> None:
    """And is not even enrolled."""
    done = subprocess.run(
        [sys.executable, "-m", "lictor", "application", "enrol", "old", "--bundle", str(gateway.folder)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5
    assert "past its review date" in done.stderr


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"[]", 422, "invalid_arguments"),
        (b'{"agent":"helper","agent":"clerk"}', 400, "duplicate_key"),
        (b'{"agent":"helper"}{}', 400, "trailing_data"),
        (b'{"agent":"\xff"}', 400, "not_utf8"),
        (b'{"agent":"\\ud800"}', 400, "invalid_unicode"),
        (b'{"ttl_s":1e999}', 400, "number_out_of_range"),
        (b'{"ttl_s":99999999999999999999}', 400, "unsafe_integer"),
        (b"[" * 100 + b"]" * 100, 400, "too_deep"),
        (json.dumps(wish(admin=True)).encode(), 422, "invalid_arguments"),
        (json.dumps(wish(calls="5")).encode(), 422, "invalid_arguments"),
        (json.dumps(wish(calls=0)).encode(), 422, "invalid_arguments"),
        (json.dumps(wish(ttl_s=10**7)).encode(), 422, "invalid_arguments"),
        (json.dumps(wish(human="carol")).encode(), 422, "invalid_arguments"),
        (json.dumps(wish(text="x" * 2_000_000)).encode(), 413, "too_large"),
    ],
)
def test_the_body_is_strict(gateway: Gateway, raw: bytes, status: int, reason: str) -> None:
    """What two readers could read differently, or nobody knows, is refused with its reason."""
    answer = gateway.call("POST", "/v1/tasks", raw=raw)
    assert (answer.status, answer.reason) == (status, reason)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1/health?x="}, 400),
        ({"Host": ""}, 400),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Idempotency-Key": "a b"}, 422),
        ({"Idempotency-Key": "x" * 201}, 422),
    ],
)
def test_the_head_is_strict(gateway: Gateway, headers: dict[str, str], status: int) -> None:
    """Rebinding, other sites' pages, forms and odd keys are refused before anything is decided."""
    before = len(gateway.records())
    assert gateway.call("POST", "/v1/tasks", wish(), headers=headers).status == status
    assert len(gateway.records()) == before


def test_what_a_host_says_never_chooses_the_route(gateway: Gateway) -> None:
    """A path smuggled in the host makes no stranger of a route's rule (OAUT-12, CVE-2026-48710)."""
    for host in ("127.0.0.1/v1/healthz?x=", "127.0.0.1\\@v1/healthz", "127.0.0.1#/v1/healthz"):
        answer = gateway.call("POST", "/v1/tasks", wish(), who=None, headers={"Host": host})
        assert (answer.status, answer.reason) == (400, "bad_host")


def test_headers_keep_answers_to_whom_they_are_for(gateway: Gateway) -> None:
    """Never cached, never sniffed, never framed, and no CORS for anybody."""
    for answer in (
        gateway.call("GET", "/v1/tasks"),
        gateway.call("GET", "/v1/tasks", who=None),
        gateway.call("OPTIONS", "/v1/tasks", headers={"Access-Control-Request-Method": "POST"}),
    ):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "query", ["x=1", "limit=0", "limit=1&limit=2", "limit=ten", "state=null", "limit=1.5", "=", "%"]
)
def test_a_query_is_strict(gateway: Gateway, query: str) -> None:
    """Unknown, doubled and mistyped parameters are refused."""
    assert gateway.call("GET", f"/v1/tasks?{query}").status == 422
