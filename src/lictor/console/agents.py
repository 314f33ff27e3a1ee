"""The room of agents: who is registered, who answers for them, what they do, and what they may do without ever needing it.

Nothing is changed here: the registry is a file of the bundle, and every change of it is a command that shows its difference and
is recorded. The pages say which. Refuses to edit files.
"""

from collections.abc import Sequence
from typing import Final

from starlette.responses import Response

from lictor.console.agents_view import (
    MAX_DID,
    MAX_REACH,
    alive,
    cards_of,
    did_of,
    proof_words,
    reach_of,
    surplus_of,
    usage_of,
)
from lictor.console.decisions_view import index_of
from lictor.console.rooms import OpenRow, Rooms, Row, Visit
from lictor.console.story_view import budgets_of, laid_on_task
from lictor.model.containment import Scope
from lictor.model.ids import AgentId
from lictor.model.task import TaskState
from lictor.service.calls.registered import laid_on
from lictor.service.evidence.examined import Kept
from lictor.service.registry import state_of

NAV: Final = "agents"
MAX_TASKS: Final = 20
MAX_SURPLUS: Final = 20
"""Permits whose surplus is shown; how many more there are is said."""


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    room = _Agents(rooms)
    return [
        Row(method="GET", path="/agents", handler=room.list),
        Row(method="GET", path="/agents/{agent}", handler=room.one),
    ]


class _Agents:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._store = rooms.console.store
        self._index = index_of(rooms)
        self._kept = Kept(rooms.console.store)

    async def list(self, visit: Visit) -> Response:
        """The registry."""
        rows = await self._index.newest()
        cards = cards_of(visit.pdp, self._tasks(), self._store.containments(), rows, visit.now_ms)
        since = rows[0].at_ms if rows else visit.now_ms
        return visit.page("agents.html", title="Agents", nav=NAV, cards=cards, counted=len(rows), since=since)

    async def one(self, visit: Visit) -> Response:
        """One agent."""
        agent = visit.pdp.agents.get(AgentId(str(visit.request.path_params["agent"])))
        if agent is None:
            return visit.missing("agent")
        now, laid = visit.now_ms, self._store.containments()
        rows = await self._index.newest()
        did = did_of(rows, agent.id)
        mine = [one for one in self._tasks() if one.task.agent == agent.id]
        running = [one for one in mine if alive(one, now)]
        ids = {one.task.id for one in running}
        usage = usage_of(self._store, visit.pdp, rows)
        files = self._kept.files(visit.pdp.revision)
        pdp = visit.pdp
        surplus = await self._rooms.aside(
            visit.human, lambda: surplus_of(self._kept.load(pdp.revision, files), agent.id, usage)
        )
        return visit.page(
            "agent.html",
            title=agent.id,
            nav=NAV,
            agent=agent,
            state=state_of(agent, now, laid),
            proofs=[proof_words(one) for one in visit.pdp.proofs.get(agent.id, ())],
            laid=[*laid_on(agent, laid), *(one for one in laid if one.scope is Scope.TASK and one.target in ids)],
            running=[(one, budgets_of(one)[0], bool(laid_on_task(one, agent, laid))) for one in running[:MAX_TASKS]],
            more_running=max(0, len(running) - MAX_TASKS),
            ended=len(mine) - len(running),
            did=did[:MAX_DID],
            more_did=max(0, len(did) - MAX_DID),
            counted=len(rows),
            since=rows[0].at_ms if rows else now,
            reach=reach_of(visit.pdp, agent.id),
            most_reach=MAX_REACH,
            surplus=surplus[:MAX_SURPLUS],
            more_surplus=max(0, len(surplus) - MAX_SURPLUS),
            now=now,
        )

    def _tasks(self) -> Sequence[TaskState]:
        return self._rooms.while_same("tasks", self._store.tasks)
