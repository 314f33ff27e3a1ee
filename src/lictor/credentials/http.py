"""One HTTP request to a provider: verified TLS or this machine, one deadline, bounded bytes, no redirect, no proxy, sent once.

Secrets are revealed in the call that writes them and nowhere else: a reply and what is read from it print nothing, so an error
with all its frames repeats none. Refuses to know what a request means.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

import httptools
import msgspec

from lictor.credentials.options import Url, unfit
from lictor.model.errors import UpstreamError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.secret import Secret
from lictor.protocol.json import read_upstream

DEADLINE_S: Final = 10.0
"""For one request, from the look-up of the name to the last byte."""
MAX_REPLY: Final = 256 * 1024
"""Bytes of one reply, head included; a token's is below ten thousand."""
_CHUNK: Final = 16_384
_SECRET: Final = 65_536
"""Characters of one secret."""

Fields = Mapping[str, str | Secret]


class Reply:
    """What a server answered. It prints its status and nothing else."""

    __slots__ = ("body", "fields", "status")

    def __init__(self, status: int, fields: dict[str, str], body: bytes) -> None:
        self.status = status
        self.fields = fields
        self.body = body

    def __repr__(self) -> str:
        return f"Reply({self.status})"

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


class Answer:
    """A JSON object of a reply, read by name and type. It prints nothing. Whatever is not as expected raises."""

    __slots__ = ("_members", "_where")

    def __init__(self, members: Mapping[str, Any], where: str) -> None:
        self._members = members
        self._where = where

    def __repr__(self) -> str:
        return "Answer(…)"

    def __contains__(self, name: str) -> bool:
        return self._members.get(name) is not None

    def names(self) -> Sequence[str]:
        """The members there are."""
        return tuple(self._members)

    # A value is never bound to a name in a frame that may raise: frames are part of an error.

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is no secret."""
        if default is not None and name not in self:
            return default
        return str(self._checked(name, _is_text, "text"))

    def secret(self, name: str) -> Secret:
        """A text that is one: not empty, printable, so that it can stand in a field."""
        return Secret(self._checked(name, _is_secret, "usable secret"))

    def secrets(self, name: str) -> list[Secret]:
        """A list of them."""
        return [Secret(one) for one in self._checked(name, _all(_is_secret), "list of texts")]

    def seconds(self, name: str) -> int:
        """A whole number from 1 to 2^31."""
        return int(self._checked(name, _is_seconds, "number of seconds"))

    def object(self, name: str) -> "Answer":
        """An object."""
        return Answer(self._checked(name, _is_object, "object"), self._where)

    def objects(self, name: str) -> "list[Answer]":
        """A list of objects."""
        return [Answer(one, self._where) for one in self._checked(name, _all(_is_object), "list of objects")]

    def _checked(self, name: str, check: Callable[[Any], bool], what: str) -> Any:
        if not check(self._members.get(name)):
            raise self.wrong(f"{name!r} is no {what}")
        return self._members[name]

    def wrong(self, message: str) -> UpstreamError:
        """The error for an answer that cannot be used: what it tells of may exist."""
        return UpstreamError(Reason.UPSTREAM_INVALID, f"{self._where}: {message}", effect_possible=True)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_secret(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _SECRET and value.isascii() and value.isprintable()


def _is_seconds(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _all(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(check(one) for one in value)


class Client:
    """Requests to one address."""

    def __init__(
        self, url: Url, *, ca_file: str = "", deadline_s: float = DEADLINE_S, max_reply: int = MAX_REPLY
    ) -> None:
        self.url = url
        self._tls = tls_context(ca_file) if url.tls else None
        self._deadline_s = deadline_s
        self._max_reply = max_reply

    async def call(
        self, method: str, path: str = "", *, fields: Fields | None = None, body: Secret | None = None
    ) -> Reply:
        """Send one request and read its reply, whatever its status but a redirect.

        Args:
            method: a token.
            path: added to the address's own; already encoded.
            fields: header fields.
            body: sent as UTF-8.

        Raises:
            UpstreamError: `upstream_down`, `upstream_timeout`, `upstream_invalid`, `upstream_too_large`; `effect_possible`
                says whether a byte had left. No cause is kept: causes quote what was sent.
        """
        done = await self._attempt(self._message(method, path, fields or {}, body))
        if isinstance(done, UpstreamError):
            raise done
        if 300 <= done.status < 400:
            raise self._fault(Reason.UPSTREAM_INVALID, f"redirects (status {done.status}), which is not followed", True)
        return done

    def _message(self, method: str, path: str, fields: Fields, body: Secret | None) -> Secret:
        """Head and body. A control character or a space in the target would end its line early: refused."""
        target = f"{self.url.path}{path}" or "/"
        if not target.isascii() or not target.isprintable() or " " in target or not method.isalpha():
            raise self._fault(Reason.UNKNOWN_VALUE, "a target that cannot be asked for", False)
        size = len(body.reveal().encode()) if body is not None else 0
        lines = [Secret(f"{method} {target} HTTP/1.1"), *_FIXED, Secret(f"Host: {self.url.authority}")]
        if body is not None or method not in ("GET", "DELETE", "LIST"):
            lines.append(Secret(f"Content-Length: {size}"))
        for name, value in {"Accept": "application/json", **fields}.items():
            line = Secret(f"{name}: {value.reveal() if isinstance(value, Secret) else value}")
            if not line.reveal().isascii() or not line.reveal().isprintable():
                raise self._fault(Reason.UNKNOWN_VALUE, f"field {name!r} cannot be sent: not printable ASCII", False)
            lines.append(line)
        return Secret("\r\n".join(line.reveal() for line in lines) + "\r\n\r\n" + (body.reveal() if body else ""))

    async def _attempt(self, message: Secret) -> Reply | UpstreamError:
        sent = False
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(self._deadline_s):
                reader, writer = await asyncio.open_connection(self.url.host, self.url.port, ssl=self._tls)
                if not self._is_allowed(writer):
                    return self._fault(Reason.UPSTREAM_DOWN, "is not this machine, and there is no TLS", False)
                sent = True
                writer.write(message.reveal().encode())
                return await self._read(reader)
        except TimeoutError:
            return self._fault(Reason.UPSTREAM_TIMEOUT, f"no answer within {self._deadline_s:g} s", sent)
        except ssl.SSLError:
            return self._fault(Reason.UPSTREAM_DOWN, "no trusted TLS connection", sent)
        except OSError:
            return self._fault(Reason.UPSTREAM_DOWN, "the connection failed", sent)
        finally:
            if writer is not None:
                writer.transport.abort()

    def _is_allowed(self, writer: asyncio.StreamWriter) -> bool:
        """Without TLS the other end is this machine, whatever a name server said."""
        peer = writer.get_extra_info("peername")
        return self._tls is not None or bool(peer and ipaddress.ip_address(peer[0]).is_loopback)

    async def _read(self, reader: asyncio.StreamReader) -> Reply | UpstreamError:
        incoming = _Incoming()
        seen = 0
        while not incoming.complete:
            data = await reader.read(_CHUNK)
            seen += len(data)
            if seen > self._max_reply:
                return self._fault(Reason.UPSTREAM_TOO_LARGE, f"answers more than {self._max_reply} bytes", True)
            if not data:
                return self._fault(Reason.UPSTREAM_DOWN, "the answer was cut off", True)
            if not incoming.feed(data):
                return self._fault(Reason.UPSTREAM_INVALID, "answers something else than plain HTTP", True)
        return Reply(incoming.status, incoming.fields, bytes(incoming.body))

    def answer(self, reply: Reply) -> Answer:
        """The JSON object of a reply.

        Raises:
            UpstreamError: `upstream_invalid`: something else; no byte of it is repeated.
        """
        found = _object(reply)
        if isinstance(found, Reason):
            raise self._fault(Reason.UPSTREAM_INVALID, f"the reply is no JSON object that is accepted ({found})", True)
        return Answer(found, self.url.authority)

    def refused(self, reply: Reply, why: str = "") -> UpstreamError:
        """The error for a status that is not 2xx. A 4xx says that nothing was done."""
        hint = f": {why}" if why else ""
        return self._fault(
            Reason.UPSTREAM_INVALID if reply.status < 500 else Reason.UPSTREAM_DOWN,
            f"answered {reply.status}{hint}",
            not 400 <= reply.status < 500,
        )

    def _fault(self, reason: Reason, message: str, effect_possible: bool) -> UpstreamError:
        return UpstreamError(reason, f"{self.url.authority}: {message}", effect_possible=effect_possible)


_FIXED: Final = (
    Secret("Connection: close"),
    Secret("Accept-Encoding: identity"),
    Secret("User-Agent: lictor"),
)


class _Incoming:
    """One response as it arrives; interim ones (1xx) are passed over."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self) -> None:
        self.complete = False
        self.status = 0
        self.fields: dict[str, str] = {}
        self.body = bytearray()
        self._encoded = False

    def feed(self, data: bytes) -> bool:
        """Whether it is HTTP so far, in no encoding (nobody asked for one)."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return False
        return not self._encoded

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        self.fields[key] = value.decode("latin-1")
        self._encoded = self._encoded or (key == "content-encoding" and value.lower() != b"identity")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if 100 <= self.status < 200:
            self._begin()
        else:
            self.complete = True


def _object(reply: Reply) -> dict[str, Any] | Reason:
    try:
        value = read_upstream(reply.body, Limits(), effect_possible=True).value
    except UpstreamError as error:
        return error.reason
    return value if isinstance(value, dict) else Reason.INVALID_MESSAGE


def tls_context(ca_file: str) -> ssl.SSLContext:
    """Verified TLS 1.2 or later, with the system's roots or those of one file.

    Raises:
        OperatorError: `config_refused`: the file is no bundle of certificates.
    """
    # Not `create_default_context`: that one writes session keys to a file which the environment names (SSLKEYLOGFILE).
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if ca_file:
            context.load_verify_locations(ca_file)
        else:
            context.load_default_certs()
    except OSError:
        raise unfit(f"ca_file {ca_file[:200]!r} cannot be read as certificates") from None
    return context


def form(fields: Sequence[tuple[str, str | Secret]]) -> Secret:
    """`application/x-www-form-urlencoded`, in this order."""
    return Secret(urlencode([(name, _plain(value)) for name, value in fields]))


def document(members: Mapping[str, Any]) -> Secret:
    """A JSON object; a `Secret` on its first floor is revealed."""
    return Secret(msgspec.json.encode({name: _plain(value) for name, value in members.items()}).decode())


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value
