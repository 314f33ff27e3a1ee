"""The journal through a real store: when it is used, that nobody can tell from what they read, and what a crash leaves."""

import asyncio
import shutil
import sqlite3
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import ConflictError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import ContentSeen, ExecutionEnded, HoldDenied, TaskClosed
from lictor.records.checkpoint import open_checkpoint
from lictor.stores import journal, mover, scribe, writer
from lictor.stores.backup import write_backup
from lictor.stores.memory import MemoryStore
from lictor.stores.recovery import recover
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import connect
from store_samples import (
    DIGEST,
    NOW,
    OTHER,
    approved,
    batch,
    decided,
    ended,
    erasure,
    held,
    opened,
    payload,
    received,
    started,
)

pytestmark = pytest.mark.skipif(not journal.POSSIBLE, reason="no journal on this platform")
ORIGIN = "test.local/log"
SMALL = 24_576
LONG_S = 30.0
SIGNER = Ed25519PrivateKey.generate()


def settings_of(patch, **values):
    for name, value in values.items():
        patch.setattr(scribe, name, value)


def journaled(patch):
    """The journal begins with the second group, in two small files, and ends as soon as it may."""
    settings_of(patch, BUSY_AFTER=0)
    patch.setattr(journal, "FILE_BYTES", SMALL)


def held_up(patch):
    """And does not end by itself: what is in it stays there until somebody wants it."""
    settings_of(patch, QUIET_S=600.0, LINGER_S=600.0, BEHIND=10**9, BEHIND_S=10.0**9)


@pytest.fixture
def eager(monkeypatch):
    journaled(monkeypatch)


@pytest.fixture
def calm(monkeypatch):
    journaled(monkeypatch)
    held_up(monkeypatch)


@pytest.fixture
def make(tmp_path):
    made = []

    def store(folder="state", *, files=True, reopened=False):
        log = tmp_path / folder / "log.db"
        if not reopened:
            log.parent.mkdir(0o700, exist_ok=True)
            if files:
                journal.make(log)
        made.append(SqliteStore(log, signer=SIGNER, origin=ORIGIN))
        return made[-1]

    yield store
    for one in made:
        one.close()


def scribe_of(store):
    return store._writer._scribe


def is_journaling(store):
    return scribe_of(store).journaling


def only_in_journal(store):
    """How many groups are."""
    return len(scribe_of(store).unwritten.parts)


async def until(what):
    async with asyncio.timeout(LONG_S):
        while not what():
            await asyncio.sleep(0.002)


async def begun(store):
    await store.commit(batch(opened(token="t", calls=10_000, value={"EUR": 9})))
    assert is_journaling(store)


def decision(number, **kwargs):
    request = f"req_{number}"
    return batch(received(request), decided(request), payloads=[payload(request, **kwargs)])


def crashed(store, folder):
    """The log as it is when the store's process is killed now: a copy beside it."""
    with store._writer._turn:
        scribe_of(store).take_over()
        scribe_of(store)._mover.wait()
        log = store._log.path
        target = log.parent.with_name(folder)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(0o700)
        for path in log.parent.glob("log.db*"):
            if not path.name.endswith(("-shm", ".new")):
                shutil.copy2(path, target / path.name)
    return target


# -- when ------------------------------------------------------------------------------------------------------------------


async def test_it_begins_after_so_many_groups_and_not_before(make, calm, monkeypatch):
    """As long as nobody was quiet in between."""
    settings_of(monkeypatch, BUSY_AFTER=5)
    monkeypatch.setattr(writer, "SHORT_RUN", 10**9)
    store, seen = make(), []
    for number in range(7):
        await store.commit(batch(opened(f"task_{number}")))
        seen.append(is_journaling(store))
    assert seen == [False] * 5 + [True] * 2


async def test_a_quiet_moment_begins_the_count_anew(make, calm, monkeypatch):
    """Callers that come now and then are served by the tables alone."""
    settings_of(monkeypatch, BUSY_AFTER=5)
    monkeypatch.setattr(writer, "SHORT_RUN", 10**9)
    store, seen = make(), []
    for number in range(12):
        settings_of(monkeypatch, QUIET_S=0.0 if number == 4 else 600.0)
        await store.commit(batch(opened(f"task_{number}")))
        seen.append(is_journaling(store))
    assert seen == [False] * 9 + [True] * 3


