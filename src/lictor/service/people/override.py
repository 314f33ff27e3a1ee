"""Break-glass: a person opens a hold over one deny of policy. They answer it like any other: with a passkey, and saying why.

Only what policy said can be overridden: never who asks, the task, its budget or contract, the catalogue, what restricts, or
another person's no (DESIGN section 8). The override is for one action, once, and is a finding.
"""

from collections.abc import Mapping

import msgspec

from lictor.model.approval import Hold, Need, Strength
from lictor.model.errors import CallerError
from lictor.model.ids import HoldId, HumanId
from lictor.model.limits import Limits
from lictor.model.preview import preview_digest
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, HoldOpened, RequestReceived, decode_entry
from lictor.model.snapshot import Snapshot
from lictor.pdp.roles import Role
from lictor.ports import Batch, Clock, Ids, Payload, Previewer, RecordStore
from lictor.service.calls.paths import places
from lictor.service.calls.recorded import rebuilt
from lictor.service.calls.requests import preview_key
from lictor.service.policy import PolicyInForce

OVERRIDABLE = frozenset({Reason.FORBIDDEN.value, Reason.NOT_PERMITTED.value})
"""Reasons of a deny that are policy's word and nothing else's."""
LOOK_BACK = 64
"""Entries before a decision among which its request is: they are committed together."""


class Override:
    """Opens a hold over a deny."""

    def __init__(self, *, store: RecordStore, policy: PolicyInForce, clock: Clock, ids: Ids, limits: Limits) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self.previewer: Previewer | None = None
        """Who finds out what would become of it; set where there are servers. None: nobody looks."""

    async def open(self, seq: int, human: HumanId) -> Hold:
        """A pending hold that only those may answer whom `approvers.toml` names as overriders.

        Args:
            seq: sequence number of the decision in the log.

        Raises:
            CallerError: this person overrides nothing, it was no deny of policy, or what it was decided on was erased.
            ConflictError: the task is closed, or there is a hold for the action already (a person's no among them).
        """
        approvers = self._policy.current().approvers
        if Role.OVERRIDER not in approvers.roles_of(human):
            raise CallerError(
                Reason.NOT_AN_APPROVER,
                f"{human!r} overrides nothing",
                remedy="name a group in `overriders` in approvers.toml",
            )
        asked, made = self._found(seq)
        payload = self._store.payload(asked.request)
        if payload is None:
            raise CallerError(Reason.UNKNOWN_APPROVAL, f"what entry {seq} was decided on was erased")
        resolved = Snapshot.decode(payload.snapshot).resolved
        now = self._clock.now_ms()
        hold = Hold(
            id=HoldId(self._ids.new("hold")),
            request=asked.request,
            digest=asked.digest,
            task=asked.task,
            agent=asked.agent,
            human=asked.human,
            kind=asked.kind,
            server=asked.server,
            name=asked.name,
            groups=tuple((group,) for group in sorted(approvers.overriders)),
            needs=tuple(Need(groups=(group,), strength=Strength.PASSKEY) for group in sorted(approvers.overriders)),
            opened_at_ms=now,
            expires_at_ms=now + int(self._limits.hold_ttl_s * 1_000),
            decision=made.decision,
            override=True,
            resolved=places(resolved),
            over=(made.revision, *made.policies),
        )
        encoded = await self._looked(asked, payload.arguments, resolved)
        if not encoded:
            await self._store.commit(Batch(at_ms=now, records=(HoldOpened(hold=hold),)))
            return hold
        hold = msgspec.structs.replace(hold, preview=preview_digest(encoded))
        sealed = Payload(request=preview_key(hold), task=hold.task, arguments=encoded, snapshot=b"")
        await self._store.commit(Batch(at_ms=now, records=(HoldOpened(hold=hold),), payloads=(sealed,)))
        return hold

    async def _looked(self, asked: RequestReceived, arguments: bytes, resolved: Mapping[str, str]) -> bytes:
        """The preview, encoded; empty: its entry asks for none."""
        offering = self._policy.current().offering(asked.kind, asked.server, asked.name)
        if self.previewer is None or offering is None or offering.entry.preview is None:
            return b""
        made = await self.previewer.preview(rebuilt(asked, arguments), offering.entry, resolved)
        return made.encode() if made is not None else b""

    def _found(self, seq: int) -> tuple[RequestReceived, DecisionMade]:
        entries = self._store.entries(max(0, seq - LOOK_BACK), seq + 1) if 0 <= seq < self._store.size() else ()
        records = [decode_entry(entry.data).record for entry in entries]
        made = records[-1] if records else None
        if not isinstance(made, DecisionMade) or made.outcome != "deny" or made.reason not in OVERRIDABLE:
            raise CallerError(Reason.UNKNOWN_APPROVAL, f"entry {seq} is no deny of policy")
        for record in reversed(records):
            if isinstance(record, RequestReceived) and record.request == made.request:
                return record, made
        raise CallerError(Reason.LOG_DAMAGED, f"the request of entry {seq} is not beside it")
