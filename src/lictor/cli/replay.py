"""`lictor replay`: decide every recorded request again, from its record, and compare bit for bit."""

import argparse
import asyncio
import sys
from collections import Counter

from lictor.cli.main import common
from lictor.cli.output import Exit, Out, safe


def add(_: str, parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay; exit 1 when any decision differs or cannot be rebuilt."""
    from lictor.app import bundle_path, open_house
    from lictor.service.replay import ReplayStatus

    out = Out(as_json=args.json)
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    counts: Counter[str] = Counter()
    faults = []
    try:
        total = house.store.size()
        for one in house.replay()(on_progress=lambda done: _progress(out, done, total)):
            counts[one.status.value] += 1
            if one.status in {ReplayStatus.DIFFERENT, ReplayStatus.BROKEN}:
                faults.append(one)
    finally:
        house.close()
    if sys.stderr.isatty() and not args.json:
        print("\r\x1b[K", end="", file=sys.stderr)
    decisions = sum(counts.values())
    out.data({"decisions": decisions, **counts, "faults": [{"seq": f.seq, "detail": f.detail} for f in faults]})
    for fault in faults[:20]:
        out.line(out.bad(f"#{fault.seq} {safe(fault.action)}: {fault.status.value}: {safe(fault.detail)}"))
    erased = f", {counts['erased']} erased and not replayable" if counts["erased"] else ""
    late = f", {counts['late']} denied for being late" if counts["late"] else ""
    verdict = out.bad("differ") if faults else out.good("identical")
    out.line(
        f"{decisions} decisions replayed: {counts['identical']} {verdict if not faults else 'identical'}{late}{erased}"
    )
    if faults:
        out.line(f"{len(faults)} {verdict}")
    return Exit.NO if faults else Exit.OK


def _progress(out: Out, done: int, total: int) -> None:
    if not out.as_json and sys.stderr.isatty() and (done % 500 == 0 or done == total):
        share = done * 30 // max(1, total)
        print(f"\rreplaying [{'#' * share:<30}] {done}/{total}", end="", file=sys.stderr)
