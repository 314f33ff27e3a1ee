"""What a server says of its own accord: requests to the client, and notifications that belong to no request of ours.

Bounded: a few asks at a time, a few unread notifications. Refuses to know what may be asked: `ask` decides (the gateway).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from lictor.model.errors import LictorError
from lictor.model.limits import Limits
from lictor.pep.mcp.seam import Ask, Notify, Reply
from lictor.pep.mcp.upstream.mailbox import Mailbox
from lictor.pep.mcp.upstream.pending import UNREAD_NOTIFICATIONS, Counters
from lictor.pep.mcp.upstream.wire import CANCELLED, MessageId, Notification, Request, encode_reply

CONCURRENT_ASKS: Final = 16
"""Requests of one server that wait for an answer at the same time; more are not answered."""
_REFUSED: Final = -32600
_FAILED: Final = -32603

Respond = Callable[[bytes], Awaitable[None]]
"""Sends our answer to a server."""


class Inbox:
    """One per connection.

    Attributes:
        may_ask: whether the server may ask the client now: a legacy server after the handshake. `ping` is always answered
            while `legacy` holds.
        legacy: whether requests of the server are part of the protocol at all.
    """

    def __init__(self, ask: Ask, notify: Notify, respond: Respond, limits: Limits, counters: Counters) -> None:
        """`respond` sends our answers; it may raise `UpstreamError`, which is counted."""
        self.legacy = True
        self.may_ask = False
        self._ask = ask
        self._notify = notify
        self._respond = respond
        self._counters = counters
        self._asks: dict[tuple[type, MessageId], asyncio.Task[None]] = {}
        self._unread: Mailbox[Notification] = Mailbox(UNREAD_NOTIFICATIONS, limits.upstream_message_bytes)
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    def request(self, request: Request) -> None:
        """A request of the server: answered in the background, or counted and left unanswered."""
        # The type is part of the key: 1, "1" and True are different ids.
        key = (type(request.id), request.id)
        if self._closed or not self.legacy or key in self._asks or len(self._asks) >= CONCURRENT_ASKS:
            self._counters.refused_requests += 1
            return
        task = self._spawn(self._answer(request))
        self._asks[key] = task
        task.add_done_callback(lambda _: self._asks.pop(key, None))

    def notification(self, notification: Notification) -> None:
        """A notification that belongs to no request: handed on in order, or counted and dropped."""
        if notification.method == CANCELLED:
            id_ = notification.params.get("requestId")
            task = self._asks.get((type(id_), id_)) if isinstance(id_, int | str) else None
            if task is not None:
                task.cancel()
            return
        if self._closed or not self._unread.offer(notification, notification.size):
            self._counters.dropped_notifications += 1
            return
        if self._pump is None:
            self._pump = self._spawn(self._hand_on())

    async def close(self) -> None:
        """Cancel what waits. Idempotent."""
        self._closed = True
        tasks = [*self._asks.values(), *([self._pump] if self._pump is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)

    async def _hand_on(self) -> None:
        while True:
            notification = await self._unread.get()
            await self._notify(notification.method, notification.params)

    async def _answer(self, request: Request) -> None:
        reply = await self._reply(request)
        try:
            await self._respond(encode_reply(request.id, reply))
        except LictorError:
            self._counters.failed_sends += 1

    async def _reply(self, request: Request) -> Reply:
        if request.method == "ping":
            return Reply(result=b"{}")
        if not self.may_ask:
            self._counters.refused_requests += 1
            return Reply(error={"code": _REFUSED, "message": "not initialized"})
        try:
            return await self._ask(request.method, request.params)
        except LictorError as error:
            # Only the stable code: a server learns nothing of policy or of the client.
            return Reply(error={"code": _FAILED, "message": "refused", "data": {"reason": error.reason.value}})

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(report)
        return task


def report(task: asyncio.Task[None]) -> None:
    """A background task that died is a defect: said aloud by the loop's handler, never swallowed."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler(
            {"message": "a background task of an upstream connection failed", "exception": error, "task": task}
        )
