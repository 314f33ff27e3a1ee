"""What a verification of a log says: findings, each of a kind and at a place, and the report they stand in.

It refuses to know how they are found.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_FINDINGS: Final = 1000
"""Most findings kept (memory stays bounded on a log that is wrong everywhere); one more says that there were others."""


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
    KEY = "key"
    """A change of the log's key is not what both its keys signed, or no record says so; position: where it is said to stand."""
    UNREADABLE = "unreadable"
    """The store failed while reading."""


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


class Findings:
    """A bounded list, in the order of discovery."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._more = 0

    def add(self, kind: FindingKind, position: int, message: str) -> None:
        """One more; of too many only their number is kept."""
        if len(self._kept) < MAX_FINDINGS:
            self._kept.append(Finding(kind, position, message))
        else:
            self._more += 1

    def all(self) -> tuple[Finding, ...]:
        """Those kept, and how many there were beside them."""
        if not self._more:
            return tuple(self._kept)
        last = self._kept[-1]
        return (*self._kept, Finding(last.kind, last.position, f"and {self._more} more findings"))
