"""What one kill leaves, and what a restart makes of it (cases FAIL-14, FAIL-15, BIND after a crash)."""

import asyncio
import random
import sys

import msgspec
import pytest

from crash.harness import House, Worker, examine
from crash.ledger import Ledger
from crash.scene import AUDITOR, OWNER, Core, Policy, activate, open_store, write_bundle
from crash.worker import Order
from lictor.model.approval import HoldStatus, seal_of
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.service.calls.authorize import Granted, Held, Refused
from lictor.service.containment.recover import recover
from lictor.service.people.approve import Proof
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance, dead_instances

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The bundle's folder."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def policy(bundle):
    """The bundle, compiled."""
    return Policy.load(bundle)


@pytest.fixture(scope="module")
def worker(bundle):
    """One parent of all gateways."""
    made = Worker(bundle)
    yield made
    made.close()


def killed(tmp_path, worker, point, nth=1):
    """A house whose gateway was killed at this point; a load that does not come there is repeated elsewhere."""
    for seed in range(50):
        house = House(tmp_path / f"{seed}")
        house.folder.mkdir(parents=True)
        report = worker.run(Order(state=str(house.state), point=point, nth=nth, seed=seed))
        assert report.killed
        if report.point == point:
            return house
    raise AssertionError(f"{point!r} is never reached {nth} times")


class Restarted:
    """The next gateway on the same state, in this process."""

    def __init__(self, house, policy):
        self._house = house
        self._policy = policy

    async def __aenter__(self):
        state = self._house.state
        store = open_store(state)
        core = Core(store, self._policy.pdp, Instance.register(state, RandomIds()))
        core.marked = await recover(store, core.clock, lambda seen: dead_instances(state, seen))
        await activate(store, core.clock, self._policy)
        self._core = core
        return core

    async def __aexit__(self, *_):
        await self._core.execute.drain()
        self._core.instance.close()
        self._core.store.close()


def again(core, hold):
    """The agent asks for the same action again."""
    task = core.store.task(hold.task).task
    return core.ask(task, hold.name, **msgspec.json.decode(core.store.payload(hold.request).arguments))


async def test_killed_between_decision_and_send(tmp_path, worker, policy):
    """FAIL-14: nothing ran; the action is listed, becomes indeterminate, and is not run by the restart."""
    house = killed(tmp_path, worker, "7 claimed")
    assert house.effects.read() == []
    async with Restarted(house, policy) as core:
        assert core.marked
        for started in core.marked:
            assert core.store.execution_outcome(started.execution) == "indeterminate"
        ends = Ledger.read(core.store).ended
        assert {end.reason for (end,) in ends.values()} == {Reason.OUTCOME_UNKNOWN}
        assert core.store.open_executions() == []
    assert house.effects.read() == []


async def test_killed_between_effect_and_outcome(tmp_path, worker, policy):
    """FAIL-15: the effect happened and nobody wrote it down: indeterminate, the approval is burnt, nothing repeats it."""
    for nth in range(1, 20):  # the first kill behind an effect that had an approval
        house = killed(tmp_path / str(nth), worker, "8 after effect", nth)
        last = house.effects.read()[-1]
        if last.tool != "read":
            break
    async with Restarted(house, policy) as core:
        started = Ledger.read(core.store).started[last.execution]
        assert last.execution in {one.execution for one in core.marked}
        held = core.store.hold(started.hold)
        assert held.status is HoldStatus.CONSUMED
        named = await core.decide(again(core, held), held.id)
        assert isinstance(named, Refused)
        assert named.reason is Reason.APPROVAL_USED
        assert isinstance(await core.decide(again(core, held)), Held)  # people are asked anew
    assert [one.execution for one in house.effects.read()].count(last.execution) == 1


