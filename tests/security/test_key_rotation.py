"""What a thief of an old key can do to a log whose key was changed, and who sees it. Each case has its control."""

import sqlite3
from contextlib import closing

import pytest

from lictor.cli.verifying import verified, verify_state
from lictor.model.errors import StoreError
from lictor.model.record import LogKeyChanged, decode_entry, encode_entry
from lictor.records.checkpoint import VerifierKey
from lictor.records.keychain import Handover, KeyChain
from lictor.records.merkle import leaf_hash
from lictor.service.evidence.consistency import inconsistencies
from lictor.stores.keys import LOG_KEY_FILE, signing_key
from lictor.stores.snapshot import LogSnapshot
from rotation_world import ORIGIN, Written, chain_of, commits, found, open_store, rotate, signer_of
from store_samples import NOW

THIEF = signer_of(200)


@pytest.fixture
def log():
    """Three records, a change of key, three more."""
    made = Written()
    made.work(3)
    made.change()
    made.work(3)
    return made


def test_the_log_itself(log):
    """Control of all below: nothing is wrong with it, for the holder of either key, with anchors of both."""
    for key in log.holders():
        assert found(log, key, anchors=[log.heads[2], log.heads[-1]]) == []


@pytest.mark.parametrize("size", range(4))
def test_cut_off_before_the_change_and_continued_with_the_old_key(log, size):
    """The holder of the new key sees it, and everybody with a checkpoint of after the change; without one the old key suffices."""
    old, new = log.holders()
    forged = log.cut(size)
    forged.work(9)
    assert found(forged, new)
    assert found(forged, old, anchors=[log.heads[-1]])
    assert found(forged, old, anchors=[log.heads[5]])
    assert found(forged, old) == []  # as ADR 0017 says: the old key alone cannot show it


def test_cut_off_behind_the_change_and_continued_with_the_old_key(log):
    """The log says itself that the key was handed over: its first key is enough to see it."""
    old, new = log.holders()
    forged = log.cut(4)
    forged.signers, forged.places = forged.signers[:1], []
    forged.work(3)
    assert found(forged, old) == ["inconsistent"]
    assert found(forged, old, compare=False) == []  # control: that is the check
    assert found(forged, new)


def test_the_thief_names_another_new_key(log):
    """He hands over to a key of his own at the same place, or earlier: to who has the real one it is another log."""
    old, new = log.holders()
    for size in range(4):
        forged = log.cut(size)
        forged.change(THIEF)
        forged.work(5)
        assert found(forged, new)
        assert found(forged, old, anchors=[log.heads[-1]])
        assert found(forged, old) == []  # control: a chain like any other, for who has nothing else


@pytest.mark.parametrize("keep", ["record", "statement"])
def test_the_record_is_changed_or_gone(log, keep):
    """The entry is replaced: by one that names another key, or by anything else. The tree and the statement both show it."""
    record = decode_entry(log.entries[3]).record
    assert isinstance(record, LogKeyChanged)
    real = Handover.recorded(record, 3)
    forged = log.cut(3)
    if keep == "record":
        forged.append(Handover.sign(real.before, forged.signer, THIEF).record("os:me"), signer=forged.signer)
    else:
        forged.work(1)
    log.entries[3] = forged.entries[3]
    for key in log.holders():
        assert found(log, key)


def test_a_change_that_only_the_new_key_signed(log):
    """The new key cannot make itself the log's: the old one's signature is missing."""
    record = decode_entry(log.entries[3]).record
    real = Handover.recorded(record, 3)
    forged = Handover.sign(real.before, THIEF, log.signers[1])
    log.entries[3] = encode_entry(NOW, forged.record("os:test"))
    for key in log.holders():
        assert found(log, key)


def test_a_checkpoint_behind_the_change_signed_with_the_old_key(log):
    """The newest, or one in between."""
    for place in (5, 6, 7):
        other = log.cut(place)
        other.sign(log.signers[0])
        forged = log.cut(7)
        forged.heads[place] = other.heads[-1]
        for key in log.holders():
            assert "checkpoint" in found(forged, key)


def test_a_statement_whose_root_is_another_logs(log):
    """The old key committed to everything before the change: a prefix that was replaced does not fit, though all else is signed."""
    forged = Written()
    forged.signers = [signer_of(0)]
    forged.append(decode_entry(log.entries[1]).record)
    forged.work(2)
    record = decode_entry(log.entries[3]).record
    forged.append(record)
    forged.places, forged.signers = ["3"], log.signers[:2]
    forged.work(2)
    for key in log.holders():
        assert "rewritten" in found(forged, key)


