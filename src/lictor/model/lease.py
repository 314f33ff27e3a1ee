"""A credential on loan: for one task or one grant, to one destination, until a moment."""

from enum import StrEnum
from typing import Any, Literal

import msgspec

from lictor.model.ids import AgentId, ExecutionId, HumanId, LeaseId, ServerName, TaskId


class Narrowing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a value that a credential is narrowed to is found, in the very call it is lent for. Exactly one is given."""

    argument: str = ""
    """A JSON pointer into the sealed arguments; a text stands there."""
    fact: str = ""
    """`member.name` of what the call's arguments were found to mean: `destination.host`, `path.relative`, `git.repository`, …"""


class Credential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One credential the broker can lend, as `credentials.toml` states it. It holds no secret."""

    name: str
    server: ServerName
    """The one server it is for; its action in policy is `credential:<server>/<name>`."""
    destination: str
    """Where it may be sent: the origin of the server's URL, or `command` for a server that the gateway starts."""
    provider: str
    lease: Literal["task", "grant"] = "task"
    ttl_s: int = 900
    """The longest a lease lives, whatever a provider would give."""
    headers: dict[str, str] = {}
    """Fields by name, `{field}` standing for a field of the secret: `Authorization = "Bearer {token}"`."""
    env: dict[str, str] = {}
    """Variables of a started server, likewise."""
    narrow: dict[str, str | Narrowing] = {}
    """What it is narrowed to, by the names that the provider's options call `{name}`."""
    options: dict[str, Any] = {}
    """The provider's own."""

    @property
    def by_call(self) -> bool:
        """Whether it can be lent for a call only, because the call says what it is narrowed to."""
        return any(isinstance(source, Narrowing) for source in self.narrow.values())


class LeaseStatus(StrEnum):
    """`asked`: the provider may have made one; it counts as made until that is known."""

    ASKED = "asked"
    ACTIVE = "active"
    REVOKING = "revoking"
    """Its task or grant is over; the provider has not confirmed yet."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    """The credential's own life is over."""
    NEVER = "never"
    """The provider refused: nothing was made."""


class Lease(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One lease as the log tells it. `handle` names it at the provider and is no secret."""

    id: LeaseId
    credential: str
    server: ServerName
    destination: str
    provider: str
    agent: AgentId
    human: HumanId
    task: TaskId
    execution: ExecutionId
    """The decided use that asked for it."""
    asked_at_ms: int
    expires_at_ms: int
    """The latest moment at which what was made can still be used."""
    status: LeaseStatus = LeaseStatus.ASKED
    handle: str = ""
    attempts: int = 0
    """Revocations tried in vain."""
    why: str = ""
    """Why it ended, or what the provider last said."""
