"""The durable store: group commit beside one commit for each batch, in memory and inline; open loop; and while it grows."""

import asyncio
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import store_growth, store_open
from benchmarks.decisions import NOW, compiled, question
from benchmarks.machine import realtime, scratch
from benchmarks.stats import percentile, spread, table, verdict, verdicts
from lictor.model.ids import DecisionId, ExecutionId, InstanceId, RequestId
from lictor.model.record import ExecutionStarted, TaskOpened
from lictor.model.task import Budget
from lictor.pdp.decide import decide
from lictor.ports import Batch, Payload, Receipt
from lictor.service.calls.recorded import made, received
from lictor.stores import scribe, writer
from lictor.stores.commit import entries_of
from lictor.stores.jobs import Job
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore

CALLERS = (1, 8, 64)
_GROUP, _EACH, _MEMORY, _INLINE = "group commit", "one commit each", "in memory", "inline commit"
GROUPED, JOURNALED, NEVER = writer.MAX_GROUP, scribe.BUSY_AFTER, 2**40


class Sink:
    """A store and an endless supply of what one allowed call commits: request, decision, start, sealed payload."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.db"
        self.store: SqliteStore | MemoryStore = SqliteStore(
            self.path, signer=Ed25519PrivateKey.generate(), origin="bench/store"
        )
        self.pdp = compiled(10, "mixed")
        self.request, self.snapshot = question(self.pdp)
        self.decision = decide(self.pdp, self.request, self.snapshot)
        self.count = 0

    async def open(self) -> None:
        assert self.snapshot.task is not None
        task = msgspec.structs.replace(self.snapshot.task.task, budget=Budget(calls=10**9))
        await self.store.commit(Batch(at_ms=NOW, records=(TaskOpened(task=task, opened_by="os:x"),)))

    def batch(self) -> Batch:
        """The next call's."""
        self.count += 1
        request = msgspec.structs.replace(self.request, id=RequestId(f"req_{self.count}"))
        payload = Payload(
            request=request.id, task=request.task, arguments=request.arguments.data, snapshot=self.snapshot.encode()
        )
        decision = DecisionId(f"dec_{self.count}")
        started = ExecutionStarted(
            execution=ExecutionId(f"exe_{self.count}"),
            request=request.id,
            decision=decision,
            digest=request.digest,
            arguments=request.arguments.digest,
            task=request.task,
            instance=InstanceId("bench"),
        )
        records = (received(request), made(self.pdp, decision, request, self.decision), started)
        return Batch(at_ms=NOW, records=records, payloads=(payload,))

    async def window(self, callers: int, seconds: float) -> tuple[float, ...]:
        """(batches a second, p50, p99 in us, CPU us a batch on the event loop, in the writer's thread)."""
        process, loop = time.process_time(), time.thread_time()
        end = time.perf_counter() + seconds
        found: list[float] = []

        async def caller() -> None:
            while (start := time.perf_counter()) < end:
                await self.store.commit(self.batch())
                found.append((time.perf_counter() - start) * 1e6)

        await asyncio.gather(*(caller() for _ in range(callers)))
        loop = time.thread_time() - loop
        thread = time.process_time() - process - loop
        found.sort()
        cpu = (loop * 1e6 / len(found), thread * 1e6 / len(found))
        return len(found) / seconds, percentile(found, 0.5), percentile(found, 0.99), *cpu

    async def inline(self, seconds: float) -> tuple[float, ...]:
        """The same as `window` for one caller who has no loop and no writer: what a commit costs where it is asked for."""
        store, loop = self.store, asyncio.get_running_loop()
        assert isinstance(store, SqliteStore)
        process, end = time.thread_time(), time.perf_counter() + seconds
        found: list[float] = []
        while (start := time.perf_counter()) < end:
            batch = self.batch()
            job = Job(batch, entries_of(batch), loop)
            with store._writer._turn:
                store._writer._commit([job], wait=True)
            assert isinstance(job.outcome, Receipt)
            found.append((time.perf_counter() - start) * 1e6)
        found.sort()
        cpu = (time.thread_time() - process) * 1e6 / len(found)
        return len(found) / seconds, percentile(found, 0.5), percentile(found, 0.99), cpu, 0.0


