"""The kill switch, the revocation epoch and the clock: gateways that watch, as `lictor serve` runs them, under load."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from adversarial.expectations import phrase, require
from adversarial.model import Observed, Unreadable, Word
from adversarial.run import Run, precondition, verb
from adversarial.world import World
from lictor.model.approval import HoldStatus
from lictor.model.containment import Scope
from lictor.model.reasons import Reason
from lictor.model.record import ContainmentLaid, ExecutionEnded
from lictor.service.containment.contain import Killed

Match = re.Match[str]
BOUND_S = 2.0
"""Facts R4: the last effect on any gateway."""
P99_S = 1.0
READ = "github.list_issues"
WRITE = "fs.write_file"
DAY_MS = 86_400_000


@contextlib.asynccontextmanager
async def watched(world: World) -> AsyncIterator[None]:
    """Every gateway watches the store, as a serving one does, and minds the steps of its clock."""
    jobs = []
    for gateway in world.gateways:
        gateway.runtime.guard._elapsed = time.monotonic
        gateway.runtime.guard.arm()
        await gateway.runtime.revoke.look()
        jobs.append(asyncio.create_task(gateway.runtime.revoke.run()))
    try:
        yield
    finally:
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)


async def kill(world: World, scope: Scope, target: str) -> Killed:
    """Pull the plug, at the first gateway."""
    house = world.main.house
    return await house.contain.kill(
        scope, target, by="test:operator", why="a case", agents=house.policy.current().agents
    )


@precondition(
    r"kill switch on agent \w+ under \d+ req/s on \d+ gateways",
    r"kill switch while one gateway is partitioned from the database",
    r"global kill, then gateway restart",
    r"long stream open \(SSE/subscription\) when revoked",
    r"clock jumps \+1 day / -1 day \(libfaketime\)",
    r"limits, kill switch, policy of tenant A do not touch tenant B",
)
async def nothing_to_prepare(run: Run, match: Match) -> None:
    """What has to be so is made by the verb."""


@verb("kill", "id", "load", "gateways", "partition", "scope", "tenant", durable=True)
async def pull(run: Run, step: dict[str, Any]) -> Observed:
    """Pull the plug on an agent, or on everything."""
    if "tenant" in step:
        return await _beside(run, str(step["tenant"]), str(step["load"]))
    if "partition" in step:
        return await _partitioned(run)
    if "scope" in step:
        if step["scope"] != "all":
            raise Unreadable(f"no scope: {step['scope']!r}")
        before = await run.world.call(READ, {})
        killed = await kill(run.world, Scope.EVERYTHING, "")
        seen = await run.world.call(READ, {})
        return Observed(
            word=seen.word, reason=seen.reason, facts={"before": before.word, "laid": killed.containment.id}
        )
    return await _under_load(run, str(step["id"]), int(step["load"]))


async def _under_load(run: Run, agent: str, load: int) -> Observed:
    """Calls at a steady rate over all gateways, a write under way on each, and the plug pulled in the middle."""
    world = run.world
    session = await world.new_session(agent)
    allowed: list[float] = []
    waits = asyncio.Event()

    async def one(number: int) -> None:
        seen = await world.call(READ, {}, session=session, gateway=number % len(world.gateways))
        if seen.word is Word.ALLOW:
            allowed.append(time.monotonic())

    async with watched(world):
        for gateway in range(len(world.gateways)):
            await world.call(WRITE, {"path": "/srv/ws/a", "text": "x"}, session=session, gateway=gateway)
        begun, world.servers.wait = len(world.servers.effects), waits
        writes = [
            asyncio.create_task(world.call(WRITE, {"path": f"/srv/ws/{n}", "text": "x"}, session=session, gateway=n))
            for n in range(len(world.gateways))
        ]
        while len(world.servers.effects) < begun + len(writes):
            await asyncio.sleep(0.01)
        world.servers.wait = None
        calls, number, at, end = [], 0, 0.0, time.monotonic() + 1.6
        killed: Killed | None = None
        while time.monotonic() < end:
            calls.append(asyncio.create_task(one(number)))
            number += 1
            if killed is None and time.monotonic() > end - 1.0:
                killed = await kill(world, Scope.AGENT, agent)
                at = time.monotonic()
            await asyncio.sleep(1 / load)
        assert killed is not None
        became = await world.main.house.contain.outcomes(killed)
        told = [seen.reason for seen in await asyncio.gather(*writes)]
        await asyncio.gather(*calls)
    waits.set()
    return Observed(
        facts={
            "late": sorted(moment - at for moment in allowed if moment > at),
            "before": sum(moment <= at for moment in allowed),
            "listed": sorted((call.action, call.outcome) for call in became if call.action == "fs/write_file"),
            "told": told,
            "calls": number,
        }
    )


async def _partitioned(run: Run) -> Observed:
    """Two gateways; the second one's view of the store never comes back from the moment of the kill on."""
    world = run.world
    if len(world.gateways) < 2:
        world.gateways.append(world._gateway())
        world.gateways[1].house.policy.swap(world.main.house.policy.current())
    cut = world.gateways[1].runtime.revoke
    never: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def hangs(_: Any) -> Any:
        return await never

    mine, other = await world.new_session("A1"), await world.new_session("A2", "bob")
    async with watched(world):
        before = await world.call(READ, {}, session=mine, gateway=1)
        cut._probe.look = hangs  # type: ignore[method-assign]
        at = time.monotonic()
        await kill(world, Scope.AGENT, "A1")
        last_mine, last_other = 0.0, 0.0
        while time.monotonic() < at + BOUND_S + 0.5:
            if (await world.call(READ, {}, session=mine, gateway=1)).word is Word.ALLOW:
                last_mine = time.monotonic() - at
            if (await world.call(READ, {}, session=other, gateway=1)).word is Word.ALLOW:
                last_other = time.monotonic() - at
            await asyncio.sleep(0.02)
        killed = await world.call(READ, {}, session=mine, gateway=1)
        cut_off = await world.call(READ, {}, session=other, gateway=1)
        beside = await world.call(READ, {}, session=other, gateway=0)
    return Observed(
        word=killed.word,
        reason=killed.reason,
        facts={
            "before": before.word,
            "last": (last_mine, last_other),
            "cut_off": cut_off.reason,
            "beside": beside.word,
        },
    )


