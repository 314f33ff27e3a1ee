"""Connections to servers with what they were lent: made with it, cleaned of it, ended with it.

What is lent goes from the broker's hands straight into one connection: a header of every request to one origin, or a variable of
one process. A server that all tasks share is lent nothing: whatever it held would serve tasks it was not decided for. Refuses to
know how a server is reached.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Protocol

from lictor.app.lendable import in_the_clear, where_of
from lictor.app.servers import Injected
from lictor.config import ServerSettings
from lictor.model.action import ActionRequest
from lictor.model.errors import UpstreamError
from lictor.model.ids import LeaseId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.lent import LentUpstream, Terms, clean_ask, clean_notify, clean_offer, cleaned
from lictor.pep.mcp.seam import Ask, Cleaner, Notify, Offer, Upstream
from lictor.ports import RecordStore
from lictor.service.credentials.broker import Broker
from lictor.service.credentials.leaks import Leaks
from lictor.service.credentials.loan import CredentialRefusedError, Loan


class Reach(Protocol):
    """Starts or reaches a server: a negotiated connection, with what is injected."""

    async def __call__(
        self,
        name: ServerName,
        server: ServerSettings,
        *,
        injected: Injected,
        legacy_first: bool,
        capabilities: dict[str, Any],
        ask: Ask,
        notify: Notify,
    ) -> Upstream:
        """Raises UpstreamError: it cannot be started, reached or understood."""
        ...


OWN_TASK = TaskId("lictor-previews")
"""Under this name the gateway has connections of its own, to look with: no task's, and nothing is lent to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One connection: to which server, for which task, for which call if for one alone, and who listens at our end."""

    name: ServerName
    server: ServerSettings
    task: TaskId
    call: ActionRequest | None
    legacy_first: bool
    capabilities: dict[str, Any]
    ask: Ask
    notify: Notify


class Lines:
    """See the module."""

    def __init__(self, *, broker: Broker, leaks: Leaks, store: RecordStore, reach: Reach) -> None:
        self._broker = broker
        self._leaks = leaks
        self._store = store
        self._reach = reach
        self._out: dict[LeaseId, set[LentUpstream]] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    async def open(self, wanted: Wanted) -> LentUpstream:
        """A connection with what its server may be lent for this task.

        Raises:
            UpstreamError: refused (`CredentialRefusedError`), or it cannot be reached.
        """
        if wanted.server.shared:
            return await self._plain(wanted)
        if wanted.task == OWN_TASK and not self._broker.wants(wanted.name):
            return await self._plain(wanted)
        state = self._store.task(wanted.task)
        if state is None:
            raise CredentialRefusedError(Reason.UNKNOWN_TASK, "there is no such task")
        if self._broker.wants(wanted.name) and in_the_clear(wanted.server):
            text = f"server {wanted.name!r} is reached without TLS; nothing is sent there in the clear"
            raise CredentialRefusedError(Reason.CONFIG_REFUSED, text)
        loan = await self._broker.lend(state, wanted.name, where_of(wanted.server), wanted.call)
        return await self._with(wanted, loan)

    def dropped(self, lease: LeaseId) -> None:
        """A lease has ended: so has every connection that has it, whatever it does, and also one that was replaced."""
        for lent in self._out.pop(lease, set()):
            job = asyncio.get_running_loop().create_task(lent.cut())
            self._jobs.add(job)
            job.add_done_callback(self._jobs.discard)

    async def _with(self, wanted: Wanted, loan: Loan) -> LentUpstream:
        cleaner = self._leaks.of(wanted.task, wanted.name)
        singles = loan.leases if loan.single else ()

        def done() -> None:
            self._broker.give_back(singles)

        try:
            upstream, offer = await self._reached(wanted, (loan.headers, loan.env), cleaner)
        except BaseException:
            done()
            raise
        lent = LentUpstream(
            upstream,
            offer,
            cleaner,
            Terms(
                usable=lambda: self._broker.alive(loan),
                left_s=lambda: self._broker.left_s(loan) if self._broker.holds(loan) else 0.0,
                done=done,
            ),
        )
        return await self._watched(lent, loan)

    async def _plain(self, wanted: Wanted) -> LentUpstream:
        """A shared server: clean like any other, but lent nothing."""
        if self._broker.wants(wanted.name):
            text = "a server that all tasks share is lent no credential; take `shared` away"
            raise CredentialRefusedError(Reason.CONFIG_REFUSED, text)
        cleaner = self._leaks.of(wanted.task, wanted.name)
        upstream, offer = await self._reached(wanted, ({}, {}), cleaner)
        return LentUpstream(upstream, offer, cleaner, Terms(usable=lambda: not self._broker.wants(wanted.name)))

    async def _reached(self, wanted: Wanted, injected: Injected, cleaner: Cleaner) -> tuple[Upstream, Offer]:
        """The server and what it offers, clean; an error of its own is clean as well."""
        try:
            upstream = await self._reach(
                wanted.name,
                wanted.server,
                injected=injected,
                legacy_first=wanted.legacy_first,
                capabilities=wanted.capabilities,
                ask=clean_ask(wanted.ask, cleaner),
                notify=clean_notify(wanted.notify, cleaner),
            )
            try:
                return upstream, await clean_offer(upstream.offer, cleaner)
            except BaseException:
                await upstream.close()
                raise
        except UpstreamError as error:
            raise cleaned(error, cleaner) from None

    async def _watched(self, lent: LentUpstream, loan: Loan) -> LentUpstream:
        """A connection that ends with the first of its leases; one of them may have ended while it was made."""
        for lease in loan.leases:
            self._out.setdefault(lease, set()).add(lent)
        lent.on_closed = lambda: self._closed(lent, loan)
        if not self._broker.holds(loan):
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
