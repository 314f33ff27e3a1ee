"""The downstream endpoint on a real socket, and raw requests to it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

from integration.downstream_house import AUDIENCE, StubServer, TestHouse, until
from lictor.model.limits import Limits
from lictor.pep.mcp.downstream.http import mcp_app
from lictor.pep.mcp.seam import Era
from lictor.stores.memory import MemoryStore

HOST = "gateway.test:8700"
ORIGIN = "https://app.test"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "raw", "version": "0"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
BOTH = "application/json, text/event-stream"


class Door:
    """A running endpoint, and raw requests to it."""

    def __init__(self, house: TestHouse, port: int, token: str, task: str) -> None:
        self.house, self.port, self.token, self.task = house, port, token, task

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def server(self) -> StubServer:
        return self.house.servers[-1]

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        await writer.drain()
        return reader, writer

    async def exchange(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes; status, headers and body of the answer, within ten seconds."""
        async with asyncio.timeout(10):
            reader, writer = await self.send(data)
            try:
                return await read_response(reader)
            finally:
                writer.close()

    def head(
        self,
        *,
        method: str = "POST",
        replace: dict[str, str | None] | None = None,
        extra: str = "",
        target: str = "/mcp",
    ) -> str:
        fields: dict[str, str | None] = {
            "Host": HOST,
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": BOTH,
            **(replace or {}),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
        return f"{method} {target} HTTP/1.1\r\n{lines}{extra}"

    async def post(
        self, body: Any, *, replace: dict[str, str | None] | None = None, extra: str = "", target: str = "/mcp"
    ) -> tuple[int, dict[str, str], bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = self.head(replace=replace, extra=extra, target=target)
        return await self.exchange(head.encode("latin-1") + b"Content-Length: %d\r\n\r\n" % len(data) + data)

    async def modern(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        meta: dict[str, Any] | None = None,
        replace: dict[str, str | None] | None = None,
        **options: Any,
    ) -> tuple[int, dict[str, str], bytes]:
        body = {
            "jsonrpc": "2.0",
            "id": 7,
            "method": method,
            "params": {**(params or {}), "_meta": META if meta is None else meta},
        }
        fields: dict[str, str | None] = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
        if "name" in (params or {}):
            fields["Mcp-Name"] = (params or {})["name"]
        return await self.post(body, replace={**fields, **(replace or {})}, **options)

    async def initialize(self, *, token: str | None = None) -> str:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "0"}}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        replace = {"Authorization": f"Bearer {token}"} if token else None
        status, headers, _ = await self.post(body, replace=replace)
        assert status == 200
        return headers["mcp-session-id"]


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    status, headers = await read_head(reader)
    if "content-length" in headers:
        return status, headers, await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while chunk := await read_chunk(reader):
            body += chunk
        return status, headers, body
    return status, headers, b""


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    size = int((await reader.readline()).strip(), 16)
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


def reason(body: bytes) -> str:
    return json.loads(body)["error"]["data"]["reason"]


@contextlib.asynccontextmanager
async def serving(
    era: Era = Era.LEGACY, limits: Limits | None = None, store: MemoryStore | None = None, **options: Any
) -> AsyncIterator[Door]:
    house = TestHouse(era=era, limits=limits, store=store)
    opened = await house.task()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = mcp_app(
        gateway=house.gateway,
        tasks=house.tasks,
        audience=AUDIENCE,
        allowed_hosts=frozenset({HOST, f"127.0.0.1:{port}"}),
        allowed_origins=frozenset({ORIGIN}),
        limits=house.settings.limits,
        store=house.store,
        clock=house.clock,
        ids=house.ids,
        **options,
    )
    config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield Door(house, port, opened.token, opened.task.id)
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, 10)
        await house.close()
    assert house.defects == []
