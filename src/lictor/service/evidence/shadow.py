"""Shadow: what another bundle would have answered to live requests, found out after they were decided, for people to look at.

It follows the log. What it judges is already decided, recorded and perhaps done: nothing here can change, delay or stop any of
it, and nothing reads what it writes but people. The judging happens elsewhere (`Judge`: another process), because an engine
that takes its time keeps the interpreter to itself; if that dies, hangs or refuses its bundle, this goes on without it.

If the process dies here, differences that were not recorded yet are lost, and nothing else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import msgspec

from lictor.model.errors import LictorError, StoreError
from lictor.model.ids import DecisionId, PolicyId, PolicyRevision
from lictor.model.record import ShadowDiffered
from lictor.ports import Batch, Clock, RecordStore
from lictor.service.calls.traffic import Passed, Recorded, Wanted, passed
from lictor.service.evidence.backtest import Backtest

COUNTS_FILE: Final = "shadow.json"
"""Beside the log: the counts, for whoever looks."""
EVERY_S: Final = 1.0
"""How often the log is looked at."""
LONGEST_PAUSE_S: Final = 60.0
"""... and how seldom at most, while judging fails."""
PART: Final = 200
"""Entries judged at a time."""
BEHIND: Final = 20_000
"""Entries it may fall behind. What is older is skipped, and counted."""
AT_ONCE: Final = 10
"""Records of one sort of difference in a row; then one each `REFILL_MS`."""
REFILL_MS: Final = 60_000
A_MINUTE: Final = 60
"""Records of all sorts together in one minute."""
SORTS: Final = 1_000
"""Sorts whose rate is known; the one that was seen longest ago is forgotten."""


class Range(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found out about a part of the log."""

    at: int
    """The entry behind the part: where to go on."""
    size: int
    """Of the log."""
    revision: PolicyRevision | None = None
    """Of the bundle in shadow; None: it was refused, and nothing was judged."""
    refused: str = ""
    judged: int = 0
    """Decisions compared."""
    untold: int = 0
    """... of which nobody can tell what the bundle would have answered."""
    skipped: int = 0
    """Entries not looked at."""
    differences: tuple[ShadowDiffered, ...] = ()


class Counts(msgspec.Struct, kw_only=True):
    """What became of it since the gateway started; kept beside the log for `lictor shadow`."""

    started_at_ms: int
    revision: PolicyRevision | None = None
    judged: int = 0
    differed: int = 0
    untold: int = 0
    recorded: int = 0
    skipped: int = 0
    """Entries of the log not looked at: too far behind, or judging failed."""
    failed: int = 0
    """Parts whose judging died, took too long or made no sense."""
    at: int = 0
    """The entry of the log that is looked at next."""
    trouble: str = ""
    """What is wrong now; empty: nothing."""


class InShadow(msgspec.Struct, frozen=True):
    """What is known of the bundle that runs in shadow, for whoever looks."""

    bundle: str
    """Its folder, as the settings name it."""
    counts: Counts | None
    """As they were kept last; None: nothing is kept yet."""


class Log(Recorded, Protocol):
    """What is read of a log."""

    def size(self) -> int:
        """Number of entries."""
        ...


class Judge(Protocol):
    """Judges parts of the log with the bundle in shadow, away from this thread."""

    @property
    def size(self) -> int:
        """Of the log, as it was told last; 0 until then. Known of a part also when judging it failed."""
        ...

    async def judge(self, start: int) -> Range:
        """The next part from an entry on.

        Raises:
            LictorError: it died, took too long or made no sense.
        """
        ...

    async def close(self) -> None:
        """Judge no more. Idempotent."""
        ...


def judged(backtest: Backtest, one: Passed, revision: PolicyRevision) -> tuple[ShadowDiffered | None, bool]:
    """One decision compared: the difference, if there is one; and whether it could be told."""
    sort = backtest.sort(one)
    if one.asked is None or sort.kind in {"unchanged", "cannot_tell"}:
        return None, sort.kind != "cannot_tell"
    difference = ShadowDiffered(
        request=one.decided.request,
        decision=DecisionId(one.decided.decision),
        task=one.asked.task,
        agent=one.asked.agent,
        action=sort.action,
        was=sort.was,
        was_reason=sort.was_reason,
        was_policies=tuple(map(PolicyId, sort.was_by)),
        revision=revision,
        outcome=sort.now,
        reason=sort.now_reason,
        policies=tuple(map(PolicyId, sort.now_by)),
        why=sort.why,
    )
    return difference, True


