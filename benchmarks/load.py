"""The load generator: a process of its own on the other core, closed loop, raw sockets. Commands on standard input.

`python -m benchmarks.load`: reads `{"port", "request", "connections", "seconds", "pids"}` a line, answers one line of latencies.
"""

import base64
import json
import select
import socket
import sys
import time

from benchmarks.machine import JITTER_MAX, LOAD_CORE, TRIES, jitter, pin, realtime

WARM_S = 0.2
MARK = b"lorem ipsum"


class Connection:
    """One keep-alive connection with one request in flight."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""
        self.started = 0

    def send(self, request: bytes) -> None:
        self.started = time.perf_counter_ns()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Whether the whole response is there. Raises when it is not the result."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise ConnectionError(f"closed: {self.data[:300]!r}")
        self.data += chunk
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return False
        lower = head.lower()
        at = lower.find(b"content-length:")
        if at >= 0:
            if len(body) < int(lower[at + 15 :].split(b"\r\n", 1)[0]):
                return False
        elif not body.endswith(b"0\r\n\r\n"):
            return False
        if b" 200 " not in head[:16] or MARK not in body or b'"isError":true' in body:
            raise ValueError(f"not the result: {self.data[:600]!r}")
        self.data = b""
        return True


def window(port: int, request: bytes, connections: int, seconds: float) -> dict[str, object]:
    """Closed loop for so many seconds after a warm-up."""
    for _ in range(TRIES):
        lost = jitter()
        if lost <= JITTER_MAX:
            break
    opened = [Connection(port) for _ in range(connections)]
    poll = select.epoll()
    by_fd = {c.socket.fileno(): c for c in opened}
    for c in opened:
        poll.register(c.socket.fileno(), select.EPOLLIN)
        c.send(request)
    begin = time.perf_counter_ns() + int(WARM_S * 1e9)
    end = begin + int(seconds * 1e9)
    latencies: list[int] = []
    now = 0
    while now < end:
        for fd, _ in poll.poll(10):
            c = by_fd[fd]
            if not c.receive():
                continue
            now = time.perf_counter_ns()
            if now >= begin:
                latencies.append(now - c.started)
            c.send(request)
    for c in opened:
        c.socket.close()
    latencies.sort()
    return {"ns": latencies, "seconds": seconds, "jitter": lost}


def main() -> None:
    """Serve commands until the input ends."""
    pin(LOAD_CORE)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            request = base64.b64decode(command["request"])
            with realtime(command["pids"]) as granted:
                answer = window(command["port"], request, command["connections"], command["seconds"])
            answer["realtime"] = granted
        except (OSError, ValueError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
