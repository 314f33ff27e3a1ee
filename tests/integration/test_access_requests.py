"""Agents ask ahead over the AuthZEN routes: what is told, what people are asked, and what a hostile agent does not get."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from integration.access_world import Desk, desk, evaluation, submission
from lictor.api.access_told import status_of_hold
from lictor.model.approval import HoldStatus
from lictor.model.containment import Scope
from lictor.model.ids import AgentId, HumanId
from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    ExecutionStarted,
    HoldOpened,
    RequestReceived,
    RequestRefused,
)
from lictor.model.task import Budget
from lictor.policy.catalogue import pin_of
from servers.asking import TOOL

ASKING = Path(__file__).parents[1] / "servers" / "asking.py"
EVALUATION, REQUEST = "/access/v1/evaluation", "/access/v1/request"


pytestmark = [pytest.mark.xdist_group("access"), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """Every test opens tasks of its own."""
    async with desk(tmp_path_factory.mktemp("access")) as found:
        yield found


# -- may I ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["stub__read", "stub/read"])
async def test_what_policy_allows_is_true_and_starts_nothing(house: Desk, name: str) -> None:
    """By either name; nothing is granted, started or held, and nothing is on record: the call itself will be."""
    _, token = await house.task()
    before = len(house.records())
    assert await house.evaluate(token, tool=name) == {"decision": True, "context": {}}
    assert len(house.records()) == before


async def test_what_needs_people_is_false_and_asks_them(house: Desk) -> None:
    """A requestable denial, bound to the hold of this action; asking twice is one hold, and both are on record."""
    _, token = await house.task()
    before = len(house.records())
    answer = await house.evaluate(token)
    context = answer["context"]
    assert (answer["decision"], context["reason"]) == (False, "needs_approval")
    assert context["access_request"]["endpoint"] == f"http://127.0.0.1:8700{REQUEST}"
    assert context["access_request"]["expires_at"] > context["evaluated_at"]
    again = await house.evaluate(token, tool="stub/write")
    assert again["context"]["evaluation_id"] == context["evaluation_id"]
    kinds = [type(record) for record in house.records()[before:]]
    assert (kinds.count(HoldOpened), kinds.count(RequestReceived), kinds.count(DecisionMade)) == (1, 2, 2)


async def test_a_denial_tells_its_reason_and_nothing_else(house: Desk) -> None:
    """No policy, no group, no person: a code."""
    _, token = await house.task()
    before = len(house.records())
    assert await house.evaluate(token, tool="stub__wipe") == {
        "decision": False,
        "context": {"reason": "not_permitted"},
    }
    assert (await house.evaluate(token, arguments={"paht": "a"}))["context"] == {"reason": "unknown_argument"}
    assert sum(isinstance(record, DecisionMade) for record in house.records()[before:]) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject": {"type": "identity", "id": "clerk"}}, "forbidden"),
        ({"context": {"arguments": {"path": "a.txt"}, "agent": "clerk"}}, "forbidden"),
        ({"action": {"name": "prompts/get"}}, "unknown_method"),
        ({"action": {"name": "tools/list"}}, "unknown_method"),
        ({"resource": {"type": "document", "id": "stub__read"}}, "unknown_method"),
        ({"resource": {"type": "tool", "id": "nowhere__read"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "stub__"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "stub/"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "read"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "Stub__read"}}, "unknown_tool"),
        ({"resource": {"type": "tool", "id": "stub__unheard"}}, "unknown_tool"),
    ],
)
async def test_what_is_not_this_tasks_to_ask_is_denied_on_record(
    house: Desk, change: dict[str, Any], reason: str
) -> None:
    """Another subject, another method, a name that nobody has: denied, never guessed."""
    _, token = await house.task()
    before = len(house.records())
    asked = {**evaluation("stub__read"), **change}
    response = await house.call(token, "POST", EVALUATION, asked)
    assert (response.status, response.message()) == (200, {"decision": False, "context": {"reason": reason}})
    assert len(house.records()) > before


async def test_the_person_and_the_agent_are_both_the_subject(house: Desk) -> None:
    """COAZ takes either; what a caller says of itself beside that counts for nothing."""
    _, token = await house.task()
    for subject in ("coder", "os:me"):
        asked = evaluation("stub__read", agent="coder", time="2026-11-21T00:00:00Z", approved=True)
        asked["subject"] = {"type": "user", "id": subject, "properties": {"role": "admin"}}
        assert (await house.call(token, "POST", EVALUATION, asked)).message()["decision"] is True
    asked = evaluation("stub__wipe", approved=True, posture="calm")
    asked["resource"]["properties"] = {"effect": "read"}
    assert (await house.call(token, "POST", EVALUATION, asked)).message()["decision"] is False


# -- what people say -------------------------------------------------------------------------------------------------------


async def test_the_whole_way(house: Desk) -> None:
    """Denied, submitted, pending; approved by a person; evaluated again with the approval; and still nothing has run."""
    _, token = await house.task()
    before = len(house.records())
    denied = await house.evaluate(token)
    response = await house.call(token, "POST", REQUEST, submission(denied), headers={"Idempotency-Key": "k1"})
    task = response.message()["task"]
    assert (response.status, task["status"], response.header("location")) == (202, "pending", task["status_endpoint"])
    assert response.header("retry-after") == "2"
    path = task["status_endpoint"].removeprefix("http://127.0.0.1:8700")
    assert (await house.call(token, "GET", path)).message() == {"task": task}
    assert task["links"]["review"] == f"http://localhost:8700/holds/{task['id']}"

    await house.approve(house.hold(denied))
    told = (await house.call(token, "GET", path)).message()
    assert (told["task"]["status"], told["result"]["mode"]) == ("approved", "reevaluate")
    approval = told["result"]["approval"]
    assert approval.keys() == {"id", "approved_at", "approved_until", "state"}
    answer = await house.evaluate(token, approval=approval)
    assert answer == {"decision": True, "context": {"approval": approval}}
    assert (await house.evaluate(token, approval={"id": approval["id"]}))["decision"] is True
    submitted = await house.call(token, "POST", REQUEST, submission(denied), headers={"Idempotency-Key": "k1"})
    assert (submitted.status, submitted.message()["task"]["id"]) == (201, task["id"])
    assert not any(isinstance(record, ExecutionStarted) for record in house.records()[before:])
    assert sum(isinstance(record, ApprovalGiven) for record in house.records()[before:]) == 1


async def test_an_approval_is_for_its_own_action_only(house: Desk) -> None:
    """Other arguments, another tool, another task of the same agent, a changed member: denied alike, nobody asked again."""
    _, token = await house.task()
    before = len(house.records())
    _, other = await house.task()
    denied = await house.evaluate(token)
    await house.approve(house.hold(denied))
    path = f"{REQUEST}/{denied['context']['evaluation_id']}"
    approval = (await house.call(token, "GET", path)).message()["result"]["approval"]
    later = {**approval, "approved_until": "2099-01-01T00:00:00Z"}
    refused = {"decision": False, "context": {"reason": "unknown_or_foreign_approval", "next_action": "none"}}
    assert await house.evaluate(token, approval=later) == refused
    assert await house.evaluate(token, approval={**approval, "state": "0" * 64}) == refused
    assert await house.evaluate(token, approval={**approval, "id": "apr_1"}) == refused
    assert await house.evaluate(token, approval=approval, arguments={"path": "b.txt"}) == refused
    assert await house.evaluate(token, approval=approval, tool="stub__wipe") == refused
    assert await house.evaluate(other, approval=approval) == refused
    assert sum(isinstance(record, HoldOpened) for record in house.records()[before:]) == 1


@pytest.mark.parametrize("how", ["denied", "withdrawn"])
async def test_what_people_say_is_told_in_the_profiles_words(house: Desk, how: str) -> None:
    """A no, and a yes taken back."""
    _, token = await house.task()
    denied = await house.evaluate(token)
    hold = house.hold(denied)
    path = f"{REQUEST}/{hold.id}"
    if how == "denied":
        await house.house.answer.deny(hold.id, HumanId("os:me"))
    else:
        await house.approve(hold)
        reference = (await house.call(token, "GET", path)).message()["result"]["approval"]
        await house.house.answer.withdraw(hold.id, HumanId("os:me"))
        assert (await house.evaluate(token, approval=reference))["decision"] is False
    told = (await house.call(token, "GET", path)).message()
    assert (told["task"]["status"], "result" in told) == ("denied" if how == "denied" else "pending", False)
    answer = await house.evaluate(token)
    reason = "approval_denied" if how == "denied" else "needs_approval"
    assert (answer["decision"], answer["context"]["reason"]) == (False, reason)


async def test_what_is_stopped_is_cancelled(tmp_path: Path) -> None:
    """A kill ends the request and denies the next; a process that cannot know the newest state tells nothing at all."""
    async with desk(tmp_path) as house:
        _, token = await house.task()
        denied = await house.evaluate(token)
        await house.house.contain.kill(
            Scope.SERVER, "stub", by="os:ann", why="a test", agents=house.house.policy.current().agents
        )
        path = f"{REQUEST}/{denied['context']['evaluation_id']}"
        assert (await house.call(token, "GET", path)).message()["task"]["status"] == "cancelled"
        assert (await house.evaluate(token, tool="stub__read"))["context"] == {"reason": "contained"}
        house.runtime.guard.confirm(0, house.house.clock.now_ms() + 600_000)
        for method, where, body in (("POST", EVALUATION, evaluation("stub__read")), ("GET", path, None)):
            response = await house.call(token, method, where, body)
            assert (response.status, response.message()["reason"]) == (503, "clock_unsound")


@pytest.mark.parametrize("status", list(HoldStatus))
async def test_a_status_never_says_approved_without_a_persons_yes(house: Desk, status: HoldStatus) -> None:
    """Whatever the hold and whatever the time: only `approved` and `consumed` holds are approved, and these only in time."""
    _, token = await house.task()
    hold = msgspec.structs.replace(house.hold(await house.evaluate(token)), status=status)
    for at_ms in (hold.opened_at_ms, hold.expires_at_ms - 1, hold.expires_at_ms, hold.expires_at_ms + 10**9):
        told = status_of_hold(hold, at_ms)
        assert told != "approved" or status in {HoldStatus.APPROVED, HoldStatus.CONSUMED}
        assert told != "pending" or (status is HoldStatus.PENDING and at_ms < hold.expires_at_ms)


async def test_one_hold_serves_both_ways_in(tmp_path: Path) -> None:
    """Asked here and approved, the call runs at the MCP endpoint, once; then the approval is spent for both."""
    command = json.dumps([sys.executable, "-u", str(ASKING)])
    files = {
        "catalog/shop.toml": f'[tools.ask]\neffect = "write"\npin = "{pin_of(TOOL)}"\n',
        "catalog/shop.definitions.json": json.dumps({"tools": [TOOL]}),
    }
    async with desk(tmp_path, f"[servers.shop]\ncommand = {command}\n", files) as house:
        _, token = await house.task()
        asked: dict[str, Any] = {"tool": "shop/ask", "arguments": {"text": "please"}}
        params = {"name": "shop__ask", "arguments": {"text": "please"}}
        denied = await house.evaluate(token, **asked)
        hold = house.hold(denied)
        assert hold.id in (await house.send(token, "tools/call", params)).body.decode()
        path = f"{REQUEST}/{hold.id}"
        await house.approve(hold)
        reference = (await house.call(token, "GET", path)).message()["result"]["approval"]
        assert (await house.evaluate(token, **asked, approval=reference))["decision"] is True
        ran = (await house.send(token, "tools/call", params)).message()
        assert not ran["result"].get("isError"), ran
        assert sum(isinstance(record, ExecutionStarted) for record in house.records()) == 1
        assert (await house.call(token, "GET", path)).message()["task"]["status"] == "approved"
        spent = await house.evaluate(token, **asked, approval=reference)
        assert spent["context"] == {"reason": "unknown_or_foreign_approval", "next_action": "none"}
        assert sum(isinstance(record, HoldOpened) for record in house.records()) == 1


async def test_a_child_asks_for_itself(house: Desk) -> None:
    """The agent at the top is its subject as well (`sub` of a signed token); its parent's requests are not its own, nor the other way."""
    task, token = await house.task()
    opened = await house.house.delegate(
        task, agent=AgentId("clerk"), ttl_s=60, budget=Budget(calls=10), by="agent:coder"
    )
    for subject in ("coder", "clerk", "os:me"):
        asked = {**evaluation("stub__read"), "subject": {"type": "agent", "id": subject}}
        answer = (await house.call(opened.token, "POST", EVALUATION, asked)).message()
        assert answer == {"decision": True, "context": {}}
    asked = {**evaluation("stub__read"), "subject": {"type": "agent", "id": "clerk"}}
    assert (await house.call(token, "POST", EVALUATION, asked)).message()["decision"] is False
    theirs, ours = await house.evaluate(opened.token), await house.evaluate(token)
    for bearer, answer, status in ((token, theirs, 404), (opened.token, ours, 404), (opened.token, theirs, 200)):
        path = f"{REQUEST}/{answer['context']['evaluation_id']}"
        assert (await house.call(bearer, "GET", path)).status == status


