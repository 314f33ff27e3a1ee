"""Where the gateway's own time goes: CPU of one allowed call without any HTTP, and of its stages alone.

Stages are timed in a loop of their own, so their caches are warm: they add up to less than the whole.
"""

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import contenders
from benchmarks.house import opened
from benchmarks.machine import scratch, uncollected
from benchmarks.stats import spread, table
from benchmarks.wire import ARGUMENTS, TOOL
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import DecisionId, RequestId, ServerName
from lictor.pdp.decide import decide
from lictor.pep.mcp.connections import Connections, Server
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Caller, Era, Offer, Reply
from lictor.pep.mcp.state import StateSeal
from lictor.ports import Batch
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.execute import Execute
from lictor.service.calls.offers import Offers
from lictor.service.calls.recorded import made, received
from lictor.stores.commit import changes_of, entries_of

CALLS = 100
BATCHES = 20
REPLY = Reply(result=b'{"resultType":"complete","content":[{"type":"text","text":"ok"}]}')


class Stub:
    """A server that is a class."""

    alive = True
    offer = Offer(era=Era.MODERN, version="2026-07-28", capabilities={"tools": {}}, server_info={})

    def __init__(self, tools: bytes) -> None:
        self.tools = Reply(result=tools)

    async def request(self, method: str, _params: dict[str, Any], **_options: Any) -> Reply:
        return self.tools if method == "tools/list" else REPLY

    async def close(self) -> None:
        """Nothing."""


class Quiet:
    """A client that is told nothing."""

    can_ask = False

    async def notify(self, method: str, params: dict[str, Any]) -> None:
        """Nobody listens."""


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Section `hot` of the report."""
    with contenders.running("fast", ()) as (up,), tempfile.TemporaryDirectory(dir=scratch()) as folder:
        found = asyncio.run(_run(Path(folder), up.port, rounds))
    whole = median(found["Gateway.handle, memory store"])
    rows = [[name, spread(values, 1), f"{100 * median(values) / whole:.0f} %"] for name, values in found.items()]
    return f"## The gateway without HTTP\n\n{table(('Part', 'us CPU', 'of the whole'), rows)}\n", {
        "samples": found,
        "bars": [],
    }


async def _run(folder: Path, port: int, rounds: int) -> dict[str, list[float]]:
    import msgspec

    house, token = await opened(folder, port, port, durable=False)
    tools = msgspec.json.encode(msgspec.json.decode(house.folder.load().files["catalog/up.definitions.json"]))

    async def connect(*_: object) -> Any:
        return Stub(tools)

    limits, store, clock, ids = house.settings.limits, house.store, house.clock, house.ids
    name = ServerName("up")
    offers = Offers(store=store, policy=house.policy, clock=clock)
    authorize = Authorize(store=store, policy=house.policy, clock=clock, ids=ids, limits=limits, instance="bench")  # type: ignore[arg-type]
    gateway = Gateway(
        connections=Connections({name: Server(name=name, connect=connect)}, limit=9),
        naming=Naming([name], prefixed=False),
        authorize=authorize,
        execute=Execute(store=store, clock=clock),
        offers=offers,
        holding=Holding(store=store, clock=clock, seal=StateSeal(b"x" * 32), approval_url=str, wait_s=0),
        clock=clock,
        ids=ids,
        limits=limits,
    )
    state = house.tasks.authenticate(token, house.settings.audience)

    async def call() -> None:
        caller = Caller(
            task=state, era=Era.MODERN, version="2026-07-28", capabilities={}, client_info={}, connection="c"
        )
        answer = await gateway.handle(
            caller, "tools/call", {"name": TOOL, "arguments": ARGUMENTS, "_meta": {}}, Quiet()
        )  # type: ignore[arg-type]
        if b"ok" not in (answer.result or b""):
            raise ValueError(f"not the result: {answer!r:.300}")
        await asyncio.sleep(0)  # the outcome's record is part of the call

    await call()
    found: dict[str, list[float]] = {"Gateway.handle, memory store": []}
    for _ in range(rounds * BATCHES // 4):
        start = time.thread_time_ns()
        for _call in range(CALLS):
            await call()
        found["Gateway.handle, memory store"].append((time.thread_time_ns() - start) / CALLS / 1e3)
    for label, work in _stages(house, gateway, state).items():
        found[label] = _timed(work)
    house.close()
    return found


def _stages(house: Any, gateway: Gateway, state: Any) -> dict[str, Callable[[], object]]:
    task = state.task

    def seal() -> ActionRequest:
        return ActionRequest.make(
            id=RequestId("req_x"),
            kind=ActionKind.TOOL,
            server=ServerName("up"),
            name=TOOL,
            arguments=SealedArguments.seal(dict(ARGUMENTS)),
            agent=task.agent,
            human=task.human,
            task=task.id,
        )

    request, pdp = seal(), house.policy.current()
    definition = gateway.offers.definition(ActionKind.TOOL, ServerName("up"), TOOL)
    snapshot = gateway.authorize._gather(pdp, request, definition, None, {})
    decision = decide(pdp, request, snapshot)
    batch = Batch(at_ms=snapshot.at_ms, records=(received(request), made(pdp, DecisionId("dec_x"), request, decision)))
    return {
        "seal arguments, action digest": seal,
        "gather facts": lambda: gateway.authorize._gather(pdp, request, definition, None, {}),
        "encode snapshot": snapshot.encode,
        "decide": lambda: decide(pdp, request, snapshot),
        "encode two records": lambda: entries_of(batch),
        "life cycles of two records": lambda: changes_of(batch, lambda _: None),
        "an id": lambda: house.ids.new("req"),
    }


def _timed(work: Callable[[], object]) -> list[float]:
    found = []
    with uncollected():
        for _ in range(BATCHES):
            start = time.thread_time_ns()
            for _call in range(CALLS):
                work()
            found.append((time.thread_time_ns() - start) / CALLS / 1e3)
    return found
