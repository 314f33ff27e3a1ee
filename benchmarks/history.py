"""What history costs a decision: all facts gathered and decided, beside 10 to 100,000 earlier events; rebuilt after a kill."""

import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.decisions import NOW, SIZES, compiled, question, timed
from benchmarks.machine import scratch
from benchmarks.stats import percentile, spread, table, verdict, verdicts
from lictor.lifecycle.measures import end, start
from lictor.lifecycle.rows import Execution, Key, Row, measure_key
from lictor.model.action import ActionRequest
from lictor.model.decision import Allow
from lictor.model.history import Member, Per, Total
from lictor.model.record import ExecutionEnded, ExecutionStarted
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Pdp, decide
from lictor.service.history import moves_after, readings_of
from lictor.stores.sqlite import SqliteStore

EVENTS = (10, 1_000, 100_000)
MEASURES = """
[measures.calls_hour]
of = "count"
per = ["task"]
window = "1h"
where = {}

[measures.numbers_day]
of = "sum"
field = "/number"
per = ["human", "tool"]
window = "1d"
where = { effects = ["read"] }

[measures.texts]
of = "distinct"
field = "/text"
per = ["task"]
window = "30d"
where = { actions = ["x/t0"] }

[measures.done]
of = "count"
per = ["agent"]
window = "forever"
where = { effects = ["read"] }
on = "executed"
"""
LIMITS = """
@id("limits") @owner("os:x") @reason("measured")
forbid (principal, action, resource)
when {
  context.measures.calls_hour > 100000000 || context.measures.numbers_day > 100000000
  || context.measures.texts > 100000000 || context.measures.done > 100000000
};
"""
_KEY = bytes(range(32))


class Rows:
    """Measures in memory, moved by the real life cycle: what a decision reads is a dictionary away."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def measure(self, key: str) -> Total | None:
        """See `RecordStore.measure`."""
        row = self.rows.get(measure_key(key))
        return row.body if row is not None and isinstance(row.body, Total) else None

    def member(self, key: str, member: str) -> Member | None:
        """See `RecordStore.member`."""
        row = self.rows.get(("member", f"{key} {member}"))
        return row.body if row is not None and isinstance(row.body, Member) else None

    def happen(self, started: ExecutionStarted, at_ms: int) -> None:
        """One execution starts and comes back."""
        key = ("execution", started.execution)
        self.rows[key] = Row(
            kind="execution", id=started.execution, status="", owner="", at_ms=at_ms,
            body=Execution(started=started, outcome="started"),
        )  # fmt: skip
        self.rows.update(_kept(start(self.rows.get, started, at_ms)))
        ended = ExecutionEnded(execution=started.execution, outcome="executed")
        self.rows.update(_kept(end(self.rows.get, started, ended, at_ms)))
        del self.rows[key]


def _kept(changes: Any) -> dict[Key, Row]:
    return {key: row for key, row in changes.items() if row is not None}


class Task:
    """One task with a past."""

    def __init__(self, pdp: Pdp, events: int) -> None:
        self.pdp, self.rows = pdp, Rows()
        self.request, self.snapshot = question(pdp)
        self.at = NOW
        chosen = random.Random(events)
        self.event_us: list[float] = []
        for number in range(events):
            self.at += chosen.randrange(2 * 30 * 86_400_000 // events) if number else 0
            begun = time.thread_time_ns()
            self.event(number)
            if number >= events - 200:
                self.event_us.append((time.thread_time_ns() - begun) / 1e3)

    def under(self, pdp: Pdp) -> "Task":
        """The same past under another bundle."""
        other = Task(pdp, 0)
        other.rows.rows, other.at, other.event_us = dict(self.rows.rows), self.at, self.event_us
        return other

    def event(self, number: int) -> None:
        """Read, and move, as an allowed action does; policy is measured elsewhere."""
        snapshot = self.gather()
        moves = moves_after(self.pdp, self.request, snapshot)
        self.rows.happen(_started(self.request, number, moves), self.at)

    def gather(self) -> Snapshot:
        """The snapshot with every measure."""
        found = readings_of(self.rows, self.pdp, self.request, self.snapshot.task, self.at, {})  # type: ignore[arg-type]
        state = self.snapshot.task
        if state is None:
            raise TypeError("no task")
        fresh = msgspec.structs.replace(state, task=msgspec.structs.replace(state.task, expires_at_ms=2**52))
        return msgspec.structs.replace(self.snapshot, at_ms=self.at, measures=found, task=fresh)

    def whole(self) -> object:
        """Everything a decision does: gather, encode, digest, decide."""
        self.at += 1
        snapshot = self.gather()
        decision = decide(self.pdp, self.request, snapshot, encoded=snapshot.encode())
        if not isinstance(decision, Allow):
            raise TypeError(f"not allowed: {decision!r:.300}")
        return decision


def _started(request: ActionRequest, number: int, moves: Any) -> ExecutionStarted:
    return ExecutionStarted(
        execution=f"exe_{number}", request=request.id, decision="dec_x", digest=request.digest,
        arguments=request.arguments.digest, task=request.task, instance="ins_x", moves=moves,
    )  # type: ignore[arg-type]  # fmt: skip


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Section `history` of the report."""
    text: list[str] = ["## A decision with history", ""]
    data: dict[str, Any] = {}
    bars: list[dict[str, object]] = []
    small = compiled(10, "mixed", LIMITS, MEASURES)
    past = {events: Task(small, events) for events in EVENTS}
    for size in SIZES:
        pdp = compiled(size, "mixed", LIMITS, MEASURES)
        tasks = {events: past[events].under(pdp) for events in EVENTS}
        p50: dict[int, list[float]] = {events: [] for events in EVENTS}
        p99: dict[int, list[float]] = {events: [] for events in EVENTS}
        for _round in range(rounds):
            for events in random.sample(EVENTS, len(EVENTS)):
                values = timed(tasks[events].whole)
                p50[events].append(percentile(values, 0.5))
                p99[events].append(percentile(values, 0.99))
        rows = [
            [f"{e:,}", spread(p50[e], 1), spread(p99[e], 1), f"{median(p50[e]) / median(p50[10]):.2f}",
             f"{median(tasks[e].event_us):.0f}"]
            for e in EVENTS
        ]  # fmt: skip
        heading = ("Earlier events", "p50 us CPU", "p99 us CPU", "x p50 at 10", "one more event, us")
        text += [f"### {size:,} policies, 4 measures", "", table(heading, rows), ""]
        data[str(size)] = {str(e): {"p50_us": p50[e], "p99_us": p99[e]} for e in EVENTS}
        ratio = median(p50[100_000]) / median(p50[10])
        bars.append(verdict(f"{size:,} policies: 100,000 events <= 1.25x of 10", ratio, 1.25))
        if size == SIZES[-1]:
            bars.append(verdict("p99 at 10,000 policies, 100,000 events <= 1 ms (us)", median(p99[100_000]), 1_000))
            data["bytes"] = _row_bytes(tasks[100_000])
    quiet = _quiet(small)
    bars.append(verdict("a quiet task <= 1.5 KB (bytes)", quiet, 1_536))
    killed = _killed()
    bars.append(verdict("rows that differ from the log after kill -9", killed["differences"], 0))
    text += [
        f"After 100,000 events the rows of one task are {data['bytes']:,} bytes as stored; a task with one event takes {quiet:,.0f} in memory.",
        "", f"Killed with -9 while it wrote: {killed['entries']:,} entries, {killed['differences']} rows differ from the log.", "",
        "### Beside dogwood-py", "", _dogwood(data), "", verdicts(bars), "",
    ]  # fmt: skip
    return "\n".join(text), {"samples": data, "bars": bars}