async def test_its_files_are_made_meanwhile(make, calm):
    """Nobody waits for it: the tables go on until they are there."""
    store = make(files=False)
    await store.commit(batch(opened()))
    assert not is_journaling(store)
    maker = scribe_of(store)._journal._maker
    await asyncio.to_thread(maker.join, LONG_S)
    await store.commit(batch(started("e1")))
    await store.commit(batch(started("e2")))
    assert only_in_journal(store) == 1
    assert store.task("task_1").calls_used == 2


@pytest.mark.parametrize("why", ["full disk", "readable by others"])
async def test_where_there_can_be_none_the_tables_go_on(make, calm, monkeypatch, why):
    """It is an advantage, not a need."""
    store = make(files=why != "full disk")

    def full(*_):
        raise OSError(28, "no space left on device")

    if why == "full disk":
        monkeypatch.setattr(journal, "write", full)
    else:
        journal.paths(store._log.path)[1].chmod(0o640)
    for number in range(4):
        await store.commit(batch(opened(f"task_{number}")))
    assert not is_journaling(store)
    assert not scribe_of(store)._right.journal_in_use()
    assert (store.size(), store.rebuild_rows()) == (4, [])


async def test_it_ends_with_the_first_quiet_moment(make, eager):
    """Then everything is in the tables, nothing looks like a frame, and nobody is told that there is a journal."""
    store = make()
    await begun(store)
    await asyncio.gather(*(store.commit(batch(started(f"e{n}"))) for n in range(20)))
    await until(lambda: not is_journaling(store))
    assert only_in_journal(store) == 0
    assert not journal.left_over(store._log.path)
    assert not scribe_of(store)._right.mine
    assert not scribe_of(store)._right.journal_in_use()
    with SqliteStore.open_unverified(store._log.path) as view:
        assert len(list(view.entries())) == 21
    assert store.rebuild_rows() == []


async def test_closing_ends_it(make, calm):
    """A good end leaves nothing for the next one to take in."""
    store = make()
    await begun(store)
    await store.commit(batch(started()))
    store.close()
    assert not journal.left_over(store._log.path)
    with SqliteStore.open_unverified(store._log.path) as view:
        assert len(list(view.entries())) == 2
    assert make().task("task_1").calls_used == 1


async def test_the_tables_follow_while_it_goes_on(make, calm, monkeypatch):
    """After so many groups, or so long; the journal is still used."""
    store = make()
    await begun(store)
    settings_of(monkeypatch, BEHIND=4)
    for number in range(4):
        await store.commit(batch(started(f"e{number}")))
    await until(lambda: only_in_journal(store) == 0)
    settings_of(monkeypatch, BEHIND=10**9, BEHIND_S=0.0)
    await store.commit(batch(started("late")))
    await until(lambda: only_in_journal(store) == 0)
    assert is_journaling(store)


async def test_more_than_fits_goes_to_the_tables(make, calm):
    """A group larger than a file, with all before it; the journal goes on behind it."""
    store = make()
    await begun(store)
    await store.commit(batch(started("e1")))
    await store.commit(decision(1, arguments=b"x" * SMALL))
    assert (only_in_journal(store), is_journaling(store)) == (0, True)
    await store.commit(batch(started("e2")))
    assert only_in_journal(store) == 1
    found = make(crashed(store, "copy").name, reopened=True)
    assert (found.size(), found.task("task_1").calls_used) == (5, 2)
    assert found.payload("req_1").arguments == b"x" * SMALL
    assert found.rebuild_rows() == []


@pytest.mark.parametrize("where", ["tables", "journal", "group"])
async def test_what_is_there_already_is_refused_whoever_has_it(make, calm, where):
    """Ids of a group are looked up together: none of a kept execution or payload slips through, nor one that comes twice."""
    store = make()
    await begun(store)

    def one():
        return batch(received("q"), decided("q"), started("e"), payloads=[payload("q")])

    if where != "group":
        await store.commit(one())
    if where == "tables":
        store._writer.flush()
        await store.commit(batch(started("other")))
    news = [batch(started(f"new{number}")) for number in range(3)]
    found = await asyncio.gather(*map(store.commit, [news[0], one(), one(), *news[1:]]), return_exceptions=True)
    refused = [isinstance(each, ConflictError) for each in found]
    assert refused == [False, where != "group", True, False, False]
    assert store.rebuild_rows() == []


async def test_control_ids_that_are_not_looked_up_come_twice(make, calm, monkeypatch):
    """Control: whatever is asked for is taken for new."""

    def trusting(self, batches):
        self._absent = {
            ("execution", one.execution) for each in batches for one in each.records if hasattr(one, "execution")
        }

    monkeypatch.setattr(scribe.Group, "foresee", trusting)
    store = make()
    await begun(store)
    await store.commit(batch(started("e")))
    store._writer.flush()
    scribe_of(store).cache.rows.clear()
    await asyncio.gather(*map(store.commit, [batch(started("e")), batch(started("new"))]))
    assert store.task("task_1").calls_used == 3


