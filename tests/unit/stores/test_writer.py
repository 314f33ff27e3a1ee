"""The writer: an outcome rides with the next decision; a caller who is alone is served on its own loop, while that is quick."""

import asyncio
import threading
import time

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import ConflictError, StoreError
from lictor.model.record import ContentSeen, TaskClosed
from lictor.stores import scribe, writer
from lictor.stores.group import Group
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import connect
from store_samples import batch, decided, ended, opened, payload, received, started


@pytest.fixture
def make(tmp_path):
    signer = Ed25519PrivateKey.generate()
    opened_stores = []

    def made():
        store = SqliteStore(tmp_path / "state" / "log.db", signer=signer, origin="test.local/log")
        opened_stores.append(store)
        return store

    yield made
    for store in opened_stores:
        store.close()


def decision(number):
    return batch(received(f"req_{number}"), decided(f"req_{number}"), payloads=[payload(f"req_{number}")])


def outcome():
    return msgspec.structs.replace(batch(ended()), patient=True)


def groups(store):
    return len(list(store.checkpoints()))


async def under_way(store):
    await store.commit(batch(opened()))
    await store.commit(batch(started()))


async def kept_aside(store):
    """A patient commit that has been put; it is under way when this returns."""
    task = asyncio.create_task(store.commit(outcome()))
    await asyncio.sleep(0)
    return task


async def test_an_outcome_rides_with_the_next_decision(make, monkeypatch):
    """One group, one sync, for both."""
    monkeypatch.setattr(writer, "PATIENCE_S", 60)
    store = make()
    await under_way(store)
    before = groups(store)
    waiting = await kept_aside(store)
    await store.commit(decision(1))
    await waiting
    assert groups(store) == before + 1
    assert store.execution_outcome("exec_1") == "executed"


async def test_control_without_patience_it_is_a_group_of_its_own(make):
    """The same two commits, neither of which waits for the other."""
    store = make()
    await under_way(store)
    before = groups(store)
    await store.commit(batch(ended()))
    await store.commit(decision(1))
    assert groups(store) == before + 2


async def test_nobody_comes_and_it_is_written_all_the_same(make):
    """Patience ends by itself."""
    store = make()
    await under_way(store)
    async with asyncio.timeout(5):
        await store.commit(outcome())
    assert store.execution_outcome("exec_1") == "executed"


async def test_closing_writes_what_was_kept_aside(make, monkeypatch):
    """A good end loses no outcome."""
    monkeypatch.setattr(writer, "PATIENCE_S", 60)
    store = make()
    await under_way(store)
    waiting = await kept_aside(store)
    store.close()
    await waiting
    assert make().execution_outcome("exec_1") == "executed"


def test_a_loop_that_ended_keeps_nobody_waiting(make, monkeypatch):
    """What an ended loop left behind goes with the next commit of another, patient or not."""
    store = make()
    asyncio.run(under_way(store))
    monkeypatch.setattr(writer, "PATIENCE_S", 60)

    async def leaves():
        (await kept_aside(store)).cancel()

    asyncio.run(leaves())
    monkeypatch.setattr(writer, "PATIENCE_S", 0.001)

    async def comes():
        async with asyncio.timeout(5):
            await store.commit(msgspec.structs.replace(decision(2), patient=True))

    asyncio.run(comes())
    assert store.execution_outcome("exec_1") == "executed"


# -- served on the caller's own loop ---------------------------------------------------------------------------------------


@pytest.fixture
def threads(monkeypatch):
    """The threads that wrote a group, in order."""
    found = []
    real = Group.write

    def write(self):
        found.append(threading.current_thread())
        real(self)

    monkeypatch.setattr(Group, "write", write)
    return found


@pytest.fixture
def quick(monkeypatch):
    """Every disk counts as quick."""
    monkeypatch.setattr(writer, "SHORT_S", 60.0)


async def warmed_up(store):
    await store.commit(batch(opened(calls=10_000)))
    for number in range(writer.SHORT_RUN):
        await store.commit(batch(started(f"warm_{number}")))


def here(threads):
    return [thread is threading.main_thread() for thread in threads]


async def test_a_caller_alone_is_served_here_once_the_disk_is_known_to_be_quick(make, quick, threads):
    """The first commits go through the thread; then nobody hands over, and the log is the same."""
    store = make()
    await warmed_up(store)
    receipts = [await store.commit(batch(started(f"e{n}"))) for n in range(5)]
    assert here(threads) == [False] * writer.SHORT_RUN + [True] * 6
    assert [receipt.first for receipt in receipts] == list(range(writer.SHORT_RUN + 1, writer.SHORT_RUN + 6))
    assert store.task("task_1").calls_used == writer.SHORT_RUN + 5
    assert store.rebuild_rows() == []


