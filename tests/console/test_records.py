"""The room of records: the log page by page, proofs that stand by themselves, verification that finds damage, bounded work."""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from console.rooms_world import APPROVER, Browser, console_of, text_of, visitor, world
from lictor.console.records_tail import REACH, Tail, mark_of
from lictor.console.records_verify import Verification
from lictor.console.records_view import LOOKED, page_of
from lictor.model.errors import StoreError
from lictor.model.ids import HumanId
from lictor.model.record import BundleActivated, DecisionMade, PartyRefused, SignedOut, decode_entry
from lictor.ports import Batch, StoredEntry
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.merkle import FrontierBuilder, inclusion_proof, leaf_hash, nodes_of, verify_inclusion
from lictor.records.proof import FORMAT
from lictor.service.log.proofs import RUN, Runs
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock
from recorded_world import READ, TrafficWorld

HOSTILE = "<script>alert(1)</script>\u202e\u200bevil\x1b[2J</textarea>{{7*7}}"


async def busy() -> TrafficWorld:
    """A world in which something happened."""
    made = await world()
    for _ in range(3):
        await made.step(READ)
    return made


def filled(count: int) -> MemoryStore:
    """A log of so many short entries."""
    store = MemoryStore()
    grow(store, count)
    return store


def grow(store: MemoryStore, count: int) -> None:
    """So many more; this store's commit waits for nothing."""
    size = store.size()
    records = tuple(SignedOut(human=HumanId(f"os:{size + number}")) for number in range(count))
    with pytest.raises(StopIteration):
        store.commit(Batch(at_ms=1, records=records)).send(None)


# -- pages -----------------------------------------------------------------------------------------------------------------


async def test_the_log_is_paged_newest_first_without_gaps() -> None:
    """Following "older" from the newest reaches the first entry, each once, in order."""
    store = MemoryStore()
    records = tuple(SignedOut(human=HumanId(f"os:{number}")) for number in range(333))
    await store.commit(Batch(at_ms=1, records=records))
    seen: list[int] = []
    before: int | None = None
    while True:
        page = await page_of(store, before=before, kind="")
        seen += [row.seq for row in page.rows]
        if page.older is None:
            break
        before = page.older
    assert seen == list(range(332, -1, -1))


async def test_a_filter_finds_what_it_says_and_looks_at_a_bounded_part() -> None:
    """Rows of other types are skipped; a rare type in a long log costs no more than the bound, and the page goes on below it."""
    store = MemoryStore()
    records = [SignedOut(human=HumanId(f"os:{number}")) for number in range(LOOKED * 3)]
    rare = PartyRefused(by="x:y", where="sign_in", reason="not_an_approver")
    await store.commit(Batch(at_ms=1, records=(rare, *records)))
    before: int | None = None
    pages, found = 0, []
    while True:
        page = await page_of(store, before=before, kind="request.")
        assert page.looked <= LOOKED + 256
        found += [row.seq for row in page.rows]
        pages += 1
        if page.older is None:
            break
        before = page.older
    assert found == [0]
    assert pages >= 3


async def test_pages_answer_for_every_odd_number() -> None:
    """No number, negative, too long, beyond the log: not found, and never an error of ours."""
    browser = await visitor(await busy())
    for odd in ("-1", "x", "9" * 30, "1e3", "0x1", "%00", "٣", "999999", "1.0", "+1", "..%2f..%2fetc"):
        assert (await browser.get(f"/records/{odd}")).status_code == 404, odd
        for more in ("data", "proof"):
            assert (await browser.get(f"/records/{odd}/{more}")).status_code == 404, odd
    for query in (
        "before=-5",
        "before=x",
        f"before={'9' * 40}",
        "before=0",
        "kind=%3Cscript%3E",
        f"kind={'a' * 500}",
        "kind=a&kind=b",
    ):
        page = await browser.get(f"/records?{query}")
        assert page.status_code == 200, query
        assert "<script>" not in page.text


