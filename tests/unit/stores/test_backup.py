"""Backup and restore: consistent while others write, whole or not at all, and sealed until the epoch is raised (facts R22)."""

import asyncio
import sqlite3
import stat

import pytest

from lictor.model.errors import ConflictError, LictorError, OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import BundleApproved, EpochRaised, decode_entry
from lictor.model.task import TaskStatus
from lictor.records.checkpoint import open_checkpoint
from lictor.records.verify import FindingKind, verify_log
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.log.epoch import newest_lost, raise_epoch
from lictor.stores.backup import lift_seal, restore, seal_of, serialized, write_backup
from lictor.stores.keys import Keys
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import SEAL, Log
from lictor.testing.clock import ManualClock
from store_samples import NOW, approved, batch, decided, held, opened, payload, received, started

ORIGIN = "test.local/log"
CLOCK = ManualClock(NOW + 1_000)


def open_store(folder, **kwargs):
    return SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN, **kwargs)


def log_of(folder, *, sealed=False):
    return Log(folder / "log.db", ORIGIN, Keys.open(folder).signer, sealed)


def backed_up(folder, target, **files):
    beside = {"log.key": (folder / "log.key").read_bytes(), **files}
    return write_backup(log_of(folder), target, beside, NOW)


async def waiting(folder):
    """A log with an approved hold that nobody has used yet."""
    store = open_store(folder)
    await store.commit(batch(opened(), BundleApproved(revision="r2", previous="r1", by="bob", widens=())))
    await store.commit(batch(received(), decided(outcome="needs_approval"), held(), payloads=[payload()]))
    await store.commit(batch(approved()))
    return store


def spend(name="exec_1", request="req_2"):
    return batch(received(request), decided(request), started(name, request=request, hold="hold_1"))


async def unsealed(folder, known=(), why=""):
    """What `lictor log unseal` does."""
    log = log_of(folder, sealed=True)
    with SqliteStore.open_unverified(log.path) as view:
        over = newest_lost(known, log.key(), view.checkpoints())
    store = SqliteStore(log.path, signer=log.signer, origin=ORIGIN, queue_limit=2**31, sealed=True)
    raised = await raise_epoch(store, CLOCK, by="os:ann", over=over, why=why)
    lift_seal(log, store.newest_checkpoint(), f"anchor.epoch-{raised.epoch}")
    store.close()
    return raised


async def test_an_approval_spent_after_the_backup_is_not_spent_again(tmp_path):
    """R22: sealed nothing runs; unsealed the approval is dead, its task closed, and the log goes on and verifies."""
    store = await waiting(tmp_path / "live")
    backed_up(tmp_path / "live", tmp_path / "backup")
    await store.commit(spend())
    lost = store.newest_checkpoint()
    store.close()
    assert restore(tmp_path / "backup", tmp_path / "new").size == 6
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path / "new")
    assert refused.value.reason is Reason.RESTORED_SEALED

    raised = await unsealed(tmp_path / "new", [lost])
    with open_store(tmp_path / "new", anchor=Keys.open(tmp_path / "new").read_anchor()) as store:
        with pytest.raises(ConflictError):
            await store.commit(spend())
        assert [one.status for one in store.tasks()] == [TaskStatus.CLOSED]
        assert [hold.status.value for hold in store.holds()] == ["expired"]
        assert store.approved_over("r2") is None
        assert (raised.epoch, raised.restored, raised.over, raised.unapproved) == (1, 6, lost, ("r2",))
        await store.commit(batch(opened("task_2")))  # and it goes on
        assert store.rebuild_rows() == []
        assert not list(inconsistencies(store.entries()))
        key = store.verifier_key
        assert verify_log(store.entries(), store.checkpoints(), key).ok
        outside = open_checkpoint(lost, key)
        found = verify_log(store.entries(), store.checkpoints(), key, anchor=outside)
        assert {one.kind for one in found.findings} & {FindingKind.ROLLBACK, FindingKind.REWRITTEN}


async def test_without_the_seal_the_approval_is_spent_twice(tmp_path):
    """The control: the same backup with the seal taken off by hand, and no epoch raised."""
    store = await waiting(tmp_path / "live")
    backed_up(tmp_path / "live", tmp_path / "backup")
    await store.commit(spend())
    store.close()
    restore(tmp_path / "backup", tmp_path / "new")
    connection = sqlite3.connect(tmp_path / "new" / "log.db")
    connection.execute("DELETE FROM meta WHERE key = ?", (SEAL,))
    connection.commit()
    connection.close()
    with open_store(tmp_path / "new") as store:
        await store.commit(spend())  # the double spend


