"""How leases end: at once when their authority does, in the end by their own life, and never silently."""

import asyncio

import pytest

import bundles
from lending_world import LENDS, TOKEN, LendingWorld, refused
from lictor.model.containment import Restriction, Scope
from lictor.model.lease import LeaseStatus
from lictor.model.record import LeaseKept, decode_entry
from lictor.service.credentials import reap
from lictor.service.credentials.reap import SKEW_MS, Reaper


async def lent(world: LendingWorld):
    task = await world.task()
    return task, await world.lend(task)


def kept(world: LendingWorld) -> list[int]:
    found = [decode_entry(entry.data).record for entry in world.store.entries()]
    return [record.attempts for record in found if isinstance(record, LeaseKept)]


async def closed(world, task):
    await world.tasks.close(task.task.id, by="os:alice")


async def expired(world, task):
    world.clock.set(task.task.expires_at_ms)


async def killed(world, task):
    await world.contain.lay(Scope.TASK, task.task.id, Restriction.SUSPENDED, by="os:bob")


async def owner(world, task):
    await world.contain.lay(Scope.OWNER, "alice", Restriction.SUSPENDED, by="os:bob")


async def stricter(world, task):
    world.policy.swap(bundles.pdp(bundles.POLICY, **{"credentials.toml": TOKEN}))


async def moved(world, task):
    other = TOKEN.replace("https://fs.example", "https://other.example")
    world.policy.swap(bundles.pdp(bundles.POLICY + LENDS, **{"credentials.toml": other}))


async def removed(world, task):
    world.policy.swap(bundles.pdp())


async def overdue(world, task):
    agents = bundles.FILES["agents.toml"].replace("2027-01-31", "2020-01-31")
    world.policy.swap(bundles.pdp(bundles.POLICY + LENDS, **{"credentials.toml": TOKEN, "agents.toml": agents}))


ENDS = [closed, expired, killed, owner, stricter, moved, removed, overdue]


@pytest.mark.parametrize("end", ENDS)
async def test_what_ends_the_authority_ends_the_lease(end):
    """Task closed, expired, killed; owner suspended; policy, address, entry or registry changed: revoked at the next look."""
    world = LendingWorld()
    task, loan = await lent(world)
    await world.look()
    assert world.lease().status is LeaseStatus.ACTIVE
    await end(world, task)
    await world.look()
    assert not world.broker.alive(loan)
    assert not world.desk.live
    assert world.lease().status is LeaseStatus.REVOKED
    assert not world.drawer.kept


@pytest.mark.parametrize("end", [killed, stricter])
async def test_a_reaper_that_trusts_what_it_decided_before_is_found_out(end):
    """Control: without the second decision, drift and containment leave a live credential."""

    class Trusting(Reaper):
        async def _over(self, lent):
            return ""

    world = LendingWorld()
    world.reaper.__class__ = Trusting
    task, _ = await lent(world)
    await end(world, task)
    await world.look()
    assert world.desk.live


async def test_a_change_that_permits_the_same_ends_nothing():
    """Another bundle, the same answer: the lease goes on."""
    world = LendingWorld()
    _, loan = await lent(world)
    world.policy.swap(bundles.pdp(bundles.POLICY + LENDS + "// a comment\n", **{"credentials.toml": TOKEN}))
    await world.look()
    assert world.broker.alive(loan)


