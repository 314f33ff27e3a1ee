"""Origins on every back end: rows follow from the log, survive a restart, and mean nothing once the key is erased."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.lifecycle import origins as rows
from lictor.lifecycle.origins import ECHO, INCOMPLETE, MAX_SOURCES
from lictor.model.errors import ConflictError
from lictor.model.history import Origin
from lictor.model.record import ContentSeen, ExecutionEnded, TaskOpened
from lictor.pdp.origins.digest import value_digest
from lictor.pdp.origins.forms import KINDS
from lictor.ports import Batch
from lictor.service.history.origins import opening_values
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from store_samples import NOW, batch, erasure, opened, started, task

EVERY = frozenset(KINDS)
SIGNER = Ed25519PrivateKey.generate()
MAIL = ("email", "a@b.example")


def sqlite(path):
    """A store on disk."""
    return SqliteStore(path / "state" / "log.db", signer=SIGNER, origin="test.local/log")


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    made = MemoryStore(signer=SIGNER) if request.param == "memory" else sqlite(tmp_path)
    yield made
    made.close()


async def open_root(store, text="write to a@b.example", declared=()):
    """A root task with trusted text; its digest function."""
    key = store.fresh_key()
    record = TaskOpened(task=task(), opened_by="alice", values=opening_values(key, text, declared, EVERY))
    await store.commit(Batch(at_ms=NOW, records=(record,), key=key))

    def digest(*found):
        return value_digest(store.origin_key("task_1"), found or MAIL)

    return digest


async def read(store, digest, *, source="tool:web/fetch", marks=("untrusted",), found=(), values=None, name="e1"):
    """One result with values."""
    await store.commit(batch(started(name, labels=marks, request=f"r_{name}")))
    values = (digest,) if values is None else values
    record = ExecutionEnded(execution=name, outcome="executed", values=values, source=source, labels=found)
    await store.commit(batch(record))


async def test_text_declared_and_results_are_kept_apart(store):
    """One row a value, with every source; another value has none."""
    digest = await open_root(store, declared=("c@d.example",))
    await read(store, digest())
    assert store.origin("task_1", digest()) == Origin(sources=("task", "tool:web/fetch"), labels=("untrusted",))
    assert store.origin("task_1", digest("email", "c@d.example")) == Origin(sources=("declared",))
    assert store.origin("task_1", digest("email", "x@d.example")) is None
    assert store.origin("task_2", digest()) is None


async def test_labels_of_content_go_to_the_value_and_the_task(store):
    """They are as good as the catalogue's."""
    digest = await open_root(store, text="")
    await read(store, digest(), marks=(), found=("confidential", "confidential:card"))
    assert store.origin("task_1", digest()).labels == ("confidential", "confidential:card")
    assert store.task("task_1").labels == ("confidential", "confidential:card")


async def test_content_outside_a_result_counts_like_one(store):
    """A notice labels the task and is a source."""
    digest = await open_root(store, text="")
    record = ContentSeen(task="task_1", source="tool:web/fetch", labels=("untrusted",), values=(digest(),))
    await store.commit(batch(record))
    assert store.origin("task_1", digest()) == Origin(sources=("tool:web/fetch",), labels=("untrusted",))
    assert store.task("task_1").labels == ("untrusted",)
    with pytest.raises(ConflictError):
        await store.commit(batch(msgspec.structs.replace(record, task="task_9")))


async def test_labels_of_an_echo_count_and_its_source_does_not(store):
    """What the call itself named is not vouched for by the reply, but has been where the reply is from."""
    digest = await open_root(store, text="")
    await read(store, digest(), values=(ECHO + digest(),))
    assert store.origin("task_1", digest()) == Origin(labels=("untrusted",))


async def test_values_outside_a_result_carry_their_senders_labels(store):
    """Also those that the task does not take on."""
    digest = await open_root(store, text="")
    record = ContentSeen(task="task_1", source="tool:x", labels=("a",), carried=("b",), values=(digest(),))
    await store.commit(batch(record))
    assert store.origin("task_1", digest()).labels == ("a", "b")
    assert store.task("task_1").labels == ("a",)


async def test_what_was_not_kept_labels_every_value(store):
    """An attacker who fills a result with values does not lose its labels."""
    digest = await open_root(store)
    await read(store, digest(), values=(INCOMPLETE,), marks=("untrusted",))
    assert store.spilled("task_1") == ("untrusted",)
    assert store.spilled("task_2") == ()


