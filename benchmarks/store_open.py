"""Open loop on the durable store: decisions arrive at a fixed rate, beside a bare append with fdatasync that is given as many bytes."""

import asyncio
import contextlib
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.arrivals import open_loop
from benchmarks.machine import realtime
from benchmarks.stats import percentile, spread, table, verdict
from lictor.records.merkle import FrontierBuilder
from lictor.stores.commit import changes_of, entries_of
from lictor.stores.mover import Mover
from lictor.stores.scribe import Scribe
from lictor.stores.sealing import nonces, seal

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from power.disk import Watcher, available, installed

RATES = (1_000, 3_000)
NAMES = {"lictor": "lictor", "bare": "bare append + fdatasync", "sketch": "sketch of a segment log"}
SEGMENT = 64 << 20
SLOW_S = 0.005
LEAST = 1_000
"""Arrivals in a window, so that there is a p99."""
BAR = 2.5


class Bare:
    """What a log costs at least: bytes to the end of a file, one fdatasync for all who wait, a thread for it."""

    def __init__(self, folder: Path, delay_s: float = 0.0) -> None:
        folder.mkdir(exist_ok=True)
        self.file = os.open(folder / "bare", os.O_WRONLY | os.O_CREAT, 0o600)
        self.delay_s = delay_s
        self.queue: SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = SimpleQueue()
        self.loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    async def commit(self, data: bytes) -> None:
        """Until it is durable."""
        future = self.loop.create_future()
        self.queue.put((data, future))
        await future

    def close(self) -> None:
        self.queue.put(None)
        self.thread.join()
        os.close(self.file)

    def _write(self, data: list[bytes]) -> None:
        os.write(self.file, b"".join(data))

    def _run(self) -> None:
        while (job := self.queue.get()) is not None:
            jobs = [job]
            with contextlib.suppress(Empty):
                while (more := self.queue.get_nowait()) is not None:
                    jobs.append(more)
            self._write([data for data, _ in jobs])
            time.sleep(self.delay_s)
            os.fdatasync(self.file)
            self.loop.call_soon_threadsafe(_settle, [future for _, future in jobs])


class Sketch(Bare):
    """A segment log, as far as its latency goes: the same checks, leaves, seals and signatures by the same code, the bytes into a
    file that was zeroed before, one fdatasync. State is kept in memory only, so this is what such a log could reach, not a store.
    """

    def __init__(self, folder: Path, sink: Any, delay_s: float = 0.0) -> None:
        self.rows: dict[Any, Any] = {}
        self.tree = FrontierBuilder()
        self.cipher = AESGCM(bytes(32))
        self.signer = sink.store._log
        self.at = 0
        super().__init__(folder / "sketch", delay_s)
        for _ in range(SEGMENT >> 20):
            os.write(self.file, bytes(1 << 20))
        os.fsync(self.file)

    def _write(self, batches: list[Any]) -> None:
        data = []
        fresh = nonces(len(batches))
        for batch, entries in batches:
            self.rows.update(changes_of(batch, self.rows.get))
            for payload in batch.payloads:
                data += seal(self.cipher, payload, next(fresh))
            for entry in entries:
                self.tree.append(entry)
            data += entries
        data.append(self.signer.sign(self.tree).encode())
        joined = b"".join(data)
        if self.at + len(joined) > SEGMENT:
            self.at = 0
        os.pwrite(self.file, joined, self.at)
        self.at += len(joined)

    async def commit(self, data: Any) -> None:
        await super().commit((data, entries_of(data)))  # type: ignore[arg-type]


