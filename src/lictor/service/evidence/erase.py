"""Erase what a task's requests carried and were decided on, by destroying its sealing key; the log stays whole.

Metadata stays: who asked for what under which digest, what was decided and what became of it. Record and key are one commit
(`PayloadsErased`), so there is no moment at which one of them is true and the other is not. What is left to do after a crash is
to cut old pages off the store's files (`RecordStore.scrub`), which every gateway does at its start.

A task goes with everything that was delegated below it: that is the same person's same errand, and the values that were seen on
it are known under a key of the task at the top. Copies of the state folder that were taken before still hold the key.

Refuses to judge who may: whoever can write the store.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import PayloadsErased
from lictor.model.task import TaskState, TaskStatus
from lictor.ports import Batch, Clock, RecordStore

MAX_BATCH: Final = 200
"""Tasks in one commit: nobody else's records wait long for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one erasure takes."""

    tasks: tuple[TaskId, ...]
    """With a key, the deepest first."""
    already: tuple[TaskId, ...] = ()
    """Erased before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What one erasure took."""

    tasks: tuple[TaskId, ...]
    clean: bool
    """Whether the store's files hold no copy of the keys; else somebody reads an older state, and it is tried again."""


class Erase:
    """Destroys sealing keys, on the record."""

    def __init__(self, *, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def plan(self, task: TaskId) -> Plan:
        """What would be erased with a task: it and all below it.

        Raises:
            CallerError: `unknown_task`: nothing was ever sealed for it.
            ConflictError: `conflict`: it is live, or a call of it is under way.
        """
        states = self._tree(task)
        if not states and self._store.erased(task) is None and self._store.origin_key(task) is None:
            raise CallerError(Reason.UNKNOWN_TASK, f"there is no task {task[:64]!r}", remedy="see: lictor task list")
        self._check_over(states)
        # Also a task that was never opened: what its opener asked for was refused, and is sealed all the same.
        tasks = [state.task.id for state in states] or [task]
        done = {one for one in tasks if self._store.erased(one) is not None}
        return Plan(
            tasks=tuple(one for one in tasks if one not in done), already=tuple(one for one in tasks if one in done)
        )

    async def __call__(self, task: TaskId, *, by: str, why: str = "") -> Erased:
        """Erase a task and all below it. Again it takes what was left, and cuts old pages off.

        Raises:
            CallerError: see `plan`.
            ConflictError: see `plan`.
            StoreError: it could not be recorded or written; what is not recorded is not erased.
        """
        plan = self.plan(task)
        for tasks in _chunks(plan.tasks):
            await self._commit(tasks, by, why)
        return Erased(tasks=plan.tasks, clean=await scrubbed(self._store))

    async def _commit(self, tasks: Sequence[TaskId], by: str, why: str) -> None:
        try:
            await erase_all(self._store, self._clock, tasks, by=by, why=why)
        except ConflictError:
            left = [one for one in tasks if self._store.erased(one) is None]
            if len(left) == len(tasks):
                raise
            await erase_all(self._store, self._clock, left, by=by, why=why)  # somebody else erased some meanwhile

    def _tree(self, task: TaskId) -> list[TaskState]:
        """A task and all below it, the deepest first."""
        state = self._store.task(task)
        if state is None:
            return []
        return sorted([state, *self._store.descendants(task)], key=lambda one: len(one.task.parents), reverse=True)

    def _check_over(self, states: Sequence[TaskState]) -> None:
        now = self._clock.now_ms()
        live = [one.task.id for one in states if one.status is TaskStatus.OPEN and now < one.task.expires_at_ms]
        if live:
            raise ConflictError(
                Reason.CONFLICT,
                f"task {live[0]!r} is live: its payloads are needed",
                remedy="close it first: lictor task close",
            )
        names = {one.task.id for one in states}
        under_way = next((one for one in self._store.open_executions() if one.task in names), None)
        if under_way is not None:
            raise ConflictError(
                Reason.CONFLICT,
                f"execution {under_way.execution!r} of task {under_way.task!r} is under way",
                remedy="try again when it has ended; after a crash the next start of the gateway settles it",
            )


async def erase_all(store: RecordStore, clock: Clock, tasks: Sequence[TaskId], *, by: str, why: str = "") -> None:
    """Record it for all of them, in one commit that destroys their keys.

    Raises:
        ConflictError: one is live or erased already; none is erased by this.
        StoreError: it cannot be recorded; none is erased.
    """
    if tasks:
        records = tuple(PayloadsErased(task=task, by=by, why=why) for task in tasks)
        await store.commit(Batch(at_ms=clock.now_ms(), records=records))


async def scrubbed(store: RecordStore) -> bool:
    """Cut old pages off the store's files, beside the event loop; whether that is done.

    Raises:
        StoreError: it is not known.
    """
    return await asyncio.to_thread(store.scrub)


def _chunks(tasks: Sequence[TaskId]) -> Iterator[Sequence[TaskId]]:
    for start in range(0, len(tasks), MAX_BATCH):
        yield tasks[start : start + MAX_BATCH]