async def test_rows_of_a_tree_are_bounded_and_labels_are_not(store, monkeypatch):
    """Past the bound a value comes from nowhere, and its labels go to all; known values still gain labels."""
    digest = await open_root(store)
    monkeypatch.setattr(rows, "MAX_ROWS", 0)
    await read(store, digest(), values=(digest(), digest("email", "new@b.example")), marks=("untrusted",))
    assert store.origin("task_1", digest("email", "new@b.example")) is None
    assert store.spilled("task_1") == ("untrusted",)
    assert store.origin("task_1", digest()).labels == ("untrusted",)


async def test_sources_of_a_value_are_bounded_and_its_labels_are_not(store):
    """The trusted text stays a source whatever comes later."""
    digest = await open_root(store)
    for number in range(MAX_SOURCES + 3):
        await read(store, digest(), source=f"tool:s/{number}", marks=(f"l{number}",), name=f"e{number}")
    found = store.origin("task_1", digest())
    assert len(found.sources) == MAX_SOURCES
    assert found.sources[0] == "task"
    assert len(found.labels) == MAX_SOURCES + 3


async def test_a_child_brings_no_trusted_text(store):
    """What opens a child was written by a model, so nothing in it is evidence (DELG-11)."""
    digest = await open_root(store, text="")
    child = msgspec.structs.replace(task("task_2", calls=5), agent="other", parents=("task_1",))
    await store.commit(batch(TaskOpened(task=child, opened_by="agent", values=(f"t{digest()}", f"d{digest()}"))))
    assert store.origin("task_1", digest()) is None
    assert store.origin("task_2", digest()) is None


async def test_what_a_child_reads_its_parent_has_read(store):
    """History is the tree's: a value and its labels cannot be fetched by a child and lose them on the way."""
    digest = await open_root(store, text="")
    child = msgspec.structs.replace(task("task_2", calls=5), agent="other", parents=("task_1",))
    await store.commit(batch(TaskOpened(task=child, opened_by="agent")))
    await store.commit(batch(started("e1", task="task_2", labels=("untrusted",))))
    ended = ExecutionEnded(
        execution="e1", outcome="executed", values=(digest(),), source="tool:web/fetch", labels=("injected",)
    )
    await store.commit(batch(ended))
    assert store.origin("task_1", digest()) == Origin(sources=("tool:web/fetch",), labels=("injected", "untrusted"))
    assert "injected" in store.task("task_1").labels
    assert "injected" in store.task("task_2").labels


async def test_a_value_from_nowhere_known_is_refused(store):
    """A task's values are from its text or declared; anything else is no record of ours."""
    with pytest.raises(ConflictError):
        await store.commit(batch(msgspec.structs.replace(opened(), values=("xabc",))))


async def test_erasing_the_key_leaves_digests_nobody_can_make(store):
    """The rows stay, as they follow from the log; no value can be turned into one of them any more."""
    digest = await open_root(store)
    kept = digest()
    await store.commit(erasure())
    assert store.origin_key("task_1") is None
    assert store.origin("task_1", kept) is not None


async def test_a_task_without_a_prepared_key_has_one_too(store):
    """Every opened task can remember values."""
    await store.commit(batch(opened()))
    assert len(store.origin_key("task_1")) == 32
    assert store.origin_key("task_9") is None
    assert store.fresh_key() != store.fresh_key()


async def test_a_restart_changes_nothing(tmp_path):
    """Rows and key are on disk, and the rows are what the log says."""
    store = sqlite(tmp_path)
    digest = await open_root(store)
    await read(store, digest(), values=(digest(), INCOMPLETE))
    before = digest(), store.origin("task_1", digest()), store.spilled("task_1")
    store.close()
    again = sqlite(tmp_path)
    name = value_digest(again.origin_key("task_1"), MAIL)
    assert (name, again.origin("task_1", name), again.spilled("task_1")) == before
    assert again.rebuild_rows() == []
    again.close()


async def test_nothing_in_the_log_shows_a_value(tmp_path):
    """Neither log nor rows hold the address, only digests of it (the sealed payload is elsewhere)."""
    store = sqlite(tmp_path)
    digest = await open_root(store)
    await read(store, digest())
    store.close()
    for file in (tmp_path / "state").iterdir():
        assert b"b.example" not in file.read_bytes()
