"""The real gateway: `lictor serve` as a process of its own, the suite behind it as an MCP server, a plain HTTP client before it.

The harness opens tasks and answers holds through the Python API on the same SQLite log, as an application and a person would.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.agentdojo.contracts import declared
from benchmarks.agentdojo.inprocess import CALLS
from benchmarks.agentdojo.people import AGENT, BUDGET, HUMAN, PURPOSE, Outcome
from benchmarks.agentdojo.suites import Lab, World
from benchmarks.agentdojo.upstream import Server
from lictor.app import House, open_house
from lictor.model.approval import seal_of
from lictor.model.contract import ContractSource
from lictor.model.ids import AgentId, HoldId, HumanId
from lictor.model.task import Budget
from lictor.policy.contracts import contract_from
from lictor.service.people.approve import Proof

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "agentdojo", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
START_S = 60.0


class Client:
    """`tools/call` over one kept connection, nothing else."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.seconds: list[float] = []

    async def call(self, token: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The whole JSON-RPC answer."""
        return await asyncio.to_thread(self._call, token, name, arguments)

    def _call(self, token: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        params = {"name": name, "arguments": arguments, "_meta": META}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": name,
        }
        begin = time.perf_counter()
        self._connection.request("POST", "/mcp", body, headers)
        reply = self._connection.getresponse()
        text = reply.read().decode()
        self.seconds.append(time.perf_counter() - begin)
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            text = next(line[5:] for line in reversed(text.splitlines()) if line.startswith("data:"))
        answer: dict[str, Any] = json.loads(text)
        return answer


class Session:
    """One task through the gateway."""

    def __init__(self, stand: "Stand", world: World) -> None:
        self._stand = stand
        self._world = world
        self._token = ""

    async def open(self, prompt: str, contract: dict[str, Any] | None) -> None:
        """Open a task with a token of its own."""
        house, policy = self._stand.house, self._stand.house.policy.current()
        bound = contract_from(contract, ContractSource.PERSON, policy) if contract is not None else None
        opened = await house.tasks.open(
            agent=AgentId(AGENT),
            human=HumanId(HUMAN),
            purpose=PURPOSE,
            trusted_text=prompt,
            ttl_s=3_600,
            budget=Budget(calls=CALLS, value=BUDGET),
            audience=house.settings.audience,
            by=HUMAN,
            token=True,
            contract=bound,
            declared=declared(contract),
        )
        self._token = opened.token
        self._stand.server.world = self._world

    async def call(self, tool: str, arguments: dict[str, Any], *, approve: bool) -> Outcome:
        """One call; a hold is answered by the person, and the call repeated."""
        ran, refusal = await self._once(tool, arguments)
        held = refusal.get("hold", "")
        asked = bool(held) and refusal.get("reason") == "needs_approval"
        if asked and approve:
            hold = self._stand.house.store.hold(HoldId(held))
            if hold is not None:
                await self._stand.house.answer.approve(hold.id, Proof(human=HumanId(HUMAN)), seal_of(hold))
                ran, refusal = await self._once(tool, arguments)
        return Outcome(ran=ran, asked=asked, reason="" if ran else str(refusal.get("reason", "refused")))

    async def end(self) -> None:
        """Nothing is left to wait for: a reply is durable before it is seen."""

    async def _once(self, tool: str, arguments: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        before = len(self._world.ran)
        name = f"{self._stand.suite}__{tool}"
        answer = await self._stand.client.call(self._token, name, arguments)
        ran = len(self._world.ran) > before
        found = answer.get("result", {}).get("_meta", {}).get("dev.lictor/refusal") or answer.get("error", {}).get(
            "data"
        )
        return ran, found or {}


class Stand:
    """One suite's gateway with everything round it."""

    def __init__(self, suite: str, house: House, client: Client, server: Server) -> None:
        self.suite = suite
        self.house = house
        self.client = client
        self.server = server

    async def session(self, world: World) -> Session:
        """A fresh task in front of a fresh environment."""
        return Session(self, world)


@contextlib.asynccontextmanager
async def running(lab: Lab, bundle: Path, folder: Path) -> AsyncIterator[Stand]:
    """Copy the bundle, start server and gateway, open the house; end all of it afterwards."""
    import uvicorn

    port, upstream = _free(), _free()
    shutil.copytree(bundle, folder, dirs_exist_ok=True)
    settings = (
        f'[listen]\nport = {port}\n\n[servers.{lab.name}]\nurl = "http://127.0.0.1:{upstream}/mcp"\nshared = true\n'
    )
    (folder / "lictor.toml").write_text(settings, "utf-8")
    server = Server(lab)
    config = uvicorn.Config(
        server, host="127.0.0.1", port=upstream, log_level="error", access_log=False, lifespan="off"
    )
    hosted = uvicorn.Server(config)
    serving = asyncio.create_task(hosted.serve())
    house = await open_house(folder)
    environment = {**os.environ, "LICTOR_BUNDLE": str(folder)}
    command = (sys.executable, "-m", "lictor", "serve", "--bundle", str(folder))
    with (folder.parent / f"{lab.name}.gateway.txt").open("wb") as said:
        gateway = await asyncio.create_subprocess_exec(*command, env=environment, stderr=said, stdout=said)
        try:
            await _listening(port, gateway)
            yield Stand(lab.name, house, Client(port), server)
        finally:
            if gateway.returncode is None:
                gateway.send_signal(signal.SIGTERM)
            await gateway.wait()
            hosted.should_exit = True
            await serving
            house.close()


def _free() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _listening(port: int, gateway: asyncio.subprocess.Process) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if gateway.returncode is not None:
            raise RuntimeError("the gateway ended while it started")
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    raise TimeoutError("the gateway did not start")