# -- readers ---------------------------------------------------------------------------------------------------------------

ROWS = {
    "task": lambda store: store.task("task_1"),
    "task_by_token": lambda store: store.task_by_token("t"),
    "hold": lambda store: [store.hold(f"h{n}") for n in range(5)],
    "live_hold": lambda store: [store.live_hold("task_1", digest) for digest in (DIGEST, OTHER)],
    "execution": lambda store: [store.execution(f"e{n}") for n in range(5)],
    "execution_outcome": lambda store: [store.execution_outcome(f"e{n}") for n in range(5)],
    "erased": lambda store: store.erased("task_1"),
    "origin": lambda store: [store.origin("task_1", f"v{n}") for n in range(3)],
    "spilled": lambda store: store.spilled("task_1"),
    "containments": lambda store: (store.containments(), store.containment_changes()),
    "revision": lambda store: store.revision(),
}
TABLES = {
    "tasks": lambda store: list(store.tasks()),
    "descendants": lambda store: list(store.descendants("task_1")),
    "holds": lambda store: list(store.holds()),
    "pending holds": lambda store: list(store.holds(pending_only=True)),
    "holds_opened_since": lambda store: store.holds_opened_since("task_1", NOW),
    "open_executions": lambda store: list(store.open_executions()),
    "indeterminate": lambda store: list(store.indeterminate()),
    "leases": lambda store: list(store.leases()),
    "payload": lambda store: [store.payload(f"req_{n}") for n in range(5)],
    "sealed": lambda store: list(store.sealed()),
    "size": lambda store: store.size(),
    "entries": lambda store: list(store.entries()),
    "newest_checkpoint": lambda store: open_checkpoint(store.newest_checkpoint(), store.verifier_key),
    "checkpoints": lambda store: open_checkpoint(list(store.checkpoints())[-1], store.verifier_key),
    "rebuild_rows": lambda store: store.rebuild_rows() if isinstance(store, SqliteStore) else [],
}
HISTORY = [
    lambda: decision(1),
    lambda: batch(started("e1")),
    lambda: batch(held("h1"), held("h2", digest=OTHER)),
    lambda: batch(ended("e1"), started("e2", value=3, currency="EUR")),
    lambda: batch(ExecutionEnded(execution="e2", outcome="indeterminate")),
    lambda: batch(approved("h1")),
    lambda: batch(started("e3", hold="h1"), HoldDenied(hold="h2", by="bob", note="no")),
    lambda: batch(ContentSeen(task="task_1", source="tool:s/t", labels=("a",), carried=(), values=("v0", "v1"))),
    lambda: decision(2),
    lambda: batch(TaskClosed(task="task_1", by="op")),
]


async def wrong_reads(store, what):
    """Reads that differ from those of a store without a disk, of which every commit before it was only in the journal."""
    memory, wrong = MemoryStore(signer=SIGNER, origin=ORIGIN), []
    first = batch(opened(token="t", calls=10_000, value={"EUR": 9}))
    await memory.commit(first)
    await store.commit(first)
    reads = {**ROWS, **TABLES}
    for make_one in HISTORY:
        one = make_one()
        assert await store.commit(one) == await memory.commit(one)
        assert only_in_journal(store)
        if reads[what](store) != reads[what](memory):
            wrong.append(one.records)
    return wrong


@pytest.mark.parametrize("what", [*ROWS, *TABLES])
async def test_an_acknowledged_commit_is_seen_by_the_next_read(make, calm, what):
    """By every method, when only the journal has it, also where the same was read and kept before."""
    assert await wrong_reads(make(), what) == []


@pytest.mark.parametrize("what", ["task", "live_hold"])
async def test_control_who_reads_the_tables_alone_is_behind(make, calm, what, monkeypatch):
    """The same reads without the difference between journal and tables."""
    store = make()
    monkeypatch.setattr(store, "_row", store._known.get)
    monkeypatch.setattr(store, "_scoped", store._known.scoped)
    assert await wrong_reads(store, what)


@pytest.mark.parametrize("what", ["tasks", "entries", "payload"])
async def test_control_lists_of_the_tables_alone_are_behind(make, calm, what, monkeypatch):
    """The same for what is a query."""
    store = make()
    monkeypatch.setattr(store, "_all", store._in_tables)
    assert await wrong_reads(store, what)


