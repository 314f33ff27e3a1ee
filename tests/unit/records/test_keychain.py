"""The keys of one log: what a hand-over states, who must have signed it, and which key signs at which size."""

from base64 import b64encode

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.records import keychain
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, read_head, sign_checkpoint, sign_note
from lictor.records.cosign import WitnessKey, cosign, open_witnessed, with_cosignature
from lictor.records.keychain import Handover, KeyChain, key_in, read_statements
from lictor.records.note import Note, Signature, read_note
from lictor.records.roll import Roll, open_roll

ORIGIN = "test.local/log"
SIGNERS = [Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in range(1, 6)]
KEYS = [VerifierKey.of(ORIGIN, signer) for signer in SIGNERS]


def head(size, byte=7):
    return Checkpoint(ORIGIN, size, bytes([byte]) * 32)


def handed(at, old, new):
    return Handover.sign(head(at), SIGNERS[old], SIGNERS[new])


CHANGES = [handed(3, 0, 1), handed(4, 1, 2), handed(90, 2, 3)]
CHAIN = KeyChain.through(KEYS[0], CHANGES)


def test_what_was_signed_is_read_again():
    """All members come back, and the record of it says the same."""
    made = CHANGES[0]
    assert Handover.read(made.note) == made
    record = made.record("os:me", "why")
    assert (record.old, record.new, record.size) == (KEYS[0].text(), KEYS[1].text(), 3)
    assert Handover.recorded(record, 3) == made


@pytest.mark.parametrize(
    "change", [{"old": "x"}, {"new": "x"}, {"size": 4}, {"statement": "x"}, {"statement": ""}, {"old": KEYS[2].text()}]
)
def test_a_record_says_no_more_than_its_statement(change):
    """Whoever reads the members must be able to rely on them."""
    record = msgspec.structs.replace(CHANGES[0].record("os:me"), **change)
    with pytest.raises(StoreError):
        Handover.recorded(record, 3)


def test_a_record_stands_where_its_statement_says():
    """Moved to another place it would change the key there."""
    with pytest.raises(StoreError, match="stands at 4"):
        Handover.recorded(CHANGES[0].record("os:me"), 4)


@given(st.integers(0, len(CHANGES[0].note) - 1), st.characters(codec="ascii"))
@settings(max_examples=150, deadline=None)
def test_any_changed_character_is_found(place, character):
    """One text for one meaning: a statement with another character is none, or the same one."""
    note = CHANGES[0].note
    other = note[:place] + character + note[place + 1 :]
    if other == note:
        return
    with pytest.raises(StoreError):
        Handover.read(other)


@pytest.mark.parametrize("missing", [0, 1])
def test_both_keys_must_have_signed(missing):
    """The old one says who comes after it; the new one that its holder has it, and who came before."""
    note = read_note(CHANGES[0].note)
    alone = Note(note.text, (note.signatures[1 - missing],)).whole()
    with pytest.raises(StoreError):
        Handover.read(alone)


def test_a_signature_of_a_third_key_is_no_consent():
    """The line of another key under the new key's name counts for nothing."""
    note = read_note(CHANGES[0].note)
    forged = Signature(ORIGIN, KEYS[1].key_id(), SIGNERS[4].sign(note.text.encode()))
    with pytest.raises(StoreError):
        Handover.read(Note(note.text, (note.signatures[0], forged)).whole())


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n3\n{b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\nkey 3\n{b64encode(bytes(31)).decode()}\n{KEYS[0].text()}\n{KEYS[1].text()}\n",
        f"{ORIGIN}\nkey 03\n{b64encode(bytes(32)).decode()}\n{KEYS[0].text()}\n{KEYS[1].text()}\n",
        f"other\nkey 3\n{b64encode(bytes(32)).decode()}\n{KEYS[0].text()}\n{KEYS[1].text()}\n",
        f"{ORIGIN}\nkey 3\n{b64encode(bytes(32)).decode()}\n{KEYS[0].text()}\n{KEYS[0].text()}\n",
        f"{ORIGIN}\nkey 3\n{b64encode(bytes(32)).decode()}\n{KEYS[0].text()}\n{KEYS[1].text()}\nmore\n",
    ],
)
def test_other_texts_are_no_statements(text):
    """A checkpoint, a short root, a number written otherwise, another log, a key after itself, another line: signed, and refused."""
    lines = [Signature(ORIGIN, key.key_id(), signer.sign(text.encode())) for key, signer in zip(KEYS[:2], SIGNERS, strict=False)]  # fmt: skip
    with pytest.raises(StoreError):
        Handover.read(Note(text, tuple(lines)).whole())


