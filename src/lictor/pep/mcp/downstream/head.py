"""What an HTTP request must look like before its body is believed: host, origin, token, media types, size.

Each check has one reason and one status. Nothing here is decided by policy; a token is read from its header and nowhere else.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple

from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.service.calls.timer import Deadline

JSON: Final = "application/json"
SSE: Final = "text/event-stream"

RawHeaders = list[tuple[bytes, bytes]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_CREDENTIAL: Final = re.compile(r"(?i:(bearer|dpop)) +([A-Za-z0-9\-._~+/]{1,16384}=*)", re.ASCII)
_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_LISTS: Final = frozenset({b"accept"})
"""Fields that are lists, so that a second line only goes on (RFC 9110 5.3)."""
_DPOP_ALGS: Final = "ES256 ES384 RS256 PS256 Ed25519 EdDSA"
CLAIMING: Final = (
    b"x-agent-id",
    b"x-agent-name",
    b"x-user-id",
    b"x-spiffe-id",
    b"x-forwarded-user",
    b"x-forwarded-client-cert",
    b"x-lictor-agent",
    b"x-lictor-task",
)
"""Fields by which products pass on who somebody is. Nobody here believes them (case IDEN-12); that they came is written down."""


class TurnedError(CallerError):
    """A refusal with an HTTP status of its own.

    Attributes:
        status: the HTTP status.
        headers: fields the answer needs.
        body: what had been read of the body.
    """

    def __init__(
        self,
        status: int,
        reason: Reason,
        message: str,
        *,
        headers: Iterable[tuple[bytes, bytes]] = (),
        body: bytes = b"",
    ) -> None:
        """See the class."""
        super().__init__(reason, message)
        self.status = status
        self.headers = tuple(headers)
        self.body = body


class GoneError(Exception):
    """The client closed the connection before its request was complete: there is nobody to answer."""


class Head:
    """Header fields by name, as the server parsed them: names in lower case.

    Attributes:
        raw: all of them in order, for `protocol.headers`.
    """

    __slots__ = ("_found", "_repeated", "raw")

    def __init__(self, raw: RawHeaders, limits: Limits) -> None:
        """Index them.

        Raises:
            TurnedError: TOO_LARGE (431).
        """
        found: dict[bytes, bytes] = {}
        repeated: set[bytes] = set()
        size, longest = 0, 0
        for name, value in raw:
            size += len(name) + len(value)
            longest = max(longest, len(value))
            if name not in found:
                found[name] = value
            elif name in _LISTS:
                found[name] += b"," + value
            else:
                repeated.add(name)
        if size > limits.header_bytes or longest > limits.header_value_bytes:
            raise TurnedError(431, Reason.TOO_LARGE, "the header fields are too large")
        self.raw = raw
        self._found = found
        self._repeated = repeated

    def only(self, name: bytes) -> str | None:
        """A field that may be given once; None when it is absent.

        Raises:
            CallerError: DUPLICATE_HEADER: two readers could take either (case MCPH-07).
        """
        if name in self._repeated:
            raise CallerError(Reason.DUPLICATE_HEADER, f"header {name.decode('latin-1')[:64]!r} is given twice")
        value = self._found.get(name)
        return None if value is None else value.decode("latin-1").strip(" \t")

    def all(self, name: bytes) -> bytes:
        """A list field, its lines joined; empty when it is absent."""
        return self._found.get(name, b"")


def check_host(head: Head, allowed: frozenset[str]) -> None:
    """The name the client believes it talks to, port included: DNS rebinding cannot forge it (spec, "Security").

    Raises:
        CallerError: BAD_HOST (421), DUPLICATE_HEADER.
    """
    host = head.only(b"host")
    if host is None or host.lower() not in allowed:
        raise TurnedError(421, Reason.BAD_HOST, "this host name is not served here")


def check_origin(head: Head, allowed: frozenset[str]) -> None:
    """A browser says where its script comes from; `null` is said by everybody who hides it, so it is never let in.

    Raises:
        CallerError: BAD_ORIGIN (403), DUPLICATE_HEADER.
    """
    origin = head.only(b"origin")
    if origin is not None and (origin == "null" or origin not in allowed):
        raise TurnedError(403, Reason.BAD_ORIGIN, "requests from this origin are not accepted")


class Credential(NamedTuple):
    """What the `Authorization` field holds, and the proof beside it. Nothing of it is believed yet."""

    scheme: Literal["bearer", "dpop"]
    token: str
    proof: str | None
    """The `DPoP` field (RFC 9449 4.1)."""


class Challenge:
    """What a client is told when it is not let in (RFC 9110 11.6.1, RFC 9728 5.1, RFC 9449 7.1)."""

    def __init__(self, resource_metadata: str) -> None:
        """`resource_metadata`: where a client finds out who issues tokens; empty: nobody does by a protocol."""
        self._metadata = f', resource_metadata="{resource_metadata}"' if resource_metadata else ""

    def fields(self, error: str = "", *, dpop: bool = False) -> tuple[tuple[bytes, bytes], ...]:
        """The header fields: `Bearer` first, and `DPoP` where a proof is what is missing."""
        said = f', error="{error}"' if error else ""
        text = f'Bearer realm="lictor"{"" if dpop else said}{self._metadata}'
        found = [(b"www-authenticate", text.encode("latin-1"))]
        if dpop:
            text = f'DPoP realm="lictor"{said}, algs="{_DPOP_ALGS}"{self._metadata}'
            found.append((b"www-authenticate", text.encode("latin-1")))
        return tuple(found)


def credential(head: Head, challenge: Challenge) -> Credential:
    """The token of `Authorization: Bearer` or `DPoP` (RFC 6750 2.1, RFC 9449 7.1); never of query, body or cookie.

    Raises:
        CallerError: UNAUTHENTICATED (401), DUPLICATE_HEADER.
    """
    value = head.only(b"authorization")
    if value is None:
        raise TurnedError(401, Reason.UNAUTHENTICATED, "a task token is needed", headers=challenge.fields())
    match = _CREDENTIAL.fullmatch(value)
    if match is None:
        raise TurnedError(
            401, Reason.UNAUTHENTICATED, "authorization is not a bearer token", headers=challenge.fields()
        )
    return Credential("dpop" if match[1].lower() == "dpop" else "bearer", match[2], head.only(b"dpop"))


def check_post(head: Head) -> None:
    """Media types of a POST; nothing is guessed from the body.

    Raises:
        CallerError: INVALID_MESSAGE (415 content type or coding, 406 accept), DUPLICATE_HEADER.
    """
    if not _is_json(head.only(b"content-type") or ""):
        raise TurnedError(415, Reason.INVALID_MESSAGE, f"content-type must be {JSON}")
    if (head.only(b"content-encoding") or "identity") != "identity":
        raise TurnedError(415, Reason.INVALID_MESSAGE, "content-encoding is not accepted")
    if not {JSON, SSE} <= _accepted(head.all(b"accept")):
        raise TurnedError(406, Reason.INVALID_MESSAGE, f"accept must list {JSON} and {SSE}")


def check_get(head: Head) -> None:
    """Media type of a GET.

    Raises:
        CallerError: INVALID_MESSAGE (406).
    """
    if SSE not in _accepted(head.all(b"accept")):
        raise TurnedError(406, Reason.INVALID_MESSAGE, f"accept must list {SSE}")


@lru_cache(maxsize=64)
def _is_json(value: str) -> bool:
    kind, _, parameters = value.lower().partition(";")
    return kind.strip() == JSON and parameters.strip() in {"", "charset=utf-8", 'charset="utf-8"'}


@lru_cache(maxsize=64)
def _accepted(value: bytes) -> frozenset[str]:
    """Types listed by name; one with weight zero is refused, and no wildcard lists anything."""
    found = set()
    for item in value.decode("latin-1").lower().split(","):
        kind, *parameters = (part.strip() for part in item.split(";"))
        if not any(re.fullmatch(r"q=0(\.0{0,3})?", parameter) for parameter in parameters):
            found.add(kind)
    return frozenset(found)


async def read_body(receive: Receive, head: Head, limits: Limits, timeout_s: float) -> bytes:
    """The whole body, within size and time; more is not even read.

    Raises:
        CallerError: TOO_LARGE (413), INVALID_MESSAGE (400, 408), DUPLICATE_HEADER.
        GoneError: the client left.
    """
    most = limits.message_bytes
    length = head.only(b"content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise TurnedError(400, Reason.INVALID_MESSAGE, "content-length is not a number")
    if length is not None and int(length) > most:
        raise TurnedError(413, Reason.TOO_LARGE, f"at most {most} bytes are accepted", headers=CLOSE)
    parts: list[bytes] = []
    size = 0
    deadline = Deadline(timeout_s)
    try:
        while True:
            event = await receive()
            if event["type"] != "http.request":
                raise GoneError
            part: bytes = event.get("body", b"")
            parts.append(part)
            size += len(part)
            if size > most:
                body = b"".join(parts)[:most]
                text = f"at most {most} bytes are accepted"
                raise TurnedError(413, Reason.TOO_LARGE, text, headers=CLOSE, body=body)
            if not event.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
    except asyncio.CancelledError as error:
        if not deadline.stop():
            raise
        text = "the body did not arrive in time"
        raise TurnedError(408, Reason.INVALID_MESSAGE, text, headers=CLOSE, body=b"".join(parts)) from error
    finally:
        deadline.stop()


CLOSE: Final = ((b"connection", b"close"),)
"""The rest of a refused body is not worth reading."""
