"""An MCP server on standard streams whose tools have one effect, which happens elsewhere: `python sentinel.py SOCKET`.

Each call is one connection to the Unix socket SOCKET: a JSON line goes out, a JSON line comes back when the effect has happened. A
cancelled call closes its connection. A connection that ends without a line means that nobody will ever know: the server dies at once,
as one does that lost its machine. Standard library only.
"""

import json
import os
import socket
import sys
import threading

NUMBER, TEXT = {"type": "integer"}, {"type": "string"}
SCHEMA = {
    "type": "object",
    "properties": {"action_id": TEXT, "recipient": TEXT, "amount": NUMBER},
    "required": ["action_id", "recipient", "amount"],
    "additionalProperties": False,
}
NAMES = ("write_reviewed", "write_freely", "write_briefly", "write_after", "send_reviewed")
TOOLS = [{"name": name, "description": "Has an effect.", "inputSchema": SCHEMA} for name in NAMES]
COMPLETE = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
OPEN = {}
CANCELLED = set()
LOCK = threading.Lock()


def say(identity, result):
    """One answer."""
    with LOCK:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": identity, "result": {**COMPLETE, **result}}) + "\n")
        sys.stdout.flush()


def call(message, connection):
    """Have the effect, on a thread of its own."""
    identity, params = message["id"], message["params"]
    try:
        connection.connect(sys.argv[1])
        line = json.dumps({"name": params["name"], "arguments": params["arguments"]})
        connection.sendall(line.encode() + b"\n")
        reply = connection.makefile("rb").readline()
    except OSError:
        reply = b""
    if identity in CANCELLED:
        return
    if not reply:
        os._exit(1)
    say(identity, {"content": [{"type": "text", "text": json.loads(reply)["text"]}]})


def main():
    """Until the input ends."""
    for line in sys.stdin:
        message = json.loads(line)
        match message.get("method"):
            case "notifications/cancelled":
                identity = message["params"]["requestId"]
                CANCELLED.add(identity)
                if identity in OPEN:
                    OPEN[identity].shutdown(socket.SHUT_RDWR)
            case "tools/call":
                connection = OPEN[message["id"]] = socket.socket(socket.AF_UNIX)
                threading.Thread(target=call, args=(message, connection), daemon=True).start()
            case "server/discover":
                info = {"name": "sentinel", "version": "1"}
                versions = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
                say(message["id"], {**versions, "serverInfo": info})
            case "tools/list":
                say(message["id"], {"tools": TOOLS})
            case _ if "id" in message:
                say(message["id"], {})


if __name__ == "__main__":
    main()