async def test_a_read_of_a_row_does_not_end_it(make, calm):
    """Decisions read rows all the time: they cost the tables nothing."""
    store = make()
    await begun(store)
    for number in range(5):
        await store.commit(batch(started(f"e{number}")))
        for read in ROWS.values():
            read(store)
    assert only_in_journal(store) == 5


# -- other stores on the file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("read", ["task", "tasks"])
async def test_another_store_sees_what_was_acknowledged_and_its_writes_come_in(make, eager, read):
    """With its next read, row or list, while the first one keeps a journal; and the other way round."""
    first, second = make(), make()
    reads = {**ROWS, **TABLES}
    await first.commit(batch(opened(token="t", calls=10_000, value={"EUR": 9})))
    used = 0
    for number in range(6):
        one, other = (first, second) if number % 2 else (second, first)
        for turn in range(3):
            await one.commit(batch(started(f"e{number}_{turn}")))
        used += 3
        for store in (other, one):
            found = reads[read](store)
            assert (found[0] if read == "tasks" else found).calls_used == used
    assert first.size() == second.size() == used + 1
    assert first.rebuild_rows() == second.rebuild_rows() == []


async def test_two_stores_that_write_at_once_lose_nothing(make, eager):
    """Each has its journal for a while; together they are one log."""
    stores = [make(), make()]
    await stores[0].commit(batch(opened(calls=10_000)))

    async def work(which):
        for number in range(20):
            await stores[which].commit(batch(started(f"e{which}_{number}")))

    receipts = await asyncio.gather(work(0), work(1))
    assert receipts == [None, None]
    assert [store.task("task_1").calls_used for store in stores] == [40, 40]
    assert [store.size() for store in stores] == [41, 41]
    assert stores[1].rebuild_rows() == []


async def test_a_store_that_keeps_the_log_to_itself_makes_others_fail(make, calm, monkeypatch):
    """Who does not get in records nothing and reads nothing old."""
    monkeypatch.setattr(scribe.sqlite_schema, "BUSY_S", 0.05)
    first, second = make(), make()
    await begun(first)
    await first.commit(batch(started()))
    with first._writer._turn:  # it is busy, and cannot look who waits
        for act in (lambda: second.task("task_1"), second.tasks):
            with pytest.raises(StoreError) as raised:
                act()
            assert raised.value.reason is Reason.CANNOT_RECORD
        with pytest.raises(StoreError):
            await second.commit(batch(started("other")))
    first.close()
    assert second.task("task_1").calls_used == 1
    await second.commit(batch(started("other")))


# -- what is refused ---------------------------------------------------------------------------------------------------------


async def test_a_refused_batch_leaves_no_trace(make, calm):
    """Alone no frame, with others nothing in theirs."""
    store = make()
    await begun(store)
    before = [path.read_bytes() for path in journal.paths(store._log.path)]
    with pytest.raises(ConflictError):
        await store.commit(batch(started("e0"), ended("nobody")))
    assert only_in_journal(store) == 0
    assert [path.read_bytes() for path in journal.paths(store._log.path)] == before
    jobs = [batch(started("e1")), batch(started("e2"), ended("nobody")), batch(started("e3"))]
    outcomes = await asyncio.gather(*(store.commit(one) for one in jobs), return_exceptions=True)
    assert [type(one).__name__ for one in outcomes] == ["Receipt", "ConflictError", "Receipt"]
    assert [store.execution_outcome(f"e{n}") for n in range(4)] == [None, "started", None, "started"]
    assert (store.size(), store.rebuild_rows()) == (3, [])
    found = make(crashed(store, "copy").name, reopened=True)
    assert (found.size(), found.execution_outcome("e2")) == (3, None)


async def test_a_payload_is_kept_once(make, calm):
    """Also when only the journal has the first one: another would replace what was judged."""
    store = make()
    await begun(store)
    await store.commit(decision(1, arguments=b"judged"))
    assert only_in_journal(store) == 1
    with pytest.raises(ConflictError):
        await store.commit(decision(1, arguments=b"another"))
    assert store.payload("req_1").arguments == b"judged"
    with pytest.raises(ConflictError):
        await store.commit(decision(1, arguments=b"another"))


async def test_an_action_is_redeemed_once(make, calm):
    """What is in the journal counts like what is in the tables."""
    store = make()
    await begun(store)
    await store.commit(batch(held("h1")))
    await store.commit(batch(approved("h1")))
    await store.commit(batch(started("e1", hold="h1")))
    assert only_in_journal(store) == 3
    with pytest.raises(ConflictError):
        await store.commit(batch(started("e2", hold="h1")))


