"""From the commit of a kill to the last effect at the server: under 200 calls a second, with one gateway process and with two.

The server is this process: it notes when an effect happens, and a long call has one every few milliseconds until its connection
is closed. A third process pulls the plug. All read one monotonic clock. Tasks come and go all the time: the oldest is killed, a new
one takes its place, so that the load never changes. A partition is the log moved away from under a process.
"""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.house import tools_of, write_bundle
from benchmarks.machine import scratch
from benchmarks.serve import Fast
from benchmarks.stats import percentile, table, verdict, verdicts
from benchmarks.wire import TOOL

RATE = 200
"""Calls a second over all gateways, as the bar says."""
TASKS = 8
"""Tasks at a time, each with a long call on every gateway."""
BETWEEN_S = 0.12
"""From one kill to the next."""
TICK_S = 0.01
"""Between two effects of a long call: what the measurement can resolve."""
AFTER_S = 1.5
"""How long effects of a killed task are waited for after the last kill."""
PARTITIONS = 8
VERSION = "2026-07-28"
KILLS = 40
"""A round of `python -m benchmarks` is so many kills; 25 rounds are the thousand of the bar."""
LONG = "long"


class Effects(Fast):
    """The server: `echo` has one effect, and with a text that begins with `long` one every tick until the connection is closed."""

    at: ClassVar[dict[str, list[int]]] = defaultdict(list)

    def result(self, message: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        if message["method"] == "tools/call":
            self.at[message["params"]["arguments"]["text"]].append(time.monotonic_ns())
        return Fast.result(message)

    def data_received(self, data: bytes) -> None:
        if b'"text":"' + LONG.encode() in data:
            start = data.index(b'"text":"') + 8
            self.tick(data[start : data.index(b'"', start)].decode())
        else:
            super().data_received(data)

    def tick(self, text: str) -> None:
        if self.transport.is_closing():
            return
        self.at[text].append(time.monotonic_ns())
        asyncio.get_running_loop().call_later(TICK_S, self.tick, text)

    def connection_lost(self, _: Exception | None) -> None:
        self.transport.close()


class Client:
    """Calls over keep-alive connections to one gateway."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self, token: str, text: str) -> bytes:
        """The body of the answer; empty when the connection broke."""
        try:
            reader, writer = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(_request(self.port, token, text))
            head = await reader.readuntil(b"\r\n\r\n")
            lower = head.lower()
            if b"content-length:" not in lower:
                writer.close()  # a stream: it was a long call, and its answer came late
                return await reader.read()
            body = await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
        except (OSError, asyncio.IncompleteReadError):
            return b""
        self.free.append((reader, writer))
        return body


def _request(port: int, token: str, text: str) -> bytes:
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    name = f"up__{TOOL}"
    params = {"name": name, "arguments": {"text": text}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """One log, some gateway processes on it, and who pulls the plug."""

    def __init__(self, folder: Path, ports: list[int]) -> None:
        self.folder = folder
        self.clients = [Client(port) for port in ports]
        self.names = itertools.count()
        self.tasks: list[tuple[str, str, str]] = []
        self.killer: asyncio.subprocess.Process | None = None

    async def order(self, words: str) -> dict[str, Any]:
        """A command to the one who pulls the plug."""
        assert self.killer is not None
        assert self.killer.stdin is not None
        assert self.killer.stdout is not None
        self.killer.stdin.write(f"{words}\n".encode())
        line = await self.killer.stdout.readline()
        return dict(json.loads(line))

    async def more(self) -> None:
        """A fresh task with a long call on every gateway."""
        opened = await self.order("open")
        name = f"{next(self.names)}"
        for number, client in enumerate(self.clients):
            spawn(client.call(opened["token"], f"{LONG}-{name}-{number}"))
        self.tasks.append((opened["task"], opened["token"], name))


JOBS: set[asyncio.Task[Any]] = set()


def spawn(work: Any) -> None:
    """Let it run."""
    job = asyncio.get_running_loop().create_task(work)
    JOBS.add(job)
    job.add_done_callback(JOBS.discard)


@contextlib.asynccontextmanager
async def world(processes: int) -> AsyncIterator[World]:
    """Everything up."""
    loop = asyncio.get_running_loop()
    upstream, ports = free_port(), [free_port() for _ in range(processes)]
    server = await loop.create_server(Effects, "127.0.0.1", upstream)
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        write_bundle(folder / "0", ports[0], upstream, await tools_of(upstream))
        _bind(folder / "0", folder / "state", ports[0], ports[0])
        for number, port in enumerate(ports[1:], 1):
            shutil.copytree(folder / "0", folder / str(number))
            _bind(folder / str(number), None, port, ports[0])
        running = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "lictor", "serve", "--bundle", str(folder / str(number))),
                stderr=subprocess.DEVNULL,
            )
            for number in range(processes)
        ]
        made = World(folder, ports)
        made.killer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.pull_the_plug", str(folder / "0")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            assert made.killer.stdout is not None
            await made.killer.stdout.readline()
            for port in ports:
                await _healthy(port)
            yield made
        finally:
            made.killer.kill()
            for process in running:
                process.kill()
            await asyncio.gather(made.killer.wait(), *(process.wait() for process in running))
            server.close()


def _bind(folder: Path, state: Path | None, port: int, first: int) -> None:
    """One state folder and one audience for all; a port of its own for each."""
    path = folder / "lictor.toml"
    text = path.read_text("utf-8")
    if state is not None:
        text = f'state = "{state}"\n' + text.replace(
            f"port = {port}\n", f'port = {port}\npublic_url = "http://127.0.0.1:{first}"\n'
        )
    else:
        text = text.replace(f"port = {first}\n", f'port = {port}\nallowed_hosts = ["127.0.0.1:{port}"]\n')
    path.write_text(text, "utf-8")


async def _healthy(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                if b" 200 " in await reader.readline():
                    return
            await asyncio.sleep(0.1)


async def _load(made: World) -> None:
    """Open loop: a call is due every so often, whatever became of those before it."""
    due = time.monotonic()
    for number in itertools.count():
        due += 1 / RATE
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        if made.tasks:
            _, token, name = made.tasks[number % len(made.tasks)]
            spawn(made.clients[number % len(made.clients)].call(token, f"short-{name}"))


async def kills(processes: int, count: int) -> dict[str, Any]:
    """So many kills, one after the other: milliseconds from the commit to the last effect of each."""
    async with world(processes) as made:
        for _ in range(TASKS):
            await made.more()
        loading = asyncio.create_task(_load(made))
        await asyncio.sleep(2.0)
        killed: list[tuple[str, int, int]] = []
        for _ in range(count):
            task, _, name = made.tasks.pop(0)
            said = await made.order(f"kill {task}")
            killed.append((name, said["durable_ns"], said["calls"]))
            await made.more()
            await asyncio.sleep(BETWEEN_S)
        await asyncio.sleep(AFTER_S)
        loading.cancel()
        late = sorted(_late_ms(name, durable, processes) for name, durable, _ in killed)
        calls = sum(len(found) for text, found in Effects.at.items() if text.startswith("short"))
        Effects.at.clear()
        return {
            "processes": processes,
            "kills": count,
            "calls": calls,
            "in_flight": sum(calls for *_, calls in killed),
            "ms": late,
        }


def _late_ms(name: str, durable: int, processes: int) -> float:
    texts = [f"short-{name}", *(f"{LONG}-{name}-{number}" for number in range(processes))]
    return max([0.0, *((at - durable) / 1e6 for text in texts for at in Effects.at[text])])


async def partitions(count: int) -> list[float]:
    """Milliseconds from the moment at which the log is gone to the last effect of anything."""
    found = []
    async with world(1) as made:
        log = made.folder / "state" / "log.db"
        for _ in range(count):
            made.tasks.clear()
            await made.more()
            loading = asyncio.create_task(_load(made))
            await asyncio.sleep(1.0)
            at = time.monotonic_ns()
            log.rename(log.with_name("elsewhere"))
            await asyncio.sleep(3.0)
            loading.cancel()
            log.with_name("elsewhere").rename(log)
            found.append(max([0.0, *((one - at) / 1e6 for effects in Effects.at.values() for one in effects)]))
            Effects.at.clear()
            await _healthy(made.clients[0].port)
    return sorted(found)


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """The section: its text and its data."""
    count = int(os.environ.get("LICTOR_KILLS", str(rounds * KILLS)))
    found = [asyncio.run(kills(processes, count)) for processes in (1, 2)]
    cut = asyncio.run(partitions(PARTITIONS))
    rows = [
        (
            f"{one['processes']} process{'es' if one['processes'] > 1 else ''}",
            one["kills"],
            one["in_flight"],
            *(f"{percentile(one['ms'], share):,.0f}" for share in (0.5, 0.99)),
            f"{one['ms'][-1]:,.0f}",
        )
        for one in found
    ]
    rows.append(
        ("partition", len(cut), "", f"{percentile(cut, 0.5):,.0f}", f"{percentile(cut, 0.99):,.0f}", f"{cut[-1]:,.0f}")
    )
    bars = []
    for one in found:
        what = f"{one['processes']} process(es)"
        bars.append(verdict(f"commit to last effect, {what}, p99, ms", percentile(one["ms"], 0.99), 1_000))
        bars.append(verdict(f"commit to last effect, {what}, max, ms", one["ms"][-1], 2_000))
    bars.append(verdict("partition to last effect, max, ms", cut[-1], 2_000))
    text = "\n".join(
        [
            f"From the commit of a kill to the last effect at the server, in milliseconds; {RATE} calls/s over {TASKS} tasks, each",
            f"with a long call on every gateway that has an effect every {TICK_S * 1_000:.0f} ms until it is stopped.",
            "",
            table(("", "kills", "calls under way", "p50", "p99", "max"), rows),
            "",
            verdicts(bars),
        ]
    )
    return text, {"kills": found, "partitions": cut, "bars": bars}
