"""Verifying a long log, starting on one, backing it up: time and memory beside the length.

Logs are written by the store's own transaction (`stores.group`) with the syncs left out, one call a commit (an idle gateway) or
sixteen (a busy one). All but what is split over processes is measured as CPU time, since wall time would measure who else runs; what is
split runs at real-time priority, where that is permitted.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from hashlib import sha256
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from typing import Any, NoReturn

from benchmarks.long_log import LongLog
from benchmarks.machine import realtime, scratch
from benchmarks.stats import table, verdict, verdicts
from lictor.cli import verifying
from lictor.model.action import ActionKind
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    ArgumentsDigest,
    DecisionId,
    ExecutionId,
    HumanId,
    InstanceId,
    PolicyRevision,
    RequestId,
    ServerName,
    SnapshotDigest,
    TaskId,
)
from lictor.model.record import DecisionMade, ExecutionEnded, ExecutionStarted, RequestReceived, TaskOpened
from lictor.model.task import Budget, Task
from lictor.ports import Batch
from lictor.records.checkpoint import VerifierKey
from lictor.records.keychain import KeyChain
from lictor.records.merkle import FrontierBuilder
from lictor.records.verify import verify_log
from lictor.service.evidence.consistency import inconsistencies
from lictor.stores.backup import write_backup
from lictor.stores.commit import entries_of
from lictor.stores.contents import Unwritten
from lictor.stores.group import Cache, Group
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import Log, connect, prepare

ORIGIN = "bench.local/log"
NOW = 1_700_000_000_000
DIGEST = "sha256:" + "a" * 64
CALLS = (1, 16)
"""Calls in a commit; a call leaves four records."""
TIMES = 2
"""Each figure is the best of so many: what others take of the core only ever adds."""
LONG = 2_000_000
"""Records from which a log is laid down straight in its tables, and only verified."""
WHAT = """\
*read + hash* reads every record and takes one SHA-256 of it; *read + tree* builds the RFC 6962 tree and nothing else. *verify* is what
`lictor log verify` does: numbers, leaf hashes, the root at every checkpoint, rolls, signatures, and that what was recorded could
rightly have happened; in one process, and split over two: CPU time of all of them, and what one waits. *tree in order* and *meaning
in order* are how it looks again at a log with something to be found. *each signature* is *tree in order* on a log without rolls. Memory
is that of the largest process."""
NAMES = ("hash", "plain", "one", "two", "tree", "meaning", "signatures", "start", "backup")


def run(rounds: int, seconds: float) -> tuple[str, dict[str, Any]]:
    """Measure. One round is a look: a tenth of the length."""
    del seconds
    sizes: tuple[int, ...] = (20_000, 100_000) if rounds < 5 else (100_000, 1_000_000)
    if given := os.environ.get("LICTOR_BENCH_ENTRIES"):
        sizes = tuple(int(one) for one in given.split(","))
    plan = [(sizes[0], calls) for calls in CALLS] + [(count, CALLS[0]) for count in sizes[1:]]
    rows = [_measured(count, calls, each=count == sizes[0]) for count, calls in plan]
    return _told(rows, sizes)


def _told(rows: Sequence[dict[str, Any]], sizes: Sequence[int]) -> tuple[str, dict[str, Any]]:
    found = _bars(rows, sizes)
    head = (
        "records",
        "calls a commit",
        "read + hash",
        "read + tree",
        "verify, 1 process",
        "2 processes, CPU",
        "2 processes, wait",
        "memory",
    )
    first = table(head, [_row(one) for one in rows])
    again = ("records", "calls a commit", "tree in order", "meaning in order", "each signature")
    second = table(again, [_again(one) for one in rows])
    others = ("records", "calls a commit", "start", "backup", "restored and checked", "file")
    third = table(others, [_other(one) for one in rows])
    text = f"{WHAT}\n\n{first}\n\n{second}\n\n{third}\n\n{verdicts(found)}"
    return text, {"rows": rows, "bars": found}


def _bars(rows: Sequence[dict[str, Any]], sizes: Sequence[int]) -> list[dict[str, object]]:
    small, large = rows[0], rows[-1]
    found = []
    for one in rows:
        name = f"{one['entries']:,} records, {one['calls']} calls a commit"
        found.append(verdict(f"verify on two cores / read + hash on one, {name}", one["two"] / one["hash"], 1.5))
        found.append(
            verdict(
                f"the same on four cores, computed from its CPU time, {name}", one["two_cpu"] / 4 / one["hash"], 1.5
            )
        )
    growth = sizes[-1] / sizes[0]
    linear = large["one"] / small["one"] / growth
    memory = large["memory_mb"] / small["memory_mb"]
    found.append(verdict(f"time per record, {growth:g} times the length (1 is linear)", linear, 1.2))
    found.append(verdict(f"memory, {growth:g} times the length", memory, 1.5))
    started = [one for one in rows if "start" in one][-1:]
    found += [verdict(f"start with {one['entries']:,} records, s", one["start"], 2.0) for one in started]
    return found


def _each(one: dict[str, Any], name: str) -> str:
    return f"{1e6 * one[name] / one['entries']:.2f} µs" if name in one else ""


def _row(one: dict[str, Any]) -> list[str]:
    cells = [_each(one, name) for name in ("hash", "plain", "one", "two_cpu", "two")]
    return [f"{one['entries']:,}", str(one["calls"]), *cells, f"{one['memory_mb']} MB"]


def _again(one: dict[str, Any]) -> list[str]:
    return [f"{one['entries']:,}", str(one["calls"]), *(_each(one, name) for name in ("tree", "meaning", "signatures"))]


def _other(one: dict[str, Any]) -> list[str]:
    cells = [f"{one[name]:.2f} s" if name in one else "" for name in ("start", "backup", "restore")]
    return [f"{one['entries']:,}", str(one["calls"]), *cells, f"{one['file_mb']} MB"]


def _measured(count: int, calls: int, *, each: bool) -> dict[str, Any]:
    """Each figure in a fresh process, so that memory is that figure's own."""
    folder = scratch() / f"log-{count}-{calls}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        _written(folder, count, calls)
        (folder / "done").touch()
    found: dict[str, Any] = {"calls": calls, "entries": _size(folder)}
    memory = 0
    for name in NAMES:
        if (name == "signatures" and not each) or (count >= LONG and name not in {"hash", "one", "two"}):
            continue
        times = []
        for _ in range(1 if name in {"signatures", "backup"} or count >= LONG else TIMES):
            told = json.loads(_alone(name, folder))
            times.append(told["s"])
            memory = max(memory, told["mb"])
            found.update(told.get("more", {}))
        found[name] = min(times)
    found["memory_mb"] = memory
    found["file_mb"] = (folder / "log.db").stat().st_size // 1_000_000
    return found


