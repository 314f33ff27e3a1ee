"""Carries the log to one sink outside: in the log's order, at least once, from where it was taken last.

The log is the buffer and nothing else is: what was not taken is read again, after any crash and however long the sink was away.
A place is kept once the sink has taken what stands before it, and never sooner. Each pump has a thread of its own, so that a
sink that is dead or hangs keeps nothing waiting but itself. It refuses to know how an event is sent and where a place is kept.

If the process dies here: between the sink's yes and the kept place the batch is sent once more; nothing is lost.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.protocol.events import Joins, Told, read_kinds

MOST_EVENTS: Final = 500
"""Events of one batch."""
MOST_BYTES: Final = 1_048_576
"""Bytes of one batch, unless one event alone is longer."""
LOOK_BACK: Final = 2_000
"""Entries read again before the first, so that an event can say what an id stands for that it only names."""
KEEP_EVERY: Final = 5_000
"""Entries passed over (the sink does not want them) until the place is kept all the same."""
FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
"""Between two tries; doubled from the first to the longest."""
POLL_S: Final = 1.0
BREATH: Final = 8
"""Events after which the thread lets others go on: whoever decides needs the same interpreter, and must not wait for us."""
BREATH_S: Final = 0.0002


class Event(msgspec.Struct, frozen=True):
    """What is sent of one entry: one line of printable ASCII, without its end."""

    seq: int
    at_ms: int
    severity: int
    """Of syslog: 6 informational, 5 notice, 4 warning."""
    tag: str
    data: bytes


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far a sink is: `next` is the first entry that it has not taken."""

    origin: str
    next: int
    leaf: str = ""
    """Leaf hash, in hexadecimal, of the entry before it: another one there means that it is another log."""


class Tail(Protocol):
    """Reads the log for one thread."""

    def size(self) -> int:
        """Entries there are.

        Raises:
            LictorError: it cannot be read.
        """
        ...

    def read(self, start: int, limit: int) -> Sequence[StoredEntry]:
        """At most so many entries from a number on, in order, without a gap.

        Raises:
            LictorError: it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go. Idempotent."""
        ...


class Sink(Protocol):
    """A place outside. Called by one thread; bounded in time by itself."""

    def send(self, events: Sequence[Event]) -> None:
        """Send them, in order. Returning means that all of them are taken.

        Raises:
            LictorError, OSError: they are not, or nobody knows; they are sent again.
        """
        ...

    def close(self) -> None:
        """Let go. Idempotent."""
        ...


class Keeper(Protocol):
    """Keeps a sink's place durably, and says which process may move it."""

    def mine(self) -> bool:
        """Whether this process is the one that sends. It stays so until `close`."""
        ...

    def load(self) -> Place | None:
        """What was kept; None: nothing was.

        Raises:
            LictorError: it is there and cannot be read.
        """
        ...

    def save(self, place: Place) -> None:
        """Keep it; durable when this returns.

        Raises:
            LictorError: it is not kept.
        """
        ...

    def close(self) -> None:
        """Let another process send. Idempotent."""
        ...


