"""The credential broker of a process, live: what `credentials.toml` says, wired to servers, store and safe.

Refuses to know providers' protocols and how a server is reached.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lictor.app.lendable import problem_of
from lictor.app.lines import Lines, Reach, Wanted
from lictor.app.safekeeping import SafeWatch, harden, sealed
from lictor.config import BrokerSettings, ServerSettings
from lictor.credentials import providers
from lictor.credentials.safe import Safe
from lictor.model.action import ActionRequest
from lictor.model.errors import LictorError, OperatorError, UpstreamError
from lictor.model.ids import InstanceId, ServerName, TaskId
from lictor.model.lease import Credential
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.model.task import Task
from lictor.pep.mcp.connections import Connect, Server
from lictor.pep.mcp.seam import Ask, Notify, Upstream
from lictor.ports import Clock, Ids, Provider, RecordStore
from lictor.service.calls.authorize import Authorize
from lictor.service.calls.outcomes import Outcomes
from lictor.service.credentials.broker import Broker
from lictor.service.credentials.leaks import Leaks
from lictor.service.credentials.managed import Managed
from lictor.service.credentials.reap import Orphans, Reaper
from lictor.service.credentials.subjects import Subjects
from lictor.service.policy import PolicyInForce
from lictor.stores.instances import dead_instances
from lictor.stores.turn import Turn


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
        self._turn = Turn(parts.state)
        self.safe = Safe(sealed(parts.state, parts.settings), parts.clock)
        self.managed = Managed()
        self.leaks = Leaks(store=parts.store, clock=parts.clock, ids=parts.ids, managed=self.managed)
        self.subjects = Subjects(safe=self.safe, store=parts.store, clock=parts.clock, managed=self.managed)
        self.broker = self._broker()
        self.lines = Lines(broker=self.broker, leaks=self.leaks, store=parts.store, reach=reach)
        self.broker.on_dropped = self.lines.dropped
        self.on_ended: Callable[[ServerName, TaskId], None] = lambda _server, _task: None
        self.reaper = self._reaper()
        self.watch = SafeWatch(self.safe, self.managed, parts.state, parts.say)

    def provider(self, credential: Credential) -> Provider:
        """The provider of a credential (`providers.make`)."""
        return providers.make(credential.provider, credential.options, self._secret, clock=self._parts.clock)

    def server(self, name: ServerName, settings: ServerSettings) -> Server:
        """How a configured server is connected: for each task, with what it is lent."""
        said: list[str] = [""]

        def for_task(task: TaskId, legacy: bool, call: ActionRequest | None = None) -> Connect:
            async def connect(capabilities: dict[str, Any], ask: Ask, notify: Notify) -> Upstream:
                wanted = Wanted(
                    name=name,
                    server=settings,
                    task=task,
                    call=call,
                    legacy_first=legacy,
                    capabilities=capabilities,
                    ask=ask,
                    notify=notify,
                )
                try:
                    upstream = await self.lines.open(wanted)
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
            await self.watch.refresh()
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

    async def run(self) -> None:
        """End what is over and keep knowing what is managed, until cancelled."""
        await asyncio.gather(self.reaper.run(), self.watch.run())

    async def close(self) -> None:
        """Revoke what can be revoked in time; the rest is left to the next process, by name."""
        left = await self.reaper.close()
        if left:
            self._parts.say(f"{left} leases are not revoked yet; the next gateway goes on (see: lictor leases)")
        self._turn.close()

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _broker(self) -> Broker:
        parts = self._parts
        return Broker(
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

    def _reaper(self) -> Reaper:
        parts = self._parts
        return Reaper(
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

    def _ended(self, server: ServerName, task: TaskId) -> None:
        self.on_ended(server, task)

    async def _secret(self, name: str) -> Secret:
        found = await self.safe.read(name)
        if found is None:
            text = f"the safe holds no secret {name!r:.80}"
            raise OperatorError(Reason.UNKNOWN_CREDENTIAL, text, remedy=f"lictor secret set {name:.80}")
        return found
