"""Decide every recorded request again, from its record, and compare bit for bit.

Replay reads what was sealed with the request and the bundle revision it was decided under; nothing live. A difference means the
record, the engine or this code changed, and is reported, never smoothed over.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from lictor.model.action import ActionRequest, action_words
from lictor.model.errors import CallerError, LictorError
from lictor.model.ids import PolicyRevision, RequestId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestReceived, decode_entry
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.pdp.decide import Pdp, decide
from lictor.ports import Payload, RecordStore
from lictor.service.authorize import made, rebuilt, received


class ReplayStatus(StrEnum):
    """What replaying one decision showed."""

    IDENTICAL = "identical"
    DIFFERENT = "different"
    LATE = "late"
    """Denied because the decision came after its deadline. How long it took is not repeatable: all else fits together."""
    ERASED = "erased"
    """The sealed payload was erased with its task key: the decision stands, but cannot be replayed."""
    BROKEN = "broken"
    """Record, payload and bundle do not fit together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One decision, replayed."""

    seq: int
    request: RequestId
    action: str
    status: ReplayStatus
    detail: str = ""


Compile = Callable[[PolicyRevision, dict[str, bytes]], Pdp]
"""Compile kept bundle files; raises OperatorError when they do not compile or are not of that revision."""


class Replay:
    """Replays a store's decisions."""

    def __init__(self, store: RecordStore, compile_bundle: Compile) -> None:
        self._store = store
        self._compile = compile_bundle
        self._pdps: dict[PolicyRevision, Pdp | str] = {}

    def __call__(self, *, on_progress: Callable[[int], None] | None = None) -> Iterator[Replayed]:
        """Every decision in the log, in order, streamed."""
        requests: dict[RequestId, RequestReceived] = {}
        for entry in self._store.entries():
            record = decode_entry(entry.data).record
            if isinstance(record, RequestReceived):
                requests[record.request] = record
            elif isinstance(record, DecisionMade):
                asked = requests.pop(record.request, None)
                yield self._one(entry.seq, asked, record)
            if on_progress is not None:
                on_progress(entry.seq + 1)

    def _one(self, seq: int, asked: RequestReceived | None, recorded: DecisionMade) -> Replayed:
        def result(status: ReplayStatus, detail: str = "") -> Replayed:
            action = action_words(asked.kind, asked.server, asked.name) if asked else ""
            return Replayed(seq=seq, request=recorded.request, action=action, status=status, detail=detail)

        if asked is None:
            return result(ReplayStatus.BROKEN, "the decision's request is not in the log")
        payload = self._store.payload(recorded.request)
        if payload is None:
            return result(ReplayStatus.ERASED, "the sealed payload was erased")
        pdp = self._pdp(recorded.revision)
        if isinstance(pdp, str):
            return result(ReplayStatus.BROKEN, pdp)
        try:
            again = _decide_again(pdp, asked, recorded, payload)
        except (LictorError, msgspec.MsgspecError) as error:
            return result(ReplayStatus.BROKEN, str(error))
        if again == recorded:
            return result(ReplayStatus.IDENTICAL)
        if _was_late(recorded, again):
            return result(ReplayStatus.LATE, f"in time it would have been: {again.outcome} ({again.reason})")
        return result(ReplayStatus.DIFFERENT, _difference(recorded, again))

    def _pdp(self, revision: PolicyRevision) -> Pdp | str:
        if revision not in self._pdps:
            self._pdps[revision] = self._load(revision)
        return self._pdps[revision]

    def _load(self, revision: PolicyRevision) -> Pdp | str:
        files = self._store.bundle(revision)
        if files is None:
            return f"bundle {revision} was not kept"
        try:
            return self._compile(revision, files)
        except LictorError as error:
            return f"bundle {revision} does not compile any more: {error}"


def recorded_facts(store: RecordStore, request_id: RequestId) -> tuple[ActionRequest, Snapshot]:
    """What one recorded request was decided on.

    Raises:
        CallerError: there is no such request, or its payload was erased.
    """
    payload = store.payload(request_id)
    asked = next(
        (
            record
            for entry in store.entries()
            if isinstance(record := decode_entry(entry.data).record, RequestReceived) and record.request == request_id
        ),
        None,
    )
    if payload is None or asked is None:
        raise CallerError(
            Reason.INVALID_ARGUMENTS, f"no request {request_id[:64]!r} can be read back", remedy="see: lictor log show"
        )
    return rebuilt(asked, payload.arguments), Snapshot.decode(payload.snapshot)


def _decide_again(pdp: Pdp, asked: RequestReceived, recorded: DecisionMade, payload: Payload) -> DecisionMade:
    """Rebuild request and snapshot from the record, check every digest on the way, decide."""
    request = rebuilt(asked, payload.arguments)
    if received(request) != asked:
        return msgspec.structs.replace(recorded, errors=("the sealed arguments are not those of the record",))
    if snapshot_digest(payload.snapshot) != recorded.snapshot:
        return msgspec.structs.replace(recorded, errors=("the sealed snapshot is not that of the record",))
    return made(recorded.decision, request, decide(pdp, request, Snapshot.decode(payload.snapshot)))


def _was_late(recorded: DecisionMade, again: DecisionMade) -> bool:
    """Whether the only difference is that the recorded decision was thrown away for being late (`Authorize`).

    Only a denial without policies can be: time never explains an allow. Deciding never ends with that reason by itself, so
    `again` has it only where it is the record, marked as not fitting.
    """
    late = Reason.POLICY_TIMEOUT.value
    if recorded.reason != late or again.reason == late:
        return False
    expected = msgspec.structs.replace(
        again, outcome="deny", reason=late, policies=(), approvers=(), errors=recorded.errors
    )
    return expected == recorded


def _difference(recorded: DecisionMade, again: DecisionMade) -> str:
    changed = [
        f"{name}: {getattr(recorded, name)!r} -> {getattr(again, name)!r}"
        for name in DecisionMade.__struct_fields__
        if getattr(recorded, name) != getattr(again, name)
    ]
    return "; ".join(changed)[:500]
