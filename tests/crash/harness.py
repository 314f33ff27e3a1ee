"""Rounds of killing a gateway and looking at what it left. Knows processes and folders; what must hold is `ledger`'s."""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from crash.ledger import Ledger, log_faults
from crash.mutants import recover_wrongly
from crash.points import JOURNAL_POINTS, LOAD_POINTS, RECOVERY_POINTS
from crash.scene import open_store, write_bundle
from crash.upstream import AckFile, EffectFile
from crash.worker import Order, Report, rerun
from lictor.policy.compile import compile_files
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.stores.clock import SystemClock
from lictor.stores.instances import dead_instances

TESTS = Path(__file__).parent.parent
LOAD_MS = 90.0
"""About how long a gateway lives when nobody kills it."""
NTH = {
    "3 gathered": 30,
    "4 decided": 40,
    "5 inside a transaction": 25,
    "5 committed, nobody told": 25,
    "6 refusal, before commit": 2,
    "6 refusal, after commit": 2,
    "J started": 1,
    "J before copying": 4,
    "J copied, nobody told": 4,
    "J before catching up": 4,
    "J caught up": 4,
    "J before it ends": 1,
    "J ended, right not given back": 1,
    "0": 8,
}
"""Highest number of times a point is passed before it kills; `0` for the rest."""


class Worker:
    """The parent of all gateways of a test, in a process of its own: it must not have threads when it forks."""

    def __init__(self, bundle: Path) -> None:
        write_bundle(bundle)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.worker", str(bundle)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *filter(None, sys.path)])},
        )

    def run(self, order: Order) -> Report:
        """Carry out one order."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the worker is gone")
        return msgspec.json.decode(line, type=Report)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)


@dataclass
class House:
    """A state folder and the world around it, over many crashes."""

    folder: Path
    anchor: str | None = None
    effects: EffectFile = field(init=False)
    acks: AckFile = field(init=False)

    def __post_init__(self) -> None:
        self.effects = EffectFile(self.folder / "effects")
        self.acks = AckFile(self.folder / "acks")

    @property
    def state(self) -> Path:
        """Where log and keys are."""
        return self.folder / "state"


@dataclass
class Totals:
    """What a campaign did: a test that passes without having tested anything must show."""

    rounds: int = 0
    points: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    effects: int = 0
    indeterminate: int = 0
    approvals: int = 0
    replayed: int = 0


def examine(house: House, mutant: str = "") -> tuple[list[str], int]:
    """Reopen after a crash, recover, check everything. Returns violations and how many executions became indeterminate."""
    clock = SystemClock()
    with open_store(house.state, anchor=house.anchor) as store:
        ledger = Ledger.read(store)
        opened = set(ledger.open)
        happened = len(house.effects.read())
        listed = {one.execution for one in store.open_executions()}
        faults = [f"d: {name} is open and not listed" for name in opened ^ listed]
        marked = asyncio.run(_recover(house, store, mutant))
        effects = house.effects.read()
        if len(effects) != happened:
            faults.append("d: recovery had an effect")
        if {one.execution for one in marked} != opened:
            faults.append("d: recovery marked something else than what was open")
        ledger.more(store)
        faults += ledger.effect_faults(effects)
        faults += ledger.approval_faults(store, house.acks.read(), clock.now_ms())
        faults += ledger.end_faults(effects, opened)
        faults += log_faults(store, house.anchor)
        house.anchor = store.newest_checkpoint()
    return faults, len(marked)


async def _recover(house: House, store: Any, mutant: str) -> list[Any]:
    return await recover_wrongly(
        mutant,
        store,
        SystemClock(),
        lambda seen: dead_instances(house.state, seen),
        lambda execution: rerun(house.effects, execution),
    )


def finish(house: House, worker: Worker, totals: Totals) -> list[str]:
    """The end of a house: every approval left is used by one last, unharmed gateway; every decision replays."""
    report = worker.run(Order(state=str(house.state), mode="drain"))
    faults = [] if report.code == 0 and not report.killed else ["the last gateway failed"]
    more, _ = examine(house)
    with open_store(house.state) as store:
        ledger = Ledger.read(store)
        spent = {started.hold for started in ledger.started.values()}
        left = ledger.approved.keys() - spent - ledger.stopped.keys()
        faults += [f"c: the approval of {hold} could not be used" for hold in left]
        for replayed in Replay(store, compile_files)():
            totals.replayed += 1
            if replayed.status is not ReplayStatus.IDENTICAL:
                faults.append(f"replay of {replayed.request}: {replayed.status} {replayed.detail}")
    totals.executions += len(ledger.started)
    totals.effects += len(house.effects.read())
    totals.approvals += len(ledger.approved)
    return faults + more


def orders(house: House, number: int, rng: random.Random, mutant: str = "") -> list[Order]:
    """The gateways of one round: one killed under load; for recovery points, a second one killed while it recovers."""
    places = (*LOAD_POINTS, *JOURNAL_POINTS, *RECOVERY_POINTS)
    point = places[number // 2 % len(places)] if number % 2 == 0 else ""
    base = Order(state=str(house.state), seed=rng.randrange(2**32), mutant=mutant)
    if not point:
        return [msgspec.structs.replace(base, kill_after_ms=rng.uniform(0, LOAD_MS))]
    nth = rng.randint(1, NTH.get(point, NTH["0"]))
    if point in RECOVERY_POINTS:
        first = msgspec.structs.replace(base, point="7 claimed", nth=rng.randint(2, 8))
        return [first, msgspec.structs.replace(base, seed=base.seed + 1, point=point, nth=1)]
    return [msgspec.structs.replace(base, point=point, nth=nth)]


def campaign(folder: Path, worker: Worker, rounds: int, *, seed: int, per_house: int = 20) -> tuple[list[str], Totals]:
    """Kill a right gateway so many times. Returns violations, each with its round, and what was done."""
    rng = random.Random(seed)
    totals, faults = Totals(), []
    house = House(folder / "0")
    for number in range(rounds):
        if number and number % per_house == 0:
            faults += finish(house, worker, totals)
            house = House(folder / str(number))
        house.folder.mkdir(parents=True, exist_ok=True)
        for order in orders(house, number, rng):
            report = worker.run(order)
            totals.points[report.point or ("at random" if order.kill_after_ms else "never reached")] += 1
            if not report.killed:
                faults.append(f"round {number}: the gateway ended by itself, code {report.code}")
        found, marked = examine(house)
        faults += [f"round {number} ({order.point or 'random'}): {fault}" for fault in found]
        totals.rounds += 1
        totals.indeterminate += marked
    return faults + finish(house, worker, totals), totals


def first_violation(folder: Path, worker: Worker, mutant: str, wanted: str, *, rounds: int, seed: int) -> list[str]:
    """Kill a mutant until its violation shows. Returns that round's violations; empty when none showed."""
    rng = random.Random(seed)
    house = House(folder)
    house.folder.mkdir(parents=True, exist_ok=True)
    for number in range(rounds):
        for order in orders(house, number, rng, mutant):
            worker.run(order)
        found, _ = examine(house, mutant)
        if any(fault.startswith(wanted) for fault in found):
            return found
    return []
