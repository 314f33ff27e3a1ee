"""Erasing on every back end: the record and the key are one commit, only what is over is erased, and no file keeps a copy."""

import os
import random
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import ConflictError, StoreError
from lictor.model.record import PayloadsErased, TaskClosed
from lictor.ports import Batch
from lictor.records.verify import verify_log
from lictor.stores import tables
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from lictor.stores.sqlite_schema import connect
from store_samples import NOW, batch, opened, payload, received

PLAIN = b'{"text":"the very words of a person"}'


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    signer = Ed25519PrivateKey.generate()
    made: Any = MemoryStore(signer=signer) if request.param == "memory" else _sqlite(tmp_path / "state", signer)
    yield made
    made.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[SqliteStore]:
    with _sqlite(tmp_path / "state", Ed25519PrivateKey.generate()) as made:
        yield made


def _sqlite(folder: Path, signer: Ed25519PrivateKey) -> SqliteStore:
    return SqliteStore(folder / "log.db", signer=signer, origin="test.local/log")


def gone(task: str = "task_1") -> PayloadsErased:
    return PayloadsErased(task=task, by="os:ann", why="asked for")


def closed(task: str = "task_1") -> TaskClosed:
    return TaskClosed(task=task, by="test")


def files(store: SqliteStore) -> bytes:
    """Everything that the store has in files."""
    return b"".join(path.read_bytes() for path in sorted(store._log.path.parent.iterdir()))


async def test_the_record_takes_the_payloads_with_it(store: Any) -> None:
    """After the commit nothing of the task opens, nothing is sealed for it again, and everything else is as it was."""
    await store.commit(batch(opened(), opened("task_2"), payloads=[payload(), payload("req_2", task="task_2")]))
    assert store.erased("task_1") is None
    assert list(store.sealed()) == ["task_1", "task_2"]
    key = store.origin_key("task_1")
    assert key is not None
    await store.commit(batch(closed(), gone(), at=NOW + 5))
    assert store.erased("task_1") == (NOW + 5, "os:ann")
    assert store.payload("req_1") is store.origin_key("task_1") is None
    assert store.payload("req_2") == payload("req_2", task="task_2")
    assert list(store.sealed()) == ["task_2"]
    await store.commit(batch(received("req_3"), payloads=[payload("req_3")]))
    assert store.payload("req_3") is None
    assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok


@pytest.mark.parametrize("when", ["live", "closed", "expired", "last moment"])
async def test_only_what_is_over_is_erased(store: Any, when: str) -> None:
    """A live task keeps its key whatever anybody asks; closed, or with its time up, it loses it, once."""
    await store.commit(batch(opened(expires=NOW + 100), payloads=[payload()]))
    if when == "closed":
        await store.commit(batch(closed()))
    at = {"expired": NOW + 100, "last moment": NOW + 99}.get(when, NOW)
    size = store.size()
    if when in {"live", "last moment"}:
        with pytest.raises(ConflictError, match="is live"):
            await store.commit(batch(gone(), at=at))
        assert store.size() == size
        assert store.payload("req_1") == payload()
        return
    await store.commit(batch(gone(), at=at))
    assert store.payload("req_1") is None
    with pytest.raises(ConflictError, match="exists already"):
        await store.commit(batch(gone(), at=at))
    assert store.size() == size + 1


async def test_a_task_that_never_was_is_erased_too(store: Any) -> None:
    """What a refused opening carried has a key of its own; it is not made anew for what comes later."""
    await store.commit(batch(received(task="ghost"), payloads=[payload(task="ghost")]))
    assert list(store.sealed()) == ["ghost"]
    await store.commit(batch(gone("ghost")))
    await store.commit(batch(received("req_2", task="ghost"), payloads=[payload("req_2", task="ghost")]))
    assert store.payload("req_1") is store.payload("req_2") is None
    assert list(store.sealed()) == []


async def test_keys_are_listed_a_page_at_a_time(store: Any) -> None:
    """Each once, in order, whatever the size of the page."""
    names = [f"task_{number:02}" for number in range(7)]
    await store.commit(batch(*(opened(name) for name in names), payloads=[payload()]))
    found: list[str] = []
    while page := store.sealed(found[-1] if found else "", 3):
        assert len(page) <= 3
        found += page
    assert found == sorted({*names, "task_1"})


async def test_a_refused_batch_erases_nothing(store: Any) -> None:
    """Record and key are one commit: where the record is refused, for whatever in its batch, the key is there."""
    await store.commit(batch(opened(), opened("task_2"), payloads=[payload()]))
    await store.commit(batch(closed()))
    with pytest.raises(ConflictError):
        await store.commit(batch(gone(), gone("task_2")))
    assert store.payload("req_1") == payload()
    assert store.erased("task_1") is None
    await store.commit(batch(received("req_2"), payloads=[payload("req_2")]))
    assert store.payload("req_2") == payload("req_2")


# -- files --------------------------------------------------------------------------------------------------------------------


