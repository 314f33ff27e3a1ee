"""The tamper battery on a real log: everything that can be done to it is found and located; every control is caught as blind.

A log of 100 kB is written by the real store. One bit of every fifth byte is flipped here (bit and byte move on from entry to
entry); with `LICTOR_EXHAUSTIVE=1` every bit of every byte is, and every pair of places. Signatures are checked by the real code; its answer is kept for equal texts.
"""

import os
import random
import sqlite3
from functools import lru_cache

import pytest

from lictor.model.errors import LictorError
from lictor.model.record import ContentSeen
from lictor.records import heads as cursor
from lictor.records.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from lictor.records.merkle import EMPTY_ROOT, FrontierBuilder, leaf_hash
from lictor.records.roll import open_roll
from lictor.records.verify import Entry, FindingKind, verify_log
from lictor.stores import tables
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from store_samples import batch, decided, ended, opened, payload, received, started

K = FindingKind
ORIGIN = "test.local/log"
BITS = range(8) if os.environ.get("LICTOR_EXHAUSTIVE") == "1" else None
STEP = 1 if BITS else 5
pytestmark = pytest.mark.timeout(3_600 if BITS else 300)


def work(number, source):
    """What a gateway commits for one call: one batch or two, of several sizes."""
    request, execution = f"req_{number:026d}", f"exe_{number:026d}"
    seen = ContentSeen(task="task_1", source="x" * source.randrange(200))
    yield batch(received(request), decided(request), started(execution, request=request), payloads=[payload(request)])
    yield batch(ended(execution), *([seen] if source.random() < 0.3 else []))


class Written:
    """A log as it stands in the file, and where each of its commits ends."""

    def __init__(self, folder):
        self.folder = folder
        self.signer = Keys.open(folder).signer
        with SqliteStore.open_unverified(folder / "log.db") as view:
            self.entries = [Entry(one.seq, one.data, one.leaf) for one in view.entries()]
            self.heads = list(view.checkpoints())
            self.rolls = list(view.rolls())
        with SqliteStore(folder / "log.db", signer=self.signer, origin=ORIGIN) as store:
            self.key = store.verifier_key
        self.sizes = [open_checkpoint(head, self.key).size for head in self.heads]
        self.anchor = open_checkpoint(self.heads[-1], self.key)
        self.commits = []
        """For each commit the tree before it, its first entry, the number of its checkpoint."""
        tree = FrontierBuilder()
        for number, size in enumerate(self.sizes[1:], start=1):
            self.commits.append((tree.freeze(), tree.size, number))
            for entry in self.entries[tree.size : size]:
                tree.append(entry.data)

    def verify(self, **changed):
        parts = {"entries": self.entries, "heads": self.heads, "rolls": self.rolls, "anchor": None, **changed}
        return verify_log(parts["entries"], parts["heads"], self.key, rolls=parts["rolls"], anchor=parts["anchor"])


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder = tmp_path_factory.mktemp("state") / "state"

    async def write():
        source = random.Random(7)
        with SqliteStore(folder / "log.db", signer=Keys.open(folder).signer, origin=ORIGIN) as store:
            await store.commit(batch(opened()))
            number = 0
            while sum(len(one.data) for one in store.entries()) < 100_000:
                for _ in range(10):
                    for one in work(number, source):
                        await store.commit(one)
                    number += 1

    import asyncio

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "EVERY", 64)  # several rolls in a small log
        asyncio.run(write())
    return Written(folder)


@pytest.fixture(autouse=True)
def answers_kept(monkeypatch):
    """An Ed25519 check of a text that was checked before gives what it gave."""
    monkeypatch.setattr(cursor, "open_checkpoint", lru_cache(maxsize=None)(open_checkpoint))
    monkeypatch.setattr(cursor, "open_roll", lru_cache(maxsize=None)(open_roll))


def bits(at):
    return BITS if BITS is not None else (at % 8,)


def flipped(data, at, bit):
    return b"%b%c%b" % (data[:at], data[at] ^ (1 << bit), data[at + 1 :])


def told(report):
    return {(one.kind, one.position) for one in report.findings}


def kinds(report):
    return {one.kind for one in report.findings}


def renumbered(entries):
    """What somebody with the file but without the key leaves: numbers and leaf hashes that fit."""
    return [Entry(seq, one.data, leaf_hash(one.data)) for seq, one in enumerate(entries)]


