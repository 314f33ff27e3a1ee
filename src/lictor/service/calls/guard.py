"""Whether this process may act at all: it knows the newest state, and the time.

The revocation epoch is a lease: every read of the newest state renews it, counted from when the read *began*, by a monotonic
clock. Past it nothing starts and nothing is sent, whatever the last known state allowed. A wall clock that is behind the newest
record, or that jumped, cannot say what has expired; then nothing runs either.

It refuses to know stores, tasks and calls.
"""

import time
from collections.abc import Callable

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.ports import Clock

SETTLE_S = 30.0
"""A step forward that lasts so long is the right time after all: somebody set a clock that was wrong. A glitch is shorter, and
nothing was recorded meanwhile that would make everything after it look old."""


class Guard:
    """Fails closed: once armed, nothing passes before the first confirmation."""

    def __init__(
        self,
        clock: Clock,
        *,
        lease_s: float,
        skew_s: float,
        mark_ms: int = 0,
        stopwatch: Callable[[], float] = time.monotonic,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """Not armed yet.

        Args:
            clock: wall time, which is not believed.
            lease_s: seconds that a confirmation is good for (`limits.epoch_lease_s`).
            skew_s: seconds (`limits.clock_skew_s`).
            mark_ms: the latest time that is known to have been.
            stopwatch: seconds, monotonic; for the lease.
            elapsed: seconds, monotonic, that go on while the machine sleeps; for steps of the wall clock. None: not looked for.
        """
        self._clock = clock
        self._lease_s = lease_s
        self._skew_ms = int(skew_s * 1_000)
        self._stopwatch = stopwatch
        self._elapsed = elapsed
        self._confirmed: float | None = None
        self._mark_ms = mark_ms
        self._base: tuple[int, float] | None = None
        self._stepped: tuple[int, float] | None = None
        self._refused = ""
        self.armed = False

    @property
    def mark_ms(self) -> int:
        """The latest time that is known to have been: of a record, or of our own clock while it was believed."""
        return self._mark_ms

    def now_ms(self) -> int:
        """The time as far as it is believed (`ports.Clock`): a step forward that has not lasted is left out.

        For all that goes on while nothing passes: an outcome on record with the time of a glitch would make every right time
        after it look old, and a task that expires in a glitch would end for nothing.
        """
        wall = self._clock.now_ms()
        if self._elapsed is None or self._base is None:
            return wall
        due = self._base[0] + int((self._elapsed() - self._base[1]) * 1_000)
        return due if wall - due > self._skew_ms else wall

    def arm(self) -> None:
        """From now on nothing passes without a confirmation."""
        self.armed = True

    def confirm(self, began: float, newest_ms: int) -> None:
        """The newest state was read.

        Args:
            began: by the stopwatch, before the read was begun: what was committed after it was perhaps not seen.
            newest_ms: time of the newest record.
        """
        if self._confirmed is None or began > self._confirmed:
            self._confirmed = began
        self._mark_ms = max(self._mark_ms, newest_ms)

    @property
    def age_s(self) -> float:
        """Seconds since the last confirmation; infinite before the first."""
        return float("inf") if self._confirmed is None else self._stopwatch() - self._confirmed

    @property
    def fresh(self) -> bool:
        """Whether the lease runs."""
        return not self.armed or 0 <= self.age_s <= self._lease_s

    @property
    def sound(self) -> bool:
        """Whether `check` would pass: what readiness says."""
        return self.fault() == ""

    def fault(self) -> str:
        """Why nothing passes now, for the operator; empty when it does."""
        try:
            self.check()
        except StoreError as error:
            return error.message
        return ""

    def to_tell(self) -> str:
        """Why nothing passes now, or did not pass since this was asked last: a glitch of the clock is over soon, and was one."""
        now = self.fault()
        refused, self._refused = self._refused, ""
        return now or refused

    def check(self) -> None:
        """Pass, or refuse.

        Raises:
            StoreError: `state_unconfirmed`: the lease has run out; `clock_unsound`: the time cannot be believed.
        """
        if not self.armed:
            return
        if not self.fresh:
            raise StoreError(
                Reason.STATE_UNCONFIRMED,
                f"the newest state was not confirmed for {self._lease_s:g} s",
                remedy="look at the state folder; it goes on by itself when the store answers",
            )
        fault = self._time_fault()
        if fault:
            self._refused = fault
            raise StoreError(Reason.CLOCK_UNSOUND, fault, remedy="set the machine's clock right")

    def _time_fault(self) -> str:
        """What is wrong with the wall clock; empty when it can be believed (then the mark moves on)."""
        wall = self._clock.now_ms()
        behind = self._mark_ms - wall
        if behind > self._skew_ms:
            return f"the clock is {behind / 1_000:.0f} s behind the newest record"
        stepped = self._step(wall)
        if stepped:
            return stepped
        self._mark_ms = max(self._mark_ms, wall)
        return ""

    def _step(self, wall: int) -> str:
        """A step forward: nothing of it is believed until it has lasted (`SETTLE_S`)."""
        if self._elapsed is None:
            return ""
        now = self._elapsed()
        if self._base is None:
            self._base = (wall, now)
            return ""
        ahead = wall - self._base[0] - int((now - self._base[1]) * 1_000)
        if abs(ahead) <= self._skew_ms:
            # Small differences are a clock being slewed; they do not add up.
            self._base, self._stepped = (wall, now), None
            return ""
        if ahead < 0:
            # What has expired meanwhile stays expired: the time that must have been counts, until the clock has reached it.
            self._mark_ms = max(self._mark_ms, wall - ahead)
            self._base = (wall - ahead, now)
            return f"the clock stepped by {ahead / 1_000:+.0f} s"
        if self._stepped is None or abs(self._stepped[0] - ahead) > self._skew_ms:
            self._stepped = (ahead, now)
        if now - self._stepped[1] < SETTLE_S:
            return f"the clock stepped by {ahead / 1_000:+.0f} s"
        self._base, self._stepped = (wall, now), None
        return ""
