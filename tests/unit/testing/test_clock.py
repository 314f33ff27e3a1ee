"""The clock set by hand."""

from lictor.testing.clock import ManualClock


def test_it_moves_only_when_told():
    """Forwards, backwards and to a moment."""
    clock = ManualClock(100)
    assert clock.now_ms() == clock.now_ms() == 100
    assert clock.advance(5) == clock.now_ms() == 105
    assert clock.advance(-10) == 95
    clock.set(7)
    assert clock.now_ms() == 7
