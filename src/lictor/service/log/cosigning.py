"""Having the log witnessed: the newest checkpoint goes to each witness every so often, and what they cosigned is kept.

A witness that is down, slow or strange blocks nothing and is tried again. One that has seen another version of this log is the
alarm that witnesses are for: it is said, and recorded once. Refuses to know HTTP and files.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Final

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.model.record import LogContradicted
from lictor.ports import Batch, Clock, RecordStore
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.cosign import Witnessed, WitnessKey, cosigned_at, open_witnessed, with_cosignature
from lictor.records.note import read_note
from lictor.records.submission import Submission, read_cosignatures, read_size
from lictor.service.log.proofs import Gentle, LogView, Runs

ROUNDS: Final = 3
"""Answers of "that is not the size I have" taken in a row: several gateways submit the same log."""
AGAIN_AFTER_S: Final = 3_600
"""A checkpoint that has not changed is cosigned anew after so long: that it still is the newest is a statement, too."""
LAST_S: Final = 5.0
"""How long the end of the process waits for the last cosignatures."""

Post = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Sends a submission; status and body of the answer. Raises LictorError: there was none."""


@dataclass(slots=True, kw_only=True)
class Line:
    """One witness, and how it stands with it."""

    name: str
    """In the settings."""
    key: WitnessKey
    post: Post
    kept: Callable[[], str | None]
    """The checkpoint that it cosigned last."""
    keep: Callable[[str], None]
    """Keeps a newer one. Raises OSError."""
    blind: bool = False
    """Whether it signs whatever it is given and needs no proof: a second key of ours."""
    seen: Witnessed | None = None
    fault: str = ""
    """Why there is no newer cosignature, in one line; empty: nothing is wrong."""
    contradicted: bool = False
    """Whether it has seen another version of the log."""
    _said: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a witness is behind."""

    name: str
    size: int
    """Entries it has vouched for; 0: none yet."""
    at_ms: int
    """When it did; 0: never."""
    behind: int
    """Entries of the log that it has not vouched for."""
    fault: str
    contradicted: bool


class Cosigning:
    """All witnesses of one log."""

    def __init__(
        self,
        lines: Sequence[Line],
        *,
        store: RecordStore,
        key: LogKeys,
        open_log: Callable[[], AbstractContextManager[LogView]],
        clock: Clock,
        say: Callable[[str], None],
        every_s: float,
    ) -> None:
        """Begin with what was cosigned before.

        Args:
            lines: the witnesses; none: nothing happens.
            store: of the log.
            key: of the log.
            open_log: a view of it, in whatever thread it is called.
            clock: for records.
            say: tells the operator.
            every_s: seconds between two submissions to a witness.
        """
        self.lines = tuple(lines)
        self._store, self._key, self._open, self._clock, self._say = store, key, open_log, clock, say
        self._every_s = every_s
        self._runs = Runs()
        self._hashing = asyncio.Lock()
        for line in self.lines:
            self._recall(line)

    async def run(self) -> None:
        """Until cancelled."""
        while self.lines:
            await self.once()
            await asyncio.sleep(self._every_s)

    async def finish(self) -> None:
        """Once more, at the end of the process; not for longer than `LAST_S`."""
        if self.lines:
            try:
                async with asyncio.timeout(LAST_S):
                    await self.once()
            except TimeoutError:
                self._say("the last checkpoint was not cosigned in time; it will be after the next start")

    async def once(self) -> None:
        """Submit to every witness that has not vouched for the newest checkpoint."""
        await asyncio.gather(*(self._try(line) for line in self.lines))

    def lags(self) -> list[Lag]:
        """How far each witness is behind."""
        size = self._store.size()
        return [
            Lag(
                name=line.name,
                size=line.seen.checkpoint.size if line.seen else 0,
                at_ms=line.seen.times[line.key.name] * 1_000 if line.seen else 0,
                behind=max(0, size - (line.seen.checkpoint.size if line.seen else 0)),
                fault=line.fault,
                contradicted=line.contradicted,
            )
            for line in self.lines
        ]

    # -- one witness -------------------------------------------------------------------------------------------------------------

    def _recall(self, line: Line) -> None:
        try:
            note = line.kept()
            line.seen = open_witnessed(note, self._key, [line.key]) if note else None
        except LictorError as error:  # the witness tells its size; what we had is only a short cut
            self._say(f"witness {line.name}: what it cosigned cannot be read: {error}")

    async def _try(self, line: Line) -> None:
        """No fault of a witness, or of ours, ends the loop."""
        try:
            await self._submit(line)
            line.fault, line.contradicted = "", False
        except LictorError as error:
            line.fault = str(error)
        except Exception as error:  # noqa: BLE001 - a log without witness goes on, and says so
            line.fault = f"{type(error).__name__}: {error}"
        if line.fault != line._said:  # noqa: SLF001 - ours
            self._say(f"witness {line.name}: {line.fault or 'cosigns again'}")
            line._said = line.fault  # noqa: SLF001

    async def _submit(self, line: Line) -> None:
        note = self._store.newest_checkpoint()
        head = open_checkpoint(note, self._key)
        if not head.size or self._is_fresh(line, head):
            return
        old = 0 if line.blind else min(line.seen.checkpoint.size if line.seen else 0, head.size)
        for _ in range(ROUNDS):
            proof = await self._proof(old, head)
            status, body = await line.post(Submission(old, proof, note).body())
            if status == 200:
                self._take(line, note, body)
                return
            if status == 422:
                raise await self._contradicted(line, head, old, "it has seen another version of this log")
            if status != 409:
                raise StoreError(Reason.UPSTREAM_INVALID, f"answered {status}: {_shown(body)}")
            old = read_size(body)
            if line.seen is not None and old < line.seen.checkpoint.size:
                self._say(
                    f"witness {line.name}: it has forgotten what it signed: {old}, not {line.seen.checkpoint.size}"
                )
            if old > head.size:
                note = self._store.newest_checkpoint()  # another gateway may have been quicker
                head = open_checkpoint(note, self._key)
            if old > head.size:
                raise await self._contradicted(
                    line, head, old, "it has seen more of this log than there is: it was rolled back"
                )
        raise StoreError(Reason.CONFLICT, "others submit this log at the same time; it is tried again")

    def _is_fresh(self, line: Line, head: Checkpoint) -> bool:
        if line.seen is None or line.seen.checkpoint != head or line.fault:
            return False
        return self._clock.now_ms() < (line.seen.times[line.key.name] + AGAIN_AFTER_S) * 1_000

    async def _proof(self, old: int, head: Checkpoint) -> tuple[bytes, ...]:
        if old in (0, head.size):
            return ()
        async with self._hashing:
            return await asyncio.to_thread(self._prove, old, head)

    def _prove(self, old: int, head: Checkpoint) -> tuple[bytes, ...]:
        with self._open() as view:
            return self._runs.consistency(Gentle(view), old, head)

    def _take(self, line: Line, note: str, body: bytes) -> None:
        """Keep a cosignature, once it is one.

        Raises:
            StoreError: the witness's signature is not there, or not valid.
        """
        own = [one for one in read_cosignatures(body) if (one.name, one.key_id) == (line.key.name, line.key.key_id())]
        if len(own) != 1:
            raise StoreError(Reason.UPSTREAM_INVALID, f"answered without a signature of {line.key.name!r}")
        cosigned = with_cosignature(note, own[0])
        cosigned_at(read_note(cosigned), line.key)
        line.seen = open_witnessed(cosigned, self._key, [line.key])
        try:
            line.keep(cosigned)
        except OSError as error:
            raise StoreError(Reason.CANNOT_RECORD, f"its cosignature cannot be kept: {error.strerror}") from error

    async def _contradicted(self, line: Line, head: Checkpoint, seen: int, why: str) -> StoreError:
        """The error; recorded the first time, so that whoever reads the log later knows."""
        if not line.contradicted:
            record = LogContradicted(witness=line.key.name, size=head.size, seen=seen, why=why)
            await self._store.commit(Batch(at_ms=self._clock.now_ms(), records=(record,)))
            line.contradicted = True
        return StoreError(Reason.LOG_DAMAGED, f"CONTRADICTS THIS LOG: {why}", remedy="see docs/how-to/witness.md")


def _shown(body: bytes) -> str:
    return repr(body[:80].decode("utf-8", "replace"))
