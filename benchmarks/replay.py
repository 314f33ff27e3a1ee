"""Replay of a million recorded decisions: time, rate, memory, where the time goes, and how that compares with deciding live.

Some thousand decisions are made by the real services over the real store and timed: that is the live rate. Each then stands in the log
many times more, with ids of its own and a payload sealed anew: replay does the same work for each of them.
"""

import asyncio
import itertools
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from benchmarks.house import AGENT, CALLS, HUMAN, write_bundle
from benchmarks.machine import scratch
from benchmarks.stats import spread, table, verdict, verdicts
from benchmarks.wire import ARGUMENTS, DEFINITION, TOOL
from lictor.app import House, open_house
from lictor.cli.ranges import over_ranges
from lictor.cli.replay import opened
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import DecisionId, InstanceId, RequestId, ServerName
from lictor.model.record import DecisionMade, RequestReceived
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.model.task import Budget, Task
from lictor.pdp.decide import decide
from lictor.policy.compile import compile_files
from lictor.ports import Batch, Payload
from lictor.service.calls.authorize import Authorize, Granted
from lictor.service.calls.execute import Execute, Sent
from lictor.service.calls.recorded import rebuilt, received
from lictor.service.calls.traffic import Passed, Wanted, passed
from lictor.service.evidence.replay import Replay, ReplayReport, counted, merged
from lictor.stores.reader import LogReader

MANY, FEW = 1_000_000, 20_000
DISTINCT = 10_000
CALLERS = 64
PART = 8_000
"""Entries of the range that is timed on one core."""
RESULTS = Path(__file__).parent / "results"


def run(rounds: int, _: float) -> tuple[str, dict[str, Any]]:
    """Section `replay` of the report."""
    many = MANY if rounds > 2 else FEW
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        folder = Path(name)
        live = asyncio.run(_recorded(folder / "house", many))
        log = folder / "house" / ".lictor" / "log.db"
        alone = [_timed(log, PART * number, PART * (number + 1)) for number in range(max(2, rounds))]
        stages = _stages(log)
        whole = _whole(log, len(os.sched_getaffinity(0)))
    return _told(many, live, alone, stages, whole)


# -- the log -------------------------------------------------------------------------------------------------------------


async def _recorded(folder: Path, many: int) -> dict[str, float]:
    """A log of that many decisions; what making the real ones took."""
    write_bundle(folder, 1, 1, [DEFINITION])
    house = await open_house(folder)
    try:
        task = await house.tasks.open(
            agent=AGENT,
            human=HUMAN,
            purpose="measure",
            trusted_text="",
            ttl_s=7_200,
            budget=Budget(calls=CALLS),
            audience="local",
            by=HUMAN,
            token=False,
        )
        live = await _live(house, task.task)
        await _copied(house, many - DISTINCT)
        return live
    finally:
        house.close()


async def _live(house: House, task: Task) -> dict[str, float]:
    """Real decisions, each executed, by callers at the same time: seconds and CPU seconds a decision."""
    authorize = Authorize(
        store=house.store,
        policy=house.policy,
        clock=house.clock,
        ids=house.ids,
        limits=house.settings.limits,
        instance=InstanceId("bench"),
    )
    execute = Execute(store=house.store, clock=house.clock)
    offering = house.policy.current().offering(ActionKind.TOOL, "up", TOOL)
    pin = offering.entry.pin if offering is not None else None
    numbers = iter(range(DISTINCT))

    async def sent(_: SealedArguments) -> Sent:
        return Sent(body=b'{"content":[]}', is_error=False)

    async def caller() -> None:
        for _ in numbers:
            request = ActionRequest.make(
                id=RequestId(house.ids.new("req")),
                kind=ActionKind.TOOL,
                server=ServerName("up"),
                name=TOOL,
                arguments=SealedArguments.seal(dict(ARGUMENTS)),
                agent=task.agent,
                human=task.human,
                task=task.id,
            )
            outcome = await authorize(request, definition=pin)
            if not isinstance(outcome, Granted):
                raise TypeError(f"not allowed: {outcome!r:.300}")
            await execute(outcome.grant, sent)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await execute.drain()
    return {
        "wall_us": (time.perf_counter() - wall) / DISTINCT * 1e6,
        "cpu_us": (time.process_time() - cpu) / DISTINCT * 1e6,
    }


