"""Events as syslog messages (RFC 5424) over TLS (RFC 5425) or, on this machine, TCP (RFC 6587, octet counting).

Syslog has no answer, so taken means here that the other side's TCP has everything, where the system can tell (Linux), and else
that it was handed to ours. What a receiver loses after that is lost: where that matters, use another kind of sink.
"""

import select
import socket
import ssl
import sys
from collections.abc import Sequence
from time import monotonic, sleep
from typing import Final
from urllib.parse import urlsplit

from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.protocol.cloudevents import moment
from lictor.service.log.pump import Event

DEADLINE_S: Final = 10.0
AUDIT: Final = 13
"""Facility "log audit" (RFC 5424, table 1)."""
_MSGID: Final = 32
_STEP_S: Final = 0.005


def message(event: Event, host: str) -> bytes:
    """One RFC 5424 message, without framing: header, no structured data, the event's line."""
    head = f"<{AUDIT * 8 + event.severity}>1 {moment(event.at_ms)} {host} lictor - {event.tag[:_MSGID]} - "
    return head.encode("ascii") + event.data


def framed(event: Event, host: str) -> bytes:
    """With its length before it: no content can begin another message."""
    body = message(event, host)
    return f"{len(body)} ".encode("ascii") + body


class SyslogSink:
    """`lictor.service.log.pump.Sink`. One connection, opened anew after every failure."""

    def __init__(self, address: str, ca_file: str = "") -> None:
        """Of a receiver at `tls://host:port` or `tcp://host:port`."""
        parts = urlsplit(address)
        self._place, self._tls = (parts.hostname or "", parts.port or 0), parts.scheme == "tls"
        self._ca_file = ca_file
        self._host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
        self._connection: socket.socket | None = None
        self._raw: socket.socket | None = None

    def send(self, events: Sequence[Event]) -> None:
        """See `Sink.send`.

        Raises:
            OSError: nobody answers, or the connection ended.
            UpstreamError: not everything arrived in time.
        """
        try:
            connection = self._opened()
            connection.sendall(b"".join(framed(event, self._host) for event in events))
            self._arrived()
        except (OSError, UpstreamError):
            self.close()
            raise

    def close(self) -> None:
        """See `Sink.close`."""
        for one in (self._connection, self._raw):
            if one is not None:
                one.close()
        self._connection = self._raw = None

    def _opened(self) -> socket.socket:
        if self._connection is not None and not _ended(self._raw):
            return self._connection
        self.close()
        opened = socket.create_connection(self._place, timeout=DEADLINE_S)
        self._raw = opened.dup()  # TLS takes the socket itself away
        self._connection = opened
        if self._tls:
            context = ssl.create_default_context(cafile=self._ca_file or None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._connection = context.wrap_socket(opened, server_hostname=self._place[0])
        return self._connection

    def _arrived(self) -> None:
        """Wait until the other side's TCP has confirmed every byte, where the system says so."""
        if sys.platform != "linux" or self._raw is None:
            return
        ends = monotonic() + DEADLINE_S
        while _waiting(self._raw):
            if _ended(self._raw):
                raise ConnectionResetError("the receiver closed the connection")
            if monotonic() >= ends:
                raise UpstreamError(
                    Reason.UPSTREAM_TIMEOUT, "the receiver does not take what it is sent", effect_possible=True
                )
            sleep(_STEP_S)
        if _ended(self._raw):
            raise ConnectionResetError("the receiver closed the connection")


def _waiting(opened: socket.socket) -> int:
    """Bytes that are sent and not confirmed (SIOCOUTQ)."""
    import array  # noqa: PLC0415 - Linux only
    import fcntl  # noqa: PLC0415
    import termios  # noqa: PLC0415

    found = array.array("i", [0])
    fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, found)
    return found[0]


def _ended(opened: socket.socket | None) -> bool:
    """Whether the other side has closed. What it said before (tickets of TLS) is not read, so the end is asked for by itself."""
    if opened is None:
        return True
    if not hasattr(select, "poll"):
        return False  # where nobody can be asked, the next send finds out
    closed = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR
    poll = select.poll()
    poll.register(opened, closed)
    return any(found & (closed | select.POLLNVAL) for _, found in poll.poll(0))
