"""The door before every route, without a gateway: who gets through, what is read, and what a mistake in the table looks like."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lictor.api.caller import ANYBODY, OPERATORS, AgentCalledError, Caller, Presented
from lictor.api.web import FAILURES, MAX_BODY, OPEN, Call, Door, Reply, Route, api_app, serves
from lictor.model.errors import CallerError, ConflictError, OperatorError, StoreError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.testing.clock import ManualClock

HOST = "gateway.example"
CALLERS = {
    "person": Caller(opener=Opener(kind="person", name="os:ann")),
    "operator": Caller(opener=Opener(kind="person", name="os:ann"), operator=True),
    "application": Caller(opener=Opener(kind="application", name="desk")),
}


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    number: int = 0


async def known(presented: Presented) -> Caller:
    if presented.scheme != "bearer" or presented.credential not in {*CALLERS, "agent", "defect"}:
        raise CallerError(Reason.UNAUTHENTICATED, "nobody")
    if presented.credential == "agent":
        raise AgentCalledError(AgentId("helper"), TaskId("task_1"))
    if presented.credential == "defect":
        raise RuntimeError("secret words")
    return CALLERS[presented.credential]


@dataclass
class World:
    """An application with a few rows, and what was told to whom."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1_000_000))
    alarms: list[tuple[str, str | None, str]] = field(default_factory=list)
    defects: list[Exception] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    raises: Exception | None = None

    def app(self, *more: Route) -> Any:
        async def alarm(agent: AgentId, task: TaskId | None, route: str) -> None:
            self.alarms.append((agent, task, route))

        async def handle(call: Call) -> Reply:
            self.calls.append(call)
            if self.raises is not None:
                raise self.raises
            return Reply(value={"ok": True})

        async def alive(_: Request) -> Response:
            return JSONResponse({"alive": True})

        rows = [
            Route(method="GET", path="/v1/things/{thing}", who=ANYBODY, handler=handle, summary="s"),
            Route(method="POST", path="/v1/things", who=ANYBODY, handler=handle, summary="s", body=Body, keyed=True),
            Route(method="DELETE", path="/v1/things", who=OPERATORS, handler=handle, summary="s"),
            Route(method="GET", path="/v1/healthz", who=OPEN, raw=alive, summary="s"),
            *more,
        ]
        door = Door(
            callers=known,  # type: ignore[arg-type]
            alarm=alarm,
            clock=self.clock,
            limits=Limits(),
            hosts=frozenset({HOST}),
            public_url=f"https://{HOST}",
            on_defect=self.defects.append,
        )
        return api_app(door, rows)


def ask(
    app: Any,
    method: str,
    path: str,
    who: str = "",
    body: bytes = b"",
    headers: list[tuple[str, str]] | None = None,
    chunks: Callable[[], Awaitable[dict[str, Any]]] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """One request; `headers` in place of the usual ones."""
    sent = [("host", HOST), ("content-type", "application/json")] if headers is None else headers
    if who:
        sent = [*sent, ("authorization", f"Bearer {who}")]
    told: dict[str, Any] = {"body": b""}
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if chunks is not None:
            return await chunks()
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "http.response.start":
            told["status"] = event["status"]
            told["headers"] = {k.decode(): v.decode() for k, v in event["headers"]}
        else:
            told["body"] += event.get("body", b"")

    bare, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": bare,
        "raw_path": bare.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(k.encode(), v.encode()) for k, v in sent],
        "client": None,
        "server": None,
    }
    asyncio.run(app(scope, receive, send))
    return told.get("status", 0), told.get("headers", {}), told["body"]


def unguarded(app: Any) -> list[tuple[str, str]]:
    """Rows that answer a stranger: the walk of the route table."""
    found = []
    for route in app.routes:
        for method in route.app._methods:
            status, _, _ = ask(app, method, route.path.replace("{", "").replace("}", ""), body=b"{}")
            if status != 401:
                found.append((method, route.path))
    return found


def test_only_open_rows_answer_a_stranger() -> None:
    """The walk finds the health row and nothing else."""
    assert unguarded(World().app()) == [("GET", "/v1/healthz")]


def test_a_row_that_was_left_open_is_found() -> None:
    """Control: one row with nobody in `who`, and the same walk names it."""

    async def careless(_: Request) -> Response:
        return JSONResponse({})

    row = Route(method="POST", path="/v1/seal", who=OPEN, raw=careless, summary="s")
    assert ("POST", "/v1/seal") in unguarded(World().app(row))


@pytest.mark.parametrize(("who", "status"), [("person", 403), ("application", 403), ("operator", 200)])
def test_a_row_is_for_its_roles(who: str, status: int) -> None:
    """A person is no operator by being one of us."""
    world = World()
    assert ask(world.app(), "DELETE", "/v1/things", who)[0] == status
    assert len(world.calls) == (status == 200)


def test_an_agent_raises_the_alarm_by_the_row_it_called() -> None:
    """The row's own words go into the log, not the request's."""
    world = World()
    assert ask(world.app(), "GET", "/v1/things/x%0aevil", "agent")[0] == 403
    assert ask(world.app(), "GET", "/v1/nowhere", "agent")[0] == 403
    assert world.alarms == [("helper", "task_1", "GET /v1/things/{thing}"), ("helper", "task_1", "no route")]