# -- keys, bundles, backups --------------------------------------------------------------------------------------------------


def bytes_of(store):
    return b"".join(path.read_bytes() for path in journal.paths(store._log.path))


def task_keys(store):
    connection = connect(store._log.path, read_only=True)
    try:
        return dict(connection.execute("SELECT task, key FROM task_keys"))
    finally:
        connection.close()


async def test_keys_are_never_in_its_files(make, calm):
    """Those of tasks are destroyed in the tables, so they are nowhere else; those of the log are nobody's business."""
    store = make()
    await begun(store)
    for number in range(5):
        await store.commit(batch(opened(f"other_{number}")))
        await store.commit(decision(number))
        one = payload(f"of_{number}", task=f"unknown_{number}")
        await store.commit(batch(received(f"of_{number}", task=f"unknown_{number}"), payloads=[one]))
        await store.commit(batch(started(f"e{number}")))
    keys = task_keys(store)
    assert len(keys) == 11
    written = bytes_of(store)
    assert b'"e4"' in written  # control: what is in it can be found
    for key in (*keys.values(), SIGNER.private_bytes_raw(), store._log.journal_key()):
        assert key not in written
        assert key.hex().encode() not in written


async def test_erasing_works_while_it_is_used(make, calm):
    """The key is gone from every file, what the journal still has of the payload opens for nobody, and no more is kept."""
    store = make()
    await begun(store)
    await store.commit(decision(1))
    await store.commit(decision(2))
    assert only_in_journal(store) == 2
    key = task_keys(store)["task_1"]
    await store.commit(erasure())
    assert is_journaling(store)
    assert (store.payload("req_1"), store.payload("req_2"), list(store.sealed())) == (None, None, [])
    assert store.erased("task_1") is not None
    assert store.scrub()
    assert all(key not in path.read_bytes() for path in store._log.path.parent.glob("log.db*"))
    await store.commit(decision(3))
    assert store.payload("req_3") is None
    found = make(crashed(store, "copy").name, reopened=True)
    assert (found.payload("req_1"), list(found.sealed()), found.rebuild_rows()) == (None, [], [])
    assert found.erased("task_1") == store.erased("task_1")


async def test_bundles_scrubs_and_backups_come_in_between(make, calm, tmp_path):
    """Each by itself and then all of it again, with groups in the journal before and behind."""
    store = make()
    await begun(store)
    for number in range(3):
        await store.commit(batch(started(f"a{number}")))
        store.keep_bundle(f"sha256:{number}", {"policy": b"permit"})
        await store.commit(batch(started(f"b{number}")))
        assert store.scrub()
        await store.commit(batch(started(f"c{number}")))
        assert only_in_journal(store)
        size = store.size()
        made = write_backup(store._log, tmp_path / f"backup{number}", {}, NOW)
        assert made.size == size
        await store.commit(batch(started(f"d{number}")))
        assert store.bundle(f"sha256:{number}") == {"policy": b"permit"}
        assert store.task("task_1").calls_used == 4 * (number + 1)
    assert is_journaling(store)
    found = make(crashed(store, "copy").name, reopened=True)
    assert (found.size(), found.rebuild_rows(), found.bundle("sha256:2")) == (13, [], {"policy": b"permit"})


async def test_a_backup_of_what_is_only_in_the_tables_is_whole(make, calm, tmp_path):
    """Taken without asking the gateway, it is the log of a moment before, and fits its checkpoint."""
    store = make()
    await begun(store)
    await store.commit(batch(started()))
    assert only_in_journal(store)
    assert write_backup(store._log, tmp_path / "backup", {}, NOW).size == 1


# -- what a crash leaves -----------------------------------------------------------------------------------------------------


def told(store):
    return [entry.data for entry in store.entries()]


async def test_what_a_dead_process_left_is_taken_in_by_whoever_opens_it(make, calm):
    """Everything that was acknowledged, in its order, with its payloads; once, however often it is opened."""
    store = make()
    await begun(store)
    for make_one in HISTORY:
        await store.commit(make_one())
    assert only_in_journal(store) == len(HISTORY)
    crashed(store, "copy")
    with SqliteStore.open_unverified(store._log.path.parent.with_name("copy") / "log.db") as view:
        assert len(list(view.entries())) == 1  # control: the tables alone have nothing of it
    expected = told(store)
    for _ in range(3):
        found = make("copy", reopened=True)
        assert (told(found), found.rebuild_rows()) == (expected, [])
        assert {name: read(found) for name, read in ROWS.items()} == {name: read(store) for name, read in ROWS.items()}
        for name in set(TABLES) - {"entries"}:
            assert TABLES[name](found) == TABLES[name](store)
        assert not scribe_of(found)._right.journal_in_use()
        found.close()
        log = found._log
        recover(log)
        recover(log)
    found = make("copy", reopened=True)
    await found.commit(decision(9))
    assert told(found)[: len(expected)] == expected


