"""What follows from an action alone is worked out once, for that action and nothing else."""

import gc

import pytest

from lictor.pdp.once import MAX_KEPT, Once


class Source:
    """Something an answer follows from."""


def test_it_is_worked_out_once():
    """The same action and the same sources: the same answer."""
    once, source, made = Once(), Source(), []
    for _ in range(3):
        assert once.of(("a",), (source,), lambda: made.append(1) or "answer") == "answer"
    assert made == [1]


@pytest.mark.parametrize("other", [(("b",), 0), (("a", ""), 0), (("a",), 1)])
def test_another_action_or_source_is_worked_out_anew(other):
    """By the action's digest, and by who the sources are, not by what they look like."""
    once, sources = Once(), [Source(), Source()]
    told, which = other
    assert once.of(("a",), (sources[0],), lambda: "one") == "one"
    assert once.of(told, (sources[which],), lambda: "two") == "two"
    assert once.of(("a",), (sources[0],), lambda: "three") == "one"


def test_a_source_that_is_gone_gives_its_identity_to_nobody():
    """It is held as long as its answer is: a new object never gets an old one's."""
    once = Once()
    for number in range(10 * MAX_KEPT):
        assert once.of(("a",), (Source(),), lambda number=number: number) == number
        gc.collect(0)


def test_what_raises_is_not_kept():
    """The next one tries again."""
    once = Once()
    with pytest.raises(ZeroDivisionError):
        once.of(("a",), (), lambda: 1 // 0)
    assert once.of(("a",), (), lambda: 1) == 1


def test_it_stays_bounded():
    """However many actions come by."""
    once = Once()
    for number in range(10 * MAX_KEPT):
        once.of((str(number),), (), lambda: None)
        assert len(once._kept) <= MAX_KEPT


def test_one_goes_for_one_that_comes():
    """The oldest; letting all go at once would make every so-manieth call wait for it."""
    once = Once()
    for number in range(MAX_KEPT + 1):
        once.of((str(number),), (), lambda number=number: number)
    assert once.of(("1",), (), lambda: "anew") == 1
    assert once.of((str(MAX_KEPT),), (), lambda: "anew") == MAX_KEPT
    assert once.of(("0",), (), lambda: "anew") == "anew"
