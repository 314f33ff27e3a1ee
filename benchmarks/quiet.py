"""What a task takes that did one thing and is open still: in memory while its rows are known, once they are not, and on disk."""

import asyncio
import gc
import sqlite3
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.decisions import NOW
from benchmarks.history_world import AGENTS, KEY, Asking, bundle, ended, opened, request
from benchmarks.machine import scratch
from benchmarks.stats import table, verdict
from lictor.pdp.decide import Pdp
from lictor.pdp.once import MAX_KEPT
from lictor.ports import Batch
from lictor.stores.group import MAX_CACHED
from lictor.stores.known import MAX_KNOWN, MAX_VALUES
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore

FIRST, MORE = 100, 3 * MAX_KEPT
"""Tasks before, and tasks measured. What is worked out once for an action is kept for so many actions and then begun anew: over
whole rounds of that it neither adds nor takes away."""
LATE = 5 * MAX_KEPT
"""Tasks measured once the store's rows are as many as they may be."""


def quiet(bars: list[dict[str, object]], data: dict[str, Any]) -> str:
    """A paragraph and a table; adds the bar."""
    pdp = bundle(10)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        path = Path(folder) / "log" / "log.db"
        with SqliteStore(path, signer=Ed25519PrivateKey.generate(), origin="bench/quiet") as store:
            asyncio.run(_sqlite(store, pdp, path, found))
    asyncio.run(_memory(MemoryStore(), pdp, found))
    data["quiet"] = found
    bars.append(verdict("a quiet task <= 1.5 KB in the gateway's memory, SQLite (bytes)", found["grown"], 1_536))
    rows = [
        ["SQLite: all of Python's memory, while nothing was pushed out yet", f"{found['warm']:,.0f}"],
        ["of it rows, of the readers and of the writer", f"{found['rows']:,.0f}"],
        ["SQLite: all of Python's memory, once the caches are full", f"{found['grown']:,.0f}"],
        ["SQLite, on disk: state rows, the execution's not counted", f"{found['rows on disk']:,.0f}"],
        ["SQLite, on disk: log and state, whole pages", f"{found['disk']:,.0f}"],
        ["store in memory, which forgets nothing (`lictor serve` refuses it)", f"{found['memory store']:,.0f}"],
    ]
    text = (
        "A task with a contract, ten values from its opening, a label, a value found in a result and four measures, that did one thing and"
        f" is open still: bytes each, over {MORE} tasks ({LATE} once the caches are full). Counted is what Python allocated"
        " (`tracemalloc`); SQLite's own page cache is of a fixed size and not in it. With SQLite nothing of a task has to stay in memory:"
        f" its readers know at most {MAX_KNOWN + MAX_VALUES:,} rows ({found['known']:.1f} of this task), its writer {MAX_CACHED:,}"
        f" ({found['cached']:.1f}), some {found['all rows'] / 2**20:.0f} MiB for all tasks together, however many there are; a row"
        " that was pushed out is read again."
    )
    return f"{text}\n\n{table(('Where', 'bytes a quiet task'), rows)}"


async def _sqlite(store: SqliteStore, pdp: Pdp, path: Path, found: dict[str, float]) -> None:
    asking = Asking.of(store, pdp)
    tracemalloc.start()
    await _tasks(asking, 0, FIRST)
    _forget(store)
    disk, own, before = _disk(path), _row_bytes(path), _used()
    await _tasks(asking, FIRST, FIRST + MORE)
    warm = _used() - before
    found["known"], found["cached"] = (
        sum(map(len, store._known._state[1:])) / MORE,
        len(store._writer._scribe.cache.rows) / MORE,
    )
    found["disk"], found["rows on disk"] = (_disk(path) - disk) / MORE, (_row_bytes(path) - own) / MORE
    _forget(store)
    found["warm"], found["rows"] = warm / MORE, (warm - _used() + before) / MORE
    found["all rows"] = found["rows"] / (found["known"] + found["cached"]) * (MAX_KNOWN + MAX_VALUES + MAX_CACHED)
    done = await _fill(asking, store)
    await _tasks(asking, done, done + LATE)
    before = _settled(store)
    await _tasks(asking, done + LATE, done + 2 * LATE)
    found["grown"] = max(0.0, (_settled(store) - before) / LATE)
    tracemalloc.stop()


def _settled(store: SqliteStore) -> float:
    """Memory with the writer's rows forgotten, as it does itself when they are too many: two such moments can be compared."""
    store._writer._scribe.cache.rows.clear()
    return _used()


def _forget(store: SqliteStore) -> None:
    store._known.forget()
    store._writer._scribe.cache.rows.clear()


async def _fill(asking: Asking, store: SqliteStore) -> int:
    number = FIRST + MORE
    # Each task adds some eight rows; when there is no more room a sixteenth goes at once, so it is seldom quite full.
    while len(store._known._state[1]) < MAX_KNOWN * 9 // 10:
        await _tasks(asking, number, number + 50)
        number += 50
    return number


async def _memory(store: MemoryStore, pdp: Pdp, found: dict[str, float]) -> None:
    asking = Asking.of(store, pdp)
    tracemalloc.start()
    await _tasks(asking, 0, FIRST)
    before = _used()
    await _tasks(asking, FIRST, FIRST + MORE)
    found["memory store"] = (_used() - before) / MORE
    tracemalloc.stop()


def _used() -> float:
    gc.collect()
    return float(tracemalloc.get_traced_memory()[0])


async def _tasks(asking: Asking, start: int, stop: int) -> None:
    """Tasks that did one thing each, one after another."""
    for number in range(start, stop):
        name = f"task_{number:022d}"
        await asking.store.commit(Batch(at_ms=NOW, records=(opened(name, AGENTS[0], (), 1_000),), key=KEY))
        asked = request(name, number)
        asking.store.task_by_token(f"{name:0>64}")
        started = asking.started(asked, number)
        await asking.store.commit(Batch(at_ms=NOW, records=(started,)))
        await asking.store.commit(Batch(at_ms=NOW, records=(ended(started, number),)))


def _disk(path: Path) -> int:
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as log:
        return int(log.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0])


def _row_bytes(path: Path) -> int:
    """Of the state: what is not an execution that ended."""
    sql = "SELECT sum(length(kind) + length(id) + length(status) + length(owner) + 8 + length(body)) FROM rows WHERE kind <> 'execution'"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as log:
        return int(log.execute(sql).fetchone()[0])
