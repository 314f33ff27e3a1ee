"""The tail of a log: what is committed is read, nothing is held on to, and what cannot be read says so."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import store_samples
from lictor.model.errors import StoreError
from lictor.stores.memory import MemoryStore
from lictor.stores.places import FilePlace
from lictor.stores.sqlite import SqliteStore
from lictor.stores.tail import LogTail, StoreTail


async def _grown(store: SqliteStore | MemoryStore, first: int, many: int) -> None:
    for number in range(first, first + many):
        await store.commit(store_samples.batch(store_samples.opened(f"task_{number}")))


def _log(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "state" / "log.db", signer=Ed25519PrivateKey.generate(), origin="lictor.example/log")


def test_both_tails_read_what_the_store_has(tmp_path: Path) -> None:
    """Pages in order, bounded, from any place on; also what was committed after it was opened."""
    memory = MemoryStore()
    with _log(tmp_path) as store:
        tails = [LogTail(tmp_path / "state" / "log.db"), StoreTail(memory)]
        for one in (store, memory):
            asyncio.run(_grown(one, 0, 5))
        for tail, one in zip(tails, (store, memory), strict=True):
            assert tail.size() == 5
            assert list(tail.read(1, 3)) == list(one.entries(1, 4))
            assert list(tail.read(5, 3)) == []
        asyncio.run(_grown(store, 5, 2))
        assert [entry.seq for entry in tails[0].read(4, 100)] == [4, 5, 6]
        for tail in tails:
            tail.close()


def test_an_open_tail_keeps_the_write_ahead_log_from_nothing(tmp_path: Path) -> None:
    """Between two reads no snapshot is held: everything can be moved into the file, and the log behind it cut."""
    with _log(tmp_path) as store:
        asyncio.run(_grown(store, 0, 3))
        tail = LogTail(tmp_path / "state" / "log.db")
        assert len(tail.read(0, 2)) == 2
        asyncio.run(_grown(store, 3, 3))
        with sqlite3.connect(tmp_path / "state" / "log.db") as other:
            busy, pages, moved = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        other.close()
        assert (busy, pages) == (0, moved)
        assert tail.size() == 6
        tail.close()


def test_a_log_that_is_not_there_or_none_is_said(tmp_path: Path) -> None:
    """No file is made, and a file that is no log is no empty one."""
    with pytest.raises(StoreError):
        LogTail(tmp_path / "log.db")
    assert not (tmp_path / "log.db").exists()
    (tmp_path / "log.db").write_bytes(b"no log at all" * 100)
    with pytest.raises(StoreError):
        LogTail(tmp_path / "log.db").size()


def test_one_process_holds_a_place(tmp_path: Path) -> None:
    """The lock is one's until it is closed, or its process ends."""
    one, other = FilePlace(tmp_path, "s"), FilePlace(tmp_path, "s")
    assert one.mine()
    assert one.mine()
    assert not other.mine()
    one.close()
    assert other.mine()
    other.close()
