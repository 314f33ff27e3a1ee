"""Decisions as people look for them: newest first, filtered, a page at a time. Only reads.

The newest are kept in memory and followed by sequence number; older ones are read back from the log, a bounded number of
entries for each page. Whoever asks pauses between parts, so that a long search keeps no agent waiting. Refuses to know how they
are drawn.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec.structs import replace

from lictor.model.action import ActionKind, action_words
from lictor.model.errors import StoreError
from lictor.model.ids import AgentId, ExecutionId, RequestId, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import (
    DecisionMade,
    ExecutionStarted,
    HoldOpened,
    LogEntry,
    Record,
    RequestReceived,
    RequestRefused,
    decode_entry,
)
from lictor.ports import RecordStore, StoredEntry

KEPT: Final = 5_000
"""Newest decisions kept in memory."""
FOLLOWED: Final = 20_000
"""Entries read to catch up at most; what is older is read from the log when somebody asks for it."""
SEARCHED: Final = 20_000
"""Entries of the log read for one page at most."""
PART: Final = 500
"""Entries read without a pause."""
LOOK_BACK: Final = 64
"""Entries before a decision among which its request is: they are committed together."""
LOOK_AHEAD: Final = 16
"""Entries behind a decision among which what it led to is; the same."""
SLACK_MS: Final = 60_000
"""Records stand in the order of their commits, and their times may differ so much from it."""
REFUSED: Final = "refused"
"""The answer to what was turned away before policy was asked."""

_TAGS: Final = tuple(
    b'"type":"%b"' % tag
    for tag in (
        b"decision.made",
        b"request.received",
        b"execution.started",
        b"request.refused",
        b"approval.hold_opened",
    )
)


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """One decision, or one ask that was turned away (`answer` is `refused`, and nobody knows what it was)."""

    seq: int
    """Of the decision in the log; of the refusal."""
    at_ms: int
    answer: str
    """`allow`, `deny`, `needs_approval` or `refused`."""
    reason: str
    task: TaskId
    agent: AgentId = AgentId("")
    human: str = ""
    kind: ActionKind = ActionKind.TOOL
    server: str = ""
    name: str = ""
    action: str = ""
    """For people: `server/name`."""
    request: RequestId = RequestId("")
    policies: tuple[str, ...] = ()
    execution: str = ""
    hold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Which decisions are wanted; a member that is empty leaves nothing out."""

    agent: str = ""
    task: str = ""
    action: str = ""
    """Part of its name, in any case."""
    answer: str = ""
    reason: str = ""
    since_ms: int = 0
    until_ms: int = 0

    def fits(self, one: Made) -> bool:
        """Whether a decision is among them."""
        return (
            (not self.answer or one.answer == self.answer)
            and (not self.agent or one.agent == self.agent)
            and (not self.task or one.task == self.task)
            and (not self.reason or one.reason == self.reason)
            and (not self.action or self.action.casefold() in one.action.casefold())
            and self.since_ms <= one.at_ms
            and (not self.until_ms or one.at_ms < self.until_ms)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of decisions, newest first."""

    rows: tuple[Made, ...]
    next: int | None
    """Ask again for what is before this number; None: that is all there is."""
    searched: bool = False
    """The page is not full because enough was read for one answer: there may be more, further back."""


class Decisions:
    """A store's decisions, newest first."""

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._rows: OrderedDict[int, Made] = OrderedDict()
        self._by_request: dict[RequestId, int] = {}
        self._from = 0
        """Every decision at or behind this number is kept."""
        self._upto = -1
        self._turn = asyncio.Lock()

    async def page(self, sought: Sought, *, before: int | None = None, limit: int = 50) -> Found:
        """The newest that are wanted.

        Args:
            before: only those whose number is smaller; None: from the newest.
            limit: how many at most.

        Raises:
            StoreError: `log_damaged`: an entry cannot be read.
        """
        await self._follow()
        at = self._store.size() if before is None else before
        if sought.until_ms:
            at = min(at, self._first_since(sought.until_ms + SLACK_MS))
        rows: list[Made] = []
        for seq in reversed(self._rows):
            if seq < at and sought.fits(self._rows[seq]):
                rows.append(self._rows[seq])
                if len(rows) == limit:
                    return Found(rows=tuple(rows), next=seq if seq > 0 else None)
        return await self._search(sought, min(at, self._from), rows, limit)

    async def find(self, request: RequestId) -> int | None:
        """The number of a request's decision; None: there is none, or it is too far from where its task began.

        Raises:
            StoreError: `log_damaged`: an entry cannot be read.
        """
        await self._follow()
        if request in self._by_request:
            return self._by_request[request]
        payload = self._store.payload(request)
        state = self._store.task(payload.task) if payload is not None else None
        if state is None:
            return None
        start = self._first_since(state.task.opened_at_ms - SLACK_MS)
        name = request.encode()
        for part in range(start, min(self._store.size(), start + SEARCHED), PART):
            for entry in self._store.entries(part, part + PART):
                if (
                    name in entry.data
                    and isinstance(made := _decoded(entry).record, DecisionMade)
                    and made.request == request
                ):
                    return entry.seq
            await asyncio.sleep(0)
        return None

    def one(self, seq: int) -> tuple[Made, tuple[tuple[int, Record], ...]] | None:
        """A decision by its number, and what was recorded with it, each with its own number; None: this entry is none.

        Raises:
            StoreError: `log_damaged`: an entry cannot be read.
        """
        if not 0 <= seq < self._store.size():
            return None
        rows = self._rows_of(seq, seq + 1)
        if not rows:
            return None
        row = rows[0]
        beside = self._store.entries(max(0, seq - LOOK_BACK), seq + LOOK_AHEAD)
        name = row.request.encode()
        mine = [entry for entry in beside if entry.seq == seq or (name and name in entry.data)]
        return row, tuple((entry.seq, _decoded(entry).record) for entry in mine)

    def outcome(self, row: Made) -> str:
        """What became of it, as far as it is known: of its execution, or of its hold. Empty: it led to nothing."""
        if row.execution:
            return self._store.execution_outcome(ExecutionId(row.execution)) or ""
        return ""

    async def newest(self) -> tuple[Made, ...]:
        """All that are kept in memory, oldest first.

        Raises:
            StoreError: `log_damaged`: an entry cannot be read.
        """
        await self._follow()
        return tuple(self._rows.values())

    # -- the newest ----------------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        async with self._turn:
            size = self._store.size()
            if self._upto < 0 or size - self._upto > FOLLOWED:
                self._rows.clear()
                self._by_request.clear()
                self._from = self._upto = max(0, size - FOLLOWED)
            while self._upto < size:
                end = min(size, self._upto + PART)
                self._keep(self._rows_of(self._upto, end))
                self._upto = end
                if self._upto < size:
                    await asyncio.sleep(0)

    def _keep(self, rows: Iterable[Made]) -> None:
        for row in rows:
            self._rows[row.seq] = row
            if row.request:
                self._by_request[row.request] = row.seq
        while len(self._rows) > KEPT:
            seq, old = self._rows.popitem(last=False)
            self._by_request.pop(old.request, None)
            self._from = seq + 1

    # -- older ones ----------------------------------------------------------------------------------------------------------

    async def _search(self, sought: Sought, end: int, rows: list[Made], limit: int) -> Found:
        left = SEARCHED
        while end > 0 and left > 0:
            start = max(0, end - PART)
            for row in reversed(self._rows_of(start, end)):
                if sought.fits(row):
                    rows.append(row)
                    if len(rows) == limit:
                        return Found(rows=tuple(rows), next=row.seq if row.seq > 0 else None)
                elif row.at_ms < sought.since_ms - SLACK_MS:
                    return Found(rows=tuple(rows), next=None)
            left -= end - start
            end = start
            await asyncio.sleep(0)
        return Found(rows=tuple(rows), next=end or None, searched=end > 0)

    def _rows_of(self, start: int, stop: int) -> list[Made]:
        """The decisions whose numbers are in a range, oldest first."""
        asked: dict[RequestId, RequestReceived] = {}
        found: dict[str, Made] = {}
        for entry in self._store.entries(max(0, start - LOOK_BACK), stop + LOOK_AHEAD):
            if not any(tag in entry.data for tag in _TAGS):
                continue
            logged = _decoded(entry)
            record = logged.record
            if isinstance(record, RequestReceived):
                asked[record.request] = record
            elif isinstance(record, ExecutionStarted) and record.request in found:
                hold = record.hold or found[record.request].hold
                found[record.request] = replace(found[record.request], execution=record.execution, hold=hold)
            elif isinstance(record, HoldOpened) and record.hold.request in found:
                found[record.hold.request] = replace(found[record.hold.request], hold=record.hold.id)
            elif start <= entry.seq < stop:
                found |= self._row(entry.seq, logged, asked)
        return sorted(found.values(), key=lambda row: row.seq)

    def _row(self, seq: int, logged: LogEntry, asked: dict[RequestId, RequestReceived]) -> dict[str, Made]:
        record = logged.record
        if isinstance(record, RequestRefused):
            state = self._store.task(record.task)
            agent, human = (state.task.agent, state.task.human) if state is not None else (AgentId(""), "")
            row = Made(
                seq=seq,
                at_ms=logged.at,
                answer=REFUSED,
                reason=record.reason,
                task=record.task,
                agent=agent,
                human=human,
            )
            return {f" {seq}": row}
        if isinstance(record, DecisionMade) and record.request in asked:
            return {record.request: _made(seq, logged.at, asked[record.request], record)}
        return {}

    def _first_since(self, at_ms: int) -> int:
        """The first entry that is not older, by halving."""
        low, high = 0, self._store.size()
        while low < high:
            middle = (low + high) // 2
            entry = next(iter(self._store.entries(middle, middle + 1)), None)
            if entry is None or _decoded(entry).at >= at_ms:
                high = middle
            else:
                low = middle + 1
        return low


def _made(seq: int, at_ms: int, asked: RequestReceived, record: DecisionMade) -> Made:
    return Made(
        seq=seq,
        at_ms=at_ms,
        answer=record.outcome,
        reason=record.reason,
        task=asked.task,
        agent=asked.agent,
        human=asked.human,
        kind=asked.kind,
        server=asked.server,
        name=asked.name,
        action=action_words(asked.kind, asked.server, asked.name),
        request=record.request,
        policies=record.policies,
    )


def _decoded(entry: StoredEntry) -> LogEntry:
    try:
        return decode_entry(entry.data)
    except msgspec.MsgspecError as error:
        message = f"entry {entry.seq} cannot be read: {str(error)[:200]}"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="see: lictor log verify") from error