def _settle(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class Slow(Watcher):
    """Every sync takes longer."""

    def sync(self, name: str) -> int:  # noqa: ARG002
        time.sleep(SLOW_S)
        return 0


@contextlib.contextmanager
def moves(found: list[float]) -> Iterator[None]:
    """Note how long the write-ahead log took to be moved, each time."""
    real, beside = Scribe.move, Mover._move

    def move(self: Scribe) -> None:
        before, start = self.unmoved, time.perf_counter()
        real(self)
        if self.unmoved < before:
            found.append((time.perf_counter() - start) * 1e3)

    def aside(self: Mover, size: int) -> None:
        start = time.perf_counter()
        beside(self, size)
        found.append((time.perf_counter() - start) * 1e3)

    Scribe.move, Mover._move = move, aside  # type: ignore[method-assign]
    try:
        yield
    finally:
        Scribe.move, Mover._move = real, beside  # type: ignore[method-assign]


Make = Callable[[Path], Awaitable[Any]]


async def measure(make: Make, folder: Path, rounds: int, seconds: float) -> tuple[str, dict[str, Any], list[Any]]:
    """A table, the samples and the bars. `make`: a `Sink` in a folder."""
    rows, data, bars = [], dict[str, Any](), list[Any]()
    for disk in ("this disk", "+5 ms a sync"):
        slow = disk != "this disk"
        if slow and not available():
            continue
        with installed(Slow()) if slow else contextlib.nullcontext():
            found, moved = await _windows(await make(folder / disk.partition(" ")[0]), folder, slow, rounds, seconds)
        for rate in RATES:
            bare = found["bare", rate]
            ratios = {}
            for name, title in NAMES.items():
                mine = found[name, rate]
                ratios[name] = [median(one[at] / its[at] for one, its in zip(mine, bare, strict=True)) for at in (0, 1)]
                x = f"{ratios[name][0]:.1f} / {ratios[name][1]:.1f}"
                rows.append([disk, f"{rate:,}", title, *(spread([each[at] for each in mine]) for at in range(3)), x])
                data[f"{disk}, {rate}, {name}"] = mine
            what = f"open loop p99 at {rate:,}/s, {disk}, <= {BAR}x a bare append + fdatasync"
            bars.append(verdict(what, ratios["lictor"][1], BAR))
        data[f"{disk}, moves in ms"] = moved
        if moved:
            rows.append(
                [disk, "", f"{len(moved)} moves of the write-ahead log, ms each: {spread(moved, 1)}", "", "", "", ""]
            )
    header = ("Disk", "arrivals/s", "", "p50 us", "p99 us", "p99.9 us", "x bare, p50 / p99")
    return table(header, rows), data, bars


async def _windows(
    sink: Any, folder: Path, slow: bool, rounds: int, seconds: float
) -> tuple[dict[tuple[str, int], list[list[float]]], list[float]]:
    found: dict[tuple[str, int], list[list[float]]] = {}
    moved: list[float] = []
    await sink.open()
    size = sum(map(len, entries_of(sink.batch()))) + 1_024  # and the sealed payload
    delay_s = SLOW_S if slow else 0.0
    bare, sketch = Bare(folder / "bare", delay_s), Sketch(folder, sink, delay_s)
    sketch.rows.update(_task_of(sink))
    commits = {"lictor": sink.store.commit, "bare": bare.commit, "sketch": sketch.commit}
    plan = [(name, rate) for name in commits for rate in RATES]
    for _ in range(rounds):
        for name, rate in random.sample(plan, len(plan)):
            count = max(LEAST, int(rate * seconds))
            items = [os.urandom(size)] * count if name == "bare" else [sink.batch() for _ in range(count)]
            gc.collect()
            gc.disable()
            with realtime([]), moves(moved):
                latencies = await open_loop(commits[name], items, rate)
            gc.enable()
            found.setdefault((name, rate), []).append([percentile(latencies, share) for share in (0.5, 0.99, 0.999)])
    sink.store.close()
    bare.close()
    sketch.close()
    return found, moved


def _task_of(sink: Any) -> dict[Any, Any]:
    """The rows of its task, for who has no table."""
    return {key: row for key, row in sink.store._writer._scribe.cache.rows.items() if row is not None}
