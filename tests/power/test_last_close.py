"""Whoever closes a log last moves its pages into the file (SQLite does); never such as nobody knows to be on the disk.

After a failed sync the system takes for written what is not, and a later sync says yes without it: a power cut while such pages
are moved leaves half of each. Every step on the disk is written down, and looked at in its order.
"""

import asyncio
import shutil

import pytest

from crash.scene import open_store
from lictor.model.errors import StoreError
from lictor.stores import journal, recovery, scribe, sqlite, writer
from lictor.stores.keys import Keys
from power.disk import available, installed
from power.faults import Doubtful
from power.session import journal_files
from store_samples import batch, opened, started

pytestmark = [
    pytest.mark.skipif(not available(), reason="sqlite cannot be reached below python's module"),
    pytest.mark.skipif(not journal.POSSIBLE, reason="no journal on this platform"),
]


class Broken(Doubtful):
    """Fails to sync while it is `failing`."""

    def __init__(self, folder):
        super().__init__(folder, None, 0.0)
        self.failing = False
        self.fails = lambda: self.failing

    def add_failure(self, name):
        """Write down that a sync of this file has failed."""
        self._add("failed", name)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """With the files of a journal that begins at once and ends only when it must; the tables follow with every group."""
    for name, value in {"BUSY_AFTER": 0, "QUIET_S": 600.0, "LINGER_S": 600.0, "BEHIND": 1}.items():
        monkeypatch.setattr(scribe, name, value)
    monkeypatch.setattr(journal, "FILE_BYTES", 24_576)
    folder = tmp_path / "state"
    Keys.open(folder)
    for name, data in journal_files().items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)
    return folder


async def at_work(folder):
    """A store whose tables have what no sync has made durable."""
    store = open_store(folder)
    await store.commit(batch(opened(calls=1_000)))
    for number in range(20):
        await store.commit(batch(started(f"e{number}")))
    its = store._writer._scribe
    async with asyncio.timeout(30):
        while its.unwritten.parts:
            await asyncio.sleep(0.002)
    assert its.journaling
    return store


def moved_in_doubt(events):
    """Whether pages went into the file although a sync of the write-ahead log had failed, and it was not written anew since."""
    doubt, anew = False, 0
    for event in events:
        if event.name == "log.db-wal" and event.what == "failed":
            doubt, anew = True, 0
        elif event.name == "log.db-wal" and event.what == "write":
            anew = len(event.data) if event.at == 0 else anew + len(event.data)
        elif event.name == "log.db-wal" and event.what == "synced" and anew > 100_000:
            doubt = False
        elif event.name == "log.db" and event.what == "write" and doubt:
            return True
    return False


async def closed_on(folder, patch, *, mended):
    """What the disk saw of a store that is closed after its syncs have failed. Not mended: they work again for SQLite alone."""

    def fails(_):
        raise OSError(5, "input/output error")

    with installed(disk := Broken(folder)), patch.context() as refusing:
        store = await at_work(folder)
        disk.failing = True
        for number in range(3):
            with pytest.raises(StoreError):
                await store.commit(batch(started(f"lost{number}")))
        disk.failing = False
        if not mended:
            refusing.setattr(scribe, "rewrite", fails)
        store.close()
    return disk.events


@pytest.mark.parametrize("mended", [True, False])
async def test_closing_moves_nothing_that_is_in_doubt(folder, monkeypatch, mended):
    """Mended in time it is written anew; else it stays where it is, and is all there for whoever opens it next."""
    events = await closed_on(folder, monkeypatch, mended=mended)
    assert any(event.what == "failed" for event in events)
    assert not moved_in_doubt(events)
    with installed(disk := Broken(folder)), open_store(folder) as store:
        assert store.task("task_1").calls_used in {20, 21}  # a frame whose sync failed may be there
        assert store.rebuild_rows() == []
    assert not moved_in_doubt([*events, *disk.events])


async def test_control_closing_as_usual_moves_it(folder, monkeypatch):
    """Control: every connection is closed, whatever the disk did."""
    monkeypatch.setattr(scribe.Scribe, "_rewritten", lambda _: True)
    assert moved_in_doubt(await closed_on(folder, monkeypatch, mended=False))