async def test_an_entry_is_shown_as_it_is_hashed() -> None:
    """The page has the record's members and its leaf hash; the download is the very bytes, as an attachment nobody renders."""
    made = await busy()
    browser = await visitor(made)
    stored = next(iter(made.store.entries(2, 3)))
    page = await browser.get("/records/2")
    assert leaf_hash(stored.data).hex() in page.text
    assert "request.received" in text_of(page.text)
    data = await browser.get("/records/2/data")
    assert data.content == stored.data
    assert data.headers["content-disposition"] == 'attachment; filename="lictor-entry-2.json"'
    assert data.headers["x-content-type-options"] == "nosniff"
    assert data.headers["content-type"].startswith("application/json")
    assert "default-src 'none'" in data.headers["content-security-policy"]


async def test_hostile_words_of_a_record_are_shown_as_what_they_are() -> None:
    """In the list and on the entry's page: no markup of theirs, no hidden character."""
    made = await busy()
    record = PartyRefused(by=HOSTILE, where="sign_in", reason=HOSTILE)
    receipt = await made.store.commit(Batch(at_ms=1, records=(record,)))
    browser = await visitor(made)
    for path in ("/records", "/records?kind=request.party", f"/records/{receipt.first}"):
        page = (await browser.get(path)).text
        assert "<script>alert" not in page
        assert not {"\u202e", "\u200b", "\x1b"} & set(page)
        assert "[U+202E]" in text_of(page) or "\\u202e" in page
        assert "49" not in text_of(page).split("evil")[-1][:20]


async def test_an_entry_nobody_would_have_written_is_still_shown() -> None:
    """Damage is what one looks for: it gets a row and a page that says so."""
    made = await busy()
    store: Any = made.store
    store._entries[3] = StoredEntry(3, b"\xff{not json <b>", store._entries[3].leaf)
    browser = await visitor(made)
    assert "unreadable" in text_of((await browser.get("/records")).text)
    page = await browser.get("/records/3")
    assert page.status_code == 200
    assert "damaged" in page.text
    assert "<b>" not in page.text
    assert (await browser.get("/records/3/proof")).status_code == 409


async def test_everybody_signed_in_may_look_and_nobody_else() -> None:
    """Without a sign-in every page leads to it."""
    made = await busy()
    stranger = Browser(console_of(made))
    for path in (
        "/records",
        "/records/1",
        "/records/1/data",
        "/records/1/proof",
        "/records/checkpoints",
        "/records/verify",
    ):
        assert (await stranger.get(path)).status_code == 303, path
        assert (await (await visitor(made, APPROVER)).get(path)).status_code == 200, path


# -- proofs ----------------------------------------------------------------------------------------------------------------


async def test_a_downloaded_proof_stands_without_the_gateway() -> None:
    """Entry, proof and key are enough; with another entry, another index or another key it is refused."""
    made = await busy()
    store: Any = made.store
    browser = await visitor(made)
    data = (await browser.get("/records/4/data")).content
    reply = await browser.get("/records/4/proof")
    assert reply.headers["content-disposition"] == 'attachment; filename="lictor-entry-4.tlog-proof"'
    index, path, head = read_proof(reply.text, store.verifier_key)
    verify_inclusion(leaf_hash(data), index, head.size, path, head.root)
    with pytest.raises(StoreError):
        verify_inclusion(leaf_hash(data + b" "), index, head.size, path, head.root)
    with pytest.raises(StoreError):
        verify_inclusion(leaf_hash(data), index + 1, head.size, path, head.root)
    with pytest.raises(StoreError):
        read_proof(reply.text, MemoryStore().verifier_key)


def read_proof(text: str, key: VerifierKey) -> tuple[int, list[bytes], Checkpoint]:
    """A `tlog-proof` as its specification has it."""
    head, note = text.split("\n\n", 1)
    first, second, *hashes = head.split("\n")
    assert first == FORMAT
    assert second.startswith("index ")
    return int(second.removeprefix("index ")), [b64decode(one) for one in hashes], open_checkpoint(note, key)


