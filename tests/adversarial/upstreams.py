"""The servers behind the gateway: `Upstream` objects that do nothing but count, and keep the exact bytes they were given."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from adversarial.fixture import Definitions, upstream_definitions
from lictor.model.canonical import canonical, sha256_digest
from lictor.pep.mcp.seam import Era, Notify, Offer, Reply

EFFECTS = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete"})
"""Methods that do something; lists do not."""

Fault = Callable[[str, str], None]
"""(server, method) -> nothing, or raises what a broken server raises."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that really happened."""

    server: str
    name: str
    data: bytes
    """The argument bytes as received."""
    recorded: bool
    """Whether an execution for exactly these bytes was durable at that moment."""
    shared: str = ""

    @property
    def digest(self) -> str:
        return sha256_digest(self.data)


@dataclass(slots=True)
class Servers:
    """All servers of one world: what they offer, what they were made to do."""

    offered: Definitions = field(default_factory=upstream_definitions)
    results: dict[str, str] = field(default_factory=dict)
    """Text of a tool's result, by `server.tool`."""
    effects: list[Effect] = field(default_factory=list)
    lists: int = 0
    fault: Fault | None = None
    after: Fault | None = None
    resources: dict[str, list[str]] = field(default_factory=dict)
    render: Callable[[Any], bytes] = msgspec.json.encode
    """How a list is written on the wire; formatting must not matter."""
    recorded: Callable[[str], bool] = lambda _digest: False
    wait: asyncio.Event | None = None
    """A call is answered when this is set; its effect has happened by then."""
    echo: bool = False
    """A call is answered with its own arguments."""
    flap: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]] | None = None

    def tool(self, server: str, name: str) -> dict[str, Any]:
        """The live definition."""
        return next(tool for tool in self.offered[server] if tool["name"] == name)


class FakeUpstream:
    """One connection (`lictor.pep.mcp.seam.Upstream`)."""

    def __init__(self, server: str, servers: Servers) -> None:
        self.server = server
        self.servers = servers
        self.closed = False
        self.offer = Offer(
            era=Era.MODERN,
            version="2026-07-28",
            capabilities={"tools": {}, **({"resources": {}} if servers.resources.get(server) else {})},
            server_info={"name": server, "version": "0"},
        )

    @property
    def alive(self) -> bool:
        return not self.closed

    async def request(
        self,
        method: str,
        params: dict[str, Any],
        *,
        sealed_arguments: bytes | None = None,
        client_capabilities: dict[str, Any] | None = None,
        timeout_s: float,
        notify: Notify | None = None,
        progress: bool = False,
        header_params: dict[str, tuple[str, ...]] | None = None,
    ) -> Reply:
        servers = self.servers
        if servers.fault is not None:
            servers.fault(self.server, method)
        if method == "tools/list":
            servers.lists += 1
            tools = servers.offered[self.server]
            if servers.flap is not None:
                tools = servers.flap(self.server, tools)
            return Reply(result=servers.render({"tools": tools}))
        if method == "resources/list":
            listed = [{"uri": uri, "name": uri} for uri in servers.resources.get(self.server, [])]
            return Reply(result=msgspec.json.encode({"resources": listed}))
        if method not in EFFECTS:
            return Reply(error={"code": -32601, "message": "not here"})
        name = str(params.get("name", params.get("uri", "")))
        data = sealed_arguments
        if data is None:
            data = canonical({key: value for key, value in params.items() if key != "_meta"})
        servers.effects.append(Effect(self.server, name, data, servers.recorded(sha256_digest(data))))
        if servers.after is not None:
            servers.after(self.server, method)
        if servers.wait is not None:
            await servers.wait.wait()
        text = data.decode() if servers.echo else servers.results.get(f"{self.server}.{name}", "done")
        if method == "resources/read":
            return Reply(result=msgspec.json.encode({"contents": [{"uri": name, "text": text}]}))
        return Reply(
            result=msgspec.json.encode({"content": [{"type": "text", "text": text}], "resultType": "complete"})
        )

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        return None

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        return None

    async def close(self) -> None:
        self.closed = True

    async def abort(self) -> None:
        self.closed = True

    def strike(self) -> None:
        self.closed = True
