"""A witness: the statuses of tlog-witness, and that it never vouches for two histories of one log."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.cosign import WitnessKey, cosigned_at
from lictor.records.merkle import consistency_proof, leaf_hash, nodes_of, root_at
from lictor.records.note import Note, read_note
from lictor.records.submission import SIZE_TYPE, Submission, read_cosignatures
from lictor.service.log import witness as module
from lictor.service.log.witness import Witness
from lictor.testing.clock import ManualClock

SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x0a" * 32)
LOG = Ed25519PrivateKey.from_private_bytes(b"\x0b" * 32)
ORIGIN = "log.example/one"
KEY = VerifierKey.of(ORIGIN, LOG)
NAME = "witness.example/w"
HISTORIES = {
    word: nodes_of([leaf_hash(f"{'same' if at < 3 else word} {at}".encode()) for at in range(32)])
    for word in ("a", "b")
}


class Kept:
    """In memory; what was signed, in order."""

    def __init__(self):
        self.notes: dict[str, str] = {}
        self.signed: list[str] = []
        self.accused: list[str] = []
        self.broken = False

    def latest(self, origin):
        return self.notes.get(origin)

    def keep(self, origin, note):
        if self.broken:
            raise StoreError(module.damaged("x").reason, "disk full")
        self.notes[origin] = note
        self.signed.append(note)

    def accuse(self, origin, note):
        self.accused.append(note)


def made(kept=None, clock=None):
    return Witness(NAME, SIGNER, {ORIGIN: KEY}, kept or Kept(), clock or ManualClock(1_700_000_000_000))


def note(size, history="a", signer=LOG, origin=ORIGIN):
    return sign_checkpoint(Checkpoint(origin, size, root_at(size, HISTORIES[history])), signer)


def ask(witness, old, size, history="a", proof=None, **kwargs):
    proof = consistency_proof(old, size, HISTORIES[history]) if proof is None else proof
    return witness.add(Submission(old, tuple(proof), note(size, history, **kwargs)).body())


def test_a_log_that_grows_is_cosigned():
    """From nothing, by steps, and once more at the same size; each answer is one line that verifies."""
    kept = Kept()
    witness = made(kept)
    for old, size in ((0, 3), (3, 7), (7, 7), (7, 32)):
        answer = ask(witness, old, size)
        assert answer.status == 200
        (line,) = read_cosignatures(answer.body.encode())
        found = read_note(note(size))
        assert cosigned_at(Note(found.text, (line,)), WitnessKey.of(NAME, SIGNER)) == 1_700_000_000
    assert read_note(kept.notes[ORIGIN]).text == read_note(note(32)).text


def test_the_statuses_of_the_specification():
    """Each refusal by its status, in the order of the specification; nothing of them is cosigned."""
    kept = Kept()
    witness = made(kept)
    ask(witness, 0, 7)
    stranger = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)
    cases = [
        (witness.add(b"hello"), 400),
        (ask(witness, 7, 9, origin="log.example/two"), 404),
        (ask(witness, 7, 9, signer=stranger), 403),
        (ask(witness, 9, 7, proof=[]), 400),
        (ask(witness, 7, 9, proof=[bytes(32)]), 422),
        (ask(witness, 7, 9, proof=[]), 422),
        (ask(witness, 7, 9, "b"), 422),
        (ask(witness, 7, 7, "b", proof=[]), 422),
        (ask(made(), 0, 3, proof=[bytes(32)]), 422),
    ]
    assert [answer.status for answer, _ in cases] == [status for _, status in cases]
    conflict = ask(witness, 3, 9)
    assert (conflict.status, conflict.body, conflict.media) == (409, "7\n", SIZE_TYPE)
    assert len(kept.signed) == 1
    assert kept.accused


def test_the_empty_log_has_the_root_of_nothing():
    """422 for a checkpoint of size zero with any other root."""
    wrong = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), LOG)
    assert made().add(Submission(0, (), wrong).body()).status == 422
    assert ask(made(), 0, 0).status == 200


def test_lines_of_others_are_not_handed_on():
    """What is kept has the log's signature and ours: nobody else was verified."""
    kept = Kept()
    foreign = read_note(note(5))._replace()
    extra = cosigned = foreign.signatures[0]._replace(name="somebody.example")
    asked = Note(foreign.text, (*foreign.signatures, extra, cosigned._replace(name="other.example"))).whole()
    assert made(kept).add(Submission(0, (), asked).body()).status == 200
    assert [one.name for one in read_note(kept.notes[ORIGIN]).signatures] == [ORIGIN, NAME]


def test_extension_lines_are_signed_along():
    """Other logs have them; ours do not."""
    text = read_note(note(5)).text + "more\n"
    signed = Note(text, (read_note(note(5)).signatures[0]._replace(value=LOG.sign(text.encode())),)).whole()
    answer = made().add(Submission(0, (), signed).body())
    (line,) = read_cosignatures(answer.body.encode())
    assert cosigned_at(Note(text, (line,)), WitnessKey.of(NAME, SIGNER))


