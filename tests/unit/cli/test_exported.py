"""Verifying an export: its entries are read once, unless there is something to be found in what they say."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.cli import exported
from lictor.cli.exported import verify_export
from lictor.model.record import DenyOverridden, encode_entry
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.merkle import FrontierBuilder, leaf_hash
from lictor.stores.memory import MemoryStore
from lictor.stores.tiles import TileFolder
from store_samples import batch, decided, ended, opened, received, started

ORIGIN = "test.local/log"
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)


@pytest.fixture
def counted(monkeypatch):
    """How often entries were read from the first."""
    times = []
    whole = TileFolder.entries

    def entries(self, size):
        times.append(size)
        return whole(self, size)

    monkeypatch.setattr(TileFolder, "entries", entries)
    return times


async def written(*batches):
    store = MemoryStore(signer=SIGNER, origin=ORIGIN)
    await store.commit(batch(opened()))
    for number in range(30):
        request, execution = f"req_{number}", f"exe_{number}"
        await store.commit(batch(received(request), decided(request), started(execution, request=request)))
        await store.commit(batch(ended(execution)))
    for one in batches:
        await store.commit(one)
    return store


def export(store, path):
    key = VerifierKey.of(ORIGIN, SIGNER)
    note = list(store.checkpoints())[-1]
    TileFolder(path).extend(store.entries, note, key)
    return key


async def test_a_sound_export_is_read_once(tmp_path, counted):
    """Its tree, its tiles and what its records mean, in one reading."""
    key = export(await written(), tmp_path)
    report = verify_export(tmp_path, key)
    assert (report["ok"], report["size"]) == (True, 121)
    assert counted == [121]


async def test_what_cannot_rightly_stand_is_named_in_a_second_reading(tmp_path, counted, monkeypatch):
    """The first one only says that something is there; the control listens to nothing."""
    key = export(await written(batch(decided("req_3"))), tmp_path)
    report = verify_export(tmp_path, key)
    assert [(one["kind"], one["position"]) for one in report["findings"]] == [("inconsistent", 121)]
    assert len(counted) > 1
    monkeypatch.setattr(exported.Listening, "sure", lambda _self, _again: True)
    assert verify_export(tmp_path, key)["ok"]


def test_a_deny_that_was_overridden_long_after_is_no_finding(tmp_path, monkeypatch):
    """It is looked up where it was made, however far back."""
    monkeypatch.setattr("lictor.service.evidence.consistency.WINDOW", 4)
    monkeypatch.setattr("lictor.service.evidence.gist.AT_A_TIME", 8)
    monkeypatch.setattr("lictor.service.evidence.gist.BACK", (8,))
    denied = [decided(f"req_{number}", outcome="deny") for number in range(60)]
    override = DenyOverridden(hold="hold_1", request="req_0", decision="dec_req_0", by="os:b", why="w")
    datas = [encode_entry(1, record) for record in (*denied, override)]
    tree = FrontierBuilder()
    for data in datas:
        tree.append(data)

    def entries(start, stop):
        return [StoredEntry(at, datas[at], leaf_hash(datas[at])) for at in range(start, stop)]

    key = VerifierKey.of(ORIGIN, SIGNER)
    note = sign_checkpoint(Checkpoint(ORIGIN, tree.size, tree.root()), SIGNER)
    TileFolder(tmp_path).extend(entries, note, key)
    assert verify_export(tmp_path, key)["ok"]
