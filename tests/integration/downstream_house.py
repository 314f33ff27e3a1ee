"""A small real house for the downstream tests: memory store, compiled bundle, gateway, and a server that is a class."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lictor.model.errors import UpstreamError
from lictor.model.ids import AgentId, HoldId, HumanId, InstanceId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import RequestRefused, decode_entry
from lictor.model.task import Budget
from lictor.pep.mcp.connections import Connections, Server
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Ask, Era, Notify, Offer, Reply
from lictor.pep.mcp.state import StateSeal
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.execute import Execute
from lictor.service.calls.offers import Offers
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Opened, Tasks
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore

SERVER = ServerName("stub")
AUDIENCE = "http://127.0.0.1:8700/mcp"
FREE: dict[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}, "additionalProperties": False}
TOOLS: list[dict[str, Any]] = [
    {"name": name, "description": name, "inputSchema": FREE}
    for name in ("echo", "slow", "progress", "sample", "change", "denied")
] + [
    {
        "name": "routed",
        "description": "routed",
        "inputSchema": {
            "type": "object",
            "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
            "additionalProperties": False,
        },
    }
]
POLICY = """
@id("reads") @owner("os:me") @reason("reading is allowed")
permit (principal, action in [Action::"read"], resource);
"""


class StubServer:
    """`seam.Upstream` in memory; what a tool does is in its name."""

    def __init__(self, era: Era, ask: Ask, notify: Notify) -> None:
        flags = {"listChanged": True}
        self.offer = Offer(
            era=era,
            version="2025-11-25",
            capabilities={"tools": flags, "resources": {"subscribe": True}, "logging": {}},
            server_info={},
        )
        self.ask, self.notices = ask, notify
        self.calls: list[tuple[str, bytes]] = []
        self.cancelled = asyncio.Event()
        self.slow_started = asyncio.Event()
        self.listening: Notify | None = None
        self.alive = True

    async def request(
        self, method: str, params: dict[str, Any], *, sealed_arguments: bytes | None = None, **options: Any
    ) -> Reply:
        if method == "tools/list":
            return Reply(result=json.dumps({"tools": TOOLS}).encode())
        if method != "tools/call":
            return Reply(error={"code": -32601, "message": "no"})
        name, arguments = params["name"], json.loads(sealed_arguments or b"{}")
        self.calls.append((name, sealed_arguments or b""))
        text = arguments.get("text", "")
        if name == "slow":
            self.slow_started.set()
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if name == "progress":
            for step in (1, 2):
                await options["notify"]("notifications/progress", {"progress": step, "total": 2})
        if name == "sample":
            question = {"messages": [], "maxTokens": 5}
            reply = await self.ask("sampling/createMessage", question)
            text = json.dumps(reply.error) if reply.error else json.loads(reply.result or b"{}")["content"]["text"]
        if name == "change":
            await self.notices("notifications/tools/list_changed", {})
        # Pretty-printed on purpose: over stdio a line must stay one line.
        return Reply(result=json.dumps({"content": [{"type": "text", "text": text}]}, indent=1).encode())

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Nothing."""

    async def listen(self, params: dict[str, Any], notify: Notify) -> None:
        if self.offer.era is Era.LEGACY:
            raise UpstreamError(Reason.INTERNAL, "legacy", effect_possible=False)
        self.listening = notify
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.alive = False


async def until(happened: Callable[[], object]) -> None:
    """Wait for something that has no event; the caller bounds it."""
    while not happened():
        await asyncio.sleep(0.01)


def bundle_files() -> dict[str, bytes]:
    tools = "".join(
        f'[tools.{tool["name"]}]\neffect = "{"write" if tool["name"] == "denied" else "read"}"\npin = "{pin_of(tool)}"\n'
        for tool in TOOLS
    )
    features = '[features.sampling]\neffect = "read"\n[features.logging]\neffect = "read"\n'
    return {
        "agents.toml": b'purposes = ["test"]\n[agents.tester]\nowner = "os:me"\nreview_by = 2099-12-31\n',
        "approvers.toml": b'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
        "policies/test.cedar": POLICY.encode(),
        f"catalog/{SERVER}.toml": (tools + features).encode(),
        f"catalog/{SERVER}.definitions.json": json.dumps({"tools": TOOLS}).encode(),
    }


@dataclass
class TestSettings:
    __test__ = False
    limits: Limits = field(default_factory=Limits)


class TestHouse:
    """Everything behind a door, and what the doors wrote down."""

    __test__ = False

    def __init__(
        self, *, era: Era = Era.LEGACY, limits: Limits | None = None, store: MemoryStore | None = None
    ) -> None:
        self.settings = TestSettings(limits or Limits())
        limits = self.settings.limits
        self.store = store or MemoryStore()
        self.clock, self.ids = SystemClock(), RandomIds()
        files = bundle_files()
        pdp = compile_bundle(load_bundle(files, parse_guarded(files)))
        policy = PolicyInForce(pdp)
        self.servers: list[StubServer] = []
        self.defects: list[BaseException] = []

        async def connect(_: dict[str, Any], ask: Ask, notify: Notify) -> StubServer:
            self.servers.append(StubServer(era, ask, notify))
            return self.servers[-1]

        self.connections = Connections({SERVER: Server(name=SERVER, connect=connect)}, limit=16)
        self.tasks = Tasks(store=self.store, policy=policy, clock=self.clock, ids=self.ids, limits=limits)
        self.execute = Execute(store=self.store, clock=self.clock)
        self.gateway = Gateway(
            connections=self.connections,
            naming=Naming([SERVER], prefixed=False),
            authorize=Authorize(
                store=self.store,
                policy=policy,
                clock=self.clock,
                ids=self.ids,
                limits=limits,
                instance=InstanceId("test"),
            ),
            execute=self.execute,
            offers=Offers(store=self.store, policy=policy, clock=self.clock),
            holding=Holding(
                store=self.store,
                clock=self.clock,
                seal=StateSeal(bytes(32)),
                approval_url=lambda hold: f"http://127.0.0.1:8700/holds/{HoldId(hold)}",
                wait_s=0.0,
            ),
            clock=self.clock,
            ids=self.ids,
            limits=limits,
            instructions="be careful",
            on_defect=self.defects.append,
        )

    async def task(self, *, token: bool = True) -> Opened:
        return await self.tasks.open(
            agent=AgentId("tester"),
            human=HumanId("os:me"),
            purpose="test",
            trusted_text="",
            ttl_s=600,
            budget=Budget(calls=100_000),
            audience=AUDIENCE if token else "local",
            by="os:me",
            token=token,
        )

    def refusals(self) -> list[RequestRefused]:
        found = (decode_entry(entry.data).record for entry in self.store.entries())
        return [record for record in found if isinstance(record, RequestRefused)]

    async def close(self) -> None:
        await self.connections.close()
        await self.execute.drain()
