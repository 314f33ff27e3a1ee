"""The HTTP endpoint: the official client in both eras, cancelling, sessions."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import mcp
import mcp_types as types
import pytest
from mcp.client.streamable_http import streamable_http_client

from integration.downstream_door import META, MODERN, Door, read_chunk, read_head, read_response, reason, serving
from integration.downstream_house import until
from lictor.pep.mcp.seam import Era


@contextlib.asynccontextmanager
async def client(door: Door, mode: Any, **options: Any) -> AsyncIterator[mcp.Client]:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {door.token}"}, timeout=10) as http:
        transport = streamable_http_client(door.url, http_client=http)
        async with mcp.Client(transport, mode=mode, read_timeout_seconds=10, **options) as connected:
            yield connected


# -- the official client ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "version"), [("auto", MODERN), (MODERN, MODERN), ("legacy", "2025-11-25")])
async def test_the_official_client_lists_and_calls(mode: str, version: str) -> None:
    """List, an allowed call, a denied one, in each era."""
    async with serving() as door, client(door, mode) as connected:
        assert connected.protocol_version == version
        tools = await connected.list_tools()
        assert "echo" in {tool.name for tool in tools.tools}
        result = await connected.call_tool("echo", {"text": "hello"})
        assert not result.is_error
        assert result.content[0].text == "hello"
        denied = await connected.call_tool("denied", {})
        assert denied.is_error
        assert "not_permitted" in denied.content[0].text
        routed = await connected.call_tool("routed", {"region": "eu-1"})
        assert not routed.is_error
        if mode == "auto":
            assert connected.instructions == "be careful"
            assert connected.server_info.name == "lictor"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_progress_reaches_the_client_before_the_answer(mode: str) -> None:
    """The response becomes an event stream when the server reports progress."""
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with serving() as door, client(door, mode) as connected:
        result = await connected.call_tool("progress", {"text": "x"}, progress_callback=on_progress)
        assert not result.is_error
        assert seen == [1, 2]


async def test_a_legacy_server_asks_a_legacy_client_over_http() -> None:
    """A question travels on the request's stream, its answer on a POST of its own."""

    async def sampling(context: Any, params: Any) -> types.CreateMessageResult:
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text="sampled"), model="m"
        )

    async with serving() as door, client(door, "legacy", sampling_callback=sampling) as connected:
        result = await connected.call_tool("sample", {})
        assert result.content[0].text == "sampled"


async def test_a_modern_client_is_never_asked() -> None:
    """The server gets an error instead."""
    async with serving() as door, client(door, "auto") as connected:
        result = await connected.call_tool("sample", {})
        assert "error" in result.content[0].text or "not available" in result.content[0].text


@pytest.mark.parametrize("era", [Era.LEGACY, Era.MODERN])
async def test_a_modern_client_listens(era: Era) -> None:
    """A list that changes is announced on the subscription, whichever era the server speaks."""
    async with serving(era) as door, client(door, "auto") as connected, asyncio.timeout(10):
        wanted = connected.listen(tools_list_changed=True, prompts_list_changed=True)
        async with wanted as subscription:
            assert subscription.honored.tools_list_changed
            assert not subscription.honored.prompts_list_changed
            if era is Era.MODERN:
                await until(lambda: door.server().listening)
                await door.server().listening("notifications/tools/list_changed", {})
            else:
                await connected.call_tool("change", {})
            async for event in subscription:
                assert type(event).__name__ == "ToolsListChanged"
                break


async def test_a_legacy_client_hears_of_changes_on_its_get_stream() -> None:
    """Notices that belong to no request go to the session's own stream."""
    heard = asyncio.Event()

    async def on_message(message: Any) -> None:
        if type(message).__name__ == "ToolListChangedNotification":
            heard.set()

    async with serving() as door, client(door, "legacy", message_handler=on_message) as connected:
        await connected.call_tool("change", {})
        await asyncio.wait_for(heard.wait(), 10)


# -- cancelling ------------------------------------------------------------------------------------------------------------


async def test_a_modern_disconnect_cancels() -> None:
    """Closing the connection reaches the server behind us."""
    async with serving() as door, asyncio.timeout(10):
        body = json.dumps(
            {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": "slow", "arguments": {}, "_meta": META},
            }
        ).encode()
        fields: dict[str, str | None] = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "slow"}
        head = door.head(replace=fields) + f"Content-Length: {len(body)}\r\n\r\n"
        _, writer = await door.send(head.encode() + body)
        await until(lambda: door.house.servers and door.server().slow_started.is_set())
        writer.close()
        await door.server().cancelled.wait()


