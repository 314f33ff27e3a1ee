"""Changing the key of a real log: what is written, who may go on, and what each interruption leaves."""

import asyncio
import dataclasses
import sqlite3
from contextlib import closing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import ConflictError, OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Batch
from lictor.records.checkpoint import VerifierKey, open_checkpoint
from lictor.records.keychain import Handover, KeyChain
from lictor.records.roll import open_roll
from lictor.records.verify import verify_log
from lictor.service.log.rotate import Signers, change_key
from lictor.stores import key_files
from lictor.stores.key_files import NEXT_FILE, RETIRED, changing, keep_old, next_key, settle, take_over
from lictor.stores.keys import LOG_KEY_FILE, Keys
from lictor.stores.memory import MemoryStore
from lictor.stores.right import NEEDED
from lictor.stores.snapshot import LogSnapshot
from lictor.testing.clock import ManualClock
from rotation_world import ORIGIN, chain_of, commits, open_store, record_change, rotate
from store_samples import NOW, batch, received


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state"


def key_of(folder):
    return VerifierKey.of(ORIGIN, Keys.open(folder).signer)


async def test_from_the_next_commit_on_the_new_key_signs(folder):
    """The commit that says so is signed by the old one, and a roll closes its checkpoints."""
    await commits(folder, 3)
    old = key_of(folder)
    made = await rotate(folder)
    new = key_of(folder)
    assert (made.old, made.new, made.before.size) == (old, new, 3)
    await commits(folder, 2, first=3)
    with LogSnapshot(folder / "log.db") as view:
        heads, rolls = list(view.checkpoints()), list(view.rolls())
    assert [open_checkpoint(one, old).size for one in heads[:5]] == [0, 1, 2, 3, 4]
    assert [open_checkpoint(one, new).size for one in heads[5:]] == [5, 6]
    assert [(one.first, one.last) for one in (open_roll(text, old) for text in rolls)] == [(0, 4)]


async def test_the_log_verifies_from_each_of_its_keys(folder):
    """The first, the one in the middle and the last all lead to the same chain."""
    await commits(folder, 2)
    keys = [key_of(folder)]
    for number in range(2):
        await rotate(folder)
        keys.append(key_of(folder))
        await commits(folder, 2, first=2 + 2 * number)
    for key in keys:
        chain = chain_of(folder, key)
        with LogSnapshot(folder / "log.db") as view:
            found = verify_log(view.entries(), view.checkpoints(), chain, anchor=chain.heads(), rolls=view.rolls())
            assert view.rebuild_rows() == []
        assert found.ok, found.findings


async def test_a_store_with_the_old_key_writes_nothing_any_more(folder):
    """A gateway that runs on refuses, with a reason of its own; what it refused is not in the log."""
    await commits(folder, 1)
    with open_store(folder) as running:
        await running.commit(batch(received("req_before")))
        await rotate(folder)
        for number in range(3):
            with pytest.raises(StoreError) as refused:
                await running.commit(batch(received(f"req_late_{number}")))
            assert refused.value.reason is Reason.LOG_KEY_CHANGED
        assert running.size() == 3
    await commits(folder, 1, first=7)
    with open_store(folder) as store:
        assert store.size() == 4


async def test_the_store_that_changed_the_key_writes_nothing_more_itself(folder):
    """It has the old key; only what is opened with the new one goes on."""
    await commits(folder, 1)
    signer = Keys.open(folder).signer
    with open_store(folder) as store:
        made = Handover.sign(open_checkpoint(store.newest_checkpoint(), store.log_keys), signer, next_key(folder))
        await store.commit(batch(made.record("os:me")))
        with pytest.raises(StoreError) as refused:
            await store.commit(batch(received("req_late")))
        assert refused.value.reason is Reason.LOG_KEY_CHANGED


async def test_an_old_key_put_back_opens_nothing(folder):
    """The state says which key is in force; without that row, the newest checkpoint does."""
    await commits(folder, 1)
    old = (folder / LOG_KEY_FILE).read_bytes()
    await rotate(folder)
    await commits(folder, 1, first=1)
    (folder / LOG_KEY_FILE).write_bytes(old)
    with pytest.raises(StoreError) as refused:
        open_store(folder)
    assert refused.value.reason is Reason.LOG_KEY_CHANGED


async def changes(store, folder, **wrong):
    """A change of key as it must be, but for what is wrong."""
    head = open_checkpoint(store.newest_checkpoint(), store.log_keys)
    old = wrong.get("old", Keys.open(folder).signer)
    before = wrong.get("before", lambda head: head)(head)
    return Handover.sign(before, old, Ed25519PrivateKey.generate()).record("os:me")


