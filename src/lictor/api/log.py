"""The log as others may fetch it: checkpoint and hash tiles (C2SP tlog-tiles), and to operators the entries.

Off by default. Hashes tell nobody what happened; that something did, and how often, they tell. Refuses to know where hashes are
kept and how they are computed.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from lictor.api.caller import OPERATORS
from lictor.api.web import OPEN, Route
from lictor.model.errors import StoreError
from lictor.records.tiles import Tile, read_path

PREFIX: Final = "/log/"
_FOREVER: Final = "public, max-age=31536000, immutable"
_SECONDS: Final = "no-cache"

Checkpoint = Callable[[], str]
"""The newest checkpoint, with whatever cosignatures there are."""
Tiles = Callable[[Tile], Awaitable[bytes | None]]
"""The bytes of a tile, or of the bundle that `Tile.level` -1 stands for; None: it is not in the log."""


def log_routes(checkpoint: Checkpoint, tiles: Tiles, *, entries: bool, statements: str = "") -> list[Route]:
    """The rows of the table.

    Args:
        checkpoint: what is served at `/log/checkpoint`.
        tiles: what is served below `/log/tile/`.
        entries: whether entry bundles are served, to operators.
        statements: how the log's keys follow from each other, served at `/log/keys`; empty: it has its first one.
    """

    async def newest(_: Request) -> Response:
        return _plain(checkpoint())

    async def keys(_: Request) -> Response:
        return _plain(statements)

    async def tile(request: Request) -> Response:
        return await _tile(request.path_params["rest"])

    async def bundle(request: Request) -> Response:
        return await _tile(f"entries/{request.path_params['rest']}", _SECONDS)

    async def _tile(rest: str, caching: str = _FOREVER) -> Response:
        try:
            named = read_path(f"tile/{rest}")
        except StoreError:
            return Response("not the path of a tile\n", 404, media_type="text/plain")
        data = await tiles(named)
        if data is None:
            return Response("the log has no such tile\n", 404, media_type="text/plain")
        return Response(data, headers={"Cache-Control": caching}, media_type="application/octet-stream")

    rows = [_row("/log/checkpoint", newest, "The newest signed checkpoint")]
    if statements:
        rows.append(_row("/log/keys", keys, "How the log's keys handed over to each other"))
    if entries:  # before the hashes: the first row that fits answers
        rows.append(
            Route(
                method="GET",
                path="/log/tile/entries/{rest:path}",
                who=OPERATORS,
                raw=bundle,
                summary="Records, 256 to a bundle",
                described=False,
            )
        )
    return [*rows, _row("/log/tile/{rest:path}", _hashes_only(tile), "Hashes, 256 to a tile")]


def _hashes_only(tile: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Entries are never served from the row that anybody may call, whatever stands before it."""

    async def guarded(request: Request) -> Response:
        if request.path_params["rest"].startswith("entries"):
            return Response("records are not served here\n", 404, media_type="text/plain")
        return await tile(request)

    return guarded


def _row(path: str, raw: Callable[[Request], Awaitable[Response]], summary: str) -> Route:
    return Route(method="GET", path=path, who=OPEN, raw=raw, summary=summary, described=False)


def _plain(text: str) -> Response:
    return Response(text, headers={"Cache-Control": _SECONDS}, media_type="text/plain; charset=utf-8")
