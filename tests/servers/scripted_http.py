"""A server on raw asyncio that answers each request with the bytes it is told, however wrong, and remembers what it saw."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Scripted:
    """One listening server.

    Attributes:
        answers: what is sent for each request in turn; the last one for all that follow. A callable gets the connection.
        requests: whole requests in order.
        connections: how many there were; `together`: most at the same time with a request under way.
    """

    def __init__(self, answers: list[bytes | Callable[["Peer"], Any]]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self.waiting = 0
        self.together = 0
        self.lost = asyncio.Event()
        self.port = 0

    def answer(self) -> bytes | Callable[["Peer"], Any]:
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Scripted) -> None:
        self.server = server
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.server.connections += 1

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
        if not found or len(body) < length:
            return
        self.data = b""
        self.server.requests.append(head + found + body)
        self.server.waiting += 1
        self.server.together = max(self.server.together, self.server.waiting)
        answer = self.server.answer()
        if callable(answer):
            answer(self)
        else:
            self.say(answer)

    def say(self, data: bytes) -> None:
        self.server.waiting -= 1
        self.transport.write(data)

    def later(self, delay: float, data: bytes) -> None:
        asyncio.get_running_loop().call_later(delay, self.say, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.lost.set()


@asynccontextmanager
async def scripted(
    *answers: bytes | Callable[[Peer], Any], tls: ssl.SSLContext | None = None
) -> AsyncIterator[Scripted]:
    """Serve on a free loopback port."""
    server = Scripted(list(answers))
    peers: list[Peer] = []

    def accept() -> Peer:
        peers.append(Peer(server))
        return peers[-1]

    listening = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for peer in peers:
            if hasattr(peer, "transport"):
                peer.transport.abort()
        await asyncio.sleep(0)