# -- hostile ---------------------------------------------------------------------------------------------------------------


async def test_another_tasks_request_is_not_there(house: Desk) -> None:
    """Same agent, same person, another task: the very answer of an id nobody has (ISOL-06), for each route; on record."""
    _, token = await house.task()
    before = len(house.records())
    _, other = await house.task()
    denied = await house.evaluate(token)
    real = denied["context"]["evaluation_id"]
    answers = [await house.call(other, "GET", f"{REQUEST}/{name}") for name in (real, "hold_" + "x" * 22, "x" * 5_000)]
    assert [one.status for one in answers] == [404, 404, 404]
    assert len({one.body for one in answers}) == 1
    assert answers[0].message()["type"] == "urn:openid:authzen:access-request:error:unknown_task"
    unknown = submission({"context": {**denied["context"], "evaluation_id": "hold_" + "x" * 22}})
    posted = [await house.call(other, "POST", REQUEST, body) for body in (submission(denied), unknown)]
    assert [one.status for one in posted] == [400, 400]
    assert posted[0].body == posted[1].body
    assert posted[0].message()["type"].endswith(":invalid_denial_binding")
    assert sum(isinstance(record, RequestRefused) for record in house.records()[before:]) == 5


@pytest.mark.parametrize(
    "change",
    [
        {"context": {"arguments": {"path": "b.txt"}}},
        {"context": {"arguments": {}}},
        {"resource": {"type": "tool", "id": "stub__wipe"}},
        {"resource": {"type": "tool", "id": "nowhere__write"}},
        {"subject": {"type": "identity", "id": "clerk"}},
        {"action": {"name": "prompts/get"}},
    ],
)
async def test_a_request_for_something_else_is_not_bound(house: Desk, change: dict[str, Any]) -> None:
    """An approval cannot be asked for one thing with the denial of another."""
    _, token = await house.task()
    denied = await house.evaluate(token)
    response = await house.call(token, "POST", REQUEST, submission(denied, **change))
    assert (response.status, response.message()["reason"]) == (400, "unknown_or_foreign_approval")
    assert response.message()["type"].endswith(":invalid_denial_binding")
    assert (await house.call(token, "POST", REQUEST, submission(denied))).status == 202  # control


