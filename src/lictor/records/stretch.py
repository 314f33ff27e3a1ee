"""A stretch of a log, verified without knowing what comes before it: so stretches can be looked at in any order, on any core.

Stretches are as wide as a power of two and begin at a multiple of it, so their subtrees are the log's. `Growing` reads the
entries of one and keeps, for each checkpoint in it, the root of the stretch up to there. Once every stretch before it is known,
`Joining` says what stands in front, and `Claims.fit` finishes each root and compares it.

Only *whether* all is well is answered, never what is wrong: any doubt at all ends it, and `records.verify` looks at the whole log
in order and says. So findings never depend on how a log was split. Refuses to know processes, stores and what records mean.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.merkle import EMPTY_ROOT, HASH_SIZE, Frontier
from lictor.records.roll import Roll, digest_of, open_roll

_DIGEST: Final = type(sha256()).digest
_ROOT: Final = 44
"""Characters of a root in base64."""

Row = tuple[int, bytes, bytes]
"""Number, data and stored leaf hash of an entry."""
Stored = tuple[int, str]
"""A checkpoint, or a roll, as it is stored: its (last) size, and its text."""


class DoubtError(Exception):
    """Something is not as it should be; what, the verification in order says."""


Signed = tuple[int, str]
"""A checkpoint whose signature, or whose roll's, was checked, or an anchor: its size, and its root in base64."""


class Growing:
    """The tree over one stretch, and the root at every size that is asked for."""

    def __init__(self, start: int, stops: Sequence[int]) -> None:
        """Begin.

        Args:
            start: number of the first entry, a multiple of the width.
            stops: sizes of the log, in order, from `start` (only where it is 0) to the end of the stretch.
        """
        self._start = self._next = start
        self._hashes: list[bytes] = []
        self._stops = iter(stops)
        self._stop = next(self._stops, -1)
        self.roots: list[bytes] = []
        """Root of the stretch at each stop reached."""
        self._reach(start)

    @property
    def size(self) -> int:
        """Entries of the log up to where the stretch has been read."""
        return self._next

    def take(self, page: Sequence[Row]) -> None:
        """Read entries, in order.

        Raises:
            DoubtError: a number or a leaf hash is not right.
        """
        start = self._next
        if not page or [row[0] for row in page] != list(range(start, start + len(page))):
            raise DoubtError
        try:
            leaves = _hashed(map(b"\0".__add__, [row[1] for row in page]))
        except TypeError:
            raise DoubtError from None
        if leaves != [row[2] for row in page]:
            raise DoubtError
        self._append(leaves)

    def _append(self, leaves: Iterable[bytes]) -> None:
        hashes, start, at, stop = self._hashes, self._start, self._next, self._stop
        for leaf in leaves:
            node, size = leaf, at - start
            while size & 1:  # as `FrontierBuilder.append_leaf`
                node = sha256(b"\1" + hashes.pop() + node).digest()
                size >>= 1
            hashes.append(node)
            at += 1
            if at == stop:
                stop = self._reach(at)
        self._next = at

    def _reach(self, size: int) -> int:
        while self._stop == size:
            self.roots.append(_folded(self._hashes) if self._hashes else EMPTY_ROOT)
            self._stop = next(self._stops, -1)
        return self._stop

    def hashes(self) -> tuple[bytes, ...]:
        """The complete subtrees of the stretch, from the largest to the smallest."""
        return tuple(self._hashes)


def _hashed(values: Iterable[bytes]) -> list[bytes]:
    """SHA-256 of each: one loop in C, in the time of three quarters of one here."""
    return list(map(_DIGEST, map(sha256, values)))


def _folded(hashes: Sequence[bytes]) -> bytes:
    root = hashes[-1]
    for left in hashes[-2::-1]:
        root = sha256(b"\1" + left + root).digest()
    return root


