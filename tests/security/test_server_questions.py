"""What a server asks of a client is decided, and only the client whose call it is about is asked."""

import json

import pytest

from lictor.pep.mcp.seam import Era
from security.house import House, Line, caller, reason

READ = {"path": "a"}
SAMPLE = {"s": {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}}


@pytest.mark.parametrize("flag", ["no", 1, None, {}, [], "true"])
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_a_mistyped_member_does_not_hide_a_question(flag: object, era: Era) -> None:
    """`isError` of a wrong type must not let `input_required` through undecided.

    Control: unfixed, the flags are taken for unreadable, `resultType` for absent, and the raw result with the sampling
    request and the server's own state goes to the client.
    """
    house = House()
    task = await house.task()
    body = {"resultType": "input_required", "isError": flag, "inputRequests": SAMPLE, "requestState": "raw"}

    async def lie(_: str) -> bytes:
        return json.dumps(body).encode()

    house.on_connect = lambda server: setattr(server, "result", lie)
    answer = await house.call(task, "read_file", READ, era=era, capabilities={"sampling": {}})
    assert b"sampling/createMessage" not in (answer.result or b"")
    assert reason(answer) in {"feature_denied", "upstream_invalid"}


@pytest.mark.parametrize("kind", [["input_required"], {"x": 1}, 7, True])
async def test_a_result_type_that_is_no_word_is_no_result(kind: object) -> None:
    """A `resultType` that cannot be read is not passed on.

    Control: unfixed, it goes to the client as it is.
    """
    house = House()
    task = await house.task()

    async def lie(_: str) -> bytes:
        return json.dumps({"resultType": kind, "inputRequests": SAMPLE}).encode()

    house.on_connect = lambda server: setattr(server, "result", lie)
    answer = await house.call(task, "read_file", READ)
    assert b"sampling/createMessage" not in (answer.result or b"")


async def test_a_shared_server_does_not_ask_another_tasks_client() -> None:
    """On a connection of many tasks nobody can say whose call a question is about, so nobody is asked.

    Control: unfixed, the question goes to the client of the task that happened to open the connection.
    """
    everything = '@id("all") @owner("alice") @reason("x")\npermit (principal, action, resource);\n'
    house = House(server_era=Era.LEGACY, shared=True, **{"policies/main.cedar": everything})
    victim, other = await house.task(), await house.task()
    line = Line(can_ask=True)
    seen = []

    async def ask(_: str) -> bytes:
        if house.gateway.questions.flights.get(victim.task.id):
            reply = await house.servers[0].ask("roots/list", {"secret": "of the other task"})
            seen.append(reply)
        return b'{"content":[]}'

    async def overlapping(_: str) -> bytes:
        house.servers[0].result = ask
        await house.gateway.handle(
            caller(other, Era.LEGACY), "tools/call", {"name": "read_file", "arguments": READ}, Line()
        )
        return b'{"content":[]}'

    house.on_connect = lambda server: setattr(server, "result", overlapping)
    await house.call(victim, "read_file", READ, era=Era.LEGACY, channel=line, capabilities={"roots": {}})
    assert line.asked == []
    assert seen
    assert seen[0].error is not None
    assert house.servers[0].declared == {}


async def test_a_shared_servers_notices_go_to_nobody_in_particular() -> None:
    """What a shared server says of its own accord is not handed to the task that opened the connection.

    Control: unfixed, log lines and resource updates about another task's work arrive there.
    """
    house = House(server_era=Era.LEGACY, shared=True)
    task = await house.task()
    line = Line()
    await house.call(task, "read_file", READ, era=Era.LEGACY, channel=line)
    await house.servers[0].notices("notifications/message", {"data": "another task's secret"})
    await house.servers[0].notices("notifications/resources/updated", {"uri": "file:///docs/of-another-task"})
    assert line.told == []
