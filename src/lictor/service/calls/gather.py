"""Step 3 of an action: every fact its decision may read, as one snapshot. Refuses to know what is decided on it."""

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.approval import Allowance, Approval, Hold, HoldStatus
from lictor.model.history import Origin
from lictor.model.ids import DefinitionDigest
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp.decide import Pdp
from lictor.ports import Clock, RecordStore
from lictor.service.calls.chain import links_of, restrictions_on, scores_of
from lictor.service.history.history import readings_of
from lictor.service.history.origins import Origins


class Gather:
    """Reads the store and the clock, and changes nothing."""

    def __init__(self, store: RecordStore, clock: Clock, origins: Origins) -> None:
        self._store = store
        self._clock = clock
        self._origins = origins

    def __call__(
        self,
        pdp: Pdp,
        request: ActionRequest,
        definition: DefinitionDigest | None,
        live: Hold | None,
        resolved: dict[str, str],
        allowance: Allowance | None = None,
    ) -> Snapshot:
        """The facts of a request, as of now.

        Args:
            pdp: says which facts policy reads.
            request: sealed at the door.
            definition: digest of the live definition; None when the server does not offer the thing.
            live: the hold of this very action, if there is one.
            resolved: where its paths lead.
            allowance: an approval given ahead that covers it.

        Raises:
            StoreError: the state cannot be read.
        """
        approved = live is not None and live.status is HoldStatus.APPROVED
        state = self._store.task(request.task)
        at_ms = self._clock.now_ms()
        approval = live.approval if live is not None and approved else None
        if approval is None and allowance is not None:
            given = allowance.approval
            approval = msgspec.structs.replace(given, allowance=allowance.id, expires_at_ms=allowance.until_ms)
        origins = self.origins(pdp, request, state)
        return snapshot_of(
            self._store, pdp, request, state, at_ms, definition, approval, allowance, resolved=resolved, origins=origins
        )

    def origins(self, pdp: Pdp, request: ActionRequest, state: TaskState | None) -> dict[str, Origin]:
        """Where the values of its watched arguments are from.

        Raises:
            StoreError: the state cannot be read.
        """
        offering = pdp.offering(request.kind, request.server, request.name)
        if offering is None or state is None:
            return {}  # denied for that
        return self._origins.gather(offering.entry, pdp.directory, request, state.task.root)


def snapshot_of(
    store: RecordStore,
    pdp: Pdp,
    request: ActionRequest,
    state: TaskState | None,
    at_ms: int,
    definition: DefinitionDigest | None = None,
    approval: Approval | None = None,
    allowance: Allowance | None = None,
    *,
    resolved: dict[str, str],
    origins: dict[str, Origin],
) -> Snapshot:
    """What the bundle and the store say of a request, with what its caller knows of it.

    Args:
        store: read, not written.
        pdp: says which facts policy reads.
        request: sealed.
        state: of its task, which may be one that is about to be opened.
        at_ms: now.
        definition: digest of the live definition.
        approval: that counts.
        allowance: that it came from.
        resolved: where its paths lead.
        origins: where the values of its watched arguments are from.

    Raises:
        StoreError: the state cannot be read.
    """
    parents, principals = links_of(store, pdp, state)
    return Snapshot(
        at_ms=at_ms,
        revision=pdp.revision,
        agent=pdp.agents.get(request.agent),
        task=state,
        human_groups=pdp.humans.get(request.human, ()),
        definition=definition,
        approval=approval,
        allowance=allowance,
        parents=parents,
        principals=principals,
        containments=restrictions_on(store, pdp, request, state, principals),
        signals=scores_of(store, pdp, state),
        resolved=resolved,
        measures=readings_of(store, pdp, request, state, at_ms, resolved),
        origins=origins,
    )
