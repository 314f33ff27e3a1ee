"""Work over a log in several processes: consecutive ranges, each read by a process of its own, the results in their order.

Every process opens the log for reading only. It refuses to know what the work is: it is handed a function that opens it, once
in each process, and its results are put together by whoever asked.
"""

import argparse
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lictor.model.errors import CallerError, LictorError, OperatorError, StoreError
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.service.calls.traffic import Wanted

_R = TypeVar("_R")
Work = Callable[["Wanted", Callable[[int], None] | None], _R]
"""(which range, told how many entries were read) -> what it showed."""
Opener = Callable[[], AbstractContextManager[Work[_R]]]
"""Opens the work in a process; picklable: a function of a module with `functools.partial`."""

MAX_JOBS: Final = 64
_SHORTEST: Final = 1_000
_LONGEST: Final = 5_000
"""Entries of one range: a second's work or so, so that the bar moves and an interrupt is not waited for."""
_RANGES_A_JOB: Final = 4
_AHEAD: Final = 4
"""Ranges handed out for each process at a time: what waits in memory does not grow with the log."""


def range_options(parser: argparse.ArgumentParser) -> None:
    """`--from`, `--to` and `--jobs`."""
    parser.add_argument(
        "--from", dest="start", type=int, default=0, metavar="SEQ", help="from this entry of the log on"
    )
    parser.add_argument("--to", dest="stop", type=int, metavar="SEQ", help="up to this entry, and not that one")
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")


def bounds_of(args: argparse.Namespace, size: int) -> tuple[int, int]:
    """The entries that `--from` and `--to` name, of a log of that size; all of it where a command has no such options.

    Raises:
        CallerError: they are no entries, or not in this order.
    """
    start, stop = getattr(args, "start", 0), getattr(args, "stop", None)
    if start < 0 or (stop is not None and stop < start):
        raise CallerError(Reason.INVALID_ARGUMENTS, "--from and --to are entries of the log, in this order")
    start = min(start, size)
    return start, size if stop is None else min(stop, size)


def jobs_of(wanted: int | None) -> int:
    """How many processes; None asks for one for each core this process may use.

    Raises:
        CallerError: out of bounds.
    """
    if wanted is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(MAX_JOBS, cores)
    if not 1 <= wanted <= MAX_JOBS:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"--jobs is 1 to {MAX_JOBS}")
    return wanted


def ranges_of(size: int, jobs: int, start: int = 0) -> list[tuple[int, int]]:
    """Consecutive ranges of a log: several for each process, so that none waits long for the last."""
    length = min(_LONGEST, max(_SHORTEST, -(-(size - start) // (jobs * _RANGES_A_JOB))))
    return [(at, min(size, at + length)) for at in range(start, size, length)] or [(start, start)]


def over_ranges(opener: Opener[_R], wanted: "Wanted", jobs: int, on_progress: Callable[[int], None]) -> Iterator[_R]:
    """What each range showed, in the order of the log.

    A log of one range, and `jobs` of one, are read in this process.

    Args:
        opener: opens the work, in each process once.
        wanted: what to look at, from `start` to `stop`, which is known.
        jobs: processes at most.
        on_progress: told how many entries have been read of those wanted.

    Raises:
        LictorError: what the work raised; nothing more is started then.
        StoreError: `internal`: a process died.
    """
    start = wanted.start
    ranges = ranges_of(wanted.stop or 0, jobs, start)
    jobs = min(jobs, len(ranges))
    if jobs == 1:
        with opener() as work:
            for one, end in ranges:
                yield work(replace(wanted, start=one, stop=end), lambda at: on_progress(max(0, at - start)))
        return
    yield from _in_processes(opener, [replace(wanted, start=one, stop=end) for one, end in ranges], jobs, on_progress)


def _in_processes(
    opener: Opener[_R], ranges: list["Wanted"], jobs: int, on_progress: Callable[[int], None]
) -> Iterator[_R]:
    context = multiprocessing.get_context("spawn")  # a fork would share the store's threads and files
    waiting: dict[Future[Any], int] = {}
    found: dict[int, Any] = {}
    given = told = read = 0
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_remember, initargs=(opener,)) as pool:
        try:
            while told < len(ranges):
                while given < len(ranges) and given - told < jobs * _AHEAD:
                    waiting[pool.submit(_work, ranges[given])] = given
                    given += 1
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    index = waiting.pop(future)
                    found[index] = _result(future)
                    read += (ranges[index].stop or 0) - ranges[index].start
                    on_progress(read)
                while told in found:
                    yield found.pop(told)
                    told += 1
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# -- inside a process ----------------------------------------------------------------------------------------------------

_here: dict[str, Any] = {}
"""What this process has open."""


def _remember(opener: Opener[Any]) -> None:
    """Before the first range: what fails here could only break the pool, so nothing is opened yet."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told as well, and ends us
    _here["opener"] = opener


def _work(wanted: "Wanted") -> Any:
    """One range. Our errors do not travel between processes as they are."""
    try:
        if "work" not in _here:
            _here["open"] = contextlib.ExitStack()
            _here["work"] = _here["open"].enter_context(_here["opener"]())
        return _here["work"](wanted, None)
    except LictorError as error:
        raised = StoreError if isinstance(error, StoreError) else OperatorError
        return partial(raised, error.reason, error.message, remedy=error.remedy)


def _result(future: Future[Any]) -> Any:
    try:
        found = future.result()
    except BrokenProcessPool:
        message = "a process that read the log died"
        raise StoreError(Reason.INTERNAL, message, remedy="try --jobs 1; if memory is short, fewer --jobs") from None
    if isinstance(found, partial):
        raise found()
    return found