async def _copied(house: House, more: int) -> None:
    """So many more in the log: the real ones again and again, in their order, under new ids."""
    found = [(one, house.store.payload(one.decided.request)) for one in passed(house.store, Wanted())]
    again = _again([(one, sealed) for one, sealed in found if sealed is not None], more)
    waiting: list[Any] = []
    while part := list(itertools.islice(again, 500)):
        records = tuple(record for asked, made, _ in part for record in (asked, made))
        batch = Batch(at_ms=house.clock.now_ms(), records=records, payloads=tuple(sealed for *_, sealed in part))
        waiting.append(asyncio.ensure_future(house.store.commit(batch)))
        if len(waiting) == 8:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)


def _again(found: list[tuple[Passed, Payload]], more: int) -> Iterator[tuple[RequestReceived, DecisionMade, Payload]]:
    replace = msgspec.structs.replace
    for number, (one, sealed) in enumerate(itertools.islice(itertools.cycle(found), more)):
        if one.asked is None:
            raise TypeError("a decision without its request")
        request, decision = RequestId(f"{one.asked.request}.{number}"), DecisionId(f"{one.decided.decision}.{number}")
        yield (
            replace(one.asked, request=request),
            replace(one.decided, request=request, decision=decision),
            replace(sealed, request=request),
        )


# -- replaying it --------------------------------------------------------------------------------------------------------


def _timed(log: Path, start: int, stop: int) -> float:
    """CPU microseconds a decision, on one core."""
    with LogReader(log) as reader:
        replay = Replay(reader, compile_files)
        counted(replay(Wanted(start=start, stop=start + 200)))  # compiled
        begun = time.process_time()
        report = counted(replay(Wanted(start=start, stop=stop)))
        spent = time.process_time() - begun
    _check(report)
    return spent / report.decisions * 1e6


