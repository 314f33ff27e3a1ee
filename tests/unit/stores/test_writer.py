"""The writer's patience: an outcome rides with the next decision, and is never lost or kept waiting for it."""

import asyncio

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.stores import writer
from lictor.stores.sqlite import SqliteStore
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
