"""Ends leases: when what they were for is over, until nobody can use them any more, and never given up silently (facts R21).

Every gateway process runs one. It ends the leases of executions it started itself; those of a dead process are taken over by
whichever process holds the store's turn. A revocation that fails is tried again, ever more slowly, until the provider confirms it
or the credential's own life is over; what is pending is in the records and in `lictor leases`.

Refuses to know providers and transports; decides nothing: it only takes away.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from lictor.model.errors import ConflictError, LictorError, OperatorError
from lictor.model.ids import InstanceId, LeaseId, ServerName, TaskId
from lictor.model.lease import Credential, Lease, LeaseStatus
from lictor.model.reasons import Reason
from lictor.model.record import LeaseEnded, LeaseEnding, LeaseKept, Record
from lictor.model.secret import Secret
from lictor.ports import Batch, Clock, RecordStore, Safe
from lictor.service.calls.standing import ended
from lictor.service.credentials.broker import Broker, Providers
from lictor.service.credentials.loan import Lent, note_name, open_note
from lictor.service.credentials.subjects import Subjects
from lictor.service.policy import PolicyInForce

TICK_S: Final = 1.0
"""Between two looks at what lives: a revoked task's lease is asked back within a second."""
REST_S: Final = 30.0
FIRST_PAUSE_S: Final = 1.0
LAST_PAUSE_S: Final = 60.0
"""Pauses between tries double from the first to the last: a provider that is down is not mended by asking faster."""
REVOKE_S: Final = 30.0
"""One try."""
AT_ONCE: Final = 8
"""Revocations under way at the same time."""
SKEW_MS: Final = 30_000
"""A lease counts as expired only so long after its end: the provider's clock is not ours."""
CLOSE_S: Final = 10.0
"""How long a shutdown waits for revocations; what is left, the next process takes over."""
_WHY: Final = 200

Ended = Callable[[ServerName, TaskId], None]
"""A lease of this server's connection for this task is not to be used any more."""


