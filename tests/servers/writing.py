"""An MCP server on standard streams that really does things: it writes files, changes a SQLite database, and says what it would do."""

import json
import sqlite3
import sys
from pathlib import Path

TEXT = {"type": "string"}


def tool(name, *arguments):
    """A definition whose arguments are texts."""
    schema = {
        "type": "object",
        "properties": dict.fromkeys(arguments, TEXT),
        "required": [arguments[0]],
        "additionalProperties": False,
    }
    return {"name": name, "description": f"{name}.", "inputSchema": schema}


TOOLS = [tool("write", "path", "text"), tool("sql", "sql"), tool("apply", "name"), tool("plan", "name")]
PLAN = "plan.txt"


def called(name, arguments):
    """What a call does, and says."""
    folder = Path(sys.argv[1])
    match name:
        case "write":
            Path(arguments["path"]).write_text(arguments["text"], "utf-8")
            return "written"
        case "sql":
            with sqlite3.connect(folder / "shop.db") as database:
                database.execute(arguments["sql"])
            database.close()
            return "done"
        case "plan":
            return f"would apply {arguments['name']}: {(folder / PLAN).read_text('utf-8')}"
        case _:
            (folder / "applied").write_text(arguments["name"], "utf-8")
            return "applied"


def result(message):
    """The result of one request."""
    match message["method"]:
        case "server/discover":
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "writing", "version": "1"},
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call":
            params = message["params"]
            return {"content": [{"type": "text", "text": called(params["name"], params["arguments"])}]}
    return {}


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result(message)}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": whole}), flush=True)
