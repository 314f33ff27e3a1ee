"""Offline verification of a log: entries and signed checkpoints in, findings out.

Streams both in order and in bounded memory. It refuses to know the store, the clock and what records mean. What it can
find follows from what is kept: leaf hashes locate damage to an entry, checkpoints to the interval between two of them;
only an *anchor* from outside the database (a file, a witness) shows a rollback, or a rewrite by a holder of the key.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from lictor.model.errors import LictorError
from lictor.records.checkpoint import Checkpoint, LogKeys, VerifierKey
from lictor.records.findings import MAX_FINDINGS, Finding, FindingKind, Findings, Report
from lictor.records.heads import Head, Heads, vouched_for
from lictor.records.merkle import Frontier

__all__ = ["MAX_FINDINGS", "Entry", "EntryLike", "Finding", "FindingKind", "Report", "verify_log"]

PROGRESS_EVERY: Final = 8192
"""Entries between two calls of `on_progress`."""
NOTHING: Final = Frontier()
"""The tree without entries."""


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


class _Walk:
    """One pass over the entries."""

    def __init__(
        self, heads: Heads, anchors: Sequence[Checkpoint], keys: LogKeys, findings: Findings, start: Frontier
    ) -> None:
        self._heads = heads
        self._findings = findings
        self._anchors = sorted(anchors, key=lambda anchor: anchor.size, reverse=True)
        for anchor in anchors:
            if anchor.origin != keys.name:
                message = f"the anchor is of log {anchor.origin!r}, the key of {keys.name!r}"
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
            self._compare_head(head, b64encode(root).decode())
            self._heads.advance()
        return self.stop_at()

    def _compare_head(self, head: Head, root: str) -> None:
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
    verifier_key: LogKeys | str,
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
        verifier_key: of the log; its name is the origin. Of a log whose key was changed, who signs at which size (`LogKeys`).
        anchor: one or more checkpoints kept outside the database, already verified, in any order.
        on_progress: called with the number of entries read, every `PROGRESS_EVERY` entries and at the end.
        rolls: stored rolls of checkpoints, oldest first; a checkpoint in one that is true needs no signature checked.
        start: the tree up to which the log was verified before; then entries begin there, and heads and anchors not before it.

    Raises:
        OperatorError: `config_refused`: the verifier key is none. Damage never raises; it is in the report.
    """
    keys = VerifierKey.parse(verifier_key) if isinstance(verifier_key, str) else verifier_key
    findings = Findings()
    anchors = [anchor] if isinstance(anchor, Checkpoint) else list(anchor or ())
    cursor = Heads(vouched_for(heads, rolls, keys, findings), keys, findings)
    walk = _Walk(cursor, anchors, keys, findings, start)
    try:
        walk.run(entries, on_progress)
    except LictorError as error:
        findings.add(FindingKind.UNREADABLE, walk.tree.size, f"reading entry {walk.tree.size}: {error}")
    walk.finish()
    if on_progress is not None:
        on_progress(walk.tree.size)
    found = findings.all()
    return Report(not found, walk.tree.size, walk.tree.root(), cursor.read, found)
