"""The kill switch against real servers: what is under way ends, on every gateway, and stays ended (facts R4; REVO-01, -03, -05)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adversarial.wire import observe
from integration.stopping import Live, Stage, now_ns
from lictor.model.approval import HoldStatus
from lictor.model.containment import Restriction, Scope
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.task import Budget, TaskStatus
from lictor.service.containment.contain import Killed
from lictor.service.containment.revoke import Revoke

pytestmark = pytest.mark.timeout(120)

BAR_MS = 2_000
LONG_MS = 8_000


async def kill(live: Live, scope: Scope, target: str) -> Killed:
    """Pull the plug."""
    agents = live.house.policy.current().agents
    return await live.house.contain.kill(scope, target, by="os:op", why="a test", agents=agents)


async def killed_under_way(stage: Stage, scope: Scope, target: str | None) -> tuple[str, float, Live, TaskId]:
    """A long call, killed in the middle: (what its client was told, ms to its last effect, gateway, task)."""
    async with stage.gateway() as live:
        task, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", LONG_MS))
        await live.begun("long")
        at = now_ns()
        killed = await kill(live, scope, task if target is None else target)
        became = await live.house.contain.outcomes(killed)
        reason = await calling
        assert [call.action for call in became] == ["clock/tick"]
        assert [call.outcome for call in became] == ["indeterminate"]
        await live.runtime.calls.execute.drain()
        assert live.outcomes(task) == [("indeterminate", reason)]
        await asyncio.sleep(1.0)  # long enough for an effect that was not stopped
        return reason, stage.quiet("long", at), live, task


@pytest.mark.parametrize("manners", ["obeys", "ignores", "stubborn"])
async def test_a_call_under_way_ends_with_its_agent(tmp_path: Path, manners: str) -> None:
    """Whatever its server thinks of cancellations and signals, its effects end within the bar."""
    reason, late_ms, *_ = await killed_under_way(Stage(tmp_path, manners), Scope.AGENT, "coder")
    assert reason == "contained"
    assert late_ms <= BAR_MS


@pytest.mark.parametrize(
    ("scope", "target", "reason"),
    [
        (Scope.EVERYTHING, "", "contained"),
        (Scope.OWNER, "os:ann", "contained"),
        (Scope.SERVER, "clock", "contained"),
        (Scope.ACTION, "clock/tick", "contained"),
        (Scope.TASK, None, "task_closed"),
    ],
)
async def test_every_scope_reaches_what_is_under_way(
    tmp_path: Path, scope: Scope, target: str | None, reason: str
) -> None:
    """Each scope stops a call that goes through it."""
    told, late_ms, *_ = await killed_under_way(Stage(tmp_path, "ignores"), scope, target)
    assert told == reason
    assert late_ms <= BAR_MS


async def test_a_call_over_http_ends_with_its_connection(tmp_path: Path) -> None:
    """The connection is dropped, which is what cancels there."""
    stage = Stage(tmp_path, "obeys", http=True)
    async with stage.upstream():
        reason, late_ms, *_ = await killed_under_way(stage, Scope.AGENT, "coder")
    assert reason == "contained"
    assert late_ms <= BAR_MS


async def test_a_watcher_that_never_runs_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without looking the effects go on."""

    async def never(_: Revoke) -> None:
        await asyncio.Event().wait()

    stage = Stage(tmp_path, "ignores", limits="epoch_lease_s = 600.0")
    monkeypatch.setattr(Revoke, "run", never)
    async with stage.gateway() as live:
        _, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", 3_500))
        await live.begun("long")
        at = now_ns()
        await kill(live, Scope.AGENT, "coder")
        assert await calling == "permitted"
        assert stage.quiet("long", at) > BAR_MS


async def test_others_go_on(tmp_path: Path) -> None:
    """What does not go through the killed agent is not touched (ISOL-08)."""
    stage = Stage(tmp_path)
    async with stage.gateway() as live:
        _, mine = await live.task("coder")
        _, theirs = await live.task("other")
        calls = [
            asyncio.create_task(live.call(mine, "mine", LONG_MS)),
            asyncio.create_task(live.call(theirs, "theirs", 1_500)),
        ]
        await live.begun("mine")
        await live.begun("theirs")
        await kill(live, Scope.AGENT, "coder")
        assert [await call for call in calls] == ["contained", "permitted"]
        assert await live.call(theirs, "again") == "permitted"


async def test_nothing_starts_after_it(tmp_path: Path) -> None:
    """No call, no list and no server: not even one that is only asked what it offers."""
    stage = Stage(tmp_path)
    async with stage.gateway() as live:
        _, token = await live.task()
        assert await live.call(token, "before") == "permitted"
        await kill(live, Scope.AGENT, "coder")
        async with asyncio.timeout(3):
            while live.runtime.connections.of_tasks():
                await asyncio.sleep(0.02)
        assert await live.call(token, "after") == "contained"
        assert observe(await live.send(token, "tools/list", {})).reason == "contained"
        assert not live.runtime.connections.of_tasks()
        assert stage.effects("after") == []


