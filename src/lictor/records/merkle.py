"""The Merkle tree of RFC 6962: hashing, the frontier a writer keeps, and inclusion and consistency proofs.

It refuses to know what a leaf means, where hashes are stored and who signs a root. Two forms of the same
tree: the *frontier* (hashes of the complete subtrees, constant memory, for writing and verifying) and a *node lookup*
(the hash of any complete subtree, for proofs).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""
MAX_SIZE: Final = 2**63 - 1
"""Largest number of leaves: a signed 64-bit sequence number."""

_SIZE_BYTES: Final = 8

NodeLookup = Callable[[int, int], bytes]
"""`(level, index)` to the 32-byte hash of the complete subtree over leaves `[index << level, (index + 1) << level)`."""


def _damaged(message: str) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, message)


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data): the prefix keeps a leaf from posing as a node (RFC 6962 section 2.1)."""
    return sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right) (RFC 6962 section 2.1)."""
    return sha256(b"\1" + left + right).digest()


def size_bytes(size: int) -> bytes:
    """What a stored frontier of this many leaves begins with."""
    return size.to_bytes(_SIZE_BYTES, "big")


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Root over complete subtrees given from the largest to the smallest; at least one."""
    root = hashes[-1]
    for left in hashes[-2::-1]:
        root = sha256(b"\1" + left + root).digest()  # `node_hash`; a verifier does this for every checkpoint
    return root


def _check_hash(value: object) -> None:
    if type(value) is not bytes or len(value) != HASH_SIZE:
        raise _damaged(f"a tree hash has {HASH_SIZE} bytes, not {value!r:.80}")


class FrontierBuilder:
    """A frontier that grows in place: for one writer or one verification. Not safe to share between threads.

    An append costs two hashes on average. To be able to take a batch back, keep `freeze()` from before it.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if not 0 <= size <= MAX_SIZE or len(hashes) != size.bit_count():
            raise _damaged(f"a frontier of size {size} does not have {len(hashes)} hashes")
        for value in hashes:
            _check_hash(value)
        self._size = size
        self._hashes = list(hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`.

        Raises:
            StoreError: `log_damaged`: the length does not fit the size.
        """
        return cls(*_parse_frontier(data))

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def append(self, data: bytes) -> bytes:
        """Add a leaf by its data; its leaf hash comes back."""
        leaf = node = sha256(b"\0" + data).digest()
        size = self._size
        self._size = size + 1
        hashes = self._hashes
        while size & 1:  # as `append_leaf`
            node = sha256(b"\1" + hashes.pop() + node).digest()
            size >>= 1
        hashes.append(node)
        return leaf

    def append_leaf(self, leaf: bytes) -> None:
        """Add a leaf by its 32-byte leaf hash (trusted to be one: this is the hot path)."""
        size = self._size
        self._size = size + 1
        hashes = self._hashes
        while size & 1:
            leaf = sha256(b"\1" + hashes.pop() + leaf).digest()
            size >>= 1
        hashes.append(leaf)

    def root(self) -> bytes:
        """Root of the tree as it stands."""
        return _fold(self._hashes) if self._hashes else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """Size as 8 bytes, big-endian, then the subtree hashes from the largest to the smallest."""
        return size_bytes(self._size) + b"".join(self._hashes)

    def freeze(self) -> "Frontier":
        """The same frontier as a value."""
        return Frontier(self._size, tuple(self._hashes))


@dataclass(frozen=True, slots=True)
class Frontier:
    """The hashes of a tree's complete subtrees, from the largest to the smallest: all that is needed to go on.

    Attributes:
        size: number of leaves.
        hashes: one 32-byte hash for each bit set in `size`.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        FrontierBuilder(self.size, self.hashes)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Inverse of `to_bytes`.

        Raises:
            StoreError: `log_damaged`: the length does not fit the size.
        """
        return cls(*_parse_frontier(data))

    def builder(self) -> FrontierBuilder:
        """A growing copy."""
        return FrontierBuilder(self.size, self.hashes)

    def append(self, leaf: bytes) -> "Frontier":
        """The frontier with one more leaf, given by its leaf hash."""
        _check_hash(leaf)
        grown = self.builder()
        grown.append_leaf(leaf)
        return grown.freeze()

    def root(self) -> bytes:
        """Root of the tree."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """As `FrontierBuilder.to_bytes`."""
        return self.builder().to_bytes()


def _parse_frontier(data: bytes) -> tuple[int, tuple[bytes, ...]]:
    if type(data) is not bytes or len(data) < _SIZE_BYTES:
        raise _damaged(f"not a stored frontier: {data!r:.80}")
    size = int.from_bytes(data[:_SIZE_BYTES], "big")
    if size > MAX_SIZE or len(data) != _SIZE_BYTES + HASH_SIZE * size.bit_count():
        raise _damaged(f"a stored frontier of size {size} cannot have {len(data)} bytes")
    return size, tuple(data[at : at + HASH_SIZE] for at in range(_SIZE_BYTES, len(data), HASH_SIZE))


# -- proofs -----------------------------------------------------------------------------------------------------------


def nodes_of(leaves: Sequence[bytes]) -> NodeLookup:
    """Lookup over leaf hashes held in memory; builds every level once."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def lookup(level: int, index: int) -> bytes:
        return levels[level][index]

    return lookup


