"""C2SP tlog-proof: what is written is read, and only what is in the log is proved."""

import pytest

from lictor.model.errors import StoreError
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.cosign import cosign, with_cosignature
from lictor.records.merkle import inclusion_proof, leaf_hash, nodes_of
from lictor.records.note import read_note
from lictor.records.proof import Proof, verify_proof
from unit.records.test_cosign import AT, KEY, LOG, ORIGIN, W1, W2, WITNESS

ENTRIES = [f"entry {at}".encode() for at in range(11)]
NODES = nodes_of([leaf_hash(one) for one in ENTRIES])


def root(size: int) -> bytes:
    from lictor.records.merkle import root_at

    return root_at(size, NODES)


BARE = sign_checkpoint(Checkpoint(ORIGIN, 11, root(11)), LOG)
NOTE = with_cosignature(BARE, cosign(read_note(BARE).text, W1.name, WITNESS, AT))
PROOF = Proof(6, inclusion_proof(6, 11, NODES), NOTE, ENTRIES[6])


@pytest.mark.parametrize("extra", [None, b"", b"entry", bytes(300)])
@pytest.mark.parametrize("index", range(11))
def test_a_proof_is_read_as_written_and_proves(index, extra):
    """Every entry, with and without the record in the file."""
    proof = Proof(index, inclusion_proof(index, 11, NODES), NOTE, extra)
    assert Proof.read(proof.text()) == proof
    assert verify_proof(proof, ENTRIES[index], KEY, [W1]).checkpoint.size == 11


def test_another_entry_is_not_proved():
    """Neither other bytes, nor another index, nor a changed path."""
    path = list(PROOF.path)
    path[1] = bytes(32)
    cases = [
        (PROOF, ENTRIES[5]),
        (Proof(5, PROOF.path, NOTE), ENTRIES[6]),
        (Proof(6, tuple(path), NOTE), ENTRIES[6]),
        (Proof(6, PROOF.path[:-1], NOTE), ENTRIES[6]),
        (Proof(11, PROOF.path, NOTE), ENTRIES[6]),
    ]
    for proof, data in cases:
        with pytest.raises(StoreError):
            verify_proof(proof, data, KEY)


def test_the_keys_are_the_callers():
    """Another log's key, and a witness that did not sign."""
    other = VerifierKey(ORIGIN, W1.public)
    with pytest.raises(StoreError):
        verify_proof(PROOF, ENTRIES[6], other)
    with pytest.raises(StoreError, match="not cosigned"):
        verify_proof(PROOF, ENTRIES[6], KEY, [W1, W2])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[1:],
        lambda text: text.replace("@v1", "@v2"),
        lambda text: text.replace("index 6", "index 06"),
        lambda text: text.replace("index 6\n", ""),
        lambda text: text.replace("extra ", "extra !"),
        lambda text: text.replace("\n\n", "\n", 1),
        lambda text: text.replace("index 6\n", "index 6\nAAAA\n"),
        lambda text: text.replace("index 6\n", "index 6\nx\n"),
        lambda text: text.replace("index 6\n", "index 6\n" + "A" * 43 + "=\n" * 70),
    ],
)
def test_what_is_no_proof_is_refused(change):
    """One text for one meaning."""
    with pytest.raises(StoreError):
        Proof.read(change(PROOF.text()))
