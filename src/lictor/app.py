"""Wires everything; the only module that knows all the others.

`open_house` gives the parts an operator's command needs (store, policy, use cases) without any server running; `Runtime` adds the
live side (connections, gateway, hot reload). Start-up refuses to go on when the engine misbehaves, the log is damaged, another
bundle does not load, or a crash cannot be recovered from.
"""

import asyncio
import contextlib
import functools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lictor.attributes.files import HostFiles
from lictor.config import ServerSettings, Settings, read_settings
from lictor.lending import Injected, Lending, Parts
from lictor.model.errors import LictorError, OperatorError, StoreError
from lictor.model.ids import HoldId, InstanceId, ServerName, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import BundleActivated
from lictor.model.secret import Secret
from lictor.model.task import TaskStatus
from lictor.pdp.engine import selftest
from lictor.pep.mcp.connections import Connections
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.holding import Holding
from lictor.pep.mcp.naming import Naming
from lictor.pep.mcp.seam import Ask, Notify, Reply, Upstream
from lictor.pep.mcp.state import StateSeal
from lictor.policy.bundle import Bundle
from lictor.policy.compile import compile_bundle, compile_files, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, Probe, RecordStore
from lictor.service.alarm import Alarm
from lictor.service.applications import Applications
from lictor.service.approve import Answer
from lictor.service.authorize import Authorize
from lictor.service.contain import Contain
from lictor.service.contract import Contracts
from lictor.service.delegate import Delegate
from lictor.service.execute import Execute
from lictor.service.gate import Gate
from lictor.service.guard import Guard
from lictor.service.offers import Offers
from lictor.service.opening import Open
from lictor.service.outcomes import Outcomes
from lictor.service.policy import PolicyInForce
from lictor.service.recover import recover
from lictor.service.replay import Replay
from lictor.service.revoke import Revoke
from lictor.service.second_person import SecondPerson
from lictor.service.signals import Signals
from lictor.service.tasks import Tasks
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.clock import SystemClock, read_mark, write_mark
from lictor.stores.ids import RandomIds
from lictor.stores.instances import Instance, dead_instances
from lictor.stores.keys import Keys
from lictor.stores.probe import DirectProbe, SqliteProbe
from lictor.stores.sqlite import SqliteStore

RELOAD_EVERY_S = 1.0
RETRY_EVERY_S = 10.0
"""A bundle that could not be put in force is tried again so often, also when no file changes: the fault may have been ours."""
SWEEP_EVERY_S = 2.0
DRAIN_WITHIN_S = 10.0
CALM_S = 0.5
"""The newest state was confirmed so lately: some looks of `Revoke`, so the store answers."""
KEEP_TIME_MS = 30_000
"""The latest time is kept so often: a disk that sleeps is woken no oftener."""


@dataclass(slots=True, kw_only=True)
class House:
    """Store, policy and use cases of one bundle folder. `bundle` is the one in force here, None until one is."""

    folder: BundleFolder
    settings: Settings
    state: Path
    keys: Keys
    store: RecordStore
    policy: PolicyInForce
    clock: SystemClock
    ids: RandomIds
    tasks: Tasks
    open: Open
    applications: Applications
    delegate: Delegate
    contain: Contain
    contracts: Contracts
    signals: Signals
    answer: Answer
    second_person: SecondPerson
    bundle: Bundle | None = None
    waits: bool = False
    """Whether what is in the folder permits more than what is in force, and waits for a second person."""

    def replay(self) -> Replay:
        """Replays this store's decisions with the bundles kept beside it."""
        return Replay(self.store, compile_files)

    async def activate(self, bundle: Bundle) -> bool:
        """Put a bundle in force: compiled first, recorded second, swapped third. False when it is in force already.

        Raises:
            OperatorError: it does not compile, or `bundle_unapproved`; the previous one stays.
            StoreError: the change cannot be recorded; the previous one stays.
        """
        if self.policy.ready and self.policy.current().revision == bundle.revision:
            return False
        pdp = compile_bundle(bundle)
        previous = self.store.revision()
        self.waits = self.settings.bundle.second_person
        if self.waits:
            await self.second_person.check(previous, bundle)
            self.waits = False
        if previous != bundle.revision:
            self.store.keep_bundle(bundle.revision, bundle.files)
            record = BundleActivated(revision=bundle.revision, previous=previous, files=len(bundle.files))
            await self.store.commit(Batch(at_ms=self.clock.now_ms(), records=(record,)))
        self.policy.swap(pdp)
        self.bundle = bundle
        return True

    def stay(self) -> None:
        """Put the bundle that was in force last in force again, from the files kept beside the log.

        Raises:
            OperatorError: there is none, or it does not load any more.
        """
        revision = self.store.revision()
        files = self.store.bundle(revision) if revision is not None else None
        if files is None:
            raise OperatorError(Reason.NO_POLICY, "no bundle that was in force is kept")
        bundle = load_bundle(files, parse_guarded(files))
        self.policy.swap(compile_bundle(bundle))
        self.bundle = bundle

    def close(self) -> None:
        """Release the store."""
        self.store.close()


