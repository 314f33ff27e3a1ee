"""Moves pages from the write-ahead log into the file while groups go to the journal, on a thread and a connection of its own.

Refuses to know what is in them.
"""

import sqlite3
from pathlib import Path
from threading import Thread

from lictor.stores.sqlite_schema import connect


class Mover:
    """One move at a time."""

    def __init__(self, log: Path) -> None:
        """Nothing is moved yet."""
        self._log = log
        self._thread: Thread | None = None
        self._moved = 0
        self.failed = False
        """Whether a sync failed: what was committed without one may not be made durable by the next."""

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, size: int) -> None:
        """Begin one, unless one is under way. `size`: of the log as the tables hold it now."""
        if not self.busy:
            self._thread = Thread(target=self._move, args=(size,), name="lictor-mover", daemon=True)
            self._thread.start()

    def moved(self) -> int:
        """Size of the log up to which everything is in the file, durably."""
        return self._moved

    def wait(self) -> None:
        """Until none is under way."""
        if self._thread is not None:
            self._thread.join()

    def _move(self, size: int) -> None:
        try:
            connection = connect(self._log)
            try:
                [(busy, pages, done)] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                connection.close()
        except sqlite3.Error:  # nothing is moved, so the journal keeps what it has
            self.failed = True
            return
        if not busy and pages == done:
            self._moved = size
