"""Requests to the gateway's HTTP application as raw ASGI: the bytes and headers a case states, nothing helpfully repaired."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from adversarial.model import Observed, Word
from lictor.model.reasons import Reason
from lictor.pep.mcp.holding import INPUT_KEY

VERSION = "2026-07-28"
CAPABILITIES = {"elicitation": {"url": {}}}
DEADLINE_S = 10.0
_REASONS = list(Reason)
DOOR = frozenset(_REASONS[: _REASONS.index(Reason.STATE_PRINCIPAL) + 1])
"""The first section of the reason codes: the bytes were not acceptable, policy was never asked."""


@dataclass(slots=True)
class Response:
    """What came back."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == name.encode()), "")

    def message(self) -> Any:
        """The JSON-RPC message: the body, or the last event of a stream."""
        if self.header("content-type").startswith("text/event-stream"):
            events = [line[5:].strip() for line in self.body.split(b"\n") if line.startswith(b"data:")]
            return json.loads(events[-1])
        return json.loads(self.body)


async def ask(
    app: Any, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b"", *, query: str = ""
) -> Response:
    """One HTTP request against an ASGI application."""
    response = Response()
    chunks = [body]
    answered = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if chunks:
            return {"type": "http.request", "body": chunks.pop(), "more_body": False}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            response.status, response.headers = event["status"], list(event.get("headers", []))
        elif event["type"] == "http.response.body":
            response.body += event.get("body", b"")
            if not event.get("more_body", False):
                answered.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 8700),
    }
    async with asyncio.timeout(DEADLINE_S):
        await app(scope, receive, send)
    answered.set()
    return response


def modern(method: str, params: dict[str, Any], *, identity: Any = 1) -> dict[str, Any]:
    """A message of the 2026-07-28 protocol with the metadata it demands."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "case", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
        **params.get("_meta", {}),
    }
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": {**params, "_meta": meta}}


def headers_for(message: dict[str, Any], host: str, token: str) -> list[tuple[str, str]]:
    """The headers that say the same as a message."""
    found = transport_headers(host, token)
    found += [("MCP-Protocol-Version", VERSION), ("Mcp-Method", str(message["method"]))]
    target = message["params"].get("name", message["params"].get("uri"))
    if isinstance(target, str) and target.isascii() and target.isprintable():
        found.append(("Mcp-Name", target))
    return found


def transport_headers(host: str, token: str) -> list[tuple[str, str]]:
    """What every request has, whatever its body."""
    return [
        ("Host", host),
        ("Authorization", f"Bearer {token}"),
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
    ]


def observe(response: Response) -> Observed:
    """A reply in the words of the case file. The word follows from the reason's section, not from the status."""
    seen = Observed(status=response.status, text=response.body.decode("utf-8", "replace"))
    try:
        message = response.message()
    except (ValueError, IndexError):
        return seen
    if not isinstance(message, dict):
        return seen
    seen.facts["message"] = message
    error = message.get("error")
    if isinstance(error, dict):
        seen.code = error.get("code")
        data = error.get("data")
        seen.reason = data.get("reason", "") if isinstance(data, dict) else ""
        seen.facts["where"] = data.get("where", "") if isinstance(data, dict) else ""
        seen.word = word_of(seen.reason)
        return seen
    result = message.get("result")
    if not isinstance(result, dict):
        return seen
    refusal = result.get("_meta", {}).get("dev.lictor/refusal") if isinstance(result.get("_meta"), dict) else None
    if result.get("resultType") == "input_required" and INPUT_KEY in result.get("inputRequests", {}):
        seen.word, seen.reason = Word.HOLD, Reason.NEEDS_APPROVAL.value
        seen.facts["state"] = result.get("requestState")
        seen.facts["url"] = result["inputRequests"][INPUT_KEY]["params"]["url"]
    elif isinstance(refusal, dict):
        seen.reason = refusal.get("reason", "")
        seen.facts["url"] = refusal.get("approveAt", "")
        seen.word = word_of(seen.reason)
    else:
        seen.word, seen.reason = Word.ALLOW, Reason.PERMITTED.value
    return seen


def word_of(reason: str) -> Word | None:
    """The outcome word of a reason; None for a reason that is none of ours (case U6)."""
    if reason not in _REASONS:
        return None
    if reason == Reason.NEEDS_APPROVAL:
        return Word.HOLD
    if reason in {Reason.OUTCOME_UNKNOWN, Reason.UPSTREAM_TIMEOUT}:
        return Word.UNKNOWN
    return Word.REJECT if reason in DOOR else Word.DENY
