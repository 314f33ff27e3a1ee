"""Every fact a decision may read, gathered before it and recorded with it, so that the decision replays bit for bit."""

import msgspec

from lictor.model.agent import Agent
from lictor.model.approval import Allowance, Approval
from lictor.model.canonical import sha256_digest
from lictor.model.containment import Containment
from lictor.model.history import Origin, Reading
from lictor.model.ids import DefinitionDigest, PolicyRevision, SnapshotDigest
from lictor.model.task import TaskState


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Facts, their source in the field's comment, all read at `at_ms` (milliseconds since the epoch)."""

    at_ms: int  # the clock
    revision: PolicyRevision  # the bundle in force
    agent: Agent | None  # the bundle's registry; None: unknown agent
    task: TaskState | None  # the record store; None: unknown task
    definition: DefinitionDigest | None  # the live server's own definition; None: the server did not offer it
    human_groups: tuple[str, ...] = ()  # the bundle's registry: groups of the human behind the task
    approval: Approval | None = None  # the record store, matched by action digest
    allowance: Allowance | None = None  # the record store; what `approval` was given ahead by
    parents: tuple[TaskState | None, ...] = ()  # the record store: the delegation chain, nearest first; None: unknown
    principals: tuple[Agent | None, ...] = ()  # the bundle's registry: the agents of `parents`, same order
    measures: dict[str, tuple[Reading, ...]] = {}  # the record store: every measure of the bundle, by name, and row
    origins: dict[str, Origin] = {}  # the record store and the directory, by the name of the watched argument
    containments: tuple[Containment, ...] = ()  # the record store: those that touch this request
    signals: dict[str, int] = {}  # the record store: highest score by kind for the task's tree, of the bundle's kinds
    resolved: dict[str, str] = {}  # the host's file system: real path by selector pointer

    def encode(self) -> bytes:
        """Canonical bytes (no floats anywhere in a snapshot)."""
        return msgspec.json.encode(self, order="sorted")

    @staticmethod
    def decode(data: bytes) -> "Snapshot":
        """Inverse of `encode`; refuses unknown members."""
        return msgspec.json.decode(data, type=Snapshot)


def snapshot_digest(encoded: bytes) -> SnapshotDigest:
    """Digest of an encoded snapshot."""
    return SnapshotDigest(sha256_digest(encoded))
