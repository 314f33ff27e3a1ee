"""The system's clock."""

import time

from lictor.stores.clock import SystemClock


def test_it_is_wall_time_in_milliseconds():
    """Between two readings of the system's own clock."""
    before = time.time_ns() / 1e6
    now = SystemClock().now_ms()
    assert type(now) is int
    assert before - 1 <= now <= time.time_ns() / 1e6 + 1