class Sorts:
    """How often differences of one sort are recorded; the others are counted into the next record of their sort."""

    def __init__(self) -> None:
        self._sorts: OrderedDict[tuple[object, ...], _Pace] = OrderedDict()
        self._minute_ms = 0
        self._left = A_MINUTE

    def take(self, one: ShadowDiffered, now_ms: int) -> ShadowDiffered | None:
        """The record to make of a difference now; None: it is only counted."""
        was = (one.was, one.was_reason, one.was_policies)
        key = (one.agent, one.action, *was, one.revision, one.outcome, one.reason, one.policies, one.why)
        pace = self._sorts.setdefault(key, _Pace(since_ms=now_ms))
        self._sorts.move_to_end(key)
        if len(self._sorts) > SORTS:
            self._sorts.popitem(last=False)
        if not self._room(now_ms) or not pace.allows(now_ms):
            pace.more += 1
            return None
        self._left -= 1
        more, pace.more = pace.more, 0
        return msgspec.structs.replace(one, more=more) if more else one

    def _room(self, now_ms: int) -> bool:
        if not 0 <= now_ms - self._minute_ms < REFILL_MS:
            self._minute_ms, self._left = now_ms, A_MINUTE
        return self._left > 0


class _Pace(msgspec.Struct):
    since_ms: int
    left: int = AT_ONCE
    more: int = 0

    def allows(self, now_ms: int) -> bool:
        """Whether one more may be recorded; then it counts as recorded."""
        refill = max(0, now_ms - self.since_ms) // REFILL_MS
        if refill:
            self.left = min(AT_ONCE, self.left + refill)
            self.since_ms += refill * REFILL_MS
        if not self.left:
            return False
        self.left -= 1
        return True


class Shadow:
    """Follows the log, and records what would have come out otherwise."""

    def __init__(
        self,
        *,
        store: RecordStore,
        clock: Clock,
        judge: Judge,
        start: int,
        say: Callable[[str], None],
        keep: Callable[[Counts, bool], Awaitable[None]],
        every_s: float = EVERY_S,
    ) -> None:
        """Of one log.

        Args:
            store: where differences are recorded. Nothing is read of it.
            clock: dates the records.
            judge: judges.
            start: the entry to begin with; what is before it is not judged.
            say: told of trouble, once each time it changes.
            keep: handed the counts after each look, and whether it was the last.
            every_s: how often to look.
        """
        self._store = store
        self._clock = clock
        self._judge = judge
        self._at = start
        self._say = say
        self._keep = keep
        self._every_s = every_s
        self._sorts = Sorts()
        self._waiting: tuple[ShadowDiffered, ...] = ()
        self.counts = Counts(started_at_ms=clock.now_ms(), at=start)

    async def run(self) -> None:
        """Until cancelled. Whatever is thrown at it, the gateway does not notice."""
        pause = 0.0
        try:
            while True:
                await asyncio.sleep(pause)
                try:
                    more = await self.step()
                    pause = 0.0 if more else self._every_s
                    await self._keep(self.counts, False)
                except Exception as error:  # noqa: BLE001 - nothing that goes wrong beside the calls may reach them
                    self._failed(error)
                    pause = min(LONGEST_PAUSE_S, max(self._every_s, pause * 2))
        finally:
            await self._judge.close()
            await self._keep(self.counts, True)

    async def step(self) -> bool:
        """Judge the next part and record what differs; whether there is more at once.

        Raises:
            LictorError: judging or recording failed. What was found and not recorded is recorded next time.
        """
        await self._record()
        found = await self._judge.judge(self._at)
        counts = self.counts
        self._at = counts.at = max(self._at, found.at)
        counts.revision, counts.skipped = found.revision, counts.skipped + found.skipped
        counts.judged, counts.untold = counts.judged + found.judged, counts.untold + found.untold
        counts.differed += len(found.differences)
        now = self._clock.now_ms()
        self._waiting = tuple(kept for one in found.differences if (kept := self._sorts.take(one, now)) is not None)
        await self._record()
        self._trouble(f"the bundle in shadow is refused: {found.refused}" if found.refused else "")
        return found.at < found.size

    async def _record(self) -> None:
        if not self._waiting:
            return
        await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=self._waiting, patient=True))
        self.counts.recorded += len(self._waiting)
        self._waiting = ()

    def _failed(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            # What cannot be judged is not tried for ever: the next part may be better.
            skipped = max(0, min(PART, self._judge.size - self._at))
            self._at += skipped
            self.counts.at = self._at
            self.counts.skipped += skipped
            self.counts.failed += 1
        text = str(error) if isinstance(error, LictorError) else f"defect: {type(error).__name__}: {error}"
        self._trouble(f"shadow: {text}"[:500])

    def _trouble(self, text: str) -> None:
        if text and text != self.counts.trouble:
            self._say(text)
        self.counts.trouble = text


def range_of(backtest: Backtest, log: Log, revision: PolicyRevision, start: int, *, part: int = PART) -> Range:
    """Judge one part of a log.

    Raises:
        StoreError: the log cannot be read.
    """
    size = log.size()
    at = max(start, size - BEHIND)
    stop = min(size, at + part)
    differences: list[ShadowDiffered] = []
    looked = untold = 0
    for one in passed(log, Wanted(start=at, stop=stop)):
        difference, told = judged(backtest, one, revision)
        looked, untold = looked + 1, untold + (not told)
        if difference is not None:
            differences.append(difference)
    return Range(
        at=max(start, stop),
        size=size,
        revision=revision,
        judged=looked,
        untold=untold,
        skipped=max(0, at - start),
        differences=tuple(differences),
    )
