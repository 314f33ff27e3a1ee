"""A real gateway on the office's bundle, agents that call it over HTTP, and what happened because of them."""

import asyncio
import contextlib
import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from browser import bundle
from browser.bundle import ANN, ME, PEOPLE
from integration.peers import LICTOR
from lictor.app import open_house
from lictor.cli.demonstration.stage import free_port
from lictor.model.approval import Hold, seal_of
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HoldId, HumanId
from lictor.model.task import Budget
from lictor.service.people.approve import Proof
from lictor.service.tasks.tasks import Wish

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "office", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
START_S = 30.0


@dataclass
class House:
    """Bundle, gateway process, people's secrets."""

    folder: Path
    hold_wait_s: float = 10.0
    port: int = field(default_factory=free_port)
    secrets: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    inner: Any = None
    """The same house, open in this process."""

    @property
    def base(self) -> str:
        """By a name, so that passkeys work."""
        return f"http://localhost:{self.port}"

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    async def prepare(self) -> None:
        """Bundle and people; nothing runs. What opens tasks here shares the log with the gateway, as the command line does."""
        self.project.mkdir(parents=True)
        (self.project / "README.md").write_text("# Lantern\n\nA small lamp controller.\n", "utf-8")
        (self.project / "NOTES.md").write_text("Release 1.3\n\n- Dims to zero.\n- Less flicker.\n", "utf-8")
        bundle.write(self.bundle, self.project, self.folder, port=self.port, hold_wait_s=self.hold_wait_s)
        self.inner = await open_house(self.bundle)
        for person in PEOPLE:
            self.secrets[person] = await self.inner.answer.enrol(HumanId(person), by=ME, vouched_by=HumanId(person))

    # -- people who answer elsewhere

    def hold(self, hold: str) -> Hold:
        """A hold as it is on record."""
        found = self.inner.store.hold(HoldId(hold))
        assert found is not None
        return found

    async def holds(self, number: int, task: str) -> list[Hold]:
        """So many holds of a task, as soon as they are on record."""
        for _ in range(600):
            found = [one for one in self.inner.store.holds() if one.task == task]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{len(found)} holds")

    async def approve(self, hold: Hold, person: str = ME) -> None:
        """A yes given in the terminal."""
        await self.inner.answer.approve(hold.id, Proof(human=HumanId(person)), seal_of(hold), "looks right")

    # -- the process

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen([LICTOR, "serve", "--bundle", str(self.bundle)], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{self.port}/healthz").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.said())

    def end(self, how: int = signal.SIGINT) -> None:
        """End it, one way or another."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None

    def crash(self) -> None:
        """`kill -9`, and up again."""
        self.end(signal.SIGKILL)
        self.start()

    def said(self) -> str:
        return (self.folder / "gateway.log").read_text("utf-8")

    # -- agents

    async def task(self, agent: str = "assistant", purpose: str = "prepare-release", text: str = "") -> "Agent":
        """A fresh task."""
        budget = Budget(calls=500, value={"EUR": 500_000})
        wish = Wish(agent=AgentId(agent), human=HumanId(ANN), purpose=purpose, text=text, ttl_s=3_600, budget=budget)
        opener = Opener(kind="operator", name=ME)
        opened = await self.inner.open(opener, wish, audience=self.inner.settings.audience, by=ME)
        return Agent(self, opened.task.id, opened.token)

    def effects(self, name: str) -> int:
        """How often something really happened."""
        path = self.folder / "effects"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        return sum(line.startswith(f"{name} ") for line in lines)


@dataclass(frozen=True)
class Told:
    """What an agent was answered."""

    failed: bool
    text: str

    @property
    def hold(self) -> str:
        """The hold it was told of."""
        return self.text.partition("/holds/")[2].split()[0].strip('".,)') if "/holds/" in self.text else ""


@dataclass(frozen=True)
class Agent:
    """One task's token in use."""

    house: House
    task: str
    token: str

    async def call(self, tool: str, **arguments: Any) -> Told:
        """One call; a held one waits as long as the gateway lets it."""
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": META},
        }
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tools/call",
            "Mcp-Name": tool,
        }
        async with httpx2.AsyncClient(timeout=60) as client:
            reply = await client.post(f"http://127.0.0.1:{self.house.port}/mcp", json=body, headers=headers)
        return told(reply.text)

    async def write(self, name: str, text: str = "text\n") -> Told:
        """Write a file of the project."""
        return await self.call("files__write_file", path=str(self.house.project / name), content=text)


def told(body: str) -> Told:
    """An answer, of one message or of a stream's last."""
    data = [line[5:] for line in body.splitlines() if line.startswith("data:")]
    message = json.loads(data[-1] if data else body)
    if "error" in message:
        return Told(failed=True, text=json.dumps(message["error"]))
    result = message["result"]
    return Told(result.get("isError", False), "".join(one.get("text", "") for one in result.get("content", ())))


@contextlib.asynccontextmanager
async def running(folder: Path, **how: Any) -> AsyncIterator[House]:
    """A house that serves until the block ends."""
    house = House(folder, **how)
    await house.prepare()
    await asyncio.to_thread(house.start)
    try:
        yield house
    finally:
        await asyncio.to_thread(house.end)
        house.inner.close()


@contextlib.asynccontextmanager
async def waiting(call: Any) -> AsyncIterator[asyncio.Task[Told]]:
    """A call under way."""
    task = asyncio.create_task(call)
    try:
        yield task
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