async def test_an_open_store_takes_in_what_a_dead_process_left(make, eager, tmp_path):
    """It was open all the time; the other one dies, and the next read or commit shows all of it."""
    for act in ("read", "list", "commit"):
        with pytest.MonkeyPatch.context() as patch:
            held_up(patch)
            store = make(f"from {act}")
            await begun(store)
            await store.commit(batch(started("e1")))
            folder = crashed(store, f"to {act}")
        parts = {path.name: path.read_bytes() for path in folder.glob("log.db.*")}
        for name in parts:
            (folder / name).unlink()
        found = make(folder.name, reopened=True)
        assert found.size() == 1
        for name, data in parts.items():  # as they stand when the other one has died
            target = folder / name
            if name.endswith(".right"):
                with target.open("r+b") as file:
                    file.write(data)
            else:
                target.write_bytes(data)
                target.chmod(0o600)
        if act == "commit":
            await found.commit(batch(started("e2")))
        seen = found.task("task_1").calls_used if act != "list" else found.tasks()[0].calls_used
        assert seen == (2 if act == "commit" else 1)
        assert found.rebuild_rows() == []


async def test_any_moment_of_a_long_journal_is_recovered(make, calm, monkeypatch):
    """Files written over many times, tables that follow, pages that move: a copy of each moment is the log as acknowledged."""
    settings_of(monkeypatch, BEHIND=3, CHECKPOINT_BUSY=60_000)
    store = make()
    await begun(store)
    turned = []
    real = journal.Journal.turn
    monkeypatch.setattr(journal.Journal, "turn", lambda *given: turned.append(real(*given)) or turned[-1])
    for number in range(60):
        await store.commit(decision(number, arguments=b"x" * (number * 37 % 900)))
        if number % 6 == 0:
            found = make(crashed(store, f"copy{number}").name, reopened=True)
            assert found.size() == 2 * number + 3
            assert found.payload(f"req_{number}") is not None
            assert found.rebuild_rows() == []
            found.close()
    assert sum(turned) > 1
    assert store.rebuild_rows() == []


@pytest.mark.parametrize("then", ["goes on", "ends"])
async def test_a_failed_frame_is_refused_and_never_comes_back(make, calm, monkeypatch, then):
    """The disk refused it: its waiter is told so, what was before stays, and the next one is recorded in the tables."""
    store = make()
    await begun(store)
    await store.commit(batch(started("e1")))

    def broken(_):
        raise OSError(5, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "sync", broken)
        with pytest.raises(StoreError) as raised:
            await store.commit(batch(started("lost")))
    assert raised.value.reason is Reason.CANNOT_RECORD
    assert store.task("task_1").calls_used == 1
    if then == "goes on":
        await store.commit(batch(started("e2")))
        found = make(crashed(store, "copy").name, reopened=True)
    else:
        store.close()
        store = found = make()
        await store.commit(batch(started("e2")))
    assert [store.execution_outcome(one) for one in ("e1", "lost", "e2")] == ["started", None, "started"]
    assert (found.execution_outcome("lost"), found.size()) == (None, 3)
    assert store.rebuild_rows() == found.rebuild_rows() == []


@pytest.mark.parametrize("moves", [True, False])
async def test_pages_are_moved_although_nothing_goes_to_the_journal(make, calm, monkeypatch, moves):
    """Groups that make keys are for the tables alone; without moves (control) the write-ahead log grows with each of them."""
    settings_of(monkeypatch, CHECKPOINT_BUSY=60_000)
    if not moves:
        monkeypatch.setattr(mover.Mover, "start", lambda *_: None)
    store, sizes = make(), []
    await begun(store)
    wal = store._log.path.with_name("log.db-wal")
    for number in range(200):
        await store.commit(batch(opened(f"other_{number}")))
        await until(lambda: not scribe_of(store)._mover.busy)
        sizes.append(wal.stat().st_size)
    assert is_journaling(store)
    assert (max(sizes) < 1_000_000) == moves


