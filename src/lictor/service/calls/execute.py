"""Steps 7 to 9: claim the grant, send the sealed bytes at most once, record what became of it.

If the process dies after the send and before the outcome is durable, the execution stays `started`; recovery turns it into
*Indeterminate*. The reply does not wait for the outcome's commit (`service.calls.outcomes`): losing it costs certainty, never
truth.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from lictor.model.action import SealedArguments
from lictor.model.canonical import sha256_digest
from lictor.model.errors import ConflictError, LictorError, StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.calls.grant import Grant
from lictor.service.calls.outcomes import Outcomes, Unit
from lictor.service.history.origins import Origins


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: raw result text (or error text) and whether the server called it an error."""

    body: bytes
    is_error: bool
    said: tuple[bytes, ...] = ()
    """What the client said while it ran, beside the arguments: JSON texts. The reply is no source of their values."""


Send = Callable[[SealedArguments], Awaitable[Sent]]


class Execute:
    """Carries out grants."""

    def __init__(
        self,
        *,
        store: RecordStore,
        clock: Clock,
        outcomes: Outcomes | None = None,
        gate: Callable[[Grant], None] | None = None,
    ) -> None:
        """Outcomes go into the queue given, or into one of its own. The gate is asked right before each send."""
        self._store = store
        self._clock = clock
        self._origins = Origins(store)
        self._gate = gate
        self.outcomes = outcomes or Outcomes(store=store, clock=clock)

    async def __call__(self, grant: Grant, send: Send) -> Sent:
        """Send once and record the outcome.

        Raises:
            ConflictError: the grant was claimed before; nothing was sent.
            UpstreamError: the server failed; recorded as `failed` (nothing left us) or `indeterminate`.
            LictorError: the gate refuses (`contained`, `state_unconfirmed`, …); nothing was sent.
            StoreError: it ran, but what its reply holds is not durable: the reply must not be handed on.
        """
        sealed = grant.claim()
        self._let_through(grant)
        try:
            sent = await send(sealed)
        except UpstreamError as error:
            outcome = "indeterminate" if error.effect_possible else "failed"
            digest = sealed.digest if error.effect_possible else ""
            self._record(ExecutionEnded(execution=grant.execution, outcome=outcome, reason=error.reason, sent=digest))
            raise
        except asyncio.CancelledError:
            self._unknown(grant, sealed, Reason.CANCELLED)
            raise
        except BaseException:
            self._unknown(grant, sealed, Reason.INTERNAL)
            raise
        await self._came_back(grant, sealed, sent)
        return sent

    def _let_through(self, grant: Grant) -> None:
        """Between the commit and the send anything can have been stopped, and the store can have hung (`service.calls.guard`).

        Raises:
            LictorError: it does not run; recorded as `failed`, for nothing left us.
        """
        if self._gate is None:
            return
        try:
            self._gate(grant)
        except LictorError as error:
            self._record(ExecutionEnded(execution=grant.execution, outcome="failed", reason=error.reason.value))
            raise

    async def drain(self) -> Sequence[Unit]:
        """Wait for outcomes still on their way to the store; those that did not get there come back (`Outcomes.drain`)."""
        return await self.outcomes.drain()

    async def _came_back(self, grant: Grant, sealed: SealedArguments, sent: Sent) -> None:
        """Record a reply. Labels and values that are new to history are durable before anybody sees it; nothing else waits."""
        ended = ExecutionEnded(
            execution=grant.execution,
            outcome="executed",
            sent=sealed.digest,
            result=sha256_digest(sent.body),
            is_error=sent.is_error,
        )
        if not (grant.content.rules or grant.content.kinds):
            await self._counted(grant, ended)
            return
        request = grant.request
        try:
            given = (sealed.data, *sent.said)
            seen = self._origins.observe(grant.content, request.action, grant.root, sent.body, given)
            ended = msgspec.structs.replace(ended, labels=seen.labels, values=seen.values, source=seen.source)
            if not self._origins.new(request.task, seen):
                await self._counted(grant, ended)
                return
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(ended,)))
        except ConflictError as error:
            # Somebody else has ended it, without what this reply holds.
            raise StoreError(Reason.CANNOT_RECORD, "what the reply holds cannot be recorded") from error
        except BaseException:
            self._record(ended)  # it ran, and that is not lost; but the reply goes to nobody
            raise

    async def _counted(self, grant: Grant, ended: ExecutionEnded) -> None:
        """An outcome that a measure counts is there before the reply: the next call may depend on it ("tests passed")."""
        if not grant.counted:
            self._record(ended)
            return
        try:
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(ended,)))
        except ConflictError:
            return  # somebody else has ended it
        except StoreError:
            self._record(ended)  # counted later: whoever asks before that is told no

    def _unknown(self, grant: Grant, sealed: SealedArguments, reason: Reason) -> None:
        self._record(
            ExecutionEnded(execution=grant.execution, outcome="indeterminate", reason=reason.value, sent=sealed.digest)
        )

    def _record(self, ended: ExecutionEnded) -> None:
        self.outcomes.put(ended)