@pytest.mark.parametrize("wrong", ["size", "root", "origin", "old"])
async def test_a_change_that_is_not_about_this_log_is_refused(folder, wrong):
    """Another size, another root, another name, a key that is not in force: nothing is written, and the old key goes on."""
    await commits(folder, 2)
    other = {"size": {"size": 1}, "root": {"root": bytes(32)}, "origin": {"origin": "other"}}.get(wrong)
    with open_store(folder) as store:
        spoilt = (
            {"before": lambda head: dataclasses.replace(head, **other)}
            if other
            else {"old": Ed25519PrivateKey.generate()}
        )
        record = await changes(store, folder, **spoilt)
        with pytest.raises((ConflictError, StoreError)):
            await store.commit(batch(record))
        assert store.size() == 2
    await commits(folder, 1, first=2)


async def test_a_change_stands_alone_in_its_commit(folder):
    """Otherwise nobody could tell from the record where the new key begins."""
    await commits(folder, 2)
    with open_store(folder) as store:
        record = await changes(store, folder)
        with pytest.raises(ConflictError):
            await store.commit(Batch(at_ms=NOW, records=(record, received("req_9"))))
        with pytest.raises(ConflictError):
            await store.commit(Batch(at_ms=NOW, records=(received("req_9"), record)))
        assert store.size() == 2


async def test_of_two_at_once_one_wins(folder):
    """Both signed for the same log; the second is refused, whatever group it came in."""
    await commits(folder, 2)
    with open_store(folder) as first, open_store(folder) as second:
        one, other = await changes(first, folder), await changes(second, folder)
        done = await asyncio.gather(
            first.commit(batch(one)),
            second.commit(batch(other)),
            first.commit(batch(received("req_9"))),
            return_exceptions=True,
        )
        assert sum(isinstance(each, (ConflictError, StoreError)) for each in done) >= 1
    with LogSnapshot(folder / "log.db") as view:
        assert len(list(view.key_places())) == 1


async def test_a_log_in_memory_keeps_its_key():
    """It has no files to change one in."""
    signer = Ed25519PrivateKey.generate()
    store = MemoryStore(signer=signer, origin=ORIGIN)
    await store.commit(batch(received("req_1")))
    head = open_checkpoint(store.newest_checkpoint(), store.verifier_key)
    with pytest.raises(StoreError):
        await store.commit(batch(Handover.sign(head, signer, Ed25519PrivateKey.generate()).record("os:me")))


# -- the files ---------------------------------------------------------------------------------------------------------------


async def test_a_crash_before_the_commit_leaves_the_old_key(folder):
    """The next attempt takes the key that was made."""
    await commits(folder, 1)
    before = key_of(folder)
    with changing(folder):
        made = next_key(folder)
        assert next_key(folder).private_bytes_raw() == made.private_bytes_raw()
    assert not settle(folder)
    assert key_of(folder) == before
    await commits(folder, 1, first=1)
    await rotate(folder)
    assert key_of(folder) == VerifierKey.of(ORIGIN, made)
    assert not (folder / NEXT_FILE).exists()


async def test_a_crash_behind_the_commit_is_finished_by_the_next_opener(folder):
    """The log names the new key, the file is still the old one's: opening the folder puts it right, and loses nothing."""
    await commits(folder, 1)
    made = await record_change(folder)
    assert (folder / NEXT_FILE).exists()
    assert key_of(folder) == made.new
    assert not (folder / NEXT_FILE).exists()
    await commits(folder, 1, first=1)
    assert not settle(folder)


async def test_a_key_made_for_nothing_never_takes_over(folder):
    """Only the key that the log names does."""
    await commits(folder, 1)
    await rotate(folder)
    in_force = key_of(folder)
    next_key(folder)
    assert not settle(folder)
    assert key_of(folder) == in_force


async def test_an_unreadable_log_names_no_key(folder):
    """Nothing is moved on a guess."""
    await commits(folder, 1)
    before = (folder / LOG_KEY_FILE).read_bytes()
    next_key(folder)
    (folder / "log.db").write_bytes(b"no database")
    assert not settle(folder)
    assert (folder / LOG_KEY_FILE).read_bytes() == before


async def test_the_old_key_is_kept_only_when_asked_for(folder):
    """Under another name, for its owner only; a crash in between leaves at worst that second name."""
    await commits(folder, 1)
    old = (folder / LOG_KEY_FILE).read_bytes()
    with changing(folder):
        kept = keep_old(folder, key_of(folder).key_id())
    assert kept.name.startswith(RETIRED)
    assert kept.read_bytes() == old
    assert kept.stat().st_mode & 0o777 == 0o600
    await rotate(folder)
    await rotate(folder)
    assert [one.name for one in folder.glob(f"{RETIRED}*")] == [kept.name]


