"""The suite's tools as a real MCP server over HTTP (2026-07-28, no SDK). Which environment it acts on is set for each pair."""

import json
from typing import Any

from benchmarks.agentdojo.suites import Lab, World

EMPTY = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public"}


class Server:
    """An ASGI application in front of the environment of the moment."""

    def __init__(self, lab: Lab) -> None:
        self._tools = lab.definitions()
        self.world: World | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One JSON-RPC message, one JSON answer."""
        if scope["type"] != "http":
            return
        data, more = b"", True
        while more:
            event = await receive()
            data, more = data + event.get("body", b""), event.get("more_body", False)
        status, answer = (200, self._answer(json.loads(data))) if scope["method"] == "POST" else (405, None)
        body = b"" if answer is None else json.dumps(answer).encode()
        status = 202 if status == 200 and answer is None else status
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, message: dict[str, Any]) -> dict[str, Any] | None:
        if "id" not in message:
            return None
        return {
            "jsonrpc": "2.0",
            "id": message["id"],
            "result": self._result(message["method"], message.get("params", {})),
        }

    def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        match method:
            case "server/discover":
                offer = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
                return {**EMPTY, **offer, "serverInfo": {"name": "agentdojo", "version": "0.1.35"}}
            case "tools/list":
                return {**EMPTY, "tools": self._tools}
            case "tools/call" if self.world is not None:
                text, error = self.world.run(params["name"], params.get("arguments", {}))
                return {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": error}
        return {**EMPTY, "prompts": [], "resources": [], "resourceTemplates": []}
