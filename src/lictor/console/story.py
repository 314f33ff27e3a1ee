"""The room of tasks: which there are, and one's whole story: authority, budget, the flow of its data, and every step.

A story is told from where the task began, a page at a time. The flow is drawn from the newest steps, from what was sealed with
them; a task that lives refreshes its steps by itself. Refuses to judge: it shows.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from lictor.console.decisions_view import index_of
from lictor.console.flow import Picture, picture_of
from lictor.console.rooms import OpenRow, Rooms, Row, Visit
from lictor.console.story_view import (
    STATES,
    Wanted,
    bound_of,
    budgets_of,
    laid_on_task,
    moments_of,
    status_of,
    tree_of,
)
from lictor.model.action import ActionKind, action_name
from lictor.model.ids import ExecutionId, PolicyRevision, TaskId
from lictor.model.record import DecisionMade, RequestReceived
from lictor.model.task import TaskState
from lictor.pdp.decide import Pdp
from lictor.service.evidence.decisions import Made, Sought
from lictor.service.evidence.examined import MAX_BUNDLES, Kept, sealed_facts
from lictor.service.evidence.flows import Asked, flow_of
from lictor.service.evidence.story import page_of

NAV: Final = "tasks"
LISTED: Final = 50
STEPS: Final = 50
FLOWING: Final = 200
"""The newest steps the flow is drawn from."""
_WITHOUT_PAUSE: Final = 20


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    room = _Story(rooms)
    return [
        Row(method="GET", path="/tasks", handler=room.list),
        Row(method="GET", path="/tasks/{task}", handler=room.one),
    ]


class _Story:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._store = rooms.console.store
        self._index = index_of(rooms)
        self._kept = Kept(rooms.console.store)

    async def list(self, visit: Visit) -> Response:
        """Tasks, newest first."""
        wanted = _wanted(visit)
        start, now = visit.number("from", 0), visit.now_ms
        tasks = [one for one in self._tasks() if wanted.fits(one, now)]
        page = tasks[start : start + LISTED]
        laid = self._store.containments()
        return visit.page(
            "tasks.html",
            title="Tasks",
            nav=NAV,
            live=start == 0,
            tasks=[(one, status_of(one, now), budgets_of(one)[0]) for one in page],
            restricted={one.task.id for one in page if laid_on_task(one, visit.pdp.agents.get(one.task.agent), laid)},
            total=len(tasks),
            wanted=wanted,
            states=STATES,
            agents=sorted(visit.pdp.agents),
            newer=wanted.address(max(0, start - LISTED)) if start else "",
            older=wanted.address(start + LISTED) if start + LISTED < len(tasks) else "",
            now=now,
        )

    async def one(self, visit: Visit) -> Response:
        """One task. With `part=steps` only what a page refreshes by itself is made; the rest is left out."""
        state = self._store.task(TaskId(visit.path("task")))
        if state is None:
            return visit.missing("task")
        refreshing = visit.word("part") == "steps"
        after = visit.number("after", 0)
        told = page_of(self._store, state, after=after, limit=STEPS)
        tree, more = ((), 0) if refreshing else tree_of(self._tasks(), state, visit.now_ms)
        picture, drawn = (None, 0) if refreshing else await self._picture(visit, state)
        return await visit.large_page(
            "task.html",
            title=f"Task of {state.task.agent}",
            nav=NAV,
            live=True,
            state=state,
            standing=status_of(state, visit.now_ms),
            now=visit.now_ms,
            budgets=budgets_of(state),
            contract=bound_of(state),
            erased=self._store.erased(state.task.id),
            laid=laid_on_task(state, visit.pdp.agents.get(state.task.agent), self._store.containments()),
            tree=tree,
            more_tree=more,
            moments=moments_of(self._store, told.steps),
            after=after,
            next=told.next,
            picture=picture,
            drawn=drawn,
            most_drawn=FLOWING,
        )

    def _tasks(self) -> Sequence[TaskState]:
        return self._rooms.while_same("tasks", self._store.tasks)

    # -- the flow of data ----------------------------------------------------------------------------------------------------

    async def _picture(self, visit: Visit, state: TaskState) -> tuple[Picture, int]:
        """The flow, placed, and from how many steps it is drawn."""
        found = await self._index.page(Sought(task=state.task.id), limit=FLOWING)
        asked: list[Asked] = []
        unread = 0
        for number, made in enumerate(reversed(found.rows)):
            if made.request and made.kind is not ActionKind.TASK:
                step = self._asked(made)
                unread += step is None
                asked += [step] if step is not None else []
            if number % _WITHOUT_PAUSE == 0:
                await asyncio.sleep(0)
        pdp = visit.pdp
        others = [one for one in dict.fromkeys(step.revision for step in asked) if one != pdp.revision][-MAX_BUNDLES:]
        files = {revision: self._kept.files(revision) for revision in others}
        placed = await self._rooms.aside(visit.human, lambda: self._placed(asked, pdp, files, unread))
        return placed, len(asked)

    def _placed(
        self, asked: Sequence[Asked], pdp: Pdp, files: dict[PolicyRevision, dict[str, bytes] | None], unread: int
    ) -> Picture:
        pdps: dict[PolicyRevision, Pdp | None] = {pdp.revision: pdp}
        for revision, found in files.items():
            loaded = self._kept.load(revision, found)
            pdps[revision] = None if isinstance(loaded, str) else loaded[1]
        flow = flow_of(asked, pdps.get)
        flow.unread = unread
        return picture_of(flow)

    def _asked(self, made: Made) -> Asked | None:
        """A step with its sealed facts; None: they are gone."""
        found = self._index.one(made.seq)
        records: dict[type[Any], Any] = {type(record): record for _, record in found[1]} if found is not None else {}
        asked, decided = records.get(RequestReceived), records.get(DecisionMade)
        if asked is None or decided is None:
            return None
        sealed = sealed_facts(self._store, asked, decided)
        if isinstance(sealed, str):
            return None
        started = self._store.execution(ExecutionId(made.execution)) if made.execution else None
        return Asked(
            action=action_name(made.kind, made.server, made.name),
            sealed=sealed,
            revision=decided.revision,
            ran=started is not None,
            labels=started.labels if started is not None else (),
        )


def _wanted(visit: Visit) -> Wanted:
    state = visit.word("state")
    return Wanted(
        agent=visit.word("agent").strip(), human=visit.word("human").strip(), state=state if state in STATES else ""
    )
