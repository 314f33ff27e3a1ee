"""Work in several processes: in order, bounded, and whatever happens in one of them is said in one line."""

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from lictor.cli.ranges import over_ranges
from lictor.model.errors import CallerError, LictorError, OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.service.calls.traffic import Wanted

pytestmark = pytest.mark.timeout(120)


@contextlib.contextmanager
def opened(how: str) -> Iterator[Any]:
    """Work that shows its range and its process; or fails in a way."""
    if how == "cannot open":
        raise StoreError(Reason.LOG_DAMAGED, "no log", remedy="look")

    def work(wanted: Wanted, on_progress: Any) -> tuple[int, int | None, int]:
        if how == "dies" and wanted.start:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "refuses" and wanted.start:
            raise CallerError(Reason.INVALID_ARGUMENTS, "not this one")
        if on_progress is not None:
            on_progress(wanted.stop)
        return wanted.start, wanted.stop, os.getpid()

    yield work


def test_results_come_in_the_order_of_the_log() -> None:
    """Whoever was done first; the bar only grows, up to all that is wanted."""
    told: list[int] = []
    found = list(over_ranges(partial(opened, ""), Wanted(start=700, stop=40_123), 3, told.append))
    assert found[0][0] == 700
    assert found[-1][1] == 40_123
    assert all(one[1] == other[0] for one, other in pairwise(found))
    assert os.getpid() not in {pid for *_, pid in found}
    assert told == sorted(told)
    assert told[-1] == 40_123 - 700


def test_little_is_done_here() -> None:
    """A short log pays for no process."""
    told: list[int] = []
    assert list(over_ranges(partial(opened, ""), Wanted(start=5, stop=900), 8, told.append)) == [(5, 900, os.getpid())]
    assert told == [895]
    assert list(over_ranges(partial(opened, ""), Wanted(start=5, stop=5), 8, told.append)) == [(5, 5, os.getpid())]


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("cannot open", StoreError, "no log"),
        ("refuses", OperatorError, "not this one"),
        ("dies", StoreError, "a process that read the log died"),
    ],
)
def test_what_goes_wrong_in_a_process_is_said(how: str, error: type[LictorError], words: str) -> None:
    """With its reason, once; nothing hangs."""
    with pytest.raises(error, match=words):
        list(over_ranges(partial(opened, how), Wanted(stop=9_000), 2, lambda _: None))


def test_whoever_stops_early_waits_for_nobody() -> None:
    """An interrupt ends it with what is under way."""
    results = over_ranges(partial(opened, ""), Wanted(stop=400_000), 2, lambda _: None)
    assert next(results)[0] == 0
    results.close()  # type: ignore[attr-defined]
