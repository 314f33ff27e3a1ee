"""Tokens of people: kept for their task alone, never longer than either lives, gone with it."""

import pytest

import bundles
from lending_world import LendingWorld
from lictor.model.secret import Secret
from lictor.service.credentials.subjects import LIST_S, Subjects

TOKEN = "eyJhbGciOiJFUzI1NiJ9.of-a-person.signature"


class Kept:
    """One process's half, with a stopwatch in a test's hand."""

    def __init__(self, world: LendingWorld) -> None:
        self.world = world
        self.now_s = 0.0
        self.subjects = self.another()

    def another(self) -> Subjects:
        world = self.world
        return Subjects(
            safe=world.drawer,
            store=world.store,
            clock=world.clock,
            managed=world.broker.managed,
            stopwatch=lambda: self.now_s,
        )


async def closed(world, task):
    await world.tasks.close(task.id, by="os:alice")


async def task_over(world, task):
    world.clock.set(task.expires_at_ms)


async def token_over(world, task):
    world.clock.advance(61_000)


@pytest.mark.parametrize("end", [closed, task_over, token_over])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_it_is_gone_with_its_task_or_its_own_time(end, elsewhere):
    """Closed, expired, itself expired: not given out from that moment, and swept, by whichever process looks."""
    world = LendingWorld()
    kept = Kept(world)
    task = (await world.task()).task
    await kept.subjects.keep(task, Secret(TOKEN), bundles.NOW + 60_000)
    assert await kept.subjects.of(task) == Secret(TOKEN)
    await kept.subjects.sweep()
    assert world.drawer.kept
    await end(world, task)
    assert await kept.subjects.of(task) is None
    await (kept.another() if elsewhere else kept.subjects).sweep()
    assert not world.drawer.kept


async def test_what_another_process_kept_is_found_again():
    """The safe is listed every few seconds, not at every look."""
    world = LendingWorld()
    kept = Kept(world)
    other = kept.another()
    await other.sweep()
    task = (await world.task()).task
    await kept.subjects.keep(task, Secret(TOKEN), bundles.NOW + 60_000)
    await closed(world, task)
    await other.sweep()
    assert world.drawer.kept
    kept.now_s += LIST_S
    await other.sweep()
    assert not world.drawer.kept


async def test_one_that_has_expired_already_is_not_kept():
    """Nothing is written."""
    world = LendingWorld()
    task = (await world.task()).task
    await Kept(world).subjects.keep(task, Secret(TOKEN), bundles.NOW)
    assert not world.drawer.kept


async def test_it_is_looked_for_in_what_servers_say():
    """The person's token is a managed secret while it is kept, and for a while after."""
    world = LendingWorld()
    kept = Kept(world)
    task = (await world.task()).task
    await kept.subjects.keep(task, Secret(TOKEN), bundles.NOW + 60_000)
    assert world.broker.managed.scrubber.tags(f"token {TOKEN}".encode())
    await kept.subjects.forget(task.id)
    assert world.broker.managed.scrubber.tags(f"token {TOKEN}".encode())
