"""A journal in front of the log: groups that are durable here first, and in the tables of the log soon after (ADR 0023).

Two files that were written full of zeros and synced before they are used, so that a group costs one write to blocks that are
there and one `fdatasync`. A frame is a group: what the tables cannot find out by themselves, under a checksum that tells a torn
one and a code that only the holder of the log's key can make (HMAC-SHA-256, RFC 2104: a signature takes thirty times as long, and
the next checkpoint of the tables is one). Nothing in it is to be erased: groups with keys never come here.

Frames are told apart by the size of the log before them, which only grows. What is read from the files again (`frames`) are
those behind the log's head; older ones are left over and are written over from the beginning when a file's turn comes.

It refuses to know what entries mean and who has the right to write.
"""

import contextlib
import hmac
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread, get_ident
from typing import Final

import msgspec

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.stores.private import FILE_MODE, check_private, sync_folder

FILE_BYTES: Final = 16 * 1024 * 1024
"""Of each of the two files. It takes so much of a log before the tables have to be durable too."""
POSSIBLE: Final = hasattr(os, "fdatasync") and hasattr(os, "pwrite")

_ZEROS: Final = bytes(1024 * 1024)
_HEAD: Final = struct.Struct(">4sIIQQ")
_MAGIC: Final = b"lgj1"
_CODE: Final = 32


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A group as it is kept.

    Attributes:
        first: entries in the log before it.
        entries: its entries, in order.
        payloads: (request, task, nonce, ciphertext) of each sealed payload.
        root: of the log with it, 32 bytes.
    """

    first: int
    entries: Sequence[bytes]
    payloads: Sequence[tuple[str, str, bytes, bytes]]
    root: bytes

    def encode(self, key: bytes) -> bytes:
        """As it is in a file: a head (magic, length and CRC-32 of what follows, size of the log before and after), code, body."""
        body = _ENCODER.encode(self)
        body = hmac.digest(key, body, "sha256") + body
        last = self.first + len(self.entries)
        return _HEAD.pack(_MAGIC, len(body), zlib.crc32(body), self.first, last) + body


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Frame)


class Journal:
    """The two files, for who has the right to write. Not thread-safe."""

    def __init__(self, log: Path) -> None:
        """Of a log. Nothing is opened."""
        self._log = log
        self._paths = paths(log)
        self._maker: Thread | None = None
        self._files: list[int] = []
        self._at = 0
        self._active = 0
        self._until = [0, 0]

    @property
    def being_made(self) -> bool:
        """Whether its files are."""
        return self._maker is not None and self._maker.is_alive()

    def make(self) -> None:
        """Begin to make the files that are not there; whoever writes to the log goes on meanwhile, without them if need be."""
        self._maker = Thread(target=_try_to_make, args=(self._log,), name="lictor-journal", daemon=True)
        self._maker.start()

    @property
    def is_open(self) -> bool:
        """Whether frames can be appended."""
        return bool(self._files)

    def open(self) -> bool:
        """Open the files, if they are there and whole. Every frame in them must be in the tables, durably.

        Raises:
            OperatorError: `config_refused`: others may read or write them.
            OSError: they cannot be opened.
        """
        if not all(_is_whole(path) for path in self._paths):
            return False
        for path in self._paths:
            for unfinished in path.parent.glob(f"{path.name}.*.new"):  # by a process that died, or that comes too late
                unfinished.unlink(missing_ok=True)
        self._files = [os.open(path, os.O_RDWR | os.O_CLOEXEC) for path in self._paths]
        self._at, self._active, self._until = 0, 0, [0, 0]
        return True

    def fits(self, frame: bytes) -> bool:
        """Whether the file in use has room for it."""
        return self._at + len(frame) <= FILE_BYTES

    def turn(self, durable: int, frame: bytes) -> bool:
        """Go on with the other file from its beginning; False if it has frames that only it has, or no room for this one.

        Args:
            durable: size up to which the tables of the log are durable.
            frame: what comes next.
        """
        other = 1 - self._active
        if self._until[other] > durable:
            return False
        self._active, self._at = other, 0
        return self.fits(frame)

    def append(self, frame: bytes, size: int) -> None:
        """Make a frame durable, up to this size of the log.

        Raises:
            OSError: it is not known whether it is: `discard` the files before anything else is written.
        """
        file, at = self._files[self._active], self._at
        write(file, frame, at)
        sync(file)
        self._at = at + len(frame)
        self._until[self._active] = size

    def close(self, *, clear: bool) -> None:
        """Close the files. Idempotent.

        Args:
            clear: everything in them is in the tables, durably: let who looks for frames stop at the first.
        """
        files, self._files = self._files, []
        for file in files:
            with contextlib.suppress(OSError):  # what is left over is behind the head of the log anyway
                if clear:
                    write(file, bytes(_HEAD.size), 0)
            os.close(file)

    def discard(self) -> None:
        """Remove the files, durably: a frame that nobody was told of may be in them and must not be found beside a later one.

        Raises:
            OSError: they may still be there, and are still open: it has to be asked again.
        """
        for path in self._paths:
            path.unlink(missing_ok=True)
        sync_folder(self._paths[0].parent)
        self.close(clear=False)


def write(file: int, data: bytes, at: int) -> None:
    """All of it.

    Raises:
        OSError: not all of it.
    """
    view = memoryview(data)
    while view:
        done = os.pwrite(file, view, at)
        view, at = view[done:], at + done


def sync(file: int) -> None:
    """Make a file's bytes durable.

    Raises:
        OSError: they may not be.
    """
    os.fdatasync(file)


def paths(log: Path) -> tuple[Path, Path]:
    """Where the files of a log are."""
    return log.with_name(f"{log.name}.journal0"), log.with_name(f"{log.name}.journal1")


def left_beside(log: Path) -> tuple[Path, ...]:
    """What a log that is gone may have left, and nobody needs without it: its journal, SQLite's files, who had the right."""
    return (*paths(log), *(log.with_name(f"{log.name}{end}") for end in ("-wal", "-shm", ".right")))


