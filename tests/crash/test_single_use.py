"""One approval, many redeemers: one effect (facts R3, cases BIND). In one process, and over four on one file."""

import asyncio
import sys
from collections import Counter

import pytest

from crash.harness import House, Worker, examine
from crash.ledger import Ledger
from crash.mutants import check_then_mark
from crash.scene import OWNER, Core, Policy, activate, open_store, write_bundle
from crash.worker import Order
from lictor.model.approval import seal_of
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.service.calls.authorize import Granted, Held, Refused
from lictor.service.people.approve import Proof
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance
from unhurried import Unhurried

REDEEMERS = 64
ROUNDS = 200
PROCESSES, SHARED_ROUNDS = 4, 40


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The bundle, compiled."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder)
    return Policy.load(folder)


@pytest.fixture
async def house(tmp_path, policy):
    """A state folder and a core over it."""
    made = House(tmp_path)
    store = open_store(made.state)
    made.core = Core(store, policy.pdp, Instance.register(made.state, RandomIds()))
    await activate(store, made.core.clock, policy)
    yield made
    await made.core.execute.drain()
    made.core.instance.close()
    store.close()


async def approved(core, task, name):
    """A hold for one write, approved."""
    request = core.ask(task, "write", id=name)
    held = await core.decide(request)
    assert isinstance(held, Held)
    await core.answer.approve(held.hold.id, Proof(human=OWNER), seal_of(held.hold))
    return request, held.hold


async def race(house, task, request, hold, redeemers=REDEEMERS):
    """All redeemers at once, half of them naming the hold; the outcomes of each kind, and every effect of grants."""
    core, barrier = house.core, asyncio.Barrier(redeemers)
    arguments = request.arguments.open()

    async def redeem(number):
        again = core.ask(task, "write", **arguments)
        await barrier.wait()
        outcome = await core.decide(again, hold.id if number % 2 else None)
        if isinstance(outcome, Granted):
            await core.run(outcome.grant, house.effects)
        return outcome

    outcomes = await asyncio.gather(*(redeem(number) for number in range(redeemers)))
    return Counter(
        "granted" if isinstance(o, Granted) else "held" if isinstance(o, Held) else o.reason for o in outcomes
    )


async def test_one_approval_has_one_effect(house):
    """64 redeemers of one approved hold, 200 times: one is granted, the others are told it is used, or ask anew."""
    task = await house.core.open_task()
    for number in range(ROUNDS):
        request, hold = await approved(house.core, task, f"note-{number}")
        outcomes = await race(house, task, request, hold)
        assert outcomes.pop("granted") == 1
        assert set(outcomes) <= {"held", Reason.APPROVAL_USED, Reason.CONFLICT}
        assert len(house.effects.read()) == number + 1
    await house.core.execute.drain()
    ledger = Ledger.read(house.core.store)
    assert not ledger.effect_faults(house.effects.read())
    assert max(Counter(one.hold for one in ledger.started.values()).values()) == 1
    assert house.core.store.rebuild_rows() == []


async def test_check_then_mark_doubles(house):
    """Control: without the check inside the commit, the same race has several effects."""
    undo = check_then_mark()
    house.core.authorize._store = Unhurried(house.core.authorize._store)
    try:
        task = await house.core.open_task()
        request, hold = await approved(house.core, task, "note")
        outcomes = await race(house, task, request, hold)
    finally:
        undo()
    assert outcomes["granted"] > 1
    assert len(house.effects.read()) == outcomes["granted"]
    await house.core.execute.drain()
    assert any(f.startswith("b: ") for f in Ledger.read(house.core.store).effect_faults(house.effects.read()))


async def test_a_grant_is_claimed_once(house):
    """Also the object in memory: sending one grant from 64 coroutines sends once."""
    task = await house.core.open_task()
    outcome = await house.core.decide(house.core.ask(task, "read", id="a"))
    runs = (house.core.run(outcome.grant, house.effects) for _ in range(REDEEMERS))
    results = await asyncio.gather(*runs, return_exceptions=True)
    refused = [one for one in results if isinstance(one, ConflictError)]
    assert len(refused) == REDEEMERS - 1
    assert {one.reason for one in refused} == {Reason.APPROVAL_USED}
    assert len(house.effects.read()) == 1