async def test_callers_together_are_a_group_for_the_thread(make, quick, threads):
    """Two of one turn of the loop share one sync, which the loop does not wait for."""
    store = make()
    await warmed_up(store)
    before, size = groups(store), len(threads)
    await asyncio.gather(*(store.commit(batch(started(f"e{n}"))) for n in range(20)))
    assert groups(store) == before + 1
    assert here(threads[size:]) == [False]


async def test_an_outcome_rides_along_here_too(make, quick, threads, monkeypatch):
    """One group for both, the outcome first."""
    monkeypatch.setattr(writer, "PATIENCE_S", 60)
    store = make()
    await warmed_up(store)
    await store.commit(batch(started()))
    before = groups(store)
    waiting = await kept_aside(store)
    receipt = await store.commit(decision(1))
    assert (await waiting).size == receipt.first
    assert groups(store) == before + 1
    assert here(threads)[-1]


async def test_a_refusal_is_told_here_too(make, quick):
    """The life cycles are asked wherever the commit runs."""
    store = make()
    await warmed_up(store)
    await store.commit(batch(TaskClosed(task="task_1", by="op")))
    with pytest.raises(ConflictError):
        await store.commit(batch(started("late")))
    assert store.execution_outcome("late") is None


async def test_a_slow_disk_ends_it(make, monkeypatch, threads):
    """One long commit is enough: after it the loop no longer waits for the disk, until it has been quick for a while."""
    monkeypatch.setattr(writer, "SHORT_S", 60.0)
    store = make()
    await warmed_up(store)
    monkeypatch.setattr(writer, "SHORT_S", -1.0)
    await store.commit(batch(started("slow")))
    del threads[:]
    await store.commit(batch(started("next")))
    monkeypatch.setattr(writer, "SHORT_S", 60.0)
    for number in range(writer.SHORT_RUN + 1):
        await store.commit(batch(started(f"again_{number}")))
    assert here(threads) == [False] * (writer.SHORT_RUN + 1) + [True]


async def test_control_without_the_measure_a_slow_disk_stops_the_loop(make, monkeypatch):
    """The same slow commits: with the measure the loop turns meanwhile, without it (control) it stands still."""
    real, turns, turned = Group.write, 0, []

    def slow(self):
        """As slow as it takes the loop to turn, if it does."""
        before, end = (
            turns,
            time.monotonic() + (5 if threading.current_thread() is not threading.main_thread() else 0.1),
        )
        while turns < before + 3 and time.monotonic() < end:
            time.sleep(0.001)
        turned.append(turns >= before + 3)
        real(self)

    async def commit(store, *names):
        nonlocal turns
        over = False

        async def watch():
            nonlocal turns
            while not over:
                await asyncio.sleep(0)
                turns += 1

        watching = asyncio.create_task(watch())
        for name in names:
            await store.commit(batch(started(name)))
        over = True
        await watching

    monkeypatch.setattr(writer, "SHORT_RUN", 0)
    store = make()
    await warmed_up(store)
    monkeypatch.setattr(Group, "write", slow)
    await commit(store, "a")
    assert turned == [False]
    monkeypatch.setattr(writer, "SHORT_RUN", 3)
    await store.commit(batch(started("c")))
    del turned[:]
    await commit(store, "d", "e")
    assert turned == [True, True]


async def test_the_loop_never_waits_for_another_process(make, quick, threads, tmp_path):
    """Somebody else writes: the thread waits, the loop turns, and the order stays."""
    store = make()
    await warmed_up(store)
    other = connect(tmp_path / "state" / "log.db")
    other.execute("BEGIN IMMEDIATE")
    first = asyncio.create_task(store.commit(batch(started("first"))))
    turns = 0
    for _ in range(50):
        await asyncio.sleep(0.001)
        turns += 1
    second = asyncio.create_task(store.commit(batch(ended("first"))))
    await asyncio.sleep(0)
    assert (turns, first.done(), second.done()) == (50, False, False)
    other.execute("ROLLBACK")
    other.close()
    assert (await first).size == (await second).first
    assert not here(threads)[-1]


async def test_closing_writes_what_waits_for_the_turn(make, quick):
    """A commit that was just asked for is recorded by `close`."""
    store = make()
    await warmed_up(store)
    waiting = asyncio.create_task(store.commit(batch(started("last"))))
    await asyncio.sleep(0)
    store.close()
    await waiting
    assert make().execution_outcome("last") == "started"


async def test_a_failure_here_fails_the_caller_and_mends_itself(make, quick, monkeypatch):
    """An error on the loop is `cannot_record` as in the thread, and the next commit starts from what is on the disk."""
    store = make()
    await warmed_up(store)
    real = Group.write

    def broken(self):
        real(self)
        raise OSError("no")

    monkeypatch.setattr(Group, "write", broken)
    with pytest.raises(StoreError):
        await store.commit(batch(started("lost")))
    monkeypatch.setattr(Group, "write", real)
    await store.commit(batch(started("kept")))
    assert (store.execution_outcome("lost"), store.execution_outcome("kept")) == (None, "started")
    assert store.rebuild_rows() == []


