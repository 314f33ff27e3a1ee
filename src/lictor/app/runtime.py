"""The live side of a house: a gateway in front of servers, from the recovery after the last crash to the last record.

Refuses to know who gets in over HTTP and what is served there.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lictor.app.calls import OpenFiles, calls_of, gateway_of, revoke_of
from lictor.app.cosigning import cosigning_of
from lictor.app.house import House
from lictor.app.lending import Lending, Parts
from lictor.app.lines import Reach
from lictor.app.notifying import notifier_of
from lictor.app.observing import Observing
from lictor.app.previewing import Looking, previews_of
from lictor.app.servers import ConnectServer, HttpPool, connect_server
from lictor.app.shadow import Shadowed
from lictor.app.sinking import Sinks
from lictor.app.upkeep import Reload, Retain, Sweep, to_the_end
from lictor.attributes.files import HostFiles
from lictor.config import ServerSettings
from lictor.model.approval import Hold
from lictor.model.errors import StoreError
from lictor.model.ids import ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Upstream
from lictor.service.containment.recover import recover
from lictor.stores.instances import Instance, dead_instances

if TYPE_CHECKING:
    from lictor.app.entrance import Entrance

DRAIN_WITHIN_S = 10.0


class Runtime:
    """One gateway process on a house.

    Args:
        prefixed: whether clients see the server's name before each of its tools.
        connect: how a server is started or reached.
        files: the file system that servers on this host see; None: this host's.
    """

    def __init__(
        self,
        house: House,
        servers: Mapping[ServerName, ServerSettings],
        *,
        prefixed: bool,
        connect: ConnectServer = connect_server,
        files: OpenFiles | None = None,
    ) -> None:
        self.house, self.servers = house, servers
        self.instance = Instance.register(house.state, house.ids)
        self.files = HostFiles() if files is None else files
        self.looking = Looking(house, lambda: self.calls.offers)
        self.previews = previews_of(
            house, self.files, self.looking, lambda: self.lending.safe, lambda: self.lending.managed
        )
        house.override.previewer = self.previews
        self.observing = Observing(house, servers)
        watch = self.observing.watch
        self.calls = calls_of(
            house, self.instance.id, self.files, previewer=self.previews, on_held=self._held, watch=watch
        )
        self.guard = self.calls.guard
        self.pool = HttpPool()
        self.lending = self._lending(self._reach(connect))
        self.notifier = notifier_of(house, self.lending.safe)
        self.sinks = Sinks(house, lambda: self.lending.safe)
        self.connections = Connections(
            {name: self.lending.server(name, server) for name, server in servers.items()},
            limit=house.settings.connections,
        )
        self.lending.on_ended = self._let_go
        self.looking.connections = self.connections
        naming = Naming(list(servers), prefixed=prefixed)
        self.gateway = gateway_of(house, self.calls, self.lending, self.connections, naming, watch=watch)
        self.gateway.guard = self._may_act
        self.revoke = revoke_of(house, self.guard, self.gateway, self.lending)
        self.reload = Reload(house=house)
        self.sweep = Sweep(house=house, connections=self.connections, guard=self.guard)
        self.retain = Retain(house=house, guard=self.guard, days=house.settings.retention.payloads_days)
        self.shadowed = Shadowed(house=house, guard=self.guard)
        self.cosigning = cosigning_of(house)
        self._jobs: set[asyncio.Future[None]] = set()
        self.ending = False
        """Whether somebody has asked the process to end: what never ends by itself ends now."""

    @functools.cached_property
    def entrance(self) -> "Entrance":
        """Who gets in over HTTP. Made when HTTP is served, not before."""
        from lictor.app.entrance import Entrance  # noqa: PLC0415

        return Entrance(self.house, check=self.guard.check, keep_subject=self.lending.keep_subject)

    @property
    def ready(self) -> bool:
        """Whether decisions can be recorded, the newest state is known and the clock is believed."""
        return self.calls.authorize.recording and self.guard.sound and self.sinks.keep_up

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Runtime"]:
        """Recover from the last crash, then keep policy fresh and dead tasks' connections closed until the block ends."""
        house = self.house
        marked = await recover(house.store, house.clock, lambda seen: dead_instances(house.state, seen))
        for execution in marked:
            house.say(f"outcome unknown since the last crash: {execution.execution} (see: lictor log show --open)")
        self.guard.arm()
        await self._look_first()
        await self.lending.start(self.servers)
        loops = [self.reload.run(), self.sweep.run(), self.revoke.run(), self.lending.run(), self.notifier.run()]
        loops += [self.retain.run(), self.shadowed.run(), self.cosigning.run()]
        jobs = [asyncio.create_task(loop) for loop in loops]
        self.sinks.start()
        try:
            yield self
        finally:
            for job in jobs:
                job.cancel()
            await to_the_end(self._close(jobs))

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _lending(self, reach: Reach) -> Lending:
        house = self.house
        parts = Parts(
            store=house.store,
            policy=house.policy,
            clock=house.clock,
            ids=house.ids,
            authorize=self.calls.authorize,
            outcomes=self.calls.outcomes,
            instance=self.instance.id,
            state=house.state,
            settings=house.settings.broker,
            say=house.say,
        )
        return Lending(parts, reach)

    def _reach(self, connect: ConnectServer) -> Reach:
        async def reach(name: ServerName, server: ServerSettings, **line: Any) -> Upstream:
            return await connect(name, server, self.house.settings.limits, self.pool, **line)

        return reach

    def _may_act(self) -> None:
        """Nothing begins without the newest state, or while a sink that must keep up does not."""
        self.guard.check()
        self.sinks.check()

    def _held(self, hold: Hold) -> None:
        """Somebody has to answer: tell those who can."""
        self.notifier.held(hold)

    def _let_go(self, server: ServerName, task: TaskId) -> None:
        """A connection whose credential has ended is ended with it."""
        job = asyncio.ensure_future(self.connections.end_unusable(server, task))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    async def _look_first(self) -> None:
        """Nothing is served before the newest state is known."""
        try:
            async with asyncio.timeout(DRAIN_WITHIN_S):
                await self.revoke.look()
        except TimeoutError:
            raise StoreError(Reason.STATE_UNCONFIRMED, "the record store does not answer") from None

    async def _close(self, jobs: Sequence["asyncio.Task[None]"]) -> None:
        await asyncio.gather(*jobs, return_exceptions=True)
        await self.connections.close()
        await self.lending.close()
        self.previews.close()
        self.files.close()
        if "entrance" in vars(self):
            await self.entrance.close()
        await self.pool.close()
        with contextlib.suppress(TimeoutError):  # a store that hangs must not keep us: recovery names what is left
            left = await asyncio.wait_for(self.calls.outcomes.drain(), DRAIN_WITHIN_S)
            if left:
                self.house.say(f"{len(left)} outcomes could not be recorded; the next start marks them indeterminate")
        await self.observing.close()
        await self.cosigning.finish()
        await self.sinks.close(answers=self.guard.fresh)
        self.instance.close()
        self.sweep.keep()
        self.house.close()
