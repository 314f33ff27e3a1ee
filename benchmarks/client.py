"""The HTTP client of the hop: what a call to a stub costs through each layer of ours, and at least."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

import aiohttp

from benchmarks import contenders
from benchmarks.machine import HOP_CORE, pin
from benchmarks.stats import spread, table
from benchmarks.wire import ARGUMENTS, TOOL, request
from lictor.model.action import SealedArguments
from lictor.model.limits import Limits
from lictor.pep.mcp.upstream.client import Body, open_session, read_body, send
from lictor.pep.mcp.upstream.http import HttpUpstream
from lictor.pep.mcp.upstream.http1.address import check_url
from lictor.pep.mcp.upstream.http1.outgoing import request_head, whole

CALLS = 300
Call = Callable[[], Awaitable[object]]


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Section `client` of the report."""
    import os

    import uvloop

    cores = os.sched_getaffinity(0)
    with contenders.running("fast", ()) as (up,):
        pin(HOP_CORE)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(_run(up.port, rounds))
        finally:
            os.sched_setaffinity(0, cores)
    floor = median(found[_RAW])
    rows = [[name, spread(values, 0), f"{median(values) / floor:.1f}"] for name, values in found.items()]
    text = table(("Client", "us CPU a call", "x raw"), rows)
    return f"## The HTTP client of the hop\n\n{text}\n", {"samples": found, "bars": []}


_RAW = "raw keep-alive connection, nothing checked (floor)"


async def _run(port: int, rounds: int) -> dict[str, list[float]]:
    session, limits = open_session(Limits()), Limits()
    url = f"http://127.0.0.1:{port}/mcp"
    written = request(port, "none")
    body = written.partition(b"\r\n\r\n")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    usual = aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
    )
    headers = {"Content-Type": "application/json"}
    address = check_url(url)
    pool, head = session.pool(address), request_head("POST", address, headers.items())
    upstream = await HttpUpstream.start("up", url, {}, limits, _refuse, _ignore, session)
    sealed = SealedArguments.seal(dict(ARGUMENTS)).data

    async def raw() -> None:
        writer.write(written)
        answer = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))

    async def plain() -> None:
        async with usual.post(url, data=body, headers=headers) as response:
            await response.read()

    async def ours() -> None:
        sent = Body(body)
        response = await send(pool, whole(head, b"", body), sent)
        await read_body(response, sent, limits)
        response.release()

    async def full() -> None:
        await upstream.request("tools/call", {"name": TOOL}, sealed_arguments=sealed, timeout_s=5)

    calls: dict[str, Call] = {
        _RAW: raw,
        "aiohttp": plain,
        "ours: all guards, at most once, no implicit state": ours,
        "the whole upstream: mirrored headers, strict reader, bytes kept": full,
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name in random.sample(list(calls), len(calls)):
            await calls[name]()
            start = time.thread_time_ns()
            for _call in range(CALLS):
                await calls[name]()
            found[name].append((time.thread_time_ns() - start) / CALLS / 1e3)
    writer.close()
    await upstream.close()
    await session.close()
    await usual.close()
    return found


async def _refuse(_method: str, _params: dict[str, Any]) -> Any:
    raise NotImplementedError


async def _ignore(_method: str, _params: dict[str, Any]) -> None:
    """Nothing is announced."""
