"""A revoked task token is revoked in every process of the state folder, and a token is issued for an open task only."""

from pathlib import Path

import pytest

from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.record import TaskClosed, TokenIssued, TokenRevoked
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, opened

REVOKED = TokenRevoked(jti="tok_1", task="task_1", expires_at_ms=2_000, by="agent:coder")
ISSUED = TokenIssued(
    jti="tok_1", task="task_1", agent="coder", issuer="ci", subject="s", how="jwt", proof="", expires_at_ms=2_000
)


async def test_another_process_sees_it(tmp_path: Path) -> None:
    """Two stores on one file: what one revokes is revoked for the other at its next look."""
    folder = tmp_path / "state"
    signer = Keys.open(folder).signer
    with (
        SqliteStore(folder / "log.db", signer=signer, origin="test.local/log") as one,
        SqliteStore(folder / "log.db", signer=signer, origin="test.local/log") as two,
    ):
        await one.commit(batch(opened()))
        assert not two.revoked("tok_1")
        await one.commit(batch(REVOKED))
        assert one.revoked("tok_1")
        assert two.revoked("tok_1")
        assert not two.revoked("tok_2")


async def test_it_survives_a_restart(tmp_path: Path) -> None:
    """The row is there again when the file is opened anew."""
    folder = tmp_path / "state"
    signer = Keys.open(folder).signer
    with SqliteStore(folder / "log.db", signer=signer, origin="test.local/log") as one:
        await one.commit(batch(opened()))
        await one.commit(batch(REVOKED))
    with SqliteStore(folder / "log.db", signer=signer, origin="test.local/log") as again:
        assert again.revoked("tok_1")


async def test_no_token_for_a_closed_task() -> None:
    """A token that is minted while its task is being closed is not issued: the commit decides."""
    store = MemoryStore()
    await store.commit(batch(opened()))
    await store.commit(batch(ISSUED))
    await store.commit(batch(TaskClosed(task="task_1", by="op")))
    with pytest.raises(ConflictError) as caught:
        await store.commit(batch(ISSUED))
    assert caught.value.reason is Reason.TASK_CLOSED