async def test_a_release_lets_it_go_on(tmp_path: Path) -> None:
    """A person lifts it, and what policy allows runs again; the server is started anew."""
    async with Stage(tmp_path).gateway() as live:
        _, token = await live.task()
        assert await live.call(token, "one") == "permitted"
        killed = await kill(live, Scope.AGENT, "coder")
        assert await live.call(token, "two") == "contained"
        await live.house.contain.lift(killed.containment.id, by=HumanId("os:op"), why="looked at")
        assert await live.call(token, "three") == "permitted"


async def test_a_killed_task_takes_its_children_and_stays_closed(tmp_path: Path) -> None:
    """The tree falls, and a release does not raise it (DELG-09)."""
    stage = Stage(tmp_path)
    async with stage.gateway() as live:
        parent, _ = await live.task("coder")
        child = await live.house.delegate(
            parent, agent=AgentId("helper"), ttl_s=300, budget=Budget(calls=10), by="agent:coder"
        )
        calling = asyncio.create_task(live.call(child.token, "child", LONG_MS))
        await live.begun("child")
        at = now_ns()
        killed = await kill(live, Scope.TASK, parent)
        assert set(killed.tasks) == {parent, child.task.id}
        assert await calling == "task_closed"
        await live.house.contain.lift(killed.containment.id, by=HumanId("os:op"), why="looked at")
        assert await live.call(child.token, "again") in {"task_closed", "unauthenticated"}
        state = live.house.store.task(child.task.id)
        assert state is not None
        assert state.status is TaskStatus.CLOSED
        assert stage.quiet("child", at) <= BAR_MS


async def test_what_waits_for_people_is_not_asked_any_more(tmp_path: Path) -> None:
    """The hold is closed in the log, and the call that waits is answered."""
    async with Stage(tmp_path).gateway() as live:
        _, token = await live.task()
        calling = asyncio.create_task(live.call(token, "held", tool="peek"))
        async with asyncio.timeout(10):
            while not live.house.store.holds(pending_only=True):
                await asyncio.sleep(0.02)
        killed = await kill(live, Scope.AGENT, "coder")
        assert len(killed.holds) == 1
        hold = live.house.store.hold(killed.holds[0])
        assert hold is not None
        assert hold.status is HoldStatus.EXPIRED
        async with asyncio.timeout(3):
            assert await calling in {"contained", "approval_timeout", "needs_approval"}


async def test_a_stream_is_cut(tmp_path: Path) -> None:
    """A subscription that is open when its agent is killed ends within the bar (REVO-05)."""
    async with Stage(tmp_path).gateway() as live:
        _, token = await live.task()
        listening = asyncio.create_task(
            live.send(token, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        )
        await asyncio.sleep(1.0)
        assert not listening.done()
        at = now_ns()
        await kill(live, Scope.AGENT, "coder")
        async with asyncio.timeout(3):
            response = await listening
        assert (now_ns() - at) / 1e6 <= BAR_MS
        assert b"contained" in response.body


async def test_two_gateways_stop_together(tmp_path: Path) -> None:
    """The one that did not take the order stops as well; each says what became of its own."""
    stage = Stage(tmp_path, "ignores")
    async with stage.gateway() as one, stage.gateway() as two:
        _, token = await one.task()
        calls = [asyncio.create_task(live.call(token, name, LONG_MS)) for live, name in ((one, "a"), (two, "b"))]
        await one.begun("a")
        await two.begun("b")
        at = now_ns()
        killed = await kill(one, Scope.EVERYTHING, "")
        became = await one.house.contain.outcomes(killed)
        assert [await call for call in calls] == ["contained", "contained"]
        assert [call.outcome for call in became] == ["indeterminate", "indeterminate"]
        await asyncio.sleep(1.0)
        assert max(stage.quiet("a", at), stage.quiet("b", at)) <= BAR_MS


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    """A gateway that starts after a kill starts killed (REVO-03)."""
    stage = Stage(tmp_path)
    async with stage.gateway() as live:
        _, token = await live.task()
        await kill(live, Scope.EVERYTHING, "")
    async with stage.gateway() as live:
        assert await live.call(token, "after") == "contained"
        assert stage.effects("after") == []


async def test_only_a_suspension_stops_what_is_under_way(tmp_path: Path) -> None:
    """A milder restriction holds for the next decision; what is under way finishes."""
    async with Stage(tmp_path).gateway() as live:
        _, token = await live.task()
        calling: asyncio.Task[Any] = asyncio.create_task(live.call(token, "slow", 1_000))
        await live.begun("slow")
        await live.house.contain.lay(Scope.AGENT, "coder", Restriction.READ_ONLY, by="os:op")
        assert await calling == "permitted"