async def test_both_files_full_of_what_only_they_have_go_to_the_tables(make, calm, monkeypatch):
    """Nothing catches up by itself here: a file is written over only once the tables have everything in it, durably."""
    store, left = make(), []
    await begun(store)
    for number in range(70):
        await store.commit(decision(number, arguments=b"x" * 700))
        left.append(only_in_journal(store))
        if number % 5 == 0:
            found = make(crashed(store, "copy").name, reopened=True)
            assert (found.size(), found.rebuild_rows()) == (2 * number + 3, [])
            found.close()
    assert left.count(0) >= 1
    assert max(left) > SMALL // 2_000


async def test_pages_that_could_not_be_moved_end_it(make, calm, monkeypatch):
    """After a failed sync a second one may find nothing to do: the write-ahead log is written anew before pages move again."""
    settings_of(monkeypatch, BEHIND=2, CHECKPOINT_BUSY=1)
    store, said = make(), []
    real = scribe.rewrite
    monkeypatch.setattr(scribe, "rewrite", lambda log: said.append("rewritten") or real(log))

    def moved(_):
        said.append("moved")
        raise sqlite3.OperationalError("disk I/O error")

    await begun(store)
    with monkeypatch.context() as patch:
        patch.setattr(mover, "connect", moved)
        for number in range(4):
            await store.commit(batch(started(f"e{number}")))
            await until(lambda: not scribe_of(store)._mover.busy)
        await until(lambda: "rewritten" in said)
    assert said == (["moved", "rewritten"] * len(said))[: len(said)]
    await store.commit(batch(started("last")))
    assert store.task("task_1").calls_used == 5
    assert store.rebuild_rows() == []


# -- any history -------------------------------------------------------------------------------------------------------------

KINDS = {
    "open": lambda a, _: batch(opened(f"task_{a}", token=f"t{a}", calls=20)),
    "start": lambda a, b: batch(started(f"e{b}", task=f"task_{a}")),
    "end": lambda _, b: batch(ended(f"e{b}")),
    "hold": lambda a, b: batch(held(f"h{b}", task=f"task_{a}", digest=(DIGEST, OTHER)[b % 2])),
    "approve": lambda _, b: batch(approved(f"h{b}", digest=(DIGEST, OTHER)[b % 2])),
    "redeem": lambda a, b: batch(
        started(f"r{b}", task=f"task_{a}", hold=f"h{b}", digest=(DIGEST, OTHER)[b % 2]), ended(f"r{b}")
    ),
    "decide": lambda a, b: batch(
        received(f"q{a}_{b}", task=f"task_{a}"),
        decided(f"q{a}_{b}"),
        payloads=[payload(f"q{a}_{b}", task=f"task_{a}", arguments=b"x" * 700 * b)],
    ),
    "close": lambda a, _: batch(TaskClosed(task=f"task_{a}", by="op")),
    "erase": lambda a, _: erasure(f"task_{a}"),
}
COMMITS = st.lists(
    st.tuples(st.sampled_from([*KINDS, *["start", "hold", "decide"] * 2]), st.integers(1, 2), st.integers(0, 5)),
    min_size=1, max_size=6,
)  # fmt: skip
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.integers(0, 1), COMMITS),
        st.tuples(st.just("commit"), st.just(0), COMMITS),
        st.tuples(st.sampled_from(["look", "list", "reopen"]), st.integers(0, 1), st.none()),
        st.tuples(st.sampled_from(["quiet", "crash"]), st.just(0), st.none()),
    ),
    min_size=4,
    max_size=14,
)


def rows_of(store):
    return (
        [store.task(f"task_{n}") for n in (1, 2)],
        [store.task_by_token(f"t{n}") for n in (1, 2)],
        [store.erased(f"task_{n}") for n in (1, 2)],
        [(store.hold(f"h{n}"), store.execution(f"e{n}"), store.execution_outcome(f"r{n}")) for n in range(6)],
        [store.live_hold(f"task_{n}", digest) for n in (1, 2) for digest in (DIGEST, OTHER)],
    )


def lists_of(store):
    return (
        list(store.entries()),
        [list(store.tasks()), list(store.holds()), list(store.open_executions()), list(store.sealed())],
        [store.payload(f"q{a}_{n}") for a in (1, 2) for n in range(6)],
        open_checkpoint(store.newest_checkpoint(), store.verifier_key),
    )


async def outcome(store, one):
    try:
        return await store.commit(one)
    except (ConflictError, StoreError):
        return "refused"


@contextmanager
def stores_at(log, count):
    made = [SqliteStore(log, signer=SIGNER, origin=ORIGIN) for _ in range(count)]
    try:
        yield made
    finally:
        for store in made:
            store.close()


