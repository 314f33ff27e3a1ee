"""A gateway erases what is old by itself, pays what erasures owe, and goes on when that fails."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bundles
from lictor.app import Runtime, open_house
from lictor.app.upkeep import Retain
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.model.record import PayloadsErased, TaskClosed
from lictor.ports import Batch
from lictor.service.calls.guard import Guard
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock
from store_samples import opened, payload

DAY_MS = 86_400_000


def bundle(folder: Path, settings: str = "") -> Path:
    for path, data in bundles.files(**{"lictor.toml": settings}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.05)


async def old_and_new(store: Any, now_ms: int) -> None:
    """A task of ten days ago and one of today."""
    for name, at in (("old", now_ms - 10 * DAY_MS), ("new", now_ms)):
        record = opened(name, opened=at, expires=at + 1_000)
        await store.commit(Batch(at_ms=at, records=(record,), payloads=(payload(f"req_{name}", task=name),)))


@pytest.mark.parametrize("days", [0, 7])
async def test_a_gateway_erases_what_is_old(tmp_path: Path, days: int) -> None:
    """With the setting the old task's payloads go soon after the start; without it nothing ever does."""
    house = await open_house(bundle(tmp_path, f"[retention]\npayloads_days = {days}\n"))
    await old_and_new(house.store, house.clock.now_ms())
    runtime = Runtime(house, {}, prefixed=True)
    runtime.retain.every_s = 0.01
    async with runtime.running():
        if days:
            await until(lambda: house.store.erased("old") is not None)  # type: ignore[arg-type]
        else:
            await asyncio.sleep(1)
        assert (house.store.payload("req_old") is None) is bool(days)  # type: ignore[arg-type]
        assert house.store.payload("req_new") is not None  # type: ignore[arg-type]


async def test_a_start_pays_what_the_last_run_owed(tmp_path: Path) -> None:
    """The process died between the commit and the cut: the next gateway cuts, and no file holds the key any more."""
    house = await open_house(bundle(tmp_path))
    store = house.store
    assert isinstance(store, SqliteStore)
    now = house.clock.now_ms()
    await old_and_new(store, now)
    key = store._all("SELECT key FROM task_keys WHERE task = 'new'")[0][0]
    gone = (TaskClosed(task="new", by="test"), PayloadsErased(task="new", by="test"))  # type: ignore[arg-type]
    await store.commit(Batch(at_ms=now, records=gone))

    def held() -> bool:
        return any(key in path.read_bytes() for path in house.state.rglob("*") if path.is_file())

    assert held()
    async with Runtime(house, {}, prefixed=True).running():
        await until(lambda: not held())


async def test_a_failure_is_said_once_and_tried_again(tmp_path: Path) -> None:
    """A store that cannot record does not end it; it is said once, and what was due is erased when the store can."""
    house = await open_house(bundle(tmp_path))
    await old_and_new(house.store, house.clock.now_ms())
    said: list[str] = []
    house.say = said.append
    guard = Guard(ManualClock(house.clock.now_ms()), lease_s=3_600, skew_s=2.0, stopwatch=time.monotonic)
    store, broken = house.store, True

    class Failing:
        def __getattr__(self, name: str) -> Any:
            return getattr(store, name)

        async def commit(self, batch: Batch) -> Any:
            if broken:
                raise StoreError(Reason.CANNOT_RECORD, "the disk is full")
            return await store.commit(batch)

    house.store = Failing()  # type: ignore[assignment]

    async def confirming() -> None:
        while True:
            guard.confirm(time.monotonic(), 0)
            await asyncio.sleep(0.01)

    retain = Retain(house=house, guard=guard, days=7, every_s=0.01, pause_s=0.01)
    jobs = [asyncio.create_task(one) for one in (confirming(), retain.run())]
    await until(lambda: bool(said))
    await asyncio.sleep(0.2)
    assert len(said) == 1
    assert "the disk is full" in said[0]
    broken = False
    await until(lambda: store.erased("old") is not None)  # type: ignore[arg-type]
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    store.close()
