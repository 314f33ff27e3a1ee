"""One stdio connection, message by message, against the real gateway."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from integration.downstream_house import TestHouse
from lictor.model.errors import StoreError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.stdio import StdioDownstream, live_task
from lictor.service.calls.door import record_refusal

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


class Line:
    """The client's end."""

    def __init__(self, house: TestHouse, task: str) -> None:
        self.house, self.task = house, task
        self.reader = asyncio.StreamReader()
        self.out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.broken = False

    def write(self, data: bytes, /) -> None:
        assert data.count(b"\n") == 1
        self.out.put_nowait(json.loads(data))

    async def drain(self) -> None:
        if self.broken:
            raise BrokenPipeError

    def send(self, message: Any) -> None:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.reader.feed_data(data + b"\n")

    async def get(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.out.get(), 5)

    async def silent(self) -> bool:
        await asyncio.sleep(0.05)
        return self.out.empty()

    def call(self, tool: str, identity: int | str = 1, **meta: Any) -> None:
        params = {"name": tool, "arguments": {}, "_meta": {**META, **meta}}
        self.send({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params})

    async def initialize(self, version: str = "2025-11-25", **capabilities: Any) -> dict[str, Any]:
        params = {"protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "raw"}}
        self.send({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": params})
        return await self.get()


@contextlib.asynccontextmanager
async def connected(limits: Limits | None = None, *, can_record: bool = True) -> AsyncIterator[Line]:
    house = TestHouse(limits=limits)
    task = (await house.task(token=False)).task.id
    line = Line(house, task)

    async def record(data: bytes, error: Any) -> None:
        if not can_record:
            raise StoreError(Reason.CANNOT_RECORD, "full")
        await record_refusal(house.store, house.clock, task, data, error)

    door = StdioDownstream(
        house.gateway,
        lambda: live_task(house.store, house.clock, task),
        line.reader,
        line,
        house.settings.limits,
        record,
    )
    running = asyncio.create_task(door.run())
    try:
        yield line
    finally:
        line.reader.feed_eof()
        await asyncio.wait_for(running, 5)
        assert not door._jobs
        await house.close()
    assert house.defects == []


@pytest.mark.parametrize(
    ("line", "code", "reason", "identity"),
    [
        (b"{", -32700, "invalid_json", None),
        (b"[]", -32600, "batch_not_supported", None),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/list","x":1}', -32600, "unknown_member", 3),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"a":1,"a":1}}', -32700, "duplicate_key", 3),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"n":1152921504606846976}}', -32600, "unsafe_integer", 3),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/list"}', -32600, "invalid_message", 3),
        (b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"Name":"echo","name":"echo"}}', -32600, "unknown_member", 3),
        (b"x" * 5000, -32600, "too_large", None),
    ],
)  # fmt: skip
async def test_malformed_lines_are_answered_and_recorded(
    line: bytes, code: int, reason: str, identity: int | None
) -> None:
    """The right code and id, one record, and the connection goes on."""
    async with connected(Limits(message_bytes=4096, arguments_bytes=1024)) as client:
        client.send(line)
        answer = await client.get()
        assert (answer["id"], answer["error"]["code"], answer["error"]["data"]["reason"]) == (identity, code, reason)
        assert [record.reason for record in client.house.refusals()] == [reason]
        client.call("echo", 9)
        assert (await client.get())["id"] == 9


@pytest.mark.parametrize("line", [b'{"jsonrpc":"2.0","method":"x","y":1}', b'{"jsonrpc":"2.0","id":1,"result":[]}'])
async def test_malformed_notifications_and_responses_are_recorded_but_not_answered(line: bytes) -> None:
    """An answer could be taken for that of another request."""
    async with connected() as client:
        client.send(line)
        assert await client.silent()
        assert len(client.house.refusals()) == 1


async def test_what_cannot_be_recorded_is_said() -> None:
    """`cannot_record` instead of the refusal."""
    async with connected(can_record=False) as client:
        client.send(b"{")
        assert (await client.get())["error"]["data"]["reason"] == "cannot_record"


async def test_cancelled_means_no_answer() -> None:
    """The right id and type cancels, reaches the server, and silences the request."""
    async with connected() as client:
        client.call("slow", 5)
        await asyncio.sleep(0.05)
        server = client.house.servers[-1]
        await asyncio.wait_for(server.slow_started.wait(), 5)
        for wrong in ("5", 6, None, [5]):
            client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": wrong}})
        assert await client.silent()
        assert not server.cancelled.is_set()
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
        await asyncio.wait_for(server.cancelled.wait(), 5)
        assert await client.silent()
        client.call("echo", 5)
        assert (await client.get())["id"] == 5


async def test_ids_in_use_and_second_handshakes_are_refused() -> None:
    """Each id once at a time, one handshake a connection."""
    async with connected() as client:
        client.call("slow", 5)
        client.call("echo", 5)
        assert (await client.get())["error"]["data"] == {"reason": "invalid_message", "where": "/id"}
        assert "result" in await client.initialize()
        assert (await client.initialize())["error"]["data"]["reason"] == "invalid_message"


@pytest.mark.parametrize(
    ("asked", "given"), [("2025-06-18", "2025-06-18"), ("1999-01-01", "2025-11-25"), ("2026-07-28", "2025-11-25")]
)
async def test_the_handshake_negotiates(asked: str, given: str) -> None:
    """A version we serve, else our newest legacy one."""
    async with connected() as client:
        result = (await client.initialize(asked))["result"]
        assert result["protocolVersion"] == given
        assert result["serverInfo"]["name"] == "lictor"
        assert result["instructions"] == "be careful"


async def test_both_eras_live_on_one_connection() -> None:
    """A modern request is answered in its way, before and after the handshake."""
    async with connected() as client:
        client.call("echo", 1)
        assert (await client.get())["result"]["resultType"] == "complete"
        await client.initialize()
        client.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})
        assert "resultType" not in (await client.get())["result"]
        client.call("echo", 3)
        assert (await client.get())["result"]["resultType"] == "complete"


