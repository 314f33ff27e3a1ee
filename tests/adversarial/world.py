"""One case's world: the application as `lictor serve` wires it, with counting servers, a set clock and a fault layer at its edges.

Everything between the HTTP bytes and the servers' side of the seam is the real thing.
"""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adversarial import fixture
from adversarial.faults import FaultyStore
from adversarial.model import Observed
from adversarial.people import Person
from adversarial.upstreams import FakeUpstream, Servers
from adversarial.wire import VERSION, Response, ask, headers_for, modern, observe, transport_headers
from lictor.app import House, Runtime
from lictor.app.usecases import use_cases
from lictor.app.web import http_app
from lictor.config import ServerSettings, Settings
from lictor.model.ids import ServerName
from lictor.model.record import Record, decode_entry
from lictor.model.task import Budget, Task
from lictor.policy.bundle import Bundle
from lictor.previews.previewer import Parts, Previews
from lictor.protocol.headers import encode_value
from lictor.service.policy import PolicyInForce
from lictor.stores.bundle_folder import BundleFolder
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock

SERVERS = tuple(sorted(fixture.upstream_definitions()))
UPSTREAM_SECRET = "sk-live-4f1c9d2e77aa"
"""A managed secret: it belongs to the gateway and must never be seen (U4)."""
BUDGET = Budget(calls=10_000, value={"EUR": 100_000_000, "USD": 100_000_000})
"""Far above the fixture's limits, so that no refusal is the budget's unless a case is about it."""
AGENT_OF_USER = {"alice": "A1", "bob": "A1", "eve": "A1"}
HOST = "127.0.0.1:8700"
MAX_DIALOGUE = 80
"""Lines of a failure's report."""


@dataclass(slots=True)
class Session:
    """A task and its token: who is asking."""

    agent: str
    human: str
    task: Task
    token: str


@dataclass(slots=True)
class Held:
    """An approval by the name a case gives it, before or after it was given."""

    session: Session
    tool: str
    arguments: dict[str, Any]
    state: str
    hold: str


@dataclass(slots=True)
class LinkedFiles:
    """A file system of which only the links are told (`lictor.ports.Files`)."""

    links: dict[str, str]

    async def resolve(self, paths: Mapping[str, str]) -> dict[str, str]:
        return {key: self._real(path) for key, path in paths.items()}

    def close(self) -> None:
        return None

    def _real(self, path: str) -> str:
        done = ""
        for part in path.strip("/").split("/"):
            done = self.links.get(f"{done}/{part}", f"{done}/{part}")
        return done


@dataclass(slots=True)
class Gatewayed:
    """One gateway process: house, runtime and the HTTP application."""

    house: House
    runtime: Runtime
    store: FaultyStore
    app: Any


