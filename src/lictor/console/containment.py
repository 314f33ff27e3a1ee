"""The room of containment: what is restricted and what runs; restrict, kill, lift. By the control plane's own use case and rules.

Laying tightens, so it waits for no approval: an operator restricts anything, anybody else the tasks that are theirs, since one
sign-in that was taken over must not stop everybody's work. Lifting loosens: an operator's, after a second look, with a reason.
A kill is typed out, never a link, and what it met is kept under a stable address. Refuses to know how anything is stopped.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from lictor.console import containment_view as view
from lictor.console.records_tail import Tail
from lictor.console.rooms import Role, Rooms, Row, Visit
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.model.record import (
    ContainmentLaid,
    ContainmentLifted,
    ExecutionStarted,
    FindingOpened,
    LeaseKept,
    RequestReceived,
    SignalObserved,
    SignalRefused,
    ToolQuarantined,
)
from lictor.protocol.display import render
from lictor.service.containment.contain import Contain, InFlight, Killed

NAV: Final = "containment"
MAX_TARGET: Final = 300
MAX_WHY: Final = 1_000
MOST_OF_ONE: Final = 100
"""Restrictions in force that one person has laid who is no operator; the control plane's bound."""
MAX_REPORTS: Final = 50
_SIGNS: Final = (SignalObserved, SignalRefused, FindingOpened, ToolQuarantined, LeaseKept)
_STEPS: Final = (ContainmentLaid, ContainmentLifted)


def routes(rooms: Rooms) -> list[Row]:
    """The rows of this room."""
    room = _Containment(rooms)
    return [
        Row(method="GET", path="/containment", handler=room.overview),
        Row(method="POST", path="/containment", handler=room.lay),
        Row(method="GET", path="/containment/kill", handler=room.confirm),
        Row(method="POST", path="/containment/kill", handler=room.kill),
        Row(method="GET", path="/containment/{id}", handler=room.one),
        Row(method="POST", path="/containment/{id}/lift", handler=room.lift, role=Role.OPERATOR),
    ]


@dataclass(frozen=True, slots=True)
class Report:
    """What a kill did, and what became of the calls it met."""

    killed: Killed
    calls: tuple[InFlight, ...]

    @property
    def unknown(self) -> int:
        """Calls that may have happened."""
        return sum(call.outcome in {"indeterminate", "started"} for call in self.calls)


