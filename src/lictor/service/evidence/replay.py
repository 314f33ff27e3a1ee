"""Decide every recorded request again, from its record, and compare bit for bit.

Replay reads what was sealed with the request and the bundle revision it was decided under; nothing live. A difference means the
record, the engine or this code changed, and is reported, never smoothed over. Ranges of a log replay apart from each other, and
what they showed adds up (`merged`): memory grows neither with the log nor with its faults. Refuses to know processes.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from lictor.model.action import ActionRequest, action_words
from lictor.model.errors import CallerError, LictorError, StoreError
from lictor.model.ids import RequestId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestReceived, decode_entry
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.pdp.decide import Pdp, decide
from lictor.ports import Payload, RecordStore
from lictor.service.calls.recorded import made, rebuilt, received
from lictor.service.calls.traffic import Bundles, Compile, Recorded, Wanted, passed

MAX_FAULTS: Final = 1_000
"""Faults that are described; those behind them are only counted."""


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


FAULTS: Final = frozenset({ReplayStatus.DIFFERENT, ReplayStatus.BROKEN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One decision, replayed."""

    seq: int
    request: RequestId
    action: str
    status: ReplayStatus
    detail: str = ""


class ReplayReport(msgspec.Struct, kw_only=True):
    """What replaying a range of the log showed; ranges add up (`merged`)."""

    counts: dict[str, int]
    """By status; every status is there."""
    faults: list[Replayed]
    """The first `MAX_FAULTS`, in the order of the log."""

    @property
    def decisions(self) -> int:
        """How many there were."""
        return sum(self.counts.values())

    @property
    def faulty(self) -> int:
        """How many are not what was recorded, described or not."""
        return sum(self.counts[status] for status in FAULTS)


class Replay:
    """Replays a log's decisions."""

    def __init__(self, store: Recorded, compile_bundle: Compile) -> None:
        self._store = store
        self._bundles = Bundles(store, compile_bundle)

    def __call__(
        self, wanted: Wanted | None = None, *, on_progress: Callable[[int], None] | None = None
    ) -> Iterator[Replayed]:
        """Every decision that is wanted (None: all), in order, streamed.

        Raises:
            StoreError: `log_damaged`: an entry cannot be read at all.
        """
        for one in passed(self._store, wanted or Wanted(), on_progress):
            yield self._one(one.seq, one.asked, one.decided)

    def _one(self, seq: int, asked: RequestReceived | None, recorded: DecisionMade) -> Replayed:
        status, detail = self._again(asked, recorded)
        action = action_words(asked.kind, asked.server, asked.name) if asked else ""
        return Replayed(seq=seq, request=recorded.request, action=action, status=status, detail=detail)

    def _again(self, asked: RequestReceived | None, recorded: DecisionMade) -> tuple[ReplayStatus, str]:
        if asked is None:
            return ReplayStatus.BROKEN, "the decision's request is not in the log"
        try:
            payload = self._store.payload(recorded.request)
        except StoreError as error:
            if error.reason is not Reason.LOG_DAMAGED:
                raise
            return ReplayStatus.BROKEN, str(error)
        if payload is None:
            # Who takes away what was sealed, and does not say so, takes away the proof of what was decided.
            if self._store.erased(asked.task) is None:
                return ReplayStatus.BROKEN, "what was sealed with it is gone, and no record says that it was erased"
            return ReplayStatus.ERASED, "the sealed payload was erased"
        pdp = self._bundles.of(recorded.revision)
        if isinstance(pdp, str):
            return ReplayStatus.BROKEN, pdp
        try:
            again = _decide_again(pdp, asked, recorded, payload)
        except (LictorError, msgspec.MsgspecError) as error:
            return ReplayStatus.BROKEN, str(error)
        if again == recorded:
            return ReplayStatus.IDENTICAL, ""
        if _was_late(recorded, again):
            return ReplayStatus.LATE, f"in time it would have been: {again.outcome} ({again.reason})"
        return ReplayStatus.DIFFERENT, _difference(recorded, again)


def counted(replayed: Iterable[Replayed]) -> ReplayReport:
    """What a range showed, in bounded memory."""
    counts: dict[str, int] = {status.value: 0 for status in ReplayStatus}
    faults: list[Replayed] = []
    for one in replayed:
        counts[one.status] += 1
        if one.status in FAULTS and len(faults) < MAX_FAULTS:
            faults.append(one)
    return ReplayReport(counts=counts, faults=faults)


def merged(ranges: Iterable[ReplayReport]) -> ReplayReport:
    """What consecutive ranges showed, as one."""
    whole = ReplayReport(counts={status.value: 0 for status in ReplayStatus}, faults=[])
    for one in ranges:
        for status, count in one.counts.items():
            whole.counts[status] += count
        whole.faults += one.faults[: MAX_FAULTS - len(whole.faults)]
    return whole


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
    # Encoded again by `decide`, so that facts which do not come back as they were sealed show in the digest.
    return made(pdp, recorded.decision, request, decide(pdp, request, Snapshot.decode(payload.snapshot)))


def _was_late(recorded: DecisionMade, again: DecisionMade) -> bool:
    """Whether the only difference is that the recorded decision was thrown away for being late (`Authorize`).

    Only a denial without policies can be: time never explains an allow. Deciding never ends with that reason by itself, so
    `again` has it only where it is the record, marked as not fitting.
    """
    late = Reason.POLICY_TIMEOUT.value
    if recorded.reason != late or again.reason == late:
        return False
    expected = msgspec.structs.replace(
        again, outcome="deny", reason=late, policies=(), approvers=(), needs=(), errors=recorded.errors
    )
    return expected == recorded


def _difference(recorded: DecisionMade, again: DecisionMade) -> str:
    changed = [
        f"{name}: {getattr(recorded, name)!r} -> {getattr(again, name)!r}"
        for name in DecisionMade.__struct_fields__
        if getattr(recorded, name) != getattr(again, name)
    ]
    return "; ".join(changed)[:500]
