"""Measures between the store and the decision: what is read before it, what is moved after it, and whose turn it is.

A decision is made on versions; the commit refuses versions that moved. So calls in parallel are always right, and the loser
decides again on the new total. Within a process losers queue by row (`Turns`), and so does everybody who comes while they
do: each gets a true answer, none a spurious `conflict`. Between processes the versions alone decide.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from lictor.model.action import ActionRequest
from lictor.model.errors import ConflictError
from lictor.model.history import Measure, Move, Reading
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskState
from lictor.pdp import tally
from lictor.pdp.decide import Pdp
from lictor.pdp.measures import Asked, Share, asked_of, moves_of, shares_once
from lictor.pdp.refused import Refused
from lictor.ports import RecordStore

MOVED_ATTEMPTS = 64
"""Times a decision is made again because a measure moved: each time somebody else got on, so only a flood gets here."""


def readings_of(
    store: RecordStore,
    pdp: Pdp,
    request: ActionRequest,
    state: TaskState | None,
    at_ms: int,
    resolved: Mapping[str, str],
) -> dict[str, tuple[Reading, ...]]:
    """Every measure of the bundle as it stands for a request. One that cannot be named is left out: `decide` says why."""
    asked = _asked(pdp, request, state, resolved)
    if asked is None:
        return {}
    found = {}
    for name, share in shares_once(pdp.measures, asked).items():
        if isinstance(share, Share):
            measure = pdp.measures[name]
            found[name] = tuple([_reading(store, measure, key, share.members, at_ms) for key in share.keys])
    return found


def moves_after(pdp: Pdp, request: ActionRequest, snapshot: Snapshot) -> tuple[Move, ...]:
    """What an allowed request does to the measures.

    Raises:
        ConflictError: `unknown_measure`: the bundle is not the one that was decided with.
    """
    asked = _asked(pdp, request, snapshot.task, snapshot.resolved)
    if asked is None:
        return ()
    try:
        return moves_of(pdp.measures, asked, snapshot.measures)
    except Refused as refused:
        raise ConflictError(refused.reason, str(refused)) from refused


def rows_of(pdp: Pdp, request: ActionRequest, state: TaskState | None, resolved: Mapping[str, str]) -> tuple[str, ...]:
    """The rows a request reads or moves, sorted."""
    asked = _asked(pdp, request, state, resolved)
    if asked is None:
        return ()
    shares = shares_once(pdp.measures, asked).values()
    return tuple(sorted({key for share in shares if isinstance(share, Share) for key in share.keys}))


class Turns:
    """Locks by row, made when they are wanted. For one event loop."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._wanted: Counter[str] = Counter()

    @property
    def any(self) -> bool:
        """Whether anybody queues at all."""
        return bool(self._locks)

    @asynccontextmanager
    async def of(self, rows: tuple[str, ...]) -> AsyncIterator[None]:
        """Wait until nobody else has one of these rows. They are sorted, so nobody waits in a circle."""
        held: list[asyncio.Lock] = []
        self._wanted.update(rows)
        try:
            for row in rows:
                lock = self._locks.setdefault(row, asyncio.Lock())
                await lock.acquire()
                held.append(lock)
            yield
        finally:
            for lock in held:
                lock.release()
            for row in rows:
                self._wanted[row] -= 1
                if not self._wanted[row]:
                    del self._wanted[row]
                    self._locks.pop(row, None)


def _asked(pdp: Pdp, request: ActionRequest, state: TaskState | None, resolved: Mapping[str, str]) -> Asked | None:
    """The request as measures see it; None where there are no measures, or `decide` denies it before it comes to them."""
    if not pdp.measures or state is None:
        return None
    offering = pdp.offering(request.kind, request.server, request.name)
    if offering is None:
        return None
    return asked_of(request, state.task.root, offering.entry, pdp.directory, resolved)


def _reading(store: RecordStore, measure: Measure, key: str, members: tuple[str, ...], at_ms: int) -> Reading:
    # The total first: whoever changes a member changes the total's version too, and the commit finds out.
    total = store.measure(key) or tally.NOTHING
    counted = 0
    for name in members:
        counted += tally.counts_at(store.member(key, name), total, measure, at_ms)
    return Reading(key=key, version=total.version, before=tally.total_at(total, measure, at_ms), counted=counted)
