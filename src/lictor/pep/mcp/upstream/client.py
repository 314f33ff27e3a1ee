"""The HTTP client under every connection of a process: one set of pools, one TLS context, nothing implicit.

No cookies (they would carry state from one task to another), no proxies from the environment, no redirects, no
decompression (a small reply must not grow), no retry. Whether a byte of a request left us is known, not guessed.
"""

import asyncio
import ssl
from types import TracebackType
from typing import Final, Self

from lictor import __version__
from lictor.model.limits import Limits
from lictor.pep.mcp.upstream.failures import invalid, late, too_large
from lictor.pep.mcp.upstream.http1.address import Address
from lictor.pep.mcp.upstream.http1.connection import Body
from lictor.pep.mcp.upstream.http1.head import Head
from lictor.pep.mcp.upstream.http1.pool import Pool
from lictor.pep.mcp.upstream.http1.response import Response
from lictor.pep.mcp.upstream.http1.tls import check_context, tls_context

__all__ = ["Body", "Session", "open_session", "read_body", "send"]

USER_AGENT: Final = f"lictor/{__version__}"
STREAMS: Final = 1024
"""Connections to one server that each hold an event stream open; they take no room from calls."""


class Session:
    """The pools of a process, one for each server, shared by all its tasks. Close it, or use it as a context manager."""

    def __init__(self, limits: Limits, tls: ssl.SSLContext | None) -> None:
        """Use `open_session`."""
        self._connect_s = limits.upstream_connect_timeout_s
        self._tls = tls
        self._pools: dict[tuple[tuple[bool, str, int], bool], Pool] = {}

    def pool(self, address: Address, *, lasting: bool = False) -> Pool:
        """The connections to a server; `lasting`: those for event streams that stay open."""
        key = address.origin, lasting
        if key not in self._pools:
            limits = {"limit": STREAMS} if lasting else {}
            self._pools[key] = Pool(address, self._connect_s, self._context, **limits)
        return self._pools[key]

    async def close(self) -> None:
        """Close every connection; requests under way fail with UPSTREAM_DOWN."""
        for pool in self._pools.values():
            pool.close()
        # Transports tell their protocols in the next turn of the loop.
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = tls_context()
        return self._tls


def open_session(limits: Limits, tls: ssl.SSLContext | None = None) -> Session:
    """The one session a process shares between all its HTTP servers; the caller closes it.

    Args:
        limits: `upstream_connect_timeout_s`.
        tls: whom to trust, instead of the system's authorities.

    Raises:
        OperatorError: CONFIG_REFUSED: `tls` does not verify certificates and names.
    """
    if tls is not None:
        check_context(tls)
    return Session(limits, tls)


async def send(pool: Pool, data: bytes, body: Body | None = None, *, head_s: float | None = None) -> Response:
    """Send one request, once, and wait for the head of the reply. The caller sets the deadline and closes the response.

    Args:
        pool: of the server.
        data: the whole request.
        body: the part of it that may have an effect.
        head_s: how long to wait for a connection and a head, where the caller has no deadline of its own.

    Raises:
        UpstreamError: UPSTREAM_DOWN, or UPSTREAM_INVALID when it is not HTTP; or when it redirects or compresses; _TIMEOUT.
    """
    if head_s is not None:
        clock = asyncio.timeout(head_s)
        try:
            async with clock:
                return await send(pool, data, body)
        except TimeoutError as error:
            if not clock.expired():
                raise
            raise late(f"no answer within {head_s:g} s", effect_possible=_sent(body)) from error
    connection = pool.kept() or await pool.get()
    response = connection.start(data, body)
    try:
        _check(await response.wait_head(), body)
    except BaseException:
        response.close()
        raise
    return response


def _check(head: Head, body: Body | None) -> None:
    """Refuse what would be read differently than it was sent, or read elsewhere."""
    encoding = head.fields.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise invalid("the server compressed its reply unasked", effect_possible=_sent(body))
    if 300 <= head.status < 400:
        raise invalid(
            f"the server redirects (status {head.status})",
            effect_possible=_sent(body),
            remedy="configure the address it redirects to, if you trust it",
        )


async def read_body(response: Response, body: Body | None, limits: Limits) -> bytes:
    """The whole body of a reply, bounded while it arrives.

    Raises:
        UpstreamError: UPSTREAM_TOO_LARGE; UPSTREAM_DOWN: cut short; UPSTREAM_INVALID: broken framing.
    """
    bound = limits.upstream_message_bytes
    data = response.whole()
    if data is not None and len(data) <= bound:
        return data
    chunks = []
    size = response.head.length if data is None else len(data)
    if size <= bound:
        size = 0
        while chunk := await response.read():
            chunks.append(chunk)
            size += len(chunk)
            if size > bound:
                break
    if size > bound:
        response.close()
        raise too_large(f"the server's reply is larger than {bound} bytes", effect_possible=_sent(body))
    return b"".join(chunks)


def _sent(body: Body | None) -> bool:
    """Whether a byte of a request may have left us; a request without a body has no effect of its own."""
    return body is not None and body.started