def bundle_path(given: str | None) -> Path:
    """The bundle folder: as given, or `$LICTOR_BUNDLE`, or `./lictor`, or `~/.config/lictor`.

    Raises:
        OperatorError: none of them exists.
    """
    home = Path.home() / ".config" / "lictor"
    named = given or os.environ.get("LICTOR_BUNDLE")
    candidates = [Path(named)] if named else [Path("lictor"), home]
    for path in candidates:
        if path.is_dir() and (path / "agents.toml").is_file():
            return path.resolve()
    raise OperatorError(
        Reason.CONFIG_REFUSED,
        f"no bundle in {' or '.join(repr(str(path)) for path in candidates)}",
        remedy="make one with: lictor init",
    )


async def open_house(path: Path, *, load: bool = True) -> House:
    """Open a bundle folder's house.

    Args:
        load: whether to load and activate the bundle; False for commands that must work on a broken one.

    Raises:
        OperatorError: settings or bundle are refused, or the engine fails its self-test.
        StoreError: the log is damaged or cannot be opened.
    """
    settings = read_settings(path)
    state = path / settings.state
    keys = Keys.open(state)
    store = SqliteStore(
        state / "log.db",
        signer=keys.signer,
        origin=settings.log_name,
        anchor=keys.read_anchor(),
        queue_limit=settings.limits.record_queue,
    )
    policy, clock, ids = PolicyInForce(), SystemClock(), RandomIds()
    parts: dict[str, Any] = {"store": store, "policy": policy, "clock": clock, "ids": ids, "limits": settings.limits}
    house = House(
        folder=BundleFolder(path),
        settings=settings,
        state=state,
        keys=keys,
        store=store,
        policy=policy,
        clock=clock,
        ids=ids,
        **use_cases(parts),
    )
    if load:
        try:
            check_engine()
            await _first(house)
        except LictorError:
            house.close()
            raise
    return house


async def _first(house: House) -> None:
    try:
        await house.activate(house.folder.load())
    except OperatorError as error:
        if error.reason is not Reason.BUNDLE_UNAPPROVED:
            raise
        house.stay()
        warn(f"the last good bundle stays in force: {error}")


def use_cases(parts: dict[str, Any]) -> dict[str, Any]:
    """The use cases a house offers, by name, from store, policy, clock, ids and limits."""
    recording = {name: parts[name] for name in ("store", "clock")}
    naming = {**recording, "ids": parts["ids"]}
    tasks = Tasks(**parts)
    return {
        "tasks": tasks,
        "open": Open(**parts, tasks=tasks),
        "applications": Applications(**naming, policy=parts["policy"]),
        "answer": Answer(**parts),
        "delegate": Delegate(**parts),
        "contain": Contain(**naming),
        "contracts": Contracts(**recording),
        "signals": Signals(**naming, policy=parts["policy"]),
        "second_person": SecondPerson(**recording),
    }


