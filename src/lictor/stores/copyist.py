"""Copies what the journal has into the tables of the log while more is recorded, on a thread and a connection of its own.

Nothing of it is synced: the journal keeps what was copied until the pages were moved (`mover`). Refuses to know who waits for
what. It has the log's tables for itself from `start` until it is no longer `busy`; whoever else writes waits for that first.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final

from lictor.lifecycle.reading import Changes
from lictor.model.errors import LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.records.merkle import FrontierBuilder
from lictor.stores import tables
from lictor.stores.contents import Contents
from lictor.stores.known import KnownRows
from lictor.stores.sqlite_schema import Log, begin, connect, discard, synchronous

NAME: Final = "lictor-copyist"


@dataclass(frozen=True, slots=True)
class Copied:
    """What is in the tables since it was asked last.

    Attributes:
        parts: how many of those that were handed over.
        size: of the log as the tables hold it.
        written: about how many bytes went to the disk.
    """

    parts: int
    size: int
    written: int


class Copyist:
    """One copy at a time; for one thread at a time."""

    def __init__(self, log: Log, known: KnownRows, told: Callable[[], None]) -> None:
        """Nothing is copied yet. `told`: called on its thread after each copy."""
        self._log = log
        self._known = known
        self._told = told
        self._parts: SimpleQueue[Sequence[Contents] | None] = SimpleQueue()
        self._idle = Event()
        self._idle.set()
        self._thread: Thread | None = None
        self._outcome: Copied | Exception | None = None

    @property
    def busy(self) -> bool:
        """Whether a copy is under way."""
        return not self._idle.is_set()

    def start(self, parts: Sequence[Contents]) -> None:
        """Copy these, at least one, in order. What the last copy came to has been asked for (`copied`).

        Raises:
            StoreError: `cannot_record`: it has not, or one is under way: a failure would go unheard.
        """
        if self.busy or self._outcome is not None:
            raise StoreError(Reason.CANNOT_RECORD, "nobody has asked what the last copy came to")
        self._idle.clear()
        if self._thread is None:
            self._thread = Thread(target=self._run, name=NAME, daemon=True)
            self._thread.start()
        self._parts.put(parts)

    def copied(self, *, wait: bool = False) -> Copied | None:
        """What the last copy came to, once; None: there was none, or it is under way.

        Args:
            wait: until none is.

        Raises:
            LictorError, sqlite3.Error, OSError: it is not known to be in the tables.
        """
        if wait:
            self._idle.wait()
        elif self.busy:
            return None
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """End its thread, once what it does is done, and its connection with it. Idempotent; it can be started again."""
        if self._thread is not None:
            self._parts.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while parts := self._parts.get():
            try:
                connection = connection or self._open()
                self._outcome = self._copy(connection.cursor(), parts)
            except (LictorError, sqlite3.Error, OSError) as error:
                self._outcome = error
            except Exception as error:  # noqa: BLE001 - a defect of ours must reach who waits, not end the thread
                self._outcome = sqlite3.InternalError(
                    f"defect while copying: {type(error).__name__}: {str(error)!r:.160}"
                )
            if connection is not None and isinstance(self._outcome, Exception):
                discard(connection)
                connection = None
            self._idle.set()
            self._told()
        if connection is not None:
            discard(connection)

    def _open(self) -> sqlite3.Connection:
        connection = connect(self._log.path)
        try:
            synchronous(connection.cursor(), full=False)
        except BaseException:
            discard(connection)
            raise
        return connection

    def _copy(self, cursor: sqlite3.Cursor, parts: Sequence[Contents]) -> Copied:
        whole = Contents.joined(parts)
        tree = FrontierBuilder.from_bytes(whole.head)
        begin(cursor, wait=True)

        def work() -> Changes:
            tables.write(cursor, self._log, whole, tree)
            return whole.changes

        tables.commit(cursor, self._known, work)
        return Copied(len(parts), tree.size, whole.size)
