"""One recorded request with everything its decision read, found in the log by its time: bounded work in a log of any length.

What was sealed is checked against its digests before anybody sees it. Reads in steps between which the event loop gets on with
its work. Refuses to know policy.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

import msgspec

from lictor.console.records_tail import STEP, Logged, decoded
from lictor.model.action import ActionRequest, action_words
from lictor.model.errors import CallerError, StoreError
from lictor.model.ids import RequestId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestReceived
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.ports import RecordStore, StoredEntry
from lictor.service.calls.recorded import rebuilt, received

SLACK_MS: Final = 60_000
"""Records stand in the order of their commits; their times may differ from it so much."""
MAX_LOOKED: Final = 50_000
"""Entries looked at for one request; a gateway that writes more in two minutes is asked by `lictor policy explain`."""
MAX_ID: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A recorded request and its decision."""

    request: ActionRequest
    snapshot: Snapshot
    made: DecisionMade
    seq: int
    """Of the decision."""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lately:
    """One line of recent decisions, to choose from."""

    request: str
    at_ms: int
    agent: str
    action: str
    outcome: str
    reason: str


async def find(store: RecordStore, name: str) -> Asked:
    """A request by its id.

    Raises:
        CallerError: there is none, or what was sealed with it was erased.
        StoreError: `log_damaged`: what was sealed is not what was recorded.
    """
    payload = store.payload(RequestId(name)) if 0 < len(name) <= MAX_ID else None
    if payload is None:
        raise CallerError(Reason.INVALID_ARGUMENTS, "no request of this name can be read back: unknown, or erased")
    try:
        snapshot = Snapshot.decode(payload.snapshot)
    except msgspec.MsgspecError as error:
        raise StoreError(Reason.LOG_DAMAGED, "the sealed facts of this request are of another version") from error
    asked, made, seq, at_ms = await _records(store, RequestId(name), snapshot.at_ms)
    request = rebuilt(asked, payload.arguments)
    if received(request) != asked or snapshot_digest(payload.snapshot) != made.snapshot:
        raise StoreError(Reason.LOG_DAMAGED, "what was sealed with this request is not what was recorded")
    return Asked(request=request, snapshot=snapshot, made=made, seq=seq, at_ms=at_ms)


def lately(logged: tuple[Logged, ...], most: int) -> list[Lately]:
    """The newest decisions with what was asked; both are in one commit, the request first."""
    asked: dict[str, RequestReceived] = {}
    found: list[Lately] = []
    for one in logged:
        record = one.record
        if isinstance(record, RequestReceived):
            asked[record.request] = record
        elif isinstance(record, DecisionMade) and (request := asked.get(record.request)) is not None:
            found.append(
                Lately(
                    request=record.request,
                    at_ms=one.at_ms,
                    agent=request.agent,
                    action=action_words(request.kind, request.server, request.name),
                    outcome=record.outcome,
                    reason=record.reason,
                )
            )
    return found[-most:][::-1]


async def _records(store: RecordStore, name: RequestId, at_ms: int) -> tuple[RequestReceived, DecisionMade, int, int]:
    """The two records of a request."""
    start = begin(store, at_ms - SLACK_MS)
    end = min(store.size(), start + MAX_LOOKED)
    mark, asked = name.encode(), None
    while start < end:
        stop = min(end, start + STEP)
        for entry in store.entries(start, stop):
            if mark not in entry.data:
                continue
            found = decoded(entry)
            if isinstance(found.record, RequestReceived) and found.record.request == name:
                asked = found.record
            elif isinstance(found.record, DecisionMade) and found.record.request == name and asked is not None:
                return asked, found.record, entry.seq, found.at
        start = stop
        await asyncio.sleep(0)
    raise CallerError(Reason.INVALID_ARGUMENTS, "the decision on this request is not where its time says")


def begin(store: RecordStore, at_ms: int) -> int:
    """The first entry that is not older, by halving: entries stand in the order of time, give or take `SLACK_MS`."""
    low, high = 0, store.size()
    while low < high:
        middle = (low + high) // 2
        entry: StoredEntry | None = next(iter(store.entries(middle, middle + 1)), None)
        if entry is None or decoded(entry).at >= at_ms:
            high = middle
        else:
            low = middle + 1
    return low