def check_engine() -> None:
    """Refuse to decide with an engine that lets through what it must not.

    Raises:
        OperatorError: the self-test failed; it names the checks.
    """
    failures = selftest.run()
    if failures:
        raise OperatorError(
            Reason.POLICY_ERROR,
            f"the policy engine failed its self-test: {'; '.join(failures)[:300]}",
            remedy="reinstall cedarpy; see: lictor doctor",
        )


class Runtime:
    """The live side: a gateway in front of servers, with hot reload, sweep and recovery."""

    def __init__(self, house: House, servers: dict[ServerName, ServerSettings], *, prefixed: bool) -> None:
        self.house = house
        self._kept_ms = 0
        self._jobs: set[asyncio.Future[None]] = set()
        self.front: Any = None
        self.instance = Instance.register(house.state, house.ids)
        settings = house.settings
        self.pool = HttpPool()
        self.outcomes = Outcomes(store=house.store, clock=house.clock)
        self.files = HostFiles()
        authorize = Authorize(
            store=house.store,
            policy=house.policy,
            clock=house.clock,
            ids=house.ids,
            limits=settings.limits,
            instance=self.instance.id,
            files=self.files,
            outcomes=self.outcomes,
        )
        self.servers = servers
        self.lending = lending_of(house, self.pool, authorize, self.outcomes, self.instance.id)
        configured = {name: self.lending.server(name, server) for name, server in servers.items()}
        self.connections = Connections(configured, limit=settings.connections)
        self.lending.on_ended = self._let_go
        self.guard = Guard(
            house.clock,
            lease_s=settings.limits.epoch_lease_s,
            skew_s=settings.limits.clock_skew_s,
            mark_ms=read_mark(house.state),
            elapsed=getattr(house.clock, "elapsed", None),  # a clock under somebody's control has no other time
        )
        self.gate = Gate(store=house.store, policy=house.policy, clock=house.clock, guard=self.guard)
        self.execute = Execute(store=house.store, clock=house.clock, outcomes=self.outcomes, gate=self.gate)
        self.offers = Offers(store=house.store, policy=house.policy, clock=house.clock)
        self.gateway = Gateway(
            connections=self.connections,
            naming=Naming(list(servers), prefixed=prefixed),
            authorize=authorize,
            execute=self.execute,
            offers=self.offers,
            holding=Holding(
                store=house.store,
                clock=house.clock,
                seal=StateSeal(house.keys.state_key),
                approval_url=self.approval_url,
                wait_s=settings.hold_wait_s,
            ),
            clock=house.clock,
            ids=house.ids,
            limits=settings.limits,
            on_defect=lambda error: warn(self.lending.leaks.text(f"defect: {type(error).__name__}: {error}")),
            guard=self.guard.check,
            ended=self.gate.ended,
            check_sent=self.lending.leaks.check_sent,
        )
        self.lending.reaper.calm = lambda: self.guard.age_s < CALM_S
        self.revoke = Revoke(
            probe=probe_of(house),
            guard=self.guard,
            stops=self.gateway.underway,
            clock=house.clock,
            agents=lambda: house.policy.current().agents,
            say=warn,
            on_stopped=[self.gateway.underway.forget, self.lending.reaper.stopped],
        )

    @functools.cached_property
    def doors(self) -> Any:
        """See `token_service`."""
        return token_service(self)

    def _let_go(self, server: ServerName, task: TaskId) -> None:
        """A connection whose credential has ended is ended with it."""
        job = asyncio.ensure_future(self.connections.end_unusable(server, task))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    @property
    def ready(self) -> bool:
        """Whether decisions can be recorded, the newest state is known and the clock is believed."""
        return self.gateway.authorize.recording and self.guard.sound

    def approval_url(self, hold: HoldId) -> str:
        """Where a person answers a hold."""
        return f"{self.house.settings.public_url}/holds/{hold}"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Runtime"]:
        """Recover from the last crash, then keep policy fresh and dead tasks' connections closed until the block ends."""
        state = self.house.state
        marked = await recover(self.house.store, self.house.clock, lambda seen: dead_instances(state, seen))
        for execution in marked:
            warn(f"outcome unknown since the last crash: {execution.execution} (see: lictor log show --open)")
        self.guard.arm()
        await self._look_first()
        await self.lending.start(self.servers)
        loops = (self._reload(), self._sweep(), self.revoke.run(), self.lending.run())
        jobs = [asyncio.create_task(loop) for loop in loops]
        try:
            yield self
        finally:
            for job in jobs:
                job.cancel()
            await to_the_end(self._close(jobs))

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
        self.files.close()
        if self.front is not None:
            await self.front.close()
        await self.pool.close()
        with contextlib.suppress(TimeoutError):  # a store that hangs must not keep us: recovery names what is left
            left = await asyncio.wait_for(self.outcomes.drain(), DRAIN_WITHIN_S)
            if left:
                warn(f"{len(left)} outcomes could not be recorded; the next start marks them indeterminate")
        self.instance.close()
        self._keep_time()
        self.house.keys.write_anchor(self.house.store.newest_checkpoint())
        self.house.close()

    async def _reload(self) -> None:
        """Load the bundle again when its files change; a broken one is reported and the last good one stays (POLE-09)."""
        loop, said = asyncio.get_running_loop(), ""
        retry_at = 0.0 if self.house.waits else math.inf
        while True:
            await asyncio.sleep(RELOAD_EVERY_S)
            try:
                if not self.house.folder.changed() and loop.time() < retry_at:
                    continue
                bundle = await asyncio.to_thread(self.house.folder.load)
                if await self.house.activate(bundle):
                    warn(f"bundle {bundle.revision[:19]} is in force")
                retry_at, said = math.inf, ""
            except Exception as error:  # noqa: BLE001 - a stricter policy must arrive, whatever went wrong before
                # The folder counts as read now, and a full disk or a slow guard says nothing about what is in it.
                retry_at = loop.time() + RETRY_EVERY_S
                text = str(error) if isinstance(error, LictorError) else f"defect: {type(error).__name__}: {error}"
                if text != said:
                    warn(f"bundle refused, the last good one stays in force: {text}")
                said = text

    async def _sweep(self) -> None:
        """Close what ended tasks held; keep the newest checkpoint outside the log. No fault ends it."""
        said = ""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            if not self.guard.fresh:
                continue  # a store that hangs would hang the event loop
            try:
                now = self.house.clock.now_ms()
                for task in self.connections.tasks():
                    if not self._alive(task, now):
                        await self.connections.end_task(task)
                self.house.keys.write_anchor(self.house.store.newest_checkpoint())
                if self.guard.mark_ms - self._kept_ms >= KEEP_TIME_MS:
                    self._keep_time()
                said = ""
            except Exception as error:  # noqa: BLE001 - the next task that ends must still lose its servers
                text = f"{type(error).__name__}: {error}"
                if text != said:
                    warn(f"the sweep failed, and goes on: {text}")
                said = text

    def _keep_time(self) -> None:
        """Keep the latest time that was, for the next start. One that cannot be kept leaves the newest record."""
        self._kept_ms = self.guard.mark_ms
        with contextlib.suppress(OSError):
            write_mark(self.house.state, self._kept_ms)

    def _alive(self, task: TaskId, now_ms: int) -> bool:
        state = self.house.store.task(task)
        return state is not None and state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms


