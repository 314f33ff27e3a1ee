"""What goes to a witness and comes back, as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.records.submission import MAX_PROOF, Submission, read_cosignatures, read_size
from unit.records.test_cosign import EXAMPLE, LINE

NOTE = EXAMPLE
HASH = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw="


@given(old=st.integers(0, 2**63 - 1), proof=st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF))
def test_a_submission_is_read_as_it_was_sent(old, proof):
    """Inverse functions."""
    sent = Submission(old, tuple(proof), NOTE)
    assert Submission.read(sent.body()) == sent


def test_the_form_is_the_one_of_the_specification():
    """`old`, hashes, an empty line, the checkpoint."""
    assert Submission.read(f"old 20852014\n{HASH}\n\n{NOTE}".encode()).old == 20_852_014


@pytest.mark.parametrize(
    "body",
    [
        "", "old 0", f"old 01\n\n{NOTE}", f"old -1\n\n{NOTE}", f"Old 1\n\n{NOTE}", f"old  1\n\n{NOTE}", f"old 1\r\n\n{NOTE}",
        f"old 1\n{HASH[:-1]}\n\n{NOTE}", f"old 1\n{HASH}", f"old 1\n\n{NOTE[:-1]}", f"old 99999999999999999999\n\n{NOTE}",
        f"old 1\n{'AAAA'}\n\n{NOTE}", "old 1\n" + f"{HASH}\n" * 64 + f"\n{NOTE}", f"old ٣\n\n{NOTE}", f"old 1\n\n{NOTE}\x00",
    ],
)  # fmt: skip
def test_anything_else_is_refused(body):
    """Leading zeros, other digits, cut hashes, more than 63 lines, no newline at the end."""
    with pytest.raises(StoreError):
        Submission.read(body.encode())


def test_bytes_that_are_no_text_are_refused():
    """Not UTF-8, and too many."""
    for body in (b"\xff", b"old 1\n\n" + b"a" * 1_000_000):
        with pytest.raises(StoreError):
            Submission.read(body)


def test_answers_are_read_strictly():
    """Signature lines, and a size with its newline."""
    assert read_cosignatures(LINE.line().encode()) == (LINE,)
    assert read_size(b"20852014\n") == 20_852_014
    for body in (b"", b"x\n", LINE.line().encode()[:-1], b"\xff\n"):
        with pytest.raises(StoreError):
            read_cosignatures(body)
    for body in (b"", b"1", b"01\n", b"-1\n", b"1\n\n", b"9" * 20 + b"\n"):
        with pytest.raises(StoreError):
            read_size(body)
