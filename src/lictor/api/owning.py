"""Whose a task is. Somebody else's is not there: the answer is that of an id nobody has (ISOL-06)."""

from typing import Final

from lictor.api.caller import Caller
from lictor.model.errors import CallerError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.ports import RecordStore

_MAX_ID: Final = 100


def owned(store: RecordStore, caller: Caller, task: str) -> TaskState:
    """A task, if it is the caller's.

    Raises:
        CallerError: `unknown_task`: there is none, or none of the caller's.
        StoreError: tasks cannot be read.
    """
    state = store.task(TaskId(task)) if len(task) <= _MAX_ID else None
    if state is None or not owns(store, caller, state):
        raise CallerError(Reason.UNKNOWN_TASK, "there is no such task")
    return state


def owns(store: RecordStore, caller: Caller, state: TaskState) -> bool:
    """Who opened it, and the person it is for; of a child: of the task at the top. Operators own all."""
    if caller.operator:
        return True
    if caller.opener.kind == "person" and state.task.human == caller.opener.name:
        return True
    root = state if not state.task.parents else store.task(state.task.root)
    return root is not None and root.task.opener == caller.name
