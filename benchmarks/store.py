"""The durable store: group commit beside one commit for each batch, the CPU a commit takes, and what reading costs."""

import asyncio
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.decisions import NOW, compiled, question
from benchmarks.machine import scratch
from benchmarks.stats import percentile, spread, table
from lictor.model.ids import DecisionId, ExecutionId, InstanceId, RequestId
from lictor.model.record import ExecutionStarted, TaskOpened
from lictor.model.task import Budget
from lictor.pdp.decide import decide
from lictor.ports import Batch, Payload
from lictor.service.authorize import made, received
from lictor.stores import writer
from lictor.stores.sqlite import SqliteStore

CALLERS = (1, 8, 64)
GROUPED = writer.MAX_GROUP


class Sink:
    """A store and an endless supply of what one allowed call commits: request, decision, start, sealed payload."""

    def __init__(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "log.db", signer=Ed25519PrivateKey.generate(), origin="bench/store")
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
        records = (received(request), made(decision, request, self.decision), started)
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


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Section `store` of the report."""
    return asyncio.run(_run(rounds, seconds))


async def _run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        sink = Sink(Path(folder))
        await sink.open()
        plan = [(mode, callers) for mode in ("group commit", "one commit each") for callers in CALLERS]
        for _ in range(rounds):
            for mode, callers in random.sample(plan, len(plan)):
                writer.MAX_GROUP = GROUPED if mode == "group commit" else 1  # type: ignore[misc]
                found.setdefault((mode, callers), []).append(await sink.window(callers, seconds))
        writer.MAX_GROUP = GROUPED  # type: ignore[misc]
        sink.store.close()
    rows = []
    for mode, callers in plan:
        rate, p50, p99, loop, thread = ([one[i] for one in found[mode, callers]] for i in range(5))
        gain = median(rate) / median(one[0] for one in found["one commit each", callers])
        rows.append(
            [mode, callers, spread(rate), spread(p50), spread(p99), spread(loop), spread(thread), f"{gain:.1f}"]
        )
    header = ("Mode", "callers", "calls/s", "p50 us", "p99 us", "CPU us, loop", "CPU us, thread", "x one commit each")
    data = {f"{mode}, {callers}": values for (mode, callers), values in found.items()}
    intro = (
        "Each commit is one allowed call: three records, a sealed payload, Merkle leaves, a signed checkpoint for each group. "
        "The loop's CPU includes making the batch; a caller who is alone on a quick disk is served on the loop."
    )
    return "\n".join(["## The durable store", "", intro, "", table(header, rows), ""]), {"samples": data, "bars": []}
