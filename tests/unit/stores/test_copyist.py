"""What the journal has goes into the tables beside what is recorded meanwhile; with real stores, and the copyist held up."""

import asyncio
import sqlite3
import threading

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.stores import copyist, journal, scribe, tables, writer
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import connect
from store_samples import batch, decided, opened, payload, received, started

pytestmark = pytest.mark.skipif(not journal.POSSIBLE, reason="no journal on this platform")
SIGNER = Ed25519PrivateKey.generate()
LONG_S = 30.0


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Stores whose second group goes to a journal that does not end by itself, and whose tables follow with every group."""
    for name, value in {"BUSY_AFTER": 0, "QUIET_S": 600.0, "LINGER_S": 600.0, "BEHIND": 1}.items():
        monkeypatch.setattr(scribe, name, value)
    made = []

    def store():
        log = tmp_path / "state" / "log.db"
        log.parent.mkdir(0o700, exist_ok=True)
        journal.make(log)
        made.append(SqliteStore(log, signer=SIGNER, origin="test.local/log"))
        return made[-1]

    yield store
    for one in made:
        one.close()


@pytest.fixture
def gate(monkeypatch):
    """Copies begin once it is opened; `reached` says that one waits."""
    real, gate, reached = copyist.Copyist._copy, threading.Event(), threading.Event()

    def held(self, cursor, parts):
        reached.set()
        assert gate.wait(LONG_S)
        return real(self, cursor, parts)

    monkeypatch.setattr(copyist.Copyist, "_copy", held)
    gate.reached = reached
    yield gate
    gate.set()


def scribe_of(store):
    return store._writer._scribe


def in_tables(store):
    connection = connect(store._log.path, read_only=True)
    try:
        return connection.execute("SELECT count(*) FROM entries").fetchone()[0]
    finally:
        connection.close()


async def until(what):
    async with asyncio.timeout(LONG_S):
        while not what():
            await asyncio.sleep(0.002)


async def begun(store):
    await store.commit(batch(opened(token="t", calls=10_000)))
    await store.commit(batch(started("first")))
    assert scribe_of(store).journaling


async def test_groups_are_recorded_and_seen_while_a_copy_is_under_way(make, gate):
    """Nobody waits for the tables: not who records, not who reads a row; who lists them does."""
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    for number in range(20):
        await store.commit(batch(started(f"e{number}"), received(f"q{number}"), decided(f"q{number}")))
        assert store.execution(f"e{number}") is not None
        assert store.task("task_1").calls_used == number + 2
    assert (in_tables(store), len(scribe_of(store).unwritten.parts)) == (1, 21)
    gate.set()
    assert store.size() == 62
    assert store.rebuild_rows() == []


async def test_what_is_copied_is_not_unwritten_any_more(make):
    """As soon as it is there, and nothing else with it; the head fits in between."""
    store = make()
    await begun(store)
    for number in range(50):
        await store.commit(batch(started(f"e{number}")))
        assert store.task("task_1").calls_used == number + 2
    await until(lambda: not scribe_of(store).unwritten.parts)
    assert scribe_of(store).unwritten.changes == {}
    assert in_tables(store) == 52
    assert scribe_of(store).journaling
    with SqliteStore.open_unverified(store._log.path) as view:
        assert [one.seq for one in view.entries()] == list(range(52))


async def test_control_dropped_too_early_a_reader_is_behind(make, gate, monkeypatch):
    """Control: what is handed over counts as written; the next read of a row does not see what was acknowledged."""
    real = copyist.Copyist.start

    def hasty(self, parts):
        real(self, parts)
        scribe_of(store).unwritten.drop(len(parts))

    monkeypatch.setattr(copyist.Copyist, "start", hasty)
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    await store.commit(batch(started("e1")))
    assert store.execution("first") is None
    gate.set()


async def test_a_key_that_is_made_meanwhile_waits_for_the_copy(make, gate):
    """Two that write the tables are never at it at once: the second goes on where the first has ended."""
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    opening = asyncio.ensure_future(store.commit(batch(opened("task_2"))))
    await asyncio.sleep(0.05)
    assert not opening.done()
    gate.set()
    await opening
    assert (in_tables(store), store.task("task_2").status.value) == (3, "open")
    assert store.rebuild_rows() == []


@pytest.mark.parametrize("where", ["connect", "write", "sign"])
async def test_a_copy_that_fails_loses_nothing(make, monkeypatch, where):
    """What it had stays in the journal until somebody can write it; then the tables have all of it, once."""
    store, failed = make(), threading.Event()
    await begun(store)
    await until(lambda: not scribe_of(store).unwritten.parts)

    def broken(*_, **__):
        failed.set()
        if where == "sign":
            raise ValueError("a defect")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        if where == "connect":
            scribe_of(store)._copyist.close()
        patch.setattr(
            *{"connect": (copyist, "connect"), "write": (tables, "insert"), "sign": (tables, "_write_rows")}[where],
            broken,
        )
        await store.commit(batch(started("e1")))
        await until(failed.is_set)
        assert store.execution("e1") is not None
    assert await _recorded_in_the_end(store, "e2")
    assert store.task("task_1").calls_used == 3
    assert store.size() == in_tables(store)
    assert store.rebuild_rows() == []


async def _recorded_in_the_end(store, name):
    for _ in range(5):
        try:
            await store.commit(batch(started(name)))
        except StoreError as error:
            assert error.reason is Reason.CANNOT_RECORD
        else:
            return True
    return False


async def test_tables_that_do_not_end_where_they_were_left_are_not_written(make, gate):
    """Somebody has appended who had no right to: neither the copy nor anything after it is put on top."""
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    forged = connect(store._log.path)
    size = in_tables(store)
    forged.execute("INSERT INTO entries VALUES(?, ?, ?)", (size, b"{}", bytes(32)))
    forged.execute(
        "UPDATE head SET frontier = ?", ((size + 1).to_bytes(8, "big") + bytes(32 * (size + 1).bit_count()),)
    )
    forged.close()
    gate.set()
    with pytest.raises(StoreError):
        store.size()
    for _ in range(3):
        with pytest.raises(StoreError):
            await store.commit(batch(started("e1")))
    assert in_tables(store) == size + 1


async def test_closing_waits_for_it(make, gate):
    """Everything is in the tables, and its thread is gone."""
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    threading.Timer(0.05, gate.set).start()
    store.close()
    assert in_tables(store) == 2
    assert not journal.left_over(store._log.path)
    assert scribe_of(store)._copyist._thread is None


async def test_far_behind_nobody_is_served_before_the_tables_have_caught_up(make, gate, monkeypatch):
    """What a crash would leave, and what memory holds, is bounded."""
    monkeypatch.setattr(scribe, "MOST_BEHIND", 4)
    store = make()
    await begun(store)
    await until(gate.reached.is_set)
    jobs = []
    for number in range(12):
        jobs.append(asyncio.ensure_future(store.commit(batch(started(f"e{number}")))))
        await asyncio.sleep(0.02)
    assert not jobs[-1].done()
    assert len(scribe_of(store).unwritten.parts) <= 5
    gate.set()
    await asyncio.gather(*jobs)
    assert store.task("task_1").calls_used == 13


async def test_a_caller_alone_is_served_on_its_loop_by_the_journal(make, monkeypatch):
    """Its frames are as durable, and the loop opens no file: the thread begins the journal."""
    monkeypatch.setattr(scribe, "BUSY_AFTER", 12)
    monkeypatch.setattr(writer, "SHORT_S", 10.0)
    store, served, began = make(), [], []
    real, start = writer.Writer._serve, scribe.Scribe._start_journal

    def serve(self):
        real(self)
        served.append(self._scribe.journaling)

    def started_by(self, cursor):
        start(self, cursor)
        if self.journaling:
            began.append(threading.current_thread().name)

    monkeypatch.setattr(writer.Writer, "_serve", serve)
    monkeypatch.setattr(scribe.Scribe, "_start_journal", started_by)
    await store.commit(batch(opened(calls=1_000)))
    for number in range(60):
        await store.commit(batch(started(f"e{number}"), received(f"q{number}"), payloads=[payload(f"q{number}")]))
    assert began == ["lictor-records"]
    assert sum(served) > 10
    assert (store.task("task_1").calls_used, store.size()) == (60, 121)
    assert store.rebuild_rows() == []
