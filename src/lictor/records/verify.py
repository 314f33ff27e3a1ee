"""Offline verification of a log: entries and signed checkpoints in, findings out.

Streams both in order and in bounded memory. It refuses to know the store, the clock and what records mean. What it can
find follows from what is kept: leaf hashes locate damage to an entry, checkpoints to the interval between two of them;
only an *anchor* from outside the database (a file, a witness) shows a rollback, or a rewrite by a holder of the key.
"""

from binascii import a2b_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol, cast

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, VerifierKey, open_checkpoint
from lictor.records.merkle import Frontier
from lictor.records.roll import Roll, digest_of, open_roll

MAX_FINDINGS: Final = 1000
"""Most findings kept (memory stays bounded on a log that is wrong everywhere); one more says that there were others."""
PROGRESS_EVERY: Final = 8192
"""Entries between two calls of `on_progress`."""
NOTHING: Final = Frontier()
"""The tree without entries."""
_ROOT: Final = 44
"""Characters of a root in base64."""
_DIGITS: Final = 20
"""More than a size can have."""


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
    ROLL = "roll"
    """The checkpoints of an interval are not those that were stored, or a roll of them is damaged; position: its first size."""
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


class _Head(NamedTuple):
    """What is needed of a checkpoint whose signature was checked."""

    size: int
    root: bytes


_END: Final = object()


def _vouched_for(
    texts: Iterable[str], rolls: Iterable[str], key: VerifierKey, findings: _Findings
) -> Iterator[tuple[str, bool]]:
    """Stored checkpoints, each with whether a roll vouches for it. Keeps one roll's worth of them at a time."""
    stored: Iterator[str | object] = iter(texts)
    ahead = next(stored, _END)
    for roll in _true_rolls(rolls, key, findings):
        while ahead is not _END and _size_of(ahead) < roll.first:
            yield cast("str", ahead), False
            ahead = next(stored, _END)
        found: list[str] = []
        while ahead is not _END and _size_of(ahead) <= roll.last and len(found) <= roll.count:
            found.append(cast("str", ahead))
            ahead = next(stored, _END)
        vouched = len(found) == roll.count and digest_of(found) == roll.digest
        if not vouched:
            message = (
                f"the {roll.count} checkpoints of sizes {roll.first} to {roll.last} are not those that were stored"
            )
            findings.add(FindingKind.ROLL, roll.first, message)
        for text in found:
            yield text, vouched
    while ahead is not _END:
        yield cast("str", ahead), False
        ahead = next(stored, _END)


def _true_rolls(rolls: Iterable[str], key: VerifierKey, findings: _Findings) -> Iterator[Roll]:
    """Those that can be relied on; what is wrong with others is found on the way."""
    last = -1
    for text in rolls:
        try:
            roll = open_roll(text, key)
        except LictorError as error:
            findings.add(FindingKind.ROLL, last + 1, f"the roll of checkpoints from size {last + 1}: {error}")
            continue
        if roll.first > last:
            last = roll.last
            yield roll
        else:
            findings.add(FindingKind.ROLL, roll.first, f"a roll from size {roll.first} stands behind one to {last}")


def _size_of(text: object) -> int:
    """Of a stored checkpoint, as far as it can be read; -1 when it cannot: what is wrong with it is found elsewhere."""
    if type(text) is not str:
        return -1
    size = text.split("\n", 2)[1:2]
    return int(size[0]) if size and size[0].isascii() and size[0].isdigit() and len(size[0]) < _DIGITS else -1


class _Heads:
    """The stored checkpoints as a cursor over strictly growing sizes; what does not grow is found on the way."""

    def __init__(self, texts: Iterator[tuple[str, bool]], key: VerifierKey, findings: _Findings) -> None:
        self._texts = texts
        self._key = key
        self._findings = findings
        self.read = 0
        self.current: _Head | None = None
        self.last: _Head | None = None
        self.advance()

    def advance(self) -> None:
        """Step to the next larger checkpoint; `current` is None at the end."""
        self.current = None
        while self.current is None:
            try:
                text, vouched = next(self._texts)
            except StopIteration:
                return
            except LictorError as error:
                self._findings.add(FindingKind.UNREADABLE, self.read, f"reading checkpoints: {error}")
                return
            self._take(text, vouched=vouched)
            self.read += 1

    def _take(self, text: str, *, vouched: bool) -> None:
        try:
            head = self._vouched(text) if vouched else None
            if head is None:
                opened = open_checkpoint(text, self._key)
                head = _Head(opened.size, opened.root)
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

    def _vouched(self, text: str) -> _Head | None:
        """A checkpoint whose very bytes the holder of the key has signed for; None: it has to be read strictly."""
        lines = text.split("\n", 4)
        if len(lines) != 5 or lines[0] != self._key.name or len(lines[2]) != _ROOT or lines[3]:
            return None
        size = _size_of(text)
        try:
            return _Head(size, a2b_base64(lines[2], strict_mode=True)) if size >= 0 else None
        except ValueError:
            return None


