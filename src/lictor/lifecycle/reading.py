"""How the life cycles see state: rows by key, and rows changed so far. Shared by every file of this folder."""

from collections.abc import Callable

from lictor.lifecycle.rows import Key, Row
from lictor.model.errors import ConflictError
from lictor.model.reasons import Reason
from lictor.model.task import TaskState

Read = Callable[[Key], Row | None]
Changes = dict[Key, Row | None]
"""New rows by key; None removes the row."""


class Changing:
    """Rows changed by one record, step by step; a later step sees what an earlier one changed."""

    __slots__ = ("_below", "changes")

    def __init__(self, below: Read) -> None:
        self._below = below
        self.changes: Changes = {}

    def read(self, key: Key) -> Row | None:
        """A row as it stands now."""
        return self.changes[key] if key in self.changes else self._below(key)


def task_state(read: Read, task: str) -> TaskState:
    """A task as it stands.

    Raises:
        ConflictError: `unknown_task`.
    """
    row = read(("task", task))
    if row is None or not isinstance(row.body, TaskState):
        raise ConflictError(Reason.UNKNOWN_TASK, f"no task {task!r}")
    return row.body


def task_changes(state: TaskState) -> Changes:
    """The row of a task that changed."""
    task = state.task
    row = Row(kind="task", id=task.id, status=state.status.value, owner=task.agent, at_ms=task.opened_at_ms, body=state)
    return {row.key: row}