def make(log: Path) -> None:
    """Make the files that are not there. Safe when several do it at once: a file has its name once it is whole.

    Raises:
        OSError: the disk is full, or fails.
    """
    for path in paths(log):
        if path.exists():
            continue
        new = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.new")
        new.unlink(missing_ok=True)
        try:
            file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
            try:
                for at in range(0, FILE_BYTES, len(_ZEROS)):
                    write(file, _ZEROS[: FILE_BYTES - at], at)
                    sync(file)  # little by little: others wait for this disk
                os.fsync(file)
            finally:
                os.close(file)
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink(missing_ok=True)
    sync_folder(log.parent)


def _try_to_make(log: Path) -> None:
    with contextlib.suppress(OSError):
        make(log)


def frames(log: Path, head: int, key: bytes) -> list[Frame]:
    """Frames behind the head of the log, in order and without a gap.

    Args:
        log: its path.
        head: its size.
        key: what they were made with.

    Raises:
        StoreError: `log_damaged`: there are frames, and one before them is missing; or one was not made with this key.
        OSError: the files cannot be read.
    """
    found = sorted((one for path in paths(log) for one in _later(path, head, key)), key=lambda frame: frame.first)
    size = head
    for frame in found:
        if frame.first != size:
            message = f"the journal goes on at entry {frame.first}, the log ends at {size}"
            raise StoreError(
                Reason.LOG_DAMAGED, message, remedy="the log is older than its journal: do not start; restore a backup"
            )
        size += len(frame.entries)
    return found


def left_over(log: Path) -> bool:
    """Whether a journal may not have ended as it should: its files begin with a frame.

    Raises:
        OSError: they cannot be read.
    """
    for path in paths(log):
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            if file.read(len(_MAGIC)) == _MAGIC:
                return True
    return False


def _later(path: Path, head: int, key: bytes) -> Iterator[Frame]:
    """Whole frames of a file, from its beginning, that begin at the head or behind it: tables hold a group or nothing of it."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        at = 0
        while len(head_bytes := os.pread(file, _HEAD.size, at)) == _HEAD.size:
            magic, length, checksum, first, last = _HEAD.unpack(head_bytes)
            if magic != _MAGIC or not _CODE < length <= FILE_BYTES:  # zeros, or a head that is torn itself
                return
            if first >= head:
                body = os.pread(file, length, at + _HEAD.size)
                if zlib.crc32(body) != checksum:
                    return  # torn: nobody was told of it, nor of any behind it
                yield _genuine(body, key, first, last)
            at += _HEAD.size + length
    finally:
        os.close(file)


def _genuine(body: bytes, key: bytes, first: int, last: int) -> Frame:
    code, data = body[:_CODE], body[_CODE:]
    try:
        frame = _DECODER.decode(data) if hmac.compare_digest(code, hmac.digest(key, data, "sha256")) else None
    except msgspec.MsgspecError:
        frame = None
    if frame is None or (frame.first, frame.first + len(frame.entries)) != (first, last):
        message = f"what the journal has behind entry {first} was not written with this log's key"
        raise StoreError(Reason.LOG_DAMAGED, message, remedy="do not start; see: lictor log verify")
    return frame


def _is_whole(path: Path) -> bool:
    try:
        check_private(path)
        return path.stat().st_size == FILE_BYTES
    except FileNotFoundError:
        return False
