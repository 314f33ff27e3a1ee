"""An MCP server on standard streams that uses what it was lent: its one tool `ask` says what it got for it.

`DATABASE_URL`: who it is there and what it reads. `GITHUB_URL` and `GITHUB_TOKEN`: the repositories that the token is for.
`PERSON_TOKEN`: whom it stands for. `AWS_SESSION_TOKEN`: only that it has one. It also waits for the file named in `text`, where that begins with `wait:`.
"""

import asyncio
import json
import os
import sys
import urllib.parse
import urllib.request
from pathlib import Path

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "repository": {"type": "string"}, "path": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
TOOL = {"name": "ask", "description": "Uses what it was lent.", "inputSchema": SCHEMA}


async def rows(url):
    """Who we are, and the goods."""
    import asyncpg

    connection = await asyncpg.connect(url, ssl=False)
    try:
        return {
            "user": await connection.fetchval("SELECT current_user"),
            "goods": [row["name"] for row in await connection.fetch("SELECT name FROM goods")],
        }
    finally:
        await connection.close()


def repositories():
    """What the token is for, by the server's own word."""
    said = {"Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}"}
    request = urllib.request.Request(f"{os.environ['GITHUB_URL']}/repositories", headers=said)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        return sorted(one["name"] for one in json.loads(reply.read()))


def person():
    """Whom the authorisation server says that we act for, and who acts."""
    form = {"token": os.environ["PERSON_TOKEN"], "client_id": "post", "client_secret": os.environ["INTROSPECTION"]}
    request = urllib.request.Request(os.environ["INTROSPECTION_URL"], urllib.parse.urlencode(form).encode())
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as reply:
        said = json.loads(reply.read())
    return {name: said.get(name) for name in ("active", "sub", "act", "aud")}


def used():
    """What came of everything that was lent."""
    found = {}
    if "DATABASE_URL" in os.environ:
        found["database"] = asyncio.run(rows(os.environ["DATABASE_URL"]))
    if "GITHUB_TOKEN" in os.environ:
        found["repositories"] = repositories()
    if "PERSON_TOKEN" in os.environ:
        found["person"] = person()
    if "AWS_SESSION_TOKEN" in os.environ:
        found["session"] = True
    return found


def result(message):
    """The result of one request."""
    match message["method"]:
        case "server/discover":
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "asking", "version": "1"},
            }
        case "tools/list":
            return {"tools": [TOOL]}
        case "tools/call":
            text = message["params"]["arguments"]["text"]
            said = json.dumps(used(), sort_keys=True)
            if text.startswith("wait:"):
                asyncio.run(until(Path(text.removeprefix("wait:"))))
            return {"content": [{"type": "text", "text": said}]}
    return {}


async def until(path):
    """The file is there."""
    while not path.exists():
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **result(message)}
            print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": whole}), flush=True)