async def to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Do something whole, though a signal cancels the caller meanwhile; the cancellation is honoured afterwards."""
    job = asyncio.ensure_future(work)
    cancelled = False
    while not job.done():
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            cancelled = True
    job.result()
    if cancelled:
        raise asyncio.CancelledError


def probe_of(house: House) -> Probe:
    """What reads the newest state: past everything that is kept in memory, where there is a file."""
    return SqliteProbe(house.state / "log.db") if isinstance(house.store, SqliteStore) else DirectProbe(house.store)


class HttpPool:
    """The one HTTP client of a process: made on first use, because a stdio server needs none."""

    def __init__(self) -> None:
        self._session: Any = None

    def session(self, limits: Limits) -> Any:
        """The shared session."""
        if self._session is None:
            from lictor.pep.mcp.upstream.client import open_session  # noqa: PLC0415

            self._session = open_session(limits)
        return self._session

    async def close(self) -> None:
        """End it."""
        if self._session is not None:
            await self._session.close()


def lending_of(house: House, pool: HttpPool, authorize: Authorize, outcomes: Outcomes, instance: InstanceId) -> Lending:
    """The credential broker of a house's gateway, and how its servers are reached."""
    limits = house.settings.limits

    async def reach(
        name: ServerName,
        server: ServerSettings,
        injected: Injected,
        legacy: bool,
        capabilities: dict[str, Any],
        ask: Ask,
        notify: Notify,
    ) -> Upstream:
        return await connect_server(
            name,
            server,
            limits,
            pool,
            capabilities=capabilities,
            ask=ask,
            notify=notify,
            legacy_first=legacy,
            injected=injected,
        )

    parts = Parts(
        store=house.store,
        policy=house.policy,
        clock=house.clock,
        ids=house.ids,
        authorize=authorize,
        outcomes=outcomes,
        instance=instance,
        state=house.state,
        settings=house.settings.broker,
        say=warn,
    )
    return Lending(parts, reach)


