"""The gateway's own look at files: bounded, regular files only, through no link. For servers that share its file system.

A path comes resolved; it is walked again name by name without following links, so what is read lies where the decision was about
(CVE-2025-53109). Special files are never opened: a pipe blocks, a device does things. Refuses to know what the bytes mean.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

MAX_TEXT: Final = 1024 * 1024
"""Bytes of a file that are kept and shown."""
MAX_HASHED: Final = 64 * 1024 * 1024
"""Bytes of a file that are hashed; of a larger one size, inode and time of its last change count."""
MAX_ENTRIES: Final = 20_000
"""Names that one listing looks at."""
_CHUNK: Final = 256 * 1024
_FLAGS: Final[int] = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_FOLDER: Final[int] = _FLAGS | getattr(os, "O_DIRECTORY", 0)
_FILE: Final[int] = _FLAGS | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
_ABSENT: Final = frozenset({errno.ENOENT})


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What stands at a path."""

    what: Literal["absent", "file", "directory", "special", "unreadable"]
    size: int = 0
    digest: str = ""
    """`sha256:…` of a whole file; `stat:…` of one that is too large to hash."""
    data: bytes | None = None
    """The whole of a file that is not too large to be shown."""

    @property
    def value(self) -> str:
        """For a precondition; of what cannot be read it equals nothing."""
        return self.digest or self.what

    @property
    def known(self) -> bool:
        """Whether two looks can be compared."""
        return self.what != "unreadable"


class Disk:
    """File system of this host.

    Args:
        base: a folder that stands for `/`, for servers that see only a part of this host's tree under other names.
        private: resolved folders of the gateway's own, such as its keys: nothing in them is read for anybody.
    """

    def __init__(self, base: str = "", private: tuple[str, ...] = ()) -> None:
        self._base = base.rstrip("/")
        self._private = tuple(folder.rstrip("/") for folder in private)

    def look(self, path: str, *, most: int = MAX_TEXT) -> Seen:
        """What stands at a resolved path. Raises nothing; blocks, so it is called on a thread.

        Args:
            path: absolute, without links.
            most: bytes up to which the content is kept.
        """
        try:
            with self._parent(path) as (folder, name):
                return _look(folder, name, most)
        except OSError as error:
            return Seen(what="absent" if error.errno in _ABSENT else "unreadable")
        except (ValueError, UnicodeError):
            return Seen(what="unreadable")

    def names(self, path: str) -> list[tuple[str, bool]]:
        """Names in a resolved directory, sorted, each with whether it is a directory itself (a link is none).

        Raises:
            OSError: it cannot be read, or has more than `MAX_ENTRIES` names.
        """
        with self._parent(path) as (folder, name):
            descriptor = os.open(name, _FOLDER, dir_fd=folder) if name else os.dup(folder)
        try:
            found: list[tuple[str, bool]] = []
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    found.append((entry.name, entry.is_dir(follow_symlinks=False)))
                    if len(found) > MAX_ENTRIES:
                        raise OSError(errno.EFBIG, "too many names")
            return sorted(found)
        finally:
            os.close(descriptor)

    @contextmanager
    def _parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory above a path, opened name by name, and the last name; empty for `/`."""
        parts = [part for part in path.split("/") if part]
        if not path.startswith("/") or {".", ".."} & set(parts):
            raise ValueError("not an absolute, resolved path")
        clean = f"/{'/'.join(parts)}"
        if any(clean == folder or clean.startswith(f"{folder}/") for folder in self._private):
            raise OSError(errno.EACCES, "the gateway's own")
        current = os.open(self._base or "/", os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_DIRECTORY", 0))
        try:
            for part in parts[:-1]:
                following = os.open(part, _FOLDER, dir_fd=current)
                os.close(current)
                current = following
            yield current, parts[-1] if parts else ""
        finally:
            os.close(current)

    def native(self, path: str) -> Path:
        """Where this process finds a path of the servers'."""
        return Path(f"{self._base}{path}")


def _look(folder: int, name: str, most: int) -> Seen:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False) if name else os.fstat(folder)
    if stat.S_ISDIR(found.st_mode):
        return Seen(what="directory")
    if not stat.S_ISREG(found.st_mode):
        return Seen(what="special")
    descriptor = os.open(name, _FILE, dir_fd=folder)
    try:
        opened = os.fstat(descriptor)
        if not stat.S_ISREG(opened.st_mode):
            return Seen(what="special")
        return _read(descriptor, opened, most)
    finally:
        os.close(descriptor)


def _read(descriptor: int, opened: os.stat_result, most: int) -> Seen:
    """The content as far as it is wanted. A file that grows or shrinks while it is read is unreadable: no moment has it so."""
    if opened.st_size > MAX_HASHED:
        # The time of the last change of the inode cannot be set back by whoever may write to the file.
        mark = f"stat:{opened.st_dev}:{opened.st_ino}:{opened.st_size}:{opened.st_ctime_ns}"
        return Seen(what="file", size=opened.st_size, digest=mark)
    hashed, kept, total = hashlib.sha256(), bytearray(), 0
    while chunk := os.read(descriptor, _CHUNK):
        total += len(chunk)
        if total > opened.st_size:
            return Seen(what="unreadable")
        hashed.update(chunk)
        if total <= most:
            kept += chunk
    if total != opened.st_size:
        return Seen(what="unreadable")
    data = bytes(kept) if total <= most else None
    return Seen(what="file", size=total, digest=f"sha256:{hashed.hexdigest()}", data=data)
