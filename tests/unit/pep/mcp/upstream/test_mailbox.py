"""A bounded queue: it drops, it never grows, it never loses what must arrive."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from lictor.pep.mcp.upstream.mailbox import Mailbox


async def test_order_and_waiting():
    """First in, first out; a reader waits."""
    box: Mailbox[int] = Mailbox(10, 100)
    task = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put(1)
    assert box.offer(2, 5)
    assert (await task, await box.get()) == (1, 2)


async def test_a_reader_that_gives_up_loses_nothing():
    """Cancelled while waiting, the next reader gets the item."""
    box: Mailbox[int] = Mailbox(10, 100)
    task = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    box.put(1)
    assert await box.get() == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20))))
def test_what_waits_is_bounded(steps):
    """At most three items and twenty bytes are ever taken by `offer`; reading makes room again."""
    box: Mailbox[int] = Mailbox(3, 20)
    waiting: list[int] = []
    for read, size in steps:
        if read and waiting:
            assert asyncio.run(box.get()) == waiting.pop(0)
        elif not read:
            fits = len(waiting) < 3 and sum(waiting) + size <= 20
            assert box.offer(size, size) is fits
            waiting += [size] if fits else []
