"""State rows: what the log says right now, in a shape any store can keep and any store can rebuild from the log."""

from typing import Final

import msgspec

from lictor.model.approval import Hold
from lictor.model.ids import PolicyRevision
from lictor.model.record import ExecutionStarted
from lictor.model.task import TaskState


class Execution(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One execution: how it started and what became of it (`started` while it is open)."""

    started: ExecutionStarted
    outcome: str


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An index row: a token digest, an approver's secret, a live hold's key, the bundle in force."""

    target: str


Body = TaskState | Hold | Execution | Pointer
Key = tuple[str, str]
"""(kind, id). Kinds: task, hold, execution; token, secret, approver, live, bundle (pointers)."""


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
    "execution": Execution,
    "token": Pointer,
    "secret": Pointer,
    "approver": Pointer,
    "live": Pointer,
    "bundle": Pointer,
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


BUNDLE_KEY: Final[Key] = ("bundle", "active")


def active_revision(row: Row | None) -> PolicyRevision | None:
    """The revision the bundle row points at."""
    if row is None or not isinstance(row.body, Pointer):
        return None
    return PolicyRevision(row.body.target)