def _alone(name: str, folder: Path) -> bytes:
    order = [sys.executable, "-m", "benchmarks.verify", name, str(folder)]
    return subprocess.run(order, check=True, capture_output=True).stdout


def _size(folder: Path) -> int:
    with SqliteStore.open_unverified(folder / "log.db") as view:
        return view.size()


# -- one figure ------------------------------------------------------------------------------------------------------------


def _hash(folder: Path) -> None:
    connection = connect(folder / "log.db", read_only=True)
    for (data,) in connection.execute("SELECT data FROM entries ORDER BY seq"):
        sha256(data).digest()


def _plain(folder: Path) -> None:
    tree = FrontierBuilder()
    connection = connect(folder / "log.db", read_only=True)
    for (data,) in connection.execute("SELECT data FROM entries ORDER BY seq"):
        tree.append(data)


def _tree(folder: Path, *, rolls: bool = True) -> None:
    key = VerifierKey.of(ORIGIN, Keys.open(folder).signer)
    with SqliteStore.open_unverified(folder / "log.db") as view:
        report = verify_log(view.entries(), view.checkpoints(), key, rolls=view.rolls() if rolls else ())
    if not report.ok:
        raise SystemExit(f"the log does not verify: {report.findings[:3]}")


def _one(folder: Path) -> None:
    _split(folder, 1)


def _two(folder: Path) -> dict[str, float]:
    begun = time.process_time()
    _split(folder, 2)
    children = getrusage(RUSAGE_CHILDREN)
    return {"two_cpu": time.process_time() - begun + children.ru_utime + children.ru_stime}


def _split(folder: Path, workers: int) -> None:
    keys = KeyChain(VerifierKey.of(ORIGIN, Keys.open(folder).signer))
    verifying.odd_in = _no_second_look
    report, odd = verifying.verified(folder / "log.db", keys, (), lambda _done: None, workers=workers)
    if not report.ok or odd:
        raise SystemExit(f"the log does not verify: {report.findings[:3]} {odd[:3]}")


def _no_second_look(*_: object) -> NoReturn:
    raise SystemExit("a sound log was in doubt")


def _signatures(folder: Path) -> None:
    _tree(folder, rolls=False)


def _meaning(folder: Path) -> None:
    with SqliteStore.open_unverified(folder / "log.db") as view:
        if list(inconsistencies(view.entries(), view.entries)):
            raise SystemExit("the log is not consistent")


def _start(folder: Path) -> None:
    keys = Keys.open(folder)
    with SqliteStore(folder / "log.db", signer=keys.signer, origin=ORIGIN, anchor=keys.read_anchor()) as store:
        store.open_executions()
        store.containments()
        store.leases()


