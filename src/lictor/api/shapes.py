"""What the task routes take and answer: the structs that the strict door reads and the OpenAPI document is made of."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from lictor.model.contract import Contract
from lictor.service.evidence.story import Step

MAX_TEXT: Final = 100_000
"""Characters of the text of a task."""
MAX_TTL_S: Final = 31 * 86_400
"""No setting lets a task live longer; `limits.task_ttl_s` is what holds."""
MAX_CALLS: Final = 1_000_000
MAX_VALUE: Final = 2**53 - 1
MAX_PAGE: Final = 200

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Human = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9]{0,31}:[!#-\[\]-~]{1,128}$", description="`issuer:name`")]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Ttl = Annotated[int, Meta(ge=1, le=MAX_TTL_S, description="seconds")]
Calls = Annotated[int, Meta(ge=1, le=MAX_CALLS)]
Amounts = Annotated[
    dict[Currency, Annotated[int, Meta(ge=0, le=MAX_VALUE)]],
    Meta(max_length=50, description="minor units by ISO 4217 code; a currency not named has budget 0"),
]
Declared = Annotated[
    dict[Name, Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=2_000)], ...], Meta(max_length=10)]],
    Meta(max_length=50, description="values by name that the opener vouches for"),
]


class _In(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class _Out(msgspec.Struct, frozen=True, kw_only=True):
    pass


Words = Annotated[tuple[Annotated[str, Meta(max_length=2_000)], ...], Meta(max_length=500)]


class BindingIn(_In, frozen=True):
    """What one watched argument may be: one of `values`, or a value that came from one of `sources`."""

    values: Words = ()
    sources: Words = ()
    """`task`, `declared`, `directory`, `tool:<server>/<name>`."""
    optional: bool = False


class ClauseIn(_In, frozen=True):
    """One action and its bounds."""

    action: Annotated[str, Meta(min_length=1, max_length=400, description="`server/tool`, exact")]
    bind: Annotated[dict[Annotated[str, Meta(max_length=100)], BindingIn], Meta(max_length=50)] = {}
    calls: Annotated[int, Meta(ge=0, le=MAX_CALLS, description="at most; 0: as often as the budget allows")] = 0


class Clauses(_In, frozen=True):
    """A contract: all the task may do. It restricts what policy permits, and permits nothing."""

    clauses: Annotated[tuple[ClauseIn, ...], Meta(max_length=200)]


class Opening(_In, frozen=True):
    """A task to be opened."""

    agent: Name
    human: Human
    """The person it is for; a person opens tasks in their own name only."""
    purpose: Name
    text: Text = ""
    """What the person asked, in their words; never what a model wrote."""
    ttl_s: Ttl = 3_600
    calls: Calls = 1_000
    value: Amounts = {}
    declared: Declared = {}
    contract: Clauses | None = None
    bearer: bool = True
    """Whether a bearer token is made; without one the agent gets its own from the token service."""


class Delegation(_In, frozen=True):
    """A child task: less than its parent in every dimension."""

    agent: Name
    text: Text = ""
    """What the child is asked to do; no trusted text."""
    ttl_s: Ttl = 600
    calls: Calls = 100
    value: Amounts = {}
    contract: Clauses | None = None


class ContractChange(_In, frozen=True):
    """Bind a task that is not bound yet, or say yes to its contract as it stands. Exactly one of the two."""

    bind: Clauses | None = None
    confirm: Literal[True] | None = None


class OpenedTask(_Out, frozen=True, omit_defaults=True):
    """A task that is open. The token is shown once: a repeated request with the same idempotency key does not have it."""

    task: str
    state: str
    audience: str
    expires_at_ms: int
    parents: tuple[str, ...] = ()
    token: str = ""
    repeated: bool = False


class TaskView(_Out, frozen=True):
    """A task as it stands. Times are milliseconds since the epoch."""

    task: str
    state: Literal["open", "closed", "expired"]
    agent: str
    human: str
    purpose: str
    audience: str
    opened_by: str
    calls_used: int
    calls_budget: int
    value_used: dict[str, int]
    value_budget: dict[str, int]
    labels: tuple[str, ...]
    parents: tuple[str, ...]
    opened_at_ms: int
    expires_at_ms: int
    contract: Contract | None
    contract_used: tuple[int, ...]


class TaskList(_Out, frozen=True):
    """Tasks, newest first."""

    tasks: tuple[TaskView, ...]
    next: str | None
    """Send it as `after` for the next page; null: that is all."""


class LeaseView(_Out, frozen=True):
    """A credential lent to the task; never its secret."""

    lease: str
    credential: str
    server: str
    destination: str
    status: str
    expires_at_ms: int


class Story(_Out, frozen=True):
    """A task's whole story; `steps` is one page of it, in the order of the log."""

    task: TaskView
    children: tuple[str, ...]
    leases: tuple[LeaseView, ...]
    steps: tuple[Step, ...]
    next: int | None
    """Send it as `after` for the next page; null: that is all so far."""


class ListQuery(_In, frozen=True):
    """Which tasks."""

    state: Literal["", "open", "closed", "expired"] = ""
    """Empty: any."""
    after: Annotated[str, Meta(max_length=100)] = ""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 50


class StoryQuery(_In, frozen=True):
    """Which page."""

    after: Annotated[int, Meta(ge=0, le=MAX_VALUE)] = 0
    """0: from the beginning."""
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100