async def legacy_call(
    door: Door, session: str, name: str, identity: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    body = json.dumps(
        {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": {"name": name, "arguments": {}}}
    ).encode()
    head = door.head(replace={"Mcp-Session-Id": session}) + f"Content-Length: {len(body)}\r\n\r\n"
    return await door.send(head.encode() + body)


async def test_a_legacy_disconnect_does_not_cancel_but_its_word_does() -> None:
    """Spec 2025-11-25: only `notifications/cancelled` cancels; the cancelled request is not answered."""
    async with serving() as door, asyncio.timeout(10):
        session = await door.initialize()
        _, writer = await legacy_call(door, session, "slow", 5)
        await door.server().slow_started.wait()
        writer.close()
        await asyncio.sleep(0.3)
        assert not door.server().cancelled.is_set()
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        status, _, _ = await door.post(cancel, replace={"Mcp-Session-Id": session})
        assert status == 202
        await door.server().cancelled.wait()


async def test_a_cancelled_legacy_request_gets_no_answer() -> None:
    """Its stream ends empty."""
    async with serving() as door, asyncio.timeout(10):
        session = await door.initialize()
        reader, writer = await legacy_call(door, session, "slow", 5)
        await door.server().slow_started.wait()
        wrong = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "5"}}
        await door.post(wrong, replace={"Mcp-Session-Id": session})
        assert not door.server().cancelled.is_set()  # "5" is not 5
        await door.post({**wrong, "params": {"requestId": 5}}, replace={"Mcp-Session-Id": session})
        status, headers, body = await read_response(reader)
        assert (status, headers["content-type"], body) == (200, "text/event-stream", b"")
        writer.close()


# -- sessions --------------------------------------------------------------------------------------------------------------


async def test_sessions_belong_to_their_task() -> None:
    """Another task's session, an unknown and an ended one do not exist; none at all is a bad request."""
    async with serving() as door:
        session = await door.initialize()
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        named: dict[str, str | None] = {"Mcp-Session-Id": session}
        assert (await door.post(ping, replace=named))[0] == 200
        stranger = (await door.house.task()).token
        assert (await door.post(ping, replace={**named, "Authorization": f"Bearer {stranger}"}))[0] == 404
        assert (await door.post(ping, replace={"Mcp-Session-Id": "mcp_unknown"}))[0] == 404
        assert (await door.post(ping))[0] == 400
        end = door.head(method="DELETE", replace=named).encode() + b"\r\n"
        foreign = (
            door.head(method="DELETE", replace={**named, "Authorization": f"Bearer {stranger}"}).encode() + b"\r\n"
        )
        assert (await door.exchange(foreign))[0] == 404
        assert (await door.exchange(end))[0] == 204
        assert (await door.post(ping, replace=named))[0] == 404


@pytest.mark.parametrize(
    ("version", "status"), [("2025-11-25", 200), ("2025-06-18", 200), ("1999-01-01", 400), (MODERN, 400)]
)
async def test_a_session_keeps_its_version(version: str, status: int) -> None:
    """The header, when given, is a version that sessions have."""
    async with serving() as door:
        session = await door.initialize()
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        replace: dict[str, str | None] = {"Mcp-Session-Id": session, "MCP-Protocol-Version": version}
        assert (await door.post(ping, replace=replace))[0] == status


@pytest.mark.parametrize(
    ("replace", "status"),
    [
        ({}, 400),
        ({"Mcp-Session-Id": "mcp_unknown"}, 404),
        ({"MCP-Protocol-Version": MODERN}, 405),
        ({"Accept": "application/json"}, 406),
    ],
)
async def test_a_get_needs_a_session(replace: dict[str, str | None], status: int) -> None:
    """The stream is a session's; modern clients have none."""
    async with serving() as door:
        assert (await door.exchange(door.head(method="GET", replace=replace).encode() + b"\r\n"))[0] == status


async def test_a_get_stream_is_kept_open_and_ends_with_its_task() -> None:
    """Comments while it is idle, a second one replaces the first, a closed task ends it."""
    async with serving(keepalive_s=0.1) as door, asyncio.timeout(10):
        session = await door.initialize()
        request = door.head(method="GET", replace={"Mcp-Session-Id": session}).encode() + b"\r\n"
        first, first_writer = await door.send(request)
        status, headers = await read_head(first)
        assert (status, headers["x-accel-buffering"]) == (200, "no")
        assert await read_chunk(first) == b":\n\n"
        second, second_writer = await door.send(request)
        await read_head(second)
        while await read_chunk(first):
            pass
        await door.house.tasks.close(door.task, by="os:me")
        while await read_chunk(second):
            pass
        first_writer.close()
        second_writer.close()


async def test_a_long_request_becomes_a_stream() -> None:
    """A request that takes long is kept alive by comments."""
    async with serving(keepalive_s=0.1) as door, asyncio.timeout(10):
        session = await door.initialize()
        reader, writer = await legacy_call(door, session, "slow", 5)
        status, headers = await read_head(reader)
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert await read_chunk(reader) == b":\n\n"
        assert (
            await door.exchange(door.head(method="DELETE", replace={"Mcp-Session-Id": session}).encode() + b"\r\n")
        )[0] == 204
        await door.server().cancelled.wait()
        writer.close()


async def test_an_id_in_use_is_refused() -> None:
    """Two requests of a session under way never share an id."""
    async with serving() as door, asyncio.timeout(10):
        session = await door.initialize()
        _, writer = await legacy_call(door, session, "slow", 5)
        await door.server().slow_started.wait()
        body = {"jsonrpc": "2.0", "id": 5, "method": "tools/list"}
        status, _, answer = await door.post(body, replace={"Mcp-Session-Id": session})
        assert (status, reason(answer)) == (400, "invalid_message")
        await door.exchange(door.head(method="DELETE", replace={"Mcp-Session-Id": session}).encode() + b"\r\n")
        writer.close()
