"""Tampering with a log, exhaustively in the small: AUDT-01, 02, 03, 06, 08, 12; every check has a control that misses."""

import tracemalloc
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.merkle import EMPTY_ROOT, FrontierBuilder, leaf_hash
from lictor.records.verify import MAX_FINDINGS, Entry, FindingKind, verify_log

SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
KEY = VerifierKey.of("lictor.example/log", SIGNER)
K = FindingKind


def write(datas, every=5, leaves=True):
    """Entries and signed heads as a store commits them: a head for every batch, and one of size 0."""
    tree = FrontierBuilder()
    entries, heads = [], [sign_checkpoint(Checkpoint(KEY.name, 0, EMPTY_ROOT), SIGNER)]
    for seq, data in enumerate(datas):
        leaf = tree.append(data)
        entries.append(Entry(seq, data, leaf if leaves else None))
        if tree.size % every == 0 or tree.size == len(datas):
            heads.append(sign_checkpoint(Checkpoint(KEY.name, tree.size, tree.root()), SIGNER))
    return entries, heads


DATAS = [b'{"n":%d,"pad":"%s"}' % (i, sha256(b"%d" % i).hexdigest().encode() * 2) for i in range(40)]
ENTRIES, HEADS = write(DATAS)
NEWEST = open_checkpoint(HEADS[-1], KEY)


def renumber(datas):
    """What somebody with the database but without the key leaves: consistent numbers and leaf hashes."""
    return [Entry(i, d, leaf_hash(d)) for i, d in enumerate(datas)]


def kinds(report):
    return {f.kind for f in report.findings}


def naive(entries):
    """Control: numbers and leaf hashes only, as a hash chain without a checkpoint sees a log."""
    return all(e.seq == i and e.leaf == leaf_hash(e.data) for i, e in enumerate(entries))


def test_clean_logs_have_no_findings():
    """No false alarm, whatever the number of entries and of entries between two checkpoints."""
    for size in range(34):
        for every in (1, 3, 8, 100):
            for leaves in (True, False):
                report = verify_log(*write(DATAS[:size], every, leaves), KEY)
                assert report.ok, report
                assert report.size == size
    report = verify_log(iter(ENTRIES), iter(HEADS), KEY.text(), anchor=NEWEST)
    assert (report.ok, report.size, report.root, report.checkpoints) == (True, 40, NEWEST.root, len(HEADS))


def test_every_flipped_bit_is_located():
    """AUDT-01: every bit of every entry; with stored leaf hashes to the entry, without to the interval."""
    flips = 0
    for seq, data in enumerate(DATAS):
        start = seq - seq % 5
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << (bit % 8)
            flips += 1
            stop = start + 5
            stored = ENTRIES[seq]._replace(data=bytes(changed))
            if bit % 32 == seq % 32:  # the whole log for one bit of every fourth byte
                report = verify_log([*ENTRIES[:seq], stored, *ENTRIES[seq + 1 :]], HEADS[:2] + HEADS[-1:], KEY)
                assert [(f.kind, f.position) for f in report.findings if f.kind is K.ENTRY] == [(K.ENTRY, seq)]
                assert K.ROOT in kinds(report)
            else:
                # Same answer, cheaper: the flipped entry's interval as a log of its own.
                window = [
                    Entry(i, d, None) for i, d in enumerate([*DATAS[start:seq], bytes(changed), *DATAS[seq + 1 : stop]])
                ]
                report = verify_log(window, [WINDOW_HEADS[start]], KEY)
                assert kinds(report) == {K.ROOT}
    assert flips == sum(map(len, DATAS)) * 8


WINDOW_HEADS = {start: write(DATAS[start : start + 5])[1][-1] for start in range(0, 40, 5)}


def test_damage_is_located_between_two_checkpoints():
    """Without leaf hashes, and with recomputed ones, the first wrong interval is named."""
    for seq in range(40):
        datas = [*DATAS[:seq], b"forged", *DATAS[seq + 1 :]]
        report = verify_log(renumber(datas), HEADS, KEY)
        assert [(f.kind, f.position) for f in report.findings] == [(K.ROOT, seq - seq % 5)]
        assert naive(renumber(datas))


