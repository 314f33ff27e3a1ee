"""A part of a task's authority for another agent: a child task. It is less than its parent in every dimension, or refused.

The caller proves that it holds the parent; which agents may receive anything at all is the registry's word
(`delegates_to`). Budget, expiry, human and chain are checked again inside the commit (`lifecycle.bounds`), where two children
opened at once cannot both take the last of it (DELG-01, 02, 05, 07). Between the two, policy decides the opening for every
agent of the chain, as it decides any other (`prospect`): labels, signals and restrictions of the tree count.
"""

import msgspec

from lictor.model.canonical import sha256_digest
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, RequestId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import TaskOpened
from lictor.model.task import Budget, Task, TaskState, TaskStatus
from lictor.pdp.contract import within
from lictor.pdp.decide import Pdp
from lictor.ports import Clock, Ids, Payload, RecordStore
from lictor.service.calls.registered import check_registered_agent
from lictor.service.people.approve import secret_digest
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.prospect import Prospects
from lictor.service.tasks.repeating import asked_digest, key_digest, repeated
from lictor.service.tasks.tasks import Opened


class Delegate:
    """Opens child tasks."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._prospects = Prospects(store=store, policy=policy, ids=ids, limits=limits)

    async def __call__(
        self,
        parent: TaskId,
        *,
        agent: AgentId,
        ttl_s: int,
        budget: Budget,
        by: str,
        text: str = "",
        contract: Contract | None = None,
        key: str = "",
        opener: Opener | None = None,
    ) -> Opened:
        """Open a child task and its token.

        Args:
            parent: the task whose authority is passed on; the caller has authenticated as its holder.
            text: what the child is asked to do. It is *not* trusted text: a model wrote it, so no value in it has an origin.
            contract: what the child may do; every contract above it has to cover it. Whoever holds the parent wrote it, an
                agent as a rule: it restricts like any other, and is evidence of nothing until the person confirms it.
            key: an idempotency key of the caller's choice (`repeating`); one belongs to `by` and to the parent.
            opener: the person or application that asks, with a credential of its own; None: whoever holds the parent's token,
                which is its agent as far as policy is told.

        Raises:
            OpeningRefusedError: policy says no, for an agent of the chain; that is recorded.
            CallerError: `delegation`, `unknown_task`, `unknown_agent`, `budget_calls`, `key_reused`.
            ConflictError: `delegation`: the parent has less left than asked for, at the moment of the commit.
        """
        if not key:
            return await self._open(parent, agent, ttl_s, budget, by, text, contract, ("", ""), opener)
        told = key_digest("delegate", by, parent, key)
        asked = asked_digest(agent, ttl_s, budget, text, contract)
        found = repeated(self._store, told, asked)
        if found is not None:
            return found
        try:
            return await self._open(parent, agent, ttl_s, budget, by, text, contract, (told, asked), opener)
        except ConflictError:
            found = repeated(self._store, told, asked)  # somebody else was first, with this key
            if found is None:
                raise
            return found

    async def _open(
        self,
        parent: TaskId,
        agent: AgentId,
        ttl_s: int,
        budget: Budget,
        by: str,
        text: str,
        contract: Contract | None,
        told: tuple[str, str],
        opener: Opener | None,
    ) -> Opened:
        pdp = self._policy.current()
        state = self._live(parent)
        chain = (state, *self._parents(state))
        self._check(pdp, chain, agent, contract)
        if ttl_s < 1 or budget.calls < 1 or any(amount < 0 for amount in budget.value.values()):
            raise CallerError(Reason.BUDGET_CALLS, "a child has a lifetime and a budget of at least one, none negative")
        now = self._clock.now_ms()
        body = text.encode("utf-8", "strict")
        task = Task(
            id=TaskId(self._ids.new("task")),
            agent=agent,
            human=state.task.human,
            purpose=state.task.purpose,
            trusted_text_digest=sha256_digest(b""),
            audience=state.task.audience,
            opened_at_ms=now,
            expires_at_ms=now + ttl_s * 1_000,
            budget=budget,
            parents=(state.task.id, *state.task.parents),
        )
        secret = self._ids.new("lt")
        if contract is not None:
            contract = msgspec.structs.replace(contract, source=ContractSource.DRAFTED, confirmed_by=None)
        record = TaskOpened(
            task=task, opened_by=by, token=secret_digest(secret), contract=contract, key=told[0], asked=told[1]
        )
        payload = Payload(request=RequestId(task.id), task=task.id, arguments=body, snapshot=b"")
        await self._prospects.open(opener or _itself(pdp, state.task.agent), record, payload)
        return Opened(task=task, token=secret)

    def _live(self, task: TaskId) -> TaskState:
        state = self._store.task(task)
        if state is None or state.status is not TaskStatus.OPEN:
            raise CallerError(Reason.UNKNOWN_TASK, "the task to delegate from is unknown or closed")
        return state

    def _parents(self, state: TaskState) -> tuple[TaskState, ...]:
        found = tuple(self._store.task(parent) for parent in state.task.parents)
        links = tuple(link for link in found if link is not None)
        if len(links) != len(found):
            raise ConflictError(Reason.DELEGATION, "a link of the chain is not in the store")
        return links

    def _check(self, pdp: Pdp, chain: tuple[TaskState, ...], agent: AgentId, contract: Contract | None) -> None:
        giver = pdp.agents.get(chain[0].task.agent)
        problem, remedy = "", ""
        if giver is None or agent not in giver.delegates_to:
            problem = f"agent {chain[0].task.agent!r} may not delegate to {agent[:80]!r}"
            remedy = "name it in delegates_to of agents.toml"
        elif len(chain) > self._limits.delegation_depth:
            problem = f"a chain has at most {self._limits.delegation_depth} links"
        elif contract is not None:
            problem = _excess(pdp, chain, agent, contract)
        if problem:
            raise CallerError(Reason.DELEGATION, problem, remedy=remedy)
        for principal in (agent, *(link.task.agent for link in chain)):
            check_registered_agent(pdp.agents, principal, self._clock.now_ms(), self._store.containments())


def _itself(pdp: Pdp, agent: AgentId) -> Opener:
    """The agent that hands on a part of its own task."""
    giver = pdp.agents.get(agent)
    return Opener(kind="agent", name=agent, groups=giver.groups if giver is not None else ())


def _excess(pdp: Pdp, chain: tuple[TaskState, ...], agent: AgentId, contract: Contract) -> str:
    """What a child's contract asks for that somebody above it does not have."""
    for link in chain:
        beyond = within(contract, link.contract) if link.contract is not None else ()
        if beyond:
            return f"{beyond[0].action[:120]!r} is more than the contract of task {link.task.id!r} covers"
    for clause in contract.clauses:
        offering = pdp.named(clause.action)
        if offering is None:
            return f"{clause.action[:120]!r} is nothing the catalogue knows"
        for principal in (agent, *(link.task.agent for link in chain)):
            if not pdp.engine.may_permit(("Agent", principal), clause.action, offering.resource):
                return f"policy permits {clause.action[:120]!r} to {principal!r} under no circumstances"
    return ""