async def connect_server(
    name: str,
    server: ServerSettings,
    limits: Limits,
    pool: HttpPool,
    *,
    capabilities: dict[str, Any] | None = None,
    ask: Ask | None = None,
    notify: Notify | None = None,
    legacy_first: bool = False,
    injected: Injected = ({}, {}),
) -> Upstream:
    """Start or reach a server and negotiate. Imports are late: a stdio server needs no HTTP client.

    Args:
        injected: what was lent for this connection: revealed here, where it leaves, and nowhere else.

    Raises:
        UpstreamError: it cannot be started, reached or understood.
    """
    declared, asked, noticed = capabilities or {}, ask or _refuse_ask, notify or _ignore
    fields, variables = ({key: secret.reveal() for key, secret in part.items()} for part in injected)
    if server.url:
        from lictor.pep.mcp.upstream.http import HttpUpstream  # noqa: PLC0415

        return await HttpUpstream.start(
            name,
            server.url,
            headers={**_without(server.headers, fields), **fields},
            limits=limits,
            ask=asked,
            notify=noticed,
            session=pool.session(limits),
            capabilities=declared,
            legacy_first=legacy_first,
        )
    from lictor.pep.mcp.upstream.stdio import StdioUpstream  # noqa: PLC0415

    return await StdioUpstream.start(
        name,
        list(server.command),
        env={**environment(server), **variables},
        cwd=server.cwd or None,
        limits=limits,
        ask=asked,
        notify=noticed,
        capabilities=declared,
        legacy_first=legacy_first,
    )


def _without(headers: Mapping[str, str], taken: Mapping[str, str]) -> dict[str, str]:
    """Configured fields but those that a credential goes into: a field is sent once."""
    lower = {name.lower() for name in taken}
    return {name: value for name, value in headers.items() if name.lower() not in lower}


async def _refuse_ask(method: str, _: dict[str, Any]) -> Reply:
    return Reply(error={"code": -32601, "message": f"{method[:80]!r} is not available"})


async def _ignore(_method: str, _params: dict[str, Any]) -> None:
    """Nobody listens while a catalogue is drafted."""


