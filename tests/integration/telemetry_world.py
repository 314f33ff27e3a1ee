"""A gateway on a real socket, as `lictor serve` wires it, with a page of figures and a collector; the SDK's own peers beside it."""

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from adversarial.wire import Response, ask, headers_for, modern
from integration.live import Live
from lictor.app import Runtime, open_house, servers_of
from lictor.app.metrics import metrics_served
from lictor.app.web import http_app
from lictor.policy.catalogue import pin_of
from servers import asking, traced

SERVERS = Path(__file__).parents[1] / "servers"
POLICY = """
@id("yes") @owner("os:me") @reason("asked nicely")
permit (principal, action == Action::"shop/ask", resource)
unless { context.input.text == "no" || context.input.text == "please" };

@id("please") @owner("os:me") @reason("people are asked")
permit (principal, action == Action::"shop/ask", resource)
when { context.input.text == "please" && context has approval && context.approval.groups.contains("owner") };
"""


def write(folder: Path, settings: str, *, port: int, otlp: str = "") -> Path:
    """The bundle; with `otlp` its server is the SDK's and traces itself, otherwise it is a small one."""
    bundle = folder / "bundle"
    program = ["traced.py", "server"] if otlp else ["asking.py"]
    command = json.dumps([sys.executable, "-u", str(SERVERS / program[0]), *program[1:]])
    env = f"env = {{ OTLP = {json.dumps(otlp)} }}\n" if otlp else ""
    tool = traced.TOOL if otlp else asking.TOOL
    files = {
        "lictor.toml": f"[listen]\nport = {port}\n{settings}\n[servers.shop]\ncommand = {command}\n{env}",
        "catalog/shop.toml": f'[tools.ask]\neffect = "read"\npin = "{pin_of(tool)}"\n',
        "catalog/shop.definitions.json": json.dumps({"tools": [tool]}),
        "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
        "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
        "policies/test.cedar": POLICY,
    }
    for name, text in files.items():
        path = bundle / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return bundle


@dataclass
class Seen(Live):
    """The gateway under way.

    Attributes:
        url: of its MCP endpoint.
        metrics: of the page of figures; empty without one.
        said: what it told its operator.
    """

    url: str
    metrics: str
    said: list[str]

    async def ask(self, token: str, text: str = "yes", **params: Any) -> str:
        """One call: what the server said, or the refusal."""
        said = {"name": "shop__ask", "arguments": {"text": text}, **params}
        return (await self.send(token, "tools/call", said)).body.decode()

    async def send(self, token: str, method: str, params: dict[str, Any]) -> Response:
        """One modern request, straight into the application."""
        message, host = modern(method, params), self.url.split("/")[2]
        return await ask(self.app, "POST", "/mcp", headers_for(message, host, token), json.dumps(message).encode())

    async def peer(self, token: str, text: str, otlp: str) -> str:
        """One call by the SDK's client, in a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SERVERS / "traced.py"),
            "client",
            self.url,
            token,
            "shop__ask",
            text,
            env={**os.environ, "OTLP": otlp},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        return out.decode()

    async def page(self, *, accept: str = "", token: str = "", host: str = "", path: str = "") -> tuple[int, str, str]:
        """Status, media type and text of the page of figures."""
        named = {"Accept": accept, "Authorization": f"Bearer {token}" if token else "", "Host": host}
        request = urllib.request.Request(
            self.metrics + path, headers={key: value for key, value in named.items() if value}
        )

        def read() -> tuple[int, str, str]:
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
                    return answer.status, answer.headers["content-type"], answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.headers["content-type"], error.read().decode()

        return await asyncio.to_thread(read)


@contextlib.asynccontextmanager
async def seen(settings: str, *, otlp: str = "") -> AsyncIterator[Seen]:
    """The gateway, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        listener = _listener()
        port = listener.getsockname()[1]
        house = await open_house(write(Path(folder), settings, port=port, otlp=otlp))
        said: list[str] = []
        house.say = said.append
        runtime = Runtime(house, servers_of(house.settings), prefixed=True)
        async with runtime.running(), metrics_served(runtime) as metrics:
            app = http_app(runtime)
            server = uvicorn.Server(
                uvicorn.Config(app, log_level="error", lifespan="off", access_log=False, timeout_graceful_shutdown=1)
            )
            server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            running = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            try:
                yield Seen(house, runtime, app, url=f"http://127.0.0.1:{port}/mcp", metrics=metrics, said=said)
            finally:
                server.should_exit = True
                await asyncio.wait_for(running, 10)


def _listener() -> Any:
    import socket

    return socket.create_server(("127.0.0.1", 0))
