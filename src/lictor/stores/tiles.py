"""A log in a folder, in the layout of C2SP tlog-tiles: what `lictor log export` writes, and what others verify without us.

Files appear whole, under their last name, and the checkpoint is replaced last: whoever reads meanwhile, or after a crash, finds a
log that fits its checkpoint. It refuses to know what entries mean.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lictor.model.errors import OperatorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.records.checkpoint import Checkpoint, LogKeys, open_checkpoint
from lictor.records.merkle import EMPTY_ROOT, leaf_hash
from lictor.records.note import MAX_TEXT
from lictor.records.tiles import (
    WIDTH,
    Tile,
    TileBuilder,
    bundle,
    edge_of,
    entries_in,
    entries_tile,
    split_tile,
    width_at,
)
from lictor.stores.private import FOLDER_MODE

CHECKPOINT: Final = "checkpoint"
KEY: Final = "vkey"
"""The log's verifier key. For convenience only: who verifies has it from elsewhere."""
STATEMENTS: Final = "keys"
"""The statements by which the log's keys handed over to each other; none while it has its first one."""
COSIGNED: Final = "cosigned"
"""Folder with the newest checkpoint that each witness has cosigned, by the witness's name in the settings."""
MAX_COSIGNED: Final = 64

_MAX_FILE: Final = 1 << 30
_PROGRESS_EVERY: Final = 4_096

Entries = Callable[[int, int], Iterable[StoredEntry]]
"""The log's entries from one number up to another, in order."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: the size of the log now, and how many entries of it are new in the folder."""

    size: int
    added: int


