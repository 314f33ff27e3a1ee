"""A small MCP server of the 2025-11-25 protocol whose answers can be made large, slow or endless; over HTTP in a thread, or on stdio."""

import contextlib
import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FREE = {"type": "object", "properties": {}, "additionalProperties": True}
TOOLS = [
    {"name": name, "description": name, "inputSchema": FREE} for name in ("echo", "big", "many", "slow", "told", "edit")
]


@dataclass
class Behaviour:
    """What a test may change."""

    mark: str = ""
    """Told by every `told`."""
    pages: int = 1
    """Pages of the list of tools."""
    greeting_s: float = 0.0
    """Seconds before the first answer."""
    calls: list[str] = field(default_factory=list)
    metas: list[dict[str, Any]] = field(default_factory=list)
    """`_meta` of each call."""
    lock: threading.Lock = field(default_factory=threading.Lock)


def answer(message: dict[str, Any], behaviour: Behaviour, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The answer to one message; None to a notification."""
    if "id" not in message:
        return None
    method, params = message["method"], message.get("params", {})
    found: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "initialize":
        time.sleep(behaviour.greeting_s)
        offer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        return {**found, "result": {**offer, "serverInfo": {"name": "stub", "version": "0"}}}
    if method == "tools/list":
        page = int(params.get("cursor", "0")) + 1
        more = {"nextCursor": str(page)} if page < behaviour.pages else {}
        return {**found, "result": {"tools": TOOLS if page == 1 else [], **more}}
    if method == "tools/call":
        behaviour.calls.append(params["name"])
        behaviour.metas.append(params.get("_meta", {}))
        return {
            **found,
            "result": _called(params["name"], params.get("arguments", {}), {**facts, "mark": behaviour.mark}),
        }
    return {**found, "error": {"code": -32601, "message": "no such method"}}


def _called(name: str, given: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    text, more = "done", {}
    match name:
        case "big":
            text = "x" * int(given["bytes"])
        case "many":
            more = {"structuredContent": {"rows": [0] * int(given["rows"])}}
        case "slow":
            time.sleep(float(given["seconds"]))
        case "told":
            text = json.dumps(facts)
        case _:
            pass
    return {"content": [{"type": "text", "text": text}], **more}


@contextlib.contextmanager
def served(behaviour: Behaviour) -> Iterator[str]:
    """Its URL, over HTTP."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = answer(
                message, behaviour, {"headers": {name.lower(): value for name, value in self.headers.items()}}
            )
            data = b"" if found is None else json.dumps(found).encode()
            with contextlib.suppress(OSError):  # who asked may have given up
                self.send_response(202 if found is None else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        def do_GET(self) -> None:
            self.send_response(405)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_DELETE = do_GET  # noqa: N815 - the base class's name

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/mcp"
    finally:
        server.shutdown()
        server.server_close()


def main() -> None:
    """On stdio; the first argument is its mark."""
    behaviour = Behaviour(mark=sys.argv[1])
    facts = {"env": dict(os.environ), "cwd": str(Path.cwd()), "pid": os.getpid()}
    for line in sys.stdin:
        found = answer(json.loads(line), behaviour, facts)
        if found is not None:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