def _row_bytes(task: Task) -> int:
    from lictor.lifecycle.rows import encode_body

    return sum(len(encode_body(row)) for row in task.rows.rows.values())


def _quiet(pdp: Pdp) -> float:
    """Bytes in memory of the rows of one task that did one thing: what a million such tasks would need, divided."""
    task = Task(pdp, 1)
    moves = moves_after(pdp, task.request, task.gather())
    gc.collect()
    tracemalloc.start()
    rows, before = Rows(), tracemalloc.get_traced_memory()[0]
    for number in range(500):
        # Rows per agent or person are there once, however many tasks there are.
        own = [move for move in moves if pdp.measures[move.key.partition(":")[0]].per == (Per.TASK,)]
        fresh = tuple(_moved(move, number) for move in own)
        rows.happen(_started(task.request, number, fresh), NOW)
        del fresh, own
        if number == 249:
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used / 250


def _moved(move: Any, number: int) -> Any:
    return msgspec.structs.replace(move, key=f"{move.key[:-6]}{number:06d}", seen=0)


_WRITER = """
import asyncio, sys
from pathlib import Path
from benchmarks.history import write_for_ever
asyncio.run(write_for_ever(Path(sys.argv[1])))
"""


async def write_for_ever(path: Path) -> None:
    """Allowed actions with measures into a real log, until the process is killed."""
    from lictor.model.record import TaskOpened
    from lictor.ports import Batch

    pdp = compiled(10, "mixed", LIMITS, MEASURES)
    request, snapshot = question(pdp)
    store = _open(path)
    task = snapshot.task
    if task is None:
        raise TypeError("no task")
    await store.commit(Batch(at_ms=NOW, records=(TaskOpened(task=task.task, opened_by="os:x"),)))
    number = 0
    while True:
        at = NOW + number
        found = readings_of(store, pdp, request, task, at, {})
        moves = moves_after(pdp, request, msgspec.structs.replace(snapshot, at_ms=at, measures=found))
        await store.commit(Batch(at_ms=at, records=(_started(request, number, moves),)))
        outcome = "failed" if number % 3 == 0 else "executed"
        await store.commit(Batch(at_ms=at, records=(ExecutionEnded(execution=f"exe_{number}", outcome=outcome),)))  # type: ignore[arg-type]
        number += 1
        if number in (20, 200):
            print(number, flush=True)


def _open(path: Path) -> SqliteStore:
    return SqliteStore(path, signer=Ed25519PrivateKey.from_private_bytes(_KEY), origin="bench/history")


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


def _dogwood(data: dict[str, Any]) -> str:
    """The windowed `count` of dogwood-py, in the same run, if its Python is named by LICTOR_DOGWOOD."""
    python = os.environ.get("LICTOR_DOGWOOD", "")
    if not python:
        return "Not measured in this run: name a Python that has `dogwood-py` in `LICTOR_DOGWOOD`."
    script = Path(__file__).with_name("dogwood_count.py")
    done = subprocess.run([python, str(script)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        return f"dogwood-py did not run: {done.stderr.strip().splitlines()[-1:]}"
    found = json.loads(done.stdout)
    data["dogwood"] = found
    rows = [[f"{int(n):,}", f"{us:,.0f}"] for n, us in found["us"].items()]
    return f"dogwood-py {found['version']}, one policy with a windowed count:\n\n{table(('Earlier events', 'us a decision'), rows)}"
