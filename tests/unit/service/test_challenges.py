"""Challenges: one purpose, two minutes, once; nothing is kept for those who only ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.service.people.challenges import LIFE_MS, Challenges
from lictor.stores.ids import RandomIds
from lictor.testing.clock import ManualClock


def made(clock: ManualClock | None = None) -> Challenges:
    return Challenges(clock or ManualClock(), RandomIds())


def refused(challenges: Challenges, stamp: str, *about: str) -> Reason | None:
    try:
        challenges.again(stamp, *about)
    except CallerError as error:
        return error.reason
    return None


def test_the_same_comes_again_and_is_spent_once() -> None:
    """For the same purpose and stamp."""
    challenges = made()
    one = challenges.issue("sign in", "browser")
    assert len(one.value) == 32
    assert challenges.again(one.stamp, "sign in", "browser") == one.value
    challenges.spend(one.value)
    assert refused(challenges, one.stamp, "sign in", "browser") is Reason.PASSKEY_CHALLENGE
    with pytest.raises(CallerError):
        challenges.spend(one.value)


@given(st.lists(st.text(max_size=4), max_size=3), st.lists(st.text(max_size=4), max_size=3))
def test_other_purposes_have_other_challenges(left: list[str], right: list[str]) -> None:
    """However the words are cut: `a`, `bc` is not `ab`, `c`. (Control: joined they would meet.)"""
    challenges = made()
    stamp = challenges.issue(*left).stamp
    assert (challenges.again(stamp, *left) == challenges.again(stamp, *right)) is (left == right)


class Joined(Challenges):
    """A build that joins the words."""

    def _value(self, stamp: str, about: tuple[str, ...]) -> bytes:
        return super()._value(stamp, ("".join(about),))


def test_joined_words_would_meet() -> None:
    """The control of the property above."""
    challenges = Joined(ManualClock(), RandomIds())
    stamp = challenges.issue("a", "bc").stamp
    assert challenges.again(stamp, "ab", "c") == challenges.again(stamp, "a", "bc")


@pytest.mark.parametrize(("after", "good"), [(0, True), (LIFE_MS - 1, True), (LIFE_MS, False), (-1, False)])
def test_it_lasts_two_minutes(after: int, good: bool) -> None:
    """And is refused where the clock went back behind it."""
    clock = ManualClock()
    challenges = made(clock)
    stamp = challenges.issue("x").stamp
    clock.advance(after)
    assert (refused(challenges, stamp, "x") is None) is good


@pytest.mark.parametrize("stamp", ["", ".", "1", "1700000000000", "x.y", "-1.y", "1_7.y", "１.y", "1" * 81 + ".y"])
def test_what_is_no_stamp(stamp: str) -> None:
    """Is refused."""
    assert refused(made(), stamp, "x") is Reason.PASSKEY_CHALLENGE


def test_an_invented_stamp_gives_what_nobody_has_seen() -> None:
    """It is not refused by itself: no signature can fit."""
    challenges, others = made(), made()
    one = challenges.issue("x")
    assert others.again(one.stamp, "x") != one.value
    moment = one.stamp.partition(".")[0]
    assert challenges.again(f"{moment}.invented", "x") != one.value


def test_asking_costs_nothing_and_answers_are_forgotten() -> None:
    """After their time."""
    clock = ManualClock()
    challenges = made(clock)
    for _ in range(1_000):
        challenges.issue("x")
    assert challenges._spent == {}
    for _ in range(10):
        challenges.spend(challenges.issue("x").value)
    clock.advance(LIFE_MS)
    challenges.spend(challenges.issue("x").value)
    assert len(challenges._spent) == 1
