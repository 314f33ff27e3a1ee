"""Where a setting is looked at: a bundle folder with a `lictor.toml`, and the application as `lictor serve` wires it from that file."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import tomlkit

from adversarial.model import Observed
from adversarial.wire import Response, ask, headers_for, modern, observe
from lictor import app as application
from lictor.app.listen import http_server
from lictor.app.web import http_app
from lictor.cli.demonstration.stage import free_port
from lictor.config import Settings, read_settings
from lictor.model.errors import LictorError
from lictor.model.ids import AgentId, HumanId
from lictor.model.task import Budget
from lictor.pdp.decide import Pdp
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from security.probes import stub

_MEMORY = next((path for path in ("/dev/shm",) if os.access(path, os.W_OK)), None)
"""A disk adds nothing here but the time of its `fsync`."""
ANN, BOB = HumanId("os:ann"), HumanId("os:bob")
POLICY = """
@id("reads") @owner("os:ann") @reason("reading is allowed")
permit (principal, action in [Action::"read"], resource);

@id("writes") @owner("os:ann") @reason("a person decides")
permit (principal, action in [Action::"write"], resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("open") @owner("os:ann") @reason("anybody opens tasks")
permit (principal, action == Action::"task:open", resource);
"""
AGENTS = """
purposes = ["test"]
[agents.one]
owner = "os:ann"
review_by = 2099-12-31
delegates_to = ["two"]
[[agents.one.proofs]]
issuer = "corp"
subject = "robot"
[agents.two]
owner = "os:ann"
review_by = 2099-12-31
delegates_to = ["three"]
[agents.three]
owner = "os:ann"
review_by = 2099-12-31
"""


def files(**changes: str) -> dict[str, bytes]:
    """The bundle but for `lictor.toml`; `changes` are by path."""
    tools = "".join(
        f'[tools.{tool["name"]}]\neffect = "{"write" if tool["name"] == "edit" else "read"}"\npin = "{pin_of(tool)}"\n'
        for tool in stub.TOOLS
    )
    texts = {
        "agents.toml": AGENTS,
        "approvers.toml": '[approvers."os:ann"]\ngroups = ["owner"]\n[approvers."os:bob"]\ngroups = ["owner"]\n',
        "policies/test.cedar": POLICY,
        "catalog/stub.toml": tools,
        "catalog/stub.definitions.json": json.dumps({"tools": stub.TOOLS}),
        **changes,
    }
    return {path: text.encode() for path, text in texts.items()}


@lru_cache(maxsize=1)
def compiled() -> Pdp:
    """The bundle, compiled once: no setting has a part in it."""
    found = files()
    return compile_bundle(load_bundle(found, parse_guarded(found)))


def nested(dotted: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a.b": 1}` as `{"a": {"b": 1}}`."""
    root: dict[str, Any] = {}
    for key, value in dotted.items():
        *tables, last = key.split(".")
        table = root
        for name in tables:
            table = table.setdefault(name, {})
        table[last] = value
    return root


@dataclass
class Place:
    """A folder, what its `lictor.toml` says, and the servers around it."""

    folder: Path
    said: dict[str, Any] = field(default_factory=dict)
    behaviour: stub.Behaviour = field(default_factory=stub.Behaviour)
    around: dict[str, Any] = field(default_factory=dict)
    """What a probe's surroundings left for it: keys, counters, ports."""

    def write(self) -> None:
        """Write the file."""
        (self.folder / "lictor.toml").write_text(tomlkit.dumps(nested(self.said)))

    def settings(self) -> Settings:
        """What is read from it."""
        return read_settings(self.folder)

    @contextlib.asynccontextmanager
    async def house(self) -> AsyncIterator[application.House]:
        """The house of the folder, with the policy in force."""
        house = await application.open_house(self.folder, load=False)
        house.policy.swap(compiled())
        try:
            yield house
        finally:
            with contextlib.suppress(LictorError):
                house.close()

    @contextlib.asynccontextmanager
    async def stand(self, *, running: bool = False) -> AsyncIterator["Stand"]:
        """The application. With `running` also what goes on beside requests."""
        async with AsyncExitStack() as stack:
            house = await stack.enter_async_context(self.house())
            runtime = application.Runtime(house, application.servers_of(house.settings), prefixed=False)
            if running:
                await stack.enter_async_context(runtime.running())
            else:
                stack.push_async_callback(_closed, runtime)
            yield Stand(self, house, runtime, http_app(runtime))


async def _closed(runtime: application.Runtime) -> None:
    await runtime.calls.execute.drain()
    await runtime.connections.close()
    await runtime.lending.close()
    await runtime.entrance.close()
    await runtime.pool.close()
    runtime.instance.close()


@dataclass
class Stand:
    """The application of a place."""

    place: Place
    house: application.House
    runtime: application.Runtime
    app: Any

    async def token(self, agent: str = "one", ttl_s: int = 600) -> str:
        """A fresh task's token."""
        return (await self.opened(agent, ttl_s)).token

    async def opened(self, agent: str = "one", ttl_s: int = 600) -> Any:
        """A fresh task."""
        return await self.house.tasks.open(
            agent=AgentId(agent),
            human=ANN,
            purpose="test",
            trusted_text="",
            ttl_s=ttl_s,
            budget=Budget(calls=100),
            audience=self.house.settings.audience,
            by="os:ann",
            token=True,
        )

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        token: str = "",
        more: Mapping[str, str] | None = None,
        asks: bool = True,
        meta: Mapping[str, Any] | None = None,
    ) -> Observed:
        """A tool call at the MCP endpoint. `asks`: whether the client can be asked something in between."""
        params: dict[str, Any] = {"name": tool, "arguments": dict(arguments or {}), "_meta": dict(meta or {})}
        if not asks:
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {}
        message = modern("tools/call", params)
        headers = headers_for(message, self.host, token or await self.token())
        return observe(
            await ask(self.app, "POST", "/mcp", [*headers, *(more or {}).items()], json.dumps(message).encode())
        )

    @property
    def host(self) -> str:
        """The name it is served under."""
        return self.house.settings.public_url.partition("://")[2]

    async def get(self, path: str, headers: Mapping[str, str] | None = None, query: str = "") -> Response:
        """A GET."""
        return await ask(self.app, "GET", path, list({"Host": self.host, **(headers or {})}.items()), query=query)

    async def told(self, token: str = "") -> dict[str, Any]:
        """What the server knows of its surroundings."""
        seen = await self.call("told", token=token)
        return dict(json.loads(seen.facts["message"]["result"]["content"][0]["text"]))

    async def held(self, token: str) -> str:
        """The hold of a call that needs a person."""
        seen = await self.call("edit", token=token)
        found = re.search(r"/holds/(\S+)", seen.facts["url"])
        if found is None:
            raise LookupError(seen.text)
        return found[1]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Any]:
        """The same over a real socket."""
        server = http_server(self.runtime)
        job = asyncio.create_task(server.serve())
        while not server.started and not job.done():
            await asyncio.sleep(0.01)
        try:
            yield server
        finally:
            server.should_exit = True
            with contextlib.suppress(SystemExit):
                await job


@contextlib.contextmanager
def place(said: Mapping[str, Any], around: Any = None) -> Iterator[Place]:
    """A place with these settings, with a server where none is named.

    Args:
        said: dotted keys.
        around: a context manager of the place: what has to be there beside it; it may change `said` before the file is written.
    """
    with contextlib.ExitStack() as stack:
        made = Place(
            Path(stack.enter_context(tempfile.TemporaryDirectory(dir=_MEMORY))), {"listen.port": free_port(), **said}
        )
        if not any(key.startswith("servers.") and key.endswith((".url", ".command")) for key in said):
            made.said["servers.stub.url"] = stack.enter_context(stub.served(made.behaviour))
        for path, data in files().items():
            target = made.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        if around is not None:
            stack.enter_context(around(made))
        made.write()
        yield made


def command(mark: str = "") -> list[str]:
    """The stub as a program."""
    return [sys.executable, "-S", stub.__file__, mark]


def reached(host: str, port: int, context: ssl.SSLContext | None = None) -> int:
    """The status of a health check over a socket; 0: nobody answers. Blocking."""
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    try:
        connection.request("GET", "/v1/healthz")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
