"""Open and close tasks. A task is opened by a person or an application, never by the model."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lictor.model.canonical import sha256_digest
from lictor.model.contract import Contract
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, RequestId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import TaskClosed, TaskOpened
from lictor.model.task import Budget, Task, TaskState, TaskStatus
from lictor.ports import Batch, Clock, Ids, Payload, RecordStore
from lictor.service.calls.registered import check_registered_agent
from lictor.service.history.origins import opening_values
from lictor.service.people.approve import secret_digest
from lictor.service.policy import PolicyInForce

MAX_DECLARED: Final = 500
"""Values that can be declared for one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A fresh task and, for use over HTTP, its bearer token (shown once; stored as a digest)."""

    task: Task
    token: str
    repeated: bool = False
    """It was opened before, with the same idempotency key: its token is not shown again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What whoever opens a task asks for."""

    agent: AgentId
    human: HumanId
    """The person it is for."""
    purpose: str
    text: str = ""
    """What the person asked, in their words."""
    ttl_s: int
    budget: Budget
    declared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values by name that whoever opens the task vouches for; each counts as itself and whole."""
    contract: Contract | None = None
    """What it is bound to from its first moment; restricts only."""
    bearer: bool = True
    """Whether a bearer token is minted; the agent can get one of its own from the token service."""
    vouched: bool = True
    """Whether the text is the opener's own word. If not it is kept, and no value in it has an origin: an agent brought it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A task before its commit: the record, the person's text to be sealed, the sealing key and the bearer token."""

    task: Task
    record: TaskOpened
    text: Payload
    key: bytes
    token: str


class Tasks:
    """Life of tasks."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits

    async def open(
        self,
        *,
        agent: AgentId,
        human: HumanId,
        purpose: str,
        trusted_text: str,
        ttl_s: int,
        budget: Budget,
        audience: str,
        by: str,
        token: bool,
        declared: Mapping[str, tuple[str, ...]] | None = None,
        contract: Contract | None = None,
    ) -> Opened:
        """Open a task.

        Args:
            audience: the gateway the token is for (its public URL); `local` for a process-bound task.
            by: who opens it, for the record.
            token: whether to mint a bearer token.
            declared: values by name that whoever opens the task vouches for; each counts as itself and whole.
            contract: what the task is bound to from its first moment; restricts only.

        Raises:
            CallerError: unknown agent, undeclared purpose, lifetime, budget or number of declared values out of range.
        """
        self._check(agent, purpose, ttl_s, budget)
        wish = Wish(
            agent=agent,
            human=human,
            purpose=purpose,
            text=trusted_text,
            ttl_s=ttl_s,
            budget=budget,
            declared=declared or {},
            contract=contract,
            bearer=token,
        )
        draft = self.draft(wish, audience=audience, by=by)
        batch = Batch(at_ms=draft.task.opened_at_ms, records=(draft.record,), payloads=(draft.text,), key=draft.key)
        await self._store.commit(batch)
        return Opened(task=draft.task, token=draft.token)

    def draft(self, wish: "Wish", *, audience: str, by: str, opener: str = "") -> "Draft":
        """A task that is not there yet, and all that its commit needs. Nothing is checked but what it is made of.

        Raises:
            CallerError: `too_many_members`; `invalid_unicode`; lifetime or budget out of range.
        """
        self._check_bounds(wish.ttl_s, wish.budget)
        named = _named(wish.declared)
        try:
            text = wish.text.encode("utf-8", "strict")
        except UnicodeEncodeError:
            raise CallerError(Reason.INVALID_UNICODE, "the task's text has no encoding") from None
        now = self._clock.now_ms()
        task = Task(
            id=TaskId(self._ids.new("task")),
            agent=wish.agent,
            human=wish.human,
            purpose=wish.purpose,
            trusted_text_digest=sha256_digest(text if wish.vouched else b""),
            audience=audience,
            opened_at_ms=now,
            expires_at_ms=now + wish.ttl_s * 1_000,
            budget=wish.budget,
            opener=opener,
        )
        secret = self._ids.new("lt") if wish.bearer else ""
        key = self._store.fresh_key()
        record = TaskOpened(
            task=task,
            opened_by=by,
            token=secret_digest(secret) if secret else "",
            contract=wish.contract,
            values=opening_values(
                key,
                wish.text if wish.vouched else "",
                named if wish.vouched else (),
                self._policy.current().content.kinds,
            ),
        )
        payload = Payload(request=RequestId(task.id), task=task.id, arguments=text, snapshot=b"")
        return Draft(task=task, record=record, text=payload, key=key, token=secret)

    async def close(self, task: TaskId, by: str) -> None:
        """End a task's authority. What is in flight finishes; nothing new starts.

        Raises:
            ConflictError: unknown or closed already.
        """
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(TaskClosed(task=task, by=by),)))

    def authenticate(self, token: str, audience: str) -> TaskState:
        """The live task of a bearer token.

        Raises:
            CallerError: `unauthenticated` (unknown token, wrong audience), `task_closed`, `task_expired`.
        """
        state = self._store.task_by_token(secret_digest(token))
        if state is None or state.task.audience != audience:
            raise CallerError(Reason.UNAUTHENTICATED, "the task token is not known here")
        if state.status is not TaskStatus.OPEN:
            raise CallerError(Reason.TASK_CLOSED, "the task is closed")
        if self._clock.now_ms() >= state.task.expires_at_ms:
            raise CallerError(Reason.TASK_EXPIRED, "the task has expired")
        return state

    def _check(self, agent: AgentId, purpose: str, ttl_s: int, budget: Budget) -> None:
        pdp = self._policy.current()
        check_registered_agent(pdp.agents, agent, self._clock.now_ms(), self._store.containments())
        if purpose not in pdp.purposes:
            declared = ", ".join(sorted(pdp.purposes)[:8])
            raise CallerError(
                Reason.UNKNOWN_TASK, f"purpose {purpose[:80]!r} is not declared", remedy=f"one of: {declared}"
            )
        self._check_bounds(ttl_s, budget)

    def _check_bounds(self, ttl_s: int, budget: Budget) -> None:
        if not 0 < ttl_s <= self._limits.task_ttl_s:
            raise CallerError(
                Reason.INVALID_ARGUMENTS, f"a task lives 1 to {self._limits.task_ttl_s:.0f} seconds, not {ttl_s}"
            )
        if budget.calls < 1 or any(amount < 0 for amount in budget.value.values()):
            raise CallerError(Reason.BUDGET_CALLS, "a budget is at least one call, and no value is negative")


def _named(declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    values = tuple(value for group in declared.values() for value in group)
    if len(values) > MAX_DECLARED:
        raise CallerError(Reason.TOO_MANY, f"a task declares at most {MAX_DECLARED} values, not {len(values)}")
    return values