async def test_a_key_is_for_one_submission(house: Desk) -> None:
    """Used again for another one it is refused; another task may use the same word."""
    _, token = await house.task()
    _, other = await house.task()
    denied = await house.evaluate(token)
    key = {"Idempotency-Key": "same"}
    assert (await house.call(token, "POST", REQUEST, submission(denied), headers=key)).status == 202
    assert (await house.call(token, "POST", REQUEST, submission(denied), headers=key)).status == 202
    changed = await house.call(token, "POST", REQUEST, submission(denied, client={"id": "x"}), headers=key)
    assert (changed.status, changed.message()["type"].rpartition(":")[2]) == (409, "duplicate_request")
    elsewhere = submission(await house.evaluate(other))
    assert (await house.call(other, "POST", REQUEST, elsewhere, headers=key)).status == 202
    bad = await house.call(token, "POST", REQUEST, submission(denied), headers={"Idempotency-Key": "a b"})
    assert bad.status == 400


async def test_a_closed_task_asks_nothing(house: Desk) -> None:
    """Its token is worth nothing, for any of the routes."""
    task, token = await house.task()
    denied = await house.evaluate(token)
    await house.house.tasks.close(task, by="os:me")
    for method, path, body in (
        ("POST", EVALUATION, evaluation("stub__read")),
        ("POST", REQUEST, submission(denied)),
        ("GET", f"{REQUEST}/{denied['context']['evaluation_id']}", None),
    ):
        response = await house.call(token, method, path, body)
        assert (response.status, response.message()["reason"]) == (401, "task_closed")
        assert 'error="invalid_token"' in response.header("www-authenticate")


