"""The unit of authority: agent + human + purpose + trusted text + budgets + expiry. Authority dies with it."""

from enum import StrEnum
from typing import Final

import msgspec

from lictor.model.contract import Contract
from lictor.model.ids import AgentId, HumanId, TaskId

MAX_DEPTH: Final = 8
"""Links of a chain of delegation, whatever the settings say."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hard limits of a task. Values are minor units (cents) by ISO 4217 code; a currency not named has budget 0."""

    calls: int = 1_000
    value: dict[str, int] = {}


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was granted when the task was opened; never changes. Times are milliseconds since the epoch."""

    id: TaskId
    agent: AgentId
    human: HumanId
    purpose: str
    trusted_text_digest: str
    """What the person actually asked, as a digest; the text itself is sealed beside the log."""
    audience: str
    """The gateway this task's token is for; a token for another audience is refused."""
    opened_at_ms: int
    expires_at_ms: int
    budget: Budget
    parents: tuple[TaskId, ...] = ()
    """The chain it was delegated through, nearest first; empty for a task a person or an application opened."""
    opener: str = ""
    """Who opened it, as `kind:name` of an `Opener`; empty for a child, and where nobody was asked."""

    @property
    def root(self) -> TaskId:
        """The task at the top of the tree: history is kept there, so that a child starts with it and cannot shed it."""
        return self.parents[-1] if self.parents else self.id


class TaskStatus(StrEnum):
    """`expired` is not a state: time decides it at each decision."""

    OPEN = "open"
    CLOSED = "closed"


class TaskState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A task and what it has used and seen so far."""

    task: Task
    status: TaskStatus = TaskStatus.OPEN
    calls_used: int = 0
    value_used: dict[str, int] = {}
    labels: tuple[str, ...] = ()
    """Sorted. A label is taken on when an action that yields it *starts*, so a crash cannot lose it."""
    contract: Contract | None = None
    contract_used: tuple[int, ...] = ()
    """Calls used of each clause."""
    closed_at_ms: int = 0
    """When it was closed or killed; 0: it was not, or by a release that did not keep it."""

    @property
    def over_at_ms(self) -> int:
        """When its authority ends or ended: closed, killed, or its time up, whichever comes first."""
        return min(self.closed_at_ms or self.task.expires_at_ms, self.task.expires_at_ms)
