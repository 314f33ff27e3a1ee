"""Every fact a decision may read, gathered before it and recorded with it, so that the decision replays bit for bit."""

import msgspec

from lictor.model.agent import Agent
from lictor.model.approval import Approval
from lictor.model.canonical import sha256_digest
from lictor.model.ids import DefinitionDigest, PolicyRevision, SnapshotDigest
from lictor.model.task import TaskState


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts, their source in the field's comment, all read at `at_ms` (milliseconds since the epoch)."""

    at_ms: int  # the clock
    revision: PolicyRevision  # the bundle in force
    agent: Agent | None  # the bundle's registry; None: unknown agent
    task: TaskState | None  # the record store; None: unknown task
    definition: DefinitionDigest | None  # the live server's own definition; None: the server did not offer it
    approval: Approval | None = None  # the record store, matched by action digest

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