@pytest.mark.parametrize(
    "token", ["", "lt_" + "x" * 22, "las_" + "x" * 22, "lap_x", "eyJhbGciOiJub25lIn0.e30.", "x" * 20_000]
)
async def test_nobody_else_asks(house: Desk, token: str) -> None:
    """No token, a stranger's, a person's, an application's, an unsigned one."""
    before = len(house.records())
    response = await house.call(token, "POST", EVALUATION, evaluation("stub__read"))
    assert response.status == 401
    assert response.header("www-authenticate").startswith('Bearer realm="lictor"')
    assert len(house.records()) == before


async def test_a_persons_secret_is_no_agents(house: Desk) -> None:
    """Whoever approves does not ask here; whoever asks here does nothing at the control plane."""
    secret = await house.house.answer.enrol(HumanId("os:me"), by="os:me")
    assert (await house.call(secret, "POST", EVALUATION, evaluation("stub__read"))).status == 401
    _, token = await house.task()
    assert (await house.call(token, "GET", "/v1/tasks")).status == 403


MALFORMED = {
    "not json": b"{",
    "empty": b" ",
    "a list": b"[]",
    "a key twice": b'{"subject": {"type": "x", "id": "y"}, "subject": {"type": "x", "id": "coder"}}',
    "no arguments": json.dumps({**evaluation(), "context": {}}).encode(),
    "misspelt": json.dumps({**evaluation(), "context": {"argments": {}}}).encode(),
    "no subject": json.dumps({key: value for key, value in evaluation().items() if key != "subject"}).encode(),
    "a member nobody knows": json.dumps({**evaluation(), "options": {}}).encode(),
    "a wrong type": json.dumps({**evaluation(), "context": {"arguments": []}}).encode(),
    "an empty name": json.dumps({**evaluation(), "action": {"name": ""}}).encode(),
    "an unsafe number": b'{"context": {"arguments": {"path": 9007199254740993}}}',
    "a lone surrogate": b'{"context": {"arguments": {"path": "\\ud800"}}}',
    "not utf-8": b'{"subject": "\xff"}',
    "deep": b'{"context": ' + b'{"a": ' * 100 + b"1" + b"}" * 101,
}