def _backup(folder: Path) -> dict[str, float]:
    from lictor.stores.backup import restore

    target, state = folder.with_name(f"{folder.name}.kept"), folder.with_name(f"{folder.name}.restored")
    shutil.rmtree(state, ignore_errors=True)
    target.unlink(missing_ok=True)
    log = Log(folder / "log.db", ORIGIN, Keys.open(folder).signer)
    write_backup(log, target, {"log.key": (folder / "log.key").read_bytes()}, NOW)
    begun = time.perf_counter()
    restore(target, state)
    spent = time.perf_counter() - begun
    shutil.rmtree(state)
    target.unlink()
    return {"restore": spent}


FIGURES: dict[str, Callable[[Path], dict[str, float] | None]] = {
    "hash": _hash,
    "plain": _plain,
    "one": _one,
    "two": _two,
    "tree": _tree,
    "meaning": _meaning,
    "signatures": _signatures,
    "start": _start,
    "backup": _backup,
}
_ORDINARY = frozenset({"signatures", "backup"})
"""Figures that take too long to hold others up."""
_WALL = frozenset({"start", "backup", "two"})
"""Figures that a person waits for: they are not only computed."""


def main() -> None:
    """One figure of one log, as JSON."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    clock = time.perf_counter if name in _WALL else time.process_time
    with realtime([]) if name not in _ORDINARY and _size(folder) < LONG else nullcontext():
        begun = clock()
        more = FIGURES[name](folder) or {}
        spent = clock() - begun - more.get("restore", 0.0)
    largest = max(getrusage(who).ru_maxrss for who in (RUSAGE_SELF, RUSAGE_CHILDREN)) // 1024
    print(json.dumps({"s": spent, "mb": largest, "more": more}))


# -- a log -----------------------------------------------------------------------------------------------------------------


def _written(folder: Path, count: int, calls: int) -> None:
    folder.mkdir(parents=True, mode=0o700)
    log = Log(folder / "log.db", ORIGIN, Keys.open(folder).signer)
    if count >= LONG:
        laid = LongLog(log)
        laid.commit(entries_of(_opened()))
        for number in range(count // 4):
            laid.commit([data for batch in _call(number) for data in entries_of(batch)])
        laid.close()
        return
    prepare(log)
    connection = connect(log.path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    cursor, cache = connection.cursor(), Cache()

    def commit(batches: Sequence[Batch]) -> None:
        cursor.execute("BEGIN IMMEDIATE")
        cache.refresh(cursor, Unwritten())
        group = Group(cursor, cache, log)
        for batch in batches:
            group.add(batch, entries_of(batch))
        group.write()
        cursor.execute("COMMIT")
        group.committed()

    commit([_opened()])
    for first in range(0, count // 4, calls):
        commit([batch for number in range(first, first + calls) for batch in _call(number)])
    connection.close()


def _opened() -> Batch:
    task = Task(
        id=TaskId("task_1"),
        agent=AgentId("agent"),
        human=HumanId("alice"),
        purpose="support",
        trusted_text_digest=DIGEST,
        audience="http://127.0.0.1:8700",
        opened_at_ms=NOW,
        expires_at_ms=NOW + 10**9,
        budget=Budget(calls=10**9),
    )
    return Batch(at_ms=NOW, records=(TaskOpened(task=task, opened_by="operator"),))


def _call(number: int) -> tuple[Batch, Batch]:
    request, execution = RequestId(f"req_{number:026d}"), ExecutionId(f"exe_{number:026d}")
    decision, digest, task = DecisionId(f"dec_{number:026d}"), ActionDigest(DIGEST), TaskId("task_1")
    asked = RequestReceived(
        request=request,
        kind=ActionKind.TOOL,
        server=ServerName("files"),
        name="write_file",
        arguments=ArgumentsDigest(DIGEST),
        digest=digest,
        agent=AgentId("agent"),
        human=HumanId("alice"),
        task=task,
    )
    made = DecisionMade(
        decision=decision,
        request=request,
        digest=digest,
        snapshot=SnapshotDigest(DIGEST),
        revision=PolicyRevision(DIGEST),
        engine="cedar",
        outcome="allow",
        reason="permitted",
    )
    started = ExecutionStarted(
        execution=execution,
        request=request,
        decision=decision,
        digest=digest,
        arguments=ArgumentsDigest(DIGEST),
        task=task,
        instance=InstanceId("inst_1"),
    )
    ended = ExecutionEnded(execution=execution, outcome="executed", sent=DIGEST, result=DIGEST)
    return Batch(at_ms=NOW, records=(asked, made, started)), Batch(at_ms=NOW, records=(ended,))


if __name__ == "__main__":
    main()
