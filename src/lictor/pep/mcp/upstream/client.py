"""The HTTP client under every connection of a process: one pool, one TLS context, nothing implicit.

No cookies (they would carry state from one task to another), no proxies from the environment, no redirects, no
decompression (a small reply must not grow), no retry. Whether a byte of a request left us is proved, not guessed.
"""

import asyncio
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict
from yarl import URL

from lictor import __version__
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.compat import override
from lictor.pep.mcp.upstream.failures import down, invalid, quoted, too_large

_READ_BUFFER: Final = 64 * 1024
_HEAD_BYTES: Final = 32 * 1024
_HEADERS: Final = 128
_DRAIN_S: Final = 1.0
_DRAIN_BYTES: Final = 64 * 1024


def open_session(limits: Limits) -> aiohttp.ClientSession:
    """The one session a process shares between all its HTTP servers. Call it in a running loop; the caller closes it.

    Args:
        limits: `upstream_connect_timeout_s`.
    """
    return aiohttp.ClientSession(
        # No bound on connections: calls in flight are bounded per task, and event streams hold one each.
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"lictor/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.upstream_connect_timeout_s),
        trust_env=False,
        auto_decompress=False,
        read_bufsize=_READ_BUFFER,
        max_line_size=_HEAD_BYTES,
        max_field_size=_HEAD_BYTES,
    )


def check_session(session: aiohttp.ClientSession) -> None:
    """Refuse a session that could carry more than the request.

    Raises:
        OperatorError: CONFIG_REFUSED: it keeps cookies, follows the environment's proxies or decompresses replies.
    """
    if session.trust_env or session.auto_decompress or not isinstance(session.cookie_jar, aiohttp.DummyCookieJar):
        raise OperatorError(Reason.CONFIG_REFUSED, "the http session must come from open_session")


def check_url(url: str) -> URL:
    """A server's address from configuration.

    Raises:
        OperatorError: CONFIG_REFUSED: no absolute http(s) URL with a host, or one with a fragment.
    """
    try:
        parsed = URL(url)
        usable = parsed.scheme in {"http", "https"} and bool(parsed.host) and not parsed.fragment
    except ValueError:
        parsed, usable = URL(), False
    if not usable:
        raise OperatorError(
            Reason.CONFIG_REFUSED, f"{quoted(url)} is no http(s) address", remedy="write https://host/path"
        )
    return parsed


class Body(aiohttp.BytesPayload):
    """A request body that knows whether writing has begun.

    The client keeps the head back and writes it together with the body, so until `started` no byte of the request was sent.
    """

    def __init__(self, value: bytes) -> None:
        """The whole body."""
        super().__init__(value, content_type="application/json")
        self.started = False

    @override
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Called by the client with the connection in hand."""
        self.started = True
        await super().write_with_length(writer, content_length)

    @override
    async def write(self, writer: AbstractStreamWriter) -> None:
        """The same without a known length."""
        self.started = True
        await super().write(writer)


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    headers: CIMultiDict[str],
    body: Body | None = None,
) -> aiohttp.ClientResponse:
    """Send one request, once, and wait for the head of the reply. The caller sets the deadline and closes the response.

    Raises:
        UpstreamError: UPSTREAM_DOWN, or UPSTREAM_INVALID when it is not HTTP; or when it redirects or compresses.
    """
    try:
        response = await session.request(method, url, headers=headers, data=body, allow_redirects=False)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise failure(error, body) from error
    if "Content-Encoding" in response.headers and response.headers["Content-Encoding"].lower() != "identity":
        response.close()
        raise invalid("the server compressed its reply unasked", effect_possible=_sent(body))
    if 300 <= response.status < 400:
        response.close()
        raise invalid(
            f"the server redirects (status {response.status})",
            effect_possible=_sent(body),
            remedy="configure the address it redirects to, if you trust it",
        )
    return response


async def read_body(response: aiohttp.ClientResponse, body: Body | None, limits: Limits) -> bytes:
    """The whole body of a reply, bounded while it arrives.

    Raises:
        UpstreamError: UPSTREAM_TOO_LARGE; UPSTREAM_DOWN: cut short.
    """
    bound = limits.upstream_message_bytes
    announced = response.content_length
    chunks: list[bytes] = []
    size = announced or 0
    try:
        if size <= bound:
            size = 0
            while chunk := await response.content.readany():
                size += len(chunk)
                if size > bound:
                    break
                chunks.append(chunk)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise failure(error, body) from error
    if size > bound:
        response.close()
        raise too_large(f"the server's reply is larger than {bound} bytes", effect_possible=_sent(body))
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def drain(response: aiohttp.ClientResponse) -> None:
    """Read what little follows the last message of a stream, so that the connection can be used again; else close it."""
    size = 0
    with suppress(aiohttp.ClientError, OSError, ValueError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            while (chunk := await response.content.readany()) and size <= _DRAIN_BYTES:
                size += len(chunk)
    # At the end of its body a response has given its connection back already; this closes any other.
    response.close()


def failure(error: Exception, body: Body | None) -> UpstreamError:
    """What went wrong below, in our words."""
    sent = _sent(body)
    match error:
        case aiohttp.ClientSSLError():
            return down(
                f"no secure connection: {error}",
                effect_possible=sent,
                remedy="check the server's certificate and address",
            )
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return down(
                f"cannot reach the server: {error}", effect_possible=sent, remedy="check that it runs and its address"
            )
        case aiohttp.ClientPayloadError():
            return down("the server's reply was cut short", effect_possible=sent)
        case aiohttp.ClientResponseError():
            return invalid(f"the server does not speak http: {quoted(error.message)}", effect_possible=sent)
        case aiohttp.ClientError() | OSError():
            return down(f"the connection broke: {quoted(str(error) or type(error).__name__)}", effect_possible=sent)
        case _:
            return invalid(f"the server's reply cannot be read: {quoted(str(error))}", effect_possible=sent)


def _sent(body: Body | None) -> bool:
    """Whether a byte of a request may have left us; a request without a body has no effect of its own."""
    return body is not None and body.started
