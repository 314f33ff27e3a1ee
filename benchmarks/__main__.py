"""`python -m benchmarks`: measure, and write `benchmarks/results/`. Takes about five minutes; `--quick` one."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import (
    approvals,
    both_ends,
    client,
    decisions,
    history,
    hop,
    hot,
    replay,
    revocation,
    scrub,
    store,
    verify,
)
from benchmarks.machine import describe, jitter, sync_us
from benchmarks.stats import table

RESULTS = Path(__file__).parent / "results"
SECTIONS: dict[str, Callable[[int, float], tuple[str, dict[str, Any]]]] = {
    "hop": hop.run,
    "sdk": both_ends.run,
    "decide": decisions.run,
    "store": store.run,
    "client": client.run,
    "hot": hot.run,
    "scrub": scrub.run,
    "history": history.run,
    "revocation": revocation.run,
    "approvals": approvals.run,
    "replay": replay.run,
    "verify": verify.run,
}
METHOD = """\
Load comes from a second process on another core (hop on CPU 0, load and upstream on CPU 1), closed loop. All contenders are up at
the same time; their order is shuffled in every round; each cell is the median over rounds (min..max); ratios and bars are medians
of same-round ratios. Both sides run under SCHED_RR during a window where that is permitted, and rest as long after it. A probe
before each window measures how much of the core others take; a bad window is put off. One kilobyte of request. *hop CPU* is the
CPU time of the hop's process and threads, per call."""


def main() -> None:
    """Run the chosen sections and keep what they say, each in a file of its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few short rounds: for a look, not for the record")
    parser.add_argument("--only", action="append", choices=sorted(SECTIONS), default=[], help="a section; repeatable")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0, help="length of one window")
    args = parser.parse_args()
    rounds = args.rounds or (2 if args.quick else 5)
    seconds = args.seconds or (0.4 if args.quick else 0.75)
    RESULTS.mkdir(exist_ok=True)
    for name in args.only or SECTIONS:
        machine = {
            **describe(),
            "jitter probe": f"{100 * jitter():.1f} % lost",
            "one fdatasync": f"{sync_us():,.0f} us",
            "rounds": str(rounds),
            "window": f"{seconds:g} s",
        }
        start = time.perf_counter()
        text, data = SECTIONS[name](rounds, seconds)
        print(f"{text}\n({name}: {time.perf_counter() - start:.0f} s)\n", flush=True)
        (RESULTS / f"{name}.json").write_text(json.dumps({"machine": machine, **data}, indent=1) + "\n")
        page = [f"# {name}", "", METHOD, "", table(("Machine", ""), list(machine.items())), "", text]
        (RESULTS / f"{name}.md").write_text("\n".join(page).rstrip() + "\n")
    summarise()


def summarise() -> None:
    """All bars of all sections on one page."""
    rows = []
    for path in sorted(RESULTS.glob("*.json")):
        bars = json.loads(path.read_text()).get("bars", [])
        rows += [(path.stem, b["bar"], f"{b['measured']:g}", "**yes**" if b["met"] else "**no**") for b in bars]
    text = table(("Section", "Bar", "measured", "met"), rows)
    (RESULTS / "bars.md").write_text(f"# The bars\n\n{text}\n")


if __name__ == "__main__":
    main()
