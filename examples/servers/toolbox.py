"""A small MCP server over stdio, so that the example bundles can be tried without installing anything.

Protocol 2025-11-25: initialize, ping, tools/list, tools/call; one JSON object a line. Arguments are not checked here:
the gateway in front has checked them against these very schemas. Knows no policy, and keeps nothing secret.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

VERSION = "2025-11-25"
METHOD_NOT_FOUND = -32601
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """One tool: its definition as the server lists it, and what it does; what it raises as ValueError is its error text."""

    name: str
    description: str
    properties: dict[str, Any]
    run: Callable[[Arguments], str]
    optional: tuple[str, ...] = ()

    def definition(self) -> dict[str, Any]:
        """As `tools/list` says it."""
        schema = {
            "type": "object",
            "properties": self.properties,
            "required": [name for name in self.properties if name not in self.optional],
            "additionalProperties": False,
        }
        return {"name": self.name, "description": self.description, "inputSchema": schema}


def text(about: str, **more: Any) -> dict[str, Any]:
    """The schema of a string."""
    return {"type": "string", "description": about, **more}


def serve(name: str, tools: tuple[Tool, ...]) -> None:
    """Answer until standard input ends."""
    by_name = {tool.name: tool for tool in tools}
    for line in sys.stdin:
        message = json.loads(line)
        if "id" not in message:
            continue
        answer = {"jsonrpc": "2.0", "id": message["id"], **_answer(name, by_name, message)}
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _answer(name: str, tools: dict[str, Tool], message: dict[str, Any]) -> dict[str, Any]:
    match message.get("method"):
        case "initialize":
            info = {"name": name, "version": "1"}
            return {"result": {"protocolVersion": VERSION, "capabilities": {"tools": {}}, "serverInfo": info}}
        case "ping":
            return {"result": {}}
        case "tools/list":
            return {"result": {"tools": [tool.definition() for tool in tools.values()]}}
        case "tools/call":
            return {"result": _call(tools, message["params"])}
        case other:
            return {"error": {"code": METHOD_NOT_FOUND, "message": f"no method {other!r}"}}


def _call(tools: dict[str, Tool], params: dict[str, Any]) -> dict[str, Any]:
    tool = tools.get(params["name"])
    try:
        said, failed = (tool.run(params.get("arguments", {})), False) if tool else ("no such tool", True)
    except ValueError as error:
        said, failed = str(error), True
    return {"content": [{"type": "text", "text": said}], "isError": failed}
