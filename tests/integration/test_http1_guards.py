"""Each guard of the HTTP client against a server that tries what it guards against, and with the guard taken away.

A check that still passes without its guard proves nothing: `without` names what replaces it, and the check must fail.
"""

import asyncio
import re
import socket
import struct
import threading
import time
from contextlib import asynccontextmanager, suppress

import pytest

from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream import client as client_module
from lictor.pep.mcp.upstream.client import Body, open_session, read_body, send
from lictor.pep.mcp.upstream.http1 import chunks, connection, head, outgoing, pool, reader, response
from lictor.pep.mcp.upstream.http1.address import check_url
from lictor.pep.mcp.upstream.http1.outgoing import request_head, whole
from servers.scripted_http import GOOD, scripted

LIMITS = Limits(upstream_message_bytes=2**20, upstream_connect_timeout_s=5.0)


class Caller:
    """The client in front of one server."""

    def __init__(self, session, port: int) -> None:
        self.address = check_url(f"http://127.0.0.1:{port}/mcp")
        self.pool = session.pool(self.address)
        self.head = request_head("POST", self.address, [])

    async def open(self, text: bytes = b"{}"):
        """Send and wait for the head."""
        self.body = Body(text)
        return await client_module.send(self.pool, whole(self.head, b"", text), self.body)

    async def call(self, text: bytes = b"{}", timeout_s: float = 3) -> bytes:
        """The body of an answer."""
        async with asyncio.timeout(timeout_s):
            answer = await self.open(text)
            try:
                return await read_body(answer, self.body, LIMITS)
            finally:
                answer.release()

    async def refused(self, reason: Reason = Reason.UPSTREAM_INVALID, *, effect: bool = True) -> None:
        """A call fails with this reason and this doubt."""
        try:
            found = await self.call()
        except UpstreamError as error:
            assert (error.reason, error.effect_possible) == (reason, effect), error
        else:
            raise AssertionError(f"accepted {found!r}")


@asynccontextmanager
async def facing(*answers):
    """A server with this script, and a client."""
    async with scripted(*answers) as server, open_session(LIMITS) as session:
        yield server, Caller(session, server.port)


