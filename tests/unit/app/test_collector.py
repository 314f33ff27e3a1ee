"""What is set aside costs no collection, and is freed once it is not needed any more."""

import gc
import time
import weakref

import pytest

from lictor.app.collector import set_aside


class Ring:
    """Something that only the collector can free."""

    def __init__(self):
        self.own = self


@pytest.fixture(autouse=True)
def afterwards():
    """As it was: the collector sees everything again."""
    yield
    gc.unfreeze()


def test_what_stays_is_not_looked_at_again():
    """A full collection beside many objects takes a fraction of what it takes with them."""
    kept = [[number] for number in range(300_000)]
    gc.collect()
    start = time.perf_counter()
    gc.collect()
    seen = time.perf_counter() - start
    set_aside()
    start = time.perf_counter()
    gc.collect()
    assert time.perf_counter() - start < seen / 3
    assert len(kept) == 300_000


def test_what_was_set_aside_is_freed_the_next_time():
    """A bundle that was replaced does not stay for ever, rings and all; without the next time it would."""
    ring = Ring()
    gone = weakref.ref(ring)
    set_aside()
    del ring
    gc.collect()
    assert gone() is not None
    set_aside()
    assert gone() is None
