"""Disks that fail: refuse writes, refuse to sync, are full, can only be read, or are slow. Mended by setting `mode` to nothing."""

import random
import time
from collections.abc import Callable
from pathlib import Path

from power.disk import FULL, IOERR_FSYNC, IOERR_WRITE, OK, READONLY, Watcher
from power.platter import Recorder

MODES = ("sync fails", "write fails", "full", "read only")
"""What SQLite is told: EIO on fdatasync, EIO on write, ENOSPC, EROFS."""


class Failing(Watcher):
    """A disk that does what its `mode` says; `delay_s` is what a sync takes; of all syncs the `nth` one fails."""

    def __init__(self) -> None:
        self.mode = ""
        self.delay_s = 0.0
        self.nth = 0
        self.refused = 0
        self.syncs = 0

    def _if(self, *modes: str, code: int) -> int:
        if self.mode not in modes:
            return OK
        self.refused += 1
        return code

    def write(self, name: str, data: bytes, offset: int) -> int:
        codes = {"write fails": IOERR_WRITE, "full": FULL, "read only": READONLY}
        return self._if(self.mode, code=codes[self.mode]) if self.mode in codes else OK

    def sync(self, name: str) -> int:
        self.syncs += 1
        time.sleep(self.delay_s)
        if self.syncs == self.nth:
            return IOERR_FSYNC
        return self._if("sync fails", code=IOERR_FSYNC)


class Doubtful(Recorder):
    """A recorder whose disk fails to sync now and then. The system takes what it could not write for written (fsyncgate)."""

    def __init__(self, folder: Path, chance: random.Random, share: float) -> None:
        super().__init__(folder)
        self.fails: Callable[[], bool] = lambda: chance.random() < share
        self.failed = 0

    def sync(self, name: str) -> int:
        if not self.fails():
            return super().sync(name)
        self.failed += 1
        self._add("failed", name)
        return IOERR_FSYNC
