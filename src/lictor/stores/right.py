"""The right to write the log: one process has it at a time. Refuses to know what is written.

SQLite's own lock lasts for a transaction. Who keeps groups in a journal for a while (`journal`) must have the log for itself for
that long, so every writer takes this right first: a lock on a file beside the log, which dies with its process. Who waits for
it says so in that file, and who has it looks there with every group.

The file's two bytes: somebody waits; a journal is in use. The second one outlives a process that died with a journal in use.
Whoever reads the log looks at it as well: what is in another's journal is not in the tables yet.
"""

import contextlib
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Final

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.stores.instances import try_lock, unlock
from lictor.stores.private import FILE_MODE, check_private

NEEDED: Final = sys.platform.startswith("linux")
"""Elsewhere nobody keeps a journal, and SQLite's lock is enough."""

_STEP_S: Final = 0.001
_COURTESY_S: Final = 0.003
"""How long who gives way stays away: longer than a waiter sleeps."""
_WAITING: Final = 0
JOURNAL: Final = 1
"""Which of the two bytes says that a journal is in use."""
_SIZE: Final = 2
_YES: Final = 1
_NO: Final = 0
_NOBODY: Final = bytes(2)

Marks = mmap.mmap | bytes
"""Something whose items are bytes."""


class Right:
    """As one store has it or not. For one thread at a time."""

    def __init__(self, log: Path) -> None:
        """Of a log; the file is made when it is first needed."""
        self._path = log.with_name(f"{log.name}.right")
        self._descriptor: int | None = None
        self._bytes: mmap.mmap | None = None
        self.mine = False

    def take(self, *, wait_s: float) -> bool:
        """Have it, if nobody else has it or gives it up within so many seconds.

        Raises:
            OSError: the file cannot be made or written.
        """
        if self.mine or not NEEDED:
            self.mine = True
            return True
        descriptor = self._open()
        if not try_lock(descriptor) and (wait_s <= 0 or not self._wait(descriptor, wait_s)):
            return False
        self.mine = True
        return True

    def insist(self, wait_s: float) -> None:
        """Have it, within so many seconds.

        Raises:
            StoreError: `cannot_record`: another process keeps it.
            OSError: the file cannot be made or written.
        """
        if not self.take(wait_s=wait_s):
            raise StoreError(Reason.CANNOT_RECORD, "another process keeps the log to itself")

    def _wait(self, descriptor: int, wait_s: float) -> bool:
        give_up = time.monotonic() + wait_s
        while True:
            self._say(_WAITING, _YES)
            time.sleep(_STEP_S)
            if try_lock(descriptor):
                self._say(_WAITING, _NO)
                return True
            if time.monotonic() >= give_up:
                return False

    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._bytes is not None and self._bytes[_WAITING] == _YES

    def give_back(self, *, wanted: bool = False) -> None:
        """Have it no longer. `wanted`: and stay away for as long as a waiter needs to take it. Idempotent."""
        if not self.mine:
            return
        self.mine = False
        if self._descriptor is not None:
            if wanted:  # who still waits says so again; who has given up or died, never would take it back
                with contextlib.suppress(OSError):
                    self._say(_WAITING, _NO)
            unlock(self._descriptor)
            if wanted:
                time.sleep(_COURTESY_S)

    def mark(self, *, journal: bool) -> None:
        """Say whether a journal is in use; for who has the right.

        Raises:
            OSError: it cannot be written.
        """
        self._say(JOURNAL, _YES if journal else _NO)

    def journal_in_use(self) -> bool:
        """Whether a journal is in use, or was when its process died.

        Raises:
            OSError: it cannot be read.
        """
        return self.marks()[JOURNAL] == _YES

    def marks(self) -> Marks:
        """The two bytes as they are at any time, until `close`: what `journal_in_use` looks at, for who looks very often.

        Raises:
            OSError: they cannot be read.
        """
        return (self._bytes or self._open_bytes()) if NEEDED else _NOBODY

    def close(self) -> None:
        """Give it back, for good. Idempotent."""
        self.give_back()
        if self._bytes is not None:
            self._bytes.close()
            self._bytes = None
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), FILE_MODE)
            try:
                check_private(self._path)
                if os.fstat(descriptor).st_size < _SIZE:
                    os.truncate(descriptor, _SIZE)  # another may have done so, and written to it
                self._bytes = mmap.mmap(descriptor, _SIZE, access=mmap.ACCESS_READ)
            except BaseException:
                os.close(descriptor)
                raise
            self._descriptor = descriptor
        return self._descriptor

    def _say(self, what: int, value: int) -> None:
        """Written as a file, read as memory: writing to memory that has no place on a full disk would end the process."""
        os.pwrite(self._open(), bytes([value]), what)

    def _open_bytes(self) -> mmap.mmap:
        self._open()
        if self._bytes is None:
            raise ValueError("the right is closed")
        return self._bytes