class _Walk:
    """One pass over the entries."""

    def __init__(
        self, heads: _Heads, anchors: Sequence[Checkpoint], key: VerifierKey, findings: _Findings, start: Frontier
    ) -> None:
        self._heads = heads
        self._findings = findings
        self._anchors = sorted(anchors, key=lambda anchor: anchor.size, reverse=True)
        for anchor in anchors:
            if anchor.origin != key.name:
                message = f"the anchor is of log {anchor.origin!r}, the key of {key.name!r}"
                findings.add(FindingKind.REWRITTEN, anchor.size, message)
        self.tree = start.builder()
        self._signed_to = start.size  # size of the last checkpoint whose root was right
        self._diverged = False
        self.expected = start.size  # number of the next entry

    def stop_at(self) -> int:
        """Size at which the next root is to be compared; -1: never again."""
        head = self._heads.current
        if not self._anchors:
            return -1 if head is None else head.size
        anchor = self._anchors[-1].size
        return anchor if head is None else min(anchor, head.size)

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

    def _compare_head(self, head: _Head, root: bytes) -> None:
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
        tree, expected = self.tree, self.expected
        append = tree.append
        due = -1 if on_progress is None else tree.size + PROGRESS_EVERY
        target = self.compare() if self.stop_at() == tree.size else self.stop_at()
        for size, entry in enumerate(entries, start=tree.size + 1):
            if entry.seq != expected:
                expected = self._misplaced(expected, entry.seq)
            expected += 1
            data = entry.data
            if type(data) is not bytes:
                # A store with loose types can hand out anything; as a leaf it counts as empty, so roots fail as well.
                self._findings.add(FindingKind.ENTRY, size - 1, f"entry {size - 1} is not bytes")
                data = b""
            leaf = append(data)
            stored = entry.leaf
            if stored != leaf and stored is not None:
                message = f"entry {size - 1}: data and stored leaf hash differ"
                self._findings.add(FindingKind.ENTRY, size - 1, message)
            if size == target:
                target = self.compare()
            if size == due and on_progress is not None:
                due += PROGRESS_EVERY
                on_progress(size)

    def _misplaced(self, expected: int, seq: object) -> int:
        """Say so; the number that this entry counts as."""
        if type(seq) is int and seq > expected:
            message = f"entries {expected} to {seq - 1} are missing"
        else:
            message = f"entry {expected} is numbered {seq!r:.40}"
        self._findings.add(FindingKind.SEQUENCE, expected, message)
        return seq if type(seq) is int else expected

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
    rolls: Iterable[str] = (),
    start: Frontier = NOTHING,
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
        rolls: stored rolls of checkpoints, oldest first; a checkpoint in one that is true needs no signature checked.
        start: the tree up to which the log was verified before; then entries begin there, and heads and anchors not before it.

    Raises:
        OperatorError: `config_refused`: the verifier key is none. Damage never raises; it is in the report.
    """
    key = VerifierKey.parse(verifier_key) if isinstance(verifier_key, str) else verifier_key
    findings = _Findings()
    anchors = [anchor] if isinstance(anchor, Checkpoint) else list(anchor or ())
    cursor = _Heads(_vouched_for(heads, rolls, key, findings), key, findings)
    walk = _Walk(cursor, anchors, key, findings, start)
    try:
        walk.run(entries, on_progress)
    except LictorError as error:
        findings.add(FindingKind.UNREADABLE, walk.tree.size, f"reading entry {walk.tree.size}: {error}")
    walk.finish()
    if on_progress is not None:
        on_progress(walk.tree.size)
    found = findings.all()
    return Report(not found, walk.tree.size, walk.tree.root(), cursor.read, found)