def test_a_defect_is_a_refusal_and_no_confession() -> None:
    """500 without a word of what went wrong; the operator hears it."""
    world = World()
    status, headers, body = ask(world.app(), "GET", "/v1/things/a", "defect")
    assert status == 500
    assert b"secret words" not in body
    assert headers["cache-control"] == "no-store"
    assert len(world.defects) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConflictError(Reason.TASK_CLOSED, "x"), 409),
        (ConflictError(Reason.DELEGATION, "x"), 403),
        (StoreError(Reason.CANNOT_RECORD, "x"), 503),
        (StoreError(Reason.LOG_DAMAGED, "x"), 503),
        (OperatorError(Reason.NO_POLICY, "x"), 503),
        (CallerError(Reason.UNKNOWN_TASK, "x"), 404),
        (CallerError(Reason.DUPLICATE_KEY, "x"), 400),
        (OperatorError(Reason.BUNDLE_REFUSED, "x"), 500),
    ],
)
def test_a_refusal_has_the_status_of_its_reason(error: Exception, status: int) -> None:
    """By reason, else by the party at fault."""
    world = World(raises=error)
    told, headers, body = ask(world.app(), "GET", "/v1/things/a", "person")
    assert told == status == json.loads(body)["status"]
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == f"urn:lictor:reason:{error.reason.value}"  # type: ignore[attr-defined]


def test_405_names_every_method_of_the_path_and_only_to_the_known() -> None:
    """Rows of one path answer together."""
    status, headers, _ = ask(World().app(), "PATCH", "/v1/things", "person")
    assert (status, headers["allow"]) == (405, "DELETE, POST")
    assert ask(World().app(), "PATCH", "/v1/things")[0] == 401
    assert ask(World().app(), "HEAD", "/v1/things/a", "person")[0] == 405


@pytest.mark.parametrize(
    "headers",
    [
        [("host", HOST), ("host", HOST)],
        [("host", HOST), ("authorization", "Bearer person"), ("authorization", "Bearer operator")],
        [("host", HOST), ("content-type", "application/json"), ("content-type", "text/plain")],
        [("host", HOST), ("content-type", "application/json"), ("idempotency-key", "a"), ("idempotency-key", "b")],
    ],
)
def test_a_field_is_there_once(headers: list[tuple[str, str]]) -> None:
    """Two readers would take different ones."""
    world = World()
    who = "" if any(name == "authorization" for name, _ in headers) else "person"
    assert ask(world.app(), "POST", "/v1/things", who, b"{}", headers)[0] == 400
    assert not world.calls


def test_a_body_that_never_ends_is_cut() -> None:
    """No more than the bound is ever held."""
    world, given = World(), 0

    async def endless() -> dict[str, Any]:
        nonlocal given
        given += 65_536
        return {"type": "http.request", "body": b" " * 65_536, "more_body": True}

    assert ask(world.app(), "POST", "/v1/things", "person", chunks=endless)[0] == 413
    assert given <= MAX_BODY + 2 * 65_536


def test_a_stranger_s_body_is_not_read() -> None:
    """Who is not known costs no memory."""

    async def never() -> dict[str, Any]:
        raise AssertionError("it was read")

    assert ask(World().app(), "POST", "/v1/things", chunks=never)[0] == 401


def test_failures_are_limited_and_successes_are_not() -> None:
    """The window moves on; a known sender is never turned away for others."""
    world = World()
    app = world.app()
    statuses = [ask(app, "GET", "/v1/things/a", "guess")[0] for _ in range(FAILURES + 2)]
    assert statuses == [401] * FAILURES + [429] * 2
    assert ask(app, "GET", "/v1/things/a", "person")[0] == 200
    world.clock.advance(10_001)
    assert ask(app, "GET", "/v1/things/a", "guess")[0] == 401


def test_a_number_without_fraction_is_an_integer() -> None:
    """As JSON Schema has it; one with a fraction is none."""
    world = World()
    assert ask(world.app(), "POST", "/v1/things", "person", b'{"number": 2.0}')[0] == 200
    assert world.calls[0].body.number == 2
    assert ask(world.app(), "POST", "/v1/things", "person", b'{"number": 2.5}')[0] == 422


def test_a_table_with_a_row_twice_or_without_handler_is_refused() -> None:
    """At the start, not at the first request."""

    async def handle(_: Call) -> Reply:
        return Reply()

    for row in (
        Route(method="DELETE", path="/v1/things", who=ANYBODY, handler=handle, summary="s"),
        Route(method="GET", path="/v1/nothing", who=ANYBODY, summary="s"),
    ):
        with pytest.raises(OperatorError):
            World().app(row)


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        ("/v1/tasks", True),
        ("/v1", True),
        ("/v1x", False),
        ("/", False),
        ("/oauth/token", True),
        ("/.well-known/x", True),
    ],
)
def test_which_paths_are_ours(path: str, ours: bool) -> None:
    """Everything below, nothing beside."""
    assert serves(path) is ours
