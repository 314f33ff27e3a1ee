"""Erasing a task: with all below it, only when it is over, on the record; and retention, which does it by age."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import PayloadsErased, TaskClosed, decode_entry, encode_entry
from lictor.model.task import TaskState
from lictor.policy.compile import compile_files
from lictor.ports import Batch, Payload, StoredEntry
from lictor.records.verify import verify_log
from lictor.service.evidence import retention
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.erase import Erase
from lictor.service.evidence.replay import Replay
from lictor.service.evidence.retention import DAY_MS, Retention
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock
from recorded_world import FETCH, READ, WRITE, drive, world_bundle
from store_samples import NOW, batch, ended, opened, payload, received, started


def child(name: str, *parents: str) -> Any:
    """A delegated task, nearest parent first."""
    record = opened(name, calls=100 // (1 + len(parents)))
    return replace(record, task=replace(record.task, agent=f"agent of {name}", parents=parents))


def close(name: str) -> TaskClosed:
    return TaskClosed(task=TaskId(name), by="test")


def payload_of(name: str) -> Payload:
    made: Payload = payload(f"req_{name}", task=name)
    return made


async def family() -> MemoryStore:
    """A task, what it handed on, what that handed on, and a stranger; all closed but the stranger."""
    store = MemoryStore()
    records = (opened("root"), child("kid", "root"), child("grandkid", "kid", "root"), opened("other"))
    names = ("root", "kid", "grandkid", "other")
    await store.commit(batch(*records, payloads=[payload_of(name) for name in names]))
    await store.commit(batch(close("grandkid"), close("kid"), close("root")))
    return store


def erased(store: MemoryStore) -> list[PayloadsErased]:
    found = (decode_entry(entry.data).record for entry in store.entries())
    return [record for record in found if isinstance(record, PayloadsErased)]


async def test_a_task_goes_with_all_below_it() -> None:
    """The deepest first, a record each; nobody else's; and again it is no error and no record."""
    store = await family()
    erase = Erase(store=store, clock=ManualClock(NOW))
    done = await erase(TaskId("root"), by="os:ann", why="request 12")
    assert (done.tasks, done.clean) == (("grandkid", "kid", "root"), True)
    assert [(one.task, one.by, one.why) for one in erased(store)] == [
        (name, "os:ann", "request 12") for name in ("grandkid", "kid", "root")
    ]
    assert [store.payload(payload_of(name).request) is None for name in ("root", "kid", "grandkid", "other")] == [
        True,
        True,
        True,
        False,
    ]
    again = await erase(TaskId("root"), by="os:ann")
    assert again.tasks == ()
    assert erase.plan(TaskId("root")).already == ("grandkid", "kid", "root")
    assert len(erased(store)) == 3


async def test_a_child_alone_leaves_what_is_above() -> None:
    """What was handed on can be erased by itself."""
    store = await family()
    await Erase(store=store, clock=ManualClock(NOW))(TaskId("kid"), by="os:ann")
    assert [one.task for one in erased(store)] == ["grandkid", "kid"]
    assert store.payload(payload_of("root").request) is not None


@pytest.mark.parametrize("state", ["live", "child lives", "under way", "unknown"])
async def test_what_is_not_over_is_refused(state: str) -> None:
    """A live task, one of which a child or a call is under way, and one that nobody knows; nothing is recorded."""
    store = MemoryStore()
    await store.commit(batch(opened("root"), child("kid", "root"), payloads=[payload_of("root")]))
    if state == "under way":
        await store.commit(batch(started("exe", task="kid")))
        await store.commit(batch(close("kid")))
    if state in {"child lives", "under way"}:
        await store.commit(batch(close("root")))
    erase, size = Erase(store=store, clock=ManualClock(NOW)), store.size()
    with pytest.raises((ConflictError, CallerError)) as caught:
        await erase(TaskId("nobody" if state == "unknown" else "root"), by="os:ann")
    assert caught.value.reason is (Reason.UNKNOWN_TASK if state == "unknown" else Reason.CONFLICT)
    assert store.size() == size
    if state == "under way":
        await store.commit(batch(ended("exe")))
        assert (await erase(TaskId("root"), by="os:ann")).tasks == ("kid", "root")


