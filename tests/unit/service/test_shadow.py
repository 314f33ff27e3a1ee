"""Shadow: it finds what backtest finds, records what differs within its rate, and no judge makes the gateway notice anything."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import OperatorError, StoreError
from lictor.model.ids import PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.record import ShadowDiffered, decode_entry
from lictor.policy.compile import compile_files
from lictor.ports import Batch, Receipt
from lictor.service.evidence import shadow as module
from lictor.service.evidence.backtest import Backtest
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.shadow import (
    A_MINUTE,
    AT_ONCE,
    REFILL_MS,
    SORTS,
    Counts,
    Range,
    Shadow,
    Sorts,
    range_of,
)
from lictor.testing.clock import ManualClock
from recorded_world import (
    ASKED,
    FETCH,
    POLICY,
    READ,
    STRANGER,
    WRITE,
    Step,
    TrafficWorld,
    compiled,
    drive,
    world_bundle,
)

BUNDLE = world_bundle()
LOOSE = world_bundle(POLICY.replace("context.destination.external", "false"))
STEPS: list[Step] = [READ, FETCH, STRANGER, WRITE, ASKED, STRANGER]


class Judge:
    """Judges in this process, unless it is told to do something else."""

    def __init__(self, world: TrafficWorld, bundle: Any = LOOSE) -> None:
        self._world, self._revision = world, bundle.revision
        self._backtest = Backtest(world.store, compile_files, compiled(bundle))
        self.wrong: list[Callable[[int], Any]] = []
        self.size = 0
        self.closed = False

    async def judge(self, start: int) -> Range:
        self.size = self._world.store.size()
        if self.wrong:
            found = self.wrong.pop(0)(start)
            return await found if asyncio.iscoroutine(found) else found
        return range_of(self._backtest, self._world.store, self._revision, start)

    async def close(self) -> None:
        self.closed = True


def shadow(world: TrafficWorld, judge: Judge, said: list[str] | None = None, start: int = 0) -> Shadow:
    async def keep(counts: Counts, last: bool) -> None:
        assert isinstance(counts, Counts)
        assert last in {True, False}

    heard = said if said is not None else []
    return Shadow(
        store=world.store, clock=world.clock, judge=judge, start=start, say=heard.append, keep=keep, every_s=0.001
    )


def recorded(world: TrafficWorld) -> list[ShadowDiffered]:
    found = (decode_entry(entry.data).record for entry in world.store.entries())
    return [record for record in found if isinstance(record, ShadowDiffered)]


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.002)


async def run(one: Shadow, happened: Callable[[], bool]) -> None:
    """Run it until something has happened."""
    job = asyncio.create_task(one.run())
    try:
        await until(happened)
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


def test_it_records_what_backtest_finds() -> None:
    """Each difference once, with both answers and who made them; nothing where the bundle is the same."""
    world = drive(BUNDLE, STEPS)
    judge = Judge(world)
    one = shadow(world, judge)
    asyncio.run(run(one, lambda: one.counts.judged > 6))
    found = recorded(world)
    assert [(r.action, r.was, r.was_policies, r.outcome, r.policies) for r in found] == [
        ("fs/fetch", "deny", ("leaks",), "allow", ("reads",)),
        ("fs/fetch", "deny", ("leaks",), "allow", ("reads",)),
    ]
    assert len({r.request for r in found}) == 2
    assert one.counts.recorded == one.counts.differed == world.backtest(LOOSE).different == 2
    assert judge.closed
    assert list(inconsistencies(world.store.entries())) == []
    same = drive(BUNDLE, STEPS)
    other = shadow(same, Judge(same, BUNDLE))
    asyncio.run(run(other, lambda: other.counts.judged > 6))
    assert recorded(same) == []


def test_it_begins_where_it_is_told() -> None:
    """What was decided before the gateway started is for backtest."""
    world = drive(BUNDLE, STEPS)
    one = shadow(world, Judge(world), start=world.store.size())
    asyncio.run(one.step())
    assert (one.counts.judged, recorded(world)) == (0, [])


def test_a_comparison_with_a_decision_that_never_was_is_inconsistent() -> None:
    """`log verify` says so of a record that somebody made up."""
    world = drive(BUNDLE, STEPS)
    one = shadow(world, Judge(world))
    asyncio.run(run(one, lambda: one.counts.judged > 6))
    entries = [entry for entry in world.store.entries() if b'"decision.made"' not in entry.data]
    assert sum("not made on it" in wrong.message for wrong in inconsistencies(entries)) == 2


def _dies(_: int) -> Any:
    raise OperatorError(Reason.INTERNAL, "it died")


def _defect(_: int) -> Any:
    raise ZeroDivisionError


def _refuses(start: int) -> Range:
    return Range(at=start, size=start, refused="policies/x.cedar:1: no")


def _back(_: int) -> Range:
    return Range(at=0, size=10_000_000, revision=PolicyRevision("sha256:x"))


async def _slow(start: int) -> Range:
    await asyncio.sleep(0.05)
    return Range(at=start, size=start, revision=PolicyRevision("sha256:x"))


@pytest.mark.parametrize("wrong", [_dies, _defect, _refuses, _slow, _back])
def test_it_goes_on_after_whatever_a_judge_does(wrong: Any) -> None:
    """Trouble is said once and counted; what comes after it is judged."""
    world, said = drive(BUNDLE, STEPS), []
    judge = Judge(world)
    judge.wrong = [wrong] * 3
    one = shadow(world, judge, said)

    async def scene() -> None:
        job = asyncio.create_task(one.run())
        await until(lambda: not judge.wrong)
        before = one.counts.judged
        await world.step(STRANGER)
        await until(lambda: one.counts.judged > before)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)

    asyncio.run(scene())
    assert recorded(world)[-1].action == "fs/fetch"
    assert len(said) == (1 if wrong in {_dies, _defect, _refuses} else 0)
    assert one.counts.trouble == ""


def test_a_store_that_cannot_record_loses_no_difference() -> None:
    """It is recorded when it can be; nothing is judged twice meanwhile."""
    world = drive(BUNDLE, STEPS)
    commit, refused = world.store.commit, [0]

    async def full(batch: Batch) -> Receipt:
        if isinstance(batch.records[0], ShadowDiffered) and refused[0] < 3:
            refused[0] += 1
            raise StoreError(Reason.CANNOT_RECORD, "disk full")
        return await commit(batch)

    world.store.commit = full  # type: ignore[method-assign]
    one = shadow(world, Judge(world))
    asyncio.run(run(one, lambda: bool(recorded(world))))
    assert refused[0] == 3
    assert len(recorded(world)) == one.counts.differed == 2


def test_what_is_too_far_behind_is_skipped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log may grow faster than anybody judges: work stays bounded."""
    world = drive(BUNDLE, STEPS)
    monkeypatch.setattr(module, "BEHIND", 5)
    backtest = Backtest(world.store, compile_files, compiled(LOOSE))
    found = range_of(backtest, world.store, LOOSE.revision, 0)
    assert (found.skipped, found.at) == (world.store.size() - 5, world.store.size())
    one = shadow(world, Judge(world))
    asyncio.run(one.step())
    assert one.counts.skipped == found.skipped