@dataclass(slots=True)
class World:
    """See the module. Built by `opened`."""

    folder: Path
    durable: bool
    servers: Servers = field(default_factory=Servers)
    clock: ManualClock = field(default_factory=lambda: ManualClock(SystemClock().now_ms()))
    ids: RandomIds = field(default_factory=RandomIds)
    gateways: list[Gatewayed] = field(default_factory=list)
    sessions: dict[str, Session] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    approvals: dict[str, Held] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    bundle: Bundle | None = None
    dialogue: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    operator: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    injected: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(server, fields) of every connection that was lent something."""
    desk: Any = None
    """The provider that lends, where a case has one."""
    connect: Any = None
    """How servers are reached where the counting ones will not do."""
    settled: list[Any] = field(default_factory=list)
    variants: list[dict[str, Any]] = field(default_factory=list)
    """Arguments that a precondition wants tried as well; a value of None leaves the argument out."""
    links: dict[str, str] = field(default_factory=dict)
    """Symbolic links of the servers' file system: where each leads."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of gateways that are started from now on, besides the usual ones."""
    slowest_s: float = 0.0

    # -- wiring ----------------------------------------------------------------------------------------------------------

    async def start(self, files: dict[str, bytes] | None = None, *, gateways: int = 1) -> None:
        """Put a bundle in force behind so many gateways on one log."""
        self.files = dict(files) if files is not None else dict(fixture.fixture_files())
        self.bundle = fixture.bundle_of(self.files) if files is not None else fixture.fixture_bundle()
        for _ in range(gateways):
            self.gateways.append(self._gateway())
        first = self.gateways[0]
        await first.house.activate(self.bundle)
        for other in self.gateways[1:]:
            other.house.policy.swap(first.house.policy.current())
        self.servers.recorded = self._recorded

    def _gateway(self) -> Gatewayed:
        state = self.folder / "state"
        keys = Keys.open(state)
        settings = Settings(
            log_name="case.example/log",
            servers={
                name: ServerSettings(
                    url=f"https://{name}.upstream.example/mcp", headers={"Authorization": UPSTREAM_SECRET}
                )
                for name in self.servers.offered
            },
            **self.settings,
        )
        if self.durable:
            inner: Any = SqliteStore(state / "log.db", signer=keys.signer, origin=settings.log_name)
        else:
            inner = (
                self.gateways[0].store.inner
                if self.gateways
                else MemoryStore(signer=keys.signer, origin=settings.log_name)
            )
        store = FaultyStore(inner)
        policy = PolicyInForce()
        parts: dict[str, Any] = {
            "store": store,
            "policy": policy,
            "clock": self.clock,
            "ids": self.ids,
            "limits": settings.limits,
        }
        house = House(
            folder=BundleFolder(self.folder / "bundle"),
            settings=settings,
            state=state,
            keys=keys,
            store=store,  # type: ignore[arg-type]
            policy=policy,
            clock=self.clock,  # type: ignore[arg-type]
            ids=self.ids,
            say=self.operator.append,
            **use_cases(parts),
        )
        servers = {ServerName(name): settings.servers[name] for name in sorted(settings.servers)}
        files = LinkedFiles(self.links)
        runtime = Runtime(house, servers, prefixed=True, connect=self.connect_server, files=files)
        parts = Parts(
            clock=self.clock,
            store=store,  # type: ignore[arg-type]
            files=files,
            directory=lambda: policy.current().directory,
            base=str(self.host),
            resolve=self._resolve,
        )
        runtime.calls.authorize._previewer = Previews(parts)
        return Gatewayed(house, runtime, store, http_app(runtime))

    @property
    def host(self) -> Path:
        """The servers' file system, as far as a case makes one."""
        return self.folder.resolve() / "host"

    async def _resolve(self, name: str) -> list[str]:
        """The fixture has no network."""
        raise OSError(name)

    async def connect_server(self, name: str, *_parts: Any, **options: Any) -> FakeUpstream:
        """In place of `lictor.app.connect_server`: the counting server instead of a process or a socket."""
        if self.connect is not None:
            return await self.connect(name, *_parts, **options)
        fields, _ = options.get("injected", ({}, {}))
        if fields:
            self.injected.append((name, {key: secret.reveal() for key, secret in fields.items()}))
        return FakeUpstream(name, self.servers)

    async def deploy(self, files: dict[str, bytes]) -> None:
        """Put another bundle in force on every gateway, as the hot reload does.

        Raises:
            OperatorError: it is refused; the old one stays.
        """
        bundle = fixture.bundle_of(files)
        await self.gateways[0].house.activate(bundle)
        for other in self.gateways[1:]:
            other.house.policy.swap(self.gateways[0].house.policy.current())
        self.files, self.bundle = dict(files), bundle

    async def settle(self) -> None:
        """Wait until every outcome is written."""
        for gateway in self.gateways:
            await gateway.runtime.calls.execute.drain()

    async def restart(self) -> None:
        """The first gateway again, with whatever servers there are now, on the same log."""
        await self.main.runtime.connections.close()
        await self.settle()
        policy = self.main.house.policy.current()
        fresh = self._gateway()
        fresh.house.policy.swap(policy)
        self.main.runtime.instance.close()
        if self.durable:
            self.main.store.inner.close()
        self.gateways[0] = fresh

    async def stop(self) -> None:
        """End it all."""
        for gateway in self.gateways:
            gateway.store.fault = ""
            await gateway.runtime.connections.close()
            await gateway.runtime.calls.execute.drain()
            gateway.runtime.instance.close()
            gateway.store.inner.close()

    @property
    def main(self) -> Gatewayed:
        return self.gateways[0]

    @property
    def store(self) -> Any:
        """The real store, past the fault layer."""
        return self.main.store.inner

    def records(self) -> list[Record]:
        """Everything in the log."""
        return [decode_entry(entry.data).record for entry in self.store.entries()]

    def _recorded(self, digest: str) -> bool:
        return any(started.arguments == digest for started in self.store.open_executions())

    # -- who -------------------------------------------------------------------------------------------------------------

    async def session(self, agent: str = "A1", human: str = "alice") -> Session:
        """The task of an agent for a person, opened on first use."""
        key = f"{agent}/{human}"
        if key not in self.sessions:
            self.sessions[key] = await self.new_session(agent, human)
        return self.sessions[key]

    async def new_session(self, agent: str = "A1", human: str = "alice") -> Session:
        """A fresh task."""
        house = self.main.house
        opened = await house.tasks.open(
            agent=agent,  # type: ignore[arg-type]
            human=f"test:{human}",  # type: ignore[arg-type]
            purpose="payments",
            trusted_text="please pay the invoice",
            ttl_s=3_600,
            budget=BUDGET,
            audience=house.settings.audience,
            by="test:operator",
            token=True,
        )
        self.secrets.append(opened.token)
        return Session(agent, human, opened.task, opened.token)

    async def person(self, name: str, gateway: int = 0) -> Person:
        """An approver at the console."""
        if name not in self.people:
            secret = await self.main.house.answer.enrol(f"test:{name}", by="test:operator")  # type: ignore[arg-type]
            self.secrets.append(secret)
            self.people[name] = Person(self.gateways[gateway].app, HOST, secret, f"test:{name}")
        return self.people[name]

    # -- asking ----------------------------------------------------------------------------------------------------------

    async def send(
        self, session: Session, headers: list[tuple[str, str]], body: bytes, *, gateway: int = 0, note: str = ""
    ) -> Observed:
        """Bytes to the MCP endpoint."""
        began = time.perf_counter()
        response = await ask(self.gateways[gateway].app, "POST", "/mcp", headers, body)
        took = time.perf_counter() - began
        self.slowest_s = max(self.slowest_s, took)
        self.responses.append(response)
        seen = observe(response)
        seen.facts["seconds"] = took
        if len(self.dialogue) < MAX_DIALOGUE:
            self.dialogue.append(f"-> {note or body[:300]!r}")
            self.dialogue.append(f"<- {response.status} {response.body[:400]!r}")
        return seen

    async def request(
        self,
        session: Session,
        method: str,
        params: dict[str, Any],
        *,
        gateway: int = 0,
        headers: list[tuple[str, str]] | None = None,
    ) -> Observed:
        """A well-formed request of the modern protocol."""
        message = modern(method, params)
        found = headers_for(message, HOST, session.token) if headers is None else headers
        return await self.send(session, found, encode(message), gateway=gateway)

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        *,
        session: Session | None = None,
        state: str | None = None,
        gateway: int = 0,
        meta: dict[str, Any] | None = None,
        more: Iterable[tuple[str, str]] = (),
    ) -> Observed:
        """`tools/call` with the case's name for the tool; what it leaves out of the arguments is filled in."""
        asking = session or await self.session()
        params: dict[str, Any] = {"name": public(tool), "arguments": fixture.complete(tool, arguments)}
        if state is not None:
            params |= {"requestState": state, "inputResponses": {"lictor_approval": {"action": "accept"}}}
        if meta:
            params["_meta"] = meta
        return await self.request(
            asking, "tools/call", params, gateway=gateway, headers=[*await self._headers(asking, params), *more]
        )

    async def read(self, uri: str, *, session: Session | None = None) -> Observed:
        """`resources/read`, with the header that belongs to it."""
        asking = session or await self.session()
        headers = [
            *self.transport(asking),
            ("MCP-Protocol-Version", VERSION),
            ("Mcp-Method", "resources/read"),
            ("Mcp-Name", encode_value(uri)),
        ]
        return await self.request(asking, "resources/read", {"uri": uri}, headers=headers)

    async def _headers(self, session: Session, params: dict[str, Any]) -> list[tuple[str, str]]:
        message = {"method": "tools/call", "params": params}
        found = headers_for(message, HOST, session.token)
        region = params["arguments"].get("region")
        return [*found, ("Mcp-Param-Region", region)] if isinstance(region, str) else found

    def transport(self, session: Session) -> list[tuple[str, str]]:
        """The headers every request has."""
        return transport_headers(HOST, session.token)

    # -- approvals -------------------------------------------------------------------------------------------------------

    async def hold(
        self,
        name: str,
        *,
        tool: str = "bank.transfer",
        arguments: dict[str, Any] | None = None,
        session: Session | None = None,
    ) -> Held:
        """Ask for something that needs a person; remember it under a case's name."""
        asking = session or await self.session()
        wanted = fixture.complete(tool, arguments or {"to": "DE89", "amount": "500.00"})
        seen = await self.call(tool, wanted, session=asking)
        if "url" not in seen.facts or not seen.facts.get("state"):
            raise AssertionError(f"{tool} was not held: {seen.summary()}")
        held = Held(asking, tool, wanted, seen.facts["state"], seen.facts["url"].rsplit("/", 1)[1])
        self.approvals[name] = held
        return held

    async def approve(self, held: Held, by: str = "bob") -> Response:
        """Somebody says yes at the console."""
        page = await (await self.person(by)).answer(held.hold, "approve")
        if len(self.dialogue) < MAX_DIALOGUE:
            self.dialogue.append(f"   {by} approves {held.hold}: {page.status}")
        return page

    async def redeem(
        self,
        held: Held,
        changes: dict[str, Any] | None = None,
        *,
        session: Session | None = None,
        gateway: int = 0,
    ) -> Observed:
        """Come back for an approval: the same call, with the state that was handed out."""
        return await self.call(
            held.tool,
            {**held.arguments, **(changes or {})},
            session=session or held.session,
            state=held.state,
            gateway=gateway,
        )


def public(tool: str) -> str:
    """`bank.transfer` as clients see it."""
    server, dot, name = tool.partition(".")
    return f"{server}__{name}" if dot else tool


def encode(message: Any) -> bytes:
    """JSON as any client writes it; a lone surrogate goes out as its escape."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii")


@contextlib.contextmanager
def opened(*, durable: bool, folder: Path | None = None) -> Iterator[World]:
    """A world on a folder of its own (or a given one), with the application's edges in its hands."""
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="case-", ignore_cleanup_errors=True)))
        world = World(folder, durable)
        world.secrets.append(UPSTREAM_SECRET)
        yield world
