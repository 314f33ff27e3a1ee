"""Live connections to servers: one for each (server, task) unless a server is configured as shared.

Started on first use, restarted on the next call after a death, ended with the task. Two tasks never share a
stateful server by accident (R18).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any

from lictor.model.action import ActionRequest
from lictor.model.errors import UpstreamError
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Task
from lictor.pep.mcp.seam import Ask, Notify, Upstream

Connect = Callable[[dict[str, Any], Ask, Notify], Awaitable[Upstream]]
"""(client capabilities to declare to a legacy server, ask, notify) -> a negotiated connection."""

Key = tuple[ServerName, TaskId | None]
"""The task is None for a shared connection."""


_Singles = dict[Key, "tuple[Upstream, Task | None]"]
_REQUEST: ContextVar[_Singles | None] = ContextVar("lictor_request_connections", default=None)
"""The connections made for the request under way alone; what it starts in tasks of its own shares them."""


def _never() -> bool:
    return False


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
    for_task: Callable[[TaskId, bool, ActionRequest | None], Connect] | None = None
    """(task, legacy, call) -> how this task is connected, with what it is lent; instead of the two above. `call`: the one call
    that the connection is made for, where it is."""
    single: Callable[[], bool] = _never
    """Whether each request gets a connection of its own, because a credential is lent for one request only."""
    by_call: Callable[[], bool] = _never
    """Whether it is connected for calls alone, because a call says what a credential is narrowed to."""


@dataclass(slots=True)
class _Slot:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    upstream: Upstream | None = None
    owner: Task | None = None


class _During:
    """See `Connections.during`."""

    __slots__ = ("_all", "_own", "_token")

    def __init__(self, all_of_them: dict[int, _Singles]) -> None:
        self._all = all_of_them
        self._own: _Singles = {}
        self._token: Token[_Singles | None] | None = None

    async def __aenter__(self) -> None:
        # By identity: two requests without any are equal, and each has to find its own.
        self._all[id(self._own)] = self._own
        self._token = _REQUEST.set(self._own)

    async def __aexit__(self, *_: object) -> None:
        if self._token is not None:
            _REQUEST.reset(self._token)
        del self._all[id(self._own)]
        if self._own:
            await asyncio.gather(*(one.close() for one, _ in self._own.values()), return_exceptions=True)


class Connections:
    """All connections of one gateway process."""

    def __init__(self, servers: Mapping[ServerName, Server], *, limit: int) -> None:
        self._servers = servers
        self._slots: dict[Key, _Slot] = {}
        self._singles: dict[int, _Singles] = {}
        self._limit = limit
        self._closed = False

    @property
    def servers(self) -> tuple[ServerName, ...]:
        """Configured servers, in order."""
        return tuple(self._servers)

    def shared(self, server: ServerName) -> bool:
        """Whether all tasks use one connection to it."""
        return self._servers[server].shared

    def single(self, server: ServerName) -> bool:
        """Whether each request gets a connection of its own."""
        return self._servers[server].single()

    def by_call(self, server: ServerName) -> bool:
        """Whether it is connected for calls alone: nothing but its pinned definitions can be listed."""
        return self._servers[server].by_call()

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
        owner: Task | None = None,
        call: ActionRequest | None = None,
    ) -> Upstream:
        """The connection for a task, started if need be, in the era of the client that came first (`legacy`).

        Args:
            owner: the task itself, so that its connection ends with it.
            call: what it is made for, if the server gets a connection for each request.

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
        if config.single():
            return await self._single(
                _how(config, task, legacy=legacy, call=call), key, owner, capabilities, ask, notify
            )
        if slot is None:
            if len(self._slots) >= self._limit:
                raise UpstreamError(Reason.OVERLOADED, "too many server connections are open", effect_possible=False)
            slot = self._slots[key] = _Slot(owner=None if config.shared else owner)
        return await self._start(_how(config, task, legacy=legacy), key, slot, capabilities, ask, notify)

    async def _start(
        self, connect: Connect, key: Key, slot: _Slot, capabilities: dict[str, Any], ask: Ask, notify: Notify
    ) -> Upstream:
        async with slot.lock:
            if slot.upstream is not None and slot.upstream.alive:
                return slot.upstream
            if slot.upstream is not None:
                retire: Callable[[], Awaitable[None]] = getattr(slot.upstream, "retire", slot.upstream.close)
                await retire()
                slot.upstream = None
            upstream = await connect(capabilities, ask, notify)
            if self._slots.get(key) is not slot:
                # The task ended, or we did, while it was starting: nobody else would ever end it.
                await upstream.close()
                raise UpstreamError(Reason.UPSTREAM_DOWN, "the connection is no longer wanted", effect_possible=False)
            slot.upstream = upstream
            return upstream

    def during(self) -> "_During":
        """One request of a client: what was connected for it alone is closed behind it."""
        return _During(self._singles)

    async def _single(
        self, connect: Connect, key: Key, owner: Task | None, capabilities: dict[str, Any], ask: Ask, notify: Notify
    ) -> Upstream:
        singles = _REQUEST.get()
        if singles is None:
            # A stream that lasts is no single use: whatever it would be lent would have to last, too.
            raise UpstreamError(Reason.UPSTREAM_DOWN, "this server is connected for one request", effect_possible=False)
        if key in singles and singles[key][0].alive:
            return singles[key][0]
        if len(self._slots) + sum(map(len, self._singles.values())) >= self._limit:
            raise UpstreamError(Reason.OVERLOADED, "too many server connections are open", effect_possible=False)
        upstream = await connect(capabilities, ask, notify)
        singles[key] = upstream, owner
        if self._closed:
            raise UpstreamError(Reason.UPSTREAM_DOWN, "the gateway is shutting down", effect_possible=False)
        return upstream

    async def end_task(self, task: TaskId) -> None:
        """Close what belonged to a task."""
        await self._drop([key for key in self._slots if key[1] == task])

    def of_tasks(self) -> list[tuple[ServerName, Task]]:
        """Connections that belong to a task."""
        owners = [(server, slot.owner) for (server, _), slot in self._slots.items()]
        owners += [(server, owner) for singles in self._singles.values() for (server, _), (_, owner) in singles.items()]
        return [(server, owner) for server, owner in owners if owner is not None]

    def shared_servers(self) -> list[ServerName]:
        """Servers to which one connection for all tasks stands."""
        return [server for server, task in self._slots if task is None]

    async def drop(self, server: ServerName, task: TaskId | None, *, after_s: float) -> None:
        """End one connection for good: nobody is given it from now on, and after a moment it is ended, whatever it does."""
        slot = self._slots.pop((server, task), None)
        found = [singles[server, task][0] for singles in self._singles.values() if (server, task) in singles]
        if slot is not None and slot.upstream is not None:
            found.append(slot.upstream)
        if found:
            await asyncio.sleep(after_s)
            await asyncio.gather(*(upstream.abort() for upstream in found), return_exceptions=True)

    async def end_unusable(self, server: ServerName, task: TaskId) -> None:
        """End the connection of a task if it is of no use any more; one that has taken its place, or is being made, stays."""
        slot = self._slots.get((server, task))
        if slot is None or slot.lock.locked():
            return  # it is being replaced at this moment, and ended by that
        if slot.upstream is not None and not slot.upstream.alive:
            await self.drop(server, task, after_s=0.0)

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


def _how(config: Server, task: TaskId, *, legacy: bool, call: ActionRequest | None = None) -> Connect:
    if config.for_task is not None:
        return config.for_task(task, legacy, call)
    return (config.connect_legacy or config.connect) if legacy else config.connect
