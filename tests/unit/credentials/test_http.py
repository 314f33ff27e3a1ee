"""One request to a provider: who may be spoken to, what may come back, how long it may take, what is told of a fault."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from lictor.credentials.http import Client, document, form
from lictor.credentials.options import read_url
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from servers.certificates import self_signed
from servers.lending import leaked, shown_by

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"token":"x"}'
HIDDEN = "what-must-not-be-seen"
Reply = bytes | Callable[[asyncio.StreamWriter], Any]


@contextlib.asynccontextmanager
async def answering(reply: Reply, tls: Any = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers every request alike: its port, and the requests."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(reply, bytes):
                writer.write(reply)
            else:
                await reply(writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1], heard
    finally:
        listening.close()
        await asyncio.sleep(0)


def client(port: int, *, scheme: str = "http", host: str = "127.0.0.1", **said: Any) -> Client:
    return Client(read_url(f"{scheme}://{host}:{port}/base", "url"), **said)


async def fault(reply: Reply, **said: Any) -> UpstreamError:
    async with answering(reply) as (port, _):
        one = client(port, **said)
        with pytest.raises(UpstreamError) as caught:
            one.answer(await one.call("POST", "/x", fields={"Authorization": Secret(HIDDEN)}, body=Secret(HIDDEN)))
        assert not leaked(shown_by(caught.value), [HIDDEN])
        return caught.value


async def test_a_request_as_it_goes_out() -> None:
    """Target, host, length, fields in one message; the answer read by name and type."""
    async with answering(OK) as (port, heard):
        one = client(port)
        reply = await one.call(
            "POST", "/x?a=b", fields={"X-Token": Secret("s")}, body=form([("a", "b c"), ("t", Secret("ü"))])
        )
        assert one.answer(reply).secret("token").reveal() == "x"
        assert repr(reply) == "Reply(200)"
        assert repr(one.answer(reply)) == "Answer(…)"
    head = heard[0].decode().split("\r\n")
    assert head[0] == "POST /base/x?a=b HTTP/1.1"
    assert {f"Host: 127.0.0.1:{port}", "Connection: close", "X-Token: s", "Content-Length: 14"} <= set(head)


async def test_interim_answers_are_passed_over() -> None:
    """100 and 103 come before the answer; chunks are one body."""
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n"
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"t\r\n4\r\n":1}\r\n0\r\n\r\n'
    async with answering(early + chunked) as (port, _):
        one = client(port)
        assert one.answer(await one.call("GET")).seconds("t") == 1


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", Reason.UPSTREAM_DOWN),
        (OK[:-1], Reason.UPSTREAM_DOWN),
        (b"HTTP/1.1 200 OK\r\n\r\n{}", Reason.UPSTREAM_DOWN),
        (b"garbage\r\n\r\n", Reason.UPSTREAM_INVALID),
        (b"HTTP/1.1 302 There\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n", Reason.UPSTREAM_INVALID),
        (b"HTTP/1.1 307 There\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", Reason.UPSTREAM_INVALID),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", Reason.UPSTREAM_INVALID),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", Reason.UPSTREAM_INVALID),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"a":1,"a":2}', Reason.UPSTREAM_INVALID),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b" " * 300_000, Reason.UPSTREAM_TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000, Reason.UPSTREAM_TOO_LARGE),
    ],
    ids=range(11),
)
async def test_what_is_no_answer_is_a_fault_with_a_possible_effect(reply: bytes, reason: Reason) -> None:
    """Nothing, half, garbage, a redirect, an encoding, no object, equal keys, too much: the request had left."""
    error = await fault(reply)
    assert (error.reason, error.effect_possible) == (reason, True)


async def test_the_deadline_is_for_the_whole_reply() -> None:
    """A server that sends a byte at a time is not waited for."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:15] + b"\r\nX: ")
        for _ in range(1_000):
            writer.write(b"x")
            await asyncio.sleep(0.02)

    started = time.perf_counter()
    error = await fault(drip, deadline_s=0.3)
    assert time.perf_counter() - started < 10  # the whole reply takes twice that
    assert (error.reason, error.effect_possible) == (Reason.UPSTREAM_TIMEOUT, True)


