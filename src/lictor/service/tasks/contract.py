"""Bind a task to a contract, once, and let a person confirm it, once. A contract restricts; policy permits."""

import msgspec

from lictor.model.contract import Contract
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import ContractSet
from lictor.model.task import TaskState
from lictor.ports import Batch, Clock, RecordStore


class Contracts:
    """Contracts of tasks."""

    def __init__(self, *, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def bind(self, task: TaskId, contract: Contract, *, by: str) -> None:
        """Bind a task: from the commit on it can do nothing the contract does not cover.

        Raises:
            CallerError: `unknown_task`.
            ConflictError: it is bound already; or a draft comes after the first call.
        """
        self._state(task)
        record = ContractSet(task=task, contract=contract, by=by)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    async def confirm(self, task: TaskId, *, by: HumanId) -> Contract:
        """A person says yes to the contract as it stands: one question a task instead of one an action.

        Raises:
            CallerError: `unknown_task`; there is no contract; it is not this person's task.
            ConflictError: it is confirmed already, or the task is closed.
        """
        state = self._state(task)
        if state.contract is None:
            raise CallerError(Reason.UNKNOWN_TASK, "the task has no contract to confirm")
        if by != state.task.human:
            raise CallerError(Reason.NOT_AN_APPROVER, "a contract is confirmed by the person the task is for")
        confirmed = msgspec.structs.replace(state.contract, confirmed_by=by)
        record = ContractSet(task=task, contract=confirmed, by=by)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
        return confirmed

    def _state(self, task: TaskId) -> TaskState:
        state = self._store.task(task)
        if state is None:
            raise CallerError(Reason.UNKNOWN_TASK, f"there is no task {task[:64]!r}", remedy="see: lictor task list")
        return state
