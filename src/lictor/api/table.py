"""The whole table of routes: health, the document, tasks, and what other modules add. Every row says who may call it."""

from collections.abc import Callable, Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from lictor.api.caller import ANYBODY
from lictor.api.openapi import document
from lictor.api.tasks import Desk, task_routes
from lictor.api.web import OPEN, Call, Reply, Route


def table(desk: Desk, *, ready: Callable[[], bool], ttl_s: int, url: str, more: Sequence[Route] = ()) -> list[Route]:
    """Every row.

    Args:
        desk: what the task routes need.
        ready: whether a decision could be made and recorded now.
        ttl_s: the longest life of a task.
        url: of this server.
        more: rows of other modules (containment, token service, metadata).
    """
    rows = [*health(ready), *task_routes(desk), *more]
    described = msgspec.json.encode(document([*rows, _document_row(b"")], url=url, ttl_s=ttl_s))
    return [*rows, _document_row(described)]


def health(ready: Callable[[], bool]) -> list[Route]:
    """The two rows that tell anybody anything: alive, and ready. They say nothing else."""

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    async def able(_: Request) -> Response:
        is_ready = ready()
        return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)

    return [
        Route(method="GET", path="/v1/healthz", who=OPEN, raw=alive, summary="Alive", described=False),
        Route(method="GET", path="/v1/readyz", who=OPEN, raw=able, summary="Ready to decide", described=False),
    ]


def _document_row(described: bytes) -> Route:
    async def show(_: Call) -> Reply:
        return Reply(value=msgspec.Raw(described))

    return Route(
        method="GET",
        path="/v1/openapi.json",
        who=ANYBODY,
        handler=show,
        summary="This document",
        described=False,
    )