async def test_before_anything_left_no_effect_is_possible(tmp_path: Path) -> None:
    """Nobody listens, or the certificate is not trusted or not the host's: nothing was sent."""
    context, trusted = self_signed(tmp_path, "localhost")
    async with answering(OK, tls=context) as (port, heard):
        good = client(port, scheme="https", host="localhost", ca_file=str(trusted))
        assert (await good.call("GET")).ok
        del heard[:]
        for wrong in (
            client(port, scheme="https", host="localhost"),
            client(port, scheme="https", host="127.0.0.1", ca_file=str(trusted)),
            client(1),
        ):
            with pytest.raises(UpstreamError) as caught:
                await wrong.call("GET")
            assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_DOWN, False)
        assert heard == []


async def test_a_field_cannot_end_its_line() -> None:
    """Line breaks, controls, other scripts: refused before a connection, and not repeated."""
    async with answering(OK) as (port, heard):
        for value in (f"a\r\nX: {HIDDEN}", f"a\n{HIDDEN}", f"{HIDDEN}\x00", f"{HIDDEN}é"):
            with pytest.raises(UpstreamError) as caught:
                await client(port).call("GET", fields={"X": Secret(value)})
            assert not caught.value.effect_possible
            assert not leaked(shown_by(caught.value), [HIDDEN])
        for path in ("/a b", "/a\r\nX: y", "/é"):
            with pytest.raises(UpstreamError):
                await client(port).call("GET", path)
        assert heard == []


async def test_no_proxy_and_no_key_log_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """HTTP_PROXY leads nowhere, SSLKEYLOGFILE gets no keys."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://192.0.2.1:1")
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    context, trusted = self_signed(tmp_path, "localhost")
    async with answering(OK, tls=context) as (port, _):
        assert (await client(port, scheme="https", host="localhost", ca_file=str(trusted)).call("GET")).ok
    assert not (tmp_path / "keys").exists()


def test_an_answer_is_read_by_type() -> None:
    """A member of another type is a fault; a bool is no number, an empty text no secret."""

    def read(text: bytes) -> Any:
        from lictor.credentials.http import Reply as HttpReply

        return client(1).answer(HttpReply(200, {}, text))

    answer = read(b'{"b":true,"n":-1,"t":"","s":"a\\nb","o":{"x":"y"},"l":[{}],"m":[1],"z":null}')
    for wrong in (
        lambda: answer.seconds("b"),
        lambda: answer.seconds("n"),
        lambda: answer.secret("t"),
        lambda: answer.secret("s"),
        lambda: answer.secret("absent"),
        lambda: answer.text("n"),
        lambda: answer.object("l"),
        lambda: answer.objects("m"),
        lambda: answer.secrets("m"),
    ):
        with pytest.raises(UpstreamError) as caught:
            wrong()
        assert (caught.value.reason, caught.value.effect_possible) == (Reason.UPSTREAM_INVALID, True)
    assert answer.object("o").text("x") == "y"
    assert ("z" in answer, "o" in answer) == (False, True)
    assert answer.text("absent", "else") == "else"


def test_secrets_of_a_document_are_revealed_only_in_it() -> None:
    """JSON with the value; the document itself prints nothing."""
    made = document({"a": Secret("x"), "b": 1})
    assert made.reveal() == '{"a":"x","b":1}'
    assert "x" not in repr(made)


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path) -> None:
    """An absent or broken bundle of authorities refuses the options."""
    broken = tmp_path / "broken.pem"
    broken.write_text("nothing")
    for path in (broken, tmp_path / "absent"):
        with pytest.raises(OperatorError):
            Client(read_url("https://host.test", "url"), ca_file=str(path))