async def test_somebody_else_may_be_faster() -> None:
    """Two operators at once: each task has one record, and neither sees an error."""
    store = await family()
    first, second = Erase(store=store, clock=ManualClock(NOW)), Erase(store=store, clock=ManualClock(NOW))
    plan = first.plan(TaskId("root"))
    await second(TaskId("kid"), by="os:bob")
    first.plan = lambda _: plan  # type: ignore[method-assign]
    await first(TaskId("root"), by="os:ann")
    assert sorted(one.task for one in erased(store)) == ["grandkid", "kid", "root"]


def test_the_log_still_verifies_and_replay_says_erased() -> None:
    """Every record is where it was; its decisions stand, and are said to be erased, neither identical nor broken."""
    world = drive(world_bundle(), (READ, FETCH, WRITE))
    name = next(iter(world._open.values())).id
    before = [decode_entry(entry.data) for entry in world.store.entries()]
    world.clock.advance(DAY_MS)
    asyncio.run(Erase(store=world.store, clock=world.clock)(name, by="os:ann"))
    assert [decode_entry(entry.data) for entry in world.store.entries()][: len(before)] == before
    store: Any = world.store
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok
    assert list(inconsistencies(store.entries())) == []
    replayed = list(Replay(store, compile_files)())
    assert {one.status.value for one in replayed} == {"erased"}
    assert len(replayed) == 4


def test_what_is_gone_without_a_record_is_no_erasure() -> None:
    """Whoever deletes a key by hand is found by replay: it is a fault, and not what an operator did on the record."""
    world = drive(world_bundle(), (READ, FETCH))
    store: Any = world.store
    store._keys.clear()
    store._payloads.clear()
    replayed = list(Replay(world.store, compile_files)())
    assert {one.status.value for one in replayed} == {"broken"}
    assert all("no record says" in one.detail for one in replayed)


def test_what_starts_after_an_erasure_is_found() -> None:
    """A store without the rule could write it down; the log's own check says that it cannot be. So with a second erasure."""
    world = drive(world_bundle(), (READ,))
    entries = [decode_entry(entry.data) for entry in world.store.entries()]
    name = next(iter(world._open.values())).id
    gone = PayloadsErased(task=name, by="os:ann")

    def odd(*records: Any) -> list[str]:
        found = inconsistencies(StoredEntry(n, encode_entry(1, one), b"") for n, one in enumerate(records))
        return [one.message for one in found]

    told = [entry.record for entry in entries]
    at = next(n for n, one in enumerate(told) if type(one).__name__ == "ExecutionStarted")
    assert odd(*told, gone) == []
    assert any("payloads were erased" in one for one in odd(*told[:at], gone, *told[at:]))
    assert any("erased twice" in one for one in odd(*told, gone, gone))


# -- retention ------------------------------------------------------------------------------------------------------------------


async def round_of(runner: Retention) -> int:
    """Steps until a round is over."""
    for count in range(1, 1_000):
        if await runner.step():
            return count
    raise AssertionError("no end")


AGES = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["open", "closed", "ghost"])), max_size=14)


