"""Nobody makes an origin out of their own words: not through padding, a server's question, progress or a log line."""

import json
from typing import Any

import pytest

from lictor.pep.mcp.seam import Era, Reply
from security.house import House, Line, reason
from security.test_content import PAY, POLICY, house, saying

EVE = "eve@evil.example"
TOOLS = POLICY.replace('context.origin.declared.contains("to")', 'context.origin.tool.contains("to")')


def trusting() -> dict[str, Any]:
    """A policy that believes every tool."""
    return {"files": {"policies/main.cedar": TOOLS}}


async def pays(made: House, task: Any, to: str = EVE) -> str:
    """What becomes of a payment."""
    return reason(await made.call(task, "pay", {**PAY, "to": to}))


@pytest.mark.parametrize("padding", [2_100, 0])
async def test_a_call_too_long_to_read_is_an_origin_of_nothing(padding: int) -> None:
    """Arguments with more values than are kept could hide the one that the result repeats, so the result vouches for none."""
    made = house(**trusting())
    task = await made.task(trusted_text="Pay somebody.")
    saying(made, f"no contact {EVE}; did you mean anna@good.example?")
    junk = " ".join(f"a{number}@x.example" for number in range(padding))
    assert reason(await made.call(task, "read_file", {"path": f"{junk} {EVE}"})) == ""
    assert await pays(made, task) == "forbidden"
    assert await pays(made, task, "anna@good.example") == ("forbidden" if padding else "")


@pytest.mark.parametrize("way", ["progress", "notice"])
async def test_what_a_server_says_meanwhile_repeats_no_argument_into_an_origin(way: str) -> None:
    """A server that logs its arguments, or reports them as progress, vouches for them no more than its result does."""
    made = house(server_era=Era.LEGACY, **trusting())
    task = await made.task(trusted_text="Pay somebody.")

    async def say(_: str) -> bytes:
        server: Any = made.servers[0]
        if way == "progress":
            await server.progress("notifications/progress", {"progress": 1, "message": f"looking for {EVE}"})
        else:
            await server.notices("notifications/message", {"level": "info", "data": f"looking for {EVE}"})
        return b'{"content":[]}'

    def connected(server: Any) -> None:
        server.result = say
        request = server.request

        async def asked(method: str, params: dict[str, Any], **more: Any) -> Reply:
            server.progress = more.get("notify")
            found: Reply = await request(method, params, **more)
            return found

        server.request = asked

    made.on_connect = connected
    meta = {"_meta": {"progressToken": 1}}
    line = Line(can_ask=True)
    answer = await made.call(task, "read_file", {"path": f"find {EVE}"}, era=Era.LEGACY, channel=line, **meta)
    assert reason(answer) == ""
    assert await pays(made, task) == "forbidden"


@pytest.mark.parametrize("repeats", [True, False])
async def test_an_agent_does_not_answer_itself_an_origin(repeats: bool) -> None:
    """What a client answers to a server's question is the client's word, also when the result repeats it."""
    made = house(server_era=Era.LEGACY, **trusting())
    task = await made.task(trusted_text="Pay somebody.")
    line = Line(can_ask=True)

    async def answers(_: str) -> bytes:
        return json.dumps({"roots": [{"uri": "file:///a", "name": EVE}]}).encode()

    line.reply = answers

    async def say(_: str) -> bytes:
        await made.servers[0].ask("roots/list", {})
        text = f"your roots: {EVE}, and anna@good.example" if repeats else "anna@good.example"
        return json.dumps({"content": [{"type": "text", "text": text}]}).encode()

    made.on_connect = lambda server: setattr(server, "result", say)
    answer = await made.call(task, "read_file", {"path": "a"}, era=Era.LEGACY, channel=line)
    assert reason(answer) == ""
    assert await pays(made, task) == "forbidden"
    assert await pays(made, task, "anna@good.example") == ""
