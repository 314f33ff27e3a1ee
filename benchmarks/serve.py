"""One contender as a process: `python -m benchmarks.serve ROLE PORT [UPSTREAM_PORT]`. Prints one JSON line when it listens."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import HOP_CORE, LOAD_CORE, pin, scratch
from benchmarks.wire import DEFINITION, TOOL

UPSTREAMS = ("fast", "sdk")
App = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def ready(**more: object) -> None:
    """Tell the conductor."""
    print(json.dumps({"ready": True, "tool": TOOL, "token": "none", **more}), flush=True)


async def serve_asgi(app: Any, port: int, *, lifespan: str = "off") -> None:
    """The same server under every ASGI contender."""
    import uvicorn

    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        log_level="error",
        access_log=False,
        lifespan=lifespan,
        date_header=False,
        server_header=False,
    )
    await uvicorn.Server(config).serve()


# -- upstreams -------------------------------------------------------------------------------------------------------------


class Fast(asyncio.Protocol):
    """The least an MCP server can be: one read, one write, nothing checked."""

    def __init__(self) -> None:
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(body) < length:
            return
        self.data = b""
        if not head.startswith(b"POST"):
            self.transport.write(b"HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n")
            return
        message = json.loads(body)
        answer = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": self.result(message)}).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(answer), answer)
        )

    @staticmethod
    def result(message: dict[str, Any]) -> dict[str, Any]:
        match message["method"]:
            case "server/discover":
                return {
                    "resultType": "complete",
                    "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "fast", "version": "1"},
                    "ttlMs": 0,
                    "cacheScope": "public",
                }
            case "tools/list":
                return {"resultType": "complete", "tools": [DEFINITION], "ttlMs": 0, "cacheScope": "public"}
            case "tools/call":
                text = message["params"]["arguments"]["text"]
                return {"resultType": "complete", "content": [{"type": "text", "text": text}]}
        return {"resultType": "complete", "prompts": [], "ttlMs": 0, "cacheScope": "public"}


async def fast(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Fast, "127.0.0.1", port)
    ready()
    await server.serve_forever()


async def sdk(port: int) -> None:
    """The official SDK's server, JSON replies."""
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("sdk", log_level="ERROR")

    @server.tool()
    def echo(text: str, number: int = 0) -> str:  # noqa: ARG001
        """Gives back its text."""
        return text

    ready()
    await serve_asgi(server.streamable_http_app(json_response=True, stateless_http=True), port, lifespan="on")


# -- hops ------------------------------------------------------------------------------------------------------------------


async def bare(port: int, upstream: int) -> None:
    """The pass-through: the same server and the same client as the gateway, bytes in, bytes out, nothing read."""
    from lictor.model.limits import Limits
    from lictor.pep.mcp.upstream.client import Body, open_session, read_body
    from lictor.pep.mcp.upstream.client import send as send_up
    from lictor.pep.mcp.upstream.http1.address import check_url
    from lictor.pep.mcp.upstream.http1.outgoing import whole

    limits = Limits()
    address = check_url(f"http://127.0.0.1:{upstream}/mcp")
    pool = open_session(limits).pool(address)
    line = f"{address.target} HTTP/1.1\r\nHost: {address.authority}\r\n".encode()
    dropped = {b"host", b"content-length", b"connection", b"authorization"}

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            event = await receive()
            body += event.get("body", b"")
            if not event.get("more_body"):
                break
        passed = b"".join(b"%b: %b\r\n" % pair for pair in scope["headers"] if pair[0] not in dropped)
        sent = Body(body)
        response = await send_up(pool, whole(scope["method"].encode() + b" " + line, passed, body), sent)
        data = await read_body(response, sent, limits)
        response.release()
        kind = response.head.fields.get(b"content-type", b"")
        fields = [(b"content-type", kind), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": response.status, "headers": fields})
        await send({"type": "http.response.body", "body": data})

    ready()
    await serve_asgi(app, port)


async def fastmcp_connected(port: int, upstream: int) -> None:
    """fastmcp's proxy over a client that stays connected."""
    from fastmcp import Client
    from fastmcp.server import create_proxy

    async with Client(f"http://127.0.0.1:{upstream}/mcp", mode="auto") as client:
        ready()
        await serve_asgi(
            create_proxy(client, name="proxy").http_app(json_response=True, stateless_http=True), port, lifespan="on"
        )


async def fastmcp_shipped(port: int, upstream: int) -> None:
    """fastmcp's proxy as documented: `create_proxy(url)`."""
    from fastmcp.server import create_proxy

    ready()
    proxy = create_proxy(f"http://127.0.0.1:{upstream}/mcp", name="proxy")
    await serve_asgi(proxy.http_app(json_response=True, stateless_http=True), port, lifespan="on")


async def gate(port: int, upstream: int, *, durable: bool) -> None:
    """Lictor as `lictor serve` wires it; in memory only the store is another."""
    from benchmarks.house import opened
    from lictor.app import Runtime, servers_of
    from lictor.app.listen import http_server

    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        house, token = await opened(Path(folder), port, upstream, durable=durable)
        runtime = Runtime(house, servers_of(house.settings), prefixed=False)
        async with runtime.running():
            ready(token=token)
            await http_server(runtime).serve()


ROLES: dict[str, Callable[..., Any]] = {
    "fast": fast,
    "sdk": sdk,
    "bare": bare,
    "memory": lambda *ports: gate(*ports, durable=False),
    "durable": lambda *ports: gate(*ports, durable=True),
    "fastmcp-connected": fastmcp_connected,
    "fastmcp-shipped": fastmcp_shipped,
}


def main() -> None:
    """Run a role on its core, on the loop `lictor serve` runs on."""
    import uvloop

    # uvicorn raises the signal again once it has stopped: let that end the program in good order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    role, *ports = sys.argv[1:]
    pin(LOAD_CORE if role in UPSTREAMS else HOP_CORE)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ROLES[role](*(int(port) for port in ports)))


if __name__ == "__main__":
    main()
