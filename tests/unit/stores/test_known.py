"""Rows kept in memory: served without a query, handed on by the writer, bounded, never older than the last commit."""

import asyncio
import sqlite3
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.model.record import ContentSeen, HoldExpired, TaskClosed
from lictor.stores import known
from lictor.stores.group import Group
from lictor.stores.sqlite import SqliteStore
from store_samples import DIGEST, OTHER, approved, batch, ended, erasure, held, opened, started


@pytest.fixture
def signer():
    return Ed25519PrivateKey.generate()


@pytest.fixture
def store(tmp_path, signer):
    with SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log") as made:
        if made._known._index is None:
            pytest.skip("nothing is kept on this platform")
        yield made


@pytest.fixture
def queries(store, monkeypatch):
    """What was asked of SQLite."""
    asked = []
    real = store._in_tables

    def all_rows(sql, *parameters):
        asked.append(parameters)
        return real(sql, *parameters)

    monkeypatch.setattr(store, "_in_tables", all_rows)
    return asked


async def test_a_row_is_read_once(store, queries):
    """Present or absent, the second read asks nobody."""
    await store.commit(batch(opened(token="t")))
    for _ in range(3):
        assert store.task_by_token("t").calls_used == 0
        assert store.task("nobody") is None
        assert store.live_hold("task_1", DIGEST) is store.live_hold("task_1", OTHER) is None
    assert len(queries) == 4  # token, task, nobody, and the live holds of task_1 as a whole


async def test_our_own_commits_cost_no_query(store, queries):
    """The writer hands its changes on: rows that were known are known as they are now."""
    await store.commit(batch(opened(token="t")))
    assert store.task_by_token("t").calls_used == 0
    assert store.live_hold("task_1", DIGEST) is None
    del queries[:]
    for number in range(40):
        await store.commit(batch(started(f"e{number}")))
        assert store.task_by_token("t").calls_used == number + 1
        assert store.live_hold("task_1", f"sha256:{number}") is None
    await store.commit(batch(TaskClosed(task="task_1", by="op")))
    assert store.task_by_token("t").status == "closed"
    assert queries == []


async def test_the_holds_of_a_task_follow_the_log(store):
    """Opened, approved, used, expired: the scope that is kept as a whole is always the one in the file."""
    await store.commit(batch(opened(), opened("task_2")))
    assert store.live_hold("task_1", DIGEST) is store.live_hold("task_2", DIGEST) is None
    await store.commit(batch(held("h1"), held("h2", digest=OTHER)))
    assert (store.live_hold("task_1", DIGEST).id, store.live_hold("task_1", OTHER).id) == ("h1", "h2")
    assert store.live_hold("task_2", DIGEST) is None
    await store.commit(batch(approved("h1")))
    assert store.live_hold("task_1", DIGEST).status == "approved"
    await store.commit(batch(started("e1", hold="h1"), HoldExpired(hold="h2")))
    assert store.live_hold("task_1", DIGEST) is store.live_hold("task_1", OTHER) is None


async def test_a_large_scope_is_read_row_by_row(store, monkeypatch):
    """A task with many live holds is not kept as a whole, and is right all the same, on the way up and beyond."""
    monkeypatch.setattr(known, "MAX_SCOPE", 3)
    await store.commit(batch(opened(), opened("task_1x")))
    for number in range(6):
        assert store.live_hold("task_1", f"d{number}") is None
        await store.commit(
            batch(held(f"h{number}", digest=f"d{number}"), held(f"x{number}", task="task_1x", digest=f"x{number}"))
        )
        for other in range(8):
            found = store.live_hold("task_1", f"d{other}")
            assert (None if found is None else found.id) == (f"h{other}" if other <= number else None)
    assert store.live_hold("task_1", "x1") is None


async def test_it_stays_bounded(store, monkeypatch):
    """However many keys are asked for, so many rows are kept and no more; the oldest are read again."""
    monkeypatch.setattr(known, "MAX_KNOWN", 10)
    await store.commit(batch(opened()))
    for number in range(100):
        assert store.task(f"task_{number}") is None or number == 1
        assert len(store._known._state[1]) <= 10
    assert store.task("task_1").calls_used == 0


async def test_values_push_out_nothing_else(store, queries, monkeypatch):
    """However many values a call names, they take each other's place, and no row of a task's."""
    monkeypatch.setattr(known, "MAX_VALUES", 10)
    await store.commit(batch(opened()))
    assert store.task("task_1").calls_used == 0
    for number in range(100):
        assert store.origin("task_1", f"v{number}") is None
        assert store.member("m", f"v{number}") is None
        assert len(store._known._state[2]) <= 10
    del queries[:]
    assert store.task("task_1").calls_used == 0
    assert store.member("m", "v99") is None
    assert queries == []
    assert store.origin("task_1", "v0") is None
    assert len(queries) == 1