@pytest.mark.parametrize("path", [EVALUATION, REQUEST])
@pytest.mark.parametrize("what", MALFORMED)
async def test_what_cannot_be_read_is_400_and_on_record(house: Desk, path: str, what: str) -> None:
    """Never a decision, never a hold."""
    _, token = await house.task()
    before = len(house.records())
    response = await house.call(token, "POST", path, raw=MALFORMED[what])
    assert (response.status, response.header("content-type")) == (400, "application/problem+json")
    assert [type(record) for record in house.records()[before:]] == [RequestRefused]


async def test_other_media_types_sizes_methods_and_queries(house: Desk) -> None:
    """Each with its status."""
    _, token = await house.task()
    body = evaluation("stub__read")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert (await house.call(token, "POST", EVALUATION, body, headers=form)).status == 415
    assert (await house.call(token, "POST", EVALUATION, body, headers={"Content-Encoding": "gzip"})).status == 415
    large = evaluation("stub__read", {"path": "x" * 1_100_000})
    assert (await house.call(token, "POST", EVALUATION, large)).status == 413
    huge = evaluation("stub__read", {"path": "x" * 5_000_000})
    assert (await house.call(token, "POST", EVALUATION, huge)).status == 413
    assert (await house.call(token, "POST", EVALUATION, body, query="a=1")).status == 422
    assert (await house.call(token, "POST", EVALUATION, body, headers={"Host": "evil.example"})).status == 421
    assert (await house.call(token, "POST", EVALUATION, body, headers={"Origin": "https://evil.example"})).status == 403
    for method, path in (("GET", EVALUATION), ("DELETE", f"{REQUEST}/hold_1"), ("POST", f"{REQUEST}/hold_1")):
        response = await house.call(token, method, path)
        assert (response.status, bool(response.header("allow"))) == (405, True)
    assert (await house.call(token, "POST", "/access/v1/evaluations", body)).status == 404
    assert (await house.call(token, "POST", EVALUATION, body)).message()[
        "decision"
    ] is True  # control: nobody was alarmed


