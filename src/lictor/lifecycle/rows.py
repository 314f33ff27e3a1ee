"""State rows: what the log says right now, in a shape any store can keep and any store can rebuild from the log."""

from typing import Final

import msgspec

from lictor.model.approval import Allowance, Hold, Passkey
from lictor.model.containment import Containment
from lictor.model.history import Member, Origin, Taken, Total
from lictor.model.ids import PolicyRevision
from lictor.model.lease import Lease
from lictor.model.record import ExecutionStarted
from lictor.model.task import TaskState


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One execution: how it started and what became of it (`started` while it is open)."""

    started: ExecutionStarted
    outcome: str
    taken: tuple[Taken, ...] = ()
    """Where each of its moves was counted, in their order."""


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An index row: a token digest, an approver's secret, a live hold's key, the bundle in force."""

    target: str


class Score(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The highest score of one kind of signal, and the signal it came with."""

    highest: int
    signal: str


class Laid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every restriction in force, and how often that has changed."""

    laid: tuple[Containment, ...]
    changes: int


class Live(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids of what a task has that is not over yet."""

    ids: tuple[str, ...]


class Tally(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many values of a tree of tasks are remembered, and the labels of those that were not kept."""

    count: int = 0
    spilled: tuple[str, ...] = ()


class Named(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One token of the token service."""

    jti: str
    expires_at_ms: int


class TaskTokens(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The tokens of a task that may be used, and those that were revoked before their time."""

    live: tuple[Named, ...] = ()
    revoked: tuple[Named, ...] = ()


Body = (
    TaskState
    | Hold
    | Allowance
    | Passkey
    | Execution
    | Pointer
    | Laid
    | Score
    | Origin
    | Tally
    | Total
    | Member
    | Lease
    | Live
    | TaskTokens
)
Key = tuple[str, str]
"""(kind, id). Kinds: task, hold, allowance, passkey, execution; token, secret, approver, application, idempotency, live, bundle
(pointers)."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `status`, `owner` (task or instance) and `at_ms` are what lists are filtered by."""

    kind: str
    id: str
    status: str
    owner: str
    at_ms: int
    body: Body

    @property
    def key(self) -> Key:
        """(kind, id)."""
        return (self.kind, self.id)


_BODIES: Final[dict[str, type[Body]]] = {
    "task": TaskState,
    "hold": Hold,
    "allowance": Allowance,
    "passkey": Passkey,
    "execution": Execution,
    "token": Pointer,
    "secret": Pointer,
    "approver": Pointer,
    "application": Pointer,
    "application_secret": Pointer,
    "idempotency": Pointer,
    "live": Pointer,
    "revoked": Pointer,
    "bundle": Pointer,
    "epoch": Pointer,
    "log_key": Pointer,
    "containments": Laid,
    "signal": Score,
    "origin": Origin,
    "origins": Tally,
    "measure": Total,
    "member": Member,
    "lease": Lease,
    "leases": Live,
    "tokens": TaskTokens,
    "erased": Pointer,
}
_DECODERS: Final = {kind: msgspec.json.Decoder(body) for kind, body in _BODIES.items()}
_ENCODER: Final = msgspec.json.Encoder(order="sorted")


def encode_body(row: Row) -> bytes:
    """The body as JSON."""
    return _ENCODER.encode(row.body)


def decode_row(kind: str, id: str, status: str, owner: str, at_ms: int, body: bytes) -> Row:  # noqa: A002
    """A row from its stored columns.

    Raises:
        KeyError: unknown kind.
        msgspec.ValidationError: the body is not of that kind.
    """
    return Row(kind=kind, id=id, status=status, owner=owner, at_ms=at_ms, body=_DECODERS[kind].decode(body))


def live_key(task: str, digest: str) -> Key:
    """Key of the one hold a task may have open for an action."""
    return ("live", f"{task} {digest}")


def revoked_key(jti: str) -> Key:
    """Key of a task token that was revoked; it points at its task."""
    return ("revoked", jti)


def erased_key(task: str) -> Key:
    """Key of a task whose sealing key was destroyed; it points at who had that done."""
    return ("erased", task)


def measure_key(key: str) -> Key:
    """Key of a measure's row (`Move.key`)."""
    return ("measure", key)


def member_key(key: str, member: str) -> Key:
    """Key of one value of a distinct count."""
    return ("member", f"{key} {member}")


BUNDLE_KEY: Final[Key] = ("bundle", "active")
EPOCH_KEY: Final[Key] = ("epoch", "raised")
LOG_KEY: Final[Key] = ("log_key", "in force")
"""It points at the verifier key that signs from now on; there is none while the log has its first one."""
CONTAINMENTS_KEY: Final[Key] = ("containments", "all")


def log_key_change(size: int) -> Key:
    """Key of one change of the log's key, by the number of its record; it points at the new verifier key."""
    return ("log_key", str(size))


def approval_key(revision: PolicyRevision) -> Key:
    """Key of a second person's approval of a bundle; it points at the revision that it was compared with."""
    return ("bundle", f"approved {revision}")


def active_revision(row: Row | None) -> PolicyRevision | None:
    """The revision the bundle row points at."""
    if row is None or not isinstance(row.body, Pointer):
        return None
    return PolicyRevision(row.body.target)
