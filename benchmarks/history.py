"""What a whole decision costs: every fact gathered and decided, beside 10 to 100,000 earlier events; rebuilt after a kill."""

import asyncio
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.decisions import NOW, SIZES, compiled, question
from benchmarks.history_world import AGENTS, KEY, Asking, beginning, bundle, ended, opened, remember, request
from benchmarks.machine import realtime, scratch
from benchmarks.pace import PACE, Timed, timed
from benchmarks.quiet import quiet
from benchmarks.stats import table, verdict, verdicts
from lictor.model.action import ActionRequest
from lictor.pdp.decide import Pdp, decide
from lictor.ports import Batch, RecordStore
from lictor.service.calls.chain import links_of, restrictions_on, scores_of
from lictor.service.history.history import readings_of
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore

EVENTS = (10, 1_000, 100_000)
ONE_COUNT = '[measures.calls_hour]\nof = "count"\nper = ["task"]\nwindow = "1h"\nwhere = {}\n'
ONE_LIMIT = (
    '@id("limit") @owner("os:x") @reason("measured")\n'
    "forbid (principal, action, resource) when { context.measures.calls_hour > 100000000 };\n"
)
FEW = (10, 300, 1_000)
"""Earlier events beside dogwood-py, which reads all of them at every decision."""
WHAT = """\
One call is everything between the sealed request and the answer: `Authorize` gathers the task, its two parents (a chain of three
agents), contracts of all three with bound values and origins, four measures (one distinct by destination, one on success), the
origins of two watched arguments among the remembered values, labels, a signal, and a restriction on somebody else; the snapshot is
encoded and digested; path, destination and value are normalised; policy answers for each agent of the chain, with policies that
read all of these and the autonomy of each agent, which differs. A thousand different requests to 64 places take turns, so that what
is worked out once for an action is worked out each time. *Alone* is the same call by an agent whom nobody delegated to.
Not in it: the resolving of links on a disk, and the commit (section store). Rows are warm: nobody else commits in between. Earlier events
were started and ended in these stores through the real life cycle, without the records of requests and decisions."""


class Pasts:
    """The same past in both stores, for every number of events."""

    def __init__(self, pdp: Pdp, folder: Path) -> None:
        self.at: dict[int, int] = {}
        self.stores: dict[tuple[str, int], RecordStore] = {}
        for events in EVENTS:
            sqlite = _open(folder / str(events) / "log.db")
            asking = Asking.of(MemoryStore(), pdp)
            asyncio.run(remember(asking, events, sqlite))
            self.stores["SQLite", events], self.stores["memory", events] = sqlite, asking.store
            self.at[events] = asking.clock.at_ms
            asyncio.run(self._alone(events))
            if asking.gather(request()) != Asking.of(sqlite, pdp, self.at[events]).gather(request()):
                raise TypeError("the stores do not agree")

    async def _alone(self, events: int) -> None:
        for name in ("memory", "SQLite"):
            record = opened("task_alone", AGENTS[0], (), 1_000)
            await self.stores[name, events].commit(Batch(at_ms=NOW, records=(record,), key=KEY))

    def under(self, pdp: Pdp, store: str, events: int) -> Asking:
        """One past, under a bundle."""
        return Asking.of(self.stores[store, events], pdp, self.at[events])

    def close(self) -> None:
        """All of them."""
        for store in self.stores.values():
            store.close()


