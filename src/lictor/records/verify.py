"""Offline verification of a log: entries and signed checkpoints in, findings out.

Streams both in order and in bounded memory. It refuses to know the store, the clock and what records mean. What it can
find follows from what is kept: leaf hashes locate damage to an entry, checkpoints to the interval between two of them;
only an *anchor* from outside the database (a file, a witness) shows a rollback, or a rewrite by a holder of the key.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from lictor.records.merkle import FrontierBuilder

MAX_FINDINGS: Final = 1000
"""Most findings kept (memory stays bounded on a log that is wrong everywhere); one more says that there were others."""
PROGRESS_EVERY: Final = 8192
"""Entries between two calls of `on_progress`."""


class FindingKind(StrEnum):
    """What is wrong. Every finding means that the log cannot be relied on as it stands."""

    SEQUENCE = "sequence"
    """An entry is missing, repeated or out of place by its number."""
    ENTRY = "entry"
    """An entry's data and its stored leaf hash differ."""
    ROOT = "root"
    """Entries between two checkpoints are not those that were signed."""
    CHECKPOINT = "checkpoint"
    """A stored checkpoint is malformed or its signature is not valid."""
    ORDER = "order"
    """A stored checkpoint is smaller than the one before it."""
    FORK = "fork"
    """Two checkpoints of one size have different roots: the log was shown in two versions."""
    TRUNCATED = "truncated"
    """A checkpoint covers more entries than there are."""
    UNSIGNED = "unsigned"
    """Entries behind the newest checkpoint: entries and checkpoint are committed together."""
    NO_CHECKPOINT = "no_checkpoint"
    """Nothing says how long the log is."""
    ROLLBACK = "rollback"
    """The anchor covers more entries than the log has."""
    REWRITTEN = "rewritten"
    """The log is not the one the anchor was taken from, though its own checkpoints may agree with it."""
    UNREADABLE = "unreadable"
    """The store failed while reading."""


class EntryLike(Protocol):
    """What is needed of a stored entry (`lictor.ports.StoredEntry` fits)."""

    @property
    def seq(self) -> int:
        """Sequence number, from 0."""
        ...

    @property
    def data(self) -> bytes:
        """The leaf's data."""
        ...

    @property
    def leaf(self) -> bytes | None:
        """The stored leaf hash, if it is stored."""
        ...


class Entry(NamedTuple):
    """An entry for callers that have no type of their own."""

    seq: int
    data: bytes
    leaf: bytes | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: stable, machine-readable.
        position: entry number, or for `checkpoint` the checkpoint's number, from 0.
        message: one line for a person.
    """

    kind: FindingKind
    position: int
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What verification saw.

    Attributes:
        ok: nothing was found.
        size: number of entries read.
        root: RFC 6962 root over the data read.
        checkpoints: number of checkpoints read.
        findings: in the order of discovery.
    """

    ok: bool
    size: int
    root: bytes
    checkpoints: int
    findings: tuple[Finding, ...]


