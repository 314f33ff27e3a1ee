"""What a decision, a look-up and a proof cost while the log grows. `LICTOR_BENCH_ROWS` sets how far (default 100,000 entries)."""

import asyncio
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.stats import table, verdict
from lictor.ports import Batch
from lictor.service.log.proofs import Runs
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite import SqliteStore

ROWS = int(os.environ.get("LICTOR_BENCH_ROWS", "100000"))
STAGES = 5
GROUP = 500
LOOKUPS = 2_000
PROOFS = 50
BAR = 1.5


async def measure(sink: Any, path: Path) -> tuple[str, dict[str, Any], list[Any]]:
    """A table, the samples and the bars: the last stage against the first."""
    await sink.open()
    found, rows = list[dict[str, float]](), []
    step = 3
    sizes = [ROWS * (stage + 1) // STAGES for stage in range(STAGES)]
    runs = Runs()
    for size in sizes:
        rate = 0.0
        while sink.store.size() < size:
            batches: list[Batch] = [sink.batch() for _ in range(GROUP)]
            start = time.process_time()
            await asyncio.gather(*(sink.store.commit(one) for one in batches))
            rate = max(rate, GROUP * step / (time.process_time() - start))
        one = {"entries": sink.store.size(), "append": rate, **_reads(sink, path, runs)}
        found.append(one)
        rows.append(
            [f"{one['entries']:,}", *(f"{one[name]:,.1f}" for name in ("append", "row", "miss", "proof", "open"))]
        )
    bars = []
    for name, what in (("row", "a look-up"), ("proof", "a proof"), ("open", "opening")):
        ratio = found[-1][name] / found[0][name]
        bars.append(
            verdict(
                f"{what} at {found[-1]['entries']:,.0f} entries <= {BAR}x that at {found[0]['entries']:,.0f}",
                ratio,
                BAR,
            )
        )
    ratio = found[-1]["append"] / found[0]["append"]
    bars.append(verdict("appended entries a CPU second, the same two, >= 0.67x", ratio, 0.67, at_least=True))
    header = (
        "Entries",
        "appended a CPU s, best group",
        "row by id us",
        "row that is not there us",
        "proof us",
        "opening ms",
    )
    return table(header, rows), {"growth": found}, bars


def _reads(sink: Any, path: Path, runs: Runs) -> dict[str, float]:
    """Medians, over rows and entries of all ages."""
    store: SqliteStore = sink.store
    names = [f"exe_{1 + number * (sink.count - 1) // LOOKUPS}" for number in range(LOOKUPS)]
    there = _median([("execution", name) for name in names], store._read_row)
    none = _median([("execution", f"{name}x") for name in names], store._read_row)
    with LogSnapshot(path) as view:
        note, size = store.newest_checkpoint(), store.size()
        runs.prove(view, 0, note, store.verifier_key)  # what is new since the last time is hashed once
        proof = _median(
            range(0, size, max(1, size // PROOFS)), lambda at: runs.prove(view, at, note, store.verifier_key)
        )
    start = time.perf_counter()
    SqliteStore(path, signer=store._log.signer, origin=store._log.origin).close()
    return {"row": there, "miss": none, "proof": proof, "open": (time.perf_counter() - start) * 1e3}


def _median(items: Any, work: Any) -> float:
    found = []
    for item in items:
        start = time.perf_counter()
        work(item)
        found.append((time.perf_counter() - start) * 1e6)
    return median(found)
