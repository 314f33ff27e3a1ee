"""The bar: on a terminal only, never too often, gone at the end, and true about share, rate and what is left."""

import io

import pytest

from lictor.cli.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Watch:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_nothing_is_drawn_where_nobody_looks():
    """A pipe gets nothing, and a terminal gets nothing under `--json`."""
    for out, quiet in ((io.StringIO(), False), (Terminal(), True)):
        with Progress(out, "verifying", 10, quiet=quiet) as bar:
            bar.update(5)
        assert out.getvalue() == ""


def test_share_rate_and_time_left():
    """A quarter after ten seconds: thirty are left; then it is taken away."""
    out, watch = Terminal(), Watch()
    bar = Progress(out, "verifying", 40_000, clock=watch)
    watch.now += 10
    bar.update(10_000)
    shown = out.getvalue().removeprefix("\r\x1b[K")
    assert shown == "verifying [######..................]  25%  1.0k/s  30 s left"
    bar.done()
    bar.done()
    assert out.getvalue() == f"\r\x1b[K{shown}\r\x1b[K"


@pytest.mark.parametrize(("total", "later"), [(None, 5_000), (0, 5_000), (None, 500_000)])
def test_without_a_whole_there_is_no_share(total, later):
    """Count and rate; a whole that turns out later counts from then on."""
    out, watch = Terminal(), Watch()
    bar = Progress(out, "copying", total, clock=watch)
    watch.now += 1
    bar.update(2_500_000)
    assert out.getvalue().endswith("copying 2,500,000  2.5M/s")
    watch.now += 1
    bar.update(later // 2, total=later)
    assert " 50%" in out.getvalue()


def test_it_is_drawn_ten_times_a_second_at_most():
    """However often it is told."""
    out, watch = Terminal(), Watch()
    bar = Progress(out, "replaying", 1_000, clock=watch)
    for done in range(1_000):
        watch.now += 0.001
        bar.update(done)
    assert 9 <= out.getvalue().count("replaying") <= 11


def test_an_error_takes_the_bar_away():
    """What is said next begins at the left."""
    out, watch = Terminal(), Watch()
    bar = Progress(out, "verifying", 10, clock=watch)

    def fails():
        with bar:
            bar.update(1)
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fails()
    assert out.getvalue().endswith("\r\x1b[K")


def test_more_than_the_whole_is_the_whole():
    """A log that grew while it was read: never more than all of it, never less than nothing left."""
    out, watch = Terminal(), Watch()
    bar = Progress(out, "verifying", 10, clock=watch)
    watch.now += 1
    bar.update(20)
    assert "100%" in out.getvalue()
    assert "0 s left" in out.getvalue()