async def test_the_backup_itself_is_sealed(tmp_path):
    """Somebody who copies the file into the log's place by hand gets a sealed log too."""
    (await waiting(tmp_path / "live")).close()
    backed_up(tmp_path / "live", tmp_path / "backup")
    (tmp_path / "live" / "log.db").write_bytes((tmp_path / "backup").read_bytes())
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path / "live")
    assert refused.value.reason is Reason.RESTORED_SEALED


async def test_a_backup_taken_while_others_commit_is_one_moment(tmp_path):
    """Every backup verifies, whatever is written meanwhile, and holds what was acknowledged before it began."""
    store = open_store(tmp_path / "live")
    await store.commit(batch(opened()))
    done = asyncio.Event()

    async def write():
        count = 0
        while not done.is_set():
            await store.commit(
                batch(received(f"req_{count}"), decided(f"req_{count}"), payloads=[payload(f"req_{count}")])
            )
            count += 1

    job = asyncio.create_task(write())
    for number in range(4):
        await asyncio.sleep(0.05)
        before = store.size()
        made = await asyncio.to_thread(backed_up, tmp_path / "live", tmp_path / f"backup{number}")
        assert before <= made.size <= store.size()
        restored = restore(tmp_path / f"backup{number}", tmp_path / f"new{number}")
        assert restored.size == made.size
        with SqliteStore.open_unverified(tmp_path / f"new{number}" / "log.db") as view:
            report = verify_log(view.entries(), view.checkpoints(), store.verifier_key)
            assert (report.ok, report.size) == (True, made.size)
            assert view.rebuild_rows() == []
    done.set()
    await job
    store.close()


async def test_files_are_for_their_owner_alone_and_no_key_stays_in_the_log(tmp_path):
    """0600 for the backup and all that comes of it; the signing key is in `log.key` and nowhere in `log.db`."""
    (await waiting(tmp_path / "live")).close()
    backed_up(tmp_path / "live", tmp_path / "backup", **{"safe.db": b"sealed"})
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o600
    restore(tmp_path / "backup", tmp_path / "new")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {"log.db", "log.key", "safe.db", "anchor"}
    assert {stat.S_IMODE((tmp_path / "new" / name).stat().st_mode) for name in names} == {0o600}
    body = (tmp_path / "live" / "log.key").read_bytes().split(b"\n")[1]
    assert body in (tmp_path / "backup").read_bytes()
    assert body not in (tmp_path / "new" / "log.db").read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


async def test_a_backup_without_the_key_needs_it_from_elsewhere(tmp_path):
    """`--no-keys`: nothing is restored until the key is there, and only the right one will do."""
    (await waiting(tmp_path / "live")).close()
    write_backup(log_of(tmp_path / "live"), tmp_path / "backup", {}, NOW)
    with pytest.raises(OperatorError, match="without the log's key"):
        restore(tmp_path / "backup", tmp_path / "new")
    Keys.open(tmp_path / "other")
    with pytest.raises(StoreError) as damaged:
        restore(tmp_path / "backup", tmp_path / "other")
    assert damaged.value.reason is Reason.LOG_DAMAGED
    assert not (tmp_path / "other" / "log.db").exists()
    (tmp_path / "new" / "log.key").write_bytes((tmp_path / "live" / "log.key").read_bytes())
    (tmp_path / "new" / "log.key").chmod(0o600)
    assert restore(tmp_path / "backup", tmp_path / "new").size == 6


async def test_nothing_that_is_there_is_replaced(tmp_path):
    """Neither a backup, nor a log, nor a key; and a newer anchor stays as the evidence of what was lost."""
    store = await waiting(tmp_path / "live")
    backed_up(tmp_path / "live", tmp_path / "backup")
    with pytest.raises(OperatorError, match="there already"):
        backed_up(tmp_path / "live", tmp_path / "backup")
    with pytest.raises(OperatorError, match="there already"):
        restore(tmp_path / "backup", tmp_path / "live")
    Keys.open(tmp_path / "other")
    with pytest.raises(OperatorError, match="another"):
        restore(tmp_path / "backup", tmp_path / "other")
    assert not (tmp_path / "other" / "log.db").exists()
    await store.commit(spend())
    newest = store.newest_checkpoint()
    store.close()
    # The disk lost the log's file; the anchor beside it survived.
    live = Keys.open(tmp_path / "live")
    live.write_anchor(newest)
    for path in (tmp_path / "live").glob("log.db*"):
        path.unlink()
    assert restore(tmp_path / "backup", tmp_path / "live").lost == 3
    assert live.read_anchor() == newest
    raised = await unsealed(tmp_path / "live", [newest])
    assert raised.over == newest
    assert (tmp_path / "live" / "anchor.epoch-1").read_text() == newest
    open_store(tmp_path / "live", anchor=live.read_anchor()).close()


