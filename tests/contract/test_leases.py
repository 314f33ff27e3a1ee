"""Leases as every store tells them: by id, those that live, and all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.ids import LeaseId
from lictor.model.lease import LeaseStatus
from lictor.model.record import LeaseEnded, LeaseEnding, TaskClosed
from lictor.ports import Batch
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from property.test_leases import Rows

STORES = ["memory", "sqlite"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore | SqliteStore]:
    made: MemoryStore | SqliteStore
    if request.param == "memory":
        made = MemoryStore()
    else:
        made = SqliteStore(tmp_path / "log.db", signer=Ed25519PrivateKey.generate(), origin="test/log")
    yield made
    made.close()


class Writing(Rows):
    """The same records, kept to be committed."""

    def __init__(self) -> None:
        self.records: list = []
        super().__init__()

    def put(self, record, at_ms=None) -> None:
        super().put(record)
        self.records.append(record)


async def test_a_store_tells_its_leases(store: MemoryStore | SqliteStore) -> None:
    """Asked: live. Over: only among all. A closed task's: ending. An absent one: None."""
    wrote = Writing()
    one, two = wrote.ask("one"), wrote.ask("two")
    at = wrote.lease(one).asked_at_ms
    await store.commit(Batch(at_ms=at, records=tuple(wrote.records)))
    assert [lease.id for lease in store.leases()] == [one, two]
    assert store.lease(one) == wrote.lease(one)
    assert store.lease(LeaseId("lease_none")) is None
    started = store.execution(wrote.lease(one).execution)
    assert started is not None
    assert started.lease == one
    await store.commit(Batch(at_ms=at, records=(LeaseEnded(lease=one, outcome="never"),)))
    assert [lease.id for lease in store.leases()] == [two]
    assert [lease.id for lease in store.leases(live_only=False)] == [one, two]
    await store.commit(Batch(at_ms=at, records=(TaskClosed(task=wrote.lease(one).task, by="os:alice"),)))
    assert [lease.status for lease in store.leases()] == [LeaseStatus.REVOKING]
    await store.commit(Batch(at_ms=at, records=(LeaseEnded(lease=two, outcome="revoked"),)))
    assert not store.leases()


async def test_what_a_store_refuses_changes_nothing(store: MemoryStore | SqliteStore) -> None:
    """A step that the table does not have is a conflict, in one transaction with the table."""
    wrote = Writing()
    one = wrote.ask("one")
    at = wrote.lease(one).asked_at_ms
    await store.commit(Batch(at_ms=at, records=tuple(wrote.records)))
    await store.commit(Batch(at_ms=at, records=(LeaseEnding(lease=one, why="over"),)))
    size = store.size()
    with pytest.raises(Exception, match="cannot end"):
        await store.commit(Batch(at_ms=at, records=(LeaseEnding(lease=one, why="again"),)))
    assert store.size() == size
