"""The SQLite store beyond the contract: durability settings, other processes, damage, a full disk."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import ConflictError, OperatorError, StoreError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import HoldExpired, TaskClosed
from lictor.records.verify import verify_log
from lictor.stores import scribe, sqlite_schema
from lictor.stores.commit import entries_of
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import connect
from store_samples import DIGEST, NOW, batch, decided, ended, erasure, held, opened, payload, received, started

ORIGIN = "test.local/log"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


def open_store(folder, **kwargs):
    return SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN, **kwargs)


async def filled(folder, count=5):
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        for number in range(count):
            await store.commit(
                batch(received(f"req_{number}"), decided(f"req_{number}"), payloads=[payload(f"req_{number}")])
            )
        return store.newest_checkpoint()


def in_another_process(folder, body):
    """Run statements with `store`, `commit` and the samples in scope; its output comes back."""
    script = "\n".join(
        [
            "import asyncio, sys",
            "from pathlib import Path",
            "from store_samples import *",
            "from lictor.stores.keys import Keys",
            "from lictor.stores.sqlite import SqliteStore",
            f"folder = Path({str(folder)!r})",
            f"store = SqliteStore(folder / 'log.db', signer=Keys.open(folder).signer, origin={ORIGIN!r})",
            "commit = lambda *records, **kwargs: asyncio.run(store.commit(batch(*records, **kwargs)))",
            textwrap.dedent(body),
        ]
    )
    tests = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent / "src"), str(tests)])}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def damage(folder, *statements):
    """Change the file behind the store's back, as somebody with write access can."""
    connection = sqlite3.connect(folder / "log.db")
    for name in ("entries_append", "entries_update", "entries_delete", "checkpoints_update", "checkpoints_delete"):
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(*statement) if isinstance(statement, tuple) else connection.execute(statement)
    connection.commit()
    connection.close()


def refused_opening(folder, **kwargs):
    with pytest.raises((StoreError, OperatorError)) as caught:
        open_store(folder, **kwargs)
    return caught.value.reason


async def test_everything_survives_closing(folder):
    """State, payloads, bundles and log are there after opening again."""
    with open_store(folder) as store:
        await store.commit(batch(opened(token="t"), held(), payloads=[payload()]))
        await store.commit(batch(started("e1", labels=("x",))))
        store.keep_bundle("r1", {"a": b"1"})
    with open_store(folder) as store:
        assert store.task("task_1").labels == ("x",)
        assert store.task_by_token("t").calls_used == 1
        assert store.live_hold("task_1", DIGEST).id == "hold_1"
        assert store.payload("req_1") == payload()
        assert store.bundle("r1") == {"a": b"1"}
        assert store.execution_outcome("e1") == "started"
        assert store.size() == 3
        await store.commit(batch(ended("e1")))
        assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


async def test_files_are_private(folder):
    """0700 for the folder, 0600 for every file in it, write-ahead log included."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = list(folder.iterdir())
        assert {file.name for file in files} >= {"log.db", "log.db-wal", "log.key", "state.key"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_a_log_open_to_others_is_refused(folder):
    """Task keys are in the file: whoever can read it can read payloads."""
    await filled(folder)
    (folder / "log.db").chmod(0o640)
    assert refused_opening(folder) is Reason.CONFIG_REFUSED


def test_connections_are_durable_and_wary(folder):
    """WAL, FULL, foreign keys on, schema not trusted, waiting bounded; the reader cannot write."""
    open_store(folder).close()
    connection = connect(folder / "log.db")
    names = ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "busy_timeout", "query_only")
    values = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert values == ["wal", 2, 1, 0, 5000, 0]
    connection.close()
    reader = connect(folder / "log.db", read_only=True)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM rows")
    reader.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET data = x'00' WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 1",
        "REPLACE INTO entries VALUES(1, x'00', x'00')",
        "INSERT INTO entries VALUES(1000, x'00', x'00')",
        "UPDATE checkpoints SET text = '' WHERE size = 1",
        "DELETE FROM checkpoints WHERE size = 1",
        "REPLACE INTO checkpoints VALUES(1, '')",
    ],
)
async def test_the_log_only_grows(folder, statement):
    """Triggers abort every change of the log's tables that is not an append."""
    await filled(folder)
    connection = connect(folder / "log.db")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(statement)
    connection.close()
    open_store(folder).close()


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)"], Reason.LOG_DAMAGED),
        (["INSERT INTO entries VALUES(11, x'00', x'00')"], Reason.LOG_DAMAGED),
        (["DELETE FROM checkpoints WHERE size = 11"], Reason.LOG_DAMAGED),
        (["DELETE FROM checkpoints"], Reason.LOG_DAMAGED),
        (["UPDATE checkpoints SET text = replace(text, '11', '12') WHERE size = 11"], Reason.LOG_DAMAGED),
        (["UPDATE head SET frontier = (SELECT zeroblob(length(frontier)) FROM head)"], Reason.LOG_DAMAGED),
        (["UPDATE head SET frontier = cast(substr(frontier, 1, 8) || zeroblob(96) AS BLOB)"], Reason.LOG_DAMAGED),
        (["DELETE FROM head"], Reason.LOG_DAMAGED),
        (["DROP TABLE head"], Reason.LOG_DAMAGED),
        (["UPDATE meta SET value = '2' WHERE key = 'version'"], Reason.CONFIG_REFUSED),
        (["UPDATE meta SET value = 'other' WHERE key = 'origin'"], Reason.CONFIG_REFUSED),
    ],
)
async def test_a_damaged_log_is_refused(folder, statements, reason):
    """What opening can see in constant time: tail, head, newest checkpoint, version, name."""
    await filled(folder)
    damage(folder, *statements)
    assert refused_opening(folder) is reason


