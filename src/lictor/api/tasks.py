"""`/v1/tasks`: open, look at, bind, hand on and close tasks, for people and applications.

Somebody else's task is not there: the answer is that of an id nobody has (ISOL-06). Refuses to know HTTP beyond statuses, and
policy: it calls use cases.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from lictor.api import shapes
from lictor.api.caller import ANYBODY, Caller
from lictor.api.owning import owned, owns
from lictor.api.problem import Turned
from lictor.api.web import Call, Reply, Route
from lictor.model.contract import Contract, ContractSource
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Budget, Task, TaskState, TaskStatus
from lictor.policy.contracts import contract_from
from lictor.ports import Clock, RecordStore
from lictor.service.evidence.story import page_of
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.contract import Contracts
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.opening import Open
from lictor.service.tasks.prospect import OpeningRefusedError
from lictor.service.tasks.tasks import Opened, Tasks, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the task routes need."""

    open: Open
    tasks: Tasks
    delegate: Delegate
    contracts: Contracts
    store: RecordStore
    policy: PolicyInForce
    clock: Clock
    audience: str
    check: Callable[[], None] = lambda: None
    """Raises StoreError while the newest state or the time is not known: nothing that gives authority is done then."""


def task_routes(desk: Desk) -> list[Route]:
    """The rows of the table."""
    tasks = _TaskRoutes(desk)
    one = "/v1/tasks/{task}"
    return [
        Route(
            method="POST",
            path="/v1/tasks",
            who=ANYBODY,
            handler=tasks.open,
            summary="Open a task: a decided, recorded action",
            body=shapes.Opening,
            answer=shapes.OpenedTask,
            status=201,
            makes="task",
            also=(200,),
            keyed=True,
            refuses=(409,),
        ),
        Route(
            method="GET",
            path="/v1/tasks",
            who=ANYBODY,
            handler=tasks.list,
            summary="Your tasks, newest first",
            query=shapes.ListQuery,
            answer=shapes.TaskList,
        ),
        Route(
            method="GET",
            path=one,
            who=ANYBODY,
            handler=tasks.show,
            summary="A task's whole story, paged",
            query=shapes.StoryQuery,
            answer=shapes.Story,
            refuses=(404,),
        ),
        Route(
            method="POST",
            path=f"{one}/close",
            who=ANYBODY,
            handler=tasks.close,
            summary="End a task's authority now",
            answer=shapes.TaskView,
            refuses=(404, 409),
        ),
        Route(
            method="POST",
            path=f"{one}/delegate",
            who=ANYBODY,
            handler=tasks.delegate,
            summary="Open a child task for another agent",
            body=shapes.Delegation,
            answer=shapes.OpenedTask,
            status=201,
            makes="task",
            also=(200,),
            keyed=True,
            refuses=(404, 409),
        ),
        Route(
            method="POST",
            path=f"{one}/contract",
            who=ANYBODY,
            handler=tasks.contract,
            summary="Bind a task to a contract, or say yes to it",
            body=shapes.ContractChange,
            answer=shapes.TaskView,
            refuses=(404, 409),
        ),
    ]


