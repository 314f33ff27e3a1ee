"""One small document over HTTPS, bounded in size and in time. Blocking: it runs in a thread.

No redirect is followed, no proxy of the environment is used, no content coding is undone. Refuses to know what the document says.
"""

import contextlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Final, Never
from urllib.parse import SplitResult, urlsplit

from lictor.identity.settings import fetchable
from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason

DEADLINE_S: Final = 5.0
"""For the whole exchange: an issuer that answers later is as good as down."""
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "lictor"}


def fetch(
    url: str,
    *,
    max_bytes: int,
    ca_file: str = "",
    deadline_s: float = DEADLINE_S,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The body of `GET url`, or of `POST url` where one is sent.

    Args:
        url: https, or http on loopback.
        max_bytes: of the body.
        ca_file: PEM file of the only authorities trusted; empty: the system's.
        deadline_s: seconds for all of it, however slowly the bytes come.
        body: sent along; None: nothing is.
        headers: besides our own.

    Raises:
        UpstreamError: `upstream_down`, `upstream_timeout`, `upstream_too_large`, `upstream_invalid`.
    """
    if not fetchable(url):
        _fail(Reason.UPSTREAM_INVALID, url, "is neither https nor on loopback")
    parts = urlsplit(url)
    ends = monotonic() + deadline_s
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port, ca_file, deadline_s)
        # Of a name's many addresses each would have the whole time.
        connection._create_connection = lambda place, *_: _dialled(place, ends)  # type: ignore[attr-defined]  # noqa: SLF001
        with contextlib.closing(connection):
            connection.connect()
            with _cut_after(connection.sock, ends - monotonic()):
                data, whole = _read(connection, parts, url, max_bytes, body, headers or {})
    except (OSError, http.client.HTTPException, ValueError) as error:
        late = isinstance(error, TimeoutError) or monotonic() >= ends
        _fail(
            Reason.UPSTREAM_TIMEOUT if late else Reason.UPSTREAM_DOWN, url, f"cannot be read ({type(error).__name__})"
        )
    if len(data) > max_bytes:
        _fail(Reason.UPSTREAM_TOO_LARGE, url, f"is larger than {max_bytes} bytes")
    # A connection that was cut ends a body without length as if it were complete.
    if monotonic() >= ends or not whole:
        _fail(Reason.UPSTREAM_TIMEOUT, url, "was not complete in time")
    return data


def _read(
    connection: http.client.HTTPConnection,
    parts: SplitResult,
    url: str,
    max_bytes: int,
    body: bytes | None,
    headers: Mapping[str, str],
) -> tuple[bytes, bool]:
    """One byte more than allowed at most, and whether as much came as was announced."""
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    connection.request("GET" if body is None else "POST", target, body, headers={**_HEADERS, **headers})
    response = connection.getresponse()
    if response.status != http.HTTPStatus.OK:
        _fail(Reason.UPSTREAM_INVALID, url, f"answers with status {response.status}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        _fail(Reason.UPSTREAM_INVALID, url, "answers in a coding that was not asked for")
    return response.read(max_bytes + 1), response.length in {None, 0}


def _fail(reason: Reason, url: str, message: str) -> Never:
    raise UpstreamError(reason, f"{url[:200]!r} {message}", effect_possible=False)


def _connection(scheme: str, host: str, port: int | None, ca_file: str, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


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
def _cut_after(open_socket: socket.socket, seconds: float) -> Iterator[None]:
    """End the connection at the deadline: a timeout of a socket begins anew with every byte."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            # Not the TLS object's own `shutdown`, which would change it under the reader's hands.
            socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    timer = threading.Timer(max(seconds, 0), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
