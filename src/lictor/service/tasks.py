"""Open and close tasks. A task is opened by a person or an application, never by the model."""

from collections.abc import Mapping
from dataclasses import dataclass
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
from lictor.service.approve import secret_digest
from lictor.service.origins import opening_values
from lictor.service.policy import PolicyInForce

MAX_DECLARED: Final = 500
"""Values that can be declared for one task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A fresh task and, for use over HTTP, its bearer token (shown once; stored as a digest)."""

    task: Task
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
        named = _named(declared or {})
        now = self._clock.now_ms()
        text = trusted_text.encode("utf-8", "strict")
        task = Task(
            id=TaskId(self._ids.new("task")),
            agent=agent,
            human=human,
            purpose=purpose,
            trusted_text_digest=sha256_digest(text),
            audience=audience,
            opened_at_ms=now,
            expires_at_ms=now + ttl_s * 1_000,
            budget=budget,
        )
        secret = self._ids.new("lt") if token else ""
        key = self._store.fresh_key()
        record = TaskOpened(
            task=task,
            opened_by=by,
            token=secret_digest(secret) if secret else "",
            contract=contract,
            values=opening_values(key, trusted_text, named, self._policy.current().content.kinds),
        )
        payload = Payload(request=RequestId(task.id), task=task.id, arguments=text, snapshot=b"")
        await self._store.commit(Batch(at_ms=now, records=(record,), payloads=(payload,), key=key))
        return Opened(task=task, token=secret)

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
        if agent not in pdp.agents:
            raise CallerError(
                Reason.UNKNOWN_AGENT, f"agent {agent[:80]!r} is not registered", remedy="add it to agents.toml"
            )
        if purpose not in pdp.purposes:
            declared = ", ".join(sorted(pdp.purposes)[:8])
            raise CallerError(
                Reason.UNKNOWN_TASK, f"purpose {purpose[:80]!r} is not declared", remedy=f"one of: {declared}"
            )
        if not 0 < ttl_s <= self._limits.task_ttl_s:
            raise CallerError(
                Reason.UNKNOWN_TASK, f"a task lives 1 to {self._limits.task_ttl_s:.0f} seconds, not {ttl_s}"
            )
        if budget.calls < 1 or any(amount < 0 for amount in budget.value.values()):
            raise CallerError(Reason.BUDGET_CALLS, "a budget is at least one call, and no value is negative")


def _named(declared: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    values = tuple(value for group in declared.values() for value in group)
    if len(values) > MAX_DECLARED:
        raise CallerError(Reason.TOO_MANY, f"a task declares at most {MAX_DECLARED} values, not {len(values)}")
    return values
