"""What goes on beside the calls does not wait for a store that hangs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import bundles
from lictor.app import Runtime, open_house
from lictor.app.upkeep import Sweep
from lictor.service.calls.guard import Guard
from lictor.testing.clock import ManualClock

LEASE_S = 1.5


class Hasty(Sweep):
    """The control: any confirmation whose lease still runs will do."""

    async def _confirmed(self) -> bool:
        return self.guard.fresh


class Stopwatch:
    """Time under the test's hand, of which no two moments are the same."""

    seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


class Counted:
    """A store that says how often its checkpoint was read."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.read = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def newest_checkpoint(self) -> str:
        self.read += 1
        return str(self.inner.newest_checkpoint())


async def reads(folder: Path, sweep: type[Sweep]) -> tuple[int, int]:
    """How often the store was read: with a confirmation of a second ago, and after the next one."""
    for path, data in bundles.files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    house = await open_house(folder)
    runtime = Runtime(house, {}, prefixed=True)
    now = Stopwatch()
    guard = Guard(ManualClock(1), lease_s=LEASE_S, skew_s=2.0, stopwatch=now)
    guard.arm()
    guard.confirm(0.0, 0)
    store = Counted(house.store)
    house.store = store  # type: ignore[assignment]
    job = asyncio.create_task(sweep(house=house, connections=runtime.connections, guard=guard, every_s=0.005).run())
    for _ in range(10):
        now.seconds += 0.1
        await asyncio.sleep(0.03)
    before = store.read
    guard.confirm(now.seconds, 0)
    async with asyncio.timeout(5):
        while store.read == before:
            await asyncio.sleep(0.01)
    job.cancel()
    await asyncio.gather(job, return_exceptions=True)
    runtime.instance.close()
    house.close()
    return before, store.read


@pytest.mark.parametrize("sweep", [Sweep, Hasty])
async def test_the_store_is_read_directly_after_it_answered(tmp_path: Path, sweep: type[Sweep]) -> None:
    """A confirmation of a second ago says nothing of now: what hangs since then would hang the event loop and all that is on it."""
    before, after = await reads(tmp_path, sweep)
    assert (before > 0) is (sweep is Hasty)
    assert after > before
