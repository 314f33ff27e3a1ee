"""The control plane over HTTP: a table of routes, each with who may call it, and what stands before every one of them.

In this order: the host is ours, no other site's page sent it, the sender is who it says, the route exists and is for such a
sender, the body is strict JSON of the route's shape. What a route may do is keyed to the row that matched, never to the
request's text (OAUT-12). A refusal is problem+json. Nothing but `OPEN` rows answers anybody who has not authenticated.
"""

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Path

from lictor.api.caller import AgentCalledError, Caller, Callers, Presented, Role
from lictor.api.problem import HEADERS, Turned, problem
from lictor.model.errors import CallerError, LictorError, OperatorError
from lictor.model.ids import AgentId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.ports import Clock
from lictor.protocol.json import read

OPEN: Final[frozenset[Role]] = frozenset()
"""`who` of a row that anybody may call: health, and what authenticates by itself. A test holds the list of them."""
AGENTS: Final = "/access/"
"""Paths where agents are at home: nobody is alarmed by one."""
MAX_BODY: Final = 1024 * 1024
"""One request's body: the longest text a person gives a task, and then some."""
BODY_TIMEOUT_S: Final = 10.0
"""As at the MCP endpoint: whoever takes longer holds memory on purpose."""
MAX_QUERY: Final = 2_048
FAILURES: Final = 120
"""Requests without a valid credential that are answered in a window; more are told to come back later. A valid one passes."""
FAILURES_WINDOW_MS: Final = 10_000

