"""The system's clock: the only place that reads it. It refuses to know what the time is for."""

import time


class SystemClock:
    """Wall time of this machine (`lictor.ports.Clock`)."""

    __slots__ = ()

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000
