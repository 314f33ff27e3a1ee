"""The reader of a log: it sees what the store sees, also what is committed later, and can write nothing."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import StoreError
from lictor.model.ids import PolicyRevision, RequestId
from lictor.model.record import DecisionMade, decode_entry
from lictor.stores.reader import LogReader
from lictor.stores.sqlite import SqliteStore
from recorded_world import FETCH, READ, TrafficWorld, world_bundle

BUNDLE = world_bundle()


@pytest.fixture
def world(tmp_path: Path) -> TrafficWorld:
    """A log in a file."""
    store = SqliteStore(tmp_path / "log.db", signer=Ed25519PrivateKey.generate(), origin="test/log")
    made = TrafficWorld(BUNDLE, store)
    asyncio.run(made.step(READ))
    return made


def test_it_reads_what_the_store_reads(world: TrafficWorld, tmp_path: Path) -> None:
    """Entries, payloads and bundles; and goes on with what is committed while it is open."""
    with LogReader(tmp_path / "log.db") as reader:
        for _ in range(2):
            assert reader.size() == world.store.size()
            whole = list(world.store.entries())
            assert list(reader.entries()) == whole
            assert list(reader.entries(2, 4)) == whole[2:4]
            records = [decode_entry(entry.data).record for entry in whole]
            for record in records:
                if isinstance(record, DecisionMade):
                    assert reader.payload(record.request) == world.store.payload(record.request) is not None
            asyncio.run(world.step(FETCH))
        assert reader.bundle(BUNDLE.revision) == dict(BUNDLE.files)
        assert reader.bundle(PolicyRevision("sha256:none")) is None
        assert reader.payload(RequestId("req_none")) is None
    world.store.close()


def test_it_cannot_write_and_needs_no_writer(world: TrafficWorld, tmp_path: Path) -> None:
    """Not by mistake either; and it reads a log that nobody has open."""
    world.store.close()
    with LogReader(tmp_path / "log.db") as reader:
        assert reader.size() == len(list(reader.entries()))
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM payloads")


def test_a_log_that_is_not_there_is_said(tmp_path: Path) -> None:
    """And none is made."""
    with pytest.raises(StoreError, match="cannot be read"):
        LogReader(tmp_path / "log.db")
    (tmp_path / "noise.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be read"), LogReader(tmp_path / "noise.db") as reader:
        reader.size()
    assert not (tmp_path / "log.db").exists()
