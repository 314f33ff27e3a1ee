"""A house whose one server keeps having effects, for the tests of the kill switch: real store, real server, real gateway.

`Stage` is a bundle folder; `Stage.gateway` a live gateway on its store in this process, as `lictor serve` wires it. Several
gateways on one stage share the log like processes do.
"""

import asyncio
import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import warm
from adversarial.wire import Response, headers_for, modern, observe
from integration import live
from integration.live import PORT
from lictor.cli.demonstration.stage import free_port
from lictor.model.ids import TaskId
from lictor.model.record import ExecutionEnded, ExecutionStarted
from lictor.policy.catalogue import pin_of

LICTOR = str(Path(sys.executable).with_name("lictor"))
TICKING = Path(__file__).parents[1] / "servers" / "ticking.py"
POLICY = """
@id("writes") @owner("os:me") @reason("tested")
permit (principal, action in Action::"write", resource);

@id("opens") @owner("os:me") @reason("tested")
permit (principal, action == Action::"task:open", resource);

@id("held") @owner("os:me") @reason("a person decides")
permit (principal, action in Action::"read", resource)
when { context has approval && context.approval.groups.contains("owner") };
"""


def definitions() -> list[dict[str, Any]]:
    """The server's tools, as it says them."""
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "ms": {"type": "integer"}},
        "required": ["name", "ms"],
        "additionalProperties": False,
    }
    return [
        {"name": name, "description": "Has effects for some time.", "inputSchema": schema} for name in ("tick", "peek")
    ]