def ok(*lines: bytes, body: bytes = b"ok") -> bytes:
    """A response with these lines after the status line."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


async def check_refusal(answer: bytes) -> None:
    """Refused as no HTTP; the request was written; its connection is not used again."""
    async with facing(answer, GOOD) as (server, caller):
        await caller.refused()
        assert await caller.call() == b"ok"
        assert server.connections == 2


# -- what is refused -------------------------------------------------------------------------------------------------------


def _lenient(owner, name, pattern, flags=0):
    return owner, name, re.compile(pattern, flags)


def _last_wins(block):
    return {name.lower(): value for name, value in head._FIELD.findall(block)}


def _coding_wins(status, fields, version):
    if b"transfer-encoding" in fields:
        return head.CHUNKED
    return int(fields.get(b"content-length", b"0"))


def _length_wins(status, fields, version):
    return int(fields[b"content-length"]) if b"content-length" in fields else head.UNTIL_CLOSE


def _unfolding(block):
    return _READ_FIELDS(re.sub(rb"\r\n[ \t]+", b" ", block))


def _line_feeds(block):
    return _READ_FIELDS(re.sub(rb"\r?\n|\r", b"\r\n", block))


_READ_FIELDS = head.read_fields
_READ_HEAD = head.read_head


def _any_switch(block):
    return _READ_HEAD(block.replace(b" 101 ", b" 100 "))


def _any_end(self, data, at, found):
    body = min(self._left - 2, len(data) - at)
    found.append(data[at : at + body])
    self._left = 0
    return at + body + 2


def _no_encoding_check(found, body):
    """Everything passes."""


_CHUNKED = b"Transfer-Encoding: chunked"
REFUSED = {
    "two equal lengths": (ok(b"Content-Length: 2", b"Content-Length: 2"), (head, "read_fields", _last_wins)),
    "two lengths": (ok(b"Content-Length: 9", b"Content-Length: 2"), (head, "read_fields", _last_wins)),
    "a list of lengths": (ok(b"Content-Length: 2, 2"), _lenient(head, "_DIGITS", rb".*")),
    "a signed length": (ok(b"Content-Length: +2"), _lenient(head, "_DIGITS", rb".*")),
    "length and chunks": (
        ok(b"Content-Length: 2", _CHUNKED, body=b"0\r\n\r\n"),
        (head, "_length", _coding_wins),
    ),
    "chunks and length": (ok(_CHUNKED, b"Content-Length: 2"), (head, "_length", _length_wins)),
    "another coding": (ok(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), (head, "_length", _coding_wins)),
    "two codings": (ok(_CHUNKED, _CHUNKED, body=b"0\r\n\r\n"), (head, "read_fields", _last_wins)),
    "a folded field": (ok(b"A: b", b" c", b"Content-Length: 2"), (head, "read_fields", _unfolding)),
    "a bare line feed": (ok(b"A: b\nContent-Length: 2"), (head, "read_fields", _line_feeds)),
    "a bare carriage return": (ok(b"A: b\rContent-Length: 2"), (head, "read_fields", _line_feeds)),
    "a space before the colon": (
        ok(b"Content-Length : 2"),
        _lenient(head, "_FIELD", rb"^([\w-]+) *:[ \t]*([^\r\n]*)\r\n", re.MULTILINE),
    ),
    "a null byte": (
        ok(b"A: \0", b"Content-Length: 2"),
        _lenient(head, "_FIELD", rb"^([\w-]+):[ \t]*([^\r\n]*)\r\n", re.MULTILINE),
    ),
    "too many fields": (ok(*[b"A: b"] * 200, b"Content-Length: 2"), (head, "FIELDS", 1000)),
    "too large a head": (ok(b"A: " + b"b" * 40_000, b"Content-Length: 2"), (reader, "HEAD_BYTES", 10**6)),
    "another protocol": (
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        _lenient(head, "_STATUS", rb"HTTP/([12])\.[01] (\d+).*"),
    ),
    "a switch of protocols": (
        b"HTTP/1.1 101 x\r\n\r\n" + GOOD,
        (reader, "read_head", _any_switch),
    ),
    "interim for ever": (b"HTTP/1.1 103 x\r\n\r\n" * 30 + GOOD, (reader, "_INTERIM", 1000)),
    "no content with a body": (
        b"HTTP/1.1 204 x\r\nContent-Length: 2\r\n\r\nok",
        (head, "_length", _length_wins),
    ),
    "no content in chunks": (
        b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        (head, "_length", _coding_wins),
    ),
    "chunk size with a sign": (
        ok(_CHUNKED, body=b"+2\r\nok\r\n0\r\n\r\n"),
        _lenient(chunks, "_SIZE", rb"([^\r;]+).*"),
    ),
    "chunk size with a prefix": (
        ok(_CHUNKED, body=b"0x2\r\nok\r\n0\r\n\r\n"),
        _lenient(chunks, "_SIZE", rb"([^\r;]+).*"),
    ),
    "a chunk longer than its size": (
        ok(_CHUNKED, body=b"2\r\nokXX0\r\n\r\n"),
        (chunks.Chunks, "_data", _any_end),
    ),
    "a long chunk extension": (
        ok(_CHUNKED, body=b"2;" + b"a" * 5000 + b"\r\nok\r\n0\r\n\r\n"),
        (chunks, "_LINE_BYTES", 10**6),
    ),
    "a folded trailer": (
        ok(_CHUNKED, body=b"2\r\nok\r\n0\r\nA: b\r\n c\r\n\r\n"),
        (chunks, "read_fields", _unfolding),
    ),
    "a length in the trailer": (
        ok(_CHUNKED, body=b"2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n"),
        (chunks, "_FRAMING", frozenset()),
    ),
    "a compressed reply": (
        ok(b"Content-Length: 2", b"Content-Encoding: br"),
        (client_module, "_check", _no_encoding_check),
    ),
    "a redirect": (
        b"HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 2\r\n\r\nok",
        (client_module, "_check", _no_encoding_check),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_no_correct_server_sends_is_refused(name):
    """With the right reason; the connection is closed."""
    await check_refusal(REFUSED[name][0])


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_the_guard_that_refuses(name, monkeypatch):
    """Control: without it, the same check fails."""
    monkeypatch.setattr(*REFUSED[name][1])
    with pytest.raises((AssertionError, TimeoutError, ValueError)):
        await check_refusal(REFUSED[name][0])


# -- what is understood ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "body", "kept"),
    [
        (GOOD, b"ok", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + GOOD, b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", True),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", b"", True),
        (ok(_CHUNKED, body=b'1;a="b"\r\no\r\n1\r\nk\r\n0\r\nA: b\r\n\r\n'), b"ok", True),
        (ok(b"Connection: close", b"Content-Length: 2"), b"ok", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", b"ok", False),
    ],
)  # fmt: skip
async def test_what_is_understood(answer, body, kept):
    """And whether its connection serves the next request."""
    async with facing(answer, GOOD) as (server, caller):
        assert await caller.call() == body
        assert await caller.call() == b"ok"
        assert server.connections == (1 if kept else 2)


# -- what follows a response -----------------------------------------------------------------------------------------------

_FORGED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"


async def check_bytes_after() -> None:
    """Bytes after a message are no answer, and their connection is over."""
    async with facing(GOOD + _FORGED, GOOD) as (server, caller):
        assert await caller.call() == b"ok"
        assert await caller.call() == b"ok"
        assert server.connections == 2


async def check_bytes_between() -> None:
    """A response nobody asked for is not the answer to the next request."""

    def twice(peer):
        peer.say(GOOD)
        peer.later(0.02, _FORGED)

    async with facing(twice, GOOD) as (server, caller):
        assert await caller.call() == b"ok"
        await asyncio.sleep(0.08)
        assert await caller.call() == b"ok"
        assert server.connections == 2


class Hoarding(connection.Connection):
    """Keeps unasked bytes for the next response."""

    hoard = b""

    def data_received(self, data):
        if self._response is None:
            self.hoard += data
        else:
            super().data_received(data)

    def start(self, data, body):
        found = super().start(data, body)
        if self.hoard:
            self._response.feed(self.hoard)
            self.hoard = b""
        return found


async def test_bytes_after_a_message():
    """Delivered is the message; the rest ends the connection."""
    await check_bytes_after()
    await check_bytes_between()


async def test_bytes_after_a_message_without_the_guard(monkeypatch):
    """Control."""
    monkeypatch.setattr(reader.ResponseReader, "keeps", property(lambda self: self.done))
    with pytest.raises(AssertionError):
        await check_bytes_after()
    monkeypatch.setattr(pool, "Connection", Hoarding)
    with pytest.raises(AssertionError):
        await check_bytes_between()


# -- ends ------------------------------------------------------------------------------------------------------------------


def _reset(peer) -> None:
    """Part of a response, then a reset."""
    peer.say(b"HTTP/1.1 200 OK\r\n\r\npart")

    def cut() -> None:
        linger = struct.pack("ii", 1, 0)
        peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        peer.transport.abort()

    asyncio.get_running_loop().call_later(0.05, cut)


def _say_and_close(data: bytes):
    def say(peer) -> None:
        peer.say(data)
        peer.transport.close()

    return say


async def check_reset() -> None:
    """A body that ends with its connection is not complete when the connection breaks."""
    async with facing(_reset) as (_, caller):
        await caller.refused(Reason.UPSTREAM_DOWN)


async def test_a_body_that_ends_with_its_connection():
    """Complete at the close, broken at a reset, and never two on one connection."""
    async with facing(_say_and_close(b"HTTP/1.1 200 OK\r\n\r\nwhole"), GOOD) as (server, caller):
        assert await caller.call() == b"whole"
        assert await caller.call() == b"ok"
        assert server.connections == 2
    await check_reset()


async def test_a_reset_without_the_guard(monkeypatch):
    """Control: any end is a good end."""
    end = response.Response.end
    monkeypatch.setattr(response.Response, "end", lambda self, _: end(self, None))
    with pytest.raises(AssertionError):
        await check_reset()


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 2", ok(b"Content-Length: 5"), ok(_CHUNKED, body=b"5\r\nok"), ok(_CHUNKED, body=b"2\r\nok\r\n")]
)  # fmt: skip
async def test_a_response_cut_short(answer):
    """Down, and its effect is possible."""
    async with facing(_say_and_close(answer)) as (_, caller):
        await caller.refused(Reason.UPSTREAM_DOWN)


async def check_never_twice() -> None:
    """A kept connection that dies under a request takes it along: one request, and doubt."""
    async with facing(GOOD, lambda peer: peer.transport.abort(), GOOD) as (server, caller):
        assert await caller.call() == b"ok"
        await caller.refused(Reason.UPSTREAM_DOWN)
        assert len(server.requests) == 2


async def test_nothing_is_sent_twice():
    """At most once."""
    await check_never_twice()


async def test_a_client_that_retries_is_noticed(monkeypatch):
    """Control: what most clients do with a dead kept connection."""

    async def twice(*arguments):
        try:
            return await send(*arguments)
        except UpstreamError:
            return await send(*arguments)

    monkeypatch.setattr(client_module, "send", twice)
    with pytest.raises(AssertionError):
        await check_never_twice()


async def check_goodbye() -> None:
    """A server that closed while nobody looked: seen before anything is written, so another connection is used."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        seen: list[bytes] = []
        closed = threading.Event()

        def serve() -> None:
            # Without its guard the client does not come back, and the socket is closed under us.
            with suppress(OSError):
                for _ in range(2):
                    with listening.accept()[0] as peer:
                        seen.append(peer.recv(65536))
                        peer.sendall(GOOD)
                        if len(seen) == 1:
                            time.sleep(0.05)
                    closed.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        async with open_session(LIMITS) as session:
            caller = Caller(session, listening.getsockname()[1])
            assert await caller.call() == b"ok"
            # The loop stands still, so the goodbye is in the socket and nowhere else.
            assert closed.wait(3)
            try:
                assert await caller.call() == b"ok"
            except UpstreamError as error:
                raise AssertionError(error) from error
            listening.shutdown(socket.SHUT_RDWR)
        thread.join(3)


