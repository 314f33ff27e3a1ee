"""Who signs in and out where holds are answered is on record; so is who proved themselves there and had no business."""

from typing import Final

from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import PartyRefused, Record, SignedIn, SignedOut
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.calls.pace import Pace

BY_SECRET: Final = "secret"  # noqa: S105 - a way of signing in
BY_PASSKEY: Final = "passkey"
_MAX_BY: Final = 300


class Presence:
    """Writes it down, before it counts."""

    def __init__(self, store: RecordStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._refusals = Pace(burst=10, per_s=0.1)

    async def signed_in(self, human: HumanId, how: str, *, passkey: str = "", uses: int = 0) -> None:
        """A person is about to be signed in; `how`: `BY_SECRET`, `BY_PASSKEY`, or the issuer's name.

        Args:
            passkey: id of the passkey they used; its counter is folded with the record.
            uses: that counter.

        Raises:
            StoreError: it cannot be recorded: there is no sign-in; `conflict` also where the counter has not gone forward.
        """
        await self._commit(SignedIn(human=human, how=how, passkey=passkey, uses=uses))

    async def signed_out(self, human: HumanId) -> None:
        """A person has signed out.

        Raises:
            StoreError: it cannot be recorded; they are signed out all the same.
        """
        await self._commit(SignedOut(human=human))

    async def refused(self, who: HumanId) -> None:
        """Somebody whom the issuer knows and the bundle does not. So many times: the log is not theirs to fill.

        Raises:
            StoreError: it cannot be recorded.
        """
        try:
            self._refusals.take(who, self._clock.now_ms())
        except CallerError:
            return
        await self._commit(PartyRefused(by=who[:_MAX_BY], where="sign_in", reason=Reason.NOT_AN_APPROVER.value))

    async def _commit(self, record: Record) -> None:
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
