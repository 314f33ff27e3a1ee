"""Power is cut at any moment, over the real store and core (facts R2): nothing that was promised is lost, the log is whole.

`LICTOR_POWER_ROUNDS` sets the number of cuts: 5,000 for every change, 100,000 for a release.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from crash.mutants import RecordsLater
from crash.scene import Policy, write_bundle
from lictor.stores import journal, scribe, sqlite, sqlite_schema
from power.campaign import Campaign
from power.disk import available
from power.faults import Doubtful
from power.session import Hasty, journal_files, journaled, moved_often

pytestmark = [
    pytest.mark.skipif(not available(), reason="sqlite cannot be reached below python's module"),
    pytest.mark.timeout(3_600),
]
ROUNDS = int(os.environ.get("LICTOR_POWER_ROUNDS", "5000"))
SEED = int(os.environ.get("LICTOR_POWER_SEED", "1"))
CONTROL = 400


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The bundle, compiled."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder)
    return Policy.load(folder)


@pytest.fixture
def scratch(tmp_path):
    """Where images are opened: in memory where there is such a place, since their own syncs prove nothing."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path / "image"
        return
    folder = memory / f"lictor-power-{os.getpid()}-{os.urandom(4).hex()}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("journal", [False, True], ids=["tables", "journal"])
def test_no_power_cut_breaks_a_promise(tmp_path, policy, scratch, monkeypatch, journal):
    """After every cut the store opens and holds what was acknowledged and what has happened; the log and its rows are whole."""
    moved_often(monkeypatch)
    if journal:
        journaled(monkeypatch)
    campaign = Campaign(tmp_path, policy, scratch, SEED, first=journal_files() if journal else None)
    campaign.run(ROUNDS // 2)
    print(
        f"\n{campaign.rounds} cuts, {campaign.promised} of promises, {campaign.moved} checkpoints, {len(campaign.checker.seen)} contents"
    )
    assert not campaign.faults, "\n".join(campaign.faults[:20])
    assert campaign.rounds == campaign.checker.opened == ROUNDS // 2
    assert campaign.promised > ROUNDS / 4


def not_full(monkeypatch, value):
    """Every connection of the store syncs less than it must."""
    real = sqlite_schema.connect

    def connect(path, *, read_only=False):
        connection = real(path, read_only=read_only)
        connection.execute(f"PRAGMA synchronous={value}")
        return connection

    for module in (sqlite_schema, sqlite, scribe):
        monkeypatch.setattr(module, "connect", connect)


def test_control_a_store_that_syncs_less_loses_what_it_acknowledged(tmp_path, policy, scratch, monkeypatch):
    """Control: WAL with synchronous=NORMAL, the usual advice; a good part of all cuts loses acknowledged commits (facts R2)."""
    moved_often(monkeypatch)
    not_full(monkeypatch, "NORMAL")
    campaign = Campaign(tmp_path, policy, scratch, SEED)
    campaign.run(CONTROL)
    lost = sum(": 2: " in fault for fault in campaign.faults)
    print(f"\n{lost} of {campaign.promised} cuts lost something that was promised")
    assert lost > campaign.promised / 20
    assert not any(": 1: " in fault or ": 3: " in fault for fault in campaign.faults)  # whole, but not all of it


@pytest.mark.parametrize("mutant", [RecordsLater, Hasty])
def test_control_a_gateway_that_tells_too_early_is_caught(tmp_path, policy, scratch, monkeypatch, mutant):
    """Control: the effect comes before its record is durable; or a commit is acknowledged while it is written."""
    moved_often(monkeypatch)
    campaign = Campaign(tmp_path, policy, scratch, SEED, mutant=mutant)
    campaign.run(CONTROL, stop=True)
    assert ": 2: " in campaign.faults[0]


def file_never_synced(events):
    """A checkpoint that forgets to sync the file, then writes over the write-ahead log: SQLite does not; this record does."""
    return [one for one in events if not (one.name == "log.db" and one.what in {"begin", "synced"})]


def test_control_damage_is_seen(tmp_path, policy, scratch, monkeypatch):
    """Control: pages that were moved and not synced are missed, whoever asks: what opens is not taken for whole."""
    moved_often(monkeypatch)
    campaign = Campaign(tmp_path, policy, scratch, SEED, heard=file_never_synced)
    campaign.run(CONTROL, stop=True)
    assert campaign.faults


def never_synced(patch):
    """The journal's own syncs are left out."""
    patch.setattr(journal.Journal, "append", append_without_sync)


def never_found(patch):
    """Nobody looks for what a journal holds."""
    patch.setattr(sqlite, "recover_if_left", lambda log: None)


def written_over(patch):
    """A file of the journal is used again although the tables are not durable yet."""
    patch.setattr(journal.Journal, "turn", lambda self, durable, frame: turn(self, 2**62, frame))


turn = journal.Journal.turn


def append_without_sync(self, frame, size):
    journal.write(self._files[self._active], frame, self._at)
    self._at += len(frame)
    self._until[self._active] = size


@pytest.mark.parametrize("wrong", [never_synced, never_found, written_over])
def test_control_a_journal_that_is_wrong_loses_what_it_acknowledged(tmp_path, policy, scratch, monkeypatch, wrong):
    """Control: each of the three things that a journal's promise rests on."""
    moved_often(monkeypatch)
    journaled(monkeypatch)
    if wrong is written_over:
        monkeypatch.setattr(
            scribe, "CHECKPOINT_BUSY", 2**40
        )  # pages are not moved meanwhile, which makes them durable too
    wrong(monkeypatch)
    campaign = Campaign(tmp_path, policy, scratch, SEED, first=journal_files())
    campaign.run(4 * CONTROL, stop=True)
    assert campaign.faults
    assert ": 2: " in campaign.faults[0] or "1: the journal goes on" in campaign.faults[0]


@pytest.mark.parametrize("journal", [False, True], ids=["tables", "journal"])
@pytest.mark.parametrize("share", [0.03, 0.3])
def test_no_failed_sync_breaks_a_promise(tmp_path, policy, scratch, monkeypatch, share, journal):
    """The disk fails to sync now and then (EIO), the system takes what it could not write for written, then power is cut."""
    moved_often(monkeypatch)
    if journal:
        journaled(monkeypatch)
    chance = random.Random(SEED)
    campaign = Campaign(
        tmp_path,
        policy,
        scratch,
        SEED,
        recorder=lambda folder: Doubtful(folder, chance, share),
        failing=True,
        first=journal_files() if journal else None,
    )
    for turn in range(1, 10):  # how many syncs a life has depends on the machine
        campaign.run(turn * max(CONTROL, ROUNDS // 20))
        if sum(one.failed for one in campaign.records) > 2:
            break
    assert not campaign.faults, "\n".join(campaign.faults[:20])
    assert sum(one.failed for one in campaign.records) > 2
    assert campaign.promised > campaign.rounds / 4