def test_loops_that_end_in_the_middle_lose_nothing(make, quick):
    """A loop that ends before its turn does: what it asked for goes with the next commit of another, in order."""
    store = make()
    asyncio.run(warmed_up(store))

    async def leaves(number):
        task = asyncio.create_task(store.commit(batch(started(f"left_{number}"))))
        await asyncio.sleep(0)
        task.cancel()

    for number in range(3):
        asyncio.run(leaves(number))
    asyncio.run(store.commit(batch(started("last"))))
    assert [store.execution_outcome(f"left_{number}") for number in range(3)] == ["started"] * 3


def test_loops_of_several_threads_share_one_store(make, quick):
    """Each caller is answered on its own loop and nothing is lost, whoever serves whom."""
    store = make()
    asyncio.run(warmed_up(store))
    done = []

    async def run(which):
        for number in range(60):
            jobs = [store.commit(batch(started(f"e{which}_{number}_{k}"))) for k in range(1 + number % 2)]
            receipts = await asyncio.gather(*jobs)
            done.extend(receipt.first for receipt in receipts)

    threads = [threading.Thread(target=lambda which=which: asyncio.run(run(which))) for which in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(done) == len(set(done)) == 3 * 90
    assert store.task("task_1").calls_used == writer.SHORT_RUN + 270
    assert store.rebuild_rows() == []


async def test_what_no_commit_will_ask_for_soon_is_not_kept(make):
    """Tokens, values that were seen and executions that ended are read when they are wanted, and are as they were."""
    store = make()
    await store.commit(batch(opened(token="t"), started()))
    kept = store._writer._scribe.cache.rows
    assert {kind for kind, _ in kept} == {"task", "execution"}
    for number in range(3):
        seen = ContentSeen(task="task_1", source=f"tool:s/t{number}", labels=(), carried=(), values=("v", f"v{number}"))
        await store.commit(batch(seen))
    await store.commit(batch(ended()))
    assert {kind for kind, _ in kept} == {"task", "origins"}
    with pytest.raises(ConflictError):
        await store.commit(batch(ended()))
    with pytest.raises(ConflictError):
        await store.commit(batch(opened("task_2", token="t")))
    assert store.origin("task_1", "v").sources == ("tool:s/t0", "tool:s/t1", "tool:s/t2")
    assert store.rebuild_rows() == []


# -- when the write-ahead log is moved -----------------------------------------------------------------------------------


@pytest.fixture
def moves(monkeypatch):
    """The threads that moved the write-ahead log."""
    found = []
    real = scribe.Scribe.move

    def move(self):
        found.append(threading.current_thread())
        real(self)

    monkeypatch.setattr(scribe.Scribe, "move", move)
    return found


async def until_moved(moves):
    async with asyncio.timeout(20):
        while not moves:
            await asyncio.sleep(0.01)


async def test_it_is_moved_once_nobody_comes(make, moves, monkeypatch):
    """Past the first size a quiet moment is enough, and it is taken by the thread."""
    monkeypatch.setattr(scribe, "CHECKPOINT_IDLE", 1)
    store = make()
    await store.commit(batch(opened()))
    await until_moved(moves)
    assert threading.main_thread() not in moves
    assert store._writer._scribe.unmoved == 0


async def test_nobody_has_to_wait_for_it_before_it_is_large(make, quick, moves, threads, monkeypatch):
    """Who comes one by one, on the loop, keeps it from being moved; in the quiet afterwards it is."""
    monkeypatch.setattr(scribe, "CHECKPOINT_IDLE", 1)
    monkeypatch.setattr(scribe, "QUIET_S", 3.0)
    store = make()
    await warmed_up(store)
    start = time.monotonic()
    for number in range(20):
        await store.commit(batch(started(f"e{number}")))
    if time.monotonic() - start < 3.0:
        assert moves == []
    monkeypatch.setattr(scribe, "QUIET_S", 0.01)
    await until_moved(moves)
    assert here(threads)[-1]


async def test_a_large_one_is_moved_although_somebody_comes(make, quick, moves, monkeypatch):
    """It stays bounded: there is no quiet moment to wait for."""
    monkeypatch.setattr(scribe, "CHECKPOINT_IDLE", 1)
    monkeypatch.setattr(scribe, "CHECKPOINT_BUSY", 100_000)
    monkeypatch.setattr(scribe, "QUIET_S", 60.0)
    store = make()
    await warmed_up(store)
    for number in range(40):
        await store.commit(batch(started(f"e{number}")))
    await until_moved(moves)
    assert threading.main_thread() not in moves
