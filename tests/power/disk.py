"""A disk between the store and the operating system: it sees every write and sync, and may refuse or delay them.

The store is not changed and its SQLite neither: SQLite's own VFS is registered a second time under another name, as the default,
with `xWrite`, `xTruncate`, `xSync`, `xOpen` and `xDelete` going by a `Watcher` first (https://sqlite.org/c3ref/io_methods.html).
Connections that are opened while it is installed go through it, whoever opens them. It needs the library that Python's `sqlite3`
is linked with; where that cannot be reached (`available`) there is nothing to install. The journal's own writes and syncs go by it too.
"""

import ctypes
import errno
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

from lictor.stores import journal

OK = 0
IOERR = 10
FULL = 13
IOERR_WRITE = IOERR | 3 << 8
IOERR_FSYNC = IOERR | 4 << 8
READONLY = 8

_CREATE = 0x4

_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(Structure):
    _fields_ = [
        ("iVersion", c_int), ("szOsFile", c_int), ("mxPathname", c_int), ("pNext", c_void_p), ("zName", c_char_p),
        ("pAppData", c_void_p), ("xOpen", c_void_p), ("xDelete", c_void_p), ("rest", c_void_p * 14),
    ]  # fmt: skip


class _Methods(Structure):
    _fields_ = [
        ("iVersion", c_int), ("xClose", c_void_p), ("xRead", c_void_p), ("xWrite", c_void_p), ("xTruncate", c_void_p),
        ("xSync", c_void_p), ("rest", c_void_p * 13),
    ]  # fmt: skip


class Watcher:
    """Hears of everything before it happens; what it returns instead of `OK` is what SQLite hears, and nothing happens."""

    def opened(self, name: str, *, create: bool) -> None:
        """A file is open; `create`: it was made if it was not there."""

    def write(self, name: str, data: bytes, offset: int) -> int:
        """Bytes go to a file."""
        return OK

    def truncate(self, name: str, size: int) -> int:
        """A file is cut."""
        return OK

    def sync(self, name: str) -> int:
        """A file is to be made durable."""
        return OK

    def synced(self, name: str) -> None:
        """It is."""

    def delete(self, name: str) -> int:
        """A file is removed."""
        return OK

    def folder_synced(self, name: str) -> None:
        """The folder of this file is: it was removed durably."""


