"""Tokens of the people who opened tasks, for providers that act on their behalf (RFC 8693): sealed, one a task, gone with it.

A token is kept no longer than it or its task lives, and is used for the task and what was delegated from it. It goes to the
authorisation server alone, never to an agent or a server. Refuses to know who issued it and what it is good for.
"""

import time
from collections.abc import Callable
from typing import Final

import msgspec

from lictor.model.errors import StoreError
from lictor.model.ids import LeaseId, TaskId
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.model.task import Task, TaskStatus
from lictor.ports import Clock, RecordStore, Safe
from lictor.service.credentials.managed import Managed

PREFIX: Final = "subject:"
LIST_S: Final = 10.0
"""So often the safe is asked for tokens that another process kept."""
_TAG: Final = "of the person"


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str
    until_ms: int


class Subjects:
    """For one process; the safe is common to all."""

    def __init__(
        self,
        *,
        safe: Safe,
        store: RecordStore,
        clock: Clock,
        managed: Managed,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._safe = safe
        self._store = store
        self._clock = clock
        self._managed = managed
        self._stopwatch = stopwatch
        self._known: dict[TaskId, int] = {}
        self._list_at = 0.0

    async def keep(self, task: Task, token: Secret, expires_at_ms: int) -> None:
        """Keep the token by which a person opened a task.

        Raises:
            StoreError: it is not kept.
        """
        until_ms = min(expires_at_ms, task.expires_at_ms)
        if until_ms <= self._clock.now_ms():
            return
        self._managed.lend(_tag(task.id), _TAG, [token.reveal()])
        self._known[task.id] = until_ms
        kept = _Kept(token.reveal(), until_ms)
        await self._safe.write(_name(task.id), Secret(msgspec.json.encode(kept).decode()))

    async def of(self, task: Task) -> Secret | None:
        """The person's token for a task, or for the task it was delegated from; None: there is none that lives.

        Raises:
            StoreError: it cannot be opened.
        """
        sealed = await self._safe.read(_name(task.root))
        if sealed is None:
            return None
        kept = _opened(sealed)
        if self._clock.now_ms() >= kept.until_ms or self._over(task.root):
            return None
        self._managed.lend(_tag(task.root), _TAG, [kept.token])
        return Secret(kept.token)

    async def forget(self, task: TaskId) -> None:
        """Its task is over. Idempotent.

        Raises:
            StoreError: it may still be there; `sweep` tries again.
        """
        await self._safe.remove(_name(task))
        self._known.pop(task, None)
        self._managed.over(_tag(task))

    async def sweep(self) -> None:
        """Forget those whose task or own time is over, whichever process kept them.

        Raises:
            StoreError: the safe cannot be read, or one may still be there.
        """
        now = self._stopwatch()
        if now >= self._list_at:
            for name in await self._safe.names(PREFIX):
                task = TaskId(name.removeprefix(PREFIX))
                sealed = None if task in self._known or self._over(task) else await self._safe.read(name)
                self._known.setdefault(task, _opened(sealed).until_ms if sealed is not None else 0)
            self._list_at = now + LIST_S
        now_ms = self._clock.now_ms()
        for task in [one for one, until_ms in self._known.items() if now_ms >= until_ms or self._over(one)]:
            await self.forget(task)

    def _over(self, task: TaskId) -> bool:
        state = self._store.task(task)
        return state is None or state.status is not TaskStatus.OPEN or self._clock.now_ms() >= state.task.expires_at_ms


def _opened(sealed: Secret) -> _Kept:
    try:
        return msgspec.json.decode(sealed.reveal(), type=_Kept)
    except msgspec.MsgspecError:
        raise StoreError(Reason.CONFLICT, "the sealed token of a person is not readable") from None


def _name(task: TaskId) -> str:
    return f"{PREFIX}{task}"


def _tag(task: TaskId) -> LeaseId:
    """Under which the value is looked for in what servers say."""
    return LeaseId(_name(task))