@given(AGES, st.integers(1, 5), st.integers(1, 5), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_what_is_old_goes_and_nothing_else(tasks: list[tuple[int, str]], days: int, looked: int, read: int) -> None:
    """Whatever a step is allowed to look at: a round takes exactly what was over that long ago, a record each; the next nothing."""
    before = retention.LOOKED, retention.READ
    retention.LOOKED, retention.READ = looked, read  # type: ignore[misc]
    try:
        asyncio.run(_what_is_old_goes(tasks, days))
    finally:
        retention.LOOKED, retention.READ = before  # type: ignore[misc]


async def _what_is_old_goes(tasks: list[tuple[int, str]], days: int) -> None:
    store, clock = MemoryStore(), ManualClock(NOW)
    old = set()
    for number, (age, kind) in enumerate(sorted(tasks, reverse=True)):
        name, at = f"task_{number}", NOW - age * DAY_MS
        kept = payload(f"req_{number}", task=name)
        if kind == "ghost":
            await store.commit(Batch(at_ms=at, records=(received(f"req_{number}", task=name),), payloads=(kept,)))
        else:
            record = opened(name, opened=at - 1, expires=at)
            await store.commit(Batch(at_ms=at - 1, records=(record,), payloads=(kept,)))
            if kind == "closed":
                await store.commit(Batch(at_ms=at - 1, records=(close(name),)))
        if age >= days:
            old.add(name)
    runner = Retention(store=store, clock=clock, days=days)
    size = store.size()
    await round_of(runner)
    found = [decode_entry(entry.data).record for entry in store.entries(size)]
    assert sorted(one.task for one in found if isinstance(one, PayloadsErased)) == sorted(old)
    assert all(isinstance(one, PayloadsErased) and one.by == "retention" for one in found)
    for number in range(len(tasks)):
        assert (store.payload(f"req_{number}") is None) is (f"task_{number}" in old)  # type: ignore[arg-type]
    await round_of(runner)
    assert store.size() == size + len(old)


def by_expiry(state: TaskState) -> int:
    """Control: as if nobody had closed anything."""
    return state.task.expires_at_ms


def by_opening(state: TaskState) -> int:
    """Control: too early."""
    return state.task.opened_at_ms


@given(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["itself", "its parent", "nobody"]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_task_counts_from_its_end_and_not_before(opened_days: int, over_days: int, closes: str, used: bool) -> None:
    """Closed, or its time up, whichever came first; not while a call is under way. What it came from may have ended before."""
    erased_at, right = asyncio.run(_erased_on(opened_days, over_days, closes, used=used))
    assert erased_at == right


@pytest.mark.parametrize("rule", [by_expiry, by_opening])
def test_the_check_above_finds_the_broken_rules(rule: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: counting from the expiry, or from the opening, is told apart by it."""
    monkeypatch.setattr(TaskState, "over_at_ms", property(rule))
    erased_at, right = asyncio.run(_erased_on(1, 2, "itself", used=False))
    assert erased_at != right


async def _erased_on(opened_days: int, over_days: int, closes: str, *, used: bool) -> tuple[int, int]:
    """On which day after the start a child is erased that is kept for two, and on which it should be."""
    store, clock, life = MemoryStore(), ManualClock(NOW), 10 * DAY_MS
    clock.advance(opened_days * DAY_MS)
    above, task = (
        opened(name, opened=clock.now_ms(), expires=clock.now_ms() + life, calls=50) for name in ("up", "kid")
    )
    below = replace(task, task=replace(task.task, agent="another", parents=("up",)))
    await store.commit(Batch(at_ms=clock.now_ms(), records=(above, below), payloads=(payload_of("kid"),)))
    if used:
        await store.commit(Batch(at_ms=clock.now_ms(), records=(started("exe", task="kid"),)))
    clock.advance(over_days * DAY_MS)
    if closes != "nobody":
        await store.commit(Batch(at_ms=clock.now_ms(), records=(close("kid" if closes == "itself" else "up"),)))
    over = opened_days + (over_days if closes == "itself" else 10)
    right = over + 2 + (1 if used else 0)
    runner = Retention(store=store, clock=clock, days=2)
    for day in range(opened_days + over_days, 20):
        if used and day == over + 3:
            await store.commit(Batch(at_ms=clock.now_ms(), records=(ended("exe"),)))
        await round_of(runner)
        if store.erased(TaskId("kid")) is not None:
            return day, right
        clock.advance(DAY_MS)
    return -1, right


async def test_another_gateway_may_be_faster() -> None:
    """A conflict ends no round: what is left is taken in the next."""
    store, clock = MemoryStore(), ManualClock(NOW + 10 * DAY_MS)
    await store.commit(batch(opened("a"), opened("b")))
    one, other = Retention(store=store, clock=clock, days=1), Erase(store=store, clock=clock)
    real = store.sealed
    await other(TaskId("a"), by="os:ann")
    store.sealed = lambda after="", limit=200: [TaskId("a"), TaskId("b")] if not after else []  # type: ignore[method-assign]
    await round_of(one)
    assert [one.task for one in erased(store)] == ["a"]
    store.sealed = real  # type: ignore[method-assign]
    await round_of(one)
    assert [one.task for one in erased(store)] == ["a", "b"]


def test_less_than_a_day_is_refused() -> None:
    """Zero means for ever, and is no retention at all."""
    with pytest.raises(ValueError, match="at least a day"):
        Retention(store=MemoryStore(), clock=ManualClock(NOW), days=0)