class _Disk:
    """The second registration. Made once for a process and never freed: an open file may outlive what installed it."""

    def __init__(self) -> None:
        self.watcher = Watcher()
        self.failed: BaseException | None = None
        self.lib = _library()
        self.lib.sqlite3_vfs_find.restype = c_void_p
        self.lib.sqlite3_vfs_find.argtypes = (c_char_p,)
        self.lib.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
        self.real = self.lib.sqlite3_vfs_find(None)
        if not self.real:
            raise OSError("no default vfs")
        self.vfs = _Vfs.from_buffer_copy((ctypes.c_char * ctypes.sizeof(_Vfs)).from_address(self.real))
        self.names: dict[int, str] = {}
        self.methods: dict[tuple[int, bool], tuple[_Methods, list[object]]] = {}
        self.vfs.zName, self.vfs.pNext = b"lictor-test-disk", None
        real_open, real_delete = _OPEN(self.vfs.xOpen), _DELETE(self.vfs.xDelete)
        self.kept = [_OPEN(self._opening(real_open)), _DELETE(self._deleting(real_delete))]
        self.vfs.xOpen, self.vfs.xDelete = (ctypes.cast(one, c_void_p).value for one in self.kept)

    def default(self, *, here: bool) -> None:
        """Whether new connections come here."""
        self.lib.sqlite3_vfs_register(ctypes.addressof(self.vfs) if here else self.real, 1)

    def _guarded(self, hook: object, *args: object, **named: object) -> int:
        """An exception must not turn into OK."""
        try:
            return int(hook(*args, **named) or OK)  # type: ignore[operator]
        except BaseException as error:  # noqa: BLE001 - raised again by `installed`
            self.failed = error
            return IOERR

    def _opening(self, real: object) -> object:
        def x_open(_: int, name: int | None, file: int, flags: int, out: object) -> int:
            code = real(self.real, name, file, flags, out)  # type: ignore[operator]
            if code == OK and name:
                self.names[file] = ctypes.string_at(name).decode()
                place = c_void_p.from_address(file)
                place.value = ctypes.addressof(self._wrapped(place.value or 0))
                self._guarded(self.watcher.opened, self.names[file], create=bool(flags & _CREATE))
            return code

        return x_open

    def _deleting(self, real: object) -> object:
        def x_delete(_: int, name: bytes, sync: int) -> int:
            code = self._guarded(self.watcher.delete, name.decode()) or real(self.real, name, sync)  # type: ignore[operator]
            if code == OK and sync:
                self._guarded(self.watcher.folder_synced, name.decode())
            return code

        return x_delete

    def _wrapped(self, address: int) -> _Methods:
        """The methods of a file with three of them going by the watcher; SQLite has few different tables of them."""
        writes = (
            type(self.watcher).write is not Watcher.write
        )  # who does not ask is not called: it costs a lock each time
        if (address, writes) in self.methods:
            return self.methods[address, writes][0]
        table = _Methods.from_buffer_copy((ctypes.c_char * ctypes.sizeof(_Methods)).from_address(address))
        real_close, real_write = _CLOSE(table.xClose), _WRITE(table.xWrite)
        real_truncate, real_sync = _TRUNCATE(table.xTruncate), _SYNC(table.xSync)

        def x_close(file: int) -> int:
            self.names.pop(file, None)
            return real_close(file)

        def x_write(file: int, data: int, count: int, offset: int) -> int:
            code = self._guarded(self.watcher.write, self.names[file], ctypes.string_at(data, count), offset)
            return code or real_write(file, data, count, offset)

        def x_truncate(file: int, size: int) -> int:
            return self._guarded(self.watcher.truncate, self.names[file], size) or real_truncate(file, size)

        def x_sync(file: int, flags: int) -> int:
            code = self._guarded(self.watcher.sync, self.names[file]) or real_sync(file, flags)
            if code == OK:
                self._guarded(self.watcher.synced, self.names[file])
            return code

        kept: list[object] = [_CLOSE(x_close), _TRUNCATE(x_truncate), _SYNC(x_sync), _WRITE(x_write)]
        table.xClose, table.xTruncate, table.xSync = (ctypes.cast(one, c_void_p).value for one in kept[:3])
        if writes:
            table.xWrite = ctypes.cast(kept[3], c_void_p).value
        self.methods[address, writes] = (table, kept)
        return table


def _library() -> ctypes.CDLL:
    """The SQLite that Python's module is linked with: the one that is loaded already, never another."""
    import _sqlite3

    lib = ctypes.CDLL(_sqlite3.__file__)  # its symbols and those of what it is linked with
    lib.sqlite3_vfs_find  # noqa: B018 - AttributeError when they cannot be reached
    return lib


_disk: _Disk | None = None


def available() -> bool:
    """Whether SQLite can be reached below Python's module."""
    if sys.platform == "win32" or not hasattr(sqlite3.Connection, "serialize"):
        return False
    try:
        _library()
    except (AttributeError, OSError, ImportError):
        return False
    return True


@contextmanager
def installed(watcher: Watcher) -> Iterator[None]:
    """Connections opened meanwhile go by this watcher, until the end; later they go by nobody.

    Raises:
        BaseException: what the watcher raised; SQLite heard `IOERR`.
    """
    global _disk  # noqa: PLW0603 - one registration for a process
    _disk = _disk or _Disk()
    _disk.watcher, _disk.failed = watcher, None
    _disk.default(here=True)
    try:
        with _journal_too(watcher):
            yield
    finally:
        _disk.default(here=False)
        _disk.watcher = Watcher()
    if _disk.failed is not None:
        raise _disk.failed


_ERRNO = {FULL: errno.ENOSPC, READONLY: errno.EROFS}


@contextmanager
def _journal_too(watcher: Watcher) -> Iterator[None]:
    """What the store asks of the system itself (`journal.write`, `journal.sync`), by the same watcher."""
    real_write, real_sync = journal.write, journal.sync

    def heard(code: int) -> None:
        if code != OK:
            raise OSError(_ERRNO.get(code, errno.EIO), "the disk says no")

    def write(file: int, data: bytes, at: int) -> None:
        heard(watcher.write(_name(file), bytes(data), at))
        real_write(file, data, at)

    def sync(file: int) -> None:
        heard(watcher.sync(_name(file)))
        real_sync(file)
        watcher.synced(_name(file))

    journal.write, journal.sync = write, sync
    try:
        yield
    finally:
        journal.write, journal.sync = real_write, real_sync


def _name(file: int) -> str:
    return str(Path(f"/proc/self/fd/{file}").readlink())
