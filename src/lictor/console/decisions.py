"""The room of decisions: all of them, newest first, live and filtered; and each in full, with why it came out so.

A decision's address is its number in the log, so it never changes; `/requests/{id}` leads there. Refuses to know policy: whoever
explains is called.
"""

import asyncio
from typing import Final

from starlette.responses import Response

from lictor.console.decisions_told import ingredients, tell
from lictor.console.decisions_view import ANSWERS, REASONS, WITHIN, index_of, line_of, query_of
from lictor.console.rooms import OpenRow, Role, Rooms, Row, Visit
from lictor.model.ids import RequestId
from lictor.service.evidence.examined import Kept

NAV: Final = "decisions"
PAGE: Final = 50
_MAY_ASK: Final = frozenset({Role.AUTHOR, Role.OPERATOR})
"""Who may ask what would be decided on other facts."""


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    room = _Decisions(rooms)
    return [
        Row(method="GET", path="/decisions", handler=room.list),
        Row(method="GET", path="/decisions/{seq}", handler=room.one),
        Row(method="GET", path="/requests/{request}", handler=room.of_request),
    ]


class _Decisions:
    def __init__(self, rooms: Rooms) -> None:
        self._index = index_of(rooms)
        self._kept = Kept(rooms.console.store)
        self._explaining = asyncio.Semaphore(1)

    async def list(self, visit: Visit) -> Response:
        """A page of decisions."""
        query = query_of(visit)
        before = visit.number("before", -1, least=0)
        first = before < 0
        found = await self._index.page(query.sought(visit.now_ms), before=None if first else before, limit=PAGE)
        store = visit.console.store
        return visit.page(
            "decisions.html",
            title="Live decisions",
            nav=NAV,
            live=first,
            lines=[line_of(store, self._index, made, visit.now_ms) for made in found.rows],
            query=query,
            first=first,
            newer="" if first else query.address(),
            older=query.address(found.next) if found.next is not None else "",
            searched=found.searched,
            agents=sorted(visit.pdp.agents),
            answers=ANSWERS,
            reasons=REASONS,
            spans=WITHIN,
        )

    async def one(self, visit: Visit) -> Response:
        """A decision in full."""
        seq = visit.path("seq")
        found = self._index.one(int(seq)) if seq.isdecimal() and len(seq) < 17 else None
        if found is None:
            return visit.missing("decision")
        made, records = found
        store = visit.console.store
        parts = ingredients(store, self._kept, made, records)
        async with self._explaining:  # one at a time: explaining takes the processor from agents
            told = await asyncio.to_thread(tell, parts, self._kept)
        state = store.task(made.task)
        return await visit.large_page(
            "decision.html",
            title=made.action or "Turned away",
            nav=NAV,
            told=told,
            line=line_of(store, self._index, made, visit.now_ms),
            purpose=state.task.purpose if state is not None else "",
            may_ask=not _MAY_ASK.isdisjoint(visit.roles),
            breaks_glass=told.overridable and told.hold is None and Role.OVERRIDER in visit.roles,
        )

    async def of_request(self, visit: Visit) -> Response:
        """To the decision on a request."""
        seq = await self._index.find(RequestId(visit.path("request")))
        return visit.missing("request") if seq is None else visit.to(f"/decisions/{seq}")
