"""Runs one case: world, precondition, verbs, expectation, and what holds for every case. It knows no case."""

import asyncio
import json
import os
from collections.abc import Iterator
from typing import Any

import adversarial.phrases
import adversarial.preconditions
import adversarial.verbs  # noqa: F401 - importing them registers them
from adversarial import expectations, universal
from adversarial.model import Case, Failure, Unreadable, Verdict, Wrong
from adversarial.run import Run, check, nested, perform, prepare
from adversarial.world import World, opened
from lictor.model.errors import LictorError

TIMEOUT_S = float(os.environ.get("LICTOR_CASE_TIMEOUT", "60"))
"""One case; a release that runs more rounds of a race gives it more."""


def run_case(case: Case) -> Verdict:
    """Run a case to its verdict; never raises for what a case is about."""
    dialogue: list[str] = []
    failure: Failure | None = None
    try:
        asyncio.run(asyncio.wait_for(_each(case, dialogue), TIMEOUT_S))
    except Failure as error:
        failure = error
    except (
        AssertionError,
        LictorError,
        TimeoutError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OSError,
    ) as error:
        failure = Wrong(f"{type(error).__name__}: {error}")
    return Verdict(case, failure, dialogue)


async def _each(case: Case, dialogue: list[str]) -> None:
    """Each input is tried in a world of its own, and each must end as expected."""
    for step in case.steps:
        for one in nested(step):
            check(one)
    for text in expectations.clauses(case.expected):
        expectations.reader_of(text, f"{case.precondition}\n{case.expected}")
    for step in case.steps:
        await _one(case, step, dialogue)


async def _one(case: Case, step: dict[str, Any], dialogue: list[str]) -> None:
    inside = list(nested(step))
    durable = any(check(one).durable for one in inside)
    gateways = max(
        [2 if "fault" in one and one["op"] == "parallel" else 1 for one in inside]
        + [int(one.get("gateways", 3 if one["op"] == "spread" else 1)) for one in inside]
    )
    with opened(durable=durable) as world:
        await world.start(gateways=gateways)
        run = Run(world, case.precondition, [step])
        try:
            await world.session()
            await prepare(run)
            run.mark()
            seen = await perform(run, step)
            await expectations.judge(run, seen, case.expected)
            await universal.check(run)
        finally:
            dialogue.extend(world.dialogue)
            dialogue.extend(_log(world))
            await world.stop()


def _log(world: World) -> Iterator[str]:
    """The last records, for a failure's report."""
    try:
        entries = list(world.main.store.inner.entries())[-12:]
    except LictorError:
        return
    for entry in entries:
        yield f"   #{entry.seq} {json.loads(entry.data)['record']!r:.260}"


def unreadable(case: Case) -> Unreadable | None:
    """Why the runner cannot read a case, without running it; None when it can."""
    try:
        for step in case.steps:
            for one in nested(step):
                check(one)
        for text in expectations.clauses(case.expected):
            expectations.reader_of(text, f"{case.precondition}\n{case.expected}")
    except Unreadable as error:
        return error
    return None
