"""The MCP endpoint over streamable HTTP, both eras, as one raw ASGI application (spec 2026-07-28 and 2025-11-25, transports).

Order of checks, each with its own reason: host, origin, method, token; then media types, size, strict JSON, envelope, metadata,
agreement of header and body, session. Only then is the gateway asked. Whatever an authenticated client is turned away with is
written down first. Refuses to know policy and servers.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from lictor.model.errors import CallerError, LictorError, StoreError, UpstreamError
from lictor.model.ids import TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import TaskState
from lictor.pep.mcp.downstream.door import (
    UnsupportedVersionError,
    claim_of,
    defect,
    encode_answer,
    read_message,
    refusal,
)
from lictor.pep.mcp.downstream.eras import INITIALIZE, is_modern, modern_caller
from lictor.pep.mcp.downstream.exchange import Exchange
from lictor.pep.mcp.downstream.head import (
    CLAIMING,
    Challenge,
    GoneError,
    Head,
    Receive,
    TurnedError,
    check_get,
    check_host,
    check_origin,
    check_post,
    credential,
    read_body,
)
from lictor.pep.mcp.downstream.legacy_http import LegacyHttp
from lictor.pep.mcp.downstream.modern_http import ModernHttp
from lictor.pep.mcp.downstream.notices import Hub
from lictor.pep.mcp.downstream.sessions import Sessions
from lictor.pep.mcp.downstream.stream import ResponseStream, Send
from lictor.pep.mcp.gateway import Gateway
from lictor.pep.mcp.seam import LEGACY_VERSIONS, MODERN_VERSIONS
from lictor.ports import Clock, Ids, RecordStore
from lictor.protocol.headers import VERSION_KEY, HeaderParams, check_agreement
from lictor.protocol.jsonrpc import Message, Notification, Request, Response
from lictor.service.calls.door import Claims
from lictor.service.tasks.admit import TasklessError
from lictor.service.tasks.possession import Presented, UnprovedError, check_held
from lictor.service.tasks.tasks import Tasks

PATH: Final = "/mcp"
BODY_TIMEOUT_S: Final = 10.0
"""A body of the largest size needs one second on a slow line; whoever takes longer holds memory on purpose."""
KEEPALIVE_S: Final = 15.0
"""Below the idle timeouts of common proxies (30 to 60 s)."""

_METHODS: Final = frozenset({"POST", "GET", "DELETE"})
_ALLOW: Final = ((b"allow", b"POST, GET, DELETE"),)
_ALLOW_POST: Final = ((b"allow", b"POST"),)

CHAIN_KEY: Final = "lictor_chain"
"""Where our own TLS layer leaves the client's certificate chain, in the connection's ASGI state. No header writes there."""

Authenticate = Callable[[Presented], Awaitable[Callable[[], TaskState]]]
"""The task of a token: a function that says it as it is now. Raises CallerError and StoreError."""

App = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]


def mcp_app(
    *,
    gateway: Gateway,
    tasks: Tasks,
    audience: str,
    allowed_hosts: frozenset[str],
    allowed_origins: frozenset[str],
    limits: Limits,
    store: RecordStore,
    clock: Clock,
    ids: Ids,
    authenticate: Authenticate | None = None,
    resource_metadata: str = "",
    body_timeout_s: float = BODY_TIMEOUT_S,
    keepalive_s: float = KEEPALIVE_S,
) -> App:
    """The ASGI application for one endpoint.

    Args:
        gateway: answers requests.
        tasks: knows tokens.
        audience: what a token must be for.
        allowed_hosts: `Host` values accepted, lower case, with port where it is not the scheme's own.
        allowed_origins: `Origin` values accepted; `null` never is.
        limits: size of head, body and JSON.
        store: where claims are written down.
        clock: the time.
        ids: names of sessions.
        authenticate: knows tokens of every kind; None: opaque task tokens alone.
        resource_metadata: where clients find out who issues tokens (RFC 9728).
        body_timeout_s: for a whole body to arrive.
        keepalive_s: between comments on an idle stream.
    """
    hub = Hub()
    sessions = Sessions(hub, clock, ids, idle_ms=int(limits.task_ttl_s * 1_000))
    gateway.underway.on_ended.append(sessions.end_task)
    legacy = LegacyHttp(gateway, sessions, hub, keepalive_s)
    modern = ModernHttp(gateway, hub, keepalive_s)
    return _Endpoint(
        gateway=gateway,
        tasks=tasks,
        audience=audience,
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
        limits=limits,
        store=store,
        clock=clock,
        authenticate=authenticate,
        challenge=Challenge(resource_metadata),
        body_timeout_s=body_timeout_s,
        legacy=legacy,
        modern=modern,
    )


class _Endpoint:
    """See `mcp_app`."""

    def __init__(
        self,
        *,
        gateway: Gateway,
        tasks: Tasks,
        audience: str,
        allowed_hosts: frozenset[str],
        allowed_origins: frozenset[str],
        limits: Limits,
        store: RecordStore,
        clock: Clock,
        authenticate: Authenticate | None,
        challenge: Challenge,
        body_timeout_s: float,
        legacy: LegacyHttp,
        modern: ModernHttp,
    ) -> None:
        self._gateway = gateway
        self._tasks = tasks
        self._audience = audience
        self._hosts = allowed_hosts
        self._origins = allowed_origins
        self._limits = limits
        self._authenticate = authenticate
        self._challenge = challenge
        self._claims = Claims(store, clock)
        self._body_timeout_s = body_timeout_s
        self._legacy = legacy
        self._modern = modern
        self._open: Counter[TaskId] = Counter()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP request; anything else that ASGI carries is not served."""
        if scope["type"] != "http":
            raise RuntimeError(f"only http is served, not {scope['type'][:20]!r}")
        stream = ResponseStream(send)
        try:
            exchange = await self._admit(scope, receive, stream)
        except LictorError as error:
            await _turn_away(stream, None, error)
            return
        task = exchange.state.task.id
        self._open[task] += 1
        try:
            await self._served(exchange, scope["method"])
        finally:
            self._open[task] -= 1
            if not self._open[task]:
                del self._open[task]

    async def _admit(self, scope: dict[str, Any], receive: Receive, stream: ResponseStream) -> Exchange:
        """Who is asking. Nothing of this is recorded: without a task there is nobody to record it for.

        Raises:
            CallerError: BAD_HOST, BAD_ORIGIN, UNAUTHENTICATED, TASK_CLOSED, TASK_EXPIRED, and what is wrong with the head.
            StoreError: tasks cannot be read.
        """
        head = Head(scope["headers"], self._limits)
        check_host(head, self._hosts)
        check_origin(head, self._origins)
        if scope["path"] != PATH:
            raise TurnedError(404, Reason.UNKNOWN_METHOD, "nothing is served here")
        if scope["method"] not in _METHODS:
            raise TurnedError(405, Reason.UNKNOWN_METHOD, "the HTTP method is not served", headers=_ALLOW)
        self._gateway.guard()
        alive = await self._holder(head, scope)
        return Exchange(head, receive, stream, self._told(alive), alive)

    async def _holder(self, head: Head, scope: dict[str, Any]) -> Callable[[], TaskState]:
        """Who sends it, by its token alone: no cookie and no other field says so."""
        found = credential(head, self._challenge)
        presented = Presented(
            scheme=found.scheme,
            token=found.token,
            method=scope["method"],
            url=self._audience,
            proof=found.proof,
            chain=tuple(scope.get("state", {}).get(CHAIN_KEY, ())),
        )
        try:
            if self._authenticate is not None:
                return await self._authenticate(presented)
            check_held(presented, "", None, 0)
            return lambda: self._tasks.authenticate(presented.token, self._audience)
        except CallerError as error:
            raise self._refused(error) from None

    def _told(self, alive: Callable[[], TaskState]) -> TaskState:
        try:
            return alive()
        except CallerError as error:
            raise self._refused(error) from None

    def _refused(self, error: CallerError) -> TurnedError:
        """A token that is not, or no longer, good for anything."""
        if isinstance(error, TasklessError):
            return TurnedError(403, error.reason, error.message, headers=self._challenge.fields("insufficient_scope"))
        dpop = isinstance(error, UnprovedError)
        code = "invalid_dpop_proof" if dpop else "invalid_token"
        return TurnedError(401, error.reason, error.message, headers=self._challenge.fields(code, dpop=dpop))

    async def _served(self, exchange: Exchange, method: str) -> None:
        """What happens after authentication: answered, or turned away on the record."""
        try:
            await self._claims.noted(exchange.state.task.id, exchange.head.raw, CLAIMING)
            await self._dispatch(exchange, method)
        except CallerError as error:
            await self._refuse(exchange, error)
        except LictorError as error:
            await _turn_away(exchange.stream, exchange, error)
        except GoneError:
            return
        except Exception as error:  # noqa: BLE001 - the last door before the client
            self._gateway.on_defect(error)
            answer = defect()
            await exchange.stream.finish(encode_answer(exchange.identity, answer), answer.status)

    async def _dispatch(self, exchange: Exchange, method: str) -> None:
        most = 2 * self._limits.inflight_per_task
        if self._open[exchange.state.task.id] > most:
            raise TurnedError(429, Reason.OVERLOADED, f"more than {most} HTTP requests at once")
        if method == "POST":
            await self._post(exchange)
            return
        if exchange.head.only(b"mcp-protocol-version") in MODERN_VERSIONS:
            # Neither is part of the modern transport ("Earlier Streamable HTTP Revisions").
            raise TurnedError(405, Reason.UNKNOWN_METHOD, "only POST is served", headers=_ALLOW_POST)
        if method == "GET":
            check_get(exchange.head)
            await self._legacy.get(exchange)
        else:
            await self._legacy.delete(exchange)

    async def _post(self, exchange: Exchange) -> None:
        head = exchange.head
        check_post(head)
        exchange.body = await read_body(exchange.receive, head, self._limits, self._body_timeout_s)
        message = read_message(exchange.body, self._limits)
        if isinstance(message, Request):
            exchange.identity = message.id
        self._check_version(head, message)
        check_agreement(head.raw, message, header_params=self._mirrored(message))
        match message:
            case Request():
                await self._request(exchange, message)
            case Notification() if head.only(b"mcp-protocol-version") in MODERN_VERSIONS:
                # The protocol defines none; closing the stream is what cancels (transports, "Sending Messages").
                await exchange.stream.empty(202)
            case Notification():
                await self._legacy.notification(exchange, message)
            case Response():
                await self._legacy.response(exchange, message)

    async def _request(self, exchange: Exchange, request: Request) -> None:
        if is_modern(request):
            caller = modern_caller(request, exchange.state, exchange.state.task.id)
            await self._modern.request(exchange, request, caller)
        elif request.method == INITIALIZE:
            await self._legacy.initialize(exchange, request)
        else:
            await self._legacy.request(exchange, request)

    def _check_version(self, head: Head, message: Message) -> None:
        """Name the versions we serve before complaining of anything else that a newer client may do differently.

        Raises:
            CallerError: UNSUPPORTED_VERSION, DUPLICATE_HEADER.
        """
        header = head.only(b"mcp-protocol-version")
        meta = message.params.get("_meta") if isinstance(message, Request) else None
        body = meta.get(VERSION_KEY) if isinstance(meta, dict) else None
        if isinstance(body, str) and body not in MODERN_VERSIONS and header in {None, body}:
            raise UnsupportedVersionError(body)
        if body is None and header is not None and header not in MODERN_VERSIONS + LEGACY_VERSIONS:
            raise UnsupportedVersionError(header)

    def _mirrored(self, message: Message) -> HeaderParams:
        """Which arguments of the called tool are mirrored into headers, as far as its definition is known by now.

        Nothing is decided by such a header and none is passed on: for a tool not seen before, there is nothing to disagree with.
        """
        if not isinstance(message, Request) or message.method != "tools/call" or not is_modern(message):
            return {}
        name = message.params.get("name")
        found = self._gateway.naming.split(name) if isinstance(name, str) else None
        if found is None:
            return {}
        try:
            return self._gateway.definitions.header_params(*found) or {}
        except UpstreamError:
            return {}  # the definition itself is unusable: the gateway refuses the call

    async def _refuse(self, exchange: Exchange, error: CallerError) -> None:
        """Write down what was turned away, then say so; what cannot be written down is said instead (503)."""
        body = error.body if isinstance(error, TurnedError) and error.body else exchange.body
        if exchange.identity is None and body:
            exchange.identity = claim_of(body, self._limits).id
        try:
            await self._gateway.authorize.turned_away(exchange.state.task.id, body, error)
        except StoreError as failed:
            await _turn_away(exchange.stream, exchange, failed)
            return
        await _turn_away(exchange.stream, exchange, error)


async def _turn_away(stream: ResponseStream, exchange: Exchange | None, error: LictorError) -> None:
    answer = refusal(error)
    status = answer.status
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, TurnedError):
        status, headers = error.status, error.headers
    elif error.reason is Reason.TOO_LARGE:
        status = 413
    await stream.finish(encode_answer(exchange.identity if exchange else None, answer), status, headers)
