"""What a disk holds after a power cut: everything synced, and of the rest whatever sectors happened to get there.

A `Recorder` writes down what the real store does to its files, with marks for what it promised meanwhile. A `Platter` goes through
that record and makes crash images of any moment: of what was written since a file's last sync each 512-byte sector is there or not,
or in part; files may have grown without their data; names come and go until their folder is synced. Later writes may be there
without earlier ones, in one file as between two. Sectors that were not written to keep what they had (SQLite's "powersafe overwrite").
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

from power.disk import OK, Watcher

SECTOR = 512
PAGE = 4096
"""What the system writes back as a whole."""
TORN = 0.05
"""Share of the sectors that get there which do so in part."""


class Event(NamedTuple):
    """One step: `what` is open, fresh, write, truncate, begin, synced, failed, delete, folder or mark."""

    what: str
    name: str = ""
    data: Any = None
    at: int = 0


class Recorder(Watcher):
    """Writes down everything that happens to the files of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.events: list[Event] = []

    def mark(self, *what: object) -> None:
        """Something was promised, or done in the world."""
        self.events.append(Event("mark", data=what))

    def _add(self, what: str, name: str, data: object = None, at: int = 0) -> int:
        folder, _, file = name.rpartition("/")
        if folder == self.folder:
            self.events.append(Event(what, file, data, at))
        return OK

    def opened(self, name: str, *, create: bool) -> None:
        self._add("fresh" if create and not name.endswith(".db") else "open", name)

    def write(self, name: str, data: bytes, offset: int) -> int:
        return self._add("write", name, data, offset)

    def truncate(self, name: str, size: int) -> int:
        return self._add("truncate", name, None, size)

    def sync(self, name: str) -> int:
        return self._add("begin", name, at=get_ident())

    def synced(self, name: str) -> None:
        self._add("synced", name, at=get_ident())

    def delete(self, name: str) -> int:
        return self._add("delete", name)

    def folder_synced(self, name: str) -> None:
        self._add("folder", name)


@dataclass(eq=False)
class Inode:
    """A file's bytes: what is durable, what was written since, in order, and what a failed sync left behind.

    The latter may be on the disk or not, and no later sync changes that, until its page is written to again.
    """

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)
    doubtful: list[tuple[int, bytes]] = field(default_factory=list)

    def written(self, offset: int, data: bytes | None) -> None:
        """A write, or (no data) a cut."""
        if self.doubtful and data is not None:
            pages = range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1)
            self.pending += [one for one in self.doubtful if one[0] // PAGE in pages]
            self.doubtful = [one for one in self.doubtful if one[0] // PAGE not in pages]
        self.pending.append((offset, data))

    def failed(self) -> None:
        """A sync failed: the system will not try again. What another sync is writing at this moment is that one's."""
        under_way = max(self.begun.values(), default=0)
        lost = self.pending[under_way:]
        self.doubtful += [one for at, data in lost if data is not None for one in _pieces(at, data, SECTOR)]
        self.pending[under_way:] = [one for one in lost if one[1] is None]

    def synced(self, thread: int) -> None:
        """Durable is what had been written when this thread's sync began; another's may be under way."""
        count = self.begun.pop(thread, 0)
        for offset, data in self.pending[:count]:
            _put(self.durable, offset, data)
            if data is None:
                self.doubtful = [one for one in self.doubtful if one[0] < offset]
        del self.pending[:count]
        self.begun = {other: max(0, one - count) for other, one in self.begun.items()}

    def after_cut(self, chance: random.Random, share: float) -> bytes:
        """One thing it may hold after a power cut."""
        found, size = bytearray(self.durable), len(self.durable)
        for offset, data in [*self.doubtful, *self.pending]:
            if data is None:
                size = offset
                if chance.random() < share:
                    _put(found, offset, None)
                continue
            size = max(size, offset + len(data))
            for at, piece in _pieces(offset, data, SECTOR):
                if chance.random() < share:
                    _put(found, *(_torn(at, piece, chance) if chance.random() < TORN else (at, piece)))
        if size > len(found) and chance.random() < 0.3:  # it has grown, and what is there is old blocks or nothing
            found += chance.randbytes(size - len(found)) if chance.random() < 0.5 else bytes(size - len(found))
        return bytes(found)


def _put(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
    if len(content) < offset:
        content += bytes(offset - len(content))
    if data is not None:
        content[offset : offset + len(data)] = data


def _pieces(offset: int, data: bytes, size: int) -> list[tuple[int, bytes]]:
    """A write in pieces that do not cross a border of this size."""
    pieces, at = [], 0
    while at < len(data):
        end = min(len(data), at + size - (offset + at) % size)
        pieces.append((offset + at, data[at:end]))
        at = end
    return pieces


def _torn(at: int, piece: bytes, chance: random.Random) -> tuple[int, bytes]:
    cut = chance.randrange(len(piece))
    return (at, piece[:cut]) if chance.random() < 0.5 else (at + cut, piece[cut:])


class Platter:
    """The disk at one moment of a record; `go` to a later one, then take as many images as wanted."""

    def __init__(self, files: dict[str, bytes], events: Sequence[Event]) -> None:
        """At the beginning.

        Args:
            files: what was there, durably.
            events: the record.
        """
        self.events = events
        self.at = 0
        self.marks: list[tuple[Any, ...]] = []
        self._kept = {name: Inode(bytearray(data)) for name, data in files.items()}
        self._names = dict(self._kept)
        self._moves: list[tuple[str, Inode | None]] = []
        self._fresh: set[str] = set()

    def go(self, to: int) -> None:
        """Up to, and not including, this event."""
        for event in self.events[self.at : to]:
            self._step(event)
        self.at = max(self.at, to)

    def image(self, chance: random.Random) -> dict[str, bytes]:
        """The files after a power cut now."""
        names: dict[str, Inode | None] = dict(self._kept)
        share = chance.choice((0.0, 1.0, 0.5, 0.1, 0.9, chance.random()))
        names |= {name: inode for name, inode in self._moves if chance.random() < share}
        each = chance.random() < 0.5  # a share for all files, or one for each
        return {
            name: inode.after_cut(chance, chance.choice((0.0, 1.0, chance.random())) if each else share)
            for name, inode in names.items()
            if inode is not None
        }

    def _step(self, event: Event) -> None:
        if event.what == "mark":
            self.marks.append(event.data)
        elif event.what in {"open", "fresh"}:
            self._inode(event.name)
            if event.what == "fresh":
                self._fresh.add(event.name)
        elif event.what in {"write", "truncate"}:
            self._inode(event.name).written(event.at, event.data)
        elif event.what == "begin":
            inode = self._inode(event.name)
            inode.begun[event.at] = len(inode.pending)
        elif event.what == "failed":
            self._inode(event.name).failed()
        elif event.what == "delete":
            self._names.pop(event.name, None)
            self._moves.append((event.name, None))
        else:
            self._synced(event)

    def _synced(self, event: Event) -> None:
        if event.what == "synced":
            self._inode(event.name).synced(event.at)
        # SQLite syncs the folder with the first sync of a journal it made.
        if event.what == "folder" or event.name in self._fresh:
            self._fresh.discard(event.name)
            self._moves.clear()
            self._kept = dict(self._names)

    def _inode(self, name: str) -> Inode:
        if name not in self._names:
            self._names[name] = Inode()
            self._moves.append((name, self._names[name]))
        return self._names[name]
