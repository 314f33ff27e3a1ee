"""Live connections to servers: one for each (server, task) unless a server is configured as shared.

Started on first use, restarted on the next call after a death, ended with the task. Two tasks never share a
stateful server by accident (R18).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lictor.model.errors import UpstreamError
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.seam import Ask, Notify, Upstream

Connect = Callable[[dict[str, Any], Ask, Notify], Awaitable[Upstream]]
"""(client capabilities to declare to a legacy server, ask, notify) -> a negotiated connection."""

Key = tuple[ServerName, TaskId | None]
"""The task is None for a shared connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How one configured server is reached.

    Attributes:
        connect: in the newest protocol both sides speak.
        connect_legacy: handshake era first, for a legacy client: nothing has to be translated then, and what such a server asks
            of its client reaches it. None: as `connect`.
    """

    name: ServerName
    connect: Connect
    shared: bool = False
    connect_legacy: Connect | None = None


@dataclass(slots=True)
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    upstream: Upstream | None = None


class Connections:
    """All connections of one gateway process."""

    def __init__(self, servers: Mapping[ServerName, Server], *, limit: int) -> None:
        self._servers = servers
        self._slots: dict[Key, _Slot] = {}
        self._limit = limit
        self._closed = False

    @property
    def servers(self) -> tuple[ServerName, ...]:
        """Configured servers, in order."""
        return tuple(self._servers)

    def shared(self, server: ServerName) -> bool:
        """Whether all tasks use one connection to it."""
        return self._servers[server].shared

    def live(self, server: ServerName, task: TaskId) -> Upstream | None:
        """The connection a task would be given now, if it stands."""
        slot = self._slots.get((server, None if self._servers[server].shared else task))
        return slot.upstream if slot is not None and slot.upstream is not None and slot.upstream.alive else None

    async def get(
        self,
        server: ServerName,
        task: TaskId,
        capabilities: dict[str, Any],
        ask: Ask,
        notify: Notify,
        *,
        legacy: bool = False,
    ) -> Upstream:
        """The connection for a task, started if need be, in the era of the client that came first (`legacy`).

        Raises:
            UpstreamError: it cannot be started (`effect_possible=False`), or there are too many connections.
        """
        live = self.live(server, task)
        if live is not None:
            return live
        config = self._servers[server]
        key: Key = (server, None if config.shared else task)
        slot = self._slots.get(key)
        if self._closed:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "the gateway is shutting down", effect_possible=False)
        if slot is None:
            if len(self._slots) >= self._limit:
                raise UpstreamError(Reason.OVERLOADED, "too many server connections are open", effect_possible=False)
            slot = self._slots[key] = _Slot()
        connect = (config.connect_legacy or config.connect) if legacy else config.connect
        return await self._start(connect, key, slot, capabilities, ask, notify)

    async def _start(
        self, connect: Connect, key: Key, slot: _Slot, capabilities: dict[str, Any], ask: Ask, notify: Notify
    ) -> Upstream:
        async with slot.lock:
            if slot.upstream is not None and slot.upstream.alive:
                return slot.upstream
            if slot.upstream is not None:
                await slot.upstream.close()
                slot.upstream = None
            upstream = await connect(capabilities, ask, notify)
            if self._slots.get(key) is not slot:
                # The task ended, or we did, while it was starting: nobody else would ever end it.
                await upstream.close()
                raise UpstreamError(Reason.UPSTREAM_DOWN, "the connection is no longer wanted", effect_possible=False)
            slot.upstream = upstream
            return upstream

    async def end_task(self, task: TaskId) -> None:
        """Close what belonged to a task."""
        await self._drop([key for key in self._slots if key[1] == task])

    def tasks(self) -> frozenset[TaskId]:
        """Tasks that hold connections."""
        return frozenset(task for _, task in self._slots if task is not None)

    async def close(self) -> None:
        """Close everything; nothing starts any more."""
        self._closed = True
        await self._drop(list(self._slots))

    async def _drop(self, keys: list[Key]) -> None:
        slots = [slot for key in keys if (slot := self._slots.pop(key, None)) is not None]
        upstreams = [slot.upstream for slot in slots if slot.upstream is not None]
        await asyncio.gather(*(upstream.close() for upstream in upstreams), return_exceptions=True)