def _whole(log: Path, jobs: int) -> dict[str, float]:
    """Everything, in processes of their own, and a tenth of it for what memory a process takes."""
    found: dict[str, float] = {"jobs": jobs}
    with LogReader(log) as reader:
        size = reader.size()
    for name, stop in (("tenth", size // 10), ("whole", size)):
        begun, cpu = time.perf_counter(), _children()
        report = merged(over_ranges(partial(opened, log), Wanted(stop=stop), jobs, lambda _: None))
        found[f"{name}_s"], found[f"{name}_cpu_s"] = time.perf_counter() - begun, _children() - cpu
        found[f"{name}_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        _check(report)
        found[f"{name}_decisions"] = report.decisions
    return found


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _check(report: ReplayReport) -> None:
    if report.counts["identical"] != report.decisions or not report.decisions:
        raise ValueError(f"not identical: {report.counts}, {report.faults[:1]}")


def _stages(log: Path) -> dict[str, float]:
    """CPU microseconds a decision of each step, alone."""
    with LogReader(log) as reader:
        few = list(itertools.islice(passed(reader, Wanted()), 2_000))
        pairs = [(one.asked, one.decided) for one in few if one.asked is not None]
        sealed = [payload for one in few if (payload := reader.payload(one.decided.request)) is not None]
        requests = [rebuilt(asked, payload.arguments) for (asked, _), payload in zip(pairs, sealed, strict=True)]
        snapshots = [Snapshot.decode(payload.snapshot) for payload in sealed]
        revision = few[0].decided.revision
        pdp = compile_files(revision, reader.bundle(revision) or {})
        numbers = range(len(few))
        steps: dict[str, Callable[[int], object]] = {
            "read and unseal the payload": lambda n: reader.payload(few[n].decided.request),
            "rebuild the request, its digests": lambda n: received(rebuilt(pairs[n][0], sealed[n].arguments)),
            "decode the facts, their digest": lambda n: (
                Snapshot.decode(sealed[n].snapshot),
                snapshot_digest(sealed[n].snapshot),
            ),
            "decide": lambda n: decide(pdp, requests[n], snapshots[n]),
        }
        begun = time.process_time()
        for _ in itertools.islice(passed(reader, Wanted()), len(few)):
            pass
        found = {"read and decode the entries": (time.process_time() - begun) / len(few) * 1e6}
        for name, step in steps.items():
            begun = time.process_time()
            for number in numbers:
                step(number)
            found[name] = (time.process_time() - begun) / len(few) * 1e6
    return found


# -- the report ----------------------------------------------------------------------------------------------------------


def _served() -> dict[str, float]:
    """CPU microseconds a call of the whole gateway, records durable, as section `hop` measured it last; empty: never."""
    path = RESULTS / "hop.json"
    data = json.loads(path.read_text()) if path.exists() else {}
    found: dict[str, float] = {}
    for name, cells in data.get("samples", {}).items():
        for contender, values in cells.items() if isinstance(cells, dict) else ():
            if contender in {"durable", "sqlite"} and isinstance(values, dict) and values.get("hop_cpu_us"):
                found[name] = median(values["hop_cpu_us"])
    return found


def _told(
    many: int, live: dict[str, float], alone: list[float], stages: dict[str, float], whole: dict[str, float]
) -> tuple[str, dict[str, Any]]:
    cost = median(alone)
    rate = whole["whole_decisions"] / whole["whole_s"]
    rows = [
        ["deciding live: `Authorize` and `Execute` on SQLite, 64 callers, no HTTP", f"{live['cpu_us']:.0f}", ""],
        *[[f"a call of the whole gateway ({name})", f"{us:.0f}", f"{us / cost:.1f}"] for name, us in _served().items()],
        ["replay, one core", spread(alone), "1.0"],
    ]
    rows[0][2] = f"{live['cpu_us'] / cost:.1f}"
    bars = [
        verdict("decisions that replay identically", whole["whole_decisions"], many, at_least=True),
        verdict("replay >= 10x deciding live, per core (CPU)", live["cpu_us"] / cost, 10, at_least=True),
        verdict("memory of a process at the whole log, x a tenth of it", whole["whole_mib"] / whole["tenth_mib"], 1.2),
    ]
    text = [
        "## Replay",
        "",
        f"{many:,} recorded decisions: {DISTINCT:,} made by the real services, the others the same with ids of their own, sealed anew.",
        "",
        table(
            ("Processes", "decisions", "seconds", "decisions/s", "CPU us a decision", "MiB of the largest process"),
            [
                [
                    f"{whole['jobs']:.0f}",
                    f"{whole[f'{name}_decisions']:,.0f}",
                    f"{whole[f'{name}_s']:,.0f}",
                    f"{whole[f'{name}_decisions'] / whole[f'{name}_s']:,.0f}",
                    f"{whole[f'{name}_cpu_s'] / whole[f'{name}_decisions'] * 1e6:.0f}",
                    f"{whole[f'{name}_mib']:.0f}",
                ]
                for name in ("tenth", "whole")
            ],
        ),
        "",
        table(("CPU a decision", "us", "x replay"), rows),
        "",
        table(("Where the time of a replay goes", "us CPU"), [[name, f"{us:.1f}"] for name, us in stages.items()]),
        "",
        verdicts(bars),
        "",
    ]
    data = {"live": live, "replay_us": alone, "stages": stages, "whole": whole, "rate": rate}
    return "\n".join(text), {"samples": data, "bars": bars}
