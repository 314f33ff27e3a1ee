"""An agent's view: the official SDK client, one call after another. Commands on standard input.

`python -m benchmarks.sdk_load '{"name": {"port", "token", "tool"}, ...}'`: reads `{"name", "seconds", "pids"}` a line, answers latencies.
"""

import asyncio
import contextlib
import json
import sys
import time
from typing import Any

from benchmarks.machine import JITTER_MAX, LOAD_CORE, TRIES, jitter, pin, realtime
from benchmarks.wire import ARGUMENTS

WARM_CALLS = 20


async def _connect(stack: contextlib.AsyncExitStack, port: int, token: str) -> Any:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client
    from mcp.shared._httpx_utils import create_mcp_http_client

    http = await stack.enter_async_context(create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}))
    transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
    return await stack.enter_async_context(Client(transport))


async def _window(client: Any, tool: str, seconds: float) -> dict[str, object]:
    for _ in range(TRIES):
        lost = jitter()
        if lost <= JITTER_MAX:
            break
    for _ in range(WARM_CALLS):
        await client.call_tool(tool, ARGUMENTS)
    latencies = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    while (start := time.perf_counter_ns()) < end:
        result = await client.call_tool(tool, ARGUMENTS)
        latencies.append(time.perf_counter_ns() - start)
        if result.is_error:
            raise ValueError(f"not the result: {result!r:.300}")
    latencies.sort()
    return {"ns": latencies, "seconds": seconds, "jitter": lost}


async def main() -> None:
    """Connect to all, then serve commands."""
    pin(LOAD_CORE)
    contenders = json.loads(sys.argv[1])
    async with contextlib.AsyncExitStack() as stack:
        clients = {name: await _connect(stack, one["port"], one["token"]) for name, one in contenders.items()}
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            name = command["name"]
            with realtime(command["pids"]) as granted:
                answer = await _window(clients[name], contenders[name]["tool"], command["seconds"])
            print(json.dumps({**answer, "realtime": granted}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
