"""Behavioural signals: whatever they say and whenever they come, they restrict or do nothing."""

import math
import re
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import NoSetup, Observed, Word
from adversarial.run import Run, precondition, verb
from lictor.model.containment import Restriction
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, FindingOpened, SignalObserved, SignalRefused

Match = re.Match[str]
RULES = """\
[signals.safe]
at_least = 1.0
lay = "step_up"

[signals.anomaly]
at_least = 0.9
lay = "step_up"
"""
NEEDED = """
[signals.scanner]
at_least = 0.9
lay = "step_up"
effects = ["write"]
needed = true
"""
GARBAGE: tuple[Any, ...] = (
    math.nan,
    math.inf,
    -math.inf,
    -0.1,
    -1,
    1.0001,
    "0.1",
    "low",
    None,
    True,
    [0.1],
    {"score": 0},
)


async def _rules(run: Run, text: str = RULES) -> None:
    await run.world.deploy({**run.world.files, "signals.toml": text.encode()})


async def observe(run: Run, kind: str, score: Any, *, request: str | None = None) -> None:
    """A detector tells the gateway about the session's task."""
    session = await run.world.session()
    await run.world.main.house.signals.observe(
        session.task.id,
        kind,
        score,
        source="test:detector",
        request=request,  # type: ignore[arg-type]
    )


@precondition(r"classifier says safe=(?P<score>[\d.]+) for a forbidden call")
async def praised(run: Run, match: Match) -> None:
    """A kind of signal that says how safe something is."""
    await _rules(run)


@precondition(r"anomaly=(?P<score>[\d.]+) for an allowed read")
async def suspected(run: Run, match: Match) -> None:
    """The read runs in a task about which nothing is known."""
    await _rules(run)
    alone = await run.world.call("fs.read_file", {"path": "/srv/ws/a"}, session=await run.world.new_session())
    if alone.word is not Word.ALLOW:
        raise NoSetup(f"the read by itself: {alone.summary()}")


@precondition(r"signal service down / returns NaN / negative / string")
async def garbled(run: Run, match: Match) -> None:
    """One rule needs a signal before anything is written, another does not."""
    await _rules(run, RULES + NEEDED)


@precondition(r"signal arrives after the decision")
async def late_rules(run: Run, match: Match) -> None:
    """The kind is known."""
    await _rules(run)


@verb("signal.late")
async def late(run: Run, step: dict[str, Any]) -> Observed:
    """A read that runs, then a signal about exactly this request, then the read again."""
    first = await run.world.call("fs.read_file", {"path": "/srv/ws/a"})
    made = run.decisions()[-1]
    await observe(run, "anomaly", 1.0, request=made.request)
    again = await run.world.call("fs.read_file", {"path": "/srv/ws/b"})
    return Observed(facts={"first": first, "again": again, "made": made})


async def garbage(run: Run) -> Observed:
    """Every kind of nonsense, then a read and a write; then a proper signal, and the write again."""
    refused = 0
    for score in GARBAGE:
        for kind in ("anomaly", "scanner"):
            try:
                await observe(run, kind, score)
            except CallerError:
                refused += 1
    read = await run.world.call("fs.read_file", {"path": "/srv/ws/a"})
    write = await run.world.call("fs.write_file", {"path": "/srv/ws/a"})
    why = _last(run)
    await observe(run, "scanner", 0.0)
    after = await run.world.call("fs.write_file", {"path": "/srv/ws/b"})
    return Observed(facts={"refused": refused, "read": read, "write": write, "why": why, "after": after})


def _last(run: Run) -> str:
    """Why the last decision came out as it did; what an agent is told of a hold says no more than that it is one."""
    return run.decisions()[-1].reason


@phrase(r"signal may only tighten \(HOLD\) by an explicit policy rule")
async def tightened(run: Run, seen: Observed, match: Match) -> None:
    require(seen.word is Word.HOLD, seen.summary())
    require(run.decisions()[0].reason == Reason.CONTAINED, f"held for {run.decisions()[0].reason}")


@phrase(r"policy decides")
async def decided(run: Run, seen: Observed, match: Match) -> None:
    """Without the rule the same signal changes nothing."""
    files = {name: data for name, data in run.world.files.items() if name != "signals.toml"}
    await run.world.deploy(files)
    free = await run.world.call("fs.read_file", {"path": "/srv/ws/other"})
    require(free.word is Word.ALLOW, f"without a rule: {free.summary()}")


@phrase(r"separate record")
async def own_record(run: Run, seen: Observed, match: Match) -> None:
    require(any(isinstance(record, SignalObserved) for record in run.records()), "there is no record of the signal")


@phrase(r"investigation opened")
async def opened(run: Run, seen: Observed, match: Match) -> None:
    findings = [record for record in run.records() if isinstance(record, FindingOpened)]
    require([finding.restriction for finding in findings] == [Restriction.STEP_UP], f"{findings}")


@phrase(r"treated as absent")
async def absent(run: Run, seen: Observed, match: Match) -> None:
    refused = [record for record in run.records() if isinstance(record, SignalRefused)]
    require(seen.facts["refused"] == len(refused) == 2 * len(GARBAGE), f"{len(refused)} refused of {2 * len(GARBAGE)}")
    require(seen.facts["read"].word is Word.ALLOW, f"the read: {seen.facts['read'].summary()}")


@phrase(r"never as low risk")
async def not_low(run: Run, seen: Observed, match: Match) -> None:
    """A proper low score is what lets the write through; nonsense did not."""
    require(seen.facts["after"].word is Word.ALLOW, f"with a real low score: {seen.facts['after'].summary()}")
    require(seen.facts["write"].word is not Word.ALLOW, "nonsense was taken for a low score")


@phrase(r"if a rule needs it -> HOLD/DENY")
async def needed(run: Run, seen: Observed, match: Match) -> None:
    write = seen.facts["write"]
    require(write.word in {Word.HOLD, Word.DENY}, write.summary())
    require(seen.facts["why"] == Reason.CONTAINED, f"the write was refused for {seen.facts['why']}")


@phrase(r"decision unchanged")
async def unchanged(run: Run, seen: Observed, match: Match) -> None:
    made = [record for record in run.records() if isinstance(record, DecisionMade)]
    require(seen.facts["first"].word is Word.ALLOW and made[0] == seen.facts["made"], "the first decision changed")


@phrase(r"future decisions tightened")
async def tighter(run: Run, seen: Observed, match: Match) -> None:
    again = seen.facts["again"]
    require(again.word is Word.HOLD and _last(run) == Reason.CONTAINED, again.summary())


@phrase(r"both records linked")
async def linked(run: Run, seen: Observed, match: Match) -> None:
    signals = [record.signal for record in run.records() if isinstance(record, SignalObserved)]
    require([signal.request for signal in signals] == [seen.facts["made"].request], f"{signals}")