class TileFolder:
    """One exported log."""

    def __init__(self, path: Path) -> None:
        """Nothing is read yet."""
        self.path = path

    # -- reading ---------------------------------------------------------------------------------------------------------------

    def checkpoint(self) -> str | None:
        """The newest checkpoint; None: there is no log here yet.

        Raises:
            StoreError: `log_damaged`: it cannot be read.
        """
        return self._text(CHECKPOINT)

    def cosigned(self) -> Iterator[str]:
        """The checkpoints that witnesses cosigned.

        Raises:
            StoreError: `log_damaged`: one cannot be read.
        """
        folder = self.path / COSIGNED
        names = sorted(one.name for one in folder.iterdir())[:MAX_COSIGNED] if folder.is_dir() else []
        for name in names:
            text = self._text(f"{COSIGNED}/{name}")
            if text is not None:
                yield text

    def entry(self, seq: int, size: int) -> bytes:
        """The bytes of one entry of a log of this size.

        Raises:
            StoreError: `log_damaged`: there is none, or its file is not as it must be.
        """
        if not 0 <= seq < size:
            raise _damaged(f"there is no entry {seq} in a log of {size}")
        number, at = divmod(seq, WIDTH)
        return list(self._bundle(number, width_at(size, 0, number)))[at]

    def tile(self, tile: Tile) -> bytes:
        """A tile's bytes; their number is not looked at.

        Raises:
            StoreError: `log_damaged`: it is not there, or cannot be read.
        """
        return self._bytes(tile.path())

    def entries(self, size: int) -> Iterator[StoredEntry]:
        """The entries of a log of this size, with the leaf hashes of their tiles.

        Raises:
            StoreError: `log_damaged`: a file is not there, or not of the length it must have.
        """
        for number in range((size + WIDTH - 1) // WIDTH):
            width = width_at(size, 0, number)
            leaves = split_tile(self.tile(Tile(0, number, width)), width)
            for at, data in enumerate(self._bundle(number, width)):
                yield StoredEntry(number * WIDTH + at, data, leaves[at])

    def _bundle(self, number: int, width: int) -> Iterator[bytes]:
        named = entries_tile(number, width)
        is_long = not (self.path / named.path()).exists() and (self.path / named.long_path()).exists()
        data = self._bytes(named.long_path() if is_long else named.path())
        return entries_in(data, width, long=is_long)

    def _bytes(self, name: str) -> bytes:
        path = self.path / name
        try:
            if path.stat().st_size > _MAX_FILE:
                raise _damaged(f"{name} is larger than any file of a log")
            return path.read_bytes()
        except OSError as error:
            raise _damaged(f"{name} cannot be read: {error.strerror}") from error

    def _text(self, name: str) -> str | None:
        try:
            with (self.path / name).open("rb") as file:
                return file.read(4 * MAX_TEXT).decode()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise _damaged(f"{name} cannot be read") from error

    # -- writing ---------------------------------------------------------------------------------------------------------------

    def extend(
        self,
        entries: Entries,
        note: str,
        key: LogKeys,
        *,
        cosigned: Mapping[str, str] = {},
        statements: str = "",
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> Exported:
        """Bring the folder up to a checkpoint; only what is new is written. The numbers are the steps.

        Args:
            entries: of the log.
            note: the checkpoint, signed by the log, with whatever cosignatures there are.
            key: of the log.
            cosigned: the newest cosigned checkpoint by witness.
            statements: how the log's keys follow from each other (`KeyChain.text`).
            on_progress: told how many entries are written, of those that are new.

        Raises:
            OperatorError: `config_refused`: the folder holds another log, or cannot be written.
            StoreError: `log_damaged`: the folder holds more than the log (it was rolled back), or something else than it.
        """
        head = open_checkpoint(note, key)
        try:
            old = self._prepared(key)  # 1
            if old.size > head.size:
                raise _damaged(f"the export covers {old.size} entries, the log has {head.size}: it was rolled back")
            builder = self._edge(old)  # 2
            _Writing(self, builder, entries, head).run(on_progress)  # 3
            if builder.root() != head.root:  # 4
                raise _damaged("the export is not of this log: its tiles have another root; export to an empty folder")
            for name, text in cosigned.items():
                self.put(f"{COSIGNED}/{name}", text.encode())
            if statements:
                self.put(STATEMENTS, statements.encode())
            self.put(KEY, f"{key.at(head.size).text()}\n".encode())
            self.put(CHECKPOINT, note.encode())  # 5
            self._prune(old.size, head.size)
        except OSError as error:
            raise OperatorError(
                Reason.CONFIG_REFUSED, f"cannot write to {str(self.path)!r:.200}: {error.strerror}"
            ) from error
        return Exported(head.size, head.size - old.size)

    def _prepared(self, key: LogKeys) -> Checkpoint:
        self.path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        text = self.checkpoint()
        if text is None:
            if (self.path / "tile").is_dir() or not any(self.path.iterdir()):  # an export that was cut off begins anew
                return Checkpoint(key.name, 0, EMPTY_ROOT)
            raise OperatorError(
                Reason.CONFIG_REFUSED,
                f"{str(self.path)!r:.200} holds something else than an export",
                remedy="name an empty folder",
            )
        return open_checkpoint(text, key)

    def _edge(self, old: Checkpoint) -> TileBuilder:
        builder = TileBuilder(old.size, [(tile, self.tile(tile)) for tile in edge_of(old.size)])
        if builder.root() != old.root:
            raise _damaged("the tiles of the export do not fit its checkpoint; export to an empty folder")
        return builder

    def put(self, name: str, data: bytes) -> None:
        """A file, whole or not at all."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    def _prune(self, old: int, new: int) -> None:
        """Partial tiles of which the full one is there now are needed no more (tlog-tiles, "Partial Tiles")."""
        for tile in (*edge_of(old), *([entries_tile(old // WIDTH, old % WIDTH)] if old % WIDTH else [])):
            if width_at(new, tile.level, tile.number) == WIDTH:
                for name in (tile.path(), tile.long_path()) if tile.level < 0 else (tile.path(),):
                    shutil.rmtree((self.path / name).parent, ignore_errors=True)


class _Writing:
    """One pass over new entries."""

    def __init__(self, folder: TileFolder, builder: TileBuilder, entries: Entries, head: Checkpoint) -> None:
        self._folder = folder
        self._builder = builder
        self._entries = entries
        self._head = head
        self._pending: list[bytes] = []

    def run(self, on_progress: Callable[[int], None]) -> None:
        start, builder = self._builder.size, self._builder
        if start == self._head.size:
            return
        known = [leaf for tile, data in builder.partials() if tile.level == 0 for leaf in split_tile(data, tile.width)]
        for seq, entry in enumerate(self._entries(start // WIDTH * WIDTH, self._head.size), start // WIDTH * WIDTH):
            leaf = leaf_hash(entry.data)
            self._pending.append(entry.data)
            if seq < start:
                if leaf != known[seq % WIDTH]:
                    raise _damaged(f"entry {seq} is not the one that was exported")
                continue
            for tile, data in builder.append(leaf):
                self._folder.put(tile.path(), data)
            if len(self._pending) == WIDTH:
                self._bundle(seq // WIDTH)
            if (seq + 1 - start) % _PROGRESS_EVERY == 0:
                on_progress(seq + 1 - start)
        if builder.size != self._head.size:
            raise _damaged(f"the log has {builder.size} entries, its checkpoint {self._head.size}")
        for tile, data in builder.partials():
            self._folder.put(tile.path(), data)
        if self._pending:
            self._bundle(builder.size // WIDTH)

    def _bundle(self, number: int) -> None:
        data, is_long = bundle(self._pending)
        named = entries_tile(number, len(self._pending))
        self._folder.put(named.long_path() if is_long else named.path(), data)
        self._pending = []


class TileCheck:
    """Whether the tiles above the leaves are those of the entries, while somebody reads them.

    `records.verify` compares the leaf hashes with the entries; this compares every tile above with the leaf hashes.
    """

    def __init__(self, folder: TileFolder) -> None:
        """Nothing is compared yet."""
        self._folder = folder
        self._builder = TileBuilder()
        self.wrong: list[tuple[int, str]] = []
        """First entry below a wrong tile, and what is wrong, in one line."""

    def over(self, entries: Iterable[StoredEntry]) -> Iterator[StoredEntry]:
        """The same entries; at their end all tiles have been compared."""
        for entry in entries:
            for tile, data in self._builder.append(entry.leaf):
                self._compare(tile, data)
            yield entry
        for tile, data in self._builder.partials():
            self._compare(tile, data)

    def _compare(self, tile: Tile, data: bytes) -> None:
        if tile.level == 0 or len(self.wrong) >= WIDTH:
            return
        first = tile.number << (8 * (tile.level + 1))
        try:
            found = self._folder.tile(tile)
        except StoreError as error:
            self.wrong.append((first, str(error)))
            return
        if found != data:
            self.wrong.append((first, f"{tile.path()} is not the tile of these entries"))


def _damaged(message: str) -> StoreError:
    return StoreError(Reason.LOG_DAMAGED, message)
