"""A way between a client and a server that writes down requests and can spoil replies. One request a connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable


class Hop:
    """What went through, and what is done to replies (None: nothing comes back)."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0
        self.spoil: Callable[[bytes, bytes], bytes | None] = lambda _, reply: reply

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length"):
            return head + await reader.readexactly(int(line.split(b":")[1]))
    return head


@contextlib.asynccontextmanager
async def hop(port: int) -> AsyncIterator[Hop]:
    """A way to this port of this machine."""
    way = Hop()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = await _message(reader)
            way.requests.append(request)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
            up_writer.write(request)
            reply = way.spoil(request, await _message(up_reader))
            if reply is None:
                await reader.read()  # until the client gives up
            else:
                writer.write(reply)
            up_writer.close()
        writer.close()

    async with await asyncio.start_server(between, "127.0.0.1", 0) as listening:
        way.port = listening.sockets[0].getsockname()[1]
        yield way
