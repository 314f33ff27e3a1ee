"""The connections to one server: kept for the next request, bounded in number, waited for in order.

Nothing is ever sent again: a connection that dies under a request takes the request with it. Refuses to know requests.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from lictor.model.errors import UpstreamError
from lictor.pep.mcp.upstream.failures import down, quoted
from lictor.pep.mcp.upstream.http1.address import Address
from lictor.pep.mcp.upstream.http1.connection import Connection

CONNECTIONS: Final = 256
"""To one server: more calls than this at a time wait for each other, within their deadlines."""
WAITING: Final = 4096
"""Requests that wait for a connection; more are refused at once."""
IDLE_S: Final = 4.0
"""Common servers close after five seconds; a request written at that moment would be lost without a trace."""


class Pool:
    """Connections to one origin."""

    def __init__(
        self, address: Address, connect_s: float, tls: Callable[[], ssl.SSLContext], *, limit: int = CONNECTIONS
    ) -> None:
        """`connect_s` bounds name resolution, connection and handshake together; `tls` gives the context when it is needed."""
        self._address = address
        self._connect_s = connect_s
        self._tls = tls
        self._limit = limit
        self._open: set[Connection] = set()
        self._opening = 0
        self._idle: list[Connection] = []
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def kept(self) -> Connection | None:
        """A connection that waits for a request and is sound, the one used last; None when there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.usable():
                return connection
            connection.abort()
        return None

    async def get(self) -> Connection:
        """A connection on which `start` may be called at once. Bounded by the caller's deadline: nothing was sent meanwhile.

        Raises:
            UpstreamError: UPSTREAM_DOWN: the server cannot be reached, is not who it should be, or too many wait.
        """
        while not self._closed:
            connection = self.kept()
            if connection is not None:
                return connection
            if len(self._open) + self._opening < self._limit and not self._waiters:
                self._opening += 1
                return await self._connect()
            connection = await self._queue()
            if connection is None:
                return await self._connect()
            if connection.usable():
                return connection
            connection.abort()
        raise down("the connection is closed", effect_possible=False)

    def close(self) -> None:
        """Close everything; requests under way fail. Idempotent."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._idle.clear()
        for connection in list(self._open):
            connection.abort()
        self._serve()

    async def _connect(self) -> Connection:
        """Open one more. The room for it is taken by the caller and given back here if it fails."""
        loop = asyncio.get_running_loop()
        address = self._address
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop, self._over),
                    address.host,
                    address.port,
                    ssl=self._tls() if address.secure else None,
                    server_hostname=address.host if address.secure else None,
                )
            # Lost already, it has reported so, and would be counted for ever.
            if not connection.closed:
                self._open.add(connection)
        except (OSError, UnicodeError) as error:
            raise _unreachable(error, self._connect_s) from error
        finally:
            self._opening -= 1
            self._serve()
        if self._closed:
            connection.abort()
        return connection

    async def _queue(self) -> Connection | None:
        """Wait in line: a connection, or None with the room to open one."""
        if len(self._waiters) >= WAITING:
            raise down("too many requests wait for this server", effect_possible=False)
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._give_back(waiter)
            else:
                with suppress(ValueError):
                    self._waiters.remove(waiter)
            raise

    def _give_back(self, waiter: "asyncio.Future[Connection | None]") -> None:
        """What a waiter got and will not use."""
        if waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._opening -= 1
            self._serve()
        else:
            self._over(connection)

    def _over(self, connection: Connection) -> None:
        """An exchange ended, or a connection was lost."""
        if connection.closed or self._closed:
            self._open.discard(connection)
            if connection in self._idle:
                self._idle.remove(connection)
            self._serve()
            return
        waiter = self._next()
        if waiter is not None:
            waiter.set_result(connection)
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE_S, self._sweep)

    def _serve(self) -> None:
        """Hand free room to those who wait."""
        while self._closed or len(self._open) + self._opening < self._limit:
            waiter = self._next()
            if waiter is None:
                return
            if self._closed:
                waiter.set_exception(down("the connection is closed", effect_possible=False))
            else:
                self._opening += 1
                waiter.set_result(None)

    def _next(self) -> "asyncio.Future[Connection | None] | None":
        """The first in line; one that is cancelled leaves the line itself only when its task runs again."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _sweep(self) -> None:
        """Close what was idle for too long; the oldest stand first."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        latest = loop.time() - IDLE_S
        while self._idle and self._idle[0].idle_since <= latest:
            self._idle.pop(0).end()
        if self._idle:
            self._sweeper = loop.call_at(self._idle[0].idle_since + IDLE_S, self._sweep)


def _unreachable(error: Exception, connect_s: float) -> UpstreamError:
    match error:
        case ssl.SSLError() | ssl.CertificateError():
            return down(
                f"no secure connection: {quoted(str(error))}",
                effect_possible=False,
                remedy="check the server's certificate and address",
            )
        case TimeoutError():
            text = f"cannot reach the server: no connection within {connect_s:g} s"
        case _:
            text = f"cannot reach the server: {quoted(str(error))}"
    return down(text, effect_possible=False, remedy="check that it runs and its address")
