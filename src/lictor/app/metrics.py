"""The page of figures of a process that serves HTTP: its socket, and what it looks up when somebody reads it.

The log is read from beside it, by a thread of its own: a disk that hangs keeps no call waiting, and no reader of the page either.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

from lictor import __version__
from lictor.app.runtime import Runtime
from lictor.model.containment import Restriction
from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Counts, Follower
from lictor.stores.follow import SqliteFollower
from lictor.stores.keys import LOG_FILE
from lictor.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from lictor.telemetry.figures import Figures
    from lictor.telemetry.page import Page

FOLLOW_EVERY_S: Final = 1.0
PAGE: Final = 512
"""Records counted at a time."""
BREATH: Final = 64
"""Records between which others get their turn: some tenths of a millisecond."""
READ_S: Final = 2.0
"""Longest time that a reader waits for the log; then the page says what is known."""

Now = dict[tuple[str, tuple[str, ...]], float]


class Look:
    """Counts the log as it grows, and says how things stand."""

    def __init__(self, runtime: Runtime, figures: "Figures", follower: Follower) -> None:
        """Nothing is counted before `start`."""
        from lictor.telemetry.tally import Tally  # noqa: PLC0415

        self._runtime = runtime
        self._figures = figures
        self._follower = follower
        self._tally = Tally(figures, runtime.observing.catalogue, frozenset(runtime.servers))
        self._next = 0
        self._known: Counts | None = None
        self._lock = asyncio.Lock()
        self._revision = ""
        self._since_ms = 0

    async def start(self) -> None:
        """Counting begins with what is recorded from now on.

        Raises:
            StoreError: the log cannot be read.
        """
        try:
            async with asyncio.timeout(READ_S):
                self._known = await self._counts()
        except TimeoutError:
            raise StoreError(Reason.STATE_UNCONFIRMED, "the record store does not answer") from None
        self._next = self._known.entries

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.follow()
            await asyncio.sleep(FOLLOW_EVERY_S)

    async def follow(self) -> None:
        """Count what was recorded meanwhile, as far as the log can be read; the rest is counted later."""
        self._policy()
        with contextlib.suppress(StoreError, TimeoutError):  # what is missing is seen as lag
            async with asyncio.timeout(READ_S), self._lock:
                while await self._page():
                    pass

    async def now(self) -> Now:
        """How things stand."""
        await self.follow()
        with contextlib.suppress(StoreError, TimeoutError):  # what was known last is said, and its age
            async with asyncio.timeout(READ_S):
                self._known = await self._counts()
        found = self._of_process()
        if self._known is not None:
            found |= self._of_log(self._known)
        return found

    # -- inside ------------------------------------------------------------------------------------------------------------

    async def _counts(self) -> Counts:
        house = self._runtime.house
        return await self._follower.counts(house.clock.now_ms(), int(house.settings.limits.task_ttl_s * 1_000))

    async def _page(self) -> bool:
        """Some records; whether there may be more."""
        page = await self._follower.since(self._next, PAGE)
        for place, data in enumerate(page, 1):
            self._tally.entry(data)
            self._next += 1
            if place % BREATH == 0:
                await asyncio.sleep(0)
        return len(page) == PAGE

    def _policy(self) -> None:
        """When a revision was seen first is when it came into force here, to a second."""
        policy = self._runtime.house.policy
        revision = policy.current().revision if policy.ready else ""
        if revision != self._revision:
            self._revision, self._since_ms = revision, self._runtime.house.clock.now_ms()

    def _of_log(self, counts: Counts) -> Now:
        found: Now = {
            ("lictor_log_records", ()): counts.entries,
            ("lictor_tasks_open", ()): counts.tasks_open,
            ("lictor_holds_open", ()): counts.holds_open,
            ("lictor_executions_open", ()): counts.executions_open,
            ("lictor_executions_indeterminate", ()): counts.executions_indeterminate,
            ("lictor_leases_live", ()): counts.leases_live,
            ("lictor_leases_kept", ()): counts.leases_kept,
            ("lictor_metrics_lag_records", ()): max(0, counts.entries - self._next),
        }
        for restriction in Restriction:
            count = counts.containments.get(restriction.value, 0)
            found["lictor_containments_in_force", (restriction.value,)] = count
        for name, pump in self._runtime.sinks.pumps.items():
            found["lictor_sink_lag_records", (name,)] = pump.lag(counts.entries)
            found["lictor_sink_failing", (name,)] = bool(pump.failing)
        for line in self._runtime.cosigning.lines:
            seen = line.seen.checkpoint.size if line.seen is not None else 0
            found["lictor_witness_lag_records", (line.name,)] = max(0, counts.entries - seen)
            found["lictor_witness_contradicted", (line.name,)] = line.contradicted
        return found

    def _of_process(self) -> Now:
        runtime = self._runtime
        house, guard, connections = runtime.house, runtime.guard, runtime.connections
        found: Now = {
            ("lictor_ready", ()): runtime.ready,
            ("lictor_guard_fault", ()): not guard.sound,
            ("lictor_connections", ()): len(list(connections.of_tasks())) + len(list(connections.shared_servers())),
            ("lictor_policy_waiting", ()): house.waits,
            ("lictor_build_info", (__version__,)): 1,
        }
        if guard.age_s != float("inf"):
            found["lictor_state_age_seconds", ()] = max(0.0, guard.age_s)
        if isinstance(house.store, SqliteStore):
            found["lictor_record_queue", ()] = house.store.waiting
        if self._revision:
            found["lictor_policy_info", (self._revision,)] = 1
            found["lictor_policy_loaded_timestamp_seconds", ()] = self._since_ms / 1_000
        if runtime.observing.export is not None:
            for result, count in runtime.observing.export.results.items():
                found["lictor_spans", (result,)] = count
        return found


@contextlib.asynccontextmanager
async def metrics_served(runtime: Runtime) -> AsyncIterator[str]:
    """Serve the page beside a running gateway until the block ends; its URL. Empty: nobody asked for one.

    Raises:
        OperatorError: `config_refused`: the address is taken, or the environment has no token.
        StoreError: the log cannot be read.
    """
    settings, figures = runtime.house.settings.metrics, runtime.observing.figures
    if figures is None:
        yield ""
        return
    token = _token(settings.token_env, os.environ)
    with _listening(*settings.address) as listening:
        follower = SqliteFollower(runtime.house.state / LOG_FILE)
        look = Look(runtime, figures, follower)
        try:
            await look.start()
            page = _page(runtime, look, figures, token)
            async with _served(page, listening), _beside(look):
                runtime.house.say(f"metrics       http://{_shown(listening)}/metrics")
                yield f"http://{_shown(listening)}/metrics"
        finally:
            follower.close()


def _page(runtime: Runtime, look: Look, figures: "Figures", token: str) -> "Page":
    from lictor.telemetry.page import Page  # noqa: PLC0415

    settings = runtime.house.settings.metrics
    hosts = frozenset({"localhost", "127.0.0.1", "[::1]", settings.address[0]}) if settings.loopback else frozenset()
    return Page(figures, look.now, token=token, hosts=hosts)


def _token(name: str, environment: Mapping[str, str]) -> str:
    if name and not environment.get(name):
        raise OperatorError(Reason.CONFIG_REFUSED, f"[metrics]: the environment has no {name[:80]!r}")
    return environment[name] if name else ""


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"[metrics] listen: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}"
        ) from error


def _shown(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextlib.asynccontextmanager
async def _served(page: "Page", listening: socket.socket) -> AsyncIterator[None]:
    import uvicorn  # noqa: PLC0415

    class Quiet(uvicorn.Server):
        """Signals are the gateway's."""

        @contextlib.contextmanager
        def capture_signals(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            yield

    config = uvicorn.Config(
        page,
        log_level="critical",
        lifespan="off",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=16,
        timeout_graceful_shutdown=1,
    )
    server = Quiet(config)
    job = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(job, return_exceptions=True)


@contextlib.asynccontextmanager
async def _beside(look: Look) -> AsyncIterator[None]:
    job = asyncio.create_task(look.run())
    try:
        yield
    finally:
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