class Joining:
    """The tree over stretches, one after the other."""

    def __init__(self, width: int) -> None:
        """Begin with nothing.

        Args:
            width: entries in a stretch, but for the last one; a power of two.
        """
        self._hashes: list[bytes] = []
        self._size = 0
        self._width = width

    def before(self) -> tuple[bytes, ...]:
        """What stands in front of the next stretch."""
        return tuple(self._hashes)

    def join(self, size: int, hashes: Sequence[bytes]) -> None:
        """Take in the next stretch.

        Raises:
            DoubtError: it does not follow, or the one before was not whole.
        """
        grown = size - self._size
        if self._size % self._width or not 0 < grown <= self._width or len(hashes) != grown.bit_count():
            raise DoubtError
        if grown == self._width:
            [node], count = hashes, self._size // self._width
            while count & 1:
                node = sha256(b"\1" + self._hashes.pop() + node).digest()
                count >>= 1
            self._hashes.append(node)
        else:
            self._hashes.extend(hashes)
        self._size = size

    def frontier(self) -> Frontier:
        """The tree so far."""
        return Frontier(self._size, tuple(self._hashes))


class Claims(NamedTuple):
    """What is said of roots in a stretch, in as few objects as can be: it goes from one process to another.

    Attributes:
        said: the log's roots in base64, one after the other.
        local: the roots of the stretch up to the same sizes.
    """

    said: str
    local: bytes

    @classmethod
    def of(cls, said: Sequence[Signed], growing: Growing) -> "Claims":
        """Put them side by side.

        Raises:
            DoubtError: the stretch does not reach as far.
        """
        if len(said) != len(growing.roots):
            raise DoubtError
        return cls("".join([root for _, root in said]), b"".join(growing.roots))

    def fit(self, before: Sequence[bytes]) -> bool:
        """Whether every root that is claimed is the log's, given the subtrees in front of the stretch (`Joining.before`)."""
        local = self.local
        roots = [local[at : at + HASH_SIZE] for at in range(0, len(local), HASH_SIZE)]
        for left in reversed(before):  # all of them at once: what stands in front is the same
            roots = _hashed(map((b"\1" + left).__add__, roots))
        return "".join([b64encode(root).decode() for root in roots]) == self.said


def signed_heads(
    between: Callable[[int, int], Iterable[Stored]], rolls: Iterable[Stored], keys: LogKeys, low: int, high: int
) -> list[Signed]:
    """The checkpoints of sizes above `low` up to `high`, each signed or vouched for.

    Args:
        between: stored checkpoints above a size up to another, by the size they are stored under.
        rolls: stored rolls that may reach into the stretch; the first may stand before it, and only its size is looked at.
        keys: who signs the log.
        low: -1 includes that of the empty log.
        high: the last size.

    Raises:
        DoubtError: one of them, or a roll, is not as it should be.
    """
    found: list[Signed] = []
    at = low
    for roll in _rolls_in(rolls, keys, low):
        if roll.first > high:
            break
        found.extend(_opened(between(at, min(roll.first - 1, high)), keys))
        texts = list(between(roll.first - 1, roll.last))
        if any(type(text) is not str for _, text in texts):
            raise DoubtError
        if len(texts) != roll.count or digest_of(text for _, text in texts) != roll.digest:
            raise DoubtError
        found.extend(_vouched((one for one in texts if low < one[0] <= high), keys.name))
        at = max(at, roll.last)
    found.extend(_opened(between(at, high), keys))
    return found


def _rolls_in(rolls: Iterable[Stored], keys: LogKeys, low: int) -> Iterator[Roll]:
    before = -1
    for last, text in rolls:
        if last > low:
            try:
                roll = open_roll(text, keys)
            except LictorError:
                raise DoubtError from None
            if roll.last != last or roll.first <= before:
                raise DoubtError
            yield roll
        before = last


def _opened(stored: Iterable[Stored], keys: LogKeys) -> Iterator[Signed]:
    for size, text in stored:
        try:
            head = open_checkpoint(text, keys)
        except LictorError:
            raise DoubtError from None
        if head.size != size:
            raise DoubtError
        yield size, b64encode(head.root).decode()


def _vouched(stored: Iterable[Stored], name: str) -> Iterator[Signed]:
    """Their bytes are the key holder's; each has to be of this log and size. What is not exactly a root in base64 fits none."""
    for size, text in stored:
        front = f"{name}\n{size}\n"
        at = len(front)
        end = at + _ROOT
        if text[:at] != front or text[end : end + 2] != "\n\n":
            raise DoubtError
        yield size, text[at:end]


def said_of(heads: Sequence[Signed], anchors: Iterable[Checkpoint], low: int, high: int) -> list[Signed]:
    """What checkpoints and anchors say of roots in a stretch, in the order of sizes."""
    said = [(one.size, b64encode(one.root).decode()) for one in anchors if low < one.size <= high]
    return sorted([*heads, *said])
