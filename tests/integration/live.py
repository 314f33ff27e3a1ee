"""A gateway in this process as `lictor serve` wires it, and a client that sends it the bytes of the modern protocol."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adversarial.wire import Response, ask, headers_for, modern
from lictor.app import House, Runtime, open_house, servers_of
from lictor.app.web import http_app
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.record import Record, decode_entry
from lictor.model.task import Budget

PORT = 8700


@dataclass
class Live:
    """One gateway under way; its bundle registers the agent `coder` with the purpose `test`."""

    house: House
    runtime: Runtime
    app: Any
    seen: list[bytes] = field(default_factory=list, kw_only=True)
    """Every byte a client was sent."""

    async def task(self, agent: str = "coder", ttl_s: int = 600) -> tuple[TaskId, str]:
        """A fresh task and its token."""
        opened = await self.house.tasks.open(
            agent=AgentId(agent),
            human=HumanId("os:me"),
            purpose="test",
            trusted_text="",
            ttl_s=ttl_s,
            budget=Budget(calls=1_000_000),
            audience=self.house.settings.audience,
            by="os:me",
            token=True,
        )
        return opened.task.id, opened.token

    async def send(self, token: str, method: str, params: dict[str, Any]) -> Response:
        """One request."""
        message = modern(method, params)
        response = await ask(
            self.app, "POST", "/mcp", headers_for(message, f"127.0.0.1:{PORT}", token), json.dumps(message).encode()
        )
        self.seen.append(response.body + b"".join(name + value for name, value in response.headers))
        return response

    def records(self) -> list[Record]:
        """Everything in the log."""
        return [decode_entry(entry.data).record for entry in self.house.store.entries()]


@contextlib.asynccontextmanager
async def started(bundle: Path, *, prefixed: bool = True) -> AsyncIterator[tuple[House, Runtime, Any]]:
    """House, runtime and HTTP application of a bundle folder, until the block ends."""
    house = await open_house(bundle)
    runtime = Runtime(house, servers_of(house.settings), prefixed=prefixed)
    async with runtime.running():
        yield house, runtime, http_app(runtime)