async def test_an_ended_task_serves_nothing() -> None:
    """Not even a list."""
    async with connected() as client:
        await client.house.tasks.close(client.task, by="os:me")
        client.send({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}})
        assert (await client.get())["error"]["data"]["reason"] == "task_closed"


async def test_progress_carries_the_clients_token_and_comes_first() -> None:
    """Then the answer, then nothing."""
    async with connected() as client:
        client.call("progress", 1, progressToken="mine")
        got = [await client.get() for _ in range(3)]
        assert [message.get("params", {}).get("progressToken") for message in got] == ["mine", "mine", None]
        assert got[2]["id"] == 1
        assert await client.silent()


async def test_a_subscription_is_acknowledged_stamped_and_cancelled() -> None:
    """First the acknowledgment, then only what was granted, until it is cancelled."""
    async with connected() as client:
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["x://y"]}
        client.send(
            {
                "jsonrpc": "2.0",
                "id": "sub",
                "method": "subscriptions/listen",
                "params": {"_meta": META, "notifications": wanted},
            }
        )
        first = await client.get()
        assert first["method"] == "notifications/subscriptions/acknowledged"
        stamp = {"io.modelcontextprotocol/subscriptionId": "sub"}
        assert first["params"] == {"notifications": {"toolsListChanged": True}, "_meta": stamp}
        client.call("change", 2)
        messages = [await client.get(), await client.get()]
        changed = next(message for message in messages if "method" in message)
        assert (changed["method"], changed["params"]["_meta"]) == ("notifications/tools/list_changed", stamp)
        client.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "sub"}})
        await asyncio.sleep(0.05)
        client.call("change", 3)
        assert (await client.get())["id"] == 3
        assert await client.silent()


async def test_a_subscription_ends_with_its_task() -> None:
    """Within the promise of the kill switch, with an error that says why."""
    async with connected() as client:
        params = {"_meta": META, "notifications": {"toolsListChanged": True}}
        client.send({"jsonrpc": "2.0", "id": "sub", "method": "subscriptions/listen", "params": params})
        await client.get()
        await client.house.tasks.close(client.task, by="os:me")
        assert (await client.get())["error"]["data"]["reason"] == "task_closed"


async def test_a_client_that_cannot_be_written_to_is_gone() -> None:
    """The connection ends although its input stays open."""
    async with connected() as client:
        client.broken = True
        client.call("slow", 1)
        client.call("echo", 2)
        server = None
        async with asyncio.timeout(5):
            while server is None or not server.cancelled.is_set():
                await asyncio.sleep(0.01)
                server = client.house.servers[-1] if client.house.servers else None
