"""Wires the credential broker to servers, store and safe: the live side of what `credentials.toml` says. For `app` alone.

What is lent goes from the broker's hands straight into one connection: a header of every request to one origin, or a variable of
one process. A server that all tasks share is lent nothing: whatever it held would serve tasks it was not decided for.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lictor.config import BrokerSettings, ServerSettings
from lictor.credentials import providers
from lictor.credentials.masterkey import CommandMaster, FileMaster, KeyringMaster, Master
from lictor.credentials.safe import FILE, Safe, Sealed
from lictor.model.action import ActionRequest
from lictor.model.errors import LictorError, OperatorError, UpstreamError
from lictor.model.ids import InstanceId, LeaseId, ServerName, TaskId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.model.task import Task
from lictor.pep.mcp.connections import Connect, Server
from lictor.pep.mcp.lent import LentUpstream, Terms, clean_ask, clean_notify, clean_offer, cleaned
from lictor.pep.mcp.seam import Ask, Notify, Upstream
from lictor.policy.authority import COMMAND
from lictor.ports import Clock, Ids, Provider, RecordStore
from lictor.service.authorize import Authorize
from lictor.service.broker import Broker
from lictor.service.leaks import Leaks
from lictor.service.loan import CredentialRefusedError, Loan, Where
from lictor.service.managed import Managed
from lictor.service.outcomes import Outcomes
from lictor.service.policy import PolicyInForce
from lictor.service.reap import Orphans, Reaper
from lictor.service.subjects import Subjects
from lictor.stores.instances import dead_instances
from lictor.stores.turn import Turn

REFRESH_S = 2.0
"""A secret put into the safe while we run is known to everything that scrubs within this time."""
_PORTS = {"http": 80, "https": 443}

Injected = tuple[Mapping[str, Secret], Mapping[str, Secret]]
"""Header fields and variables."""
Reach = Callable[[ServerName, ServerSettings, Injected, bool, dict[str, Any], Ask, Notify], Awaitable[Upstream]]
"""(name, settings, injected, legacy first, capabilities, ask, notify) -> a negotiated connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the broker stands on."""

    store: RecordStore
    policy: PolicyInForce
    clock: Clock
    ids: Ids
    authorize: Authorize
    outcomes: Outcomes
    instance: InstanceId
    state: Path
    settings: BrokerSettings
    say: Callable[[str], None]


class Lending:
    """The broker of one process, live."""

    def __init__(self, parts: Parts, reach: Reach) -> None:
        self._parts = parts
        self._reach = reach
        self._out: dict[LeaseId, set[LentUpstream]] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._sealed = sealed(parts.state, parts.settings)
        self._file = parts.state / FILE
        self._stamp: tuple[int, int] | None = None
        self.safe = Safe(self._sealed, parts.clock)
        self.managed = Managed()
        self.leaks = Leaks(store=parts.store, clock=parts.clock, ids=parts.ids, managed=self.managed)
        self.subjects = Subjects(safe=self.safe, store=parts.store, clock=parts.clock, managed=self.managed)
        self.broker = Broker(
            store=parts.store,
            policy=parts.policy,
            clock=parts.clock,
            ids=parts.ids,
            authorize=parts.authorize,
            providers=self.provider,
            safe=self.safe,
            outcomes=parts.outcomes,
            instance=parts.instance,
            managed=self.managed,
            subjects=self.subjects,
        )
        self.broker.on_dropped = self._dropped
        self._turn = Turn(parts.state)
        self.on_ended: Callable[[ServerName, TaskId], None] = lambda _server, _task: None
        self.reaper = Reaper(
            broker=self.broker,
            store=parts.store,
            policy=parts.policy,
            clock=parts.clock,
            safe=self.safe,
            providers=self.provider,
            orphans=Orphans(dead=lambda seen: dead_instances(parts.state, seen), turn=self._turn.mine),
            jitter=random.random,
            say=parts.say,
            on_ended=self._ended,
            subjects=self.subjects,
        )

    def provider(self, credential: Credential) -> Provider:
        """The provider of a credential (`providers.make`)."""
        return providers.make(credential.provider, credential.options, self._secret, clock=self._parts.clock)

    def server(self, name: ServerName, settings: ServerSettings) -> Server:
        """How a configured server is connected: for each task, with what it is lent."""
        said: list[str] = [""]

        def for_task(task: TaskId, legacy: bool, call: ActionRequest | None = None) -> Connect:
            async def connect(capabilities: dict[str, Any], ask: Ask, notify: Notify) -> Upstream:
                try:
                    upstream = await self._connect(name, settings, task, legacy, call, capabilities, ask, notify)
                except UpstreamError as error:
                    # A client is only told that the server is down; who runs it needs to know why, and once is enough.
                    if str(error) != said[0]:
                        self._parts.say(f"server {name}: {error}")
                    said[0] = str(error)
                    raise
                said[0] = ""
                return upstream

            return connect

        def single() -> bool:
            return not settings.shared and any(one.lease == "grant" for one in self.broker.wants(name))

        def by_call() -> bool:
            return not settings.shared and any(one.by_call for one in self.broker.wants(name))

        return Server(
            name=name,
            connect=for_task(TaskId(""), False),
            shared=settings.shared,
            for_task=for_task,
            single=single,
            by_call=by_call,
        )

    async def start(self, servers: Mapping[ServerName, ServerSettings]) -> None:
        """Know what is managed, and refuse what cannot work.

        Raises:
            OperatorError: `config_refused`: a shared server with credentials, another destination than the server's, a provider
                or its options that are not understood.
        """
        credentials = self._parts.policy.current().credentials.values()
        for credential in credentials:
            problem = problem_of(credential, servers.get(credential.server))
            if problem:
                raise OperatorError(Reason.CONFIG_REFUSED, f"credential {credential.name!r}: {problem}")
            self.provider(credential)
        if credentials:
            harden()
        try:
            await self.refresh()
        except LictorError as error:
            if credentials:
                raise
            self._parts.say(f"the safe cannot be opened, so its secrets are not looked for: {error}")

    async def keep_subject(self, task: Task, token: Secret, expires_at_ms: int) -> None:
        """Keep a person's token for a task, if anything here is obtained on behalf of people.

        Raises:
            StoreError: it cannot be kept.
        """
        if any(providers.for_person(one) for one in self._parts.policy.current().credentials.values()):
            await self.subjects.keep(task, token, expires_at_ms)

    async def refresh(self) -> None:
        """Look for what the safe holds now.

        Raises:
            StoreError: it cannot be opened.
        """
        stamp = None
        with suppress(FileNotFoundError):
            found = self._file.stat()
            stamp = found.st_mtime_ns, found.st_size
        if stamp != self._stamp:
            values = await self.safe.values()
            self.managed.keep({name: secret.reveal() for name, secret in values.items()})
            self._stamp = stamp

    async def run(self) -> None:
        """End what is over and keep knowing what is managed, until cancelled."""
        await asyncio.gather(self.reaper.run(), self._keep_knowing())

    async def close(self) -> None:
        """Revoke what can be revoked in time; the rest is left to the next process, by name."""
        left = await self.reaper.close()
        if left:
            self._parts.say(f"{left} leases are not revoked yet; the next gateway goes on (see: lictor leases)")
        self._turn.close()

    def _ended(self, server: ServerName, task: TaskId) -> None:
        self.on_ended(server, task)

    # -- inside --------------------------------------------------------------------------------------------------------------

    async def _keep_knowing(self) -> None:
        said = ""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                await self.refresh()
                said = ""
            except Exception as error:  # noqa: BLE001 - the next change must still be seen
                text = f"the safe cannot be read: {error}" if isinstance(error, LictorError) else type(error).__name__
                if text != said:
                    self._parts.say(text)
                said = text

    async def _secret(self, name: str) -> Secret:
        found = await self.safe.read(name)
        if found is None:
            text = f"the safe holds no secret {name!r:.80}"
            raise OperatorError(Reason.UNKNOWN_CREDENTIAL, text, remedy=f"lictor secret set {name:.80}")
        return found

    async def _connect(
        self,
        name: ServerName,
        settings: ServerSettings,
        task: TaskId,
        legacy: bool,
        call: ActionRequest | None,
        capabilities: dict[str, Any],
        ask: Ask,
        notify: Notify,
    ) -> Upstream:
        if settings.shared:
            return await self._plain(name, settings, task, legacy, capabilities, ask, notify)
        state = self._parts.store.task(task)
        if state is None:
            raise CredentialRefusedError(Reason.UNKNOWN_TASK, "there is no such task")
        if self.broker.wants(name) and in_the_clear(settings):
            text = f"server {name!r} is reached without TLS; nothing is sent there in the clear"
            raise CredentialRefusedError(Reason.CONFIG_REFUSED, text)
        loan = await self.broker.lend(state, name, where_of(settings), call)
        cleaner = self.leaks.of(task, name)
        injected = (loan.headers, loan.env)
        singles = loan.leases if loan.single else ()

        def done() -> None:
            self.broker.give_back(singles)

        try:
            upstream = await self._reach(
                name, settings, injected, legacy, capabilities, clean_ask(ask, cleaner), clean_notify(notify, cleaner)
            )
            try:
                offer = await clean_offer(upstream.offer, cleaner)
            except BaseException:
                await upstream.close()
                raise
        except UpstreamError as error:
            done()
            raise cleaned(error, cleaner) from None
        except BaseException:
            done()
            raise
        lent = LentUpstream(
            upstream,
            offer,
            cleaner,
            Terms(
                usable=lambda: self.broker.alive(loan),
                left_s=lambda: self.broker.left_s(loan) if self.broker.holds(loan) else 0.0,
                done=done,
            ),
        )
        return await self._watched(lent, loan)

    async def _watched(self, lent: LentUpstream, loan: Loan) -> LentUpstream:
        """A connection that ends with the first of its leases; one of them may have ended while it was made."""
        for lease in loan.leases:
            self._out.setdefault(lease, set()).add(lent)
        lent.on_closed = lambda: self._closed(lent, loan)
        if not self.broker.holds(loan):
            await lent.abort()
            text = "what was lent for it ended while it was connected"
            raise UpstreamError(Reason.UPSTREAM_DOWN, text, effect_possible=False)
        return lent

    def _closed(self, lent: LentUpstream, loan: Loan) -> None:
        for lease in loan.leases:
            left = self._out.get(lease, set())
            left.discard(lent)
            if not left:
                self._out.pop(lease, None)

    def _dropped(self, lease: LeaseId) -> None:
        """A lease has ended: so has every connection that has it, whatever it does, and also one that was replaced."""
        for lent in self._out.pop(lease, set()):
            job = asyncio.get_running_loop().create_task(lent.cut())
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _plain(
        self,
        name: ServerName,
        settings: ServerSettings,
        task: TaskId,
        legacy: bool,
        capabilities: dict[str, Any],
        ask: Ask,
        notify: Notify,
    ) -> Upstream:
        """A shared server: clean like any other, but lent nothing."""
        if self.broker.wants(name):
            text = "a server that all tasks share is lent no credential; take `shared` away"
            raise CredentialRefusedError(Reason.CONFIG_REFUSED, text)
        cleaner = self.leaks.of(task, name)
        upstream = await self._reach(
            name, settings, ({}, {}), legacy, capabilities, clean_ask(ask, cleaner), clean_notify(notify, cleaner)
        )
        offer = await clean_offer(upstream.offer, cleaner)
        return LentUpstream(upstream, offer, cleaner, Terms(usable=lambda: not self.broker.wants(name)))


def sealed(state: Path, settings: BrokerSettings) -> Sealed:
    """The safe of a state folder, as configured."""
    return Sealed(state, master_of(state, settings))


def master_of(state: Path, settings: BrokerSettings) -> Master:
    """Where the safe's master key is."""
    match settings.key:
        case "file":
            return FileMaster(state)
        case "command":
            return CommandMaster(state, settings.unseal, settings.seal)
        case "keyring":
            return KeyringMaster(state)


