"""Steps 7 to 9: claim the grant, send the sealed bytes at most once, record what became of it.

If the process dies after the send and before the outcome is durable, the execution stays `started`; recovery turns it into
*Indeterminate*. The reply does not wait for the outcome's commit: losing it costs certainty, never truth.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lictor.model.action import SealedArguments
from lictor.model.canonical import sha256_digest
from lictor.model.errors import StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.grant import Grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came back: raw result text (or error text) and whether the server called it an error."""

    body: bytes
    is_error: bool


Send = Callable[[SealedArguments], Awaitable[Sent]]


class Execute:
    """Carries out grants."""

    def __init__(self, *, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pending: set[asyncio.Task[None]] = set()

    async def __call__(self, grant: Grant, send: Send) -> Sent:
        """Send once and record the outcome.

        Raises:
            ConflictError: the grant was claimed before; nothing was sent.
            UpstreamError: the server failed; recorded as `failed` (nothing left us) or `indeterminate`.
        """
        sealed = grant.claim()
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
        self._record(
            ExecutionEnded(
                execution=grant.execution,
                outcome="executed",
                sent=sealed.digest,
                result=sha256_digest(sent.body),
                is_error=sent.is_error,
            )
        )
        return sent

    async def drain(self) -> None:
        """Wait for outcomes still on their way to the store."""
        while self._pending:
            await asyncio.gather(*self._pending, return_exceptions=True)

    def _unknown(self, grant: Grant, sealed: SealedArguments, reason: Reason) -> None:
        self._record(
            ExecutionEnded(execution=grant.execution, outcome="indeterminate", reason=reason.value, sent=sealed.digest)
        )

    def _record(self, ended: ExecutionEnded) -> None:
        task = asyncio.get_running_loop().create_task(self._commit(ended))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _commit(self, ended: ExecutionEnded) -> None:
        try:
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(ended,), patient=True))
        except StoreError:
            # Nothing is lost that recovery would not say: the execution stays open and becomes Indeterminate. A store that
            # cannot write refuses the next decision by itself.
            return