async def test_garbage_is_refused(folder):
    """A file that is no database is damage, not a crash."""
    await filled(folder)
    (folder / "log.db").write_bytes(b"not a database" * 1000)
    assert refused_opening(folder) is Reason.LOG_DAMAGED
    with pytest.raises(StoreError):
        SqliteStore.open_unverified(folder / "log.db")


async def test_another_key_is_refused(folder):
    """The newest checkpoint must be ours: a rewritten log signed by somebody else does not open."""
    await filled(folder)
    with pytest.raises(StoreError) as caught:
        SqliteStore(folder / "log.db", signer=Ed25519PrivateKey.generate(), origin=ORIGIN)
    assert caught.value.reason is Reason.LOG_DAMAGED


async def test_a_rolled_back_file_is_refused_with_its_anchor(folder):
    """An older copy of the whole file opens cleanly by itself (control); the anchor outside gives it away."""
    await filled(folder)
    copy = (folder / "log.db").read_bytes()
    with open_store(folder) as store:
        await store.commit(batch(TaskClosed(task=TaskId("task_1"), by="op")))
        anchor = store.newest_checkpoint()
    open_store(folder, anchor=anchor).close()
    (folder / "log.db").write_bytes(copy)
    open_store(folder).close()
    assert refused_opening(folder, anchor=anchor) is Reason.LOG_DAMAGED
    with open_store(folder) as store:  # and once the rolled back log has grown past it
        await store.commit(batch(opened("task_2"), opened("task_3")))
    assert refused_opening(folder, anchor=anchor) is Reason.LOG_DAMAGED


async def test_other_processes_commits_are_seen_at_once(folder):
    """No read and no check is made on what was true before another process committed."""
    with open_store(folder) as store:
        await store.commit(batch(opened(calls=2)))
        assert store.task("task_1").calls_used == 0
        in_another_process(folder, "commit(started('e1'), held()); store.close()")
        assert store.task("task_1").calls_used == 1
        assert store.live_hold("task_1", DIGEST).id == "hold_1"
        with pytest.raises(ConflictError):
            await store.commit(batch(held("hold_2")))  # the writer's cache has seen it too
        await store.commit(batch(HoldExpired(hold="hold_1"), started("e2")))
        out = in_another_process(
            folder, "print(store.task('task_1').calls_used, store.live_hold('task_1', DIGEST)); store.close()"
        )
        assert out == "2 None"
        assert (
            in_another_process(
                folder,
                "commit(TaskClosed(task='task_1', by='op'))\nstore.close()".replace(
                    "commit", "from lictor.model.record import TaskClosed\ncommit", 1
                ),
            )
            == ""
        )
        assert store.task("task_1").status == "closed"
        assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