async def test_a_goodbye_is_seen_before_writing():
    """No call is lost to a closed connection that can be known."""
    await check_goodbye()


async def test_a_goodbye_unseen(monkeypatch):
    """Control: without the look into the socket the call is lost."""
    monkeypatch.setattr(connection.Connection, "usable", lambda self: not self.closed)
    with pytest.raises(AssertionError):
        await check_goodbye()


async def test_an_idle_connection_is_closed(monkeypatch):
    """Before common servers do it."""
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    async with facing(GOOD) as (server, caller):
        assert await caller.call() == b"ok"
        async with asyncio.timeout(2):
            await server.lost.wait()
        assert await caller.call() == b"ok"
        assert server.connections == 2


# -- giving up -------------------------------------------------------------------------------------------------------------


async def check_cancelled() -> None:
    """The server sees the end of the connection at once."""
    async with facing(lambda peer: None, GOOD) as (server, caller):
        task = asyncio.create_task(caller.call())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        try:
            async with asyncio.timeout(2):
                await server.lost.wait()
        except TimeoutError as error:
            raise AssertionError("still open") from error
        assert await caller.call() == b"ok"
        assert server.connections == 2


async def test_cancelling_closes_the_connection():
    """Which is how a modern server is told."""
    await check_cancelled()


async def test_cancelling_without_closing(monkeypatch):
    """Control."""
    monkeypatch.setattr(response.Response, "close", lambda self: None)
    with pytest.raises(AssertionError):
        await check_cancelled()