async def _beside(run: Run, tenant: str, load: str) -> Observed:
    """Owners are the tenants here: A1's is stopped, with a limit of its own used up, while A2's goes on."""
    world = run.world
    mine, theirs = await world.new_session("A1"), await world.new_session("A2", "bob")
    async with watched(world):
        before = [(await world.call(READ, {}, session=one)).word for one in (mine, theirs)]
        owner = world.main.house.policy.current().agents["A1"].owner  # type: ignore[index]
        calls = [asyncio.create_task(world.call(READ, {}, session=theirs)) for _ in range(20)]
        await kill(world, Scope.OWNER, owner)
        calls += [asyncio.create_task(world.call(READ, {}, session=theirs)) for _ in range(20)]
        found = {seen.word for seen in await asyncio.gather(*calls)}
        stopped = await world.call(READ, {}, session=mine)
    return Observed(facts={"before": before, "theirs": found, "stopped": stopped.reason, "tenants": (tenant, load)})


@verb("restart", durable=True)
async def restart(run: Run, step: dict[str, Any]) -> Observed:
    """The gateway anew, on the same log; the agent calls again."""
    world = run.world
    await world.restart()
    async with watched(world):
        return await world.call(READ, {}, session=await world.session())


@verb("stream+revoke", durable=True)
async def stream(run: Run, step: dict[str, Any]) -> Observed:
    """A subscription stands open while its agent is killed."""
    world = run.world
    session = await world.new_session("A1")
    async with watched(world):
        listening = asyncio.create_task(
            world.request(session, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        )
        await asyncio.sleep(1.0)
        stood = not listening.done()
        at = time.monotonic()
        await kill(world, Scope.AGENT, "A1")
        async with asyncio.timeout(2 * BOUND_S):
            seen = await listening
        seen.facts |= {"stood": stood, "cut_s": time.monotonic() - at}
    return seen


@verb("clock", "jump", durable=True)
async def jump(run: Run, step: dict[str, Any]) -> Observed:
    """The gateway's wall clock jumps; an approval that ran out, and a task that lives, are tried after each jump."""
    world, guard = run.world, run.world.main.runtime.guard
    facts: dict[str, Any] = {"expired": [], "ahead": [], "after": [], "fresh": []}
    async with watched(world):
        session = await world.new_session("A1")
        held = await world.hold("old", session=session)
        await world.approve(held)
        _pass_by(world, 601_000)  # the approval's ten minutes
        facts["expired"].append((await world.redeem(held)).word)
        facts["status"] = world.store.hold(held.hold).status
        for text in step["jump"]:
            by = _days(text) * DAY_MS
            world.clock.advance(by)
            facts["expired"].append((await world.redeem(held)).word)
            facts["ahead"].append((await world.call(READ, {}, session=session)).reason)
            facts["fresh"].append(guard.fresh)
            await asyncio.sleep(0.25)
            world.clock.advance(-by)
            facts["after"].append((await world.call(READ, {}, session=session)).word)
        facts["alerts"] = [line for line in world.operator if "clock" in line]
    return Observed(facts=facts)


def _pass_by(world: World, ms: int) -> None:
    """Time that really goes by, for the guard, too."""
    guard = world.main.runtime.guard
    before = guard._elapsed
    assert before is not None
    world.clock.advance(ms)
    guard._elapsed = lambda: before() + ms / 1_000


def _days(text: str) -> int:
    match = re.fullmatch(r"([+-]\d+)d", text)
    if match is None:
        raise Unreadable(f"no jump: {text!r}")
    return int(match[1])


# -- what is expected --------------------------------------------------------------------------------------------------


@phrase(r"last ALLOW <= bound \(p99 1 s\) after the commit")
async def last_allow(run: Run, seen: Observed, match: Match) -> None:
    late = seen.facts["late"]
    require(seen.facts["before"] > 20, f"there was no load: {seen.facts['before']} calls before the kill")
    require(not late or late[-1] <= BOUND_S, f"the last ALLOW came {late[-1:]} s after the commit")
    require(len(late) < 2 or late[int(0.99 * len(late))] <= P99_S, "the 99th percentile is late")
    laid = [record for record in run.records() if isinstance(record, ContainmentLaid)]
    require(len(laid) == 1, "the kill is no record of its own")


@phrase(r"in-flight writes listed")
async def writes_listed(run: Run, seen: Observed, match: Match) -> None:
    count = len(run.world.gateways)
    listed = seen.facts["listed"]
    require(listed == [("fs/write_file", "indeterminate")] * count, f"listed: {listed}")
    require(set(seen.facts["told"]) == {"contained"}, f"their clients were told {seen.facts['told']}")
    ended = [r for r in run.records() if isinstance(r, ExecutionEnded) and r.reason == Reason.CONTAINED]
    require(len(ended) >= count, "what became of them is not recorded")


@phrase(r"gw2 denies at the latest after its lease \(e\.g\. 2 s\) runs out")
async def lease_runs_out(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(facts["before"] is Word.ALLOW, "it did not work before")
    require(max(facts["last"]) <= BOUND_S, f"the last ALLOW of the partitioned one: {facts['last']}")
    require(seen.word is Word.DENY, seen.summary())
    require(facts["cut_off"] == Reason.STATE_UNCONFIRMED, f"others on it: {facts['cut_off']}")
    require(facts["beside"] is Word.ALLOW, "the gateway beside it is stopped, too")


@phrase(r"still killed after restart")
async def still_killed(run: Run, seen: Observed, match: Match) -> None:
    first, last = seen.facts["steps"]
    require(first.facts["before"] is Word.ALLOW, "it did not work before")
    for one in (first, last):
        require(one.word is Word.DENY, one.summary())
        require(one.reason == Reason.CONTAINED, one.summary())


@phrase(r"stream cut within the bound")
async def stream_cut(run: Run, seen: Observed, match: Match) -> None:
    require(seen.facts["stood"], "the stream did not stand")
    require(seen.facts["cut_s"] <= BOUND_S, f"cut after {seen.facts['cut_s']:.1f} s")
    require(seen.reason == Reason.CONTAINED, seen.summary())


@phrase(r"no expired grant becomes valid")
async def stays_expired(run: Run, seen: Observed, match: Match) -> None:
    require(Word.ALLOW not in seen.facts["expired"], f"an expired approval: {seen.facts['expired']}")
    require(seen.facts["status"] is HoldStatus.EXPIRED, f"it is {seen.facts['status']}")
    require(not any(effect.name == "transfer" for effect in run.effects()), "the transfer was made")


@phrase(r"no mass expiry without alert")
async def no_silent_expiry(run: Run, seen: Observed, match: Match) -> None:
    require(set(seen.facts["ahead"]) == {Reason.CLOCK_UNSOUND.value}, f"during a jump: {seen.facts['ahead']}")
    require(set(seen.facts["after"]) == {Word.ALLOW}, f"after it: {seen.facts['after']}")
    require(seen.facts["alerts"], "nobody was told")


@phrase(r"monotonic for durations")
async def monotonic(run: Run, seen: Observed, match: Match) -> None:
    require(all(seen.facts["fresh"]), "a jump of the wall clock ended the lease")


@phrase(r"B unaffected")
async def untouched(run: Run, seen: Observed, match: Match) -> None:
    facts = seen.facts
    require(facts["before"] == [Word.ALLOW, Word.ALLOW], f"before: {facts['before']}")
    require(facts["theirs"] == {Word.ALLOW}, f"B: {facts['theirs']}")
    require(facts["stopped"] == Reason.CONTAINED, f"A: {facts['stopped']}")