async def at_work_in_doubt(folder, patch):
    """What the disk saw while a store went on whose syncs have failed once, and whose write-ahead log cannot be written anew."""
    patch.setattr(scribe, "CHECKPOINT_BUSY", 1)
    patch.setattr(scribe, "LINGER_S", 0.005)
    patch.setattr(scribe, "RETRY_S", 0.005)

    def fails(_):
        raise OSError(5, "input/output error")

    with installed(disk := Broken(folder)), patch.context() as refusing:
        store = await at_work(folder)
        with store._writer._turn:
            store._writer._scribe._mover.wait()
        patch.setattr(scribe, "BEHIND", 10**9)
        await store.commit(batch(started("only in the journal")))
        disk.add_failure(f"{folder}/log.db-wal")
        refusing.setattr(scribe, "rewrite", fails)
        disk.failing = True
        with pytest.raises(StoreError):
            await store.commit(batch(started("lost")))
        disk.failing = False
        for number in range(5):
            await asyncio.sleep(0.02)
            with pytest.raises(StoreError):
                await store.commit(batch(started(f"refused{number}")))
        seen = list(disk.events)
        refusing.undo()
        await store.commit(batch(started("mended")))
        assert store.task("task_1").calls_used == 22
        store.close()
    return seen


async def test_nothing_is_moved_while_it_is_in_doubt(folder, monkeypatch):
    """Nor while it goes on, however often it is asked and however large the write-ahead log is; mended, it works again at once."""
    assert not moved_in_doubt(await at_work_in_doubt(folder, monkeypatch))


async def test_control_a_mover_that_knows_of_its_own_failures_alone(folder, monkeypatch):
    """Control: pages are moved although a frame's sync has failed."""
    real = scribe.Scribe.hand_over

    def trusting(self, **named):
        failed, self._failed = self._failed, False
        real(self, **named)
        self._failed = failed

    monkeypatch.setattr(scribe.Scribe, "hand_over", trusting)
    monkeypatch.setattr(scribe.Scribe, "after", trusting)
    monkeypatch.setattr(scribe.Scribe, "rest", lambda self: trusting(self, at_once=True))
    assert moved_in_doubt(await at_work_in_doubt(folder, monkeypatch))


async def bundle_refused(folder):
    """What the disk saw of a store that goes on after somebody else's write over the same log has failed."""
    with installed(disk := Broken(folder)):
        store = await at_work(folder)
        disk.failing = True
        with pytest.raises(StoreError):
            store.keep_bundle("sha256:1", {"policy": b"permit"})
        disk.failing = False
        store.keep_bundle("sha256:1", {"policy": b"permit"})
        await store.commit(batch(started("after")))
        assert store.task("task_1").calls_used == 21
        store.close()
    return disk.events


async def test_a_bundle_that_was_not_kept_leaves_doubt_too(folder):
    """Its failed sync was of everybody's pages: they are written anew before any of them is moved."""
    assert not moved_in_doubt(await bundle_refused(folder))


async def test_control_who_does_not_hear_of_it_moves_them(folder, monkeypatch):
    """Control: the writer knows of its own failures alone."""
    monkeypatch.setattr(writer.Writer, "beside", lambda _, work: work())
    assert moved_in_doubt(await bundle_refused(folder))


@pytest.mark.parametrize("doubt", [True, False])
async def test_a_bundle_is_not_kept_on_top_of_doubt(folder, monkeypatch, doubt):
    """Its sync would say yes without the pages before it: they are written anew first, and only then (control)."""
    store, said = await at_work(folder), []
    rewrite, keep = scribe.rewrite, store._writer._scribe._right.insist
    monkeypatch.setattr(scribe, "rewrite", lambda log: said.append("anew") or rewrite(log))
    monkeypatch.setattr(store._writer._scribe._right, "insist", lambda wait_s: said.append("taken") or keep(wait_s))
    with store._writer._turn:
        store._writer._scribe._mover.wait()
        store._writer._scribe._mover.failed = doubt
    store.keep_bundle("sha256:1", {"policy": b"permit"})
    assert said == (["anew", "taken"] if doubt else [])
    assert store.bundle("sha256:1") == {"policy": b"permit"}
    store.close()


async def left_by_the_dead(folder, target):
    """Opened where a process has died after its syncs had failed: what the disk sees, as if nothing was durable since."""
    with installed(disk := Broken(folder)):
        store = await at_work(folder)
        with store._writer._turn:
            shutil.copytree(folder, target)
        store.close()
    (target / "log.db-shm").unlink()
    with installed(disk := Broken(target)):
        disk.add_failure(f"{target}/log.db-wal")
        with open_store(target) as store:
            assert store.task("task_1").calls_used == 20
            assert store.rebuild_rows() == []
    return disk.events


async def test_opening_what_the_dead_have_left_writes_it_anew_first(folder, tmp_path):
    """Before anything else is opened and closed."""
    assert not moved_in_doubt(await left_by_the_dead(folder, tmp_path / "left"))


async def test_control_opening_it_as_usual_moves_it(folder, tmp_path, monkeypatch):
    """Control: the first look at the file is the last connection to it."""
    nothing = recovery.contextmanager(lambda _: iter((None,)))
    monkeypatch.setattr(sqlite, "held_still", nothing)
    assert moved_in_doubt(await left_by_the_dead(folder, tmp_path / "left"))