async def test_the_requests_id_comes_back(house: Desk) -> None:
    """With every answer, a refusal too; one that could not be a header is refused."""
    _, token = await house.task()
    for bearer, status in ((token, 200), ("", 401)):
        sent = {"X-Request-ID": "bfe9eb29-ab87"}
        response = await house.call(bearer, "POST", EVALUATION, evaluation("stub__read"), headers=sent)
        assert (response.status, response.header("x-request-id")) == (status, "bfe9eb29-ab87")
    for bad in ("a b", "é", "x" * 201):
        response = await house.call(token, "POST", EVALUATION, evaluation("stub__read"), headers={"X-Request-ID": bad})
        assert (response.status, response.header("x-request-id")) == (400, "")


async def test_people_are_not_worn_out(tmp_path: Path) -> None:
    """The bound of held calls holds here, whoever asks in parallel; then it is to be tried later."""
    async with desk(tmp_path, "[limits]\nholds_per_task_per_minute = 3\n") as house:
        _, token = await house.task()
        asked = [house.evaluate(token, arguments={"path": f"{n}.txt"}) for n in range(8)]
        reasons = [one["context"]["reason"] for one in await asyncio.gather(*asked)]
        assert set(reasons) == {"needs_approval", "approval_rate"}
        assert reasons.count("needs_approval") <= 3
        for n in range(3):
            await house.evaluate(token, arguments={"path": f"later{n}.txt"})
        last = await house.evaluate(token, arguments={"path": "last.txt"})
        assert last["context"] == {"reason": "approval_rate", "next_action": "retry", "retry_after": 60}


async def test_one_task_has_so_many_under_way(tmp_path: Path) -> None:
    """More are 429."""
    async with desk(tmp_path, "[limits]\ninflight_per_task = 2\n") as house:
        _, token = await house.task()
        asked = [house.call(token, "POST", EVALUATION, evaluation(arguments={"path": f"{n}.txt"})) for n in range(6)]
        statuses = sorted(one.status for one in await asyncio.gather(*asked))
        assert statuses[0] == 200
        assert statuses[-1] == 429
        assert (await house.call(token, "POST", EVALUATION, evaluation("stub__read"))).status == 200


async def test_the_metadata_says_what_is_there(house: Desk) -> None:
    """To anybody; each endpoint is one of the table."""
    response = await house.call("", "GET", "/.well-known/authzen-configuration")
    assert (response.status, response.header("content-type")) == (200, "application/json")
    base = "http://127.0.0.1:8700"
    assert response.message() == {
        "policy_decision_point": base,
        "access_evaluation_endpoint": base + EVALUATION,
        "access_request_endpoint": base + REQUEST,
        "capabilities": ["urn:openid:authzen:capability:access-request"],
    }
