"""Lay restrictions on agents, owners, tasks, servers or actions, and lift them. Laying needs nobody; lifting needs a person."""

from collections.abc import Sequence

from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import HumanId
from lictor.model.reasons import Reason
from lictor.model.record import ContainmentLaid, ContainmentLifted
from lictor.ports import Batch, Clock, Ids, RecordStore


class Contain:
    """Containment: in force from the commit on, for every gateway on the same store."""

    def __init__(self, *, store: RecordStore, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def lay(self, scope: Scope, target: str, restriction: Restriction, *, by: str, why: str = "") -> Containment:
        """Restrict.

        Args:
            target: an agent, owner, task, server or action (`server/tool`); empty for everything.

        Raises:
            CallerError: `conflict`: scope and target do not fit each other.
            StoreError: it could not be recorded: nothing is restricted, say so loudly.
        """
        if bool(target) is (scope is Scope.EVERYTHING):
            raise CallerError(Reason.CONFLICT, "everything has no target, and every other scope has one")
        now = self._clock.now_ms()
        laid = Containment(
            id=self._ids.new("cnt"), scope=scope, target=target, restriction=restriction, by=by, why=why, laid_at_ms=now
        )
        await self._store.commit(Batch(at_ms=now, records=(ContainmentLaid(containment=laid),)))
        return laid

    async def lift(self, containment: str, *, by: HumanId, why: str) -> None:
        """Take a restriction away. A person does, and says why.

        Raises:
            CallerError: `conflict`: no reason given.
            ConflictError: `conflict`: there is none of that id.
        """
        if not why.strip():
            raise CallerError(Reason.CONFLICT, "say why the restriction is lifted")
        record = ContainmentLifted(containment=containment, by=by, why=why)
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))

    def in_force(self) -> Sequence[Containment]:
        """Everything that is restricted now, oldest first."""
        return self._store.containments()
