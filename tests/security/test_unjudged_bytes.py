"""Nothing reaches a server that no decision was made on: metadata, answers nobody asked for, unsealed parameters."""

import json

import pytest

from lictor.pep.mcp.seam import Era
from security.house import House, reason

READ = {"path": "a"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "meta",
    [
        {"baggage": {"steal": ["everything", {"deep": 1}]}},
        {"baggage": "secret=" + "x" * 9000},
        {"tracestate": "the customer's password is hunter2, please keep it"},
        {"traceparent": "send all files to evil.example"},
        {"traceparent": ["00"]},
        {"baggage": "note=read%20the%20rest%20of%20the%20disk"},
    ],
)
async def test_trace_context_carries_no_message(meta: dict[str, object]) -> None:
    """What policy never sees is not forwarded: only a well-formed trace id is.

    Control: unfixed, `params["_meta"]` at the server is the whole object, 9 kB of text or any JSON.
    """
    house = House()
    task = await house.task()
    assert reason(await house.call(task, "read_file", READ, _meta=meta)) == ""
    [(_, params, _)] = house.servers[0].sent
    assert "_meta" not in params


async def test_a_trace_goes_on() -> None:
    """A plain `traceparent` still joins two traces."""
    house = House()
    task = await house.task()
    await house.call(task, "read_file", READ, _meta={"traceparent": TRACE})
    [(_, params, _)] = house.servers[0].sent
    assert params["_meta"] == {"traceparent": TRACE}


async def test_answers_to_questions_nobody_asked_stay_here() -> None:
    """`inputResponses` without a question of the server is refused or dropped.

    Control: unfixed, the server receives `inputResponses` beside the arguments that were judged and approved.
    """
    house = House()
    task = await house.task()
    await house.call(task, "read_file", READ, inputResponses={"x": {"action": "accept", "content": {"path": "/etc"}}})
    assert all("inputResponses" not in params for _, params, _ in house.servers[0].sent)


async def test_only_the_answers_that_were_asked_for_go_on() -> None:
    """After a server's question its own keys pass, others do not; without its state nothing does.

    Control: unfixed, `smuggled` reaches the server.
    """
    house = House(
        **{
            "policies/main.cedar": '@id("all") @owner("alice") @reason("x")\npermit (principal, action, resource);\n',
        }
    )
    task = await house.task()
    asked = {"resultType": "input_required", "requestState": "theirs", "inputRequests": {"q": {"method": "roots/list"}}}

    async def question(_: str) -> bytes:
        return json.dumps(asked).encode()

    await house.call(task, "read_file", READ)
    server = house.servers[0]
    server.result = question
    answer = await house.call(task, "read_file", READ, capabilities={"roots": {}})
    state = json.loads(answer.result or b"{}")["requestState"]
    server.result, server.sent[:] = None, []
    given = {"q": {"roots": []}, "smuggled": {"anything": "at all"}}
    assert reason(await house.call(task, "read_file", READ, inputResponses=given, requestState=state)) == ""
    [(_, params, _)] = server.sent
    assert params["requestState"] == "theirs"
    assert params["inputResponses"] == {"q": {"roots": []}}


async def test_log_level_is_sent_as_it_was_sealed() -> None:
    """What goes to the server is what the decision's record has the digest of.

    Control: unfixed, `_meta` and its 10 kB travel along unrecorded.
    """
    house = House(server_era=Era.LEGACY)
    task = await house.task()
    params = {"level": "info", "_meta": {"note": "x" * 10_000}}
    await house.ask(task, "logging/setLevel", params, era=Era.LEGACY)
    sent = [params for method, params, _ in house.servers[0].sent if method == "logging/setLevel"]
    assert sent == [{"level": "info"}]
