"""The system's clock: the only place that reads it. It refuses to know what the time is for.

The latest time that is known to have been is kept beside the log, so that a clock that was set back while nothing ran is found
out at the next start, also when nothing had been recorded for a while.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lictor.stores.private import replace_private

MARK_FILE: Final = "latest-time"

_BOOT: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


class SystemClock:
    """Wall time of this machine (`lictor.ports.Clock`), as far as it can be believed, once somebody says how far that is."""

    __slots__ = ("believed",)

    def __init__(self) -> None:
        """What the machine says, until `believed` is set."""
        self.believed: Callable[[], int] | None = None

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000 if self.believed is None else self.believed()

    def elapsed(self) -> float:
        """Seconds from some moment on, never set by anybody; they go on while the machine sleeps, where it can tell."""
        return time.monotonic() if _BOOT is None else time.clock_gettime(_BOOT)


def read_mark(folder: Path) -> int:
    """The latest time that was kept; 0 when none was, or none that can be read (then the newest record alone counts)."""
    try:
        text = (folder / MARK_FILE).read_text("ascii")
    except (OSError, UnicodeDecodeError):
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def write_mark(folder: Path, mark_ms: int) -> None:
    """Keep it.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    replace_private(folder / MARK_FILE, b"%d" % mark_ms)
