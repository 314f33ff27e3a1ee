"""The process that is killed. A parent without threads loads everything once and forks one gateway for each order.

Orders come as JSON lines on standard input, answers leave as JSON lines on standard output. What a gateway does is
decided by its order's seed, so a failing round can be looked at again (its kill, by timing, need not fall on the same moment).
"""

import asyncio
import dataclasses
import os
import random
import select
import signal
import sys
import time
import traceback
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec

from crash.mutants import RecordsLater, check_then_mark, recover_wrongly
from crash.points import JOURNAL_POINTS, EngineSeam, Points, SignerSeam, StoreSeam, die_unacknowledged, journaled
from crash.scene import AUDITOR, OWNER, Core, Policy, activate, open_store
from crash.upstream import AckFile, Effect, EffectFile
from lictor.model.action import ActionRequest
from lictor.model.approval import Hold, HoldStatus, seal_of
from lictor.model.errors import ConflictError
from lictor.model.task import Task
from lictor.service.calls.authorize import Granted, Held, Outcome
from lictor.service.people.approve import Proof
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance, dead_instances
from lictor.stores.keys import Keys


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway's life.

    mode: `load` until it is killed; `drain`: finish what is held and exit; `redeem`: several processes race for every
    approved hold and exit.
    """

    state: str
    mode: str = "load"
    seed: int = 0
    point: str = ""
    nth: int = 1
    kill_after_ms: float | None = None
    mutant: str = ""
    clients: int = 10
    ops: int = 3
    processes: int = 4
    redeemers: int = 16


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: `point` is where it killed itself, empty when it was killed from outside (or reached its end: `done`)."""

    killed: bool
    code: int
    point: str = ""
    ready: bool = False


class Gateway:
    """The core of a gateway with every seam wrapped, and the agents and approvers who use it."""

    def __init__(self, order: Order, policy: Policy, points: Points) -> None:
        state = Path(order.state)
        self.order = order
        self.points = points
        self.random = random.Random(order.seed)
        self.effects = EffectFile(state.parent / "effects")
        self.acks = AckFile(state.parent / "acks")
        self.state = state
        self.seam: Any = None
        if order.seed % 2 or order.point in JOURNAL_POINTS:
            journaled(points, state / "log.db")
        signer = SignerSeam(Keys.open(state).signer, points, self.recovering)
        die_unacknowledged(points, self.recovering)
        self.seam = StoreSeam(open_store(state, signer=signer), points)
        store = RecordsLater(self.seam) if order.mutant == "record_after_effect" else self.seam
        if order.mutant == "check_then_mark":
            check_then_mark()
        pdp = dataclasses.replace(policy.pdp, engine=EngineSeam(policy.pdp.engine, points))
        self.policy = policy
        self.core = Core(store, pdp, Instance.register(state, RandomIds()))
        self.answers: dict[str, asyncio.Future[bool]] = {}

    def recovering(self) -> bool:
        """Whether start-up recovery is under way."""
        return self.seam is not None and bool(self.seam.recovering)

    async def start(self) -> None:
        """What `Runtime.running` does first."""
        self.seam.recovering = True
        await recover_wrongly(
            self.order.mutant,
            self.seam,
            self.core.clock,
            lambda seen: dead_instances(self.state, seen),
            lambda execution: rerun(self.effects, execution),
        )
        self.seam.recovering = False
        await activate(self.core.store, self.core.clock, self.policy)

    # -- the agents ----------------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Old business first, then everybody at once."""
        task = await self.core.open_task()
        old = [self.resume(hold) for hold in self.core.store.holds(limit=400)]
        await asyncio.gather(*old, *(self.client(task, number) for number in range(self.order.clients)))

    async def resume(self, hold: Hold) -> None:
        """What a killed gateway left: approved holds are redeemed, pending ones answered first."""
        if hold.status not in {HoldStatus.PENDING, HoldStatus.APPROVED}:
            return
        if hold.status is HoldStatus.PENDING and not await self.approver(hold):
            return
        await self.redeem(self.again(hold), hold)

    def again(self, hold: Hold) -> ActionRequest:
        """The agent's retry after a restart: the same arguments under a new request id."""
        state = self.core.store.task(hold.task)
        payload = self.core.store.payload(hold.request)
        return self.core.ask(state.task, hold.name, **msgspec.json.decode(payload.arguments))

    async def client(self, task: Task, number: int) -> None:
        for turn in range(self.order.ops):
            tool = self.random.choices(["read", "write", "wipe", "drop"], [5, 5, 2, 1])[0]
            name = f"{self.order.seed}-{number}-{turn}"
            request = self.core.ask(task, tool, id=name, text="x" * self.random.randrange(200))
            self.points.hit("1 asked")
            await self.call(request)

    async def call(self, request: ActionRequest) -> None:
        """One action to its end; some approved ones are left for after the crash."""
        outcome = await self.core.decide(request)
        if isinstance(outcome, Granted):
            await self.send(outcome)
        if not isinstance(outcome, Held) or not await self.approver(outcome.hold):
            return
        if self.random.random() < 0.8:
            await self.redeem(request, outcome.hold)

    async def redeem(self, request: ActionRequest, hold: Hold) -> None:
        """Come back for an approval, sometimes twice at once."""
        times = 2 if self.random.random() < 0.4 else 1
        await asyncio.gather(*(self.retry(request, hold) for _ in range(times)))

    async def retry(self, request: ActionRequest, hold: Hold) -> None:
        again = msgspec.structs.replace(request, id=self.core.ids.new("req"))
        hint = hold.id if self.random.random() < 0.5 else None
        outcome: Outcome = await self.core.decide(again, hint)
        if isinstance(outcome, Granted):
            await self.send(outcome)

    async def send(self, granted: Granted) -> None:
        """Steps 7 to 9."""
        self.points.hit("7 granted")

        def effect(grant: Any, sealed: bytes) -> None:
            self.points.hit("7 claimed")
            self.effects(grant, sealed, between=lambda: self.points.hit("8 effect, before sync"))
            self.points.hit("8 after effect")

        await self.core.run(granted.grant, effect)

    # -- the approvers -------------------------------------------------------------------------------------------------

    async def approver(self, hold: Hold) -> bool:
        """A person's answer: mostly yes. Approving twice (double click) or after somebody else's answer is refused."""
        await asyncio.sleep(self.random.random() * 0.003)
        try:
            if self.random.random() < 0.2:
                await self.core.answer.deny(hold.id, AUDITOR, "no")
                self.acks("denied", hold.id)
                return False
            await self.core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))
        except ConflictError:
            return False
        self.acks("approved", hold.id)
        self.points.hit("6 approved, not retried")
        return True