async def test_a_value_that_was_nowhere_is_found_once_it_was_seen(store):
    """What was known not to be there is there after our own commit, and after another's."""
    await store.commit(batch(opened()))
    for number in range(4):
        assert store.origin("task_1", f"v{number}") is None
        seen = ContentSeen(task="task_1", source="tool:s/t", labels=(), carried=(), values=(f"v{number}",))
        await store.commit(batch(seen))
        assert store.origin("task_1", f"v{number}").sources == ("tool:s/t",)
    assert store.rebuild_rows() == []


async def test_a_key_is_read_once_and_gone_when_it_is_erased(store, queries, tmp_path, signer):
    """Also when another process erases it; and where there is none it is looked for again."""
    assert store.origin_key("task_1") is None
    await store.commit(batch(opened(), opened("task_2")))
    del queries[:]
    assert len({store.origin_key("task_1") for _ in range(3)}) == 1
    assert store.origin_key("task_1") != store.origin_key("task_2") is not None
    assert len(queries) == 2
    await store.commit(erasure())
    assert store.origin_key("task_1") is None
    assert ("secret*", "task_1") not in store._known._state[1]
    with SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log") as other:
        assert store.origin_key("task_2") == other.origin_key("task_2")
        await other.commit(erasure("task_2"))
        assert store.origin_key("task_2") is None


async def test_a_failed_commit_leaves_nothing_behind(store, monkeypatch):
    """What was rolled back was never known."""
    await store.commit(batch(opened()))
    assert store.task("task_1").calls_used == 0
    real = Group.write

    def broken(self):
        real(self)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Group, "write", broken)
    with pytest.raises(StoreError):
        await store.commit(batch(started()))
    monkeypatch.undo()
    assert store.task("task_1").calls_used == 0
    await store.commit(batch(started(), ended()))
    assert store.task("task_1").calls_used == 1


async def test_another_store_in_the_same_process_is_seen_and_may_close(store, tmp_path, signer):
    """Its commits are those of others; closing it takes neither locks nor the index away from us."""
    await store.commit(batch(opened()))
    for number in range(5):
        assert store.task("task_1").calls_used == number
        with SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log") as other:
            assert other.task("task_1").calls_used == number
            await other.commit(batch(started(f"e{number}")))
            assert store.task("task_1").calls_used == other.task("task_1").calls_used == number + 1
    assert store.rebuild_rows() == []


def going_back(store, other, seconds, *, until_found=False):
    """What a reader saw that was less than before, or less than was acknowledged, while two writers were busy."""
    acknowledged = [0, 0]
    wrong = []
    end = threading.Event()

    def work(which, target):
        async def run():
            number = 0
            while not end.is_set():
                jobs = [target.commit(batch(started(f"e{which}_{number}_{k}"))) for k in range(1 + number % 3)]
                await asyncio.gather(*jobs)
                number += 1
                acknowledged[which] += len(jobs)

        asyncio.run(run())

    threads = [threading.Thread(target=work, args=one) for one in enumerate((store, other))]
    timer = threading.Timer(seconds, end.set)
    for thread in (*threads, timer):
        thread.start()
    last = 0
    while any(thread.is_alive() for thread in threads):
        floor = sum(acknowledged)
        seen = store.task("task_1").calls_used
        if seen < max(last, floor):
            wrong.append((seen, last, floor))
            if until_found:
                end.set()
        last = max(last, seen)
    timer.cancel()
    for thread in (*threads, timer):
        thread.join()
    assert sum(acknowledged) > 20 or wrong
    in_the_end = [one.task("task_1").calls_used for one in (store, other)]
    return wrong + [seen for seen in in_the_end if seen != sum(acknowledged)]


def test_reads_never_go_back(store, tmp_path, signer):
    """With this store's writer and another's busy, a read is never older than one before it or than an acknowledgement."""
    asyncio.run(store.commit(batch(opened(calls=10**9))))
    with SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log") as other:
        assert going_back(store, other, 1.5) == []


def test_the_check_finds_rows_that_are_handed_on_blindly(store, tmp_path, signer, monkeypatch):
    """Control: a writer that takes whatever stands after its commit for its own doing, among others who do not wait for the right."""
    monkeypatch.setattr("lictor.stores.right.NEEDED", False)
    monkeypatch.setattr("lictor.stores.tables._alone", lambda cursor, version: True)
    begin, now = known.KnownRows.begin, known.KnownRows.now

    def slow(self):
        time.sleep(0.003)  # in the transaction, long enough for a reader to keep something
        return begin(self)

    def late(self):
        stamp, give_up = now(self), time.monotonic() + 0.2
        while now(self) == stamp and time.monotonic() < give_up:
            time.sleep(0.001)  # until the other writer has committed
        return now(self)

    monkeypatch.setattr(known.KnownRows, "begin", slow)
    monkeypatch.setattr(known.KnownRows, "now", late)
    asyncio.run(store.commit(batch(opened(calls=10**9))))
    with SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log") as other:
        assert going_back(store, other, 60, until_found=True) != []


async def test_after_closing_nothing_is_known(store):
    """A closed store shows no state, kept or not."""
    await store.commit(batch(opened()))
    assert store.task("task_1") is not None
    store.close()
    with pytest.raises(StoreError):
        store.task("task_1")
    with pytest.raises(StoreError):
        store.live_hold("task_1", DIGEST)