@dataclass
class Stage:
    """A bundle folder with a server named `clock` (tools `tick`, a write, and `peek`, which people approve)."""

    folder: Path
    manners: str = "obeys"
    http: bool = False
    limits: str = ""
    port: int = field(default_factory=free_port)
    listen: int = PORT
    server: Any = None

    def __post_init__(self) -> None:
        effects = self.folder / "effects"
        command = [sys.executable, str(TICKING), str(effects), self.manners]
        where = f'url = "http://127.0.0.1:{self.port}/mcp"' if self.http else f"command = {json.dumps(command)}"
        tools = definitions()
        entries = "".join(
            f'[tools.{tool["name"]}]\neffect = "{"write" if tool["name"] == "tick" else "read"}"\npin = "{pin_of(tool)}"\n'
            for tool in tools
        )
        agent = 'owner = "os:{}"\nreview_by = 2099-12-31\n'
        files = {
            "lictor.toml": f"hold_wait_s = 30.0\n[listen]\nport = {self.listen}\n[limits]\n{self.limits}\n[servers.clock]\n{where}\n",
            "agents.toml": 'purposes = ["test"]\n[agents.coder]\ndelegates_to = ["helper"]\n'
            + agent.format("ann")
            + "[agents.helper]\n"
            + agent.format("ann")
            + "[agents.other]\n"
            + agent.format("bob"),
            "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
            "policies/test.cedar": POLICY,
            "catalog/clock.toml": entries,
            "catalog/clock.definitions.json": json.dumps({"tools": tools}),
        }
        for name, text in files.items():
            path = self.folder / "bundle" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        self.bundle.chmod(0o755)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def log(self) -> Path:
        return self.bundle / ".lictor" / "log.db"

    def effects(self, name: str) -> list[int]:
        """When a named call had its effects, in nanoseconds of the machine's monotonic clock."""
        path = self.folder / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        return [int(at) for who, at in (line.split() for line in lines) if who == name]

    def quiet(self, name: str, since_ns: int) -> float:
        """Milliseconds from a moment to a call's last effect after it; 0 when there was none."""
        late = [at - since_ns for at in self.effects(name) if at > since_ns]
        return max(late, default=0) / 1e6

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator["Live"]:
        """A gateway that serves until the block ends."""
        async with live.started(self.bundle, prefixed=False) as parts:
            yield Live(*parts, stage=self)

    def beside(self, port: int) -> Path:
        """Another bundle folder on the same store, for a second process that listens elsewhere."""
        folder = self.folder / f"bundle-{port}"
        shutil.copytree(self.bundle, folder, ignore=shutil.ignore_patterns(".lictor"))
        text = (folder / "lictor.toml").read_text("utf-8").replace(f"port = {self.listen}", f"port = {port}")
        hosts = f'public_url = "http://127.0.0.1:{self.listen}"\nallowed_hosts = ["127.0.0.1:{port}"]\n'
        text = text.replace("[limits]", f"{hosts}[limits]", 1)
        (folder / "lictor.toml").write_text(f'state = "{self.bundle / ".lictor"}"\n{text}', "utf-8")
        return folder

    @contextlib.contextmanager
    def process(self, bundle: Path | None = None, *, healthy: bool = True, **env: str) -> Iterator["Process"]:
        """`lictor serve` until the block ends."""
        folder = bundle or self.bundle
        port = int(folder.name.rpartition("-")[2]) if bundle else self.listen
        with (self.folder / f"{folder.name}.log").open("ab") as log:
            running = Process(
                port,
                subprocess.Popen(
                    [LICTOR, "serve", "--bundle", str(folder)], stdout=log, stderr=log, env={**os.environ, **env}
                ),
                Path(log.name),
            )
            try:
                if healthy:
                    running.until_healthy()
                yield running
            finally:
                running.popen.terminate()
                try:
                    running.popen.wait(15)
                except subprocess.TimeoutExpired:
                    running.popen.kill()
                    running.popen.wait()

    def command(self, *words: str, code: int = 0) -> Any:
        """A command of ours on this stage; its JSON."""
        done = warm.run(*words, "--bundle", str(self.bundle), "--json")
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return json.loads(done.stdout or "null")

    def token(self, ttl_s: int = 600, agent: str = "coder") -> tuple[str, str]:
        """A fresh task and its token, by the command line."""
        opened = self.command("task", "open", "--agent", agent, "--purpose", "test", "--ttl", str(ttl_s))
        return opened["task"], opened["token"]

    @contextlib.asynccontextmanager
    async def upstream(self) -> AsyncIterator[None]:
        """The HTTP server."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(TICKING), str(self.folder / "effects"), self.manners, str(self.port)
        )
        try:
            while True:
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", self.port))[1].close()
                    break
                await asyncio.sleep(0.02)
            yield
        finally:
            process.kill()
            await process.wait()


@dataclass
class Process:
    """One `lictor serve`."""

    port: int
    popen: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str) -> int:
        """The status of a page; 0 when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def call(self, token: str, name: str, ms: int = 0) -> str:
        """A call of `tick`; its reason."""
        message = modern("tools/call", {"name": "clock__tick", "arguments": {"name": name, "ms": ms}})
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            headers = dict(headers_for(message, f"127.0.0.1:{self.port}", token))
            connection.request("POST", "/mcp", json.dumps(message).encode(), headers)
            answer = connection.getresponse()
            fields = [(name.lower().encode(), value.encode()) for name, value in answer.getheaders()]
            return observe(Response(answer.status, fields, answer.read())).reason
        finally:
            connection.close()

    def until_healthy(self, within_s: float = 30.0) -> None:
        """Wait until it says that it is ready."""
        until(lambda: self.popen.poll() is not None or self.get("/healthz") == 200, within_s)
        assert self.popen.poll() is None, self.log.read_text("utf-8")


def until(happened: Callable[[], bool], within_s: float) -> None:
    """Wait for something."""
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@dataclass(kw_only=True)
class Live(live.Live):
    """One gateway under way."""

    stage: Stage

    async def call(self, token: str, name: str, ms: int = 0, tool: str = "tick") -> str:
        """A call; its reason (`permitted` when it ran)."""
        response = await self.send(token, "tools/call", {"name": tool, "arguments": {"name": name, "ms": ms}})
        return observe(response).reason

    async def begun(self, name: str) -> None:
        """Wait for a call's first effect."""
        async with asyncio.timeout(20):
            while not self.stage.effects(name):
                await asyncio.sleep(0.01)

    def outcomes(self, task: TaskId) -> list[tuple[str, str]]:
        """(outcome, reason) of a task's executions that have ended."""
        records = self.records()
        own = {one.execution for one in records if isinstance(one, ExecutionStarted) and one.task == task}
        return [
            (one.outcome, one.reason) for one in records if isinstance(one, ExecutionEnded) and one.execution in own
        ]


def now_ns() -> int:
    """The machine's monotonic clock."""
    return time.monotonic_ns()