def rerun(effects: EffectFile, execution: str) -> None:
    """What the `rerun` mutant does: the same effect again."""
    with effects.path.open("ab") as file:
        file.write(msgspec.json.encode(Effect(execution, "?", "?", "?")) + b"\n")


async def live(order: Order, policy: Policy, points: Points, report: Any) -> None:
    """One gateway from start to end."""
    gateway = Gateway(order, policy, points)
    report("ready")
    await gateway.start()
    if order.mode == "load":
        await gateway.load()
        report("done")
        os.kill(os.getpid(), signal.SIGKILL)
    await asyncio.gather(*(gateway.resume(hold) for hold in gateway.core.store.holds(limit=100_000)))
    await gateway.core.execute.drain()
    gateway.core.instance.close()
    gateway.core.store.close()


def redeem(order: Order, policy: Policy, barrier: Any) -> None:
    """One of several processes that race for the same approvals; a round for each approved hold, all start together."""
    gateway = Gateway(order, policy, Points())

    async def race() -> None:
        for hold in sorted(gateway.core.store.holds(limit=100_000), key=lambda hold: hold.id):
            request = gateway.again(hold)
            barrier.wait(60)
            await asyncio.gather(*(gateway.retry(request, hold) for _ in range(order.redeemers)))
        await gateway.core.execute.drain()

    asyncio.run(race())
    gateway.core.instance.close()
    gateway.core.store.close()


def redeem_all(order: Order, policy: Policy) -> Report:
    """Run the race."""
    context = get_context("fork")
    barrier = context.Barrier(order.processes)
    orders = [msgspec.structs.replace(order, seed=order.seed + number) for number in range(order.processes)]
    racers = [context.Process(target=redeem, args=(one, policy, barrier)) for one in orders]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    return Report(killed=False, code=max(abs(racer.exitcode or 0) for racer in racers))


def child(order: Order, policy: Policy, pipe: int) -> None:
    """A forked gateway; never returns."""
    code = 1
    try:

        def report(word: str) -> None:
            os.write(pipe, f"{word}\n".encode())

        points = Points(order.point, order.nth, report)
        asyncio.run(live(order, policy, points, report))
        code = 0
    except BaseException:  # noqa: BLE001 - told to the parent as an exit code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(order: Order, policy: Policy) -> Report:
    """Fork a gateway and see it to its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(order, policy, writer)
    os.close(writer)
    said = b""
    if order.kill_after_ms is not None:
        deadline = time.monotonic() + order.kill_after_ms / 1_000
        while (left := deadline - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
            word = os.read(reader, 4096)
            said += word
            if not word:
                break
        os.kill(pid, signal.SIGKILL)
    while word := os.read(reader, 4096):
        said += word
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    words = said.decode().splitlines()
    point = next((word for word in words if word != "ready"), "")
    return Report(
        killed=os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
        point=point,
        ready="ready" in words,
    )


def main() -> None:
    """Serve orders until standard input ends."""
    policy = Policy.load(Path(sys.argv[1]))
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        report = redeem_all(order, policy) if order.mode == "redeem" else run(order, policy)
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
