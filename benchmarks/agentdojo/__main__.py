"""`python -m benchmarks.agentdojo`: every row, both ways, written to benchmarks/results/agentdojo.md and .json."""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.agentdojo import jobs, report
from benchmarks.agentdojo.contracts import ROWS
from benchmarks.agentdojo.pairs import Pair, Row
from benchmarks.agentdojo.people import APPROVERS
from benchmarks.agentdojo.suites import SUITES, VARIANTS

RESULTS = Path(__file__).resolve().parents[1] / "results"
GATEWAY_ROWS = ("no contract", "from the prompt")
WORKERS = 3


def rows() -> Iterator[tuple[str, str, str]]:
    """(contract, approver, variant) of every row, the control first."""
    yield jobs.NOBODY, "none", "resume"
    for contract in ROWS:
        for approver in APPROVERS:
            yield contract, approver, "resume"
    for variant in VARIANTS[1:]:
        for contract in GATEWAY_ROWS:
            yield contract, "honest", variant


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--suites", nargs="*", default=list(SUITES), choices=SUITES)
    parser.add_argument("--no-gateway", action="store_true", help="only in process")
    asked = parser.parse_args()
    begin = time.monotonic()
    done, ways, seconds = measure(asked.suites, gateway=not asked.no_gateway)
    found = report.Found(
        rows=done,
        ways=ways,
        seconds=seconds,
        tried=jobs.adaptive(),
        drowned=jobs.drowned(),
        minutes=(time.monotonic() - begin) / 60,
    )
    print(report.markdown(found))
    if set(asked.suites) != set(SUITES):
        return  # a part is no result
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "agentdojo.md").write_text(report.markdown(found), "utf-8")
    (RESULTS / "agentdojo.json").write_text(json.dumps(report.data(found), indent=1, sort_keys=True) + "\n", "utf-8")


def measure(suites: Iterable[str], *, gateway: bool) -> tuple[list[Row], list[report.Ways], list[float]]:
    """Every row in process; then those of `GATEWAY_ROWS` again through the gateway, pair for pair."""
    wanted = list(suites)
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        asked = [jobs.Job(suite, *row) for row in rows() for suite in wanted]
        running = {job: pool.submit(jobs.run, job) for job in asked}
        again = [
            job
            for job in asked
            if gateway and (job.contract in GATEWAY_ROWS and job.variant == "resume" and job.approver == "honest")
        ]
        through = {job: pool.submit(jobs.run_gateway, job) for job in again}
        found = {}
        for job, future in running.items():
            found[job] = future.result()
            said(job, found[job])
        ways, seconds = [], list[float]()
        for job, gate in through.items():
            pairs, took = gate.result()
            seconds += took
            ways.append(report.compared(job, found[job], pairs))
            said(job, pairs)
    return list(gathered(found)), ways, seconds


def gathered(found: dict[jobs.Job, list[Pair]]) -> Iterator[Row]:
    """The jobs of one row together."""
    for contract, approver, variant in rows():
        row = Row(contract, approver, variant)
        for job, pairs in found.items():
            if (job.contract, job.approver, job.variant) == (contract, approver, variant):
                row.benign += [pair for pair in pairs if not pair.attack]
                row.attacked += [pair for pair in pairs if pair.attack]
        yield row


def said(job: jobs.Job, pairs: list[Pair]) -> None:
    """Progress."""
    won: Any = sum(pair.success for pair in pairs)
    print(
        f"{job.suite:10} {job.contract:16} {job.approver:7} {job.variant:8} {len(pairs)} runs, {won} attacks succeed",
        flush=True,
    )


if __name__ == "__main__":
    main()