async def test_one_changes_the_key_at_a_time(folder, monkeypatch):
    """Nobody moves a key into place that another has just made."""
    await commits(folder, 1)
    monkeypatch.setattr(key_files, "WAIT_S", 0.05)
    with changing(folder), pytest.raises(StoreError, match="another process"), changing(folder):
        pass


async def test_a_next_key_that_others_can_read_is_refused(folder):
    """Whoever reads it is the log."""
    await commits(folder, 1)
    next_key(folder)
    (folder / NEXT_FILE).chmod(0o644)
    with pytest.raises(OperatorError, match="read by others"):
        next_key(folder)
    with pytest.raises(OperatorError, match="read by others"):
        Keys.open(folder)


async def test_anchors_of_both_keys_are_kept(folder):
    """The larger one stays, whoever signed it."""
    await commits(folder, 2)
    with open_store(folder) as store:
        old = store.newest_checkpoint()
    Keys.open(folder).write_anchor(old)
    await rotate(folder)
    await commits(folder, 1, first=2)
    with open_store(folder, anchor=old) as store:
        keys = dataclasses.replace(Keys.open(folder), chain=store.log_keys)
        keys.write_anchor(store.newest_checkpoint())
        assert keys.read_anchor() == store.newest_checkpoint()
        keys.write_anchor(old)
        assert keys.read_anchor() == store.newest_checkpoint()
    assert isinstance(keys.chain, KeyChain)


async def test_taking_over_without_a_key_is_an_error(folder):
    """It is called once the log names it; silence would leave a log nobody can write."""
    await commits(folder, 1)
    with changing(folder), pytest.raises(StoreError):
        take_over(folder)
    await commits(folder, 1, first=1)


@pytest.mark.parametrize("own", [True, False])
async def test_a_busy_log_is_changed_as_well(folder, own):
    """What waits in the journal was signed by the old key and stays; the change itself is in the tables before anybody goes on."""
    await commits(folder, 1)
    old = key_of(folder)
    with open_store(folder) as busy:
        done = 0
        scribe = busy._writer._scribe
        while done < 5_000 and not (scribe.journaling and scribe.unwritten.parts):
            await busy.commit(batch(received(f"req_busy_{done}")))
            done += 1
        assert scribe.journaling or not NEEDED
        if own:
            signer = Keys.open(folder).signer
            with changing(folder):
                signers = Signers(old=signer, new=next_key(folder))
                made = await change_key(busy, ManualClock(NOW), busy.log_keys, signers, by="os:test")
        else:
            made = await record_change(folder)
        with pytest.raises(StoreError) as refused:
            await busy.commit(batch(received("req_late")))
        assert refused.value.reason is Reason.LOG_KEY_CHANGED
    assert made.before.size == done + 1
    assert key_of(folder) == made.new
    await commits(folder, 2, first=1)
    chain = chain_of(folder, old)
    with LogSnapshot(folder / "log.db") as view:
        report = verify_log(view.entries(), view.checkpoints(), chain, anchor=chain.heads(), rolls=view.rolls())
        assert view.rebuild_rows() == []
    assert report.ok, report.findings
    assert report.size == done + 4


async def test_a_roll_never_reaches_back_over_a_change(folder):
    """Also where the change itself closed none: rolls that are missing are no reason to vouch for another key's checkpoints."""
    await commits(folder, 2)
    await rotate(folder)
    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        connection.execute("DROP TRIGGER rolls_delete")
        connection.execute("DELETE FROM rolls")
    await commits(folder, 2, first=2)
    await rotate(folder)
    chain = chain_of(folder, key_of(folder))
    with LogSnapshot(folder / "log.db") as view:
        (text,) = view.rolls()
        report = verify_log(view.entries(), view.checkpoints(), chain, anchor=chain.heads(), rolls=[text])
    roll = open_roll(text, chain)
    assert (roll.first, roll.last) == (4, 6)
    assert report.ok


async def test_who_runs_on_is_told_what_happened(folder):
    """A checkpoint of the next key is no damage to a process that has the old one: it is to be started again."""
    await commits(folder, 1)
    with open_store(folder) as running:
        keys = dataclasses.replace(Keys.open(folder), chain=running.log_keys)
        keys.write_anchor(running.newest_checkpoint())
        await rotate(folder)
        keys.write_anchor(running.newest_checkpoint())  # that of the change, by the old key
        kept = keys.read_anchor()
        await commits(folder, 1, first=1)
        with pytest.raises(StoreError) as refused:
            keys.write_anchor(running.newest_checkpoint())
        assert refused.value.reason is Reason.LOG_KEY_CHANGED
        assert keys.read_anchor() == kept