def where_of(settings: ServerSettings) -> Where:
    """Where a server's connection leads, by the settings alone (CRED-03)."""
    return Where(destination=origin_of(settings.url), url=settings.url) if settings.url else Where(destination=COMMAND)


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL in lower case; the scheme's own port is left out."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port is not None and parts.port != _PORTS.get(parts.scheme) else ""
    return f"{parts.scheme}://{host}{port}"


def in_the_clear(settings: ServerSettings) -> bool:
    """Whether what is sent to a server can be read on the way there."""
    url = settings.url
    return url.lower().startswith("http:") and (urlsplit(url).hostname or "") not in {"localhost", "127.0.0.1", "::1"}


def problem_of(credential: Credential, settings: ServerSettings | None) -> str:
    """Why a credential can never be lent in this configuration; empty where it can, or its server is not ours."""
    if settings is None:
        return ""
    if settings.shared:
        return f"server {credential.server!r} is shared by all tasks; take `shared` away, or the credential"
    where = where_of(settings)
    if where.destination != credential.destination:
        return f"it is for {credential.destination!r}, and server {credential.server!r} is at {where.destination!r}"
    if in_the_clear(settings):
        return f"server {credential.server!r} is reached without TLS; nothing is sent there in the clear"
    return ""


def harden() -> None:
    """No memory of this process on disk, and none for other processes of the same user (CRED-07).

    A core dump would hold what is lent. Best effort where the system has no such call; never an error.
    """
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            import ctypes  # noqa: PLC0415 - only where it is needed

            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


_PR_SET_DUMPABLE = 4
