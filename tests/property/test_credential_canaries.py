"""No secret in any error, its frames, log, output, argument or variable: 100 canaries over the failures a server can provoke.

Every secret a provider holds and every secret a server answers is a canary. The server echoes what it was sent, in every place a
reply has; errors are searched with their causes and the values in all frames of ours, in plain, base64, hex and URL form.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lictor.credentials import http
from lictor.credentials.oauth import OAuth, OAuthOptions
from lictor.credentials.options import Options
from lictor.model.errors import LictorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.ports import Issued
from lictor.stores.clock import SystemClock
from servers.lending import Lender, fresh_lease, leaked, shown_by

CANARIES = [f"cnry-{secrets.token_hex(9)}-{number}" for number in range(100)]
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
KEY_LINE = PEM.split("\n")[5]
DEADLINE_S = 1


# -- the server --------------------------------------------------------------------------------------------------------


def reply(status: int, body: bytes, fields: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d Said\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), fields, body)


def members(canary: str, echo: str, **more: Any) -> bytes:
    """Every member that some provider reads, holding canaries."""
    said = {
        "error": echo, "error_description": echo, "errors": [echo], "message": echo, "token": canary, "access_token": canary,
        "auth": {"client_token": canary, "accessor": canary}, "token_type": "Bearer", "lease_id": "database/creds/x/1",
        "data": {"password": canary, "keys": [canary], "meta": echo}, "lease_duration": 60, "expires_in": 60,
    }  # fmt: skip
    return json.dumps({**said, **more}).encode()


def replies(canary: str) -> list[Callable[[bytes], bytes]]:
    """What a server may say, given what it was sent."""

    def echoing(status: int, **more: Any) -> Callable[[bytes], bytes]:
        return lambda sent: reply(status, members(canary, sent.decode("latin-1"), **more))

    xml = "<ErrorResponse><Error><Code>{0}</Code><Message>{0}</Message></Error></ErrorResponse>"
    return [
        *(echoing(status) for status in (200, 201, 400, 401, 403, 404, 422, 500, 503)),
        echoing(200, token_type=canary),
        echoing(200, expires_in=10**9, refresh_token=canary),
        echoing(200, expires_in=canary, lease_duration=canary, expires_at=canary),
        echoing(200, data=canary, auth=canary),
        echoing(200, scope=canary, repositories=[{"full_name": canary}], permissions={canary: canary}),
        lambda sent: reply(200, b'{"a": 1, "%b": 2, "%b": 3}' % (canary.encode(), canary.encode())),
        lambda sent: reply(200, sent),
        lambda sent: reply(200, canary.encode()),
        lambda sent: reply(302, sent, b"Location: https://x.test/%b\r\n" % canary.encode()),
        lambda sent: reply(200, sent, b"Content-Encoding: %b\r\n" % canary.encode()),
        lambda sent: reply(200, members(canary, ""))[:-20],
        lambda sent: b"%b\r\n\r\n%b" % (canary.encode(), sent),
        lambda sent: reply(403, xml.format(canary).encode()),
        lambda sent: reply(500, xml.format(sent.decode("latin-1")).encode()),
        lambda sent: b"",
    ]


@contextlib.asynccontextmanager
async def saying(say: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that says the same to everybody."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = [
                int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            ]
            writer.write(say(head + (await reader.readexactly(size[0]) if size else b"")))
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


# -- the providers -----------------------------------------------------------------------------------------------------


def lenders(port: int, canary: Iterator[str]) -> dict[str, Lender]:
    """Each provider, each way to authenticate, with canaries for secrets."""
    url = f"http://127.0.0.1:{port}"
    oauth = {
        "token_url": url,
        "revocation_url": url,
        "client_id": "me",
        "secret": "s",
        "scopes": ["read"],
        "deadline_s": 1.0,
    }
    vault = {"url": url, "path": "database/creds/x", "deadline_s": 1.0}
    github = {"app_id": "1", "installation_id": 1, "key_secret": "k", "owner": "o", "permissions": {"contents": "read"}}
    aws = {
        "role": "arn:aws:iam::123456789012:role/a",
        "policy": {"Statement": [{}]},
        "access_key_id": "AKIA",
        "revoke": "deny",
    }
    exchange = {**oauth, "grant": "token_exchange", "actor_secret": "a", "auth": "client_secret_post"}
    return {
        "basic": Lender("oauth", oauth, s=next(canary)),
        "exchange": Lender("oauth", exchange, s=next(canary), a=next(canary)),
        "assertion": Lender("oauth", {**oauth, "auth": "private_key_jwt", "alg": "RS256"}, s=PEM),
        "no key": Lender("oauth", {**oauth, "auth": "private_key_jwt"}, s=next(canary)),
        "approle": Lender("vault", {**vault, "role_id": "r", "role_secret": "s"}, s=next(canary)),
        "token": Lender("vault", {**vault, "token_secret": "s"}, s=next(canary)),
        "github": Lender("github", {**github, "repositories": ["r"], "api_url": url, "deadline_s": 1.0}, k=PEM),
        "aws": Lender(
            "aws", {**aws, "secret_key_secret": "s", "sts_url": url, "iam_url": url, "deadline_s": 1}, s=next(canary)
        ),
    }


def made(canary: str) -> Issued:
    """As if it had been issued: its token is a canary."""
    return Issued(
        secret={"token": Secret(canary)}, expires_at_ms=1, handle="database/creds/x/1", revocation=Secret(canary)
    )


async def provoked(lender: Lender, canary: Iterator[str]) -> list[BaseException]:
    """The errors of asking, of revoking, and of revoking what was never answered."""
    found: list[BaseException] = []
    works: list[Awaitable[Any]] = [
        lender.issue(fresh_lease(), subject=next(canary)),
        lender.revoke(fresh_lease(), made(next(canary))),
        lender.revoke(fresh_lease()),
    ]
    for work in works:
        try:
            await work
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is searched
            found.append(error)
    return found


def searched(errors: list[BaseException], log: str) -> list[str]:
    """Canaries seen anywhere."""
    texts = [log, *map(shown_by, errors), Path("/proc/self/cmdline").read_text("latin-1"), repr(dict(os.environ))]
    return leaked("\n".join(texts), [*CANARIES, KEY_LINE])


KINDS = ("basic", "exchange", "assertion", "no key", "approle", "token", "github", "aws")


@pytest.mark.parametrize("kind", KINDS)
async def test_no_reply_makes_a_secret_visible(kind: str, caplog: pytest.LogCaptureFixture, capfd: Any) -> None:
    """Each provider against each reply; the errors are ours, and name a reason."""
    caplog.set_level(logging.DEBUG)
    canary = itertools.cycle(CANARIES)
    errors: list[BaseException] = []
    said: Callable[[bytes], bytes] = bytes

    def say(sent: bytes) -> bytes:
        return said(sent)

    async with saying(say) as port:
        lender = lenders(port, canary)[kind]
        for place in range(len(replies(""))):
            said = replies(CANARIES[-place])[place]
            errors += await provoked(lender, canary)
    assert len(errors) >= len(replies(""))
    assert [error for error in errors if not isinstance(error, LictorError)] == []
    printed = capfd.readouterr()
    assert searched(errors, caplog.text + printed.out + printed.err) == []


def answer_of_postgres(place: int, sent: list[bytes]) -> bytes:
    """Asks for the clear password, then tells it in an error; or speaks nonsense."""

    def message(kind: bytes, body: bytes) -> bytes:
        return kind + (len(body) + 4).to_bytes(4, "big") + body

    said = b"".join(sent).replace(b"\x00", b" ")
    error = message(b"E", b"SFATAL\0C28P01\0M" + said + b"\0D" + said + b"\0\0")
    if len(sent) == 1:
        return message(b"R", b"\0\0\0\3")
    return [error, message(b"R", b"\0\0\0\x63"), said, message(b"Z", b"I"), b"E\0\0\0\4", b""][place]


@pytest.mark.parametrize("place", range(6))
async def test_a_hostile_database_gets_no_secret_into_an_error(place: int, caplog: pytest.LogCaptureFixture) -> None:
    """It knows the password and says it in its errors; ours do not."""
    caplog.set_level(logging.DEBUG)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent: list[bytes] = []
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                sent.append(data)
                writer.write(answer_of_postgres(place, sent))
                if len(sent) > 1:
                    break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        options = {
            "host": "127.0.0.1",
            "port": port,
            "database": "d",
            "user": "u",
            "password_secret": "s",
            "roles": ["r"],
        }
        lender = Lender("postgres", {**options, "tls": "off", "deadline_s": DEADLINE_S}, s=CANARIES[place])
        errors = await provoked(lender, itertools.cycle(CANARIES))
    assert len(errors) == 3
    assert all(isinstance(error, UpstreamError) for error in errors)
    assert searched(errors, caplog.text) == []


# -- controls ----------------------------------------------------------------------------------------------------------


class Quotes(http.Client):
    """Control: tells what the server said."""

    def refused(self, reply: http.Reply, why: str = "") -> UpstreamError:
        return UpstreamError(Reason.UPSTREAM_INVALID, f"answered {reply.body!r}", effect_possible=False)


class Chains(http.Client):
    """Control: keeps a cause that holds the reply."""

    async def call(self, *args: Any, **said: Any) -> http.Reply:
        answered = await super().call(*args, **said)
        raise UpstreamError(Reason.UPSTREAM_INVALID, "no", effect_possible=False) from ValueError(answered.body)


class Logs(http.Client):
    """Control: a debug record of what goes out."""

    async def call(self, *args: Any, **said: Any) -> http.Reply:
        logging.getLogger("lictor").debug("sending %s", said["body"].reveal())
        return await super().call(*args, **said)


@pytest.mark.parametrize("kind", [Quotes, Chains, Logs])
async def test_the_search_would_notice(kind: type[http.Client], caplog: pytest.LogCaptureFixture) -> None:
    """Control: each of these is found by the same search."""
    caplog.set_level(logging.DEBUG)
    canary = itertools.cycle(CANARIES)
    async with saying(replies(CANARIES[4])[4]) as port:
        lender = lenders(port, canary)["exchange"]

        class Variant(OAuth):
            def _client(self, url: str) -> http.Client:
                return kind(super()._client(url).url)

        assert issubclass(OAuthOptions, Options)
        read = OAuthOptions.read(lender.credential.options)
        lender.provider = Variant(read, _constant(CANARIES[7]), SystemClock())
        errors = await provoked(lender, canary)
    assert searched(errors, caplog.text)


def test_a_value_in_a_frame_would_be_noticed() -> None:
    """Control: a secret in a variable of ours is found where the error passed through."""
    code = compile("def f(key):\n    plain = key\n    raise ValueError('no')", "/x/src/lictor/y.py", "exec")
    space: dict[str, Any] = {}
    exec(code, space)
    with pytest.raises(ValueError, match="no") as caught:
        space["f"](CANARIES[0])
    assert searched([caught.value], "") == [CANARIES[0]]


def _constant(canary: str) -> Callable[[str], Awaitable[Secret]]:
    async def read(_: str) -> Secret:
        return Secret(canary)

    return read