def turns(asking: Asking, task: str = "task_leaf") -> Callable[[], object]:
    """One decision after another, a millisecond apart; no two of a thousand requests are the same, to 64 places."""
    asked = itertools.cycle([request(task, place) for place in range(1_000)])

    def once() -> object:
        asking.clock.at_ms += 1
        return asking.decided(next(asked))

    return once


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Section `history` of the report."""
    text: list[str] = ["## A decision with every fact", "", WHAT, "", PACE, ""]
    data: dict[str, Any] = {}
    bars: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        pasts = Pasts(bundle(10), Path(folder))
        try:
            for size in SIZES:
                text += _of_size(size, bundle(size), pasts, rounds, data, bars)
        finally:
            pasts.close()
    text += [f"Load average after these: {' '.join(f'{load:.1f}' for load in os.getloadavg())}.", ""]
    text += ["### A quiet task", "", quiet(bars, data), ""]
    killed = _killed()
    bars.append(verdict("rows that differ from the log after kill -9", killed["differences"], 0))
    killed_text = f"Killed with -9 while it wrote: {killed['entries']:,} entries, {killed['differences']} rows differ from the log."
    text += [killed_text, "", "### Beside dogwood-py", "", _beside(data), "", verdicts(bars), ""]
    return "\n".join(text), {"samples": data, "bars": bars}


def _of_size(
    size: int, pdp: Pdp, pasts: Pasts, rounds: int, data: dict[str, Any], bars: list[dict[str, object]]
) -> Iterable[str]:
    cells = {
        (store, task, events): turns(pasts.under(pdp, store, events), task)
        for store in ("memory", "SQLite")
        for task in ("task_leaf", "task_alone")
        for events in EVENTS
    }
    taken = {cell: Timed() for cell in cells}
    for _round in range(rounds):
        for cell in random.sample(list(cells), len(cells)):
            with realtime(()):
                timed(cells[cell], taken[cell])
    rows = []
    for cell, one in taken.items():
        store, task, events = cell
        ratio = one.at(0.5) / taken[store, task, 10].at(0.5)
        who = "chain" if task == "task_leaf" else "alone"
        figures = (f"{one.at(0.5):.0f}", f"{one.at(0.99):.0f}", f"{one.of_every(0.99):,.0f}", f"{ratio:.2f}")
        rows.append([store, who, f"{events:,}", one.how_many, *figures])
        data[f"{size} {store} {who} {events}"] = one.summary()
        if events == EVENTS[-1]:
            bars.append(verdict(f"{size:,} policies, {store}, {who}: 100,000 events <= 1.25x of 10", ratio, 1.25))
        if events == EVENTS[-1] and size == SIZES[-1]:
            what = f"p99 at 10,000 policies, 100,000 events, {store}, {who} <= 1 ms CPU (us)"
            bars.append(verdict(what, one.at(0.99), 1_000))
    heading = (
        "Store",
        "Who",
        "Earlier events",
        "calls",
        "p50 us CPU",
        "p99 us CPU",
        "p99 of every call",
        "x p50 at 10",
    )
    found = [f"### {size:,} policies", "", table(heading, rows), ""]
    if size == SIZES[-1]:
        found += ["Where it goes, beside 100,000 events (p50, us CPU):", "", _parts(pdp, pasts, data), ""]
    return found


def _parts(pdp: Pdp, pasts: Pasts, data: dict[str, Any]) -> str:
    columns = {
        f"{store}, {who}": _split(pasts.under(pdp, store, EVENTS[-1]), request(task))
        for store in ("memory", "SQLite")
        for who, task in (("chain", "task_leaf"), ("alone", "task_alone"))
    }
    data["parts"] = columns
    names = list(next(iter(columns.values())))
    rows = [[name, *(f"{column[name]:.0f}" for column in columns.values())] for name in names]
    return table(("Part", *columns), rows)


def _split(asking: Asking, asked: ActionRequest) -> dict[str, float]:
    store, pdp = asking.store, asking.pdp
    state = store.task(asked.task)
    snapshot = asking.gather(asked)
    encoded = snapshot.encode()
    agents = links_of(store, pdp, state)[1]
    parts: dict[str, Callable[[], object]] = {
        "task and live hold": lambda: (store.task(asked.task), store.live_hold(asked.task, asked.digest)),
        "parents": lambda: links_of(store, pdp, state),
        "restrictions": lambda: restrictions_on(store, pdp, asked, state, agents),
        "signals": lambda: scores_of(store, pdp, state),
        "measures": lambda: readings_of(store, pdp, asked, state, asking.clock.at_ms, {}),
        "origins": lambda: asking.service._gather.origins(pdp, asked, state),
        "gather, all of these": lambda: asking.gather(asked),
        "encode": snapshot.encode,
        "decide": lambda: decide(pdp, asked, snapshot, encoded=encoded),
    }
    return {name: timed(part).at(0.5) for name, part in parts.items()}


# -- killed ----------------------------------------------------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from pathlib import Path
from benchmarks.history import write_for_ever
asyncio.run(write_for_ever(Path(sys.argv[1])))
"""


