"""Proofs about the log as it stands: that an entry is in it, that it continues an older one, and the tiles that show both.

Hashes of whole runs of 256 leaves are kept between two proofs, 64 bytes each with the levels above them, so a long log is hashed
once. What is kept is never believed: each proof is checked against the checkpoint's signed root before it is handed out. Refuses
to know HTTP and threads.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.cosign import merged
from lictor.records.merkle import (
    NodeLookup,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from lictor.records.note import read_note
from lictor.records.proof import Proof
from lictor.records.tiles import HEIGHT, Tile, width_at

RUN_LEVEL: Final = HEIGHT
RUN: Final = 1 << RUN_LEVEL
PAUSE_EVERY: Final = 256
"""Entries between two pauses while a log is hashed beside calls: they are not kept waiting by it."""
_PAUSE_S: Final = 0.0005


class LogView(Protocol):
    """One unchanging view of the log. `size` may be larger than the newest checkpoint while somebody writes."""

    def size(self) -> int:
        """Number of entries."""
        ...

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """Entries in order, streamed."""
        ...

    def checkpoints(self) -> Iterable[str]:
        """Signed checkpoints, oldest first."""
        ...


class OpenLog(Protocol):
    """Opens a view, in whatever thread it is called."""

    def __call__(self) -> AbstractContextManager[LogView]:
        """A view of the log as it stands.

        Raises:
            StoreError: it cannot be opened.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """An inclusion proof that has been checked."""

    index: int
    leaf: bytes
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: str
    """The checkpoint as signed."""

    def text(self, data: bytes | None = None) -> str:
        """The proof as a file (`.tlog-proof`).

        Args:
            data: the entry, to go along; None: whoever verifies has it.
        """
        return Proof(self.index, self.path, self.note, data).text()


class Runs:
    """Hashes of whole subtrees of a growing log, from runs of 256 leaves upwards. For one thread at a time."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def forget(self) -> None:
        """Keep nothing."""
        self._levels = [[]]

    def prove(self, view: LogView, index: int, note: str, verifier_key: LogKeys | str) -> Proved:
        """That entry `index` is under a signed checkpoint.

        Args:
            view: the log, at least as long as the checkpoint says.
            index: sequence number.
            note: the checkpoint as signed.
            verifier_key: of the log.

        Raises:
            StoreError: `log_damaged`: there is no such entry below the checkpoint, its signature is not valid, or the log is not
                the one that was signed.
        """
        head = open_checkpoint(note, verifier_key)
        if not 0 <= index < head.size:
            raise StoreError(Reason.LOG_DAMAGED, f"there is no entry {index} under a checkpoint of {head.size}")
        try:
            return self._proved(view, index, head, note)
        except StoreError:
            self.forget()  # it may have been of another file; what is there now is hashed from its beginning
            return self._proved(view, index, head, note)

    def consistency(self, view: LogView, old: int, head: Checkpoint) -> tuple[bytes, ...]:
        """A consistency proof from the log's first `old` entries to a checkpoint; empty where nothing is to be proved.

        Args:
            view: the log, at least as long as the checkpoint says.
            old: number of entries.
            head: the newer checkpoint.

        Raises:
            StoreError: `log_damaged`: the log is not the one that was signed, or shorter than `old`.
        """
        try:
            return self._consistency(view, old, head)
        except StoreError:
            self.forget()
            return self._consistency(view, old, head)

    def tile(self, view: LogView, tile: Tile, size: int) -> bytes | None:
        """A hash tile of a log of `size`; None: it is not in it. Not checked against a root: whoever reads tiles does that."""
        if tile.width > width_at(size, tile.level, tile.number):
            return None
        if tile.level:
            self._grow(view, size)
        node = self._nodes(view)
        first = tile.number << HEIGHT
        if not tile.level:
            return b"".join(_leaves(view, first, first + tile.width))
        return b"".join(node(tile.level * HEIGHT, first + at) for at in range(tile.width))

    def _consistency(self, view: LogView, old: int, head: Checkpoint) -> tuple[bytes, ...]:
        self._grow(view, head.size)
        nodes = self._nodes(view)
        proof = consistency_proof(old, head.size, nodes)
        verify_consistency(old, root_at(old, nodes), head.size, head.root, proof)
        return proof

    def _proved(self, view: LogView, index: int, head: Checkpoint, note: str) -> Proved:
        self._grow(view, head.size)
        path = inclusion_proof(index, head.size, self._nodes(view))
        (leaf,) = _leaves(view, index, index + 1)
        verify_inclusion(leaf, index, head.size, path, head.root)
        return Proved(index=index, leaf=leaf, path=path, checkpoint=head, note=note)

    def _nodes(self, view: LogView) -> NodeLookup:
        def node(level: int, at: int) -> bytes:
            if level >= RUN_LEVEL:
                return self._levels[level - RUN_LEVEL][at]
            return _root(_leaves(view, at << level, (at + 1) << level))

        return node

    def _grow(self, view: LogView, size: int) -> None:
        """Hash every whole run below a size that is not kept yet."""
        start = len(self._levels[0]) * RUN
        stop = size // RUN * RUN
        run: list[bytes] = []
        for entry in view.entries(start, stop) if start < stop else ():
            run.append(leaf_hash(entry.data))
            if len(run) == RUN:
                self._add(_root(run))
                run = []

    def _add(self, hashed: bytes) -> None:
        for level in range(64):
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(hashed)
            if len(self._levels[level]) % 2:
                return
            hashed = node_hash(*self._levels[level][-2:])


def _leaves(view: LogView, start: int, stop: int) -> list[bytes]:
    found = [leaf_hash(entry.data) for entry in view.entries(start, stop)]
    if len(found) != stop - start:
        raise StoreError(Reason.LOG_DAMAGED, f"entries {start} to {stop - 1} are not all there")
    return found


def _root(hashes: list[bytes]) -> bytes:
    """Of a whole subtree: a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


class Gentle:
    """A view whose reading pauses, so that others get to run."""

    def __init__(self, view: LogView) -> None:
        """Of another view."""
        self._view = view

    def size(self) -> int:
        """See `LogView`."""
        return self._view.size()

    def checkpoints(self) -> Iterator[str]:
        """See `LogView`."""
        yield from self._view.checkpoints()

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `LogView`."""
        for count, entry in enumerate(self._view.entries(start, stop), start=1):
            if count % PAUSE_EVERY == 0:
                time.sleep(_PAUSE_S)
            yield entry


def cosigned_note(newest: str, others: Iterable[str], key: LogKeys | str) -> str:
    """The newest checkpoint with the cosignatures that were given to this very one.

    Args:
        newest: the checkpoint as the log signed it.
        others: checkpoints that witnesses cosigned, of any size; one that cannot be read vouches for nothing.
        key: of the log.

    Raises:
        StoreError: `log_damaged`: the newest is not the log's.
    """
    open_checkpoint(newest, key)
    text = read_note(newest).text
    return merged([newest, *(one for one in others if _states(one, text))])


def _states(note: str, text: str) -> bool:
    try:
        return read_note(note).text == text
    except StoreError:
        return False