class _TaskRoutes:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def open(self, call: Call) -> Reply:
        """Open, or find again by its idempotency key."""
        body: shapes.Opening = call.body
        self._desk.check()
        wish = Wish(
            agent=AgentId(body.agent),
            human=HumanId(body.human),
            purpose=body.purpose,
            text=body.text,
            ttl_s=body.ttl_s,
            budget=Budget(calls=body.calls, value=body.value),
            declared=body.declared,
            contract=self._contract(body.contract, _source(call.caller)),
            bearer=body.bearer,
        )
        return await self._made(self._desk.open(call.caller.opener, wish, audience=self._desk.audience, key=call.key))

    async def _made(self, opening: Awaitable[Opened]) -> Reply:
        """A new task, or the one that was opened with the same key."""
        try:
            opened = await opening
        except OpeningRefusedError as refused:
            raise Turned(403, refused.reason, f"{refused.message}: {refused.request}", remedy=refused.remedy) from None
        state = self._desk.store.task(opened.task.id) or TaskState(task=opened.task)
        value = _opened(opened.task, _status(state, self._desk.clock.now_ms()), opened.token, repeated=opened.repeated)
        return Reply(value=value, status=200 if opened.repeated else 201, headers=_at(opened.task.id))

    async def list(self, call: Call) -> Reply:
        """A page of the caller's own."""
        query: shapes.ListQuery = call.query
        now = self._desk.clock.now_ms()
        own = [state for state in self._desk.store.tasks() if owns(self._desk.store, call.caller, state)]
        views = [_view(state, now) for state in own]
        if query.after:
            ids = [view.task for view in views]
            views = views[ids.index(query.after) + 1 :] if query.after in ids else []
        chosen = [view for view in views if query.state in {"", view.state}]
        page = tuple(chosen[: query.limit])
        following = page[-1].task if len(chosen) > len(page) else None
        return Reply(value=shapes.TaskList(tasks=page, next=following))

    async def show(self, call: Call) -> Reply:
        """State, children, leases, and a page of what was asked for."""
        query: shapes.StoryQuery = call.query
        state = self._own(call)
        store, task = self._desk.store, state.task
        page = page_of(store, state, after=query.after, limit=query.limit)
        story = shapes.Story(
            task=_view(state, self._desk.clock.now_ms()),
            children=tuple(one.task.id for one in store.descendants(task.id) if one.task.parents[0] == task.id),
            leases=tuple(
                shapes.LeaseView(
                    lease=lease.id,
                    credential=lease.credential,
                    server=lease.server,
                    destination=lease.destination,
                    status=lease.status.value,
                    expires_at_ms=lease.expires_at_ms,
                )
                for lease in store.leases(live_only=False)
                if lease.task == task.id
            ),
            steps=page.steps,
            next=page.next,
        )
        return Reply(value=story)

    async def close(self, call: Call) -> Reply:
        """End it."""
        state = self._own(call)
        await self._desk.tasks.close(state.task.id, by=call.caller.name)
        return self._now(state.task.id)

    async def delegate(self, call: Call) -> Reply:
        """A child task, less than its parent in every dimension."""
        body: shapes.Delegation = call.body
        self._desk.check()
        state = self._own(call)
        if state.status is not TaskStatus.OPEN:
            raise CallerError(Reason.TASK_CLOSED, "the task is closed")
        opening = self._desk.delegate(
            state.task.id,
            agent=AgentId(body.agent),
            ttl_s=body.ttl_s,
            budget=Budget(calls=body.calls, value=body.value),
            by=call.caller.name,
            text=body.text,
            contract=self._contract(body.contract, ContractSource.DRAFTED),
            key=call.key,
            opener=call.caller.opener,
        )
        return await self._made(opening)

    async def contract(self, call: Call) -> Reply:
        """Bind it, or confirm what it is bound to."""
        body: shapes.ContractChange = call.body
        state = self._own(call)
        if (body.bind is None) is (body.confirm is None):
            raise Turned(409, Reason.INVALID_ARGUMENTS, "say either bind or confirm")
        bound = self._contract(body.bind, _source(call.caller))
        if bound is not None:
            await self._desk.contracts.bind(state.task.id, bound, by=call.caller.name)
        elif call.caller.opener.kind == "person":
            self._desk.check()
            await self._desk.contracts.confirm(state.task.id, by=HumanId(call.caller.opener.name))
        else:
            raise CallerError(Reason.NOT_AN_APPROVER, "a contract is confirmed by the person the task is for")
        return self._now(state.task.id)

    # -- whose it is -----------------------------------------------------------------------------------------------------

    def _own(self, call: Call) -> TaskState:
        """The task of the path, if it is the caller's.

        Raises:
            CallerError: `unknown_task`: there is none, or none of the caller's: the answer is the same.
        """
        return owned(self._desk.store, call.caller, call.path["task"])

    def _now(self, task: TaskId) -> Reply:
        state = self._desk.store.task(task)
        if state is None:
            raise CallerError(Reason.UNKNOWN_TASK, "there is no such task")
        return Reply(value=_view(state, self._desk.clock.now_ms()))

    def _contract(self, clauses: shapes.Clauses | None, source: ContractSource) -> Contract | None:
        if clauses is None:
            return None
        try:
            return contract_from(msgspec.to_builtins(clauses), source, self._desk.policy.current())
        except CallerError as error:
            # Well-formed, but about what the bundle in force does not know: the request and the server's state disagree.
            raise Turned(409, error.reason, f"the contract does not fit the catalogue: {error.message}") from None


def _source(caller: Caller) -> ContractSource:
    return ContractSource.PERSON if caller.opener.kind == "person" else ContractSource.APPLICATION


def _status(state: TaskState, now_ms: int) -> Literal["open", "closed", "expired"]:
    if state.status is not TaskStatus.OPEN:
        return "closed"
    return "expired" if now_ms >= state.task.expires_at_ms else "open"


def _opened(task: Task, state: str, token: str, *, repeated: bool = False) -> shapes.OpenedTask:
    return shapes.OpenedTask(
        task=task.id,
        state=state,
        audience=task.audience,
        expires_at_ms=task.expires_at_ms,
        parents=task.parents,
        token=token,
        repeated=repeated,
    )


def _view(state: TaskState, now_ms: int) -> shapes.TaskView:
    task = state.task
    return shapes.TaskView(
        task=task.id,
        state=_status(state, now_ms),
        agent=task.agent,
        human=task.human,
        purpose=task.purpose,
        audience=task.audience,
        opened_by=task.opener,
        calls_used=state.calls_used,
        calls_budget=task.budget.calls,
        value_used=state.value_used,
        value_budget=task.budget.value,
        labels=state.labels,
        parents=task.parents,
        opened_at_ms=task.opened_at_ms,
        expires_at_ms=task.expires_at_ms,
        contract=state.contract,
        contract_used=state.contract_used,
    )


def _at(task: TaskId) -> dict[str, str]:
    return {"Location": f"/v1/tasks/{task}"}