async def test_processes_that_write_together_make_one_log(folder):
    """Four processes create and append at the same time: one tree, every checkpoint right."""
    body = """
    import os
    me = os.getpid()
    commit(opened(f"task_{me}"))
    async def many():
        for n in range(5):
            await asyncio.gather(*(store.commit(batch(started(f"e_{me}_{n}_{k}", task=f"task_{me}"))) for k in range(8)))
    asyncio.run(many())
    store.close()
    """
    await asyncio.gather(*(asyncio.to_thread(in_another_process, folder, body) for _ in range(4)))
    with open_store(folder) as store:
        assert store.size() == 4 * 41
        assert [state.calls_used for state in store.tasks()] == [40] * 4
        report = verify_log(store.entries(), store.checkpoints(), store.verifier_key)
        assert report.ok, report.findings
        assert store.rebuild_rows() == []


def test_a_log_is_made_although_somebody_is_in_the_way(folder, monkeypatch):
    """Of two that change over to WAL at once SQLite turns one away without waiting: it tries again."""
    connected = []

    def impatient(path, **kwargs):
        connection = connect(path, **kwargs)
        connection.execute("PRAGMA busy_timeout=0")
        connection.set_trace_callback(lambda statement: statement == "PRAGMA journal_mode=WAL" and in_the_way(path))
        return connection

    def in_the_way(path):
        if not connected:
            connected.append(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            connected[0].execute("BEGIN")
            assert connected[0].execute("SELECT count(*) FROM meta").fetchall() == [(2,)]
            threading.Timer(0.2, connected[0].execute, ("COMMIT",)).start()

    with monkeypatch.context() as patched:
        patched.setattr(sqlite_schema, "connect", impatient)
        patched.setattr(sqlite_schema, "BUSY_S", 0)
        with pytest.raises(StoreError, match="keeps readers out"):
            open_store(folder)
        time.sleep(0.3)
        (folder / "log.db").unlink()
        connected.clear()
        patched.setattr(sqlite_schema, "BUSY_S", 5.0)
        open_store(folder).close()
    with open_store(folder) as store:
        assert store.size() == 0


async def test_a_group_has_one_checkpoint(folder):
    """What arrives while the disk is busy is one transaction with one signature."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        await asyncio.gather(*(store.commit(batch(received(f"r{n}"))) for n in range(200)))
        assert len(list(store.checkpoints())) < 60


async def test_a_full_queue_refuses(folder, monkeypatch):
    """More than the limit does not wait: it is refused, and the rest goes on."""
    with open_store(folder, queue_limit=10) as store:
        await store.commit(batch(opened()))
        jobs = [store.commit(batch(received(f"r{n}"))) for n in range(200)]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        refused = [result for result in results if isinstance(result, StoreError)]
        assert refused
        assert {result.reason for result in refused} == {Reason.OVERLOADED}
        assert store.size() == 201 - len(refused)
        await store.commit(batch(received("late")))


async def test_a_cancelled_caller_keeps_its_records(folder):
    """Nobody waits for the answer any more; the records are there all the same, and so are everybody else's."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        jobs = [asyncio.create_task(store.commit(batch(received(f"r{n}")))) for n in range(10)]
        await asyncio.sleep(0)
        for job in jobs[:5]:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await store.commit(batch(received("last")))
        assert store.size() == 12


async def test_closing_writes_what_waits(folder):
    """Close drains the queue."""
    store = open_store(folder)
    jobs = [asyncio.create_task(store.commit(batch(opened(f"t{n}")))) for n in range(50)]
    await asyncio.sleep(0)
    store.close()
    receipts = await asyncio.gather(*jobs)
    assert len(receipts) == 50
    with open_store(folder) as again:
        assert again.size() == 50


def test_event_loops_may_come_and_go(folder):
    """A command runs several loops one after the other on one store."""
    with open_store(folder) as store:
        for number in range(3):
            asyncio.run(store.commit(batch(opened(f"t{number}"))))
        assert store.size() == 3


async def test_a_disk_error_fails_the_whole_group_and_nothing_else(folder, monkeypatch):
    """Every waiter of the group is told; the next commit starts from what is on the disk."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        real = scribe.Group.write

        def broken(self):
            real(self)
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(scribe.Group, "write", broken)
        results = await asyncio.gather(
            *(store.commit(batch(started(f"e{n}"))) for n in range(5)), return_exceptions=True
        )
        assert {(type(result), result.reason) for result in results} == {(StoreError, Reason.CANNOT_RECORD)}
        assert all("free space" in result.remedy for result in results)
        monkeypatch.setattr(scribe.Group, "write", real)
        assert (store.size(), store.task("task_1").calls_used) == (1, 0)
        await store.commit(batch(started("e1")))
        assert store.task("task_1").calls_used == 1
        assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok
        assert store.rebuild_rows() == []


async def test_a_defect_reaches_the_waiter(folder, monkeypatch):
    """An error nobody thought of is an answer, not a hang."""
    with open_store(folder) as store:

        def broken(*_):
            raise ZeroDivisionError("nobody thought of it")

        monkeypatch.setattr("lictor.stores.commit.changes_of", broken)
        with pytest.raises(StoreError, match="defect while recording") as caught:
            await store.commit(batch(opened()))
        assert caught.value.reason is Reason.CANNOT_RECORD
        monkeypatch.undo()
        await store.commit(batch(opened()))


async def test_damage_under_a_running_store_stops_it(folder, monkeypatch):
    """Before it writes again after an error it looks at the log anew, and refuses a damaged one."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        monkeypatch.setattr(scribe.Group, "write", lambda self: (_ for _ in ()).throw(sqlite3.OperationalError("x")))
        with pytest.raises(StoreError):
            await store.commit(batch(opened("t2")))
        monkeypatch.undo()
        damage(folder, "DELETE FROM checkpoints")
        with pytest.raises(StoreError) as caught:
            await store.commit(batch(opened("t2")))
        assert caught.value.reason is Reason.LOG_DAMAGED


def test_a_full_disk_is_cannot_record_until_there_is_space(folder):
    """A real write error (file size limit) fails the commit with the remedy; with space again the store goes on."""
    out = in_another_process(
        folder,
        """
        import resource, signal
        from lictor.model.errors import StoreError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        commit(opened())
        size = max((folder / "log.db-wal").stat().st_size, (folder / "log.db").stat().st_size)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20_000, hard))
        acknowledged = failed = 0
        for n in range(40):
            try:
                commit(started(f"e{n}"), payloads=[payload(f"r{n}", arguments=b"x" * 3000)])
                acknowledged += 1
            except StoreError as error:
                assert error.reason == "cannot_record" and error.remedy, error
                failed += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        commit(started("last"))
        assert store.task("task_1").calls_used == acknowledged + 1, store.task("task_1")
        assert store.rebuild_rows() == []
        from lictor.records.verify import verify_log
        assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok
        store.close()
        print(failed > 0 and acknowledged > 0)
        """,
    )
    assert out == "True"


async def test_a_lock_that_is_never_released_fails_the_commit(folder, monkeypatch):
    """Waiting for another process is bounded; then it is `cannot_record`, and afterwards all is well."""
    monkeypatch.setattr("lictor.stores.sqlite_schema.BUSY_S", 0.1)
    with open_store(folder) as store:
        other = connect(folder / "log.db")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            await store.commit(batch(opened()))
        assert caught.value.reason is Reason.CANNOT_RECORD
        other.execute("ROLLBACK")
        other.close()
        await store.commit(batch(opened()))


async def test_reading_the_log_holds_no_snapshot(folder):
    """A reader in the middle of the log does not make other reads stale."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        for _ in range(3):
            await store.commit(batch(*(received() for _ in range(400))))
        entries = store.entries()
        checkpoints = store.checkpoints()
        next(entries), next(checkpoints)
        await store.commit(batch(started("e1")))
        assert store.task("task_1").calls_used == 1
        assert store.size() == 1202
        assert 1 + sum(1 for _ in entries) == 1201


async def test_erasing_leaves_no_copy_of_the_key(folder):
    """After erasure the task's key is in no file of the folder."""
    with open_store(folder) as store:
        await store.commit(batch(opened(), payloads=[payload()]))
        key = store._all("SELECT key FROM task_keys")[0][0]
        assert any(key in file.read_bytes() for file in folder.iterdir())
        await store.commit(erasure())
        assert store.scrub()
        assert not any(key in file.read_bytes() for file in folder.iterdir())


async def test_payloads_are_sealed_and_bound(folder):
    """No plain text in the file; a payload that was moved to another request or altered does not open."""
    with open_store(folder) as store:
        text = b'{"secret":"plain as day"}'
        await store.commit(batch(opened(), payloads=[payload(arguments=text), payload("req_2", arguments=text)]))
        assert not any(b"plain as day" in file.read_bytes() for file in folder.iterdir())
        other = connect(folder / "log.db")
        other.execute(
            "UPDATE payloads SET (nonce, ciphertext) = (SELECT nonce, ciphertext FROM payloads WHERE request = 'req_2') WHERE request = 'req_1'"
        )
        other.close()
        with pytest.raises(StoreError) as caught:
            store.payload("req_1")
        assert caught.value.reason is Reason.LOG_DAMAGED
        assert store.payload("req_2").arguments == text


async def test_rebuilding_finds_every_difference(folder):
    """State that the log does not say is found: changed, missing, extra and unreadable rows (control: none before)."""
    with open_store(folder) as store:
        await store.commit(batch(opened(calls=5), opened("task_2"), opened("task_3"), opened("task_4"), held()))
        await store.commit(batch(started("e1")))
        assert store.rebuild_rows() == []
        other = connect(folder / "log.db")
        fewer = "cast(replace(cast(body AS TEXT), '\"calls_used\":1', '\"calls_used\":0') AS BLOB)"
        other.execute(f"UPDATE rows SET body = {fewer} WHERE id = 'task_1'")
        other.execute("DELETE FROM rows WHERE id = 'task_2'")
        other.execute(
            "INSERT INTO rows SELECT kind, 'task_9', status, owner, at_ms, body FROM rows WHERE id = 'task_3'"
        )
        other.execute("UPDATE rows SET body = x'00' WHERE id = 'task_4'")
        other.close()
        found = {(one.what, one.key[1]) for one in store.rebuild_rows()}
        assert found == {("changed", "task_1"), ("missing", "task_2"), ("extra", "task_9"), ("unreadable", "task_4")}
        with pytest.raises(StoreError) as caught:
            store.task("task_4")
        assert caught.value.reason is Reason.LOG_DAMAGED


async def test_a_damaged_log_can_still_be_looked_at(folder):
    """`open_unverified` shows what there is, so that a verifier can say where it is broken."""
    await filled(folder)
    damage(folder, ("UPDATE entries SET data = ? WHERE seq = 4", (b"rewritten",)), "DELETE FROM entries WHERE seq = 7")
    with SqliteStore.open_unverified(folder / "log.db") as log:
        report = verify_log(log.entries(), log.checkpoints(), Keys.open(folder).verifier_key(ORIGIN))
        assert not report.ok
        assert {(finding.kind, finding.position) for finding in report.findings} >= {("entry", 4), ("sequence", 7)}
        assert [one.key for one in log.rebuild_rows() if one.what == "entry"] == [("entry", "4")]
        assert log.size() == 11
        assert [entry.seq for entry in log.entries(5, 9)] == [5, 6, 8]


async def test_a_snapshot_does_not_move(folder):
    """Entries and checkpoints of one view fit together while another connection writes."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        with SqliteStore.open_unverified(folder / "log.db") as log:
            await store.commit(batch(received()))
            report = verify_log(log.entries(), log.checkpoints(), store.verifier_key)
            assert report.ok
            assert report.size == log.size() == 1


async def test_a_part_of_a_snapshot_costs_what_the_part_does(folder):
    """A proof reads a few entries: it must not walk through the rest of the log to find that there are no more of them."""
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        for number in range(3):
            await store.commit(batch(*(received(f"r{number}_{at}") for at in range(300))))
        with SqliteStore.open_unverified(folder / "log.db") as log:
            steps = []
            log._connection.set_progress_handler(lambda: steps.append(1), 10)
            assert [entry.seq for entry in log.entries(3, 5)] == [3, 4]
            few = len(steps)
            assert len(list(log.entries(3))) == 898
            assert few < 20 < len(steps) / 5


async def test_the_write_ahead_log_stays_bounded(folder, monkeypatch):
    """Quiet moments move it into the file; a busy writer moves it from a larger size on."""
    monkeypatch.setattr(scribe, "CHECKPOINT_IDLE", 300_000)
    monkeypatch.setattr(scribe, "CHECKPOINT_BUSY", 600_000)
    with open_store(folder) as store:
        await store.commit(batch(opened()))
        for number in range(150):
            await store.commit(batch(received(), payloads=[payload(f"r{number}", arguments=b"x" * 4000)]))
        assert (folder / "log.db-wal").stat().st_size < 1_500_000


async def test_reads_after_closing_are_refused(folder):
    """A closed store has no state to show."""
    store = open_store(folder)
    store.close()
    with pytest.raises(StoreError):
        store.task("task_1")
    with pytest.raises(StoreError):
        store.keep_bundle("r", {})


def test_entries_are_made_on_the_callers_side():
    """What has no encoding fails its own caller, before it could fail a group."""
    with pytest.raises(StoreError):
        entries_of(batch(received("\udfff"), at=NOW))
