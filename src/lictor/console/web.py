"""The console: its rooms' routes behind one guard. A GET changes nothing (BIND-18).

For every request, in this order: (1) the host is one of ours (DNS rebinding); (2) a POST comes from our own origin; (3) somebody
is signed in; (4) they have the route's role; (5) a POST has the sign-in's token; (6) what a handler refuses becomes a page.
Refuses to know what the rooms show, and policy.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lictor.console import (
    account,
    agents,
    approvals,
    containment,
    decisions,
    holds,
    policies,
    records,
    story,
    tools,
)
from lictor.console.events import Changes
from lictor.console.forms import plausible, read_form
from lictor.console.frame import HEADERS, STATIC
from lictor.console.rooms import Console, OpenRow, Rooms, Row, Visit, redirect
from lictor.console.signin import same
from lictor.model.errors import LictorError
from lictor.model.reasons import Reason

__all__ = ["Console", "console_app"]

ROOMS: Final = (account, approvals, holds, decisions, story, agents, tools, policies, records, containment)
"""Every room, in the order of the navigation."""
_DAY: Final = 86_400

Endpoint = Callable[[Request], Awaitable[Response]]


def console_app(console: Console) -> Starlette:
    """The console as an ASGI application."""
    rooms = Rooms(console)
    guard = _Guard(rooms)
    rows: list[Row | OpenRow] = [
        Row(method="GET", path="/events", handler=Changes(rooms).stream),
        OpenRow(method="GET", path="/static/{name}", handler=_static),
        OpenRow(method="GET", path="/healthz", handler=_Health(console)),
    ]
    rows += [row for room in ROOMS for row in room.routes(rooms)]
    app = Starlette(
        routes=[Route(row.path, guard.endpoint(row), methods=[row.method]) for row in rows],
        exception_handlers={HTTPException: guard.refused},
    )
    # A redirect to the path without its slash would be made before the guard looks, from a host that nobody checked.
    app.router.redirect_slashes = False
    return app


class _Guard:
    """Around every route."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def endpoint(self, row: Row | OpenRow) -> Endpoint:
        """The route of a row, guarded."""

        async def guarded(request: Request) -> Response:
            return _strict(await self._answered(row, request))

        return guarded

    async def _answered(self, row: Row | OpenRow, request: Request) -> Response:
        stranger = self._stranger(request)
        if stranger is not None:
            return stranger
        try:
            return await (row.handler(request) if isinstance(row, OpenRow) else self._visited(row, request))
        except LictorError as error:
            status = 503 if error.reason is Reason.CANNOT_RECORD else 409
            return self._rooms.message("Not done", f"{error.message} ({error.reason.value})", status, request)
        except Exception as error:
            if self._rooms.console.defect is None:
                raise
            # Whatever no page foresaw is told to the operator, not to the browser.
            self._rooms.console.defect(error)
            return self._rooms.message("Not done", f"a defect of the console ({Reason.INTERNAL.value})", 500)

    def _stranger(self, request: Request) -> Response | None:
        """The refusal of a request that is not meant for us or not made by a page of ours; None: it is."""
        if request.headers.get("host", "").lower() not in self._rooms.console.hosts:
            return self._rooms.message("Not here", "this name is not served", 421)
        if request.method != "POST":
            return None
        # Browsers send an origin with every POST; what sends none is no browser, and has no cookie of one either.
        elsewhere = request.headers.get("origin") not in {*self._rooms.origins(request), None}
        if elsewhere or request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return self._rooms.message("Refused", "the form came from another site", 403)
        return None

    async def _visited(self, row: Row, request: Request) -> Response:
        signed_in = self._rooms.signed_in(request)
        if signed_in is None:
            return _to_login(request)
        roles = self._rooms.console.policy.current().approvers.roles_of(signed_in.human)
        if row.role not in roles:
            return self._rooms.message("Not for you", f"this needs the role {row.role.value}", 403, request)
        form = {}
        if row.method == "POST":
            form = dict(await read_form(request, row.most_bytes))
            if not same(form.get("csrf", ""), signed_in.csrf):
                return self._rooms.message("Refused", "the form had expired; open the page again", 403, request)
        return await row.handler(Visit(rooms=self._rooms, request=request, signed_in=signed_in, roles=roles, form=form))

    async def refused(self, request: Request, error: Exception) -> Response:
        """No such page, or not by this method."""
        stranger = self._stranger(request)
        status = error.status_code if isinstance(error, HTTPException) else 500
        text = "there is no such page" if status == 404 else "this page cannot be asked for like that"
        return stranger or self._rooms.message("Not found", text, status, request)


def _strict(response: Response) -> Response:
    """The frame's headers on whatever is sent: redirects, files, health. What says them itself keeps its own."""
    for name, value in HEADERS.items():
        if name != "Content-Type":  # what is no page has its own, or none
            response.headers.setdefault(name, value)
    return response


def _to_login(request: Request) -> Response:
    """To the sign-in; a link to a hold is kept. A fragment's request reloads the page, which then leads there."""
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Refresh": "true", "Cache-Control": "no-store"})
    hold = str(request.path_params.get("hold", ""))
    return redirect(f"/login?hold={hold}" if plausible(hold) else "/login")


class _Health:
    """Ready: a policy is in force and decisions can be recorded. Says nothing else."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def __call__(self, _: Request) -> Response:
        ready = self._console.policy.ready and self._console.recording()
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)


async def _static(request: Request) -> Response:
    """One of the files that pages load; by a name we know, never by a path."""
    found = STATIC.get(str(request.path_params["name"]))
    if found is None:
        return Response("not found", status_code=404, media_type="text/plain")
    fresh = request.query_params.get("v") == found.tag
    headers = {
        "Cache-Control": f"max-age={365 * _DAY}, immutable" if fresh else "max-age=300",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    return Response(found.data, media_type=found.media, headers=headers)
