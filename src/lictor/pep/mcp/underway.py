"""What uses a task's authority in this process now, and how it is ended: calls, streams, connections that wait.

A call that is stopped ends its client's request with the reason, cancels itself at the server, and takes the server's connection
down with it a moment later: a server that obeys a cancellation looks exactly like one that ignores it. Refuses to know why
something is stopped (`service.containment.revoke`).
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final

from lictor.model.errors import CallerError, LictorError, StoreError, UpstreamError
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Task
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.seam import Upstream

GRACE_S: Final = 0.2
"""A server that was told to cancel gets so long before its connection ends: to clean up, not to finish."""


class Stay:
    """One request or stream of a task, from when it came in until it is answered.

    Attributes:
        task: whose authority it uses.
        server: where it was sent; empty while it is not.
        action: what was sent.
        upstream: the connection it was sent on.
        stopped: why it was ended by `stop`; None while it was not.
    """

    __slots__ = ("_before", "_current", "_over", "action", "server", "stopped", "task", "upstream")
    waits = False

    def __init__(self, task: Task, *, action: str = "", server: str = "") -> None:
        """In the asyncio task that carries it."""
        current: asyncio.Task[Any] | None = asyncio.current_task()
        if current is None:
            raise RuntimeError("what is under way runs in a task")
        self._current = current
        self._before = current.cancelling()
        self._over = False
        self.task = task
        self.server = server
        self.action = action
        self.upstream: Upstream | None = None
        self.stopped: Reason | None = None

    def stop(self, reason: Reason) -> None:
        """End it with this reason. Idempotent; too late does nothing."""
        if self.stopped is None and not self._over:
            self.stopped = reason
            self._current.cancel()

    def leave(self) -> None:
        """It is answered."""
        self._over = True

    def taken(self) -> bool:
        """Whether the cancellation that was just caught is `stop`'s and nobody else's too. Asked once."""
        if self.stopped is None or self._over:
            return False
        self._over = True
        return self._current.uncancel() <= self._before

    def refusal(self) -> LictorError:
        """What its client is told."""
        reason = self.stopped or Reason.CANCELLED
        if reason is Reason.STATE_UNCONFIRMED:
            return StoreError(reason, "the newest state cannot be confirmed")  # and so nothing is written down now
        return CallerError(reason, "this was stopped")

    def halted(self) -> UpstreamError:
        """What becomes of a call that may have reached its server: nobody knows."""
        return UpstreamError(self.stopped or Reason.CANCELLED, "the call was stopped under way", effect_possible=True)


class Held:
    """A connection that waits for its task's next call."""

    __slots__ = ("action", "server", "task")
    waits = True

    def __init__(self, task: Task, server: ServerName) -> None:
        self.task = task
        self.server: str = server
        self.action = ""


class UnderWay:
    """All of one process (`lictor.service.containment.revoke.Stops`)."""

    def __init__(self, connections: Connections, *, grace_s: float = GRACE_S) -> None:
        """Nothing yet."""
        self._connections = connections
        self._grace_s = grace_s
        self._stays: set[Stay] = set()
        self._jobs: set[asyncio.Task[None]] = set()
        self._ending: set[tuple[ServerName, TaskId]] = set()
        self.on_ended: list[Callable[[TaskId], None]] = []
        """Told when a task's connections are ended: sessions end then, too."""

    def enter(self, stay: Stay) -> None:
        """It is under way from now on."""
        self._stays.add(stay)

    def leave(self, stay: Stay) -> None:
        """It is over."""
        stay.leave()
        self._stays.discard(stay)

    @contextmanager
    def during(self, task: Task) -> Iterator[Stay]:
        """Something that lasts, like a stream.

        Raises:
            LictorError: it was stopped; the reason says why.
        """
        stay = Stay(task)
        self.enter(stay)
        try:
            yield stay
        except asyncio.CancelledError:
            if stay.taken():
                raise stay.refusal() from None
            raise
        finally:
            self.leave(stay)

    def under_way(self) -> Collection[Stay | Held]:
        """See `Stops.under_way`: requests and streams, then connections, which may belong to the same tasks."""
        return [*self._stays, *(Held(task, server) for server, task in self._connections.of_tasks())]

    def stop(self, one: object, reason: Reason) -> None:
        """See `Stops.stop`."""
        if isinstance(one, Stay) and one.stopped is None:
            one.stop(reason)
            if one.server:
                self._end(ServerName(one.server), one.task.id)
        elif isinstance(one, Held):
            self._end(ServerName(one.server), one.task.id)

    def strike(self) -> None:
        """See `Stops.strike`."""
        for stay in tuple(self._stays):
            if stay.upstream is not None:
                stay.upstream.strike()

    def stop_shared(self, servers: Collection[str] | None) -> None:
        """See `Stops.stop_shared`."""
        for server in self._connections.shared_servers():
            if servers is None or server in servers:
                self._later(self._connections.drop(server, None, after_s=self._grace_s))

    async def forget(self, task: TaskId, _: Reason) -> None:
        """What is left of a stopped task here, once its requests have been answered: its sessions."""
        await asyncio.sleep(self._grace_s)
        for told in self.on_ended:
            told(task)

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _end(self, server: ServerName, task: TaskId) -> None:
        if (server, task) in self._ending or self._connections.shared(server):
            return  # others use it: they are none of ours to stop, and the cancellation has been sent
        self._ending.add((server, task))
        self._later(self._let_go(server, task))

    async def _let_go(self, server: ServerName, task: TaskId) -> None:
        try:
            await self._connections.drop(server, task, after_s=self._grace_s)
        finally:
            self._ending.discard((server, task))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
