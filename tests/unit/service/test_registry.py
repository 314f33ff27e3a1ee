"""The registry's use cases: where an agent stands, who may receive authority, how one is stopped, and what it did."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import bundles
from lictor.model.agent import Agent
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId
from lictor.model.reasons import Reason
from lictor.model.record import AgentChanged, TaskClosed, decode_entry
from lictor.model.task import Budget
from lictor.pdp.decide import decide
from lictor.pdp.standing import check_registered
from lictor.service.calls import registered
from lictor.service.calls.registered import check_registered_agent
from lictor.service.registry import DAY_MS, Registry, Standing, first_since, state_of, within_reach
from recorded_world import READ, Step, TrafficWorld, drive, world_bundle

NOW = bundles.NOW
CODER = Agent(id=AgentId("coder"), owner="alice", review_by_ms=NOW + 60 * DAY_MS)


def laid(scope: Scope, target: str, restriction: Restriction = Restriction.SUSPENDED) -> Containment:
    """One restriction."""
    return Containment(id=f"cnt_{scope.value}", scope=scope, target=target, restriction=restriction, by="x")


def changed(**changes: Any) -> Agent:
    """The agent, but for something."""
    return msgspec.structs.replace(CODER, **changes)


# -- where it stands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agent", "on", "standing", "says"),
    [
        (CODER, (), Standing.OK, "next review is due by 2027-01-20"),
        (changed(review_by_ms=NOW + 13 * DAY_MS), (), Standing.DUE, "review due in 13 days"),
        (changed(review_by_ms=NOW + DAY_MS), (), Standing.DUE, "review due in 1 day,"),
        (changed(review_by_ms=NOW + 1), (), Standing.DUE, "review due in 0 days"),
        (changed(review_by_ms=NOW), (), Standing.OVERDUE, "no authority"),
        (changed(active=False, review_by_ms=NOW), (), Standing.OFFBOARDED, "no authority"),
        (changed(owner=" "), (), Standing.NO_OWNER, "nobody answers"),
        (CODER, (laid(Scope.AGENT, "coder"),), Standing.SUSPENDED, "until a person"),
        (CODER, (laid(Scope.OWNER, "alice"),), Standing.SUSPENDED, "until a person"),
        (CODER, (laid(Scope.EVERYTHING, ""),), Standing.SUSPENDED, "until a person"),
        (CODER, (laid(Scope.AGENT, "coder", Restriction.READ_ONLY),), Standing.OK, "reviewed"),
        (
            CODER,
            (laid(Scope.AGENT, "other"), laid(Scope.TASK, "coder"), laid(Scope.OWNER, "coder")),
            Standing.OK,
            "reviewed",
        ),
    ],
)
def test_a_state_says_what_takes_authority_away(
    agent: Agent, on: tuple[Containment, ...], standing: Standing, says: str
) -> None:
    """The hardest thing first, in plain words."""
    found = state_of(agent, NOW, on)
    assert found.standing is standing
    assert says in found.words


# -- who may receive authority -------------------------------------------------------------------------------------------

REFUSED: tuple[tuple[Agent | None, tuple[Containment, ...], Reason], ...] = (
    (None, (), Reason.UNKNOWN_AGENT),
    (changed(active=False), (), Reason.AGENT_INACTIVE),
    (changed(owner=""), (), Reason.AGENT_NO_OWNER),
    (changed(owner="  "), (), Reason.AGENT_NO_OWNER),
    (changed(review_by_ms=NOW), (), Reason.AGENT_REVIEW_OVERDUE),
    (CODER, (laid(Scope.AGENT, "coder"),), Reason.CONTAINED),
    (CODER, (laid(Scope.OWNER, "alice"),), Reason.CONTAINED),
    (CODER, (laid(Scope.EVERYTHING, ""),), Reason.CONTAINED),
)


def misses(check: Callable[..., Agent]) -> list[Reason]:
    """The states that a check lets through, or calls something else."""
    found = []
    for agent, on, reason in REFUSED:
        agents = {} if agent is None else {agent.id: agent}
        try:
            check(agents, AgentId("coder"), NOW, on)
            found.append(reason)
        except CallerError as error:
            if error.reason is not reason:
                found.append(reason)
    return found


def test_nobody_receives_authority_in_a_bad_state() -> None:
    """REVO-12: each state with its own code, and something to do about it."""
    assert misses(check_registered_agent) == []
    assert check_registered_agent({CODER.id: CODER}, CODER.id, NOW) is CODER


def test_the_table_notices_a_check_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: without the registry's questions, and without restrictions."""
    with monkeypatch.context() as without:
        without.setattr(registered, "check_registered", lambda *_: None)
        assert len(misses(check_registered_agent)) == 4
    monkeypatch.setattr(registered, "laid_on", lambda *_: ())
    assert misses(check_registered_agent) == [Reason.CONTAINED] * 3


@pytest.mark.parametrize(("agent", "on", "reason"), [one for one in REFUSED if one[2] is not Reason.CONTAINED])
def test_a_decision_says_the_same(agent: Agent | None, on: tuple[Containment, ...], reason: Reason) -> None:
    """The door and the decision agree, so that a token that slipped through opens nothing."""
    pdp = bundles.pdp()
    asked = bundles.request("read_file", {"path": "a"})
    decision = decide(pdp, asked, bundles.snapshot(pdp, asked, agent=agent))
    assert decision.reason is reason
    if agent is not None:
        with pytest.raises(Exception, match=agent.id):
            check_registered(agent, NOW)


