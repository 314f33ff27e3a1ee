"""Payloads have an end: tasks that were over long enough ago lose their sealing keys. Records stay for ever.

A task is over when it was closed or killed or its time was up, whichever came first; what was handed on below it may do nothing
from then on (`pdp.standing`). One of which, or below which, a call is still under way is left for the next round. What a refused
opening carried belongs to a task that never was; its age is that of the request in the log.

It goes round in steps of bounded work. Several gateways may do it on one store: what another erased first is left to it. Refuses
to know when it is called and how many days there are in the settings.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from lictor.model.errors import ConflictError
from lictor.model.ids import TaskId
from lictor.model.record import RequestReceived, decode_entry
from lictor.ports import Clock, RecordStore
from lictor.service.evidence.erase import erase_all

BY: Final = "retention"
DAY_MS: Final = 86_400_000
LOOKED: Final = 200
"""Keys looked at in one step: some milliseconds on the event loop."""
READ: Final = 1_000
"""Log entries read in one step, where tasks that never were have no other age."""
MAX_STRANGERS: Final = 10_000
"""Tasks that never were, looked up in one round; the rest comes with the next."""
_RECEIVED: Final = b'"type":"request.received"'


class Retention:
    """Erases what is older than so many days."""

    def __init__(self, *, store: RecordStore, clock: Clock, days: int) -> None:
        """Nothing is done by it.

        Args:
            days: that payloads are kept after their task is over; at least 1.
        """
        if days < 1:
            raise ValueError(f"payloads are kept for at least a day, not {days!r}")
        self._store = store
        self._clock = clock
        self._kept_ms = days * DAY_MS
        self._begin()

    def _begin(self) -> None:
        self._after: TaskId | None = TaskId("")
        self._strangers: set[TaskId] = set()
        self._read = 0

    async def step(self) -> bool:
        """Some work; whether that was a round, and everything due is erased.

        Raises:
            StoreError: something cannot be read or recorded; the next step begins where this one did.
        """
        if self._after is not None:
            await self._look(self._after)
            return False
        if self._strangers and self._read < self._store.size():
            await self._search()
            return False
        self._begin()
        return True

    async def _look(self, after: TaskId) -> None:
        tasks = self._store.sealed(after, LOOKED)
        due = [task for task in tasks if self._due(task)]
        if due:
            under_way = {one.task for one in self._store.open_executions()}
            await self._erase([task for task in due if not self._is_used(task, under_way)])
        self._after = tasks[-1] if len(tasks) == LOOKED else None

    def _due(self, task: TaskId) -> bool:
        state = self._store.task(task)
        if state is not None:
            return state.over_at_ms + self._kept_ms <= self._clock.now_ms()
        if len(self._strangers) < MAX_STRANGERS:
            self._strangers.add(task)
        return False

    def _is_used(self, task: TaskId, under_way: AbstractSet[TaskId]) -> bool:
        """Whether a call of it, or of what was handed on, is under way: what comes back is compared by its key."""
        if not under_way:
            return False
        return not under_way.isdisjoint({task, *(one.task.id for one in self._store.descendants(task))})

    async def _search(self) -> None:
        """Find out how old the tasks are that never were: once their request is read, and it is young, they stay."""
        start, before = self._read, self._clock.now_ms() - self._kept_ms
        due: list[TaskId] = []
        seen: set[TaskId] = set()
        end = start
        for stored in self._store.entries(start, start + READ):
            end = stored.seq + 1
            if _RECEIVED not in stored.data:
                continue
            entry = decode_entry(stored.data)
            record = entry.record
            if isinstance(record, RequestReceived) and record.task in self._strangers - seen:
                seen.add(record.task)
                if entry.at <= before:
                    due.append(record.task)
        await self._erase(due)
        self._strangers -= seen
        self._read = end

    async def _erase(self, tasks: Sequence[TaskId]) -> None:
        try:
            await erase_all(self._store, self._clock, tasks, by=BY)
        except ConflictError:
            # Another gateway took some of them first. The rest is due in the next round as well.
            return