class MemorySink(Sink):
    """The same supply for the store that forgets."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.store.close()
        self.store = MemoryStore(signer=Ed25519PrivateKey.generate(), origin="bench/memory")


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Section `store` of the report."""
    return asyncio.run(_run(rounds, seconds))


async def _run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        closed, data, bars = await _closed(folder, rounds, seconds)

        async def make(where: Path) -> Sink:
            return Sink(where)

        opened, more, its_bars = await store_open.measure(make, folder, rounds, 2 * seconds)
        grown, last, last_bars = await store_growth.measure(sink := Sink(folder / "grown"), sink.path)
        sink.store.close()
    text = [
        "## The durable store", "", _INTRO, "", closed, "",
        "## Open loop", "", _OPEN, "", opened, "", "## While it grows", "", _GROWTH, "", grown, "",
        "## Bars", "", verdicts([*bars, *its_bars, *last_bars]), "",
    ]  # fmt: skip
    return "\n".join(text), {"samples": data, "open": more, **last, "bars": [*bars, *its_bars, *last_bars]}


_INTRO = (
    "Each commit is one allowed call: three records, a sealed payload, Merkle leaves, a signed checkpoint for each transaction. "
    "The loop's CPU includes making the batch. *Group commit* is the store as it is: after 64 groups without a quiet moment they go "
    "to its journal first (ADR 0023). *One commit each* and *inline* are a transaction in the tables for each call; the latter where "
    "it is asked for, without a loop or a writer."
)
_OPEN = (
    "Decisions arrive at a fixed rate, said by another process; latency counts from when one was due. *Bare* appends as many bytes to "
    "a file from a thread, one fdatasync for all who wait. Both in turns, in random order, at real-time priority where permitted; "
    "ratios are of the same round. Where 5 ms are added, they are added to every sync of either."
)
_GROWTH = "Closed loop in groups. A proof is one from a running gateway, that hashed the rest of the log once before."


async def _closed(folder: Path, rounds: int, seconds: float) -> tuple[str, dict[str, Any], list[Any]]:
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    disk, memory = Sink(folder / "closed"), MemorySink(folder / "memory")
    await disk.open()
    await memory.open()
    plan = [(mode, callers) for mode in (_GROUP, _EACH, _MEMORY) for callers in CALLERS]
    plan.insert(0, (_INLINE, 1))
    for _ in range(rounds):
        for mode, callers in random.sample(plan, len(plan)):
            writer.MAX_GROUP = 1 if mode == _EACH else GROUPED  # type: ignore[misc]
            scribe.BUSY_AFTER = NEVER if mode in {_EACH, _INLINE} else JOURNALED  # type: ignore[misc]
            with realtime([]):
                if mode == _INLINE:
                    one = await disk.inline(seconds)
                else:
                    one = await (memory if mode == _MEMORY else disk).window(callers, seconds)
            found.setdefault((mode, callers), []).append(one)
    writer.MAX_GROUP, scribe.BUSY_AFTER = GROUPED, JOURNALED  # type: ignore[misc]
    disk.store.close()
    rows = []
    for mode, callers in plan:
        rate, p50, p99, loop, thread = ([one[i] for one in found[mode, callers]] for i in range(5))
        gain = _ratio(found[mode, callers], found[_EACH, callers], 0)
        rows.append(
            [mode, callers, spread(rate), spread(p50), spread(p99), spread(loop), spread(thread), f"{gain:.1f}"]
        )
    header = ("Mode", "callers", "calls/s", "p50 us", "p99 us", "CPU us, loop", "CPU us, thread", "x one commit each")
    bars = [
        verdict(
            "64 callers: calls/s >= 5x one commit each",
            _ratio(found[_GROUP, 64], found[_EACH, 64], 0),
            5,
            at_least=True,
        ),
        verdict(
            "64 callers: calls/s >= 0.5x in memory",
            _ratio(found[_GROUP, 64], found[_MEMORY, 64], 0),
            0.5,
            at_least=True,
        ),
        verdict("1 caller: p50 <= 1.2x an inline commit", _ratio(found[_GROUP, 1], found[_INLINE, 1], 1), 1.2),
    ]
    return table(header, rows), {f"{mode}, {callers}": one for (mode, callers), one in found.items()}, bars


def _ratio(ones: list[tuple[float, ...]], others: list[tuple[float, ...]], at: int) -> float:
    """Median of same-round ratios."""
    return median(one[at] / other[at] for one, other in zip(ones, others, strict=True))