async def write_for_ever(path: Path) -> None:
    """Allowed actions with every fact into a real log, until the process is killed."""
    asking = Asking.of(_open(path), bundle(10))
    for batch in beginning():
        await asking.store.commit(batch)
    for number in itertools.count():
        asking.clock.at_ms += 1
        started = asking.started(request(place=number), number)
        await asking.store.commit(Batch(at_ms=asking.clock.at_ms, records=(started,)))
        last = ended(started, number)
        await asking.store.commit(Batch(at_ms=asking.clock.at_ms, records=(last,)))
        if number in {20, 200}:
            print(number, flush=True)


def _open(path: Path) -> SqliteStore:
    return SqliteStore(path, signer=Ed25519PrivateKey.from_private_bytes(KEY), origin="bench/history")


def _killed() -> dict[str, int]:
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder) / "log" / "log.db"
        worker = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        if worker.stdout is not None:
            worker.stdout.readline()
            worker.stdout.readline()
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        with _open(path) as store:
            return {"entries": store.size(), "differences": len(store.rebuild_rows())}


# -- dogwood-py ------------------------------------------------------------------------------------------------------------


def _beside(data: dict[str, Any]) -> str:
    """The windowed `count` of dogwood-py, in the same run, if its Python is named by LICTOR_DOGWOOD."""
    python = os.environ.get("LICTOR_DOGWOOD", "")
    if not python:
        return "Not measured in this run: name a Python that has `dogwood-py` in `LICTOR_DOGWOOD`."
    script = Path(__file__).with_name("dogwood_count.py")
    command = [python, str(script), *map(str, FEW)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return f"dogwood-py did not run: {done.stderr.strip().splitlines()[-1:]}"
    found = json.loads(done.stdout)
    every, one = asyncio.run(_ours(*_every_fact())), asyncio.run(_ours(*_one_count()))
    data["dogwood"], data["beside dogwood"] = found, {"every fact": every, "one count": one}
    rows = [[f"{n:,}", f"{found['us'][str(n)]:,.0f}", f"{one[n]:,.0f}", f"{every[n]:,.0f}"] for n in FEW]
    head = ("Earlier events", f"dogwood-py {found['version']}, us", "ours, one count, us", "ours, every fact, us")
    return (
        "CPU of one decision and of taking in what it allowed, in memory (median of the ten before). dogwood-py runs its own example: one"
        " policy with one windowed count. Ours has ten policies, a decision's checks, and a log with its Merkle tree (the start and the"
        f" end of the execution): once with one windowed count, once with everything above.\n\n{table(head, rows)}"
    )


def _every_fact() -> tuple[Pdp, list[Batch], ActionRequest]:
    return bundle(10), list(beginning()), request()


def _one_count() -> tuple[Pdp, list[Batch], ActionRequest]:
    pdp = compiled(10, "mixed", ONE_LIMIT, ONE_COUNT)
    asked, _ = question(pdp)
    record = msgspec.structs.replace(opened(asked.task, AGENTS[0], (), 2_000), contract=None)
    return pdp, [Batch(at_ms=NOW, records=(record,), key=KEY)], asked


async def _ours(pdp: Pdp, before: list[Batch], asked: ActionRequest) -> dict[int, float]:
    asking = Asking.of(MemoryStore(), pdp)
    for batch in before:
        await asking.store.commit(batch)
    times: list[float] = []
    found: dict[int, float] = {}
    for number in range(1, max(FEW) + 1):
        asking.clock.at_ms += 1
        begun = thread_time_ns()
        started = asking.started(asked, number)
        await asking.store.commit(Batch(at_ms=asking.clock.at_ms, records=(started,)))
        await asking.store.commit(Batch(at_ms=asking.clock.at_ms, records=(ended(started, number),)))
        times.append((thread_time_ns() - begun) / 1e3)
        if number in FEW:
            found[number] = median(times[-10:])
    return found
