"""A gateway of real parts (store, policy, use cases) in front of servers that lie on demand."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import bundles
from lictor.model.errors import UpstreamError
from lictor.model.ids import AgentId, HumanId, InstanceId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionStarted, RequestReceived, decode_entry
from lictor.model.task import Budget, TaskState
from lictor.pep.mcp.connections import Connections, Server
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Answer, Ask, Caller, Era, Notify, Offer, Reply
from lictor.pep.mcp.state import StateSeal
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.execute import Execute
from lictor.service.calls.offers import Offers
from lictor.service.people.approve import Answer as Answering
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

FS = ServerName("fs")
TOOLS = [bundles.READ, bundles.WRITE, bundles.ERASE, bundles.FETCH, bundles.PAY]
CHANGED = [{**tool, "description": "changed since somebody looked"} for tool in TOOLS]
FEATURES = '\n[features.logging]\neffect = "read"\n\n[features.roots]\neffect = "read"\n'
BOB = HumanId("os:bob")


class Lying:
    """One connection to a server under the test's control (`seam.Upstream`)."""

    def __init__(self, house: "House", capabilities: dict[str, Any], ask: Ask, notify: Notify) -> None:
        self.house = house
        self.offer = Offer(
            era=house.server_era,
            version="2025-11-25",
            capabilities={"tools": {}, "prompts": {}, "resources": {"subscribe": True}, "logging": {}},
            server_info={},
        )
        self.declared, self.ask, self.notices = capabilities, ask, notify
        self.tools: list[dict[str, Any]] = TOOLS
        self.sent: list[tuple[str, dict[str, Any], bytes | None]] = []
        self.listened: list[dict[str, Any]] = []
        self.result: Callable[[str], Awaitable[bytes]] | None = None
        self.before_list: Callable[[str], Awaitable[None]] | None = None
        self.alive = True

    async def request(
        self, method: str, params: dict[str, Any], *, sealed_arguments: bytes | None = None, **_: Any
    ) -> Reply:
        if method.endswith("/list"):
            found = {"tools": list(self.tools), "prompts": [bundles.ASK], "resources": []}
            if self.before_list is not None:
                await self.before_list(method)
            return Reply(result=json.dumps(found).encode())
        self.sent.append((method, params, sealed_arguments))
        if self.result is not None:
            return Reply(result=await self.result(method))
        return Reply(result=b'{"content":[]}')

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Nothing."""

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        if self.offer.era is Era.LEGACY:
            raise UpstreamError(Reason.INTERNAL, "legacy", effect_possible=False)
        self.listened.append(params)

    async def close(self) -> None:
        self.alive = False


class Line:
    """A client's side (`seam.Channel`): keeps what it is told and asked."""

    def __init__(self, *, can_ask: bool = False) -> None:
        self.can_ask = can_ask
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.reply: Callable[[str], Awaitable[bytes]] | None = None

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        self.told.append((method, params))

    async def ask(self, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        self.asked.append((method, params))
        return Reply(result=b"{}" if self.reply is None else await self.reply(method))


class House:
    """Everything behind the door."""

    def __init__(
        self, *, server_era: Era = Era.MODERN, shared: bool = False, wait_s: float = 0.0, **bundle: str | None
    ) -> None:
        self.server_era = server_era
        self.store, self.ids, self.clock = MemoryStore(), RandomIds(), ManualClock(bundles.NOW)
        self.limits = Limits()
        changes = {"catalog/fs.toml": bundles.CATALOGUE + FEATURES, **bundle}
        self.policy = PolicyInForce(bundles.pdp(**changes))
        self.servers: list[Lying] = []
        self.defects: list[BaseException] = []
        self.on_connect: Callable[[Lying], None] | None = None

        async def connect(capabilities: dict[str, Any], ask: Ask, notify: Notify) -> Lying:
            server = Lying(self, capabilities, ask, notify)
            self.servers.append(server)
            if self.on_connect is not None:
                self.on_connect(server)
            return server

        parts: dict[str, Any] = {
            "store": self.store,
            "policy": self.policy,
            "clock": self.clock,
            "ids": self.ids,
            "limits": self.limits,
        }
        self.tasks = Tasks(**parts)
        self.answer = Answering(**parts)
        self.authorize = Authorize(**parts, instance=InstanceId("inst_test"))
        self.execute = Execute(store=self.store, clock=self.clock)
        self.connections = Connections({FS: Server(name=FS, connect=connect, shared=shared)}, limit=8)
        self.offers = Offers(store=self.store, policy=self.policy, clock=self.clock)
        self.gateway = Gateway(
            connections=self.connections,
            naming=Naming([FS], prefixed=False),
            authorize=self.authorize,
            execute=self.execute,
            offers=self.offers,
            holding=Holding(
                store=self.store,
                clock=self.clock,
                seal=StateSeal(bytes(32)),
                approval_url=lambda hold: f"http://x/{hold}",
                wait_s=wait_s,
            ),
            clock=self.clock,
            ids=self.ids,
            limits=self.limits,
            on_defect=self.defects.append,
        )

    async def task(self, **changes: Any) -> TaskState:
        """An open task of `coder` for `os:alice`."""
        asked: dict[str, Any] = {
            "agent": AgentId("coder"),
            "human": HumanId("os:alice"),
            "purpose": "development",
            "trusted_text": "",
            "ttl_s": 3_600,
            "budget": Budget(calls=1_000, value={"EUR": 100_000}),
            "audience": "local",
            "by": "os:alice",
            "token": False,
            **changes,
        }
        opened = await self.tasks.open(**asked)
        state = self.store.task(opened.task.id)
        assert state is not None
        return state

    async def call(
        self,
        task: TaskState,
        tool: str,
        arguments: dict[str, Any],
        *,
        era: Era = Era.MODERN,
        channel: Line | None = None,
        capabilities: dict[str, Any] | None = None,
        **params: Any,
    ) -> Answer:
        """One `tools/call`."""
        whole = {"name": tool, "arguments": arguments, **params}
        return await self.ask(task, "tools/call", whole, era=era, channel=channel, capabilities=capabilities)

    async def ask(
        self,
        task: TaskState,
        method: str,
        params: dict[str, Any],
        *,
        era: Era = Era.MODERN,
        channel: Line | None = None,
        capabilities: dict[str, Any] | None = None,
    ) -> Answer:
        """Any request."""
        who = caller(task, era, capabilities)
        answer = await self.gateway.handle(who, method, params, channel or Line())
        await self.execute.drain()
        return answer

    def records(self) -> list[Any]:
        """Every record, in order."""
        return [decode_entry(entry.data).record for entry in self.store.entries()]

    def started(self) -> list[tuple[str, str]]:
        """(name, arguments digest) of every execution that has a durable Allow in the same log."""
        requests: dict[str, RequestReceived] = {}
        allowed: set[str] = set()
        found = []
        for record in self.records():
            match record:
                case RequestReceived():
                    requests[record.request] = record
                case DecisionMade(outcome="allow"):
                    allowed.add(record.request)
                case ExecutionStarted() if record.request in allowed:
                    found.append((requests[record.request].name, record.arguments))
                case _:
                    pass
        return found


def caller(task: TaskState, era: Era = Era.MODERN, capabilities: dict[str, Any] | None = None) -> Caller:
    """Who asks."""
    return Caller(
        task=task,
        era=era,
        version="2026-07-28" if era is Era.MODERN else "2025-11-25",
        capabilities=capabilities or {},
        client_info={},
        connection="c",
    )


def reason(answer: Answer) -> str:
    """The reason of a refusal; empty when the call went through."""
    if answer.error is not None:
        return str(answer.error.get("data", {}).get("reason", answer.error.get("message")))
    body = json.loads(answer.result or b"{}")
    return str(body.get("_meta", {}).get("dev.lictor/refusal", {}).get("reason", ""))


async def soon(happened: Callable[[], object]) -> None:
    """Wait, boundedly, for something that has no event."""
    async with asyncio.timeout(5):
        while not happened():
            await asyncio.sleep(0.005)