async def test_no_file_holds_the_key_or_the_words(sqlite: SqliteStore) -> None:
    """The words never stood in a file; the key does until the scrub that the commit owes, and then nowhere."""
    await sqlite.commit(batch(opened(), payloads=[payload(arguments=PLAIN)]))
    key = sqlite._all("SELECT key FROM task_keys")[0][0]
    assert b"very words" not in files(sqlite)
    await sqlite.commit(batch(closed(), gone()))
    assert key in files(sqlite), "the control: the record alone leaves old pages"
    assert sqlite.scrub()
    assert key not in files(sqlite)
    assert sqlite.rebuild_rows() == []


async def test_another_process_has_forgotten_too(sqlite: SqliteStore) -> None:
    """A gateway that has sealed and looked up with the key does neither any more, once another process has erased it."""
    await sqlite.commit(batch(opened(), payloads=[payload()]))
    assert sqlite.origin_key("task_1") is not None
    with _sqlite(sqlite._log.path.parent, sqlite._log.signer) as other:
        await other.commit(batch(closed(), gone()))
        assert other.scrub()
    assert sqlite.origin_key("task_1") is None
    await sqlite.commit(batch(received("req_2"), payloads=[payload("req_2")]))
    assert sqlite.payload("req_1") is sqlite.payload("req_2") is None
    assert sqlite.erased("task_1") is not None


async def test_a_reader_of_before_keeps_the_pages_until_it_is_done(sqlite: SqliteStore) -> None:
    """It is said so, it stays owed, also to another process, and is paid when the reader has gone."""
    await sqlite.commit(batch(opened(), payloads=[payload()]))
    key = sqlite._all("SELECT key FROM task_keys")[0][0]
    with SqliteStore.open_unverified(sqlite._log.path):
        await sqlite.commit(batch(closed(), gone()))
        assert not sqlite.scrub()
        assert key in files(sqlite)
        await sqlite.commit(batch(received("req_2")))
    with _sqlite(sqlite._log.path.parent, sqlite._log.signer) as other:
        assert other.scrub()
        assert key not in files(sqlite)
        assert sqlite.scrub()


async def test_an_erasure_during_a_scrub_stays_owed(sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is erased after old pages were cut is owed again, and not forgotten with what was paid."""
    await sqlite.commit(batch(opened(), opened("task_2"), payloads=[payload()]))
    await sqlite.commit(batch(closed(), closed("task_2"), gone()))
    keys = dict(sqlite._all("SELECT task, key FROM task_keys"))
    statements: list[str] = []
    with _sqlite(sqlite._log.path.parent, sqlite._log.signer) as other:
        real = connect

        def slow(path: Path, **options: Any) -> Any:
            connection = real(path, **options)

            def seen(statement: str) -> None:
                statements.append(statement)
                if statement.startswith("DELETE FROM meta"):
                    writer = real(path)
                    writer.execute("DELETE FROM task_keys WHERE task = 'task_2'")
                    writer.execute("UPDATE meta SET value = '2' WHERE key = 'scrub'")
                    writer.close()

            connection.set_trace_callback(seen)
            return connection

        monkeypatch.setattr("lictor.stores.sqlite.connect", slow)
        assert other.scrub()
        monkeypatch.undo()
        assert any(statement.startswith("DELETE FROM meta") for statement in statements)
        assert keys["task_2"] in files(sqlite)
        assert sqlite.scrub()
        assert keys["task_2"] not in files(sqlite)


async def test_of_hundreds_of_keys_none_of_the_erased_is_left(sqlite: SqliteStore) -> None:
    """Pages are split and merged meanwhile; the keys that stay are each there once (the control: they are found by the search)."""
    chance = random.Random(4)
    live: dict[str, bytes] = {}
    lost: dict[str, bytes] = {}
    for _ in range(30):
        fresh = {f"task_{secrets.token_urlsafe(9)}": os.urandom(32) for _ in range(20)}
        for name, key in fresh.items():
            await sqlite.commit(Batch(at_ms=NOW, records=(opened(name),), key=key))
        live |= fresh
        chosen = {name: live.pop(name) for name in chance.sample(sorted(live), 8)}
        await sqlite.commit(batch(*(record for name in chosen for record in (closed(name), gone(name)))))
        lost |= chosen
    assert sqlite.scrub()
    held = files(sqlite)
    assert [name for name, key in lost.items() if key in held] == []
    assert {held.count(key) for key in live.values()} == {1}
    assert sqlite.rebuild_rows() == []


async def test_a_store_that_is_closed_knows_nothing_of_its_files(sqlite: SqliteStore) -> None:
    """It raises; nobody is told that all is clean."""
    sqlite.close()
    with pytest.raises(StoreError, match="closed"):
        sqlite.scrub()


async def test_a_dead_process_leaves_no_record_without_its_erasure(
    sqlite: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where writing fails between the entries and the rest, neither record nor erasure is there afterwards."""
    await sqlite.commit(batch(opened(), payloads=[payload()]))
    await sqlite.commit(batch(closed()))
    size = sqlite.size()

    def broken(*_: object) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(tables, "_write_rows", broken)
    with pytest.raises(StoreError):
        await sqlite.commit(batch(gone()))
    monkeypatch.undo()
    assert sqlite.size() == size
    assert sqlite.payload("req_1") == payload()
    await sqlite.commit(batch(gone()))
    assert sqlite.payload("req_1") is None
