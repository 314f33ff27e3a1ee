"""What can be revoked, read from the file itself, past everything that is kept."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from integration.spender import Spender, open_store
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import StoreError
from lictor.model.ids import TaskId
from lictor.model.task import TaskStatus
from lictor.service.containment.contain import Contain
from lictor.stores.memory import MemoryStore
from lictor.stores.probe import DirectProbe, SqliteProbe
from lictor.stores.sqlite import SqliteStore


@pytest.fixture(params=["sqlite", "direct"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store and its probe."""
    store: Any = open_store(tmp_path) if request.param == "sqlite" else MemoryStore()
    probe: Any = SqliteProbe(tmp_path / "log.db") if request.param == "sqlite" else DirectProbe(store)
    yield store, probe
    probe.close()
    store.close()


async def test_it_sees_what_was_committed(both: Any) -> None:
    """Restrictions, tasks asked for, and the newest record's time; the next look sees the next commit."""
    store, probe = both
    spender = Spender(store)
    task = await spender.open_task()
    contain = Contain(store=store, clock=spender.clock, ids=spender.ids)
    found = await probe.look([task.id, TaskId("task_nobody")])
    assert list(found.tasks) == [task.id]
    assert found.containments == ()
    laid = await contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by="os:op")
    await spender.tasks.close(task.id, by="os:op")
    found = await probe.look([task.id])
    assert found.containments == (laid,)
    assert found.tasks[task.id].status is TaskStatus.CLOSED
    assert found.newest_ms >= laid.laid_at_ms


async def test_many_tasks_are_asked_for_at_once(both: Any) -> None:
    """More than one statement holds."""
    store, probe = both
    spender = Spender(store)
    tasks = [(await spender.open_task()).id for _ in range(3)]
    asked = [*(TaskId(f"task_{number}") for number in range(1_200)), *tasks]
    assert set((await probe.look(asked)).tasks) == set(tasks)


async def test_another_file_is_not_the_log(tmp_path: Path) -> None:
    """A log that was moved away or replaced confirms nothing; back in its place it does again."""
    store = open_store(tmp_path)
    probe = SqliteProbe(tmp_path / "log.db")
    await probe.look([])
    log, away = tmp_path / "log.db", tmp_path / "away.db"
    log.rename(away)
    with pytest.raises(StoreError):
        await probe.look([])
    log.write_bytes(away.read_bytes())
    with pytest.raises(StoreError):
        await probe.look([])
    away.replace(log)
    await probe.look([])
    probe.close()
    store.close()


async def test_several_wait_their_turn(tmp_path: Path) -> None:
    """Looks do not mix."""
    store: SqliteStore = open_store(tmp_path)
    probe = SqliteProbe(tmp_path / "log.db")
    found = await asyncio.gather(*(probe.look([]) for _ in range(20)))
    assert len(found) == 20
    probe.close()
    store.close()


def test_without_a_log_there_is_no_probe(tmp_path: Path) -> None:
    """A probe belongs to one file."""
    with pytest.raises(StoreError):
        SqliteProbe(tmp_path / "log.db")
