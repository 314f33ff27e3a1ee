"""The one request every contender is sent, and the tool behind it."""

import json

TOOL = "echo"
TEXT = "lorem ipsum dolor sit amet " * 20
VERSION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
DEFINITION = {
    "name": TOOL,
    "description": "gives back its text",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "number": {"type": "integer"}},
        "required": ["text"],
    },
}
ARGUMENTS = {"text": TEXT, "number": 7}


def request(port: int, token: str, name: str = TOOL) -> bytes:
    """A whole HTTP request: `tools/call` of the modern protocol, about one kilobyte."""
    params = {"name": name, "arguments": ARGUMENTS, "_meta": _META}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
        f"MCP-Protocol-Version: {VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