def test_a_statement_is_no_checkpoint_and_no_roll():
    """What one key was made to sign can never pass for the other thing."""
    text = read_note(CHANGES[0].note).text
    with pytest.raises(StoreError):
        read_head(text, extensions=True)
    with pytest.raises(StoreError):
        open_roll(CHANGES[0].note, KEYS[0])
    with pytest.raises(StoreError):
        Handover.read(sign_checkpoint(head(3), SIGNERS[0]))


def test_which_key_signs_at_which_size():
    """The checkpoint that first covers the record is the old key's, each larger one the new key's; two changes in a row, too."""
    at = [CHAIN.at(size) for size in (-1, 0, 3, 4, 5, 6, 90, 91, 92, 10**9)]
    assert at == [KEYS[one] for one in (0, 0, 0, 0, 1, 2, 2, 2, 3, 3)]
    assert CHAIN.last == KEYS[3]
    assert CHAIN.spans() == ((KEYS[0], 0), (KEYS[1], 3), (KEYS[2], 4), (KEYS[3], 90))
    assert CHAIN.places() == {3, 4, 90}
    assert KeyChain(KEYS[0]).at(10**9) == KEYS[0]


@pytest.mark.parametrize("known", range(4))
def test_whoever_has_one_key_has_them_all(known):
    """Forwards by the old keys' signatures, backwards by the new ones'."""
    assert KeyChain.through(KEYS[known], CHANGES) == CHAIN
    assert key_in(KEYS[known].text(), CHAIN)


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        (KEYS[4], CHANGES),
        (KEYS[3], CHANGES[:2]),
        (KEYS[0], CHANGES[1:]),
        (KEYS[0], [CHANGES[1], CHANGES[0]]),
        (KEYS[0], [CHANGES[0], CHANGES[0]]),
        (KEYS[0], [CHANGES[0], CHANGES[2]]),
        (KEYS[0], [CHANGES[0], handed(9, 1, 0)]),
        (KEYS[0], [CHANGES[0], handed(3, 1, 2)]),
    ],
)
def test_what_is_no_chain_is_refused(key, changes):
    """A foreign key, a later or earlier one than it tells of, disorder, repetition, a gap, a key that returns, two at one place."""
    with pytest.raises(StoreError):
        KeyChain.through(key, changes)


def test_a_chain_has_an_end(monkeypatch):
    """A hostile export cannot have a verifier check signatures for ever."""
    monkeypatch.setattr(keychain, "MAX_CHANGES", 2)
    with pytest.raises(StoreError, match="too many"):
        KeyChain.through(KEYS[0], CHANGES)
    with pytest.raises(StoreError):
        read_statements(CHAIN.text())


@pytest.mark.parametrize("count", range(4))
def test_statements_as_text(count):
    """None, one or many, as they stand in an export; cut off anywhere they are refused."""
    chain = KeyChain.through(KEYS[0], CHANGES[:count])
    assert read_statements(chain.text()) == list(chain.changes)
    for end in range(1, len(chain.text()), 37):
        with pytest.raises(StoreError):
            KeyChain.through(KEYS[count], read_statements(chain.text()[:end]))


@pytest.mark.parametrize(("size", "right"), [(3, 0), (4, 0), (5, 1), (6, 2), (91, 2), (92, 3)])
def test_a_checkpoint_of_another_key_of_the_log_counts_for_nothing(size, right):
    """An old key is good for the sizes at which it signed, and a new one for no earlier ones."""
    for number, signer in enumerate(SIGNERS):
        text = sign_checkpoint(head(size), signer)
        if number == right:
            assert open_checkpoint(text, CHAIN) == head(size)
        else:
            with pytest.raises(StoreError):
                open_checkpoint(text, CHAIN)


def test_a_roll_is_of_one_key():
    """Over a change it would be one key's word for the other's checkpoints."""
    within = Roll(ORIGIN, 6, 91, 9, bytes(32))
    assert open_roll(within.signed(SIGNERS[2]), CHAIN) == within
    for signer in SIGNERS:
        with pytest.raises(StoreError):
            open_roll(Roll(ORIGIN, 5, 91, 9, bytes(32)).signed(signer), CHAIN)
    with pytest.raises(StoreError):
        open_roll(sign_note("no roll\n", ORIGIN, SIGNERS[0]), CHAIN)


def test_what_a_witness_cosigned_under_an_old_key_still_counts():
    """At the size at which that key signed; not the same words from it at a later size."""
    witness = Ed25519PrivateKey.from_private_bytes(b"\x09" * 32)
    key = WitnessKey.of("witness.example/w", witness)
    for size, good in ((4, True), (5, False)):
        note = sign_checkpoint(head(size), SIGNERS[0])
        cosigned = with_cosignature(note, cosign(read_note(note).text, key.name, witness, 1_700_000_000))
        if good:
            assert open_witnessed(cosigned, CHAIN, [key]).checkpoint == head(size)
        else:
            with pytest.raises(StoreError):
                open_witnessed(cosigned, CHAIN, [key])
