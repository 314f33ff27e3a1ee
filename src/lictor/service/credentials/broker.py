"""The credential broker: what a server connection needs is decided, asked for, recorded, and only then handed out.

The steps of one loan, and what a crash after each means (facts R21, CRED-09):

 1. the use is an action of its own: decided, and recorded together with `LeaseAsked`. A crash: the lease is found and ended
 2. what a revocation will need is sealed
 3. the provider is asked, within a deadline. A crash: it may have made something; it is searched for by the lease's id, and ended
 4. `LeaseGiven` and the outcome are durable. A crash: the lease's owner is dead, so another process revokes it
 5. the value is known to everything that scrubs, and only now leaves this module, for the one destination it is for

The agent never sees one; the model never decides. Refuses to know providers, transports and where a secret is sealed.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.decision import Deny
from lictor.model.errors import LictorError, OperatorError, StoreError, UpstreamError
from lictor.model.ids import ExecutionId, InstanceId, LeaseId, RequestId, ServerName, TaskId
from lictor.model.lease import Credential, Lease, LeaseStatus
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded, LeaseAsked, LeaseEnded, LeaseEnding, LeaseGiven
from lictor.model.task import Task, TaskState
from lictor.policy.authority import COMMAND
from lictor.policy.credentials import MAX_TTL_S
from lictor.ports import Batch, Clock, Ids, Issued, LeaseAsk, Provider, RecordStore, Safe
from lictor.service.calls.authorize import Authorize, Granted, Held
from lictor.service.calls.outcomes import Outcomes
from lictor.service.credentials.loan import (
    Lent,
    Loan,
    Note,
    Where,
    key_of,
    loan_of,
    note_name,
    refused,
    sealed_note,
    values_of,
)
from lictor.service.credentials.managed import Managed
from lictor.service.credentials.narrow import fixed, narrowed, texts
from lictor.service.credentials.subjects import Subjects
from lictor.service.policy import PolicyInForce

ISSUE_S: Final = 20.0
"""How long a provider may take; afterwards something may exist that is searched for and ended."""
RENEW_SHARE: Final = 10
"""A lease is not handed out any more in the last tenth of its life."""

Providers = Callable[[Credential], Provider]
"""The provider of a credential. Raises OperatorError: there is none of that name, or its options are not understood."""


class Broker:
    """Lends credentials to server connections of tasks."""

    def __init__(
        self,
        *,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        ids: Ids,
        authorize: Authorize,
        providers: Providers,
        safe: Safe,
        outcomes: Outcomes,
        instance: InstanceId,
        managed: Managed | None = None,
        subjects: Subjects | None = None,
    ) -> None:
        """`subjects`: where the tokens of people are kept for whom providers act."""
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._authorize = authorize
        self._providers = providers
        self._safe = safe
        self._outcomes = outcomes
        self.instance = instance
        self.managed = managed or Managed()
        self._subjects = subjects
        self._lent: dict[LeaseId, Lent] = {}
        self._of: dict[tuple[TaskId, str], LeaseId] = {}
        self._flights: dict[tuple[TaskId, str], asyncio.Task[Lent]] = {}
        self.asking: set[LeaseId] = set()
        """Leases of this process whose provider has not answered yet."""
        self.on_dropped: Callable[[LeaseId], None] = lambda _lease: None
        """Told once for each lease that is not used any more, at that very moment."""

    def wants(self, server: ServerName) -> tuple[Credential, ...]:
        """The credentials of a server by the bundle in force, in a fixed order."""
        credentials = self._policy.current().credentials
        return tuple(credentials[key] for key in sorted(credentials) if credentials[key].server == server)

    async def lend(self, state: TaskState, server: ServerName, where: Where, call: ActionRequest | None = None) -> Loan:
        """Everything a connection of a task to a server needs.

        Args:
            call: the one call the connection is made for, of which it has been found out that it would be granted. None: it is
                made for the task, or for a list.
            where: where the connection really leads, by the settings; never by anything an agent said.

        Raises:
            CredentialRefusedError: the use of one is denied or held, or the server's address is not the one it is for.
            UpstreamError: the provider failed.
            StoreError: it cannot be recorded; nothing may be injected.
        """
        wanted = self.wants(server)
        for credential in wanted:
            if credential.destination != where.destination or (credential.destination == COMMAND) is bool(where.url):
                raise refused(credential, Reason.AUDIENCE, "it is for another destination than this server's")
        found: list[Lent] = []
        try:
            for credential in wanted:
                one = await self._one(state, credential, where, call)
                found.append(one)
            return loan_of(found)
        except BaseException:
            self.give_back([lent.lease for lent in found if lent.credential.lease == "grant"])
            raise

    def give_back(self, leases: Iterable[LeaseId], why: str = "the grant is over") -> None:
        """Single-use leases whose request is over: nobody uses them any more. What cannot be recorded is found by the reaper."""
        for lease in leases:
            if lease in self._lent:
                self.drop(lease)
                self._outcomes.put(LeaseEnding(lease=lease, why=why))

    def alive(self, loan: Loan) -> bool:
        """Whether a connection that was given a loan may still be used."""
        if loan.until_ms is None:
            return True
        return self._clock.now_ms() < loan.until_ms and all(lease in self._lent for lease in loan.leases)

    def holds(self, loan: Loan) -> bool:
        """Whether every lease of a loan still lives here: what is under way with it may go on."""
        ends = loan.ends_ms is None or self._clock.now_ms() < loan.ends_ms
        return ends and all(lease in self._lent for lease in loan.leases)

    def left_s(self, loan: Loan) -> float | None:
        """Seconds until the first lease of a loan ends; None: nothing ends."""
        return None if loan.ends_ms is None else max(0.0, (loan.ends_ms - self._clock.now_ms()) / 1_000)

    # -- what this process holds ----------------------------------------------------------------------------------

    def mine(self) -> tuple[Lent, ...]:
        """Everything in this process's hands."""
        return tuple(self._lent.values())

    def drop(self, lease: LeaseId) -> None:
        """It is ending: it is not handed out any more. Idempotent."""
        lent = self._lent.pop(lease, None)
        if lent is not None:
            key = (lent.request.task, key_of(lent.credential))
            if self._of.get(key) == lease:  # a younger one may have taken its place
                del self._of[key]
            self.managed.over(lease)
            self.on_dropped(lease)

    async def usable(self, lent: Lent) -> bool:
        """Whether its use would still be decided as it was, under the bundle and the restrictions of now (drift)."""
        now = (self._policy.current().revision, self._store.containment_changes())
        if lent.seen != now:
            if self._policy.current().credentials.get(key_of(lent.credential)) != lent.credential:
                return False
            if isinstance(await self._authorize.still(lent.request), Deny):
                return False
            lent.seen = now
        kept = self._store.lease(lent.lease)
        return kept is not None and kept.status is LeaseStatus.ACTIVE

    # -- one credential ------------------------------------------------------------------------------------------------------

    async def _one(
        self, state: TaskState, credential: Credential, where: Where, call: ActionRequest | None = None
    ) -> Lent:
        """The lease a task has, or a new one; however many ask at once, one is made."""
        if credential.lease == "grant":
            narrow = await narrowed(credential, call, self._authorize.facts)
            return await self._single(state, credential, where, narrow)
        key = (state.task.id, key_of(credential))
        while key not in self._flights:
            held = self._lent.get(self._of.get(key, LeaseId("")))
            if held is not None and self._clock.now_ms() < held.renew_ms and await self._kept(held):
                return held
            if key not in self._flights:  # somebody may have begun while that was looked at
                self._flights[key] = asyncio.ensure_future(self._make(state, credential, where, fixed(credential)))
                self._flights[key].add_done_callback(lambda done: self._landed(key, done))
        # Whoever waits may go away; what was begun is finished, recorded and there for the next one.
        return await asyncio.shield(self._flights[key])

    async def _kept(self, held: Lent) -> bool:
        if await self.usable(held):
            return True
        self.drop(held.lease)
        self._outcomes.put(LeaseEnding(lease=held.lease, why="its use is no longer permitted"))
        return False

    def _landed(self, key: tuple[TaskId, str], done: "asyncio.Task[Lent]") -> None:
        self._flights.pop(key, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it; nobody may have waited

    async def _single(self, state: TaskState, credential: Credential, where: Where, narrow: Mapping[str, str]) -> Lent:
        """One for one call. Whoever waits may go away: then nobody will ever give it back, so it is given back here."""
        making = asyncio.ensure_future(self._make(state, credential, where, narrow))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            making.add_done_callback(self._unclaimed)
            raise

    def _unclaimed(self, done: "asyncio.Task[Lent]") -> None:
        if not done.cancelled() and done.exception() is None:
            self.give_back([done.result().lease], "its request went away")

    async def _make(self, state: TaskState, credential: Credential, where: Where, narrow: Mapping[str, str]) -> Lent:
        """Steps 1 to 5."""
        request = self._request(state, credential, where, narrow)
        provider = self._provider(credential)
        asked: list[Lease] = []

        def lending(execution: ExecutionId, at_ms: int) -> LeaseAsked:
            longest_s = provider.longest_s(credential.ttl_s)
            asked[:] = [self._lease(state.task, credential, execution, at_ms, longest_s)]
            self.asking.add(asked[0].id)
            return LeaseAsked(lease=asked[0])

        try:
            seen = (self._policy.current().revision, self._store.containment_changes())
            outcome = await self._authorize(request, definition=None, lending=lending)
            if not isinstance(outcome, Granted):
                hold = outcome.hold if isinstance(outcome, Held) else None
                reason = Reason.NEEDS_APPROVAL if isinstance(outcome, Held) else outcome.reason
                raise refused(credential, reason, "its use is not permitted", hold=hold)
            sealed = outcome.grant.claim()
            ask = await self._ask(state.task, credential, asked[0], narrow)
            issued = await self._issued(provider, ask, asked[0], sealed)
        finally:
            self.asking.difference_update(lease.id for lease in asked)
        now, lease = self._clock.now_ms(), asked[0]
        until = min(issued.expires_at_ms, _until(state.task, credential, lease.asked_at_ms))
        lent = Lent(
            lease=lease.id,
            credential=credential,
            request=request,
            task=state.task,
            secret=issued.secret,
            until_ms=until,
            renew_ms=until - (until - now) // RENEW_SHARE,
            seen=seen,
        )
        loan_of([lent])  # a template that does not fit is found out before anybody uses it
        self._lent[lease.id] = lent
        if credential.lease == "task":
            self._of[state.task.id, key_of(credential)] = lease.id
        return lent

    def _provider(self, credential: Credential) -> Provider:
        """Raises CredentialRefusedError: there is none; nothing was decided or asked."""
        try:
            return self._providers(credential)
        except LictorError as error:
            raise refused(credential, error.reason, error.message) from None

    def _request(
        self, state: TaskState, credential: Credential, where: Where, narrow: Mapping[str, str]
    ) -> ActionRequest:
        task = state.task
        told: dict[str, Any] = {
            "provider": credential.provider,
            "lease": credential.lease,
            "ttl_s": credential.ttl_s,
            "destination": credential.destination,
        }
        if narrow:
            told["narrow"] = texts(narrow)
        if where.url:
            told["url"] = where.url
        return ActionRequest.make(
            id=RequestId(self._ids.new("req")),
            kind=ActionKind.CREDENTIAL,
            server=credential.server,
            name=credential.name,
            arguments=SealedArguments.seal(told),
            agent=task.agent,
            human=task.human,
            task=task.id,
        )

    def _lease(self, task: Task, credential: Credential, execution: ExecutionId, at_ms: int, longest_s: int) -> Lease:
        """Its end is that of what may be made, however short we lend it: without an answer nobody else knows of it."""
        return Lease(
            id=LeaseId(self._ids.new("lease")),
            credential=credential.name,
            server=credential.server,
            destination=credential.destination,
            provider=credential.provider,
            agent=task.agent,
            human=task.human,
            task=task.id,
            execution=execution,
            asked_at_ms=at_ms,
            expires_at_ms=at_ms + int((ISSUE_S + max(1, longest_s)) * 1_000),
        )

    async def _ask(self, task: Task, credential: Credential, lease: Lease, narrow: Mapping[str, str]) -> LeaseAsk:
        """Step 2, and what the provider is asked."""
        try:
            await self._safe.write(note_name(lease.id), sealed_note(Note(credential=credential)))
            subject = await self._subjects.of(task) if self._subjects is not None else None
        except LictorError as error:
            self._never(lease, error.reason)
            raise refused(credential, error.reason, error.message) from None
        left_ms = _until(task, credential, lease.asked_at_ms) - self._clock.now_ms()
        return LeaseAsk(
            lease=lease.id,
            credential=credential,
            agent=task.agent,
            human=task.human,
            task=task.id,
            purpose=task.purpose,
            ttl_s=max(1, left_ms // 1_000),
            narrow=narrow,
            subject_token=subject,
        )

    async def _issued(self, provider: Provider, ask: LeaseAsk, lease: Lease, sealed: SealedArguments) -> Issued:
        """Steps 3 to 5: ask, and make the answer durable. What fails here is recorded as what it is."""
        credential = ask.credential
        try:
            async with asyncio.timeout(ISSUE_S):
                issued = await provider.issue(ask)
        except UpstreamError as error:
            self._failed(lease, sealed, error)
            raise
        except (OperatorError, StoreError) as error:  # of the safe: nobody was asked
            self._never(lease, error.reason)
            raise refused(credential, error.reason, error.message) from None
        except TimeoutError:
            late = UpstreamError(Reason.UPSTREAM_TIMEOUT, "the provider did not answer in time", effect_possible=True)
            self._failed(lease, sealed, late)
            raise late from None
        except BaseException:
            self._unknown(lease, sealed, Reason.INTERNAL)
            raise
        self.managed.lend(lease.id, credential.name, values_of(credential, issued))
        await self._given(lease, credential, issued, sealed)
        return issued

    async def _given(self, lease: Lease, credential: Credential, issued: Issued, sealed: SealedArguments) -> None:
        given = LeaseGiven(lease=lease.id, handle=issued.handle, expires_at_ms=issued.expires_at_ms)
        ended = ExecutionEnded(execution=lease.execution, outcome="executed", sent=sealed.digest)
        try:
            if issued.revocation is not None:
                note = Note(credential=credential, revocation=issued.revocation.reveal())
                await self._safe.write(note_name(lease.id), sealed_note(note))
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(given, ended)))
        except BaseException:
            # It exists, and nobody may use it: written down as soon as that works, then ended.
            self.managed.over(lease.id)
            self._outcomes.put(given)
            self._outcomes.put(ended)
            self._outcomes.put(LeaseEnding(lease=lease.id, why="it could not be recorded in time"))
            raise
        kept = self._store.lease(lease.id)
        if kept is None or kept.status is not LeaseStatus.ACTIVE:
            self.managed.over(lease.id)
            raise refused(credential, Reason.TASK_CLOSED, "its task ended meanwhile")

    # -- what became of an ask that gave nothing ------------------------------------------------------------------------------

    def _never(self, lease: Lease, reason: Reason) -> None:
        self._outcomes.put(
            ExecutionEnded(execution=lease.execution, outcome="failed", reason=reason.value),
            LeaseEnded(lease=lease.id, outcome="never", why=reason.value),
        )

    def _failed(self, lease: Lease, sealed: SealedArguments, error: UpstreamError) -> None:
        if error.effect_possible:
            self._unknown(lease, sealed, error.reason)
        else:
            self._never(lease, error.reason)

    def _unknown(self, lease: Lease, sealed: SealedArguments, reason: Reason) -> None:
        execution = lease.execution
        self._outcomes.put(
            ExecutionEnded(execution=execution, outcome="indeterminate", reason=reason.value, sent=sealed.digest)
        )
        self._outcomes.put(LeaseEnding(lease=lease.id, why="nobody knows whether it was made"))


def _until(task: Task, credential: Credential, asked_at_ms: int) -> int:
    """How long a credential is lent at most, whatever it lives (CRED-11)."""
    ttl_ms = min(credential.ttl_s, MAX_TTL_S) * 1_000
    return max(asked_at_ms + 1, min(asked_at_ms + ttl_ms, task.expires_at_ms))
