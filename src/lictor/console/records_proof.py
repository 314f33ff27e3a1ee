"""That an entry is in the log, as text anybody can check without us: C2SP tlog-proof over the newest signed checkpoint.

Hashes of whole runs of 256 leaves are kept between two proofs, 64 bytes each with the levels above them, so a long log is hashed
once. What is kept is never believed: each proof is checked against the checkpoint's signed root before it is handed out. Refuses
to know HTTP and threads.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, open_checkpoint
from lictor.records.merkle import inclusion_proof, leaf_hash, node_hash, verify_inclusion

RUN_LEVEL: Final = 8
RUN: Final = 1 << RUN_LEVEL
FORMAT: Final = "c2sp.org/tlog-proof@v1"


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

    def text(self) -> str:
        """The proof as a file (`.tlog-proof`): format, index, path from the leaf upwards, and the checkpoint."""
        hashes = "".join(f"{b64encode(one).decode()}\n" for one in self.path)
        return f"{FORMAT}\nindex {self.index}\n{hashes}\n{self.note}"


class Runs:
    """Hashes of whole subtrees of a growing log, from runs of 256 leaves upwards. For one thread at a time."""

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    def forget(self) -> None:
        """Keep nothing."""
        self._levels = [[]]

    def prove(self, view: LogView, index: int, note: str, verifier_key: str) -> Proved:
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

    def _proved(self, view: LogView, index: int, head: Checkpoint, note: str) -> Proved:
        self._grow(view, head.size)

        def node(level: int, at: int) -> bytes:
            if level >= RUN_LEVEL:
                return self._levels[level - RUN_LEVEL][at]
            return _root(_leaves(view, at << level, (at + 1) << level))

        path = inclusion_proof(index, head.size, node)
        (leaf,) = _leaves(view, index, index + 1)
        verify_inclusion(leaf, index, head.size, path, head.root)
        return Proved(index=index, leaf=leaf, path=path, checkpoint=head, note=note)

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
