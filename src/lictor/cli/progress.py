"""A bar for work that takes its time: how much is done, how fast, how long it will still take.

On standard error, and only when that is a terminal, so that pipes and files never see it. It refuses to know what is done.
"""

import time
from collections.abc import Callable
from shutil import get_terminal_size
from types import TracebackType
from typing import Final, Self, TextIO

_EVERY_S: Final = 0.1
"""Time between two drawings: more is only flicker."""
_BAR: Final = 24
_CLEAR: Final = "\r\x1b[K"
_MINUTE: Final = 60
_HOUR: Final = 3_600
_THOUSAND: Final = 1_000
_MILLION: Final = 1_000_000


class Progress:
    """One bar. `update` costs a comparison as long as nothing is drawn; nothing is drawn where nobody looks.

    As a context it takes the bar away at its end, whatever happens.
    """

    __slots__ = ("_begun", "_clock", "_drawn", "_next", "_out", "_shown", "_total", "_what")

    def __init__(
        self,
        out: TextIO,
        what: str,
        total: int | None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin; nothing is drawn yet.

        Args:
            out: where to draw, as a rule `sys.stderr`.
            what: one word for people (`verifying`).
            total: how much there is to do; None or 0: nobody knows, and only count and rate are shown.
            quiet: draw nothing, as with `--json`.
            clock: seconds, never going back.
        """
        self._out = out
        self._what = what
        self._total = total or 0
        self._clock = clock
        self._shown = not quiet and out.isatty()
        self._drawn = False
        self._begun = self._next = clock()

    def update(self, done: int, total: int | None = None) -> None:
        """So much is done, all in all; `total` where it turns out only now."""
        if not self._shown:
            return
        self._total = total or self._total
        now = self._clock()
        if now < self._next:
            return
        self._next = now + _EVERY_S
        self._drawn = True
        width = max(20, get_terminal_size().columns - 1)
        self._out.write(_CLEAR + _line(self._what, done, self._total, now - self._begun)[:width])
        self._out.flush()

    def done(self) -> None:
        """Take the bar away. Idempotent."""
        if self._drawn:
            self._drawn = False
            self._out.write(_CLEAR)
            self._out.flush()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Take the bar away."""
        self.done()


def _line(what: str, done: int, total: int, spent_s: float) -> str:
    """The bar as text: share, rate and time left where the whole is known, else count and rate."""
    rate = done / spent_s if spent_s > 0 else 0.0
    speed = f"{_number(rate)}/s" if rate else ""
    if not total:
        return f"{what} {done:,}  {speed}".rstrip()
    share = min(1.0, done / total)
    filled = int(share * _BAR)
    left = f"{_span(max(0, total - done) / rate)} left" if rate else ""
    bar = "#" * filled + "." * (_BAR - filled)
    return "  ".join(part for part in (f"{what} [{bar}] {share:4.0%}", speed, left) if part)


def _number(value: float) -> str:
    if value >= _MILLION:
        return f"{value / _MILLION:.1f}M"
    return f"{value / _THOUSAND:.1f}k" if value >= _THOUSAND else f"{value:.0f}"


def _span(seconds: float) -> str:
    if seconds >= _HOUR:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _MINUTE:.0f} min" if seconds >= 2 * _MINUTE else f"{seconds:.0f} s"
