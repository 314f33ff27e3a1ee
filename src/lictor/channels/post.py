"""One POST to a place that an operator named: verified TLS or this machine, one deadline, no redirect, no proxy.

What comes back is not read beyond its status: it decides nothing. Errors never repeat the URL's path, which may be a secret.
"""

import asyncio
import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason

DEADLINE_S: Final = 10.0


async def post(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send it.

    Raises:
        UpstreamError: the URL is not acceptable, nobody answered in time, or the answer was no 2xx.
    """
    host = urlsplit(url).hostname
    try:
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.to_thread(post_now, url, body, headers)
    except TimeoutError:
        raise UpstreamError(Reason.UPSTREAM_TIMEOUT, f"{host} did not answer in time", effect_possible=False) from None


def post_now(url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Send it, on the caller's thread.

    Raises:
        UpstreamError: as `post`.
    """
    parts = urlsplit(url)
    if parts.username or not parts.hostname or not (parts.scheme == "https" or _here(parts)):
        raise UpstreamError(
            Reason.UPSTREAM_INVALID, "the URL is neither https nor http on this machine", effect_possible=False
        )
    try:
        status = _send(parts, body, headers, monotonic() + DEADLINE_S)
    except TimeoutError:
        raise UpstreamError(
            Reason.UPSTREAM_TIMEOUT, f"{parts.hostname} did not answer in time", effect_possible=False
        ) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UpstreamError(
            Reason.UPSTREAM_DOWN, f"{parts.hostname}: {type(error).__name__}", effect_possible=False
        ) from None
    if not 200 <= status < 300:
        raise UpstreamError(Reason.UPSTREAM_INVALID, f"{parts.hostname} answered {status}", effect_possible=False)


def _send(parts: SplitResult, body: bytes, headers: Mapping[str, str], ends: float) -> int:
    """The status. Over at the deadline, whoever is on the other side: these threads are shared with all else here."""
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=DEADLINE_S, context=ssl.create_default_context()
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=DEADLINE_S)
    with contextlib.ExitStack() as stack:
        stack.callback(connection.close)

        def dialled(place: tuple[str, int], *_: object) -> socket.socket:
            opened = _dialled(place, ends)
            stack.enter_context(_cut_at(opened, ends))
            return opened

        connection._create_connection = dialled  # type: ignore[attr-defined]  # noqa: SLF001 - before TLS begins
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("POST", path, body, {**headers, "User-Agent": "lictor"})
        return connection.getresponse().status


def _dialled(place: tuple[str, int], ends: float) -> socket.socket:
    """A connection to the first address that answers; all of them share one deadline.

    Raises:
        OSError: none answers, or none in time.
    """
    problem = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(*place, type=socket.SOCK_STREAM):
        left = ends - monotonic()
        if left <= 0:
            raise TimeoutError
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(left)
            opened.connect(address)
        except OSError as error:
            opened.close()
            problem = error
        else:
            return opened
    raise problem


@contextlib.contextmanager
def _cut_at(opened: socket.socket, ends: float) -> Iterator[None]:
    """End a connection at its deadline, in the middle of its handshake too: a socket's timeout begins anew with every byte."""
    twin = opened.dup()  # TLS takes the socket itself away

    def cut() -> None:
        with contextlib.suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(ends - monotonic(), 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        twin.close()


def _here(parts: SplitResult) -> bool:
    if parts.scheme != "http":
        return False
    if parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