DIFFERENCE = ShadowDiffered(
    request="req", decision="dec", task="task", agent="a", action="x/y", was="deny", was_reason="forbidden", revision="r",
    outcome="allow", reason="permitted",
)  # type: ignore[arg-type]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50_000)), max_size=300))
def test_the_rate_is_bounded_and_nothing_goes_uncounted(steps: list[tuple[int, int]]) -> None:
    """Of one sort, of all sorts; what has no record of its own is in the `more` of the next, or still to come."""
    sorts, now = Sorts(), 0
    taken: list[tuple[int, str, int]] = []
    asked: dict[str, int] = {}
    for which, later in steps:
        now += later
        agent = f"a{which}"
        asked[agent] = asked.get(agent, 0) + 1
        made = sorts.take(msgspec.structs.replace(DIFFERENCE, agent=agent), now)
        if made is not None:
            taken.append((now, agent, 1 + made.more))
    for agent, count in asked.items():
        mine = [(at, n) for at, who, n in taken if who == agent]
        assert sum(n for _, n in mine) <= count
        for begin, _ in mine:
            within = sum(1 for at, _ in mine if begin <= at < begin + REFILL_MS)
            assert within <= AT_ONCE + 1
    for begin, _, _ in taken:
        assert sum(1 for at, _, _ in taken if begin <= at < begin + REFILL_MS) <= 2 * A_MINUTE
    for agent, count in asked.items():
        now += 2 * REFILL_MS
        made = sorts.take(msgspec.structs.replace(DIFFERENCE, agent=agent), now)
        assert made is not None
        assert sum(n for _, who, n in taken if who == agent) + 1 + made.more == count + 1


def test_made_up_names_do_not_fill_the_memory() -> None:
    """An agent may ask for anything."""
    sorts = Sorts()
    made = [sorts.take(msgspec.structs.replace(DIFFERENCE, action=f"x/{n}"), n) for n in range(SORTS + 500)]
    assert sum(one is not None for one in made) == A_MINUTE
    assert len(sorts._sorts) == SORTS


def test_the_clock_may_step_back() -> None:
    """A rate that was known for a later time does not stop for good."""
    sorts, clock = Sorts(), ManualClock(10**12)
    for _ in range(AT_ONCE):
        assert sorts.take(DIFFERENCE, clock.now_ms()) is not None
    assert sorts.take(DIFFERENCE, 10**12 - 10**9) is None
    assert sorts.take(DIFFERENCE, 10**12 + REFILL_MS) is not None