@pytest.mark.parametrize("point", ["6 approved, not retried", "6 approval, after commit", "6 approval, before commit"])
async def test_an_approval_survives_its_gateway(tmp_path, worker, policy, point):
    """Given and durable: the retry after the restart is granted, once. Not durable: nobody was told, and it can be given."""
    house = killed(tmp_path, worker, point)
    told = {hold for word, hold in house.acks.read() if word == "approved"}
    async with Restarted(house, policy) as core:
        approved = {one.id for one in core.store.holds() if one.status in {HoldStatus.APPROVED, HoldStatus.CONSUMED}}
        assert told <= approved
        for hold in core.store.holds():
            if hold.status is HoldStatus.PENDING:
                await core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))
        waiting = [one for one in core.store.holds() if one.status is HoldStatus.APPROVED]
        assert waiting
        for hold in waiting:
            first, second = [await core.decide(again(core, hold)) for _ in range(2)]
            assert isinstance(first, Granted)
            assert isinstance(second, Held)
            await core.run(first.grant, house.effects)
    faults, _ = await asyncio.to_thread(examine, house)
    assert not faults


async def test_a_refusal_survives_its_gateway(tmp_path, worker, policy):
    """A person said no, the gateway was killed: the action stays denied for the task."""
    house = killed(tmp_path, worker, "6 refusal, after commit")
    async with Restarted(house, policy) as core:
        [hold, *_] = [one for one in core.store.holds() if one.status is HoldStatus.DENIED]
        assert hold.answered_by == AUDITOR
        outcome = await core.decide(again(core, hold))
        assert isinstance(outcome, Refused)
        assert outcome.reason is Reason.APPROVAL_DENIED
        with pytest.raises(ConflictError):
            await core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))


async def test_a_living_gateway_is_left_alone(tmp_path, policy):
    """Recovery of one gateway marks nothing that another, living one has open; once it is gone, it does."""
    house = House(tmp_path)
    async with Restarted(house, policy) as first:
        task = await first.open_task()
        outcome = await first.decide(first.ask(task, "read", id="a"))
        async with Restarted(house, policy) as second:
            assert second.marked == []
        await first.run(outcome.grant, house.effects)
        await first.execute.drain()
        assert first.store.execution_outcome(outcome.grant.execution) == "executed"
        left = await first.decide(first.ask(task, "read", id="b"))
    async with Restarted(house, policy) as third:
        assert [one.execution for one in third.marked] == [left.grant.execution]


async def test_many_recover_at_once(tmp_path, worker):
    """Eight gateways start together on what a killed one left: each open execution is marked by exactly one."""
    house = killed(tmp_path, worker, "9 outcome, before commit", 4)
    stores = [open_store(house.state) for _ in range(8)]
    opened = {one.execution for one in stores[0].open_executions()}
    assert opened
    clock = SystemClock()
    marked = await asyncio.gather(*(recover(store, clock, list) for store in stores))
    assert sorted(one.execution for some in marked for one in some) == sorted(opened)
    for store in stores:
        assert await recover(store, clock, list) == []
        store.close()
    faults, _ = await asyncio.to_thread(examine, house)
    assert not faults


@pytest.mark.parametrize(
    "point", ["R before commit", "R inside a transaction", "R committed, nobody told", "R after commit"]
)
def test_killed_while_it_recovers(tmp_path, worker, point):
    """Recovery can be killed anywhere and started again: it ends in the same place."""
    house = killed(tmp_path, worker, "9 outcome, before commit", 5)
    with open_store(house.state) as store:
        opened = {one.execution for one in store.open_executions()}
    for _ in range(3):
        assert worker.run(Order(state=str(house.state), point=point, seed=8)).killed
    faults, _ = examine(house)
    assert not faults
    with open_store(house.state) as store:
        assert {store.execution_outcome(execution) for execution in opened} == {"indeterminate"}


def test_killed_while_it_starts(tmp_path, worker):
    """The first start of all makes keys, file and tables: killed anywhere in it, the next one opens what is there."""
    rng, faults = random.Random(5), []
    for number in range(40):
        house = House(tmp_path / str(number))
        house.folder.mkdir()
        assert worker.run(Order(state=str(house.state), seed=number, kill_after_ms=rng.uniform(0, 25))).killed
        faults += examine(house)[0]
    assert not faults