def test_every_flipped_leaf_hash_is_found():
    """A damaged stored leaf hash is named, and the roots still hold."""
    for seq in range(40):
        for bit in range(0, 256, 7):
            leaf = bytearray(ENTRIES[seq].leaf)
            leaf[bit // 8] ^= 1 << (bit % 8)
            entries = [*ENTRIES[:seq], ENTRIES[seq]._replace(leaf=bytes(leaf)), *ENTRIES[seq + 1 :]]
            assert [(f.kind, f.position) for f in verify_log(entries, HEADS, KEY).findings] == [(K.ENTRY, seq)]


@pytest.mark.parametrize("cut", range(1, 41))
def test_every_cut_tail_is_found(cut):
    """AUDT-02, AUDT-03: the last k entries, up to the whole log; a naive check finds none of them."""
    rest = ENTRIES[:-cut]
    report = verify_log(rest, HEADS, KEY)
    assert kinds(report) == {K.TRUNCATED}
    assert report.findings[-1].position == 40 - cut
    assert naive(rest)


@pytest.mark.parametrize("heads_kept", range(len(HEADS)))
def test_every_rollback_is_found_by_the_anchor(heads_kept):
    """Entries cut together with their checkpoints: only the anchor tells, and it always does."""
    heads = HEADS[:heads_kept]
    size = open_checkpoint(heads[-1], KEY).size if heads else 0
    assert verify_log(ENTRIES[:size], heads, KEY).ok is bool(heads)
    report = verify_log(ENTRIES[:size], heads, KEY, anchor=NEWEST)
    assert K.ROLLBACK in kinds(report)


def test_entries_behind_the_newest_checkpoint_are_found():
    """Entries and checkpoint are committed together, so an unsigned tail was never committed."""
    for extra in range(1, 6):
        entries = renumber([*DATAS, *([b"more"] * extra)])
        assert [(f.kind, f.position) for f in verify_log(entries, HEADS, KEY).findings] == [(K.UNSIGNED, 40)]
        assert naive(entries)


def test_every_delete_duplicate_insert_and_swap_is_found():
    """AUDT-06, AUDT-12: at every position, with and without consistent numbers and leaf hashes."""
    for i in range(40):
        cases = {"delete": [*DATAS[:i], *DATAS[i + 1 :]], "insert": [*DATAS[:i], b"new", *DATAS[i:]]}
        cases["duplicate"] = [*DATAS[:i], DATAS[i], *DATAS[i:]]
        for name, datas in cases.items():
            report = verify_log(renumber(datas), HEADS, KEY)
            assert not report.ok, (name, i)
            assert naive(renumber(datas))
        for raw in ([*ENTRIES[:i], *ENTRIES[i + 1 :]], [*ENTRIES[:i], ENTRIES[i], *ENTRIES[i:]]):
            assert not verify_log(raw, HEADS, KEY).ok
        for j in range(i + 1, 40):
            datas = list(DATAS)
            datas[i], datas[j] = datas[j], datas[i]
            report = verify_log(renumber(datas), HEADS, KEY)
            assert report.findings[0].kind is K.ROOT
            assert report.findings[0].position == i - i % 5


def test_missing_numbers_are_named():
    """A deleted row leaves a gap that is named once."""
    report = verify_log([*ENTRIES[:7], *ENTRIES[9:]], HEADS, KEY)
    assert (report.findings[0].kind, report.findings[0].position) == (K.SEQUENCE, 7)
    assert "7 to 8" in report.findings[0].message
    assert [f.kind for f in report.findings].count(K.SEQUENCE) == 1


def test_fork_is_found():
    """AUDT-08: two heads of one size and different roots, both signed, in either order, or one as anchor."""
    fork = write([*DATAS[:39], b"other"])[1][-1]
    assert K.FORK in kinds(verify_log(ENTRIES, [*HEADS, fork], KEY))
    assert {K.FORK, K.ROOT} <= kinds(verify_log(ENTRIES, [*HEADS[:-1], fork, HEADS[-1]], KEY))
    assert kinds(verify_log(ENTRIES, HEADS, KEY, anchor=open_checkpoint(fork, KEY))) == {K.REWRITTEN}


def test_rewrite_with_the_key_is_found_by_the_anchor_only():
    """Somebody who holds the key re-signs everything: consistent in itself, but not with what was seen outside."""
    for seq in range(40):
        entries, heads = write([*DATAS[:seq], b"rewritten", *DATAS[seq + 1 :]])
        assert verify_log(entries, heads, KEY).ok  # the control: nothing inside can tell
        assert kinds(verify_log(entries, heads, KEY, anchor=NEWEST)) == {K.REWRITTEN}
        older = [open_checkpoint(h, KEY) for h in HEADS]
        assert verify_log(entries, heads, KEY, anchor=older).findings[0].position > seq


def test_log_grown_since_the_anchor_is_fine():
    """An anchor of any earlier size, also between two checkpoints, is a prefix."""
    for size in range(41):
        tree = FrontierBuilder()
        for data in DATAS[:size]:
            tree.append(data)
        assert verify_log(ENTRIES, HEADS, KEY, anchor=Checkpoint(KEY.name, size, tree.root())).ok


def test_every_damaged_checkpoint_is_found():
    """Every stored head counts: each one broken, dropped at the end, moved, or of another log or key."""
    for at, head in enumerate(HEADS):
        for changed in (head[:-2] + "!\n", head.replace("\n", "\r\n", 1), "", head.encode(), None):
            report = verify_log(ENTRIES, [*HEADS[:at], changed, *HEADS[at + 1 :]], KEY)
            assert K.CHECKPOINT in kinds(report)
    assert kinds(verify_log(ENTRIES, [*HEADS, None], KEY)) == {K.CHECKPOINT}
    assert kinds(verify_log(ENTRIES, HEADS[:-1], KEY)) == {K.UNSIGNED}
    assert K.ORDER in kinds(verify_log(ENTRIES, [*HEADS, HEADS[2]], KEY))
    assert K.NO_CHECKPOINT in kinds(verify_log(ENTRIES, [], KEY))
    assert kinds(verify_log([], [], KEY)) == {K.NO_CHECKPOINT}
    assert verify_log(ENTRIES, [*HEADS, HEADS[-1]], KEY).ok  # the same head signed again at a restart
    other = VerifierKey.of(KEY.name, Ed25519PrivateKey.from_private_bytes(b"\x08" * 32))
    assert {K.CHECKPOINT, K.NO_CHECKPOINT} == kinds(verify_log(ENTRIES, HEADS, other))
    foreign = Checkpoint("other.example/log", NEWEST.size, NEWEST.root)
    assert kinds(verify_log(ENTRIES, HEADS, KEY, anchor=foreign)) == {K.REWRITTEN}


def test_a_signed_head_that_lies_is_found():
    """A head in the middle whose root is wrong is named, though later ones hold."""
    lie = sign_checkpoint(Checkpoint(KEY.name, 10, EMPTY_ROOT), SIGNER)
    report = verify_log(ENTRIES, [*HEADS[:2], lie, *HEADS[3:]], KEY)
    assert [(f.kind, f.position) for f in report.findings] == [(K.ROOT, 5)]


@pytest.mark.parametrize("entry", [Entry(3, "text", None), Entry("3", b"x", None), Entry(None, b"x", None), Entry(3, None, None), Entry(3, DATAS[3], "leaf")])  # fmt: skip
def test_wrong_types_from_the_store_are_findings(entry):
    """A database with loose types may hand out anything."""
    assert not verify_log([*ENTRIES[:3], entry, *ENTRIES[4:]], HEADS, KEY).ok


def test_unreadable_store_is_a_finding():
    """A store that fails while reading is reported with what was read."""

    def broken(items, stop):
        yield from items[:stop]
        raise StoreError(Reason.LOG_DAMAGED, "malformed page")

    report = verify_log(broken(ENTRIES, 12), HEADS, KEY)
    assert kinds(report) == {K.UNREADABLE, K.TRUNCATED}
    assert report.size == 12
    assert K.UNREADABLE in kinds(verify_log(ENTRIES, broken(HEADS, 3), KEY))


def test_findings_and_memory_are_bounded():
    """A log wrong everywhere gives a bounded report, and a long one needs no memory to speak of."""
    report = verify_log((Entry(0, b"x", b"y") for _ in range(3000)), HEADS, KEY)
    assert len(report.findings) == MAX_FINDINGS + 1
    assert "more findings" in report.findings[-1].message
    tracemalloc.start()
    verify_log((Entry(i, b"x" * 500, None) for i in range(20_000)), iter(HEADS), KEY)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_progress_and_key():
    """Progress ends with the number of entries; a bad verifier key is the operator's error."""
    seen = []
    verify_log((Entry(i, b"x", None) for i in range(20_000)), HEADS, KEY, on_progress=seen.append)
    assert seen == [8192, 16384, 20_000]
    with pytest.raises(OperatorError):
        verify_log(ENTRIES, HEADS, "no key")
