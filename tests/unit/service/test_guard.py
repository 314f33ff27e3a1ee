"""The guard: a lease on the newest state, and a wall clock that is not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.service.calls.guard import SETTLE_S, Guard
from lictor.testing.clock import ManualClock

LEASE_S, SKEW_S = 1.5, 2.0
START_MS = 1_800_000_000_000


class World:
    """A machine: wall clock and monotonic time, each under the test's hand."""

    def __init__(self, guard: type[Guard] = Guard, mark_ms: int = 0) -> None:
        self.wall = ManualClock(START_MS)
        self.seconds = 0.0
        self.guard = guard(
            self.wall,
            lease_s=LEASE_S,
            skew_s=SKEW_S,
            mark_ms=mark_ms,
            stopwatch=lambda: self.seconds,
            elapsed=lambda: self.seconds,
        )
        self.guard.arm()

    def passes(self, seconds: float) -> None:
        """Time goes by, on both clocks."""
        self.seconds += seconds
        self.wall.advance(round(seconds * 1_000))

    def confirm(self) -> None:
        self.guard.confirm(self.seconds, 0)

    def refusal(self) -> Reason | None:
        """Why nothing passes; None: it passes."""
        try:
            self.guard.check()
        except StoreError as error:
            return error.reason
        return None


def test_nothing_passes_before_the_first_confirmation() -> None:
    """An armed guard that was never told anything refuses."""
    assert World().refusal() is Reason.STATE_UNCONFIRMED


def test_a_confirmation_lasts_one_lease() -> None:
    """It counts from when the read began, to the last instant of the lease and not longer."""
    world = World()
    world.confirm()
    world.passes(LEASE_S)
    assert world.refusal() is None
    world.passes(0.001)
    assert world.refusal() is Reason.STATE_UNCONFIRMED
    world.confirm()
    assert world.refusal() is None


def test_a_slow_read_confirms_what_was_true_when_it_began() -> None:
    """A read that took longer than the lease confirms nothing; an older one takes nothing back."""
    world = World()
    began = world.seconds
    world.passes(LEASE_S + 0.1)
    world.guard.confirm(began, 0)
    assert world.refusal() is Reason.STATE_UNCONFIRMED
    world.confirm()
    world.guard.confirm(began, 0)
    assert world.refusal() is None


@pytest.mark.parametrize("back_s", [2.1, 3_600, 86_400, START_MS / 1_000])
def test_a_step_back_refuses_until_the_time_has_come_again(back_s: float) -> None:
    """Whatever was expired stays expired."""
    world = World()
    world.confirm()
    assert world.refusal() is None
    world.wall.advance(-round(back_s * 1_000))
    assert world.refusal() is Reason.CLOCK_UNSOUND
    world.wall.advance(round(back_s * 1_000))
    assert world.refusal() is None


def test_a_step_back_after_a_long_rest_is_seen() -> None:
    """The time that must have been counts, though nothing was asked or recorded meanwhile."""
    world = World()
    world.confirm()
    assert world.refusal() is None
    world.passes(600)
    world.wall.advance(-540_000)  # still after everything that was ever seen
    world.confirm()
    assert world.refusal() is Reason.CLOCK_UNSOUND
    world.passes(SETTLE_S * 2)
    world.confirm()
    assert world.refusal() is Reason.CLOCK_UNSOUND


def test_records_from_later_refuse() -> None:
    """A process whose clock is behind the newest record is not ready."""
    world = World()
    world.guard.confirm(world.seconds, START_MS + 2_500)
    assert world.refusal() is Reason.CLOCK_UNSOUND
    assert not world.guard.sound
    world.passes(1.0)
    assert world.refusal() is None


def test_a_mark_that_was_kept_counts() -> None:
    """A process that starts behind the time that was kept refuses."""
    world = World(mark_ms=START_MS + 60_000)
    world.confirm()
    assert world.refusal() is Reason.CLOCK_UNSOUND


@pytest.mark.parametrize("ahead_s", [3, 86_400, 365 * 86_400])
def test_a_step_forward_waits_until_it_has_lasted(ahead_s: int) -> None:
    """A glitch changes nothing; a right time that was set is believed after half a minute."""
    world = World()
    world.confirm()
    assert world.refusal() is None
    world.wall.advance(ahead_s * 1_000)
    assert world.refusal() is Reason.CLOCK_UNSOUND
    world.wall.advance(-ahead_s * 1_000)
    assert world.refusal() is None
    world.wall.advance(ahead_s * 1_000)
    assert world.refusal() is Reason.CLOCK_UNSOUND
    for _ in range(int(SETTLE_S)):
        world.passes(1.0)
        world.confirm()
        world.refusal()
    assert world.refusal() is None


