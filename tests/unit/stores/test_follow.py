"""Reading the log from beside it: everybody's records in order, how much there is, and a disk that hangs."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from contract.test_leases import Writing
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import StoreError
from lictor.model.record import ContainmentLaid, ExecutionStarted, LeaseEnded, LeaseEnding, LeaseKept, TaskClosed
from lictor.ports import Batch
from lictor.stores import follow
from lictor.stores.follow import MAX_WAITING, SqliteFollower
from lictor.stores.sqlite import SqliteStore
from store_samples import NOW, batch, decided, ended, held, opened, received, started
from store_samples import task as task_of

HOUR = 3_600_000


@pytest.fixture
def store(tmp_path: Path) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    with SqliteStore(tmp_path / "log.db", signer=Ed25519PrivateKey.generate(), origin="test/log") as made:
        yield made


async def test_everything_in_order_from_where_one_was(store: SqliteStore, tmp_path: Path) -> None:
    """Pages follow each other without a gap; what another connection wrote is there."""
    follower = SqliteFollower(tmp_path / "log.db")
    for number in range(5):
        await store.commit(batch(opened(f"task_{number}")))
    found = [*await follower.since(0, 2), *await follower.since(2, 2), *await follower.since(4, 2)]
    assert found == [entry.data for entry in store.entries()]
    assert await follower.since(5, 2) == []
    follower.close()


async def test_counts_are_those_of_the_store(store: SqliteStore, tmp_path: Path) -> None:
    """Open and expired tasks, holds, executions: what the store says, counted."""
    follower = SqliteFollower(tmp_path / "log.db")
    await store.commit(batch(opened("task_1"), opened("task_2"), opened("task_3")))
    await store.commit(batch(TaskClosed(task=task_of("task_2").id, by="os:me")))
    for number in (1, 2, 3):
        run = started(f"exec_{number}", request=f"req_{number}")
        assert isinstance(run, ExecutionStarted)
        await store.commit(batch(received(f"req_{number}"), decided(f"req_{number}"), run))
    await store.commit(batch(ended("exec_1"), ended("exec_2", "indeterminate")))
    await store.commit(batch(held("hold_1")))
    now = await follower.counts(NOW + 1, HOUR)
    assert (now.entries, now.tasks_open, now.holds_open) == (store.size(), 2, len(store.holds(pending_only=True)))
    assert (now.executions_open, now.executions_indeterminate) == (len(store.open_executions()), 1)
    assert (now.leases_live, now.leases_kept, dict(now.containments)) == (len(store.leases()), 0, {})
    later = await follower.counts(NOW + 2 * HOUR, 3 * HOUR)
    assert (later.tasks_open, later.holds_open) == (0, 0)
    follower.close()


async def test_leases_and_restrictions_are_counted(store: SqliteStore, tmp_path: Path) -> None:
    """Those that may exist, those whose revocation failed, and what is in force, by how hard it is."""
    follower, wrote = SqliteFollower(tmp_path / "log.db"), Writing()
    one, two = wrote.ask("one"), wrote.ask("two")
    at = wrote.lease(one).asked_at_ms
    laid = Containment(id="cnt_1", scope=Scope.EVERYTHING, target="", restriction=Restriction.READ_ONLY, by="os:me")
    await store.commit(Batch(at_ms=at, records=(*wrote.records, ContainmentLaid(containment=laid))))
    await store.commit(Batch(at_ms=at, records=(LeaseEnding(lease=one, why="over"),)))
    await store.commit(Batch(at_ms=at, records=(LeaseKept(lease=one, attempts=1, why="gone"),)))
    now = await follower.counts(at, HOUR)
    assert (now.leases_live, now.leases_kept, dict(now.containments)) == (2, 1, {"read_only": 1})
    await store.commit(Batch(at_ms=at, records=(LeaseEnded(lease=two, outcome="never"),)))
    assert (await follower.counts(at, HOUR)).leases_live == len(store.leases()) == 1
    follower.close()


def test_what_is_over_is_not_gone_through(store: SqliteStore, tmp_path: Path) -> None:
    """Every count goes by an index of what is open, or by key: a million that are over cost nothing."""
    connection = sqlite3.connect(tmp_path / "log.db")
    asked = {
        follow._TASKS: ((0, 0), "rows_tasks"),
        follow._HOLDS: ((0,), "rows_holds_pending"),
        follow._STARTED: ((), "rows_executions_open"),
        follow._UNKNOWN: ((), "rows_executions_unknown"),
        follow._LEASES: ((), "(kind=? AND id=?)"),
    }
    for sql, (parameters, how) in asked.items():
        plan = " / ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
        assert how in plan
    connection.close()


async def test_a_read_that_hangs_keeps_nobody(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop goes on; some may wait, more are refused; when the disk answers again so does the follower."""
    free = threading.Event()

    def hang(connection: sqlite3.Connection, seq: int, limit: int) -> list[bytes]:
        free.wait(20)
        return []

    monkeypatch.setattr(follow, "_since", hang)
    follower = SqliteFollower(tmp_path / "log.db")
    for _ in range(MAX_WAITING):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.since(0, 1), 0.02)
    with pytest.raises(StoreError, match="does not answer"):
        await follower.since(0, 1)
    free.set()
    async with asyncio.timeout(20):
        while True:
            try:
                assert (await follower.counts(NOW, HOUR)).entries == store.size()
                break
            except StoreError:
                await asyncio.sleep(0.01)
    follower.close()


async def test_a_log_that_is_gone_is_an_error_and_comes_back(store: SqliteStore, tmp_path: Path) -> None:
    """What cannot be read is said; the next read begins anew."""
    follower = SqliteFollower(tmp_path / "none.db")
    with pytest.raises(StoreError):
        await follower.since(0, 1)
    (tmp_path / "log.db").rename(tmp_path / "none.db")
    (tmp_path / "log.db-wal").rename(tmp_path / "none.db-wal")
    assert await follower.since(0, 1) == []
    follower.close()
