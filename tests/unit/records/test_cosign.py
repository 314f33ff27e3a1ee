"""Witnesses' signatures: C2SP tlog-cosignature `cosignature/v1`."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.model.errors import OperatorError, StoreError
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint, sign_checkpoint
from lictor.records.cosign import (
    WitnessKey,
    cosign,
    cosigned_at,
    is_sound_public,
    merged,
    open_witnessed,
    with_cosignature,
)
from lictor.records.note import read_note

LOG = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
WITNESS = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
ORIGIN = "example.com/behind-the-sofa"
KEY = VerifierKey.of(ORIGIN, LOG)
W1 = WitnessKey.of("witness.example.com/w1", WITNESS)
W2 = WitnessKey.of("witness.example.com/w2", OTHER)
AT = 1_679_315_147
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 20_852_163, bytes(range(32))), LOG)
LINE = cosign(read_note(NOTE).text, W1.name, WITNESS, AT)
COSIGNED = with_cosignature(NOTE, LINE)

# The example of the specification; its keys are not published, so its form is all that can be compared.
EXAMPLE = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""


def test_the_example_of_the_specification_is_read_and_written_back():
    """Two lines; the witness's has a time of eight bytes and a signature of 64 behind its key id."""
    note = read_note(EXAMPLE)
    assert note.whole() == EXAMPLE
    assert len(note.signatures[1].value) == len(LINE.value) == 72
    assert int.from_bytes(note.signatures[1].value[:8], "big") == AT


def test_the_message_is_the_one_of_the_specification():
    """Header line, time line, and the whole text of the note."""
    message = b"cosignature/v1\ntime 1679315147\n" + read_note(NOTE).text.encode()
    WITNESS.public_key().verify(LINE.value[8:], message)


def test_a_cosigned_checkpoint_opens_for_both():
    """The log's reader ignores the witness's line; the witness's reader finds log and time."""
    assert open_checkpoint(COSIGNED, KEY).size == 20_852_163
    assert open_witnessed(COSIGNED, KEY, [W1]).times == {W1.name: AT}
    assert cosigned_at(read_note(COSIGNED), W2) is None


def test_no_changed_character_is_accepted():
    """Every character of the note counts, in the text and in the signatures."""
    for at, char in enumerate(COSIGNED):
        changed = COSIGNED[:at] + ("A" if char != "A" else "B") + COSIGNED[at + 1 :]
        with pytest.raises(StoreError):
            open_witnessed(changed, KEY, [W1])


def test_what_is_not_cosigned_by_all_is_refused():
    """Missing witness, the log alone, another witness's key under the same name."""
    impostor = with_cosignature(NOTE, cosign(read_note(NOTE).text, W1.name, OTHER, AT))
    for note, keys in ((NOTE, [W1]), (COSIGNED, [W1, W2]), (impostor, [W1])):
        with pytest.raises(StoreError, match="is not cosigned"):
            open_witnessed(note, KEY, keys)


def test_a_cosignature_of_another_checkpoint_does_not_count():
    """Moved under a later checkpoint, the line makes the note malformed."""
    later = sign_checkpoint(Checkpoint(ORIGIN, 20_852_164, bytes(range(32))), LOG)
    with pytest.raises(StoreError, match="not valid"):
        open_witnessed(with_cosignature(later, LINE), KEY, [W1])


def test_no_time_is_no_statement():
    """Zero stands for a statement without a time; we make and take none."""
    with pytest.raises(StoreError):
        cosign("x\n", W1.name, WITNESS, 0)
    zero = LINE._replace(value=bytes(8) + LINE.value[8:])
    with pytest.raises(StoreError):
        cosigned_at(read_note(with_cosignature(NOTE, zero)), W1)


def test_a_later_cosignature_replaces_the_earlier():
    """One line a key, in whatever order they come."""
    again = with_cosignature(COSIGNED, cosign(read_note(NOTE).text, W1.name, WITNESS, AT + 5))
    assert open_witnessed(again, KEY, [W1]).times == {W1.name: AT + 5}
    doubled = COSIGNED + LINE.line()
    with pytest.raises(StoreError, match="2 signatures"):
        open_witnessed(doubled, KEY, [W1])


def test_cosignatures_of_one_checkpoint_come_together():
    """Each witness has a file of its own; published is one note."""
    second = with_cosignature(NOTE, cosign(read_note(NOTE).text, W2.name, OTHER, AT + 1))
    both = merged([NOTE, COSIGNED, second])
    assert open_witnessed(both, KEY, [W1, W2]).times == {W1.name: AT, W2.name: AT + 1}
    later = sign_checkpoint(Checkpoint(ORIGIN, 1, bytes(32)), LOG)
    with pytest.raises(StoreError):
        merged([NOTE, later])


def test_keys_round_trip_and_mangled_ones_are_refused():
    """A log's key is no witness's, and no changed character is a key."""
    assert WitnessKey.parse(W1.text()) == W1
    for text in (KEY.text(), "", W1.text()[:-1], W1.text().replace("w1", "w2"), W1.text() + "\n"):
        with pytest.raises(OperatorError):
            WitnessKey.parse(text)


def test_points_of_small_order_are_no_keys():
    """Under such a key anybody can sign."""
    for y in ("00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f", "01" + "00" * 30 + "80", "ff" * 32):
        assert not is_sound_public(bytes.fromhex(y))
        with pytest.raises(OperatorError):
            WitnessKey("w", bytes.fromhex(y))
    assert is_sound_public(W1.public)