_KEY: Final = re.compile(r"[!-~]{1,200}", re.ASCII)
_HOST: Final = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.ASCII)
_AT: Final = re.compile(r"(?P<said>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a handler answers."""

    value: Any = None
    """A struct or JSON value; None: no content."""
    status: int = 0
    """0: the row's own."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request that passed the door."""

    caller: Caller
    path: Mapping[str, str]
    body: Any = None
    """Of the row's `body` type."""
    query: Any = None
    """Of the row's `query` type."""
    key: str = ""
    """The `Idempotency-Key`."""


Handler = Callable[[Call], Awaitable[Reply]]
Raw = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the table. Exactly one of `handler` and `raw` is set."""

    method: str
    path: str
    """With `{name}` for one segment."""
    who: frozenset[Role]
    """Any of these roles; `OPEN`: anybody."""
    summary: str
    handler: Handler | None = None
    raw: Raw | None = None
    """For what does not speak our JSON (form-encoded OAuth): gets the request as it is, behind host check and headers."""
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    answer: Any = None
    """Type of the answer's value."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses it may answer with, done."""
    makes: str = ""
    """The path parameter that the answer's member of this name is a value of."""
    keyed: bool = False
    """Takes an `Idempotency-Key`."""
    task_token: bool = False
    """For agents, with their task's token: an `OPEN` row that authenticates by itself (`api.access`)."""
    refuses: tuple[int, ...] = ()
    """Statuses it may refuse with besides those of the door (`openapi._ALWAYS`)."""
    described: bool = True
    """Whether the OpenAPI document has it."""


Alarm = Callable[[AgentId, TaskId | None, str], Awaitable[None]]
"""Records that an agent called a route: `METHOD /path` as in the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What stands before every route."""

    callers: Callers
    alarm: Alarm
    clock: Clock
    limits: Limits
    hosts: frozenset[str]
    public_url: str
    on_defect: Callable[[Exception], None]


def api_app(door: Door, routes: Sequence[Route]) -> Starlette:
    """The ASGI application of a table of routes. Rows of one path answer together, so that `Allow` is whole."""
    guard = _Guard(door)
    rows: dict[str, dict[str, Route]] = {}
    for row in routes:
        if (row.handler is None) is (row.raw is None) or row.method in rows.setdefault(row.path, {}):
            raise OperatorError(Reason.INTERNAL, f"route {row.method} {row.path} is not one row with one handler")
        rows[row.path][row.method] = row
    app = Starlette(routes=[Path(path, _Endpoint(guard, path, methods)) for path, methods in rows.items()])
    app.router.redirect_slashes = False
    app.router.default = _Endpoint(guard, "", {})
    return app


class _Endpoint:
    """One path, all methods, as ASGI."""

    def __init__(self, guard: "_Guard", path: str, methods: Mapping[str, Route]) -> None:
        self._guard = guard
        self._path = path
        self._methods = methods

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        try:
            answer = await self._guard(request, self._path, self._methods)
        except ClientDisconnect:
            return
        await answer(scope, receive, send)


class _Guard:
    def __init__(self, door: Door) -> None:
        self._door = door
        self._failures: deque[int] = deque(maxlen=FAILURES)

    async def __call__(self, request: Request, path: str, methods: Mapping[str, Route]) -> Response:
        try:
            return await self._answer(request, path, methods)
        except LictorError as error:
            return problem(error)
        except ClientDisconnect:
            raise
        except Exception as error:  # noqa: BLE001 - the last door: a defect of ours is a refusal, and is told to the operator
            self._door.on_defect(error)
            return problem(OperatorError(Reason.INTERNAL, "something went wrong here; nothing was opened"))

    async def _answer(self, request: Request, path: str, methods: Mapping[str, Route]) -> Response:
        self._check_sender(request)
        row = methods.get(request.method)
        if row is not None and row.who is OPEN:
            return await self._open(request, row)
        if row is None and request.scope["path"].startswith(AGENTS):
            raise _unserved(request.method, path, methods)  # an agent that looks around there is where it belongs
        caller = await self._authenticate(request, row)
        if row is None:
            raise _unserved(request.method, path, methods)
        if caller.roles.isdisjoint(row.who):
            raise CallerError(Reason.FORBIDDEN, f"this is for {' or '.join(sorted(row.who))} only")
        if row.raw is not None:
            return _with_headers(await row.raw(request))
        return await self._handle(request, row, caller)

    async def _open(self, request: Request, row: Route) -> Response:
        if row.raw is not None:
            return _with_headers(await row.raw(request))
        raise OperatorError(Reason.INTERNAL, f"{row.path} is open and has no raw handler")

    async def _handle(self, request: Request, row: Route, caller: Caller) -> Response:
        if row.handler is None:
            raise OperatorError(Reason.INTERNAL, f"{row.path} has no handler")
        call = Call(
            caller=caller,
            path=dict(request.path_params),
            query=_query(request, row.query),
            key=_key(request) if row.keyed else "",
            body=await self._body(request, row.body),
        )
        reply = await row.handler(call)
        status = reply.status or row.status
        content = b"" if reply.value is None else msgspec.json.encode(reply.value)
        return Response(
            content,
            status_code=status,
            headers={**HEADERS, **reply.headers},
            media_type="application/json" if content else None,
        )

    # -- who sends it ----------------------------------------------------------------------------------------------------

    def _check_sender(self, request: Request) -> None:
        """Host (DNS rebinding, CVE-2025-49596) and, where a browser sends it, the page's origin."""
        host = only_one(request, "host").lower()
        if not _HOST.fullmatch(host):
            raise Turned(400, Reason.BAD_HOST, "the host field is not one host")
        if host not in self._door.hosts:
            raise Turned(421, Reason.BAD_HOST, "this host name is not served here")
        if only_one(request, "origin") not in {"", self._door.public_url}:
            raise Turned(403, Reason.BAD_ORIGIN, "pages of other sites have no business here")

    async def _authenticate(self, request: Request, row: Route | None) -> Caller:
        scheme, _, credential = only_one(request, "authorization").partition(" ")
        presented = Presented(
            scheme=scheme.lower(),
            credential=credential.strip(" "),
            method=request.method,
            url=f"{self._door.public_url}{request.scope['path']}",
            dpop=only_one(request, "dpop"),
        )
        try:
            return await self._door.callers(presented)
        except AgentCalledError as error:
            where = f"{row.method} {row.path}" if row is not None else "no route"
            await self._door.alarm(error.agent, error.task, where)
            raise
        except CallerError:
            self._too_many()
            raise

    def _too_many(self) -> None:
        """Bound what guessing costs us (ADMN-02). Only failures are counted and turned away: nobody is locked out by others."""
        now = self._door.clock.now_ms()
        full = len(self._failures) == FAILURES and 0 <= now - self._failures[0] < FAILURES_WINDOW_MS
        if full:
            raise Turned(
                429,
                Reason.OVERLOADED,
                "too many requests without a valid credential",
                headers={"Retry-After": str(FAILURES_WINDOW_MS // 1_000)},
            )
        self._failures.append(now)

    # -- what it says ----------------------------------------------------------------------------------------------------

    async def _body(self, request: Request, type_: type[msgspec.Struct] | None) -> Any:
        if type_ is None:
            return None
        check_json(request)
        parsed = read(await read_body(request), self._door.limits, max_bytes=MAX_BODY)
        return convert(_whole(parsed.value) if parsed.floats else parsed.value, type_)


def check_json(request: Request) -> None:
    """What a request says of its body.

    Raises:
        Turned: 415: it is not JSON, or compressed.
    """
    kind = only_one(request, "content-type").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Turned(415, Reason.INVALID_MESSAGE, "send application/json")
    if only_one(request, "content-encoding") not in {"", "identity"}:
        raise Turned(415, Reason.INVALID_MESSAGE, "send it uncompressed")


async def read_body(request: Request, most: int = MAX_BODY) -> bytes:
    """A request's body, bounded in size and time.

    Raises:
        CallerError: `too_large`; `invalid_message`: it did not arrive in time.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise CallerError(Reason.TOO_LARGE, f"a request's body is at most {most} bytes")
                parts.append(chunk)
    except TimeoutError:
        raise CallerError(Reason.INVALID_MESSAGE, "the body did not arrive in time") from None
    return b"".join(parts)


def convert(value: Any, type_: Any) -> Any:
    """A JSON value as a typed struct; unknown members and wrong types are refused with their place.

    Raises:
        CallerError: `invalid_arguments`.
    """
    try:
        return msgspec.convert(value, type_, strict=True)
    except msgspec.ValidationError as error:
        found = _AT.fullmatch(str(error))
        said, path = (found["said"], found["path"] or "") if found else (str(error), "")
        where = re.sub(r"[.\[]|\]", "/", path).replace("//", "/").rstrip("/")
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{said[:1].lower()}{said[1:]}"[:300], where=where) from None


def _whole(value: Any) -> Any:
    """Numbers without a fraction as integers: `1.0` is one to JSON Schema, and none of our members has a fraction."""
    if isinstance(value, dict):
        return {name: _whole(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def only_one(request: Request, name: str) -> str:
    """A header field that may be there once."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise CallerError(Reason.DUPLICATE_HEADER, f"the field {name!r} is there {len(values)} times")
    return values[0] if values else ""


def _key(request: Request) -> str:
    if "idempotency-key" not in request.headers:
        return ""
    key = only_one(request, "idempotency-key")
    if not _KEY.fullmatch(key):
        raise CallerError(Reason.INVALID_ARGUMENTS, "an Idempotency-Key is 1 to 200 printable ASCII characters")
    return key


def _query(request: Request, type_: type[msgspec.Struct] | None) -> Any:
    raw: bytes = request.scope.get("query_string", b"")
    if len(raw) > MAX_QUERY:
        raise CallerError(Reason.TOO_LARGE, f"a query is at most {MAX_QUERY} bytes")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=bool(raw), max_num_fields=20)
    except ValueError:
        raise CallerError(Reason.INVALID_ARGUMENTS, "the query cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CallerError(Reason.INVALID_ARGUMENTS, "a query has each parameter once")
    known = () if type_ is None else type_.__struct_fields__
    unknown = sorted(found.keys() - set(known))
    if unknown:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"{unknown[0]!r:.80} is no parameter of this")
    if type_ is None:
        return None
    try:
        return msgspec.convert(found, type_, strict=False)
    except msgspec.ValidationError as error:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"query: {str(error)[:200]}") from None


def _unserved(method: str, path: str, methods: Mapping[str, Route]) -> CallerError:
    if not path:
        return Turned(404, Reason.UNKNOWN_METHOD, "there is nothing here")
    allow = ", ".join(sorted(methods))
    return Turned(405, Reason.UNKNOWN_METHOD, f"{method[:20]!r} is not served here", headers={"Allow": allow})


def _with_headers(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def serves(path: str) -> bool:
    """Whether a request's path belongs to this application and not to the console."""
    return path.startswith(("/v1/", AGENTS, "/oauth/", "/.well-known/")) or path == "/v1"
