"""JSON lines in a file for the owner's eyes, put aside when it gets long. Taken means synced.

A crash in the middle of a write leaves half a line, which is ended when the file is opened again; the event on it comes once
more, whole. It refuses to know what the lines say.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.service.log.pump import Event

FILE_MODE: Final = 0o600
_SHARED: Final = 0o640
"""What of a mode that an operator gave the file goes over to the next one."""
_FLAGS: Final = (
    os.O_WRONLY
    | os.O_APPEND
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in its place is refused, and not waited for
)


class FileSink:
    """`lictor.service.log.pump.Sink`. One writer; the pump's lock sees to that."""

    def __init__(self, path: Path, *, rotate_bytes: int, rotate_keep: int) -> None:
        """Nothing is opened before the first line."""
        self._path, self._rotate_bytes, self._rotate_keep = path, rotate_bytes, rotate_keep
        self._descriptor: int | None = None

    def send(self, events: Sequence[Event]) -> None:
        """See `Sink.send`.

        Raises:
            OSError: it cannot be written; what was written of these lines is taken back.
            OperatorError: what stands there is no file of ours.
        """
        data = b"".join(event.data + b"\n" for event in events)
        descriptor = self._opened()
        size = os.fstat(descriptor).st_size
        if size and size + len(data) > self._rotate_bytes:
            descriptor, size = self._rotated(), 0
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):  # half a line stays then, and is ended when the file is opened again
                os.ftruncate(descriptor, size)
            self.close()
            raise

    def close(self) -> None:
        """See `Sink.close`."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self, mode: int = FILE_MODE) -> int:
        if self._descriptor is not None and self._same(self._descriptor):
            return self._descriptor
        self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(self._path, _FLAGS | os.O_CREAT, mode)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _refused(self._path, "is a link") from None
            raise
        try:
            _check(self._path, os.fstat(descriptor))
            self._end_line(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _same(self, descriptor: int) -> bool:
        """Whether the path still leads to what is open: somebody else may rotate too."""
        try:
            there = self._path.stat(follow_symlinks=False)
        except OSError:
            return False
        here = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def _end_line(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if not size:
            _sync_folder(self._path.parent)
            return
        with self._path.open("rb") as file:
            file.seek(size - 1)
            last = file.read(1)
        if last != b"\n":
            _write(descriptor, b"\n")

    def _rotated(self) -> int:
        """A fresh file; the full one is `.1`, the one before it `.2`, and so on."""
        mode = stat.S_IMODE(self._path.stat().st_mode) & _SHARED
        self.close()
        number = 1
        while self._aside(number).exists() and (not self._rotate_keep or number < self._rotate_keep):
            number += 1
        for older in range(number - 1, 0, -1):
            self._aside(older).replace(self._aside(older + 1))
        self._path.replace(self._aside(1))
        descriptor = self._opened(FILE_MODE)
        os.fchmod(descriptor, mode | FILE_MODE)
        _sync_folder(self._path.parent)
        return descriptor

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _check(path: Path, found: os.stat_result) -> None:
    """Whoever can write the file can write events.

    Raises:
        OperatorError: `config_refused`.
    """
    if not stat.S_ISREG(found.st_mode):
        raise _refused(path, "is not a regular file")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise _refused(path, "belongs to another user")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH | stat.S_IROTH):
        raise _refused(path, "can be written or read by others")


def _refused(path: Path, what: str) -> OperatorError:
    return OperatorError(Reason.CONFIG_REFUSED, f"{str(path)!r:.200} {what}", remedy="chmod 600, or name another file")


def _sync_folder(folder: Path) -> None:
    """A name is durable when its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