@settings(deadline=None, max_examples=25)
@given(sizes=st.lists(st.integers(1, 3 * RUN), min_size=1, max_size=3), data=st.data())
def test_kept_runs_prove_as_the_whole_tree_does(sizes: list[int], data: st.DataObject) -> None:
    """However the log grew between two proofs, the path is that of RFC 6962 over all leaves."""
    store, runs = MemoryStore(), Runs()
    for count in sizes:
        grow(store, count)
        index = data.draw(st.integers(0, store.size() - 1))
        proved = runs.prove(store, index, store.newest_checkpoint(), store.verifier_key.text())
        leaves = [leaf_hash(entry.data) for entry in store.entries()]
        assert proved.path == inclusion_proof(index, len(leaves), nodes_of(leaves))


class Changed:
    """A log with one entry that is not the one that was signed."""

    def __init__(self, store: MemoryStore, at: int) -> None:
        self._store, self._at = store, at

    def size(self) -> int:
        return self._store.size()

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        for entry in self._store.entries(start, stop):
            yield StoredEntry(entry.seq, entry.data + b" ", entry.leaf) if entry.seq == self._at else entry

    def checkpoints(self) -> Any:
        return self._store.checkpoints()


@pytest.mark.parametrize("at", [0, 255, 256, 700, 899])
def test_no_proof_comes_of_a_log_that_is_not_the_signed_one(at: int) -> None:
    """Wherever the change is, near the entry or far from it; and what was kept of the changed log spoils no later proof."""
    store, runs = filled(900), Runs()
    note, key = store.newest_checkpoint(), store.verifier_key.text()
    with pytest.raises(StoreError):
        runs.prove(Changed(store, at), 300, note, key)
    assert runs.prove(store, 300, note, key).index == 300


def test_a_checkpoint_of_another_key_proves_nothing() -> None:
    """Also when everything else fits."""
    store = filled(10)
    tree = FrontierBuilder()
    for entry in store.entries():
        tree.append(entry.data)
    other = MemoryStore()
    signed = sign_checkpoint(Checkpoint(store.verifier_key.name, 10, tree.root()), other._signer)
    with pytest.raises(StoreError):
        Runs().prove(store, 3, signed, store.verifier_key.text())
    with pytest.raises(StoreError):
        Runs().prove(store, 10, store.newest_checkpoint(), store.verifier_key.text())


async def test_checkpoints_are_listed_and_one_can_be_kept() -> None:
    """The newest as a file that opens with the key on the page."""
    made = await busy()
    store: Any = made.store
    browser = await visitor(made, anchor=store.newest_checkpoint)
    page = await browser.get("/records/checkpoints")
    assert store.verifier_key.text() in page.text
    kept = await browser.get("/records/checkpoints/newest")
    assert open_checkpoint(kept.text, store.verifier_key).size == store.size()
    assert "attachment" in kept.headers["content-disposition"]
    assert "lictor log verify" in page.text


# -- verifying -------------------------------------------------------------------------------------------------------------


async def verified(browser: Browser) -> str:
    """The page after a whole run."""
    begun = await browser.post("/records/verify", {})
    assert begun.status_code == 303
    for _ in range(200):
        page = await browser.get("/records/verify")
        if "refresh" not in page.headers:
            return page.text
        await asyncio.sleep(0.02)
    raise AssertionError


async def test_a_good_log_verifies_and_a_damaged_one_is_located() -> None:
    """The page says where; the control, the same log undamaged, has nothing wrong."""
    made = await busy()
    browser = await visitor(made)
    assert "Nothing is wrong" in text_of(await verified(browser))
    store: Any = made.store
    entry = store._entries[5]
    store._entries[5] = StoredEntry(5, entry.data.replace(b"fs", b"sf"), entry.leaf)
    page = text_of(await verified(browser))
    assert "The log is damaged" in page
    assert "data and stored leaf hash differ" in page


async def test_a_cut_log_is_found_by_what_is_kept_outside() -> None:
    """A checkpoint kept elsewhere covers more than there is."""
    made = await busy()
    anchor = sign_checkpoint(Checkpoint(made.store.verifier_key.name, 500, b"\0" * 32), made.store._signer)  # type: ignore[attr-defined]
    browser = await visitor(made, anchor=lambda: anchor)
    assert "rollback" in text_of(await verified(browser))