@pytest.mark.parametrize("broken", ["foreign", "cut", "not sealed", "a name that is none"])
async def test_what_is_no_backup_restores_nothing(tmp_path, broken):
    """Another SQLite file, half a backup, a plain copy of a log, a backup that would write elsewhere."""
    (await waiting(tmp_path / "live")).close()
    backed_up(tmp_path / "live", tmp_path / "backup")
    connection = sqlite3.connect(tmp_path / "backup")
    if broken == "foreign":
        (tmp_path / "backup").write_bytes(b"nothing of ours" * 1_000)
    elif broken == "cut":
        whole = (tmp_path / "backup").read_bytes()
        (tmp_path / "backup").write_bytes(whole[: len(whole) // 2])
    elif broken == "not sealed":
        connection.execute("DELETE FROM meta WHERE key = ?", (SEAL,))
    else:
        connection.execute("INSERT INTO kept_files VALUES('../../authorized_keys', x'00')")
    connection.commit()
    connection.close()
    with pytest.raises(LictorError):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not [path.name for path in (tmp_path / "new").iterdir() if path.name != "log.key"]


async def test_a_process_that_dies_while_restoring_leaves_no_empty_log(tmp_path, monkeypatch):
    """The anchor is there before the log: a gateway started on such a folder refuses instead of beginning anew."""
    (await waiting(tmp_path / "live")).close()
    backed_up(tmp_path / "live", tmp_path / "backup")

    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.rename", dies)
    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "backup", tmp_path / "new")
    monkeypatch.undo()
    with pytest.raises(StoreError, match="rolled back"):
        open_store(tmp_path / "new", anchor=Keys.open(tmp_path / "new").read_anchor())


async def test_raising_the_epoch_is_one_commit_and_counts(tmp_path):
    """Unsealing that dies before the seal is off is done again; another number is refused."""
    (await waiting(tmp_path / "live")).close()
    backed_up(tmp_path / "live", tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "new")
    first = open_store(tmp_path / "new", sealed=True)
    await raise_epoch(first, CLOCK, by="os:ann")
    assert seal_of(tmp_path / "new" / "log.db") == {"at_ms": NOW, "size": 6}
    with pytest.raises(ConflictError):
        await first.commit(batch(EpochRaised(epoch=1, restored=first.size(), by="os:eve")))
    first.close()
    raised = await unsealed(tmp_path / "new")
    assert raised.epoch == 2
    assert seal_of(tmp_path / "new" / "log.db") is None
    with open_store(tmp_path / "new") as store:
        records = [decode_entry(entry.data).record for entry in store.entries(6)]
        assert [type(record).__name__ for record in records] == [
            "EpochRaised",
            "HoldExpired",
            "TaskClosed",
            "EpochRaised",
        ]
        assert store.approved_over("r2") is None


async def test_a_foreign_checkpoint_names_nothing(tmp_path):
    """What a log was restored over is a checkpoint of that log, and one it does not continue."""
    (await waiting(tmp_path / "live")).close()
    (await waiting(tmp_path / "other")).close()
    with open_store(tmp_path / "live") as store, open_store(tmp_path / "other") as other:
        heads = list(store.checkpoints())
        assert newest_lost(heads, store.verifier_key, heads) == ""
        assert newest_lost(heads, store.verifier_key, heads[:-1]) == heads[-1]
        with pytest.raises(OperatorError):
            newest_lost([other.newest_checkpoint()], store.verifier_key, heads)


async def test_the_consistency_check_knows_epochs(tmp_path):
    """Spending an approval of before the epoch is found also in a log that nobody's fold has checked."""
    (await waiting(tmp_path / "live")).close()
    with open_store(tmp_path / "live") as store:
        before = list(store.entries())
    from lictor.model.record import encode_entry
    from lictor.ports import StoredEntry

    def after(*records):
        start = len(before)
        return [*before, *(StoredEntry(start + at, encode_entry(NOW, one), b"") for at, one in enumerate(records))]

    rightly = after(*spend().records)
    assert list(inconsistencies(rightly)) == []
    raised = EpochRaised(epoch=1, restored=len(before), by="os:ann")
    twice = list(inconsistencies(after(raised, *spend().records)))
    assert [one.position for one in twice] == [len(before) + 3]
    wrong = list(inconsistencies(after(EpochRaised(epoch=1, restored=3, by="os:ann"))))
    assert [one.position for one in wrong] == [len(before)]


def test_a_small_file_is_copied_whole(tmp_path):
    """Another SQLite file, also one that is being written, as bytes that open."""
    with sqlite3.connect(tmp_path / "safe.db") as connection:
        connection.execute("CREATE TABLE secrets(name TEXT)")
        connection.execute("INSERT INTO secrets VALUES('a')")
    (tmp_path / "copy.db").write_bytes(serialized(tmp_path / "safe.db"))
    assert sqlite3.connect(tmp_path / "copy.db").execute("SELECT * FROM secrets").fetchall() == [("a",)]
    with pytest.raises(StoreError):
        serialized(tmp_path / "none.db")