class _Containment:
    def __init__(self, rooms: Rooms) -> None:
        store = rooms.console.store
        self._store = store
        self._contain: Contain | None = rooms.console.contain
        self._calls = Tail(store, (RequestReceived, ExecutionStarted), most=4_000)
        self._signs = Tail(store, _SIGNS, most=view.SHOWN)
        self._steps = Tail(store, _STEPS, most=view.SHOWN)
        self._reports: OrderedDict[str, Report] = OrderedDict()

    # -- looking -----------------------------------------------------------------------------------------------------------

    async def overview(self, visit: Visit) -> Response:
        """Everything at a glance, and the forms."""
        return await self._overview(visit)

    async def _overview(self, visit: Visit, *, error: str = "", typed: str = "", status: int = 200) -> Response:
        laid = self._store.containments()
        tasks = view.open_tasks(self._store, visit.now_ms)
        operator = Role.OPERATOR in visit.roles
        mine = tasks if operator else [one for one in tasks if view.owns(self._store, visit.human, one)]
        return await visit.large_page(
            "containment.html",
            title="Containment",
            nav=NAV,
            status=status,
            live=True,
            laid=[*laid][-view.SHOWN_RESTRICTIONS :][::-1],
            laid_count=len(laid),
            effects=view.EFFECTS,
            restrictions=tuple(Restriction),
            running=view.running(self._store, await self._named(), visit.now_ms),
            signs=(await self._signs.read())[::-1],
            steps=(await self._steps.read())[::-1],
            looked_since=self._signs.since,
            operator=operator,
            possible=self._contain is not None,
            choices=view.suggestions(visit.pdp, mine) if operator else [f"task:{one.task.id}" for one in mine],
            fault=visit.console.health(),
            recording=visit.console.recording(),
            error=error,
            typed=typed,
            now_ms=visit.now_ms,
        )

    async def one(self, visit: Visit) -> Response:
        """One restriction: what it lies on, what its laying met, and the second look before it is lifted."""
        name = visit.path("id")
        laid = self._in_force(name)
        report = self._reports.get(name)
        if laid is None and report is None:
            return visit.missing("restriction in force")
        return await self._one(visit, name, laid, report)

    async def _one(
        self, visit: Visit, name: str, laid: Containment | None, report: Report | None, error: str = ""
    ) -> Response:
        about = laid or (report.killed.containment if report is not None else None)
        if about is None:
            return visit.missing("restriction in force")
        reach = view.reach_of(self._store, visit.pdp, await self._named(), about, visit.now_ms)
        return visit.page(
            "containment_one.html",
            title=f"{about.restriction.value} on {view.written(about.scope, about.target)}",
            nav=NAV,
            status=400 if error else 200,
            about=about,
            name=name,
            typed=view.written(about.scope, about.target),
            in_force=laid is not None,
            report=report,
            reach=reach,
            freed=view.freed(self._store, visit.pdp, about, self._store.containments(), reach),
            effect=view.EFFECTS[about.restriction],
            operator=Role.OPERATOR in visit.roles,
            shown=view.SHOWN,
            error=error,
        )

    # -- restricting -------------------------------------------------------------------------------------------------------

    async def lay(self, visit: Visit) -> Response:
        """Restrict, mildly or hard; suspending leads to the page that asks again."""
        typed, why = visit.form.get("on", "")[:MAX_TARGET], visit.form.get("why", "")
        try:
            scope, target = self._scope(visit, typed)
            restriction = _restriction(visit.form.get("restriction", ""))
            reason = _why(why)
        except CallerError as error:
            return await self._overview(visit, error=error.message, typed=typed, status=400)
        if restriction is Restriction.SUSPENDED:
            return await self._confirm(visit, typed, scope, target, why=reason)
        contain = self._use_case()
        before = self._before(visit, scope, target, restriction)
        if before is None:
            before = await contain.lay(scope, target, restriction, by=f"person:{visit.human}", why=reason)
        return visit.to(f"/containment/{before.id}")

    async def confirm(self, visit: Visit) -> Response:
        """The page before a kill: what it would stop. It changes nothing."""
        typed = visit.word("on", MAX_TARGET)
        if not typed:
            return visit.to("/containment")
        try:
            scope, target = self._scope(visit, typed)
        except CallerError as error:
            return await self._overview(visit, error=error.message, typed=typed, status=400)
        return await self._confirm(visit, typed, scope, target)

    async def _confirm(
        self, visit: Visit, typed: str, scope: Scope, target: str, *, why: str = "", error: str = ""
    ) -> Response:
        would = Containment(id="", scope=scope, target=target, restriction=Restriction.SUSPENDED, by="")
        return visit.page(
            "containment_kill.html",
            title=f"Kill {typed}",
            nav=NAV,
            status=400 if error else 200,
            typed=view.written(scope, target),
            scope=scope,
            target=target,
            reach=view.reach_of(self._store, visit.pdp, await self._named(), would, visit.now_ms),
            shown=view.SHOWN,
            why=why,
            error=error,
        )

    async def kill(self, visit: Visit) -> Response:
        """Pull the plug on what was typed out."""
        typed, why = visit.form.get("on", "")[:MAX_TARGET], visit.form.get("why", "")[:MAX_WHY]
        try:
            scope, target = self._scope(visit, typed)
        except CallerError as error:
            return await self._overview(visit, error=error.message, typed=typed, status=400)
        meant = view.written(scope, target)
        if visit.form.get("typed", "").strip() not in {meant, render(meant)}:
            text = "what you typed is not what would be killed; nothing was done"
            return await self._confirm(visit, typed, scope, target, why=why, error=text)
        try:
            reason = _why(why)
        except CallerError as error:
            return await self._confirm(visit, typed, scope, target, error=error.message)
        self._check_room(visit)
        contain, by = self._use_case(), f"person:{visit.human}"
        killed = await contain.kill(scope, target, by=by, why=reason, agents=visit.pdp.agents)
        name = killed.containment.id
        self._keep(name, Report(killed, killed.in_flight))
        self._keep(name, Report(killed, await contain.outcomes(killed)))
        return visit.to(f"/containment/{name}")

    async def lift(self, visit: Visit) -> Response:
        """Take a restriction away, with a reason."""
        name = visit.path("id")
        laid = self._in_force(name)
        if laid is None:
            return visit.missing("restriction in force")
        try:
            why = _why(visit.form.get("why", ""))
        except CallerError as error:
            return await self._one(visit, name, laid, self._reports.get(name), error.message)
        await self._use_case().lift(name, by=visit.human, why=why)
        return visit.message("Lifted", f"{view.written(laid.scope, laid.target)}: what policy allows runs again")

    # -- inside ------------------------------------------------------------------------------------------------------------

    def _scope(self, visit: Visit, typed: str) -> tuple[Scope, str]:
        """What is meant, if this person may restrict it.

        Raises:
            CallerError: `conflict`: it is no scope; `forbidden`, `unknown_task`: it is not theirs to restrict.
        """
        found = view.read_scope(typed)
        if found is None:
            raise CallerError(Reason.CONFLICT, f"{typed[:80]!r} is no scope: write agent:NAME, task:ID or everything")
        scope, target = found
        if not target.isprintable():
            text = "this name holds what cannot be seen or typed: restrict its server, or use lictor kill"
            raise CallerError(Reason.CONFLICT, text)
        if Role.OPERATOR in visit.roles:
            return scope, target
        if scope is not Scope.TASK:
            raise CallerError(Reason.FORBIDDEN, "only an operator restricts more than a task of their own")
        state = self._store.task(TaskId(target))
        if state is None or not view.owns(self._store, visit.human, state):
            raise CallerError(Reason.UNKNOWN_TASK, "you have no task of this name")
        return scope, target

    def _before(self, visit: Visit, scope: Scope, target: str, restriction: Restriction) -> Containment | None:
        """The same restriction, if it is in force already."""
        for one in self._store.containments():
            if (one.scope, one.target, one.restriction) == (scope, target, restriction):
                return one
        self._check_room(visit)
        return None

    def _check_room(self, visit: Visit) -> None:
        """There is room for so many restrictions in all: nobody but an operator may use it up.

        Raises:
            CallerError: `overloaded`.
        """
        if Role.OPERATOR in visit.roles:
            return
        mine = sum(one.by == f"person:{visit.human}" for one in self._store.containments())
        if mine >= MOST_OF_ONE:
            raise CallerError(Reason.OVERLOADED, f"{MOST_OF_ONE} restrictions of yours are in force")

    def _use_case(self) -> Contain:
        if self._contain is None:
            raise CallerError(Reason.FORBIDDEN, "this console cannot restrict anything", remedy="lictor kill")
        return self._contain

    async def _named(self) -> view.Calls:
        return view.Calls(await self._calls.read())

    def _in_force(self, name: str) -> Containment | None:
        return next((one for one in self._store.containments() if name and one.id == name), None)

    def _keep(self, name: str, report: Report) -> None:
        self._reports[name] = report
        while len(self._reports) > MAX_REPORTS:
            self._reports.popitem(last=False)


def _restriction(text: str) -> Restriction:
    try:
        return Restriction(text)
    except ValueError:
        raise CallerError(Reason.CONFLICT, "choose how hard it is to be held") from None


def _why(text: str) -> str:
    """A reason for the record.

    Raises:
        CallerError: `conflict`: there is none, or it is too long.
    """
    if not text.strip():
        raise CallerError(Reason.CONFLICT, "say why, for the record")
    if len(text) > MAX_WHY:
        raise CallerError(Reason.CONFLICT, f"a reason has at most {MAX_WHY} characters")
    return text.strip()