async def test_a_revoked_approval_and_its_redeemers(house):
    """Denying and redeeming at once: the redeemer wins or the approver does, never both, never neither."""
    task = await house.core.open_task()
    won = Counter()
    for number in range(40):
        request, hold = await approved(house.core, task, f"note-{number}")
        before = len(house.effects.read())
        denied, outcomes = await asyncio.gather(
            house.core.answer.deny(hold.id, OWNER), race(house, task, request, hold, 8), return_exceptions=True
        )
        effects = len(house.effects.read()) - before
        assert effects == outcomes["granted"] == (1 if isinstance(denied, ConflictError) else 0)
        won["redeemer" if effects else "approver"] += 1
    assert won.total() == 40


async def test_a_budget_is_not_split(house):
    """64 calls at once on a budget of 10: ten run."""
    task = await house.core.open_task(calls=10)
    core, barrier = house.core, asyncio.Barrier(REDEEMERS)

    async def call(number):
        request = core.ask(task, "read", id=f"note-{number}")
        await barrier.wait()
        outcome = await core.decide(request)
        if isinstance(outcome, Granted):
            await core.run(outcome.grant, house.effects)
        return outcome

    outcomes = await asyncio.gather(*(call(number) for number in range(REDEEMERS)))
    assert sum(isinstance(one, Granted) for one in outcomes) == 10
    refused = {one.reason for one in outcomes if isinstance(one, Refused)}
    assert refused <= {Reason.BUDGET_CALLS, Reason.CONFLICT}
    assert len(house.effects.read()) == 10


# -- several processes ---------------------------------------------------------------------------------------------------


def shared_race(house, worker, rounds, mutant=""):
    """Approved holds, then four processes of 16 redeemers on one file; what ran."""

    async def prepare():
        task = await house.core.open_task()
        return [(await approved(house.core, task, f"shared-{number}"))[1].id for number in range(rounds)]

    holds = asyncio.run(prepare())
    house.core.store.close()
    order = Order(state=str(house.state), mode="redeem", mutant=mutant, processes=PROCESSES, redeemers=16)
    report = worker.run(order)
    assert report.code == 0
    with open_store(house.state) as store:
        ledger = Ledger.read(store)
    return holds, [ledger.started[effect.execution] for effect in house.effects.read()]


@pytest.fixture
def shared(tmp_path, policy):
    """A state folder that several processes open; no loop is running here."""
    made = House(tmp_path)
    store = open_store(made.state)
    made.core = Core(store, policy.pdp, Instance.register(made.state, RandomIds()))
    asyncio.run(activate(store, made.core.clock, policy))
    yield made
    made.core.instance.close()


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    """One parent of all processes."""
    if sys.platform == "win32":
        pytest.skip("needs fork")
    made = Worker(tmp_path_factory.mktemp("bundle"))
    yield made
    made.close()


def test_four_processes_share_one_approval(shared, worker):
    """4 processes x 16 redeemers on one file, 40 approvals: one effect each."""
    holds, ran = shared_race(shared, worker, SHARED_ROUNDS)
    assert Counter(one.hold for one in ran) == dict.fromkeys(holds, 1)
    assert len({one.instance for one in ran}) > 1  # the processes did race: not one of them won every time
    shared.core.instance.close()
    faults, _ = examine(shared)
    assert not faults


def test_four_processes_double_without_the_check(shared, worker):
    """Control: check-then-mark in every process; one approval is used in more than one of them."""
    holds, ran = shared_race(shared, worker, 10, "check_then_mark")
    assert {one.hold for one in ran} == set(holds)
    by_hold = {hold: {one.instance for one in ran if one.hold == hold} for hold in holds}
    assert max(len(instances) for instances in by_hold.values()) > 1
