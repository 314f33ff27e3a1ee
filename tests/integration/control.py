"""A real gateway process for tests of the control plane: `lictor serve` on a bundle folder, and people and applications with secrets."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lictor.app import open_house
from lictor.model.ids import HumanId

POLICY = """
@id("reads") @owner("os:ann") @reason("reading is allowed")
permit (principal, action in [Action::"read"], resource);

@id("open/by-hand") @owner("os:ann") @reason("whoever can run lictor on this machine may open tasks")
permit (principal, action == Action::"task:open", resource)
when { ["operator", "agent"].contains(context.input.opener.kind) };

@id("open/people") @owner("os:ann") @reason("people open small tasks in their own name")
permit (principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "person" && context.input.opener.name == context.user.id }
when { context.input.calls <= 1000 };

@id("open/desk") @owner("os:ann") @reason("the desk opens support tasks for anybody")
permit (principal, action == Action::"task:open", resource == Purpose::"support")
when { context.input.opener.kind == "application" && context.input.opener.groups.contains("desks") };

@id("open/audit") @owner("os:ann") @reason("an audit is opened with an approval")
permit (principal, action == Action::"task:open", resource == Purpose::"audit")
when { context has approval && context.approval.groups.contains("owner") };
"""
FILES = {
    "agents.toml": """
purposes = ["support", "research", "audit"]
[agents.helper]
owner = "os:ann"
review_by = 2099-12-31
delegates_to = ["clerk"]
[agents.clerk]
owner = "os:ann"
review_by = 2099-12-31
[agents.retired]
owner = "os:ann"
review_by = 2000-01-01
""",
    "applications.toml": """
[applications.desk]
owner = "os:ann"
review_by = 2099-12-31
groups = ["desks"]
[applications.other]
owner = "os:ann"
review_by = 2099-12-31
groups = ["desks"]
[applications.old]
owner = "os:ann"
review_by = 2001-01-01
groups = ["desks"]
""",
    "approvers.toml": """
four_eyes = false
operators = ["operators"]
[approvers."os:ann"]
groups = ["owner", "operators"]
[approvers."os:bob"]
groups = ["owner"]
""",
    "signals.toml": """
[signals.control_plane]
at_least = 0.5
lay = "suspended"
""",
    "policies/test.cedar": POLICY,
    "catalog/stub.toml": '[features.logging]\neffect = "read"\n',
}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    @property
    def reason(self) -> str:
        return str(self.body["reason"])


@dataclass
class Gateway:
    """A bundle folder, its secrets, and the processes on it."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    ports: list[int] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> int:
        """One more process; its port."""
        port = free_port() if self.processes else self.ports[0]
        if self.processes:
            self.ports.append(port)
        settings = self.folder / "lictor.toml"
        text = settings.read_text().replace(f"port = {self.ports[0]}", f"port = {port}")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        if port != self.ports[0]:
            text = text.replace(
                "[listen]", f'[listen]\npublic_url = "{self.url}"\nallowed_hosts = ["127.0.0.1:{port}"]'
            )
        keep = settings.read_text()
        settings.write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "lictor", "serve", "--bundle", str(self.folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder.parent / f"stderr-{port}").open("wb"),
        )
        self.processes.append(process)
        wait_for(port, process)
        settings.write_text(keep)
        return port

    def kill(self, index: int = 0) -> None:
        """No goodbye."""
        self.processes[index].send_signal(signal.SIGKILL)
        self.processes[index].wait()

    def restart(self) -> None:
        """The first process again, on its port."""
        self.processes.clear()
        self.start()

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            process.wait(20)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        who: str | None = "desk",
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
        port: int | None = None,
        timeout: float = 30,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.ports[0], timeout=timeout)
        sent = dict(headers or {})
        if who is not None:
            sent.setdefault("Authorization", f"Bearer {self.secrets.get(who, who)}")
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def records(self) -> list[Any]:
        """The log, decoded."""
        from lictor.model.record import decode_entry

        async def read() -> list[Any]:
            house = await open_house(self.folder, load=False)
            try:
                return [decode_entry(entry.data).record for entry in house.store.entries()]
            finally:
                house.close()

        return asyncio.run(read())


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError("the gateway ended")
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/v1/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError("the gateway did not come up")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make(folder: Path, files: dict[str, str] | None = None) -> Gateway:
    """A bundle with its people enrolled; nothing runs yet."""
    port = free_port()
    text = f'[listen]\nport = {port}\n[servers.stub]\nurl = "http://127.0.0.1:9/mcp"\n'
    for name, content in {**FILES, "lictor.toml": text, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    async def enrol() -> dict[str, str]:
        house = await open_house(folder)
        try:
            ann = await house.answer.enrol(HumanId("os:ann"), by="os:ann")
            bob = await house.answer.enrol(HumanId("os:bob"), by="os:ann", vouched_by=HumanId("os:ann"))
            found = {"ann": ann, "bob": bob}
            for name in ("desk", "other"):
                found[name] = await house.applications.enrol(name, by="os:ann", vouched_by=HumanId("os:ann"))
            return found
        finally:
            house.close()

    return Gateway(folder=folder, secrets=asyncio.run(enrol()), ports=[port])


def wish(**changes: Any) -> dict[str, Any]:
    """What the desk asks for."""
    return {"agent": "helper", "human": "os:carol", "purpose": "support", "text": "help me", **changes}
