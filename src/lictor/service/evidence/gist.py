"""What a stretch of records says to the rest of the log: so that what must hold between records is checked on several cores.

Most of what happens in a log begins and ends within a stretch: a request, the decision on it, its execution and how that ended.
`Reading` checks these where they stand and leaves the *gist*: ids that must not come again, executions that are still open, and
every record that only means something together with others (holds, approvals, allowances, overrides). `Told` puts gists together
in order and judges these by the rules of `consistency`.

As in `records.stretch`, only whether all is well is answered: at any doubt `consistency` reads the log in order and says what is
wrong. Refuses to know processes and stores.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from lictor.model.reasons import Reason
from lictor.model.record import (
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    ExecutionStarted,
    LogEntry,
    PayloadsErased,
    Record,
    RequestReceived,
    ShadowDiffered,
    decode_entries,
)
from lictor.ports import StoredEntry
from lictor.records.stretch import DoubtError
from lictor.service.evidence.consistency import JUDGED, WINDOW, Seen, second_look, take, was_told

BACK: Final = (256, 4_096)
"""Entries before a stretch that are looked at when it speaks of a decision that is not in it; more, when that was not enough."""
AT_A_TIME: Final = 4_096
"""Entries judged together by `Listening`: as many as are ever looked back at, so the page before is enough."""
MOST_SUSPECTS: Final = 1 << 12
"""Decisions that were perhaps made twice; in a log that is right there are hardly any."""


class Gist(NamedTuple):
    """What the rest of the log has to know of a stretch.

    Attributes:
        decided: ids of the decisions made in it.
        started: ids of the executions started in it.
        open: those that did not end in it.
        ended: executions that ended in it and did not start in it.
        tasks: whose executions were judged here.
        told: number and bytes of records to be judged together with others, and whether one is only there to be referred to.
    """

    decided: list[str]
    started: list[str]
    open: list[str]
    ended: list[str]
    tasks: list[str]
    told: list[tuple[int, bytes, bool]]


_Made = tuple[int, int, bytes, DecisionMade]
"""A decision at hand: its place among those of the stretch, where it stands, its bytes, and what it says."""
_OVERRIDDEN: Final = Reason.OVERRIDDEN.value


class Reading:
    """The records of one stretch, in order."""

    def __init__(self, start: int, back: Callable[[int, int], Iterable[tuple[int, bytes]]]) -> None:
        """Begin.

        Args:
            start: number of the first entry.
            back: number and data of the entries from one number up to another, before the stretch.
        """
        self._start = start
        self._back = back
        self._looked = 0
        self._made: dict[str, _Made] = {}
        self._used: set[str] = set()
        self._decided: dict[str, None] = {}
        self._started: set[str] = set()
        self._open: set[str] = set()
        self._ended: list[str] = []
        self._tasks: set[str] = set()
        self._erased: set[str] = set()
        self._told: list[tuple[int, bytes, bool]] = []
        self._asked: tuple[int, bytes] | None = None

    def take(self, first: int, datas: Sequence[bytes]) -> None:
        """Read a page.

        Args:
            first: number of its first entry; the others follow.
            datas: their bytes.

        Raises:
            DoubtError: something is wrong with them, or cannot be judged here.
        """
        try:
            entries = decode_entries(datas)
        except (msgspec.MsgspecError, TypeError):
            raise DoubtError from None
        on = self._judges()
        for seq, (data, entry) in enumerate(zip(datas, entries, strict=True), start=first):
            record = entry.record
            look = on.get(type(record))
            if look is not None:
                look(seq, data, record)

    def _judges(self) -> dict[type[Any], Callable[[int, bytes, Any], None]]:
        """Not kept: this would hold itself, and nobody collects cycles where stretches are read."""
        return {
            **dict.fromkeys(JUDGED, self._tell),
            RequestReceived: self._ask,
            DecisionMade: self._decide,
            ExecutionStarted: self._begin,
            ExecutionEnded: self._end,
            ShadowDiffered: self._compare,
            DenyOverridden: self._override,
            PayloadsErased: self._erase,
        }

    def gist(self) -> Gist:
        """What it comes to."""
        return Gist(
            list(self._decided),
            list(self._started),
            list(self._open),
            self._ended,
            list(self._tasks),
            self._told,
        )

    def _decide(self, seq: int, data: bytes, record: DecisionMade) -> None:
        name = record.decision
        decided = self._decided
        if name in decided:
            raise DoubtError
        self._made[name] = (len(decided), seq, data, record)
        decided[name] = None

    def _ask(self, seq: int, data: bytes, _record: RequestReceived) -> None:
        self._asked = seq, data

    def _end(self, _seq: int, _data: bytes, record: ExecutionEnded) -> None:
        name = record.execution
        if name in self._open:
            self._open.remove(name)
        else:
            self._ended.append(name)

    def _begin(self, seq: int, data: bytes, started: ExecutionStarted) -> None:
        """As `consistency` does, but for what needs more than this stretch."""
        name, decision = started.execution, started.decision
        made = self._made.get(decision) or self._before(decision)
        if made is None or name in self._started or decision in self._used:
            raise DoubtError
        place, at, bytes_of_it, allowed = made
        if (
            allowed.outcome != "allow"
            or allowed.digest != started.digest
            or allowed.request != started.request
            or len(self._decided) - place > WINDOW
            or started.task in self._erased
        ):
            raise DoubtError
        self._used.add(decision)
        self._started.add(name)
        self._open.add(name)
        if started.hold is None and not started.allowance and allowed.reason != _OVERRIDDEN:
            self._tasks.add(started.task)
            return
        if self._asked is not None:
            self._told.append((*self._asked, True))
        self._told.append((at, bytes_of_it, True))
        self._told.append((seq, data, False))

    def _compare(self, _seq: int, _data: bytes, record: ShadowDiffered) -> None:
        made = self._made.get(record.decision) or self._before(record.decision)
        if made is None or len(self._decided) - made[0] > WINDOW or not was_told(record, made[3]):
            raise DoubtError

    def _override(self, seq: int, data: bytes, record: DenyOverridden) -> None:
        made = self._made.get(record.decision)
        if made is not None:
            self._told.append((made[1], made[2], True))
        self._told.append((seq, data, False))

    def _erase(self, seq: int, data: bytes, record: PayloadsErased) -> None:
        self._erased.add(record.task)
        self._told.append((seq, data, False))

    def _tell(self, seq: int, data: bytes, _record: Record) -> None:
        self._told.append((seq, data, False))

    def _before(self, decision: str) -> _Made | None:
        """A decision shortly before the stretch; those of them that are used up are known after this."""
        while self._looked < len(BACK):
            self._look_back(BACK[self._looked])
            self._looked += 1
            if decision in self._made:
                return self._made[decision]
        return None

    def _look_back(self, far: int) -> None:
        asked: tuple[int, bytes] | None = None
        for seq, data in self._back(max(0, self._start - far), self._start):
            entry = _entry(data)
            record = entry.record
            if isinstance(record, RequestReceived):
                asked = seq, data
            elif isinstance(record, DecisionMade):
                self._made.setdefault(record.decision, (seq - self._start, seq, data, record))
            elif isinstance(record, ExecutionStarted):
                self._used.add(record.decision)
        if self._asked is None:
            self._asked = asked


def _entry(data: bytes) -> LogEntry:
    try:
        return decode_entries([data])[0]
    except (msgspec.MsgspecError, TypeError):
        raise DoubtError from None


class Told:
    """Gists put together, in order."""

    def __init__(self, key_changes: frozenset[int] | None = None) -> None:
        """Begin with nothing.

        Args:
            key_changes: as for `inconsistencies`.
        """
        self._seen = Seen(later=[], key_changes=key_changes)
        self._open: set[str] = set()

    def join(self, gist: Gist) -> None:
        """Take in the next stretch.

        Raises:
            DoubtError: something in it does not fit what came before.
        """
        seen = self._seen
        if not self._open.isdisjoint(gist.started) or not seen.erased.isdisjoint(gist.tasks):
            raise DoubtError
        for name in gist.ended:
            if name not in self._open:
                raise DoubtError
            self._open.remove(name)
        self._open.update(gist.open)
        for name in gist.decided:
            if seen.once.add(name):
                seen.suspects.add(name)
        if len(seen.suspects) > MOST_SUSPECTS:
            raise DoubtError
        for seq, data, context in gist.told:
            self._judge(seq, _entry(data), context=context)

    def _judge(self, seq: int, entry: LogEntry, *, context: bool) -> None:
        seen, record = self._seen, entry.record
        seen.seq = seq
        if isinstance(record, DecisionMade):
            seen.decisions.add(record.decision, record)
        elif take(seen, record, entry.at) and not context:
            raise DoubtError
        seen.open.clear()  # counted by ids, above

    def settle(self, again: Callable[[], Iterable[StoredEntry]]) -> None:
        """Answer what was left open.

        Args:
            again: all entries once more, for what lies far back.

        Raises:
            DoubtError: something does not fit.
        """
        seen = self._seen
        if (seen.suspects or seen.later) and any(second_look(seen, again())):
            raise DoubtError


class Listening:
    """What records mean, while somebody else reads them in order for something else: one reading for both."""

    def __init__(
        self, told: Told, first: int, back: Callable[[int, int], Iterable[tuple[int, bytes]]] | None = None
    ) -> None:
        """Begin.

        Args:
            told: what came before.
            first: number of the next entry.
            back: number and data of entries before it, from one up to another; None: there are none, or nobody can say.
        """
        self._told: Told | None = told
        self._first = first
        self._back = back or (lambda _start, _stop: ())
        self._before: tuple[int, list[bytes]] = (first, [])
        self._page: list[bytes] = []

    def over(self, entries: Iterable[StoredEntry]) -> Iterator[StoredEntry]:
        """The same entries."""
        for entry in entries:
            if self._told is not None:
                self._page.append(entry.data)
                if len(self._page) >= AT_A_TIME:
                    self._take()
            yield entry

    def sure(self, again: Callable[[], Iterable[StoredEntry]]) -> bool:
        """Whether all that was read is beyond doubt.

        Args:
            again: all entries once more, from the first one of the log, for what lies far back.
        """
        self._take()
        try:
            if self._told is not None:
                self._told.settle(again)
        except DoubtError:
            return False
        return self._told is not None

    def _take(self) -> None:
        if self._told is None or not self._page:
            return
        try:
            reading = Reading(self._first, self._earlier)
            reading.take(self._first, self._page)
            self._told.join(reading.gist())
        except DoubtError:
            self._told = None
        self._before = self._first, self._page
        self._first += len(self._page)
        self._page = []

    def _earlier(self, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        """From the page before, and from before that as far as need be."""
        first, datas = self._before
        if start < first:
            yield from self._back(start, min(stop, first))
        yield from zip(range(max(start, first), stop), datas[max(start - first, 0) :], strict=False)
