"""`lictor replay`: decide every recorded request again, from its record, and compare bit for bit."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe
from lictor.cli.progress import Progress
from lictor.cli.ranges import bounds_of, jobs_of, over_ranges, range_options
from lictor.cli.span import filters, wanted_of

if TYPE_CHECKING:
    from lictor.cli.ranges import Work
    from lictor.service.evidence.replay import ReplayReport

_SHOWN: Final = 20
"""Faults that people are shown; `--json` has more."""


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.description = (
        "Decide every recorded request again, with the bundle and the facts of then, and compare outcome, reason, policies and "
        "the digest of the facts. Exit code 0 if all are identical, 1 if any differs or cannot be rebuilt."
    )
    common(parser)
    filters(parser)
    range_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay; exit 1 when any decision differs or cannot be rebuilt."""
    from lictor.app import bundle_path, open_house
    from lictor.service.evidence.replay import merged

    out, jobs = Out(as_json=args.json), jobs_of(args.jobs)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        size, path = house.store.size(), house.state / "log.db"
    finally:
        house.close()
    start, stop = bounds_of(args, size)
    with Progress(sys.stderr, "replaying", stop - start, quiet=args.json) as bar:
        report = merged(over_ranges(partial(opened, path), wanted_of(args, start, stop), jobs, bar.update))
    _show(out, report)
    return Exit.NO if report.faulty else Exit.OK


@contextlib.contextmanager
def opened(path: Path) -> Iterator["Work[ReplayReport]"]:
    """Replaying a log, in this process.

    Raises:
        StoreError: it cannot be read.
    """
    from lictor.policy.compile import compile_files
    from lictor.service.calls.traffic import Wanted
    from lictor.service.evidence.replay import Replay, counted
    from lictor.stores.reader import LogReader

    with LogReader(path) as log:
        replay = Replay(log, compile_files)

        def work(wanted: Wanted, on_progress: Callable[[int], None] | None) -> "ReplayReport":
            return counted(replay(wanted, on_progress=on_progress))

        yield work


def _show(out: Out, report: "ReplayReport") -> None:
    counts = report.counts
    faults = [
        {"seq": one.seq, "request": one.request, "status": one.status.value, "detail": one.detail}
        for one in report.faults
    ]
    out.data({"decisions": report.decisions, **counts, "faults": faults})
    for fault in report.faults[:_SHOWN]:
        out.line(out.bad(f"#{fault.seq} {safe(fault.action)}: {fault.status.value}: {safe(fault.detail)}"))
    if report.faulty > _SHOWN:
        out.line(out.dim(f"and {report.faulty - _SHOWN} more (--json lists the first {len(faults)})"))
    erased = f", {counts['erased']} erased and not replayable" if counts["erased"] else ""
    late = f", {counts['late']} denied for being late" if counts["late"] else ""
    identical = "identical" if report.faulty else out.good("identical")
    out.line(f"{report.decisions} decisions replayed: {counts['identical']} {identical}{late}{erased}")
    if report.faulty:
        out.line(f"{report.faulty} {out.bad('differ')}")
