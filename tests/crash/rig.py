"""A whole gateway in front of a server that counts its calls, for tests that break one thing at a time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from crash.scene import EFFECTS, LIMITS, OWNER, SERVER, Core, Policy, activate, definition, open_store
from lictor.model.approval import seal_of
from lictor.model.ids import HoldId
from lictor.model.task import Task
from lictor.pep.mcp.connections import Connections, Server
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import LEGACY_VERSION, Answer, Caller, Era, Offer, Reply
from lictor.pep.mcp.state import StateSeal
from lictor.ports import Batch, Receipt
from lictor.service.calls.offers import Offers
from lictor.service.people.approve import Proof
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock

NOW = 1_790_000_000_000


class CountingUpstream:
    """Offers the notes; each `tools/call` that arrives is counted before anything else happens."""

    def __init__(self) -> None:
        self.offer = Offer(era=Era.LEGACY, version=LEGACY_VERSION, capabilities={"tools": {}}, server_info={})
        self.alive = True
        self.calls: list[tuple[str, bytes | None]] = []
        self.fault: BaseException | None = None
        self.hang = False
        self.arrived = asyncio.Event()
        self.result = b'{"content":[]}'

    async def request(self, method: str, params: dict[str, Any], **rest: Any) -> Reply:
        """Answer."""
        if method == "tools/list":
            return Reply(result=msgspec.json.encode({"tools": [definition(tool) for tool in EFFECTS]}))
        if method != "tools/call":
            return Reply(error={"code": -32601, "message": "no such method"})
        self.calls.append((params["name"], rest.get("sealed_arguments")))
        self.arrived.set()
        if self.hang:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        return Reply(result=self.result)

    async def close(self) -> None:
        """Nothing to end."""


class NoChannel:
    """A client that cannot be asked."""

    can_ask = False

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Dropped."""

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """Never."""
        raise NotImplementedError


class FaultStore:
    """The real store behind a switch: `before` runs ahead of every commit and may raise or wait."""

    def __init__(self, inner: SqliteStore) -> None:
        self.inner = inner
        self.before: Callable[[], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        """Commit, or what the switch says."""
        if self.before is not None:
            waiting = self.before()
            if waiting is not None:
                await waiting
        return await self.inner.commit(batch)


@dataclass
class Rig:
    """One gateway, one task."""

    state: Any
    policy: Policy
    upstream: CountingUpstream = field(default_factory=CountingUpstream)
    clock: ManualClock = field(default_factory=lambda: ManualClock(NOW))
    defects: list[BaseException] = field(default_factory=list)
    unreachable: BaseException | None = None

    async def __aenter__(self) -> Self:
        self.real = open_store(self.state)
        self.store = FaultStore(self.real)
        self.core = Core(self.store, self.policy.pdp, Instance.register(self.state, RandomIds()), clock=self.clock)
        await activate(self.store, self.clock, self.policy)
        self.task = await self.core.open_task()
        self.gateway = self._gateway()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.core.execute.drain()
        self.core.instance.close()
        self.real.close()

    def _gateway(self) -> Gateway:
        core = self.core

        async def connect(*_: Any) -> Any:
            if self.unreachable is not None:
                raise self.unreachable
            self.upstream.alive = True
            return self.upstream

        holding = Holding(
            store=self.store, clock=self.clock, seal=StateSeal(bytes(32)), approval_url=lambda hold: f"http://x/{hold}",
            wait_s=0.0,
        )  # fmt: skip
        return Gateway(
            connections=Connections({SERVER: Server(name=SERVER, connect=connect)}, limit=8),
            naming=Naming([SERVER], prefixed=False), authorize=core.authorize, execute=core.execute,
            offers=Offers(store=self.store, policy=core.policy, clock=self.clock), holding=holding, clock=self.clock,
            ids=core.ids, limits=LIMITS, on_defect=self.defects.append,
        )  # fmt: skip

    async def call(self, tool: str, *, task: Task | None = None, **arguments: Any) -> Answer:
        """One `tools/call`, as a legacy client sends it."""
        state = self.real.task((task or self.task).id)
        caller = Caller(
            task=state, era=Era.LEGACY, version=LEGACY_VERSION, capabilities={}, client_info={}, connection="c"
        )
        return await self.gateway.handle(caller, "tools/call", {"name": tool, "arguments": arguments}, NoChannel())

    async def ready(self, tool: str, **arguments: Any) -> HoldId | None:
        """Bring a call so far that its next try is allowed: held and approved, where policy wants that."""
        if EFFECTS[tool] == "read":
            await self.call("read", id="warm up")  # the server's list is learned, as in a gateway that runs
            await self.core.execute.drain()
            self.upstream.calls.clear()
            self.upstream.arrived.clear()
            return None
        refused = reason_of(await self.call(tool, **arguments))
        assert refused == "needs_approval", refused
        [hold] = self.real.holds(pending_only=True)
        await self.core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))
        return hold.id


def reason_of(answer: Answer) -> str:
    """The reason code of a refusal; empty when the call went through."""
    if answer.error is not None:
        return str(answer.error["data"]["reason"])
    body = msgspec.json.decode(answer.result or b"{}")
    return str(body.get("_meta", {}).get("dev.lictor/refusal", {}).get("reason", ""))
