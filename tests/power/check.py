"""What must be true of a state folder after a power cut, whatever the disk kept.

1  The store opens, with no help (where syncs fail too: once anything was promised).
2  It holds every batch that was acknowledged, and the start of everything that happened in the world.
3  What it holds is a beginning of what was written (where a commit failed: as far as it was acknowledged); the log verifies;
   the rows are what the log says; payloads open.
4  A bundle that was kept is kept; payloads that were erased are.
"""

import hashlib
import random
import shutil
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash.ledger import Ledger, log_faults
from crash.scene import open_store
from lictor.model.errors import LictorError
from lictor.stores.snapshot import LogSnapshot
from lictor.stores.sqlite import SqliteStore

KEYS = ("log.key", "state.key")


def lay_out(folder: Path, keys: Path, image: dict[str, bytes], index: random.Random | None = None) -> None:
    """The folder as a machine that starts again finds it; `index`: with one of the write-ahead log that was never synced, at times."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    files = {name: (keys / name).read_bytes() for name in KEYS} | image
    if index is not None and index.random() < 0.2 and "log.db" in image:
        files["log.db-shm"] = index.randbytes(32_768)
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o600)


@dataclass
class Truth:
    """Everything a session wrote."""

    entries: list[bytes]
    started: dict[str, int]
    """How many entries there must be for an execution to have started."""

    @classmethod
    def of(cls, folder: Path) -> "Truth":
        """Read the log at the end of a session, when nothing was cut yet; what a failing disk has left in a journal belongs to it."""
        with suppress(LictorError):
            open_store(folder).close()
        with LogSnapshot(folder / "log.db") as log:
            entries = [entry.data for entry in log.entries()]
            ledger = Ledger()
            ledger.more(log)  # type: ignore[arg-type]
        return cls(entries, {name: ledger.place[name] + 1 for name in ledger.started})

    def needed(self, marks: Iterable[tuple[Any, ...]]) -> int:
        """Entries that must be there after these marks."""
        return max((self._needed(mark) for mark in marks), default=0)

    def _needed(self, mark: tuple[Any, ...]) -> int:
        word, what = mark
        if word == "acknowledged":
            return int(what)
        return self.started.get(what, len(self.entries) + 1) if word == "effect" else 0


@dataclass
class Checker:
    """Checks images; what was found whole once is whole the next time, byte for byte.

    Attributes:
        folder: where they are laid out.
        failing: commits failed, so something may be there that was refused, in the place of what came later.
    """

    folder: Path
    failing: bool = False
    seen: dict[bytes, list[str]] = field(default_factory=dict)
    opened: int = 0

    def faults(self, truth: Truth, marks: list[tuple[Any, ...]]) -> list[str]:
        """Everything that is not as it must be."""
        try:
            with open_store(self.folder) as store:
                self.opened += 1
                return self._of_open(store, truth, marks)
        except LictorError as error:
            if (
                self.failing and not marks
            ):  # a disk that fails twice in the first start: an empty log that cannot be read
                return []
            return [f"1: {error}"]

    def _of_open(self, store: SqliteStore, truth: Truth, marks: list[tuple[Any, ...]]) -> list[str]:
        faults = []
        entries = [entry.data for entry in store.entries()]
        if len(entries) < (needed := truth.needed(marks)):
            faults.append(f"2: {needed} entries were promised, {len(entries)} are there")
        sure = needed if self.failing else len(entries)
        if entries[:sure] != truth.entries[:sure]:
            faults.append("3: an entry is not what was written")
        for word, what in marks:
            if word == "bundle" and store.bundle(what) is None:
                faults.append("4: a kept bundle is gone")
        erased = {what for word, what in marks if word == "erased"}
        content = self._content(erased)
        if content not in self.seen:
            self.seen[content] = log_faults(store, None) + _unreadable(store, erased, entries)
        return faults + self.seen[content]

    def _content(self, erased: set[str]) -> bytes:
        """A digest of every page, the moved and the others, and of what should not be there."""
        connection = sqlite3.connect(f"file:{self.folder / 'log.db'}?mode=ro", uri=True)
        try:
            connection.execute("SELECT 1 FROM meta").fetchall()
            found = hashlib.sha256(connection.serialize())
        finally:
            connection.close()
        found.update(repr(sorted(erased)).encode())
        return found.digest()


def _unreadable(store: SqliteStore, erased: set[str], entries: list[bytes]) -> list[str]:
    connection = sqlite3.connect(f"file:{store._log.path}?mode=ro", uri=True)
    try:
        faults = [f"3: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        payloads = connection.execute("SELECT request, task FROM payloads").fetchall()
    except sqlite3.DatabaseError as error:
        return [f"3: {error}"]
    finally:
        connection.close()
    try:
        kept = {task for request, task in payloads if store.payload(request) is not None}
    except LictorError as error:
        return [*faults, f"3: {error}"]
    return [*faults, *(f"4: erased, and there again: {task}" for task in kept & erased)]