async def test_opening_and_delegating_ask_first() -> None:
    """Neither a task nor a child task comes into being for an agent that may not act."""
    text = world_bundle().files["agents.toml"].decode()
    text = text.replace("autonomy = 2", 'autonomy = 2\ndelegates_to = ["guest"]')
    text = text.replace("[agents.guest]\n", "[agents.guest]\nactive = false\n")
    world = TrafficWorld(world_bundle(**{"agents.toml": text}))
    with pytest.raises(CallerError) as error:
        await world.task("guest")
    assert error.value.reason is Reason.AGENT_INACTIVE
    from lictor.model.limits import Limits
    from lictor.service.policy import PolicyInForce
    from lictor.service.tasks.delegate import Delegate

    delegate = Delegate(
        store=world.store, policy=PolicyInForce(world.pdp), clock=world.clock, ids=world.ids, limits=Limits()
    )
    parent = await world.task("coder")
    with pytest.raises(CallerError) as error:
        await delegate(parent.id, agent=AgentId("guest"), ttl_s=60, budget=Budget(calls=1), by="test")
    assert error.value.reason is Reason.AGENT_INACTIVE
    assert [state.task.agent for state in world.store.tasks()] == ["coder"]


# -- stopping, recording, looking back -----------------------------------------------------------------------------------


def registry(world: TrafficWorld) -> Registry:
    """Over a world's log."""
    return Registry(store=world.store, clock=world.clock, tasks=world.tasks, contain=world.contain)


async def test_an_agent_is_stopped_everywhere_and_once() -> None:
    """The restriction comes before the tasks are closed; stopping again lays no second one; others go on."""
    world = TrafficWorld(world_bundle())
    coder, guest = await world.task("coder"), await world.task("guest")
    stopped = await registry(world).stop(AgentId("coder"), by="os:a", why="gone")
    assert stopped.tasks == (coder.id,)
    again = await registry(world).stop(AgentId("coder"), by="os:a", why="gone")
    assert (again.containment, again.tasks) == (stopped.containment, ())
    records = [decode_entry(entry.data).record for entry in world.store.entries()]
    closed = [index for index, record in enumerate(records) if isinstance(record, TaskClosed)]
    assert [type(record).__name__ for record in records].index("ContainmentLaid") < closed[0]
    assert [state.task.id for state in registry(world).open_tasks(AgentId("guest"))] == [guest.id]
    assert [one.target for one in registry(world).restrictions(CODER)] == ["coder"]
    assert registry(world).restrictions(changed(id=AgentId("guest"), owner="bob")) == ()


async def test_a_change_is_recorded_with_both_digests() -> None:
    """Empty where there was nothing; equal entries have equal digests."""
    world = TrafficWorld(world_bundle())
    await registry(world).record("added", None, CODER, by="os:a")
    await registry(world).record("reviewed", CODER, changed(review_by_ms=NOW), by="os:a")
    with pytest.raises(ValueError, match="no agent"):
        await registry(world).record("changed", None, None, by="os:a")
    first, second = [
        record for entry in world.store.entries() if isinstance(record := decode_entry(entry.data).record, AgentChanged)
    ]
    assert first.before == ""
    assert first.after == second.before != second.after


def test_what_an_agent_did_is_counted_by_action() -> None:
    """Allowed, held and denied apart, since a moment, for this agent alone."""
    world = drive(
        world_bundle(),
        (
            READ,
            READ,
            Step("pay", (("amount", "5.00"),)),
            Step("erase"),
            Step("read_file", (("path", "a"),), agent="guest"),
        ),
    )
    done = {one.action: (one.allowed, one.held, one.denied) for one in registry(world).done(AgentId("coder"), 0)}
    assert done == {"fs/read_file": (2, 0, 0), "fs/pay": (0, 1, 0), "fs/erase": (0, 0, 1)}
    assert registry(world).done(AgentId("coder"), world.clock.now_ms() + DAY_MS) == ()


def test_a_moment_is_found_in_the_log_by_halving() -> None:
    """Never behind the first entry that counts, and not far before it."""
    world = drive(world_bundle(), tuple(Step("read_file", (("path", "a"),), minutes=90) for _ in range(4)))
    times = [decode_entry(entry.data).at for entry in world.store.entries()]
    for moment in (0, *times, times[-1] + 10 * DAY_MS):
        start = first_since(world.store, moment)
        wanted = [index for index, at in enumerate(times) if at >= moment]
        assert start <= (wanted[0] if wanted else len(times))
        assert all(at >= moment - 3_600_000 for at in times[start:])


def test_reach_is_what_a_scope_meets_and_nothing_forbids() -> None:
    """A guest reaches what is written for everybody; nobody reaches what is forbidden to all."""
    pdp = bundles.pdp()
    names = {agent: {one.entry.name for one in within_reach(pdp, AgentId(agent))} for agent in ("coder", "guest")}
    assert "read_file" in names["coder"] - names["guest"]
    assert "pay" in names["guest"]
    assert "erase" not in names["coder"]


async def test_a_human_is_no_way_round() -> None:
    """Whoever the task is for, the agent's own state counts."""
    world = TrafficWorld(world_bundle())
    await registry(world).stop(AgentId("coder"), by="os:a", why="gone")
    for human in ("os:alice", "os:root"):
        with pytest.raises(CallerError) as error:
            await world.tasks.open(
                agent=AgentId("coder"), human=HumanId(human), purpose="development", trusted_text="", ttl_s=60,
                budget=Budget(calls=1), audience="local", by="test", token=True,
            )  # fmt: skip
        assert error.value.reason is Reason.CONTAINED
    await asyncio.sleep(0)
