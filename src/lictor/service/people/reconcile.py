"""A person's word on an execution of which nobody knows what became. Nothing runs again by it."""

from typing import Literal

from lictor.model.errors import CallerError
from lictor.model.ids import ExecutionId, HumanId
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionReconciled
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.policy import PolicyInForce


class Reconcile:
    """Says what became of an indeterminate execution."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock

    async def __call__(
        self, execution: ExecutionId, human: HumanId, outcome: Literal["confirmed", "refuted"], note: str = ""
    ) -> None:
        """Record it. What did not happen gives its value back to the task's budget.

        Raises:
            CallerError: the person is no approver, or it was run for them and `four_eyes` is set.
            ConflictError: there is no such execution, or it is not indeterminate.
        """
        pdp = self._policy.current()
        if human not in pdp.approvers.groups_of:
            raise CallerError(Reason.NOT_AN_APPROVER, f"{human!r} is no approver")
        started = self._store.execution(execution)
        state = self._store.task(started.task) if started is not None else None
        if state is not None:
            # "It never happened" gives budget back: not for whoever would have it again to say.
            agent = pdp.agents.get(state.task.agent)
            owner = agent.owner if agent is not None else ""
            if not pdp.approvers.may_answer(human, requester=state.task.human, owner=owner):
                raise CallerError(Reason.APPROVER_IS_REQUESTER, "somebody else has to say what became of it")
        record = ExecutionReconciled(execution=execution, outcome=outcome, by=human, note=note)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