class _Findings:
    """A bounded list."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._more = 0

    def add(self, kind: FindingKind, position: int, message: str) -> None:
        if len(self._kept) < MAX_FINDINGS:
            self._kept.append(Finding(kind, position, message))
        else:
            self._more += 1

    def all(self) -> tuple[Finding, ...]:
        if not self._more:
            return tuple(self._kept)
        last = self._kept[-1]
        return (*self._kept, Finding(last.kind, last.position, f"and {self._more} more findings"))


class _Heads:
    """The stored checkpoints as a cursor over strictly growing sizes; what does not grow is found on the way."""

    def __init__(self, texts: Iterable[str], key: VerifierKey, findings: _Findings) -> None:
        self._texts: Iterator[str] = iter(texts)
        self._key = key
        self._findings = findings
        self.read = 0
        self.current: Checkpoint | None = None
        self.last: Checkpoint | None = None
        self.advance()

    def advance(self) -> None:
        """Step to the next larger checkpoint; `current` is None at the end."""
        self.current = None
        while self.current is None:
            try:
                text = next(self._texts)
            except StopIteration:
                return
            except LictorError as error:
                self._findings.add(FindingKind.UNREADABLE, self.read, f"reading checkpoints: {error}")
                return
            self._take(text)
            self.read += 1

    def _take(self, text: str) -> None:
        try:
            head = open_checkpoint(text, self._key)
        except LictorError as error:
            self._findings.add(FindingKind.CHECKPOINT, self.read, f"checkpoint {self.read}: {error}")
            return
        last = self.last
        if last is None or head.size > last.size:
            self.current = self.last = head
        elif head.size < last.size:
            message = f"checkpoint {self.read} of size {head.size} stands behind one of size {last.size}"
            self._findings.add(FindingKind.ORDER, head.size, message)
        elif head.root != last.root:
            message = f"two signed checkpoints of size {head.size} have different roots"
            self._findings.add(FindingKind.FORK, head.size, message)


class _Walk:
    """One pass over the entries."""

    def __init__(self, heads: _Heads, anchors: Sequence[Checkpoint], key: VerifierKey, findings: _Findings) -> None:
        self._heads = heads
        self._findings = findings
        self._anchors = sorted(anchors, key=lambda anchor: anchor.size, reverse=True)
        for anchor in anchors:
            if anchor.origin != key.name:
                message = f"the anchor is of log {anchor.origin!r}, the key of {key.name!r}"
                findings.add(FindingKind.REWRITTEN, anchor.size, message)
        self.tree = FrontierBuilder()
        self._signed_to = 0  # size of the last checkpoint whose root was right
        self._diverged = False
        self.expected = 0  # number of the next entry

    def stop_at(self) -> int:
        """Size at which the next root is to be compared; -1: never again."""
        sizes = [anchor.size for anchor in self._anchors[-1:]]
        if self._heads.current is not None:
            sizes.append(self._heads.current.size)
        return min(sizes, default=-1)

    def compare(self) -> int:
        """Compare every checkpoint and anchor of the size reached; the next stop comes back."""
        size = self.tree.size
        root = self.tree.root()
        while self._anchors and self._anchors[-1].size == size:
            if self._anchors.pop().root != root:
                message = f"the first {size} entries are not those the anchor was taken from"
                self._findings.add(FindingKind.REWRITTEN, size, message)
        head = self._heads.current
        if head is not None and head.size == size:
            self._compare_head(head, root)
            self._heads.advance()
        return self.stop_at()

    def _compare_head(self, head: Checkpoint, root: bytes) -> None:
        if head.root == root:
            self._signed_to = head.size
            self._diverged = False
        elif not self._diverged:
            # Every later root is wrong too; only the first tells where.
            self._diverged = True
            message = f"entries {self._signed_to} to {head.size - 1} are not those that were signed"
            self._findings.add(FindingKind.ROOT, self._signed_to, message)

    def run(self, entries: Iterable[EntryLike], on_progress: Callable[[int], None] | None) -> None:
        """Read all entries."""
        tree = self.tree
        append = tree.append
        target = self.compare() if self.stop_at() == 0 else self.stop_at()
        for size, entry in enumerate(entries, start=1):
            if entry.seq != self.expected:
                self._misplaced(entry.seq)
            self.expected += 1
            data = entry.data
            if type(data) is not bytes:
                # A store with loose types can hand out anything; as a leaf it counts as empty, so roots fail as well.
                self._findings.add(FindingKind.ENTRY, size - 1, f"entry {size - 1} is not bytes")
                data = b""
            leaf = append(data)
            stored = entry.leaf
            if stored is not None and stored != leaf:
                message = f"entry {size - 1}: data and stored leaf hash differ"
                self._findings.add(FindingKind.ENTRY, size - 1, message)
            if size == target:
                target = self.compare()
            if on_progress is not None and size % PROGRESS_EVERY == 0:
                on_progress(size)

    def _misplaced(self, seq: object) -> None:
        if type(seq) is int and seq > self.expected:
            message = f"entries {self.expected} to {seq - 1} are missing"
        else:
            message = f"entry {self.expected} is numbered {seq!r:.40}"
        self._findings.add(FindingKind.SEQUENCE, self.expected, message)
        if type(seq) is int:
            self.expected = seq

    def finish(self) -> None:
        """What is left when the entries end."""
        size = self.tree.size
        for anchor in reversed(self._anchors):
            message = f"the anchor covers {anchor.size} entries, the log has {size}"
            self._findings.add(FindingKind.ROLLBACK, size, message)
        while self._heads.current is not None:  # to the newest, which says how many are missing
            self._heads.advance()
        newest = self._heads.last
        if newest is None:
            self._findings.add(FindingKind.NO_CHECKPOINT, 0, "the log has no valid checkpoint")
        elif newest.size > size:
            message = f"the newest checkpoint covers {newest.size} entries, the log has {size}"
            self._findings.add(FindingKind.TRUNCATED, size, message)
        elif newest.size < size:
            message = f"entries {newest.size} to {size - 1} are behind the newest checkpoint"
            self._findings.add(FindingKind.UNSIGNED, newest.size, message)


def verify_log(
    entries: Iterable[EntryLike],
    heads: Iterable[str],
    verifier_key: VerifierKey | str,
    *,
    anchor: Checkpoint | Sequence[Checkpoint] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Report:
    """Verify a log (`facts` R9). The numbers are the checks.

    1. Entries are numbered from 0 without a gap.
    2. Each stored leaf hash is that of the data.
    3. Each stored checkpoint is signed, grows, and has the root of the entries up to its size; two of one size agree.
    4. The newest covers all entries, no more, no fewer.
    5. Each anchor is a prefix of this log.

    Args:
        entries: in the order of the log; read once.
        heads: stored signed checkpoints, oldest first; read once. A new log has one of size 0.
        verifier_key: of the log; its name is the origin.
        anchor: one or more checkpoints kept outside the database, already verified, in any order.
        on_progress: called with the number of entries read, every `PROGRESS_EVERY` entries and at the end.

    Raises:
        OperatorError: `config_refused`: the verifier key is none. Damage never raises; it is in the report.
    """
    key = VerifierKey.parse(verifier_key) if isinstance(verifier_key, str) else verifier_key
    findings = _Findings()
    anchors = [anchor] if isinstance(anchor, Checkpoint) else list(anchor or ())
    cursor = _Heads(heads, key, findings)
    walk = _Walk(cursor, anchors, key, findings)
    try:
        walk.run(entries, on_progress)
    except LictorError as error:
        findings.add(FindingKind.UNREADABLE, walk.tree.size, f"reading entry {walk.tree.size}: {error}")
    walk.finish()
    if on_progress is not None:
        on_progress(walk.tree.size)
    found = findings.all()
    return Report(not found, walk.tree.size, walk.tree.root(), cursor.read, found)
