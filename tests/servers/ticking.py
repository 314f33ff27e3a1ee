"""An MCP server whose one tool keeps having effects: `python ticking.py EFFECTS MANNERS [PORT]`.

Each effect is a line `NAME MONOTONIC_NS` at the end of the file EFFECTS; the clock is the machine's, so that other processes can
compare. MANNERS: `obeys` a cancellation, `ignores` it, or is `stubborn`: ignores it, SIGTERM and the end of its input too.
With a port it speaks HTTP (a closed connection is a cancellation), else stdio. Standard library only.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EFFECTS, MANNERS = sys.argv[1], sys.argv[2]
FILE = os.open(EFFECTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
STEP_S = 0.005
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "ms": {"type": "integer"}},
    "required": ["name", "ms"],
    "additionalProperties": False,
}
TOOLS = [
    {"name": name, "description": "Has effects for some time.", "inputSchema": SCHEMA} for name in ("tick", "peek")
]
CANCELLED: dict = {}
LOCK = threading.Lock()


def effect(name):
    """One more."""
    os.write(FILE, f"{name} {time.monotonic_ns()}\n".encode())


def tick(arguments, cancelled):
    """Effects until the time is up, or until it was cancelled and obeys."""
    end = time.monotonic() + arguments["ms"] / 1000
    effect(arguments["name"])
    while time.monotonic() < end:
        if MANNERS == "obeys" and cancelled():
            return
        time.sleep(STEP_S)
        effect(arguments["name"])


def result_of(message):
    """Everything but a tool's call."""
    match message["method"]:
        case "server/discover":
            return {
                "resultType": "complete",
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "ticking", "version": "1"},
                "ttlMs": 0,
                "cacheScope": "private",
            }
        case "tools/list":
            return {"resultType": "complete", "tools": TOOLS, "ttlMs": 0, "cacheScope": "private"}
        case "tools/call":
            return {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}
    return {"resultType": "complete", "prompts": [], "ttlMs": 0, "cacheScope": "private"}


# -- stdio -------------------------------------------------------------------------------------------------------------


def say(message):
    """One line."""
    with LOCK:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def carry_out(message):
    """One call, on a thread of its own."""
    stopped = CANCELLED[message["id"]]
    tick(message["params"]["arguments"], stopped.is_set)
    if not stopped.is_set() or MANNERS != "obeys":
        say({"jsonrpc": "2.0", "id": message["id"], "result": result_of(message)})


def stdio():
    """Serve until the input ends, or for ever."""
    if MANNERS == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            CANCELLED.get(message["params"]["requestId"], threading.Event()).set()
        elif message.get("method") == "subscriptions/listen":
            say(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/subscriptions/acknowledged",
                    "params": {
                        "_meta": {"io.modelcontextprotocol/subscriptionId": message["id"]},
                        "notifications": message["params"].get("notifications", {}),
                    },
                }
            )
        elif message.get("method") == "tools/call":
            CANCELLED[message["id"]] = threading.Event()
            threading.Thread(target=carry_out, args=(message,), daemon=MANNERS != "stubborn").start()
        elif "id" in message:
            say({"jsonrpc": "2.0", "id": message["id"], "result": result_of(message)})
    if MANNERS == "stubborn":
        time.sleep(60)


# -- HTTP --------------------------------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """One request after another on one connection."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """One message."""
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if message["method"] == "tools/call":
            tick(message["params"]["arguments"], self.left)
        data = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": result_of(message)}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def left(self):
        """Whether the client has closed its end."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def log_message(self, *_):
        """Quiet."""


if __name__ == "__main__":
    if len(sys.argv) > 3:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
    else:
        stdio()