def http_app(runtime: Runtime) -> Any:
    """One ASGI application: the MCP endpoint at `/mcp`, the control plane below `/v1`, the console everywhere else."""
    from lictor.api.web import serves  # noqa: PLC0415
    from lictor.console.web import Console, console_app  # noqa: PLC0415
    from lictor.pep.mcp.downstream.http import mcp_app  # noqa: PLC0415

    house, settings = runtime.house, runtime.house.settings
    mcp = mcp_app(
        gateway=runtime.gateway,
        tasks=house.tasks,
        audience=settings.audience,
        allowed_hosts=settings.hosts,
        allowed_origins=frozenset(settings.listen.allowed_origins),
        limits=settings.limits,
        store=house.store,
        clock=house.clock,
        ids=house.ids,
        authenticate=runtime.doors.admit,
        resource_metadata=runtime.doors.resource_metadata,
    )
    console = console_app(
        Console(
            store=house.store,
            policy=house.policy,
            answer=house.answer,
            clock=house.clock,
            ids=house.ids,
            recording=lambda: runtime.ready,
            public_url=settings.public_url,
            hosts=settings.hosts,
            login=sign_in(runtime),
            issuer=settings.sign_in.issuer,
        )
    )

    control = control_plane(runtime)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"] if scope["type"] == "http" else ""
        inner = mcp if path == "/mcp" else control if serves(path) else console
        await inner(scope, receive, send)

    return app


def control_plane(runtime: Runtime) -> Any:
    """Tasks, and what else people and applications do: the routes below `/v1` and beside them."""
    from lictor.api.caller import Callers  # noqa: PLC0415
    from lictor.api.containment import containment_routes  # noqa: PLC0415
    from lictor.api.table import table  # noqa: PLC0415
    from lictor.api.tasks import Desk  # noqa: PLC0415
    from lictor.api.web import Door, api_app  # noqa: PLC0415

    house, settings = runtime.house, runtime.house.settings
    parts: dict[str, Any] = {name: getattr(house, name) for name in ("store", "policy", "clock")}
    callers = Callers(
        answer=house.answer,
        applications=house.applications,
        tasks=house.tasks,
        policy=house.policy,
        audience=settings.audience,
        front=runtime.doors.signed,
    )
    runtime.doors.signed.callers = callers
    desk = Desk(
        **parts,
        open=house.open,
        tasks=house.tasks,
        delegate=house.delegate,
        contracts=house.contracts,
        audience=settings.audience,
        check=runtime.guard.check,
    )
    door = Door(
        callers=callers,
        alarm=Alarm(**parts, ids=house.ids),
        clock=house.clock,
        limits=settings.limits,
        hosts=settings.hosts,
        public_url=settings.public_url,
        on_defect=lambda error: warn(f"defect: {type(error).__name__}: {error}"),
    )
    return api_app(
        door,
        [
            *table(
                desk,
                ready=lambda: runtime.ready,
                ttl_s=int(settings.limits.task_ttl_s),
                url=settings.public_url,
                more=containment_routes(house.contain, lambda: house.policy.current().agents, house.store),
            ),
            *runtime.doors.routes(),
        ],
    )


def token_service(runtime: Runtime) -> Any:
    """Who gets in, and by what: issuers, the built-in token service, the door's checks. Made when HTTP is served, not before."""
    from lictor.api.doors import Doors, Issuer, Parts  # noqa: PLC0415
    from lictor.identity.front import open_front  # noqa: PLC0415
    from lictor.stores.token_keys import TokenKeys  # noqa: PLC0415

    house, settings = runtime.house, runtime.house.settings
    shared = ("store", "policy", "clock", "ids", "tasks", "open", "delegate", "answer", "applications")
    runtime.front = open_front(
        settings.issuers,
        folder=house.folder.path,
        state=house.state,
        audience=settings.audience,
        clock=house.clock,
        report=warn,
    )
    parts: dict[str, Any] = {name: getattr(house, name) for name in shared}
    return Doors(
        Parts(
            **parts,
            limits=settings.limits,
            keys=TokenKeys(house.state, house.clock.now_ms()),
            front=runtime.front,
            proofs=runtime.front.possession,
            issuers={name: Issuer(url=one.url, human_claim=one.human_claim) for name, one in settings.issuers.items()},
            oauth=settings.oauth,
            public_url=settings.public_url,
            audience=settings.audience,
            task_ttl_s=settings.task_ttl_s,
            client_certificates=bool(settings.listen.tls.client_ca),
            check=runtime.guard.check,
            keep_subject=runtime.lending.keep_subject,
        )
    )


