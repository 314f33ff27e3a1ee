"""The stdio side as a process: the official client in both eras. Run as a program, this file is the gateway."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import mcp
import mcp_types as types
import pytest

TESTS = str(Path(__file__).parents[1])


async def gateway() -> None:
    """Serve the small house on the standard streams."""
    from integration.downstream_house import TestHouse
    from lictor.pep.mcp.downstream.stdio import serve_stdio

    house = TestHouse()
    opened = await house.task(token=False)
    await serve_stdio(house.gateway, house, opened.task.id, sys.stdin.buffer, sys.stdout.buffer)
    await house.close()


def parameters() -> mcp.StdioServerParameters:
    return mcp.StdioServerParameters(command=sys.executable, args=[__file__], env={"PYTHONPATH": TESTS})


async def start() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=-1, stdout=-1, env={"PYTHONPATH": TESTS}, limit=2**24
    )


@pytest.mark.parametrize(
    ("mode", "version"), [("auto", "2026-07-28"), ("2026-07-28", "2026-07-28"), ("legacy", "2025-11-25")]
)
async def test_the_official_client_lists_and_calls(mode: Any, version: str) -> None:
    """List, allowed and denied calls, progress, many at once, in each era."""
    seen: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with asyncio.timeout(30), mcp.Client(parameters(), mode=mode, read_timeout_seconds=10) as client:
        assert client.protocol_version == version
        assert "echo" in {tool.name for tool in (await client.list_tools()).tools}
        results = await asyncio.gather(*(client.call_tool("echo", {"text": str(i)}) for i in range(20)))
        assert [result.content[0].text for result in results] == [str(i) for i in range(20)]
        assert (await client.call_tool("denied", {})).is_error
        await client.call_tool("progress", {}, progress_callback=on_progress)
        assert seen == [1, 2]


async def test_a_server_asks_a_legacy_client() -> None:
    """Sampling, decided by policy, carried over the same streams."""

    async def sampling(context: Any, params: Any) -> types.CreateMessageResult:
        content = types.TextContent(type="text", text="sampled")
        return types.CreateMessageResult(role="assistant", content=content, model="m")

    async with asyncio.timeout(30), mcp.Client(parameters(), mode="legacy", sampling_callback=sampling) as client:
        assert (await client.call_tool("sample", {})).content[0].text == "sampled"


async def test_a_modern_client_listens() -> None:
    """A change is announced on the subscription."""
    async with asyncio.timeout(30), mcp.Client(parameters(), mode="auto") as client:
        wanted = client.listen(tools_list_changed=True)
        async with wanted as subscription:
            await client.call_tool("change", {})
            async for event in subscription:
                assert type(event).__name__ == "ToolsListChanged"
                break


async def test_end_of_input_ends_the_process() -> None:
    """A closed stdin ends everything, requests under way included."""
    process = await start()
    assert process.stdin is not None
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    call = {"name": "slow", "arguments": {}, "_meta": meta}
    process.stdin.write(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode() + b"\n"
    )
    await process.stdin.drain()
    await asyncio.sleep(0.5)
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_client_that_does_not_read_costs_bounded_memory() -> None:
    """Answers wait in the pipe, then in a bounded buffer; nothing is lost and nothing is cut."""
    process = await start()
    assert process.stdin is not None
    assert process.stdout is not None
    count, text = 200, "x" * 10_000
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    for identity in range(count):
        call = {"name": "echo", "arguments": {"text": text}, "_meta": meta}
        message = {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": call}
        process.stdin.write(json.dumps(message).encode() + b"\n")
    async with asyncio.timeout(30):
        await asyncio.sleep(1)
        answers = [json.loads(await process.stdout.readline()) for _ in range(count)]
    assert {answer["id"] for answer in answers} == set(range(count))
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) == 0


if __name__ == "__main__":
    asyncio.run(gateway())