# -- the same with the real file ---------------------------------------------------------------------------------------------


@pytest.fixture
async def stolen(tmp_path):
    """A state folder right behind a change of key, as somebody with the old key has it: he takes the row away and goes on."""
    folder = tmp_path / "state"
    await commits(folder, 3)
    old = (folder / LOG_KEY_FILE).read_bytes()
    await rotate(folder)
    (folder / LOG_KEY_FILE).write_bytes(old)
    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        connection.execute("DELETE FROM rows WHERE kind = 'log_key'")
    await commits(folder, 40, first=10)
    return folder


def key_of(folder):
    return VerifierKey.of(ORIGIN, signing_key((folder / LOG_KEY_FILE).read_bytes()))


async def test_a_real_log_continued_with_the_old_key_is_found(stolen):
    """The store, which does not read all of it, can be led to go on; whoever verifies it sees where it was done."""
    report = verify_state(stolen, ORIGIN, None, lambda _: None)
    assert [(one["kind"], one["position"]) for one in report["findings"]] == [("inconsistent", 3)]


@pytest.mark.parametrize("width", [1, 4, 16])
async def test_however_it_is_split(stolen, width):
    """By one process or several, wherever the parts meet: the same finding; without the comparison (the control) none."""
    chain = KeyChain(key_of(stolen))
    report, odd = verified(stolen / "log.db", chain, (), lambda _: None, workers=2, width=width)
    assert report.ok
    assert [one.position for one in odd] == [3]
    with LogSnapshot(stolen / "log.db") as view:
        assert list(inconsistencies(view.entries(), view.entries)) == []


@pytest.mark.parametrize("width", [1, 4, 16])
async def test_a_good_log_however_it_is_split(tmp_path, width):
    """No false alarm, wherever the parts meet a change of key."""
    folder = tmp_path / "state"
    for first in (0, 20, 40):
        await commits(folder, 9, first=first)
        await rotate(folder)
    chain = chain_of(folder, key_of(folder))
    report, odd = verified(folder / "log.db", chain, chain.heads(), lambda _: None, workers=2, width=width)
    assert (report.findings, odd) == ((), [])


@pytest.mark.parametrize("what", ["row moved", "record swapped", "row invented", "rows gone"])
async def test_a_real_log_whose_change_is_tampered_with(tmp_path, what):
    """Triggers taken away, entries rewritten, the state changed: found, and told at its place where there is one."""
    folder = tmp_path / "state"
    await commits(folder, 3)
    await rotate(folder)
    await commits(folder, 3, first=3)
    with closing(sqlite3.connect(folder / "log.db")) as connection, connection:
        if what == "row moved":
            connection.execute("UPDATE rows SET id = '2' WHERE kind = 'log_key' AND id = '3'")
        elif what == "row invented":
            connection.execute("INSERT INTO rows SELECT kind, '5', status, owner, at_ms, body FROM rows WHERE id = '3'")
        elif what == "rows gone":
            connection.execute("DELETE FROM rows WHERE kind = 'log_key'")
        else:
            connection.execute("DROP TRIGGER entries_update")
            (data,) = connection.execute("SELECT data FROM entries WHERE seq = 3").fetchone()
            spoilt = data.replace(b'"by":"os:test"', b'"by":"os:tess"')
            connection.execute("UPDATE entries SET data = ?, leaf = ? WHERE seq = 3", (spoilt, leaf_hash(spoilt)))
    report = verify_state(folder, ORIGIN, None, lambda _: None)
    kinds = {one["kind"] for one in report["findings"]}
    assert kinds & ({"root"} if what == "record swapped" else {"key", "checkpoint"})


async def test_the_anchor_of_the_folder_shows_a_cut(tmp_path):
    """The command keeps the checkpoint of the change outside the database: a copy of before it does not open beside it."""
    folder = tmp_path / "state"
    await commits(folder, 3)
    old, before = (folder / LOG_KEY_FILE).read_bytes(), (folder / "log.db").read_bytes()
    await rotate(folder)
    with open_store(folder) as store:
        anchor = store.newest_checkpoint()
    for name in ("log.db-wal", "log.db-shm"):
        (folder / name).unlink(missing_ok=True)
    (folder / "log.db").write_bytes(before)
    (folder / LOG_KEY_FILE).write_bytes(old)
    with pytest.raises(StoreError, match="rolled back"):
        open_store(folder, anchor=anchor)