async def test_a_revocation_is_tried_until_it_is_confirmed_and_seen_meanwhile(monkeypatch):
    """R21, CRED-09: each power of two is recorded; it is never given up while the credential lives."""
    monkeypatch.setattr(reap, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(reap, "LAST_PAUSE_S", 0.0)
    world = LendingWorld()
    task, _ = await lent(world)
    world.desk.refuses_revoking = refused()
    await closed(world, task)
    for _ in range(40):
        await world.look()
    assert world.lease().status is LeaseStatus.REVOKING
    assert world.lease().attempts == 32
    assert kept(world) == [1, 2, 4, 8, 16, 32]
    assert any("not revoked after 32" in line for line in world.said)
    world.desk.refuses_revoking = None
    await world.look()
    assert world.lease().status is LeaseStatus.REVOKED


async def test_a_reaper_that_gives_up_is_found_out(monkeypatch):
    """Control: after some tries it looks away, and the credential lives on."""
    monkeypatch.setattr(reap, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(reap, "LAST_PAUSE_S", 0.0)

    class Tired(Reaper):
        def _start_due(self, leases):
            super()._start_due([lease for lease in leases if lease.attempts < 4])

    world = LendingWorld()
    world.reaper.__class__ = Tired
    task, _ = await lent(world)
    world.desk.refuses_revoking = refused()
    await closed(world, task)
    for _ in range(20):
        await world.look()
    world.desk.refuses_revoking = None
    await world.look()
    assert world.desk.live


async def test_pauses_grow_from_one_second_to_a_minute(monkeypatch):
    """A provider that is down is asked ever more slowly."""
    world = LendingWorld()
    task, _ = await lent(world)
    world.desk.refuses_revoking = refused()
    await closed(world, task)
    now = 0.0
    loop = asyncio.get_running_loop()
    begin = loop.time()
    monkeypatch.setattr(loop, "time", lambda: begin + now)
    pauses = []
    for _ in range(9):
        await world.look()
        attempt = next(iter(world.reaper._tries.values()))
        pauses.append(round(attempt.next_at - begin - now))
        now = attempt.next_at - begin
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


async def test_it_ends_as_expired_only_behind_its_own_end():
    """The provider never answers: only when the credential cannot be used any more is it over, and the record says how."""
    world = LendingWorld()
    task, _ = await lent(world)
    world.desk.refuses_revoking = refused()
    await closed(world, task)
    await world.look()
    world.clock.set(world.lease().expires_at_ms + SKEW_MS - 1)
    world.reaper._tries.clear()
    await world.look()
    assert world.lease().status is LeaseStatus.REVOKING
    world.clock.advance(1)
    world.reaper._tries.clear()
    await world.look()
    assert world.lease().status is LeaseStatus.EXPIRED


async def test_leases_of_a_dead_process_are_taken_over_and_those_of_a_living_one_left_alone():
    """Active and never answered ones; by one process, the one that has the turn."""
    world = LendingWorld()
    await lent(world)
    _, second = world.process("inst_two")
    _, third = world.process("inst_three", turn=False)
    await world.look(second)
    assert world.lease().status is LeaseStatus.ACTIVE
    world.dead.add(world.broker.instance)
    await world.look(third)
    assert world.lease().status is LeaseStatus.ACTIVE
    await world.look(second)
    assert world.lease().status is LeaseStatus.REVOKED
    assert not world.desk.live


async def test_a_crash_between_ask_and_answer_is_cleaned_up_by_the_lease_s_id():
    """`asked`, its process dead, a credential there that nobody has a name for."""
    world = LendingWorld()
    task = await world.task()

    async def die(_):
        await asyncio.Event().wait()

    world.desk.after = die
    waiting = asyncio.ensure_future(world.lend(task))
    while not world.desk.live:
        await asyncio.sleep(0)
    assert world.lease().status is LeaseStatus.ASKED
    await world.look()
    assert world.lease().status is LeaseStatus.ASKED  # our own, and the provider has not answered yet
    world.dead.add(world.broker.instance)
    _, second = world.process("inst_two")
    await world.look(second)
    assert world.lease().status is LeaseStatus.REVOKED
    assert not world.desk.live
    waiting.cancel()
    for flight in [*world.broker._flights.values()]:
        flight.cancel()
    await asyncio.sleep(0)


async def test_two_living_processes_do_not_revoke_the_same_lease():
    """Each ends its own."""
    world = LendingWorld()
    task, _ = await lent(world)
    other, second = world.process("inst_two")
    await other.lend(task, "fs", world_where())
    await closed(world, task)
    await asyncio.gather(world.look(), world.look(second))
    assert sorted(world.desk.revokes.values()) == [1, 1]
    assert not world.store.leases()


def world_where():
    from lending_world import WHERE

    return WHERE


async def test_a_shutdown_revokes_what_this_process_holds():
    """The gateway goes, its credentials too; what cannot be revoked in time is counted, and stays to be seen."""
    world = LendingWorld()
    await lent(world)
    assert await world.reaper.close(within_s=2) == 0
    assert not world.desk.live
    await lent(world)
    world.desk.refuses_revoking = refused()
    assert await world.reaper.close(within_s=0.2) == 1
    assert [lease.status for lease in world.store.leases()] == [LeaseStatus.REVOKING]


async def test_a_task_that_is_stopped_loses_its_leases_at_once():
    """The watcher tells; nothing waits for the next look."""
    world = LendingWorld()
    task, loan = await lent(world)
    from lictor.model.reasons import Reason

    await world.reaper.stopped(task.task.id, Reason.CONTAINED)
    assert not world.broker.alive(loan)
    assert world.lease().status is LeaseStatus.REVOKING


async def test_without_its_note_a_lease_is_revoked_by_what_the_bundle_says():
    """The sealed note is gone: the configuration of the same name serves."""
    world = LendingWorld()
    task = await world.task()

    async def lose(_):
        raise refused()

    await world.lend(task)
    world.drawer.kept.clear()
    world.desk.revoke = plain_revoke(world)  # type: ignore[method-assign]
    await closed(world, task)
    await world.look()
    assert world.lease().status is LeaseStatus.REVOKED


def plain_revoke(world):
    async def revoke(lease, credential, handle, revocation):
        assert revocation is None
        world.desk.live.pop(lease, None)

    return revoke