def resigned(log, entries, *, every=4):
    """What somebody with the key leaves: everything fits everything."""
    tree, heads = FrontierBuilder(), [sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), log.signer)]
    for entry in entries:
        tree.append(entry.data)
        if tree.size % every == 0 or tree.size == len(entries):
            heads.append(sign_checkpoint(Checkpoint(ORIGIN, tree.size, tree.root()), log.signer))
    return renumbered(entries), heads


def test_the_log_is_what_it_says(log):
    """Control: untouched it verifies, with rolls and without, and every roll is used."""
    assert sum(len(one.data) for one in log.entries) >= 100_000
    assert len(log.rolls) >= 4
    assert log.verify().ok
    assert log.verify(rolls=[], anchor=log.anchor).ok


def test_every_flipped_bit_of_an_entry_is_located(log):
    """AUDT-01: by its stored leaf hash to the entry; with the hash mended too, by the checkpoint to the commit."""
    flips = 0
    for tree, first, number in log.commits:
        window, head = log.entries[first : log.sizes[number]], [log.heads[number]]
        for place, entry in enumerate(window):
            for at in range(entry.seq % STEP, len(entry.data), STEP):
                for bit in bits(at):
                    flips += 1
                    data = flipped(entry.data, at, bit)
                    mended = flips % 2 == 1
                    window[place] = Entry(entry.seq, data, leaf_hash(data) if mended else entry.leaf)
                    found = told(verify_log(window, head, log.key, start=tree))
                    assert found == ({(K.ROOT, first)} if mended else {(K.ENTRY, entry.seq), (K.ROOT, first)})
            window[place] = entry
    assert flips >= sum(len(one.data) // STEP for one in log.entries) * (8 if BITS else 1)


def test_every_flipped_bit_of_a_leaf_hash_is_located(log):
    """The stored hash is wrong, the entry is not: the roots hold."""
    for tree, first, number in log.commits:
        window, head = log.entries[first : log.sizes[number]], [log.heads[number]]
        for place, entry in enumerate(window):
            for at in range(entry.seq % STEP, 32, STEP):
                for bit in bits(at + place):
                    window[place] = Entry(entry.seq, entry.data, flipped(entry.leaf, at, bit))
                    assert told(verify_log(window, head, log.key, start=tree)) == {(K.ENTRY, entry.seq)}
            window[place] = entry


def test_every_flipped_bit_of_a_checkpoint_is_found(log):
    """Text, name, key id and signature: nothing of a stored checkpoint can change unnoticed."""
    unreadable = 0
    for number, head in enumerate(log.heads if BITS else log.heads[::16]):
        data = head.encode()
        for at in range(len(data)):
            for bit in bits(at + number):
                try:
                    changed = flipped(data, at, bit).decode()
                except UnicodeDecodeError:  # SQLite's driver refuses such a text: see the test on the file
                    unreadable += 1
                    continue
                with pytest.raises(LictorError):
                    open_checkpoint(changed, log.key)
    assert unreadable


def test_a_checkpoint_that_a_roll_vouches_for_is_located_all_the_same(log):
    """The roll does not fit any more, so each of its checkpoints is checked by itself; nobody else's word is taken."""
    source = random.Random(11)
    for number in range(1, len(log.heads), 3):
        head = log.heads[number]
        at = source.randrange(len(head) - 1)
        changed = head[:at] + chr(ord(head[at]) ^ 1) + head[at + 1 :]
        report = log.verify(heads=[*log.heads[:number], changed, *log.heads[number + 1 :]])
        assert (K.CHECKPOINT, number) in told(report)
    for number in range(1, len(log.heads)):
        dropped = log.verify(heads=[*log.heads[:number], *log.heads[number + 1 :]])
        rolled = log.sizes[number] <= open_roll(log.rolls[-1], log.key).last
        assert (
            K.ROLL in kinds(dropped)
        ) is rolled  # a checkpoint that is gone is missed only where no roll says so yet


def test_every_damaged_roll_is_found_and_vouches_for_nothing(log):
    """A roll is an offer: flipped, moved, doubled, of another key or of nothing, it is named, and the rest is checked by itself."""
    for number, roll in enumerate(log.rolls):
        for at in range(len(roll) - 1):
            for bit in bits(at)[:1]:
                changed = roll[:at] + chr(ord(roll[at]) ^ (1 << bit)) + roll[at + 1 :]
                with pytest.raises(LictorError):
                    open_roll(changed, log.key)
        assert kinds(log.verify(rolls=[*log.rolls[:number], "", *log.rolls[number + 1 :]])) == {K.ROLL}
    assert kinds(log.verify(rolls=log.rolls[::-1])) == {K.ROLL}
    assert kinds(log.verify(rolls=[log.rolls[0], *log.rolls])) == {K.ROLL}
    assert kinds(log.verify(rolls=log.heads[:1])) == {K.ROLL}
    with pytest.raises(LictorError):
        open_checkpoint(log.rolls[0], log.key)


def test_truncation_at_every_length_is_found(log):
    """AUDT-02, AUDT-03: without its last entries the log ends too early, and that place is named."""
    for size in range(len(log.entries)):
        report = log.verify(entries=log.entries[:size], rolls=log.rolls if size % 10 == 0 else [])
        assert (K.TRUNCATED, size) in told(report)
        assert chain_only(log.entries[:size])  # the control: a chain without checkpoints sees a whole, shorter log


def test_every_rollback_is_found_by_the_anchor_alone(log):
    """Entries cut together with their checkpoints and rolls, as an older copy of the file has them."""
    for number, size in enumerate(log.sizes[:-1]):
        rolls = [roll for roll in log.rolls if open_roll(roll, log.key).last <= size]
        older = {"entries": log.entries[:size], "heads": log.heads[: number + 1], "rolls": rolls}
        assert log.verify(**older).ok  # the control: nothing inside can tell
        assert (K.ROLLBACK, size) in told(log.verify(**older, anchor=log.anchor))


def test_deletion_duplicate_insertion_and_swap_are_found_everywhere(log):
    """AUDT-06, AUDT-12: at every entry, with numbers and leaf hashes mended; located to the commit."""
    count = len(log.entries)
    for at in range(0, count, STEP):
        first = max(size for size in log.sizes if size <= at)
        last = min(size for size in log.sizes if size > at) - 1
        other = random.Random(at).randrange(count)
        swapped = list(log.entries)
        swapped[at], swapped[other] = swapped[other], swapped[at]
        cases = {
            "delete": [*log.entries[:at], *log.entries[at + 1 :]],
            "duplicate": [*log.entries[:at], log.entries[at], *log.entries[at:]],
            "insert": [*log.entries[:at], Entry(at, b"forged"), *log.entries[at:]],
        }
        if other > at and swapped[at].data != swapped[other].data:
            cases["swap"] = swapped
        for name, entries in cases.items():
            report = log.verify(entries=renumbered(entries), rolls=[])
            where = min(one.position for one in report.findings)
            assert first <= where <= max(at + 1, last), (name, at, report.findings[:3])
        assert K.SEQUENCE in kinds(log.verify(entries=cases["delete"], rolls=[])) or at == count - 1


def test_fork_and_rewrite_with_the_key_are_found_against_what_was_seen_outside(log):
    """AUDT-08 and whoever holds the key: consistent in itself, not with the anchor; located to the earliest anchor that differs."""
    anchors = [open_checkpoint(head, log.key) for head in log.heads[1::5]]
    for at in range(0, len(log.entries), 4 * STEP):
        entries, heads = resigned(log, [*log.entries[:at], Entry(at, b"rewritten"), *log.entries[at + 1 :]])
        assert verify_log(entries, heads, log.key).ok  # the control: it is missed without an anchor
        assert kinds(verify_log(entries, heads, log.key, anchor=log.anchor)) == {K.REWRITTEN}
        later = [one.size for one in anchors if one.size > at]
        found = verify_log(entries, heads, log.key, anchor=anchors).findings
        assert [one.position for one in found] == later
    fork = resigned(log, [*log.entries[:-1], Entry(0, b"other")])[1][-1]
    assert (K.FORK, len(log.entries)) in told(log.verify(heads=[*log.heads, fork]))


def chain_only(entries):
    """A build that chains without checkpoints: numbers, leaf hashes, and each entry after the one before it."""
    return all(one.seq == at and one.leaf == leaf_hash(one.data) for at, one in enumerate(entries))


def unsigned(log, **parts):
    """A build that believes checkpoints without their signature."""
    tree, sizes = FrontierBuilder(), {}
    for head in parts["heads"]:
        _, size, root, *_ = head.split("\n")
        sizes[int(size)] = root
    from base64 import b64encode

    fits = True
    for entry in parts["entries"]:
        tree.append(entry.data)
        fits &= sizes.get(tree.size) in (None, b64encode(tree.root()).decode())
    return fits and max(sizes) == tree.size


def unhashed(log, **parts):
    """A build that reads checkpoints and never compares their roots."""
    return open_checkpoint(parts["heads"][-1], log.key).size == len(parts["entries"])


def attacks(log):
    """Each with a build that must be blind to it."""
    stranger = Keys.open(log.folder.parent / "stranger").signer
    forged = [*log.entries[:50], Entry(50, b"forged"), *log.entries[51:]]
    tree, heads = FrontierBuilder(), []
    for size, entry in enumerate([*forged, None]):
        if size in log.sizes:
            heads.append(sign_checkpoint(Checkpoint(ORIGIN, tree.size, tree.root()), stranger))
        if entry is not None:
            tree.append(entry.data)
    yield "cut", {"entries": log.entries[:-3], "heads": log.heads}, lambda **parts: chain_only(parts["entries"])
    yield (
        "signed by a stranger",
        {"entries": renumbered(forged), "heads": heads},
        lambda **parts: unsigned(log, **parts),
    )
    yield "one exchanged", {"entries": renumbered(forged), "heads": log.heads}, lambda **parts: unhashed(log, **parts)


def test_every_control_is_blind_where_the_verifier_is_not(log):
    """A verifier with one check taken out misses what that check is for; all controls accept the untouched log."""
    for name, parts, blind in attacks(log):
        assert blind(entries=log.entries, heads=log.heads), name
        assert blind(**parts), name
        assert not log.verify(**parts, rolls=[]).ok, name


async def test_no_false_alarm_on_a_thousand_clean_logs(tmp_path):
    """Random batches through the real stores: nothing is found where nothing was done."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    signer = Ed25519PrivateKey.generate()
    for seed in range(1_000):
        source = random.Random(seed)
        store = MemoryStore(signer=signer, origin=ORIGIN)
        await store.commit(batch(opened()))
        for number in range(source.randrange(5)):
            for one in work(number, source):
                await store.commit(one)
        report = verify_log(store.entries(), store.checkpoints(), store.verifier_key)
        assert report.ok, (seed, report)


def damaged_copy(log, folder, source):
    """A copy of the file with a few bytes changed anywhere: headers, pages, indexes, the write-ahead log."""
    folder.mkdir(mode=0o700)
    for path in log.folder.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
            (folder / path.name).chmod(0o600)
    names = [name for name in ("log.db", "log.db-wal") if (folder / name).exists() and (folder / name).stat().st_size]
    path = folder / source.choice(names)
    data = bytearray(path.read_bytes())
    for _ in range(source.choice((1, 1, 1, 4, 64))):
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    path.write_bytes(data)


def test_damage_to_the_raw_file_never_passes_and_never_crashes(log, tmp_path):
    """Whatever the file's bytes become: an error of ours or findings, or exactly the entries and checkpoints of before."""
    source, outcomes = random.Random(23), {"found": 0, "unreadable": 0, "elsewhere": 0}
    for round_ in range(400 if BITS else 60):
        folder = tmp_path / str(round_)
        damaged_copy(log, folder, source)
        try:
            with SqliteStore.open_unverified(folder / "log.db") as view:
                report = verify_log(view.entries(), view.checkpoints(), log.key, rolls=view.rolls(), anchor=log.anchor)
                if report.ok:
                    same = [(one.seq, one.data, one.leaf) for one in view.entries()] == log.entries
                    assert same
                    assert list(view.checkpoints()) == log.heads
        except LictorError:
            outcomes["unreadable"] += 1
        else:
            outcomes["elsewhere" if report.ok else "found"] += 1
    assert outcomes["found"]
    assert outcomes["elsewhere"] < 0.8 * sum(outcomes.values())  # state rows and free pages: not of the log


def test_a_text_that_is_none_any_more_is_found(log, tmp_path):
    """A checkpoint whose bytes are no UTF-8: the driver refuses it, verification says so."""
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "log.db").write_bytes((log.folder / "log.db").read_bytes())
    connection = sqlite3.connect(folder / "log.db")
    connection.executescript("DROP TRIGGER checkpoints_update")
    connection.execute("UPDATE checkpoints SET text = CAST(x'ff' || CAST(text AS BLOB) AS TEXT) WHERE size = 1")
    connection.commit()
    connection.close()
    with SqliteStore.open_unverified(folder / "log.db") as view:
        report = verify_log(view.entries(), view.checkpoints(), log.key)
    assert kinds(report) & {K.UNREADABLE, K.CHECKPOINT}
