"""Whether anybody has committed since: SQLite's own header of the write-ahead log's index, looked at without a statement.

Every process that has the log open shares that header, and SQLite itself compares it, byte for byte, to find out whether
what it has read before is still so (https://sqlite.org/walformat.html#the_wal_index_header). So an unchanged header means an
unchanged database, whoever writes, also a tool that knows nothing of us; and a commit has changed it before it is acknowledged.

The header is mapped from the descriptor that SQLite has open. It is never opened here: closing a second descriptor would
release all of SQLite's locks on the file (POSIX). Where that is not possible (no `/proc`, another format) there is no index,
and every read goes to SQLite. It refuses to know what is in the log.
"""

import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Final, Self

_SIZE: Final = 96
"""Two copies of 48 bytes; SQLite writes the second one first."""
_HALF: Final = 48
_FORMAT: Final = (3007000).to_bytes(4, sys.byteorder)
"""`iVersion`: the only format there has been."""
_IS_INIT: Final = 12
"""Offset of the byte that is 1 once the header holds something."""
_FAILED: Final = ctypes.c_void_p(-1).value


class WalIndex:
    """The header as it is now. Valid while the connection it was found for is open: close it before."""

    __slots__ = ("_address", "_header")

    def __init__(self, address: int) -> None:
        self._address: int | None = address
        self._header = (ctypes.c_char * _SIZE).from_address(address)

    @classmethod
    def find(cls, path: Path) -> Self | None:
        """The index of a log that a connection of this process has read from; None where it cannot be looked at."""
        if not sys.platform.startswith("linux"):
            return None
        try:
            descriptor = _descriptor(path.resolve().with_name(f"{path.name}-shm"))
            address = None if descriptor is None else _map(descriptor)
        except (OSError, AttributeError, ValueError):
            return None
        if address is None:
            return None
        index = cls(address)
        if index.stamp()[: len(_FORMAT)] != _FORMAT:
            index.close()
            return None
        return index

    def raw(self) -> bytes:
        """The header, perhaps in the middle of a change: good for comparing with a `stamp`.

        Raises:
            ValueError: closed.
        """
        if self._address is None:
            raise ValueError("the index is closed")
        return self._header.raw

    def stamp(self) -> bytes:
        """The header if it is whole, else nothing. Equal and not empty: nobody has committed in between."""
        raw = self.raw()
        return raw if raw[:_HALF] == raw[_HALF:] and raw[_IS_INIT] == 1 else b""

    def close(self) -> None:
        """Give the mapping back. Idempotent."""
        address, self._address = self._address, None
        if address is not None:
            _libc().munmap(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE))


def _descriptor(name: Path) -> int | None:
    """SQLite has one descriptor for a file and process, and keeps it as long as one connection is open."""
    wanted = name.stat()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if entry.readlink() == name and os.path.samestat(os.fstat(int(entry.name)), wanted):
                return int(entry.name)
        except OSError:  # the listing's own descriptor, or one closed meanwhile
            continue
    return None


def _map(descriptor: int) -> int | None:
    """Address of the first page, shared and read only."""
    if os.fstat(descriptor).st_size < mmap.PAGESIZE:
        return None
    address = _libc().mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    return None if address in (None, _FAILED) else int(address)


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    )
    return libc