def _range_hash(start: int, stop: int, nodes: NodeLookup) -> bytes:
    """MTH of leaves `[start, stop)`; `start` is where a split of RFC 6962 put it, so that each piece is aligned."""
    pieces = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        pieces.append(nodes(level, start >> level))
        start += 1 << level
    return _fold(pieces)


def root_at(size: int, nodes: NodeLookup) -> bytes:
    """Root of the tree as it was with its first `size` leaves."""
    return _range_hash(0, size, nodes) if size else EMPTY_ROOT


def _split(width: int) -> int:
    """The largest power of two below `width` (RFC 6962 section 2.1: k < n <= 2k); `width` > 1."""
    return 1 << ((width - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, nodes: NodeLookup) -> tuple[bytes, ...]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1: sibling hashes from the leaf upwards.

    Raises:
        StoreError: `log_damaged`: there is no such leaf in a tree of this size.
    """
    if not 0 <= index < size:
        raise _damaged(f"there is no entry {index} in a log of {size}")
    path = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(middle, stop, nodes))
            stop = middle
        else:
            path.append(_range_hash(start, middle, nodes))
            start = middle
    return tuple(reversed(path))


def consistency_proof(first: int, second: int, nodes: NodeLookup) -> tuple[bytes, ...]:
    """PROOF(first, D[second]) of RFC 6962 section 2.1.2; empty when the sizes are equal or the first is 0.

    Raises:
        StoreError: `log_damaged`: the first tree is larger than the second.
    """
    if not 0 <= first <= second:
        raise _damaged(f"a log of {first} cannot have grown into one of {second}")
    if first == 0:
        return ()
    path = []
    start, stop = 0, second
    while first < stop:
        middle = start + _split(stop - start)
        if first <= middle:
            path.append(_range_hash(middle, stop, nodes))
            stop = middle
        else:
            path.append(_range_hash(start, middle, nodes))
            start = middle
    if start > 0:
        path.append(_range_hash(start, stop, nodes))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the tree of this size and root has this leaf hash at this index (RFC 9162 section 2.1.3.2).

    Raises:
        StoreError: `log_damaged`: it has not, or the proof is malformed. Returning is the only good answer.
    """
    for value in (leaf, root, *proof):
        _check_hash(value)
    if not 0 <= index < size:
        raise _damaged(f"there is no entry {index} in a log of {size}")
    fn, sn = index, size - 1
    result = leaf
    for sibling in proof:
        if sn == 0:
            raise _damaged("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            result = node_hash(sibling, result)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            result = node_hash(result, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise _damaged("the inclusion proof is too short")
    if result != root:
        raise _damaged(f"entry {index} is not in the log of {size} with this root")


def verify_consistency(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the second tree only added leaves to the first (RFC 9162 section 2.1.4.2).

    Raises:
        StoreError: `log_damaged`: it did not, or the proof is malformed. Returning is the only good answer.
    """
    for value in (first_root, second_root, *proof):
        _check_hash(value)
    if not 0 <= first <= second:
        raise _damaged(f"a log of {first} cannot have grown into one of {second}")
    if first in (0, second):
        # RFC 9162 leaves both out; nothing is to be proved, so a proof is refused.
        if proof or first_root != (EMPTY_ROOT if first == 0 else second_root):
            raise _damaged(f"the logs of {first} and {second} entries are not the same log")
        if second == 0 and second_root != EMPTY_ROOT:
            raise _damaged("the root of the empty log is wrong")
        return
    if not _grown(first, first_root, second, second_root, proof):
        raise _damaged(f"the log of {second} entries is not a continuation of the one of {first}")


def _grown(first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2 for 0 < first < second; the numbers are its steps."""
    if not proof:  # 1
        return False
    path = list(proof)
    if first & (first - 1) == 0:  # 2
        path.insert(0, first_root)
    fn, sn = first - 1, second - 1  # 3
    while fn & 1:  # 4
        fn >>= 1
        sn >>= 1
    fr = sr = path[0]  # 5
    for node in path[1:]:  # 6
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = node_hash(node, fr)
            sr = node_hash(node, sr)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            sr = node_hash(sr, node)
        fn >>= 1
        sn >>= 1
    return sn == 0 and fr == first_root and sr == second_root  # 7