async def check_answer_before_the_request_is_read() -> None:
    """What is unwritten of a request stays unwritten: its connection carries no other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        loop = asyncio.get_running_loop()
        async with open_session(LIMITS) as session:
            caller = Caller(session, listening.getsockname()[1])
            task = asyncio.create_task(caller.call(b"x" * 2**24))
            peer, _ = await loop.sock_accept(listening)
            with peer:
                await loop.sock_sendall(peer, GOOD)
                assert await task == b"ok"
                assert caller.pool.kept() is None


async def test_an_answer_before_the_request_is_read():
    """Accepted, and the connection closed."""
    await check_answer_before_the_request_is_read()


async def test_an_answer_before_the_request_is_read_without_the_guard(monkeypatch):
    """Control: kept although half a request is on its way."""

    def finish(self, *, keeps):
        self._response = None
        self._over(self)

    monkeypatch.setattr(connection.Connection, "finish", finish)
    with pytest.raises(AssertionError):
        await check_answer_before_the_request_is_read()


# -- bounds ----------------------------------------------------------------------------------------------------------------


async def check_backpressure() -> None:
    """A stream nobody reads is not read from the network either."""

    def flood(peer) -> None:
        peer.say(ok(_CHUNKED, body=b""))
        for _ in range(400):
            peer.transport.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    async with facing(flood) as (_, caller):
        answer = await caller.open()
        await asyncio.sleep(0.4)
        waiting = len(await answer.read())
        answer.close()
        assert waiting <= response.HIGH_WATER + 2**19


async def test_a_flood_waits_at_the_server():
    """Memory is bounded by not reading on."""
    await check_backpressure()


async def test_a_flood_without_the_guard(monkeypatch):
    """Control."""
    monkeypatch.setattr(connection.Connection, "pause", lambda self: None)
    with pytest.raises(AssertionError):
        await check_backpressure()


async def test_a_paused_stream_goes_on():
    """Nothing is lost by waiting."""
    async with facing(ok(b"Content-Length: 900000", body=b"x" * 900_000)) as (_, caller):
        answer = await caller.open()
        await asyncio.sleep(0.1)
        assert await read_body(answer, caller.body, LIMITS) == b"x" * 900_000


@pytest.mark.parametrize(
    "answer",
    [ok(b"Content-Length: 9999999"), ok(_CHUNKED, body=b"180000\r\n" + b"x" * 0x180000 + b"\r\n0\r\n\r\n")],
)
async def test_a_body_over_the_bound(answer):
    """Refused by what it announces, or by what came."""
    async with facing(answer) as (_, caller):
        await caller.refused(Reason.UPSTREAM_TOO_LARGE)


async def check_limit(limit: int) -> None:
    """Never more connections than allowed; who waits is served in turn; a deadline holds in the line, nothing sent."""

    def slowly(peer) -> None:
        peer.later(0.05, GOOD)

    async with facing(slowly) as (server, caller):
        caller.pool._limit = limit
        answers = await asyncio.gather(*(caller.call(b"%d" % n) for n in range(6)))
        assert answers == [b"ok"] * 6
        assert server.together <= 2
        assert [request[-1:] for request in server.requests] == [b"%d" % n for n in range(6)]
        busy = [asyncio.create_task(caller.call()) for _ in range(2)]
        await asyncio.sleep(0)
        late = asyncio.create_task(caller.call(b"late", timeout_s=0.01))
        await asyncio.wait([late])
        assert isinstance(late.exception(), TimeoutError)
        assert not caller.body.started
        await asyncio.gather(*busy)
        assert await caller.call() == b"ok"
        assert not any(b"late" in request for request in server.requests)


async def test_the_number_of_connections_is_bounded():
    """With a line in front of it."""
    await check_limit(2)


async def test_without_a_bound_there_are_more():
    """Control."""
    with pytest.raises(AssertionError):
        await check_limit(100)


async def test_the_line_is_bounded(monkeypatch):
    """Who would stand too far back is refused at once, nothing sent."""
    monkeypatch.setattr(pool, "WAITING", 1)
    async with facing(lambda peer: peer.later(0.1, GOOD)) as (server, caller):
        caller.pool._limit = 1
        tasks = [asyncio.create_task(caller.call()) for _ in range(2)]
        await asyncio.sleep(0)
        await caller.refused(Reason.UPSTREAM_DOWN, effect=False)
        await asyncio.gather(*tasks)
        assert len(server.requests) == 2


async def test_closing_fails_what_waits():
    """In the line and under way, each with the right doubt."""
    async with facing(lambda peer: None) as (server, caller):
        caller.pool._limit = 1
        tasks = [asyncio.create_task(caller.call()) for _ in range(2)]
        while not server.requests:
            await asyncio.sleep(0.01)
        caller.pool.close()
        await asyncio.wait(tasks, timeout=2)
        assert [task.exception().effect_possible for task in tasks] == [True, False]
        await caller.refused(Reason.UPSTREAM_DOWN, effect=False)


async def test_a_head_has_a_deadline():
    """Where the caller has none."""
    async with facing(lambda peer: peer.say(b"HTTP/1.1 200 OK\r\n")) as (_, caller):
        body = Body(b"{}")
        with pytest.raises(UpstreamError) as caught:
            await send(caller.pool, whole(caller.head, b"", b"{}"), body, head_s=0.1)
        assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)


# -- what goes out ---------------------------------------------------------------------------------------------------------


def check_smuggling(name: str, value: str) -> None:
    """Refused, provably unsent."""
    try:
        lines = outgoing.field_lines([(name, value)])
    except UpstreamError as error:
        assert (error.reason, error.effect_possible) == (Reason.INTERNAL, False)
    else:
        raise AssertionError(f"written: {lines!r}")


SMUGGLED = [
    ("A", "b\r\nC: d"), ("A", "b\nC: d"), ("A", "b\rC: d"), ("A", "b\0"), ("A", " b"), ("A", "b "), ("A", "é"),
    ("A\r\nB", "c"), ("A:", "b"), ("", "b"), ("A B", "c"), ("Content-Length", "5"), ("transfer-encoding", "chunked"), ("Host", "x"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SMUGGLED)
def test_a_field_cannot_end_early(name, value):
    """Whatever its source, a value never becomes a line, and the framing is written by one function only."""
    check_smuggling(name, value)


@pytest.mark.parametrize(("name", "value"), [pair for pair in SMUGGLED if "é" not in pair])
def test_a_field_that_ends_early_is_noticed(name, value, monkeypatch):
    """Control."""
    monkeypatch.setattr(outgoing, "_NAME", re.compile(r"(?s).*"))
    monkeypatch.setattr(outgoing, "_VALUE", re.compile(r"(?s).*"))
    monkeypatch.setattr(outgoing, "_FRAMING", frozenset())
    with pytest.raises(AssertionError):
        check_smuggling(name, value)
