"""Requests of ours to a legacy client: our own ids, each answered at most once, late answers ignored.

Refuses to know what is asked and on which stream it travels.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.eras import CANCELLED
from lictor.pep.mcp.seam import Reply
from lictor.protocol.jsonrpc import Response, encode_notification, encode_request, raw_member

ASKS_AT_ONCE: Final = 16
"""Questions one client has open at the same time: a person answers them one by one."""

Send = Callable[[bytes], Awaitable[bool]]
"""Hands a message to the client; False when it is gone."""


class Asks:
    """The open questions of one client."""

    def __init__(self) -> None:
        """None yet."""
        self._ids = itertools.count(1)
        self._open: dict[int, asyncio.Future[Reply]] = {}
        self._closed = False

    async def ask(self, send: Send, method: str, params: dict[str, Any], *, timeout_s: float) -> Reply:
        """Ask and wait.

        Raises:
            CallerError: OVERLOADED; CANCELLED: the client is gone, answers unacceptably, or not in time.
        """
        if self._closed:
            raise _gone()
        if len(self._open) >= ASKS_AT_ONCE:
            raise CallerError(Reason.OVERLOADED, "the client has too many questions open")
        identity = next(self._ids)
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._open[identity] = future
        sent = False
        try:
            async with asyncio.timeout(timeout_s):
                sent = await send(encode_request(identity, method, params))
                if not sent:
                    raise _gone()
                return await future
        except TimeoutError as error:
            raise CallerError(Reason.CANCELLED, "the client did not answer in time") from error
        finally:
            del self._open[identity]
            if sent and (future.cancelled() or not future.done()) and not self._closed:
                self._withdraw(send, identity)

    def resolve(self, response: Response, data: bytes) -> bool:
        """Take an answer; False when nobody waits for it (late, invented, or given before)."""
        identity = response.id
        future = self._open.get(identity) if type(identity) is int else None
        if future is None or future.done():
            return False
        if response.error is not None:
            future.set_result(Reply(error=response.error))
        else:
            raw = raw_member(data, "result")
            future.set_result(Reply(result=bytes(raw) if raw is not None else b"{}"))
        return True

    def close(self) -> None:
        """The client is gone: every question fails. Idempotent."""
        self._closed = True
        for future in self._open.values():
            if not future.done():
                future.set_exception(_gone())

    def _withdraw(self, send: Send, identity: int) -> None:
        """Tell the client that nobody waits any more; best effort, bounded, never waited for."""
        task = asyncio.get_running_loop().create_task(_tell(send, identity))
        _TELLING.add(task)
        task.add_done_callback(_TELLING.discard)


_TELLING: Final[set[asyncio.Task[None]]] = set()
"""Keeps the withdrawals alive until they are done; the loop itself holds tasks weakly."""


async def _tell(send: Send, identity: int) -> None:
    try:
        async with asyncio.timeout(1):
            await send(encode_notification(CANCELLED, {"requestId": identity, "reason": "no longer needed"}))
    except TimeoutError:
        return


def _gone() -> CallerError:
    return CallerError(Reason.CANCELLED, "the client is gone")


def cannot_ask() -> CallerError:
    """Why a modern client is never asked: its questions travel in results (spec 2026-07-28, patterns/mrtr)."""
    return CallerError(Reason.FEATURE_DENIED, "this client takes no requests")
