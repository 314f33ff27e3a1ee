"""What groups of batches put into a log: each by itself while it is collected, several joined when they are written.

Knows no storage and no keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

from lictor.lifecycle.reading import Changes, Read
from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.records.merkle import FrontierBuilder

Sealed = tuple[str, str, bytes, bytes]
"""Request, task, nonce, ciphertext."""


@dataclass(slots=True)
class Contents:
    """What one group has accepted so far.

    Attributes:
        first: size of the log before it.
        entries: (sequence number, data, leaf hash) of each entry.
        payloads: by request.
        changes: rows as they are after it; None: removed.
        was: rows that it changes, as they were before, as far as that is known; None: not known, or there was none.
        head: the tree with it, as the log stores it (`FrontierBuilder.to_bytes`), once it is known.
    """

    first: int
    entries: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    payloads: dict[str, Sealed] = field(default_factory=dict)
    changes: Changes = field(default_factory=dict)
    was: Changes = field(default_factory=dict)
    head: bytes = b""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several, one after the other, at least one: of each row what was before the first and is after the last."""
        whole = cls(parts[0].first)
        for part in parts:
            whole.entries += part.entries
            whole.payloads |= part.payloads
            whole.change(part.changes, part.was.get)
        whole.head = parts[-1].head
        return whole

    @property
    def size(self) -> int:
        """Roughly how many bytes go to the disk."""
        entries = sum(len(data) for _, data, _ in self.entries)
        return entries + sum(len(one[3]) for one in self.payloads.values()) + 4096 * (4 + len(self.changes))

    def append(self, entries: Iterable[bytes], tree: FrontierBuilder) -> None:
        """Entries, into the tree as well."""
        for data in entries:
            self.entries.append((tree.size, data, tree.append(data)))

    def change(self, changes: Changes, was: Read) -> None:
        """Rows; `was` is asked for those that change for the first time."""
        for key in changes:
            if key not in self.was:
                self.was[key] = was(key)
        self.changes.update(changes)


class Unwritten:
    """What is durable in the journal and not in the tables yet.

    Attributes:
        parts: groups, in order.
        requests: whose payloads are among it.
        changes: the rows they change, as of the last of them. Another thread reads it: it grows, or is replaced.
    """

    __slots__ = ("changes", "parts", "requests")

    def __init__(self) -> None:
        """Nothing."""
        self.parts: list[Contents] = []
        self.requests: set[str] = set()
        self.changes: Changes = {}

    def add(self, part: Contents) -> None:
        """One more; from now on readers see it."""
        self.parts.append(part)
        self.requests.update(part.payloads)
        self.changes.update(part.changes)

    def on_top_of(self, tree: FrontierBuilder) -> FrontierBuilder:
        """The tree with it, from that of the tables; what they hold already (a commit whose end was interrupted) is dropped.

        Raises:
            StoreError: `log_damaged`: the tables go on differently.
        """
        if self.parts and self.parts[0].first < tree.size:
            self.drop(sum(part.first < tree.size for part in self.parts))
        for part in self.parts:
            if tree.size != part.first:
                message = f"somebody else has appended to the log behind entry {part.first}"
                raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify")
            for _, _, leaf in part.entries:
                tree.append_leaf(leaf)
        return tree

    def drop(self, count: int) -> None:
        """The first so many are in the tables."""
        self.parts = self.parts[count:]
        self.requests = {request for part in self.parts for request in part.payloads}
        changes: Changes = {}
        for part in self.parts:
            changes.update(part.changes)
        self.changes = changes
