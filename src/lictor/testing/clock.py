"""A clock that moves only when it is told to."""


class ManualClock:
    """Time under a test's control (`lictor.ports.Clock`)."""

    __slots__ = ("_now_ms",)

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since the epoch, as last set."""
        return self._now_ms

    def advance(self, ms: int) -> int:
        """Move by so many milliseconds, backwards too (clocks do jump); the new time comes back."""
        self._now_ms += ms
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Jump to a moment."""
        self._now_ms = now_ms
