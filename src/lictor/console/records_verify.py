"""Verifying the whole log from a page: one run at a time, off the event loop, with its progress.

What the gateway says of its own log is a convenience. Whoever does not trust the gateway verifies a copy elsewhere
(`lictor log verify`). Refuses to know HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol, runtime_checkable

from lictor.model.errors import LictorError
from lictor.ports import Clock, StoredEntry
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.keychain import KeyChain
from lictor.records.verify import verify_log
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.log.proofs import LogView, OpenLog

MAX_SHOWN: Final = 100
"""Findings told; a log that is wrong everywhere is told apart from a good one by the first."""
PAUSE_EVERY: Final = 256
"""Entries between two pauses: about a millisecond of work, so that calls are not kept waiting by it."""
_PAUSE_S: Final = 0.0005


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    kind: str
    position: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """How far it is, or what came of it. `done` and `of` count entries over both passes."""

    began_at_ms: int
    by: str
    done: int = 0
    of: int = 0
    ended_at_ms: int = 0
    size: int = 0
    root: str = ""
    checkpoints: int = 0
    anchored: int = -1
    """Size of the checkpoint outside the database that the log continues; -1: there was none to compare with."""
    faults: tuple[Fault, ...] = ()
    more: bool = False
    """Whether there are faults beside those told."""
    failed: str = ""
    """Why it came to no end."""

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return not self.ended_at_ms

    @property
    def ok(self) -> bool:
        """Whether it came to an end and nothing is wrong."""
        return bool(self.ended_at_ms) and not self.faults and not self.failed

    @property
    def percent(self) -> int:
        """How far."""
        return min(100, self.done * 100 // self.of) if self.of else 0


@runtime_checkable
class _Rolled(Protocol):
    """A view of a log that has rolls of its checkpoints (`records.roll`)."""

    def rolls(self) -> Iterable[str]:
        """Oldest first."""
        ...


class Verification:
    """The run that is under way, or the last one."""

    def __init__(
        self, open_log: OpenLog, verifier_key: LogKeys | str, anchor: Callable[[], str | None], clock: Clock
    ) -> None:
        """Nothing runs.

        Args:
            open_log: the log.
            verifier_key: of the log; of several, all of them.
            anchor: the newest checkpoint kept outside the database.
            clock: for when.
        """
        self._open = open_log
        self._key = verifier_key
        self._anchor = anchor
        self._clock = clock
        self._job: asyncio.Task[None] | None = None
        self._done = 0
        self.last: Verified | None = None

    def now(self) -> Verified | None:
        """The state of it; None: nobody has asked for one."""
        last = self.last
        if last is None or not last.running:
            return last
        return Verified(began_at_ms=last.began_at_ms, by=last.by, done=self._done, of=last.of)

    def start(self, by: str, size: int) -> bool:
        """Begin, unless one is under way; whether it began."""
        if self.last is not None and self.last.running:
            return False
        self._done = 0
        self.last = Verified(began_at_ms=self._clock.now_ms(), by=by, of=2 * size)
        self._job = asyncio.get_running_loop().create_task(self._run(self.last))
        return True

    async def finished(self) -> None:
        """Wait for the run that is under way, if there is one."""
        if self._job is not None:
            await self._job

    async def _run(self, begun: Verified) -> None:
        try:
            self.last = await asyncio.to_thread(self._verify, begun)
        except LictorError as error:
            self.last = self._failed(begun, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it was, the log is not verified, and the page says so
            self.last = self._failed(begun, f"{type(error).__name__}: {error}"[:300])

    def _failed(self, begun: Verified, why: str) -> Verified:
        return Verified(began_at_ms=begun.began_at_ms, by=begun.by, ended_at_ms=self._clock.now_ms(), failed=why)

    def _verify(self, begun: Verified) -> Verified:
        """In a thread of its own."""
        text = self._anchor()
        anchor = open_checkpoint(text, self._key) if text else None
        with self._open() as view:
            return self._over(begun, view, anchor)

    def _over(self, begun: Verified, view: LogView, anchor: Checkpoint | None) -> Verified:
        entries = self._counted(view.entries(), 0)
        rolls = view.rolls() if isinstance(view, _Rolled) else ()
        known, places = [] if anchor is None else [anchor], None
        if isinstance(self._key, KeyChain):
            known, places = [*known, *self._key.heads()], self._key.places()
        report = verify_log(entries, view.checkpoints(), self._key, anchor=known, rolls=rolls)
        faults = [Fault(one.kind.value, one.position, one.message) for one in report.findings[: MAX_SHOWN + 1]]
        odd = islice(inconsistencies(self._counted(view.entries(), report.size), view.entries, places), MAX_SHOWN + 1)
        faults += [Fault("inconsistent", one.position, one.message) for one in odd]
        return Verified(
            began_at_ms=begun.began_at_ms,
            by=begun.by,
            ended_at_ms=self._clock.now_ms(),
            size=report.size,
            root=report.root.hex(),
            checkpoints=report.checkpoints,
            anchored=anchor.size if anchor is not None else -1,
            faults=tuple(faults[:MAX_SHOWN]),
            more=len(faults) > MAX_SHOWN,
        )

    def _counted(self, entries: Iterable[StoredEntry], before: int) -> Iterator[StoredEntry]:
        """The same entries; others get to run between them."""
        for count, entry in enumerate(entries, start=1):
            if count % PAUSE_EVERY == 0:
                self._done = before + count
                time.sleep(_PAUSE_S)
            yield entry
        self._done = max(self._done, before)
