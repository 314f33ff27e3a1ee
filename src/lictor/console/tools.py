"""The room of tools: what servers offer beside what a person looked at, and what changed since.

Definitions of servers are hostile text: they are shown, never obeyed and never served from here. Taking a change over is a
command that shows the same difference; the page says which. Refuses to re-pin.
"""

from typing import Final

from starlette.responses import Response

from lictor.console.rooms import OpenRow, Rooms, Row, Visit
from lictor.console.tools_view import KINDS, Key, sheet_of, shelves_of, troubles_of
from lictor.model.ids import ServerName

NAV: Final = "tools"
MAX_NAME: Final = 1_000
"""Characters of a thing's name (a resource's URI) in the query."""
_KINDS: Final = {kind.value: kind for kind in KINDS}


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    del rooms
    return [
        Row(method="GET", path="/tools", handler=catalogue),
        Row(method="GET", path="/tools/entry", handler=entry),
    ]


async def catalogue(visit: Visit) -> Response:
    """Every server's catalogue, and what is quarantined."""
    live = visit.console.offers
    shelves = shelves_of(visit.pdp, live)
    only = visit.word("server")
    return await visit.large_page(
        "tools.html",
        title="Tools",
        nav=NAV,
        live=True,
        shelves=[one for one in shelves if only in {"", one.server}],
        servers=[one.server for one in shelves],
        only=only,
        troubles=troubles_of(live),
    )


async def entry(visit: Visit) -> Response:
    """One thing in full, with what changed."""
    kind = _KINDS.get(visit.word("kind"))
    name = visit.word("name", MAX_NAME)
    if kind is None or not name:
        return visit.missing("tool")
    key: Key = (kind, ServerName(visit.word("server")), name)
    pdp, offers = visit.pdp, visit.console.offers
    sheet = await visit.rooms.aside(visit.human, lambda: sheet_of(pdp, key, offers))
    if sheet is None:
        return visit.missing("tool")
    return await visit.large_page("tool.html", title=f"{key[1]}/{name}", nav=NAV, sheet=sheet)