async def test_a_log_in_a_file_is_read_in_its_own_view(tmp_path: Path) -> None:
    """Proof and verification read the file beside the store, in a thread, while the store goes on."""
    key = Ed25519PrivateKey.generate()
    with SqliteStore(tmp_path / "log.db", signer=key, origin="lictor.test/log") as store:
        made = await world(store)
        for _ in range(3):
            await made.step(READ)
        browser = await visitor(made, open_log=lambda: SqliteStore.open_unverified(tmp_path / "log.db"))
        reply = await browser.get("/records/2/proof")
        index, path, head = read_proof(reply.text, store.verifier_key)
        (entry,) = store.entries(2, 3)
        verify_inclusion(leaf_hash(entry.data), index, head.size, path, head.root)
        assert "Nothing is wrong" in text_of(await verified(browser))
        assert str(head.size) in (await browser.get("/records/checkpoints")).text


async def test_one_verification_at_a_time_and_it_waits_for_nobody() -> None:
    """A second ask joins the first; the event loop goes on meanwhile; progress is told."""
    store = filled(4_000)
    run = Verification(lambda: contextlib.nullcontext(store), store.verifier_key.text(), lambda: None, ManualClock(1))
    assert run.start("os:bob", store.size())
    assert not run.start("os:carol", store.size())
    beats = 0
    while (state := run.now()) is not None and state.running:
        assert 0 <= state.percent <= 100
        beats += 1
        await asyncio.sleep(0.001)
    assert beats > 3
    assert run.last is not None
    assert run.last.ok
    assert run.last.by == "os:bob"


async def test_what_fails_while_verifying_is_not_a_good_log() -> None:
    """A store that breaks ends it as failed, never as verified."""

    class Broken:
        def __enter__(self) -> Any:
            raise RuntimeError("nobody foresaw this")

        def __exit__(self, *_: object) -> None: ...

    run = Verification(Broken, filled(1).verifier_key.text(), lambda: None, ManualClock(1))
    run.start("os:bob", 1)
    await run.finished()
    assert run.last is not None
    assert not run.last.ok
    assert run.last.failed


async def test_verifying_needs_the_form_of_the_page() -> None:
    """A forged one starts nothing."""
    browser = await visitor(await busy())
    assert (await browser.post("/records/verify", {}, csrf="forged")).status_code == 403
    assert "Nobody has asked" in text_of((await browser.get("/records/verify")).text)


# -- following the log -----------------------------------------------------------------------------------------------------


async def test_the_tail_reads_each_entry_once_and_keeps_a_bounded_part() -> None:
    """A long log costs its reach once, and then what is new; old records fall out."""
    store = MemoryStore()
    reads: list[int] = []
    plain = store.entries

    def counted(start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        for entry in plain(start, stop):
            reads.append(entry.seq)
            yield entry

    store.entries = counted  # type: ignore[method-assign]
    records = tuple(SignedOut(human=HumanId(f"os:{number}")) for number in range(REACH + 500))
    await store.commit(Batch(at_ms=1, records=records))
    tail = Tail(store, (SignedOut,), most=10)
    assert [one.seq for one in await tail.read()] == list(range(REACH + 490, REACH + 500))
    assert len(reads) == REACH
    await store.commit(Batch(at_ms=2, records=(SignedOut(human=HumanId("os:last")),)))
    assert (await tail.read())[-1].record.human == "os:last"
    assert len(reads) == REACH + 1


async def test_a_record_that_names_another_type_is_not_one_of_it() -> None:
    """The quick look at bytes is followed by the true type: words in a record's members change nothing."""
    store = MemoryStore()
    lie = PartyRefused(by='"type":"decision.made"', where='","type":"decision.made"', reason="x")
    await store.commit(Batch(at_ms=1, records=(lie,)))
    assert await Tail(store, (DecisionMade,), most=10).read() == ()
    assert mark_of(BundleActivated) == b'"type":"privilege.bundle_activated"'
    (entry,) = store.entries()
    assert isinstance(decode_entry(entry.data).record, PartyRefused)