class Pump:
    """One sink's."""

    def __init__(
        self,
        name: str,
        *,
        origin: str,
        tail: Callable[[], Tail],
        sink: Sink,
        keeper: Keeper,
        encode: Callable[[Told], Event],
        say: Callable[[str], None],
        kinds: tuple[str, ...] = (),
        from_now: bool = False,
        poll_s: float = POLL_S,
        first_wait_s: float = FIRST_WAIT_S,
    ) -> None:
        """Nothing happens before `start`.

        Args:
            name: of the sink, for people.
            origin: the log's name.
            tail: opens the log; called on the pump's own thread.
            sink: where to.
            keeper: of its place.
            encode: an entry as the sink wants it.
            say: tells operators; from any thread.
            kinds: of the records it wants (`read_kinds`).
            from_now: where there is no place yet, begin behind what is there already.
            poll_s: how often the log is looked at.
            first_wait_s: after a failure.
        """
        self.name = name
        self._origin, self._open, self._sink, self._keeper = origin, tail, sink, keeper
        self._encode, self._say, self._kinds, self._from_now = encode, say, kinds, from_now
        self._poll_s, self._first_wait_s = poll_s, first_wait_s
        self._tail: Tail | None = None
        self._joins = Joins(origin)
        self._next: int | None = None
        self._kept = 0
        self._begun = False
        self._born: int | None = None
        self._most = MOST_EVENTS
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""
        self.failing = ""
        """What went wrong last; empty while all is well."""

    @property
    def place(self) -> int | None:
        """The first entry that the sink has not taken, as far as this process knows; None: not known yet."""
        return self._next

    def lag(self, size: int) -> int:
        """Entries of a log of this size that the sink has not taken, wanted or not.

        While it has no place yet: all of them, or none of them where it begins with what comes.
        """
        if self._next is None:
            return 0 if self._from_now else size
        return max(0, size - self._next)

    def start(self) -> None:
        """Begin, on a thread of its own."""
        if self._thread is None:
            self._watch()  # what is known is known before anybody asks
            self._thread = threading.Thread(target=self._run, name=f"lictor-sink-{self.name}", daemon=True)
            self._thread.start()

    def stop(self, wait_s: float = 1.0) -> None:
        """End soon. A sink that hangs is not waited for: what it was sent is sent again."""
        self._stop.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(wait_s)

    def nudge(self) -> None:
        """Look at the log now, and not after the next pause."""
        self._wake.set()

    def turn(self) -> bool:
        """Send at most one batch; whether there may be more.

        Raises:
            LictorError, OSError: the log, the sink or the keeper failed; the place is where it was.
        """
        if not self._keeper.mine():
            self._watch()
            return False
        tail = self._tail = self._tail or self._open()
        start = self._next if self._begun and self._next is not None else self._begin(tail)
        page = tail.read(start, self._most)
        if not page:
            return False
        events, upto, leaf = self._batch(start, page)
        if events:
            try:
                self._sink.send(events)
            except (LictorError, OSError):
                # Whoever refuses this much may take less, and one that nobody takes is found alone.
                self._most = max(1, len(page) // 2)
                raise
        if events or upto - self._kept >= KEEP_EVERY:
            self._keep(upto, leaf)
        self._next, self._most = upto, MOST_EVENTS
        return True

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        wait = self._first_wait_s
        try:
            while not self._stop.is_set():
                try:
                    more = self.turn()
                except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed, and nothing is lost
                    self._failed(error)
                    self._pause(wait)
                    wait = min(LONGEST_WAIT_S, wait * 2)
                    continue
                self._well()
                wait = self._first_wait_s
                if not more:
                    self._pause(self._poll_s)
        finally:
            self._close()

    def _pause(self, seconds: float) -> None:
        self._wake.wait(seconds)
        self._wake.clear()

    def _failed(self, error: Exception) -> None:
        text = error.message if isinstance(error, LictorError) else f"{type(error).__name__}: {error}"[:200]
        self.failing = text
        if isinstance(error, StoreError):
            # What is opened next may be another log: its entries are held against the kept place again.
            self._drop_tail()
            self._begun = False
        if text != self._said:
            self._said = text
            self._say(f"sink {self.name!r} takes nothing now, and is tried again: {text}")

    def _well(self) -> None:
        if self._said:
            self._say(f"sink {self.name!r} takes records again")
        self._said = self.failing = ""

    def _begin(self, tail: Tail) -> int:
        """Where to go on; what ids before it stand for is learnt on the way."""
        start = self._started(tail)
        self._joins = Joins(self._origin)
        before = max(0, start - LOOK_BACK)
        while before < start and (page := tail.read(before, min(MOST_EVENTS, start - before))):
            for entry in page:
                self._joins.read(entry.seq, entry.data, entry.leaf)
            before = page[-1].seq + 1
        self._next = self._kept = start
        self._begun = True
        return start

    def _started(self, tail: Tail) -> int:
        """The kept place, if it is one of this log. In doubt all of the log is sent: twice is better than never."""
        try:
            place = self._keeper.load()
        except LictorError as error:
            self._say(f"sink {self.name!r} starts with the first record: {error.message}")
            return 0
        if place is None:
            if self._born is None:
                self._born = tail.size() if self._from_now else 0
            start = self._born  # also where it could not be kept at the first try
            self._save(tail, start)  # before anything else happens: a crash now must not move the beginning
            return start
        if place.origin == self._origin and self._leaf_before(tail, place.next) == place.leaf:
            return place.next
        self._say(
            f"sink {self.name!r} starts with the first record: its place is one of another log, or of a newer one"
        )
        return 0

    def _save(self, tail: Tail, start: int) -> None:
        self._keeper.save(Place(origin=self._origin, next=start, leaf=self._leaf_before(tail, start) or ""))

    def _leaf_before(self, tail: Tail, start: int) -> str | None:
        """Leaf hash of the entry before a place; empty before the first; None where there is no such entry."""
        if start <= 0:
            return "" if start == 0 else None
        found = tail.read(start - 1, 1)
        return found[0].leaf.hex() if found and found[0].seq == start - 1 else None

    def _batch(self, start: int, page: Sequence[StoredEntry]) -> tuple[list[Event], int, bytes]:
        """The wanted events of a page, up to the bound in bytes; where it ends, and the last entry's leaf hash."""
        events: list[Event] = []
        size, upto, leaf = 0, start, b""
        for entry in page:
            if entry.seq != upto:
                raise StoreError(Reason.LOG_DAMAGED, f"entry {upto} is missing", remedy="see: lictor log verify")
            told = self._joins.read(entry.seq, entry.data, entry.leaf)
            if read_kinds(self._kinds, told.tag):
                event = self._encode(told)
                size += len(event.data)
                if events and size > MOST_BYTES:
                    break
                events.append(event)
            upto, leaf = entry.seq + 1, entry.leaf
            if upto % BREATH == 0:
                time.sleep(BREATH_S)
        return events, upto, leaf

    def _keep(self, upto: int, leaf: bytes) -> None:
        self._keeper.save(Place(origin=self._origin, next=upto, leaf=leaf.hex()))
        self._kept = upto

    def _watch(self) -> None:
        """Another process sends, or nobody does yet: what is kept is what is known here."""
        try:
            place = self._keeper.load()
        except LictorError:
            return
        self._begun = False
        self._next = None if place is None else place.next

    def _drop_tail(self) -> None:
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _close(self) -> None:
        self._drop_tail()
        self._sink.close()
        self._keeper.close()
