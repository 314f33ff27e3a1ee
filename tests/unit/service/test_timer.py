"""A timer wakes its own task, once, and says whether it was itself that did."""

import asyncio

import pytest

from lictor.service.calls.timer import Deadline


async def waiting(deadline: Deadline, seconds: float = 5) -> bool:
    """Wait; whether the deadline ended it alone."""
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        return deadline.stop()
    finally:
        deadline.stop()
    return False


async def test_it_ends_a_wait():
    """And leaves no cancellation behind."""
    assert await waiting(Deadline(0.01))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_it_does_nothing_after_its_end():
    """A stopped one never reaches the task."""
    deadline = Deadline(0.01)
    assert not await waiting(deadline, 0)
    deadline.end()
    await asyncio.sleep(0.03)


async def test_it_can_be_ended_from_outside():
    """Also without a time."""
    deadline = Deadline(None)
    asyncio.get_running_loop().call_later(0.01, deadline.end)
    assert await waiting(deadline)


@pytest.mark.parametrize("both", [True, False])
async def test_another_cancellation_is_not_its_own(both):
    """A task that somebody cancels is cancelled, even when its time is up as well."""

    async def one() -> bool:
        deadline = Deadline(None)
        started.append(deadline)
        return await waiting(deadline)

    started: list[Deadline] = []
    task = asyncio.create_task(one())
    await asyncio.sleep(0)
    task.cancel()
    if both:
        started[0].end()
    assert await task is False
    assert task.cancelling() == 1