def test_a_glitch_does_not_make_the_right_time_look_old() -> None:
    """What was refused as too early is not remembered as having been."""
    world = World()
    world.confirm()
    assert world.refusal() is None
    world.wall.advance(86_400_000)
    assert world.refusal() is Reason.CLOCK_UNSOUND
    assert world.guard.mark_ms <= START_MS


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.floats(0, 5)),
        st.tuples(st.just("jump"), st.floats(-200_000, 200_000)),
        st.tuples(st.just("confirm"), st.just(0.0)),
    ),
    max_size=40,
)


def believed_again(steps: list[tuple[str, float]], guard: type[Guard]) -> bool:
    """Whether the wall clock is ever believed at a time more than the skew before one at which it was believed."""
    world, latest = World(guard), 0
    for step, amount in steps:
        match step:
            case "pass":
                world.passes(amount)
            case "jump":
                world.wall.advance(round(amount * 1_000))
            case _:
                world.confirm()
        if world.wall.now_ms() > 0 and world.refusal() is None:
            if world.wall.now_ms() < latest - SKEW_S * 1_000:
                return True
            latest = max(latest, world.wall.now_ms())
    return False


@given(STEPS)
def test_time_never_goes_back(steps: list[tuple[str, float]]) -> None:
    """However a clock jumps: no moment that has passed is believed to be still to come."""
    assert not believed_again(steps, Guard)


class Trusting(Guard):
    """Forgets what time it was."""

    def _time_fault(self) -> str:
        return ""


def test_a_guard_that_trusts_is_found_out() -> None:
    """Control: one that believes the wall clock goes back."""
    assert believed_again([("confirm", 0.0), ("jump", -10.0)], Trusting)


def test_an_unarmed_guard_lets_pass() -> None:
    """A command that serves nobody has no lease to keep."""
    guard = Guard(ManualClock(), lease_s=LEASE_S, skew_s=SKEW_S)
    guard.check()
    assert guard.sound


# -- the time that goes on record ----------------------------------------------------------------------------------------------


def test_a_glitch_is_on_no_record() -> None:
    """While a step forward has not lasted the time is what it must be without it; once it has, the wall is right."""
    world = World()
    world.confirm()
    assert world.refusal() is None
    world.wall.advance(86_400_000)
    assert world.guard.now_ms() == START_MS
    world.passes(1.0)
    assert world.guard.now_ms() == START_MS + 1_000
    world.confirm()
    assert world.refusal() is Reason.CLOCK_UNSOUND
    world.passes(SETTLE_S)
    world.confirm()
    assert world.refusal() is None
    assert world.guard.now_ms() == world.wall.now_ms()


@given(st.lists(st.tuples(st.floats(0, 40), st.floats(-100_000, 100_000)), max_size=12))
def test_no_record_is_ahead_of_a_time_that_was_right(steps: list[tuple[float, float]]) -> None:
    """Whatever the wall clock does: what is believed is the wall, or less; and when all pass, it is the wall."""
    world = World()
    for seconds, stepped in steps:
        world.passes(seconds)
        world.wall.advance(round(stepped * 1_000))
        assert world.guard.now_ms() <= world.wall.now_ms()
        world.confirm()
        if world.refusal() is None:
            assert abs(world.guard.now_ms() - world.wall.now_ms()) <= SKEW_S * 1_000


class Believes(Guard):
    """Control: takes every step for the time."""

    def now_ms(self) -> int:
        return self._clock.now_ms()


def test_control_a_guard_that_believes_everything_is_found_out() -> None:
    """The record of a glitch would make every right time after it look old."""
    for kind, ahead in ((Guard, False), (Believes, True)):
        world = World(kind)
        world.confirm()
        assert world.refusal() is None
        world.wall.advance(86_400_000)
        recorded = world.guard.now_ms()
        world.wall.advance(-86_400_000)
        world.guard.confirm(world.seconds, recorded)
        assert (world.refusal() is Reason.CLOCK_UNSOUND) is ahead