def test_what_cannot_be_kept_is_not_signed():
    """The error goes up; no answer holds a signature."""
    kept = Kept()
    kept.broken = True
    with pytest.raises(StoreError):
        ask(made(kept), 0, 3)


def test_what_is_kept_and_not_ours_stops_the_witness():
    """Somebody changed the folder: nothing is signed on top of it."""
    kept = Kept()
    kept.notes[ORIGIN] = note(3)
    with pytest.raises(StoreError, match="not what this witness cosigned"):
        ask(made(kept), 0, 7)


def test_no_signature_is_dated_before_the_last():
    """A clock that went back: 503, and the log is not cosigned."""
    kept, clock = Kept(), ManualClock(1_700_000_000_000)
    ask(made(kept, clock), 0, 3)
    assert ask(made(kept, ManualClock(1_600_000_000_000)), 3, 7).status == 503


def test_the_newest_is_found_by_the_hash_of_its_origin():
    """Monitoring: as the specification's path names it."""
    from hashlib import sha256

    witness = made()
    named = sha256(ORIGIN.encode()).hexdigest()
    assert witness.newest(named) is None
    ask(witness, 0, 3)
    assert open_text(witness.newest(named)) == read_note(note(3)).text
    assert witness.newest("00" * 32) is None


def open_text(found):
    return read_note(found).text


def forked(signed):
    """Whether two of the checkpoints that were signed are of no one history, in either history's eyes."""
    seen = [one.text.split("\n")[1:3] for one in map(read_note, signed)]
    for nodes in HISTORIES.values():
        import base64

        if all(base64.b64decode(root) == root_at(int(size), nodes) for size, root in seen):
            return False
    return bool(seen)


STEPS = st.lists(
    st.tuples(st.integers(0, 32), st.integers(0, 32), st.sampled_from("ab"), st.booleans()), min_size=1, max_size=12
)


def drive(steps):
    """Whatever anybody who holds the log's key submits, told sizes or guessed ones."""
    kept = Kept()
    witness = made(kept)
    for guessed, size, history, told in steps:
        old = size_of(kept.signed[-1]) if told and kept.signed else guessed
        if old <= size:
            ask(witness, old, size, history)
    sizes = [size_of(one) for one in kept.signed]
    return forked(kept.signed) or sizes != sorted(sizes)


def size_of(signed):
    return int(read_note(signed).text.split("\n")[1])


@given(STEPS)
def test_it_never_signs_a_fork_and_never_goes_back(steps):
    """All it has ever signed is one history, growing."""
    assert not drive(steps)


def test_control_a_witness_that_does_not_compare_is_caught(monkeypatch):
    """The same check on a witness that believes every proof fails."""
    monkeypatch.setattr(module, "verify_consistency", lambda *_: None)
    assert drive([(0, 7, "a", False), (7, 9, "b", True)])


NEXT = Ed25519PrivateKey.from_private_bytes(b"\x0c" * 32)


IN_ORDER = (KEY, VerifierKey.of(ORIGIN, NEXT))


def following(kept=None, keys=IN_ORDER):
    """A witness that was told that the log's key is another by now."""
    return Witness(NAME, SIGNER, {ORIGIN: keys}, kept or Kept(), ManualClock(1_700_000_000_000))


def test_a_log_whose_key_was_changed_is_cosigned_under_either():
    """The old key as far as it signed, then the new one; a log that begins anew with the new one, too."""
    witness = following()
    assert [ask(witness, 0, 3).status, ask(witness, 3, 5).status] == [200, 200]
    assert [ask(witness, 5, 7, signer=NEXT).status, ask(witness, 7, 7, signer=NEXT).status] == [200, 200]
    assert ask(following(), 0, 3, signer=NEXT).status == 200


def test_an_old_key_cannot_go_on():
    """Once the new key was seen, what only the old one signed is refused, and is evidence where it goes further."""
    kept = Kept()
    witness = following(kept)
    ask(witness, 0, 3)
    ask(witness, 3, 5, signer=NEXT)
    answer = ask(witness, 5, 7)
    assert (answer.status, "handed over" in answer.body) == (403, True)
    assert kept.accused == [note(7)]
    assert ask(witness, 3, 4).status == 403
    assert len(kept.accused) == 1
    assert read_note(kept.notes[ORIGIN]).text == read_note(note(5)).text
    assert ask(witness, 5, 7, signer=NEXT).status == 200


def test_control_keys_without_order_would_let_it():
    """With the keys the other way round the old one goes on: it is the order that counts."""
    witness = following(keys=(VerifierKey.of(ORIGIN, NEXT), KEY))
    ask(witness, 0, 5, signer=NEXT)
    assert ask(witness, 5, 7).status == 200


def test_a_witness_that_forgot_the_old_key_goes_on():
    """The operator may take the old key out of the settings; what it cosigned stays what has to be continued."""
    kept = Kept()
    ask(made(kept), 0, 5)
    witness = following(kept, keys=(VerifierKey.of(ORIGIN, NEXT),))
    assert ask(witness, 5, 7).status == 403
    assert ask(witness, 5, 7, "b", signer=NEXT).status == 422
    assert ask(witness, 5, 7, signer=NEXT).status == 200
