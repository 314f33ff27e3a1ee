"""Stretches of a log: put together they are its tree, whatever their width; anything else is doubt."""

from base64 import b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lictor.records.checkpoint import Checkpoint, VerifierKey, sign_checkpoint
from lictor.records.merkle import EMPTY_ROOT, FrontierBuilder, leaf_hash
from lictor.records.roll import Roll, digest_of
from lictor.records.stretch import Claims, DoubtError, Growing, Joining, said_of, signed_heads

ORIGIN = "test.local/log"
SIGNER = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
KEY = VerifierKey.of(ORIGIN, SIGNER)
ROWS = [(n, b"entry %d" % n, leaf_hash(b"entry %d" % n)) for n in range(70)]


def roots():
    tree, found = FrontierBuilder(), [EMPTY_ROOT]
    for _, data, _ in ROWS:
        tree.append(data)
        found.append(tree.root())
    return found


ROOTS = roots()
HEADS = [(size, sign_checkpoint(Checkpoint(ORIGIN, size, ROOTS[size]), SIGNER)) for size in range(0, 71, 3)]


def between(low, high):
    return [one for one in HEADS if low < one[0] <= high]


def roll(*heads, first=None, signer=SIGNER, digest=None):
    found = digest or digest_of(text for _, text in heads)
    last = heads[-1][0]
    return last, Roll(ORIGIN, heads[0][0] if first is None else first, last, len(heads), found).signed(signer)


ROLLS = [roll(*HEADS[:4]), roll(*HEADS[4:13]), roll(*HEADS[13:20])]


def joined(size, width, wrong=-1):
    """The tree of so many entries, and whether every root in it fits."""
    joining, all_fit = Joining(width), True
    for start in range(0, size, width):
        stop = min(start + width, size)
        stops = list(range(start + 1 if start else 0, stop + 1))
        growing = Growing(start, stops)
        for first in range(start, stop, 5):
            growing.take(ROWS[first : min(first + 5, stop)])
        said = [b64encode(ROOTS[at] if at != wrong else b"x" * 32).decode() for at in stops]
        all_fit &= Claims.of(list(zip(stops, said, strict=True)), growing).fit(joining.before())
        joining.join(growing.size, growing.hashes())
    return joining.frontier(), all_fit


@pytest.mark.parametrize("width", [1, 2, 8, 16, 64, 128])
def test_stretches_put_together_are_the_tree(width):
    """Every root on the way is the log's, and the tree can be gone on with; one that is claimed wrongly fits nowhere (the control)."""
    for size in range(1, 71, 3):
        tree, all_fit = joined(size, width)
        assert (tree.size, tree.root(), all_fit) == (size, ROOTS[size], True)
        assert not joined(size, width, wrong=size // 2)[1]


@pytest.mark.parametrize(
    "page",
    [
        [],
        [(1, *ROWS[0][1:])],
        [ROWS[0], ROWS[2]],
        [(0, b"other", ROWS[0][2])],
        [(0, "text", ROWS[0][2])],
        [(0, ROWS[0][1], None)],
        [("0", *ROWS[0][1:])],
    ],
)
def test_entries_that_are_not_as_they_should_be_are_doubt(page):
    """Number, data and leaf hash."""
    with pytest.raises(DoubtError):
        Growing(0, []).take(page)


def test_what_does_not_follow_is_doubt():
    """A stretch too wide, too long a tree for it, or one behind a stretch that is not whole."""
    for size, hashes in ((5, [b"x" * 32] * 2), (2, [b"x" * 32] * 2), (0, [])):
        with pytest.raises(DoubtError):
            Joining(4).join(size, hashes)
    joining = Joining(4)
    joining.join(3, [b"x" * 32] * 2)
    with pytest.raises(DoubtError):
        joining.join(7, [b"x" * 32])


def test_a_stretch_that_ends_before_what_is_said_of_it_is_doubt():
    """A root that was never reached is compared with nothing; one too few or too many in what was sent fits nothing."""
    growing = Growing(0, [1, 2])
    growing.take(ROWS[:1])
    root = b64encode(ROOTS[1]).decode()
    with pytest.raises(DoubtError):
        Claims.of([(1, root), (2, root)], growing)
    assert Claims(root, ROOTS[1]).fit([])
    for said, local in (("", ROOTS[1]), (root + root, ROOTS[1]), (root, b"")):
        assert not Claims(said, local).fit([])


def rolls_for(low):
    """As a store gives them: from the one before on."""
    before = [one for one in ROLLS if one[0] <= low][-1:]
    return [*before, *(one for one in ROLLS if one[0] > low)]


@pytest.mark.parametrize("width", [4, 16, 32])
def test_every_checkpoint_is_taken_once(width):
    """With rolls and without, wherever a stretch ends; anchors among them."""
    wanted = [(size, b64encode(ROOTS[size]).decode()) for size, _ in HEADS]
    for rolls in (rolls_for, lambda _low: []):
        found = []
        for start in range(0, 70, width):
            low, high = start or -1, min(start + width, 70)
            found += signed_heads(between, rolls(low), KEY, low, high)
        assert found == wanted
    anchors = [Checkpoint(ORIGIN, size, ROOTS[size]) for size in (0, 4, 30)]
    assert [size for size, _ in said_of(wanted[:3], anchors, -1, 8)] == [0, 0, 3, 4, 6]


STRANGER = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)


@pytest.mark.parametrize(
    "rolls",
    [
        [roll(*HEADS[:4], signer=STRANGER)],
        [roll(*HEADS[:4], digest=b"\0" * 32)],
        [roll(*HEADS[1:4], first=0)],
        [roll(*HEADS[:4]), roll(*HEADS[2:6])],
        [(8, roll(*HEADS[:4])[1])],
        [(8, "")],
        [(8, None)],
    ],
)
def test_a_roll_that_is_not_as_it_should_be_is_doubt(rolls):
    """Of another key, of other checkpoints, over one that stands before it, stored elsewhere, or none at all."""
    with pytest.raises(DoubtError):
        signed_heads(between, rolls, KEY, -1, 70)


def test_a_checkpoint_that_is_not_as_it_should_be_is_doubt():
    """Signed by others, of another size than it is stored under, or vouched for and of another log or form."""
    stranger = sign_checkpoint(Checkpoint(ORIGIN, 3, ROOTS[3]), STRANGER)
    for stored in ((3, stranger), (4, HEADS[1][1]), (3, None), (3, "")):
        with pytest.raises(DoubtError):
            signed_heads(lambda *_, stored=stored: [stored], [], KEY, -1, 70)
    for text in (HEADS[1][1].replace(ORIGIN, "other"), HEADS[2][1], "x", None, HEADS[1][1].replace("\n\n", "\nx\n")):
        head = (3, text)
        rolls = [roll(head)] if text is not None else [roll(HEADS[1])]
        with pytest.raises(DoubtError):
            signed_heads(lambda low, high, head=head: [head] if low < 3 <= high else [], rolls, KEY, -1, 70)