async def follow(log, steps, *, copy="copy"):
    """Two stores on one file do what is asked; each answer is compared with that of a store that has no disk."""
    memory = MemoryStore(signer=SIGNER, origin=ORIGIN)
    with stores_at(log, 2) as made:
        for what, which, commits in steps:
            store = made[which]
            if what == "commit":
                for kind, a, b in commits:
                    one = KINDS[kind](a, b)
                    assert await outcome(store, one) == await outcome(memory, one)
                assert rows_of(store) == rows_of(memory)
            elif what == "look":
                assert rows_of(store) == rows_of(memory)
            elif what == "list":
                assert lists_of(store) == lists_of(memory)
            elif what == "reopen":
                store.close()
                made[which] = SqliteStore(log, signer=SIGNER, origin=ORIGIN)
            elif what == "quiet":
                await until(lambda: not any(is_journaling(one) for one in made))
            else:
                _compare_copy(next((one for one in made if is_journaling(one)), store), copy, memory)
        for store in made:
            assert (rows_of(store), lists_of(store)) == (rows_of(memory), lists_of(memory))
            assert store.rebuild_rows() == []


def _compare_copy(store, copy, memory):
    folder = crashed(store, copy)
    with stores_at(folder / "log.db", 1) as [found]:
        assert (rows_of(found), lists_of(found)) == (rows_of(memory), lists_of(memory))
        assert found.rebuild_rows() == []


@settings(max_examples=15, deadline=None)
@given(steps=STEPS)
def test_no_history_shows_that_there_is_a_journal(tmp_path_factory, steps):
    """Commits of two stores, quiet moments, ends, crashes: every read is that of a store without one."""
    log = tmp_path_factory.mktemp("history") / "state" / "log.db"
    log.parent.mkdir(0o700)
    with pytest.MonkeyPatch.context() as patch:
        journaled(patch)
        settings_of(patch, QUIET_S=0.01, BEHIND=3, CHECKPOINT_BUSY=60_000)
        journal.make(log)
        asyncio.run(follow(log, steps))


def test_control_what_the_journal_has_is_forgotten(tmp_path, monkeypatch):
    """The same comparison with a recovery that finds nothing."""
    journaled(monkeypatch)
    held_up(monkeypatch)
    monkeypatch.setattr(journal, "frames", lambda *_: [])
    log = tmp_path / "state" / "log.db"
    log.parent.mkdir(0o700)
    journal.make(log)
    steps = [("commit", 0, [("open", 1, 0), ("start", 1, 0), ("hold", 1, 0)]), ("crash", 0, None)]
    with pytest.raises(AssertionError):
        asyncio.run(follow(log, steps))


async def refused_and_not_removed(store, patch):
    """A frame whose sync fails, in files that cannot be removed, and another: what each is told."""
    real, syncs = journal.sync, []

    def fails_once(file):
        syncs.append(file)
        if len(syncs) == 1:
            fails()
        real(file)

    def fails(*_):
        raise OSError(5, "input/output error")

    with patch.context() as broken:
        broken.setattr(journal, "sync", fails_once)
        broken.setattr(journal, "sync_folder", fails)
        return [
            await outcome(store, batch(received(f"req_{one}"), decided(f"req_{one}"))) for one in ("first", "again")
        ]


async def test_what_was_refused_stays_out_while_the_files_cannot_be_removed(make, calm, monkeypatch):
    """Whoever was refused finds nothing of it in the log, however long the disk does not let go of the frame."""
    store = make()
    await begun(store)
    before = store.size()
    assert await refused_and_not_removed(store, monkeypatch) == ["refused", "refused"]
    assert store.size() == before
    await store.commit(batch(received("req_after"), decided("req_after")))
    assert store.size() == before + 2
    assert store.rebuild_rows() == []


async def test_control_files_that_are_let_go_first_bring_back_what_was_refused(make, calm, monkeypatch):
    """Control: closed before they are removed, they count as a dead process's, and the frame is taken in."""
    real = journal.Journal.discard

    def closed_first(self):
        self.close(clear=False)
        journal.sync_folder(self._paths[0].parent)
        real(self)

    monkeypatch.setattr(journal.Journal, "discard", closed_first)
    store = make()
    await begun(store)
    told = await refused_and_not_removed(store, monkeypatch)
    await outcome(store, batch(received("req_after"), decided("req_after")))
    assert told[0] == "refused"
    assert any(b"req_first" in entry.data for entry in store.entries())
