"""Outcomes on their way: merged, tried again until durable, one bad one does not keep the others, drained in bounded time."""

import asyncio

import pytest

from lictor.model.errors import ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Receipt
from lictor.service.calls import outcomes as module
from lictor.service.calls.outcomes import Outcomes
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock
from store_samples import NOW, batch, ended, opened, started


class Store:
    """The memory store, with a say before each commit."""

    def __init__(self):
        self.inner = MemoryStore()
        self.batches = []
        self.before = None

    async def commit(self, batch) -> Receipt:
        """Commit, or what `before` says."""
        self.batches.append(batch)
        await asyncio.sleep(0)
        if self.before is not None:
            self.before(batch)
        return await self.inner.commit(batch)


@pytest.fixture
async def store():
    made = Store()
    await made.inner.commit(batch(opened(), *(started(f"e{number}") for number in range(20))))
    return made


@pytest.fixture
def outcomes(store, monkeypatch):
    monkeypatch.setattr(module, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(module, "LAST_RETRY_S", 0.004)
    made = Outcomes(store=store, clock=ManualClock(NOW))
    made._pause = 0.001
    return made


def names(store, outcome="executed"):
    return [number for number in range(20) if store.inner.execution_outcome(f"e{number}") == outcome]


async def test_what_comes_while_one_is_written_goes_together(store, outcomes):
    """One batch for the first, one for all that came meanwhile; patient, in order."""
    outcomes.put(ended("e0"))
    await asyncio.sleep(0)
    for number in range(1, 20):
        outcomes.put(ended(f"e{number}"))
    assert outcomes.waiting == 20
    assert await outcomes.drain() == []
    assert [len(one.records) for one in store.batches] == [1, 19]
    assert all(one.patient for one in store.batches)
    assert [record.execution for one in store.batches for record in one.records] == [f"e{n}" for n in range(20)]
    assert names(store) == list(range(20))


async def test_nobody_has_to_drain(store, outcomes):
    """It is recorded by itself."""
    outcomes.put(ended("e3"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert names(store) == [3]


@pytest.mark.parametrize("error", [StoreError(Reason.CANNOT_RECORD, "no"), RuntimeError("boom"), OSError("disk")])
async def test_a_failed_commit_is_tried_again_until_it_works(store, outcomes, error):
    """Whatever failed: the store mends, and every outcome is durable, once."""
    tries = []

    def fails(_):
        tries.append(1)
        if len(tries) <= 12:
            raise error

    store.before = fails
    outcomes.put(ended("e1"))
    outcomes.put(ended("e2"))
    async with asyncio.timeout(5):
        while names(store) != [1, 2]:
            await asyncio.sleep(0.001)
    assert store.inner.size() == 23
    assert await outcomes.drain() == []


async def test_control_a_queue_that_gives_up_leaves_them_open(store, outcomes, monkeypatch):
    """The same failure without the second try: the executions stay open."""
    monkeypatch.setattr(Outcomes, "_later", lambda self, units: None)
    store.before = lambda _: (_ for _ in ()).throw(StoreError(Reason.CANNOT_RECORD, "no"))
    outcomes.put(ended("e1"))
    await asyncio.sleep(0.02)
    store.before = None
    assert await outcomes.drain() == []
    assert names(store, "started") == list(range(20))


async def test_one_that_is_refused_does_not_keep_the_others(store, outcomes):
    """An execution that somebody else has ended, or that never started, is dropped; its neighbours are recorded."""
    await store.inner.commit(batch(ended("e1", "indeterminate")))
    outcomes.put(ended("e0"))
    await asyncio.sleep(0)
    for name in ("e1", "e2", "never", "e3"):
        outcomes.put(ended(name))
    assert await outcomes.drain() == []
    assert (names(store), names(store, "indeterminate")) == ([0, 2, 3], [1])


async def test_one_that_can_never_be_written_does_not_keep_the_others(store, outcomes):
    """It is tried alone from then on, and named in the end."""

    def poisoned(one):
        if any(record.execution == "e1" for record in one.records):
            raise StoreError(Reason.CANNOT_RECORD, "a record has no encoding")

    store.before = poisoned
    outcomes.put(ended("e0"))
    await asyncio.sleep(0)
    for number in (1, 2, 3):
        outcomes.put(ended(f"e{number}"))
    assert await outcomes.drain(0.1) == [(ended("e1"),)]
    outcomes.put(ended("e4"))
    assert await outcomes.drain(0.1) == [(ended("e1"),)]
    assert names(store) == [0, 2, 3, 4]


async def test_records_of_one_unit_stay_together(store, outcomes):
    """Both or neither: a unit one of whose records is refused writes none of them."""
    outcomes.put(ended("e0"))
    await asyncio.sleep(0)
    outcomes.put(ended("e1"), ended("never"))
    outcomes.put(ended("e2"), ended("e3"))
    assert await outcomes.drain() == []
    assert names(store) == [0, 2, 3]


async def test_draining_is_bounded_and_says_what_is_left(store, outcomes):
    """A store that never answers does not keep a shutdown; later it can still be drained."""
    hung = asyncio.Event()
    real = store.commit

    async def hangs(one):
        await hung.wait()
        return await real(one)

    store.commit = hangs
    outcomes.put(ended("e1"))
    await asyncio.sleep(0)
    outcomes.put(ended("e2"))
    start = asyncio.get_running_loop().time()
    assert await outcomes.drain(0.05) == [(ended("e1"),), (ended("e2"),)]
    assert asyncio.get_running_loop().time() - start < 1
    hung.set()
    assert await outcomes.drain() == []
    assert names(store) == [1, 2]


def test_a_loop_that_ended_in_the_middle_is_continued_by_the_next(outcomes_on_no_loop):
    """What its loop could not finish is recorded when there is one again, never twice."""
    store, outcomes = outcomes_on_no_loop
    tries = []

    def never(_):
        tries.append(1)
        if len(tries) == 1:
            raise StoreError(Reason.CANNOT_RECORD, "no")

    store.before = never

    async def first():
        outcomes.put(ended("e1"))
        await asyncio.sleep(0.005)
        outcomes.put(ended("e2"))

    async def second():
        outcomes.put(ended("e3"))
        assert await outcomes.drain() == []

    asyncio.run(first())
    asyncio.run(second())
    assert names(store) == [1, 2, 3]


@pytest.fixture
def outcomes_on_no_loop():
    made = Store()
    asyncio.run(made.inner.commit(batch(opened(), *(started(f"e{number}") for number in range(20)))))
    return made, Outcomes(store=made, clock=ManualClock(NOW))


async def test_a_conflict_alone_is_final(store, outcomes):
    """It is not tried again."""

    def conflict(_):
        raise ConflictError(Reason.CONFLICT, "ended")

    store.before = conflict
    outcomes.put(ended("e1"))
    assert await outcomes.drain() == []
    assert len(store.batches) == 1