def sign_in(runtime: Runtime) -> Any:
    """How people sign in with an issuer; None: enrolled secrets only.

    Raises:
        OperatorError: the client's secret is not in the environment.
    """
    house, wanted = runtime.house, runtime.house.settings.sign_in
    if not wanted.issuer:
        return None
    from lictor.identity.relying import OidcRelying  # noqa: PLC0415
    from lictor.service.login import Login  # noqa: PLC0415

    doors, name = runtime.doors, wanted.client_secret_env
    if name and not os.environ.get(name):
        raise OperatorError(Reason.CONFIG_REFUSED, f"[sign_in]: the environment has no {name[:80]!r}")
    relying = OidcRelying(
        house.settings.issuers[wanted.issuer],
        front=runtime.front,
        folder=house.folder.path,
        client_id=wanted.client_id,
        client_secret=Secret(os.environ[name]) if name else None,
        elapsed=time.monotonic,
    )
    return Login(
        relying=relying,
        clock=house.clock,
        ids=house.ids,
        client_id=wanted.client_id,
        scope=wanted.scope,
        redirect_uri=f"{house.settings.public_url}/login/callback",
        human_of=doors.human_of,
    )


def tls_options(runtime: Runtime) -> dict[str, Any]:
    """What uvicorn needs for `[listen.tls]`; nothing without it."""
    tls = runtime.house.settings.listen.tls
    if not tls.cert:
        return {}
    from lictor.api.tls import peer_protocol, server_options  # noqa: PLC0415
    from lictor.identity.x509 import peer_chain  # noqa: PLC0415

    return {**server_options(tls, runtime.house.folder.path), "http": peer_protocol(peer_chain)}


def http_server(runtime: Runtime) -> Any:
    """A uvicorn server for `http_app`; the caller awaits its `serve()`."""
    import uvicorn  # noqa: PLC0415

    class Server(uvicorn.Server):
        """As it is, but a signal ends `serve()` and nothing more: what has to be closed after it is closed."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            if threading.current_thread() is threading.main_thread():
                for one in (signal.SIGINT, signal.SIGTERM):
                    asyncio.get_running_loop().add_signal_handler(one, self.handle_exit, one, None)
            yield

    listen = runtime.house.settings.listen
    return Server(
        uvicorn.Config(
            http_app(runtime),
            host=listen.host,
            port=listen.port,
            log_level="warning",
            lifespan="off",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,  # who asks is known by the token; an address somebody wrote into a header is not believed
            timeout_graceful_shutdown=5,
            **tls_options(runtime),
        )
    )


def environment(server: ServerSettings) -> dict[str, str]:
    """A started server's whole environment: what is named, nothing else of ours."""
    passed = {name: os.environ[name] for name in server.pass_env if name in os.environ}
    return {**passed, **server.env}


def warn(text: str) -> None:
    """One line for the operator. Standard output belongs to the protocol."""
    print(f"lictor: {text}", file=sys.stderr, flush=True)  # noqa: T201


def servers_of(settings: Settings, only: Sequence[str] = ()) -> dict[ServerName, ServerSettings]:
    """The configured servers, or those named.

    Raises:
        OperatorError: a name is not configured, or none is.
    """
    unknown = [name for name in only if name not in settings.servers]
    if unknown:
        raise OperatorError(Reason.UNKNOWN_SERVER, f"server {unknown[0]!r} is not in lictor.toml")
    chosen = {ServerName(n): s for n, s in settings.servers.items() if not only or n in only}
    if not chosen:
        raise OperatorError(
            Reason.UNKNOWN_SERVER, "lictor.toml names no server", remedy="add a [servers.NAME] with command or url"
        )
    return chosen