@dataclass(slots=True)
class _Try:
    attempts: int
    pause_s: float
    next_at: float
    job: "asyncio.Task[None] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """How leases of other processes are judged.

    Attributes:
        dead: of the given instances, those that are provably not running.
        turn: whether this process is the one that takes over what dead ones left.
    """

    dead: Callable[[Iterable[InstanceId]], Collection[InstanceId]]
    turn: Callable[[], bool]


class Reaper:
    """`run` until cancelled, then `close`."""

    def __init__(
        self,
        *,
        broker: Broker,
        store: RecordStore,
        policy: PolicyInForce,
        clock: Clock,
        safe: Safe,
        providers: Providers,
        orphans: Orphans,
        jitter: Callable[[], float],
        say: Callable[[str], None],
        on_ended: Ended = lambda _server, _task: None,
        subjects: Subjects | None = None,
    ) -> None:
        """`jitter`: a number from 0 to 1, so that processes do not ask in step. `subjects`: people's tokens, gone with tasks."""
        self._subjects = subjects
        self._broker = broker
        self._store = store
        self._policy = policy
        self._clock = clock
        self._safe = safe
        self._providers = providers
        self._orphans = orphans
        self._jitter = jitter
        self._say = say
        self._on_ended = on_ended
        self._tries: dict[LeaseId, _Try] = {}
        self._said = ""
        self.calm: Callable[[], bool] = lambda: True
        """Whether the store was just seen to answer: one that hangs would hang the event loop with us."""
        self._rest_until = 0.0

    async def run(self) -> None:
        """Look, end, revoke; for ever. No fault ends it."""
        while True:
            try:
                if self.calm() and not self._rests():
                    await self.tick()
                self._said = ""
            except Exception as error:  # noqa: BLE001 - the next lease must still be ended
                text = f"{type(error).__name__}: {error}" if not isinstance(error, LictorError) else str(error)
                if text != self._said:
                    self._say(f"leases cannot be looked after, and are tried again: {text}")
                self._said = text
            await asyncio.sleep(TICK_S)

    def _rests(self) -> bool:
        """Where nothing can be lent and nothing is on loan here, what dead processes left is looked for now and then."""
        now = asyncio.get_running_loop().time()
        if self._broker.mine() or self._broker.asking or self._tries or self._policy.current().credentials:
            return False
        if now < self._rest_until:
            return True
        self._rest_until = now + REST_S
        return False

    async def stopped(self, task: TaskId, reason: Reason) -> None:
        """A task lost its authority here: its leases begin to end now, not at the next look."""
        for lent in self._broker.mine():
            if lent.request.task == task:
                await self._end(lent, reason.value)
        self._start_due(self._responsible())

    async def tick(self) -> None:
        """One look.

        Raises:
            StoreError: the state cannot be read.
        """
        for lent in self._broker.mine():
            why = await self._over(lent)
            if why:
                await self._end(lent, why)
        mine = self._responsible()
        for lease in mine:
            if lease.status is not LeaseStatus.REVOKING:
                await self._ending(lease)
        self._start_due([self._store.lease(lease.id) or lease for lease in mine])
        if self._subjects is not None:
            await self._subjects.sweep()

    async def close(self, within_s: float = CLOSE_S) -> int:
        """Nothing of ours is used any more: end everything, and revoke what can be revoked in time.

        Returns:
            How many leases are left for the next process.
        """
        for lent in self._broker.mine():
            await self._end(lent, "the gateway ended")
        loop = asyncio.get_running_loop()
        give_up = loop.time() + within_s
        for attempt in self._tries.values():
            attempt.next_at = 0.0
        while (left := self._own_live()) and loop.time() < give_up:
            self._start_due(left)
            jobs = [attempt.job for attempt in self._tries.values() if attempt.job is not None]
            if not jobs:
                await asyncio.sleep(0.05)
                continue
            await asyncio.wait(jobs, timeout=max(0.0, give_up - loop.time()), return_when=asyncio.FIRST_COMPLETED)
        for attempt in self._tries.values():
            if attempt.job is not None:
                attempt.job.cancel()
        return len(self._own_live())

    # -- what is over ------------------------------------------------------------------------------------------------------

    async def _over(self, lent: Lent) -> str:
        """Why one of our leases must end; empty: it goes on."""
        now = self._clock.now_ms()
        if now >= lent.until_ms:
            return "its time is over"
        agents = self._policy.current().agents
        reason = ended(
            lent.task,
            self._store.task,
            self._store.containments(),
            agents,
            now,
            server=lent.credential.server,
            action=lent.request.action,
        )
        if reason is not None:
            return reason.value
        return "" if await self._broker.usable(lent) else "its use is no longer permitted"

    async def _end(self, lent: Lent, why: str) -> None:
        """It is handed out no more from here on, whether or not that can be recorded now."""
        self._broker.drop(lent.lease)
        self._on_ended(lent.credential.server, lent.request.task)
        await self._commit(LeaseEnding(lease=lent.lease, why=why[:_WHY]))

    async def _ending(self, lease: Lease) -> None:
        why = "its process ended" if self._owner(lease) != self._broker.instance else "nobody holds it"
        await self._commit(LeaseEnding(lease=lease.id, why=why))

    def _responsible(self) -> list[Lease]:
        """The leases that this process has to end: its own that nobody here holds or asks for, and what dead ones left."""
        held = {lent.lease for lent in self._broker.mine()} | self._broker.asking
        live = [lease for lease in self._store.leases() if lease.id not in held]
        owners = {lease.id: self._owner(lease) for lease in live}
        others = {owner for owner in owners.values() if owner is not None and owner != self._broker.instance}
        dead = set(self._orphans.dead(others)) if others else set()
        # No execution: its start was never durable, so neither is the lease; what is not known to be ours is a dead one's.
        abandoned = {lease for lease, owner in owners.items() if owner is None or owner in dead}
        taken = abandoned if abandoned and self._orphans.turn() else set()
        return [lease for lease in live if owners[lease.id] == self._broker.instance or lease.id in taken]

    def _own_live(self) -> list[Lease]:
        return [lease for lease in self._store.leases() if self._owner(lease) == self._broker.instance]

    def _owner(self, lease: Lease) -> InstanceId | None:
        started = self._store.execution(lease.execution)
        return started.instance if started is not None else None

    # -- revoking ------------------------------------------------------------------------------------------------------------

    def _start_due(self, leases: Iterable[Lease]) -> None:
        now = asyncio.get_running_loop().time()
        for lease in leases:
            under_way = sum(attempt.job is not None for attempt in self._tries.values())
            if lease.status is not LeaseStatus.REVOKING or under_way >= AT_ONCE:
                continue
            attempt = self._tries.setdefault(lease.id, _Try(lease.attempts, FIRST_PAUSE_S, 0.0))
            if attempt.job is None and now >= attempt.next_at:
                attempt.job = asyncio.ensure_future(self._revoke(lease, attempt))

    async def _revoke(self, lease: Lease, attempt: _Try) -> None:
        try:
            credential, revocation = await self._needed(lease)
            async with asyncio.timeout(REVOKE_S):
                await self._providers(credential).revoke(lease.id, credential, lease.handle, revocation)
            await self._done(lease, "revoked")
        except Exception as error:  # noqa: BLE001 - whatever it was, it is not known to be revoked
            await self._again(lease, attempt, _said(error))
        finally:
            attempt.job = None

    async def _needed(self, lease: Lease) -> tuple[Credential, Secret | None]:
        """The credential as it was, and what revoking needs."""
        sealed = await self._safe.read(note_name(lease.id))
        if sealed is not None:
            note = open_note(sealed)
            return note.credential, Secret(note.revocation) if note.revocation is not None else None
        credential = self._policy.current().credentials.get(f"{lease.server}/{lease.credential}")
        if credential is None:
            raise OperatorError(Reason.UNKNOWN_CREDENTIAL, "neither its sealed note nor its configuration is there")
        return credential, None

    async def _again(self, lease: Lease, attempt: _Try, why: str) -> None:
        """Not confirmed. Each power of two is written down: bounded, and never silent."""
        why = self._broker.managed.scrubber.scrub_text(why)[0][:_WHY]
        attempt.attempts += 1
        attempt.next_at = asyncio.get_running_loop().time() + attempt.pause_s * (0.5 + self._jitter() / 2)
        attempt.pause_s = min(2 * attempt.pause_s, LAST_PAUSE_S)
        try:
            if self._clock.now_ms() >= lease.expires_at_ms + SKEW_MS:
                await self._done(lease, "expired", why)
            elif attempt.attempts & (attempt.attempts - 1) == 0:
                what = f"lease {lease.id} ({lease.server}/{lease.credential})"
                self._say(f"{what} is not revoked after {attempt.attempts} tries: {why}")
                await self._commit(LeaseKept(lease=lease.id, attempts=attempt.attempts, why=why))
        except LictorError as error:
            self._say(f"what became of lease {lease.id} cannot be recorded yet: {error}")

    async def _done(self, lease: Lease, outcome: str, why: str = "") -> None:
        if await self._commit(LeaseEnded(lease=lease.id, outcome=outcome, why=why)):
            self._tries.pop(lease.id, None)
            await self._safe.remove(note_name(lease.id))

    async def _commit(self, record: Record) -> bool:
        """Durable; False when the life cycle says that somebody was first. What the store refuses is found at the next look."""
        try:
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
        except ConflictError:
            return False
        return True


def _said(error: Exception) -> str:
    """What the provider said, for the record; of a defect only its kind, since its text could hold anything."""
    if isinstance(error, LictorError):
        return f"{error.reason.value}: {error.message}"[:_WHY]
    return "no answer in time" if isinstance(error, TimeoutError) else f"defect: {type(error).__name__}"
