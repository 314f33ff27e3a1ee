"""The process's own standard streams, without blocking the event loop and without a thread (POSIX).

A client that stops reading is waited for up to a bound and then taken for gone. Where descriptors cannot be made non-blocking
or watched (Windows), reading uses a thread and writing blocks.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

HIGH_WATER: Final = 256 * 1024
"""Bytes of ours the client has not read yet, before requests wait."""
STUCK_S: Final = 60.0
"""A client that reads nothing for so long is gone."""
_WATCHABLE: Final = os.name == "posix"


class Reader(Protocol):
    """Where a client's bytes come from."""

    async def read(self, n: int = -1, /) -> bytes:
        """Some bytes, or none at the end."""
        ...


class Writer(Protocol):
    """Where ours go. `write` takes a whole message at once, so that a cancelled request never leaves half of one."""

    def write(self, data: bytes, /) -> None:
        """Queue a message."""
        ...

    async def drain(self) -> None:
        """Wait until there is room.

        Raises:
            OSError: the client is gone.
        """
        ...


class FdReader:
    """Reads a descriptor: pipe, socket, terminal or file."""

    def __init__(self, stream: BinaryIO) -> None:
        """`stream` is not read through its own buffer: nothing may have been read from it yet."""
        self._fd = stream.fileno()
        self._restore = _unblock(self._fd)

    async def read(self, n: int = -1, /) -> bytes:
        """See `Reader.read`; an unreadable stream has ended."""
        if not _WATCHABLE:
            return await _read_in_thread(self._fd, n)
        while True:
            try:
                data = os.read(self._fd, n)
            except BlockingIOError:
                await self._readable()
            except OSError:
                return b""
            else:
                await asyncio.sleep(0)  # a file never blocks: let its requests run
                return data

    def close(self) -> None:
        """Leave the stream as it was found."""
        self._restore()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._fd, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(self._fd)


class FdWriter:
    """Writes a descriptor; what it does not take at once is kept in order."""

    def __init__(self, stream: BinaryIO) -> None:
        """`stream` must have nothing in its own buffer."""
        self._fd = stream.fileno()
        self._restore = _unblock(self._fd)
        self._unsent = bytearray()
        self._watched = False
        self._error: OSError | None = None
        self._room: list[asyncio.Future[None]] = []

    def write(self, data: bytes, /) -> None:
        """See `Writer.write`; after a failure nothing is written any more, and `drain` tells."""
        if self._error is not None:
            return
        self._unsent += data
        if not self._watched:
            self._flush()

    async def drain(self) -> None:
        """See `Writer.drain`.

        Raises:
            OSError: the client is gone, or has not read for `STUCK_S` seconds.
        """
        if self._error is None and len(self._unsent) > HIGH_WATER:
            room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append(room)
            try:
                async with asyncio.timeout(STUCK_S):
                    await room
            except TimeoutError as error:
                self._fail(BrokenPipeError("the client does not read"))
                raise BrokenPipeError("the client does not read") from error
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Leave the stream as it was found; what the client has not taken is lost with it."""
        self._unwatch()
        self._restore()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            self._watch()
        except OSError as error:
            self._fail(error)
            return
        if not self._unsent:
            self._unwatch()
        if len(self._unsent) <= HIGH_WATER:
            self._release()

    def _fail(self, error: OSError) -> None:
        self._error = error
        self._unsent.clear()
        self._unwatch()
        self._release()

    def _release(self) -> None:
        for room in self._room:
            _wake(room)
        self._room.clear()

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            asyncio.get_running_loop().add_writer(self._fd, self._flush)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            asyncio.get_running_loop().remove_writer(self._fd)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _unblock(fd: int) -> Callable[[], None]:
    """Make a descriptor non-blocking; the function that undoes it (a terminal is shared with the shell)."""
    if not _WATCHABLE or not os.get_blocking(fd):
        return _nothing
    os.set_blocking(fd, False)

    def restore() -> None:
        try:
            os.set_blocking(fd, True)
        except OSError:
            return  # closed meanwhile: there is nothing to restore

    return restore


def _nothing() -> None:
    """Undoes nothing."""


async def _read_in_thread(fd: int, n: int) -> bytes:
    """A daemon thread for each read: unlike an executor's it never holds up the end of the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()

    def deliver(data: bytes) -> None:
        if not future.done():
            future.set_result(data)

    def work() -> None:
        try:
            data = os.read(fd, n)
        except OSError:
            data = b""
        loop.call_soon_threadsafe(deliver, data)

    threading.Thread(target=work, daemon=True, name="lictor-stdin").start()
    return await future
