"""Recorded requests with the decisions on them, read from the log in order and bounded in memory. Refuses to judge them.

If the process dies here, nothing is lost: it only reads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.errors import LictorError, StoreError
from lictor.model.ids import AgentId, PolicyRevision, RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionStarted, LogEntry, RequestReceived, decode_entry
from lictor.model.snapshot import Snapshot, snapshot_digest
from lictor.pdp.decide import Pdp
from lictor.policy.rebase import Basis, basis_of
from lictor.ports import Payload, StoredEntry
from lictor.service.calls.recorded import rebuilt, received

_T = TypeVar("_T")

Compile = Callable[[PolicyRevision, dict[str, bytes]], Pdp]
"""Compile kept bundle files; raises OperatorError when they do not compile or are not of that revision."""

LOOK_BACK: Final = 64
"""Entries before a range in which the request of its first decision is looked for: they are committed together."""
_MAX_WAITING: Final = 10_000
"""Requests kept until their decision comes; the oldest goes first."""

_MAX_BUNDLES: Final = 8
"""Bundles kept compiled: a log goes through them in order, but gateways may overlap."""


class Recorded(Protocol):
    """What is read of a log: a part of `ports.RecordStore`, which a reader that can write nothing has as well."""

    def entries(self, start: int = 0, stop: int | None = None) -> Iterator[StoredEntry]:
        """See `RecordStore.entries`."""
        ...

    def payload(self, request: RequestId) -> Payload | None:
        """See `RecordStore.payload`."""
        ...

    def erased(self, task: TaskId) -> tuple[int, str] | None:
        """See `RecordStore.erased`."""
        ...

    def bundle(self, revision: PolicyRevision) -> dict[str, bytes] | None:
        """See `RecordStore.bundle`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which decisions are looked at; members that are empty leave nothing out."""

    since_ms: int = 0
    task: TaskId | None = None
    agent: AgentId | None = None
    start: int = 0
    stop: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """One decision in the log. `asked` is None when its request is not beside it."""

    seq: int
    at_ms: int
    asked: RequestReceived | None
    decided: DecisionMade


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one decision was made on, proved by its digests, and by what bundle it was gathered."""

    request: ActionRequest
    snapshot: Snapshot
    basis: Basis


def passed(
    store: Recorded, wanted: Wanted, on_progress: Callable[[int], None] | None = None, *, started: bool = False
) -> Iterator[Passed]:
    """The decisions that are wanted, in order.

    Args:
        store: the log.
        wanted: which.
        on_progress: told how many entries were read.
        started: only those that something was started on.

    Raises:
        StoreError: `log_damaged`: an entry cannot be read.
    """
    waiting: dict[RequestId, RequestReceived] = {}
    decided: dict[RequestId, Passed] = {}
    for entry in store.entries(max(0, wanted.start - LOOK_BACK), wanted.stop):
        if on_progress is not None:
            on_progress(entry.seq + 1)
        logged = _decoded(entry)
        record = logged.record
        if isinstance(record, RequestReceived):
            _keep(waiting, record.request, record)
        elif isinstance(record, DecisionMade):
            asked = waiting.pop(record.request, None)
            if entry.seq >= wanted.start and logged.at >= wanted.since_ms and _about(wanted, asked):
                one = Passed(seq=entry.seq, at_ms=logged.at, asked=asked, decided=record)
                if started:
                    _keep(decided, record.request, one)
                else:
                    yield one
        elif isinstance(record, ExecutionStarted) and record.request in decided:
            yield decided.pop(record.request)


def _decoded(entry: StoredEntry) -> LogEntry:
    try:
        return decode_entry(entry.data)
    except msgspec.MsgspecError as error:
        message = f"entry {entry.seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error


def _keep(kept: dict[RequestId, _T], request: RequestId, one: _T) -> None:
    kept[request] = one
    if len(kept) > _MAX_WAITING:
        kept.pop(next(iter(kept)))


def _about(wanted: Wanted, asked: RequestReceived | None) -> bool:
    if asked is None:
        return wanted.task is None and wanted.agent is None
    return wanted.task in {None, asked.task} and wanted.agent in {None, asked.agent}


class Bundles:
    """Bundles by revision, compiled once each from what was kept of them; the newest few stay."""

    def __init__(self, store: Recorded, compile_bundle: Compile) -> None:
        self._store = store
        self._compile = compile_bundle
        self._pdps: dict[PolicyRevision, Pdp | str] = {}

    def of(self, revision: PolicyRevision) -> Pdp | str:
        """The bundle compiled; or, for people, why there is none."""
        if revision not in self._pdps:
            self._pdps[revision] = self._load(revision)
            if len(self._pdps) > _MAX_BUNDLES:
                self._pdps.pop(next(iter(self._pdps)))
        return self._pdps[revision]

    def _load(self, revision: PolicyRevision) -> Pdp | str:
        files = self._store.bundle(revision)
        if files is None:
            return f"bundle {revision} was not kept"
        try:
            return self._compile(revision, files)
        except LictorError as error:
            return f"bundle {revision} does not compile any more: {error}"


class Reader:
    """Reads the facts of decisions back. Bundles are compiled once each."""

    def __init__(self, store: Recorded, compile_bundle: Compile) -> None:
        self._store = store
        self._bundles = Bundles(store, compile_bundle)

    def facts(self, one: Passed) -> Facts | str:
        """What a decision was made on; or why that is not known."""
        if one.asked is None:
            return "its request is not in the log"
        try:
            payload = self._store.payload(one.decided.request)
        except StoreError as error:
            if error.reason is not Reason.LOG_DAMAGED:
                raise
            return "what was sealed does not open"
        if payload is None:
            return "erased"
        request = rebuilt(one.asked, payload.arguments)
        if received(request) != one.asked or snapshot_digest(payload.snapshot) != one.decided.snapshot:
            return "what was sealed is not what was recorded"
        try:
            snapshot = Snapshot.decode(payload.snapshot)
        except msgspec.MsgspecError:
            return "its facts are of another version"
        pdp = self._bundles.of(one.decided.revision)
        if isinstance(pdp, str):
            return "its bundle was not kept, or does not compile any more"
        return Facts(request=request, snapshot=snapshot, basis=basis_of(pdp, request))
