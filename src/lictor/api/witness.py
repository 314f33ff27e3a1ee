"""A witness over HTTP: C2SP tlog-witness, `add-checkpoint` and the newest checkpoint of each log.

There is no authentication but the log's own signature (tlog-witness, "Introduction"). What a request costs is bounded in bytes
and time. Refuses to know what is cosigned and why.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from lictor.api.web import read_body
from lictor.model.errors import CallerError, StoreError
from lictor.records.submission import MAX_BODY
from lictor.service.log.witness import Answer, Witness

_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def witness_app(witness: Witness, on_fault: Callable[[Exception], None]) -> Any:
    """The ASGI application.

    Args:
        witness: who cosigns.
        on_fault: told when what is kept cannot be read or written; the caller gets 503.
    """

    async def add(request: Request) -> Response:
        try:
            body = await read_body(request, MAX_BODY)
        except CallerError as error:
            return _sent(Answer(413 if "at most" in error.message else 408, f"{error.message}\n"))
        try:
            return _sent(await asyncio.to_thread(witness.add, body))
        except StoreError as error:
            on_fault(error)
            return _sent(Answer(503, "this witness cannot keep what it would cosign\n"))

    async def newest(request: Request) -> Response:
        try:
            note = await asyncio.to_thread(witness.newest, request.path_params["origin_hash"])
        except StoreError as error:
            on_fault(error)
            return _sent(Answer(503, "this witness cannot read what it cosigned\n"))
        return _sent(
            Answer(404, "no checkpoint of this log was cosigned here\n") if note is None else Answer(200, note)
        )

    app = Starlette(
        routes=[
            Route("/add-checkpoint", add, methods=["POST"]),
            Route("/{origin_hash:str}/checkpoint", newest, methods=["GET"]),
        ]
    )

    async def entry(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            return

    return entry


def _sent(answer: Answer) -> Response:
    # Set by hand: the specification's type has no charset behind it.
    return Response(answer.body, status_code=answer.status, headers={**_HEADERS, "Content-Type": answer.media})
