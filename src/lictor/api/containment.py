"""`/v1/containments`: pull the plug, restrict, see what is in force, lift it.

Laying never waits for an approval, and it is on record who did it. An operator, a person, restricts anything; anybody else their
own tasks: one application that was taken over must not be able to stop everybody's work. Lifting loosens; it needs an operator.
What was met (holds, calls) is told in full to operators only, and somebody else's task is not there (ISOL-06).
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from lictor.api.caller import ANYBODY, OPERATORS, Caller
from lictor.api.owning import owned
from lictor.api.web import Call, Reply, Route
from lictor.model.agent import Agent
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId, HumanId
from lictor.model.reasons import Reason
from lictor.ports import RecordStore
from lictor.service.containment.contain import Contain, InFlight, Killed

MOST_OF_ONE: Final = 100
"""Restrictions in force that one party has laid who is no operator: the room is everybody's (`lifecycle.containments`)."""
_Name = Annotated[str, msgspec.Meta(max_length=300)]
_Why = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000, pattern=r"\S")]


class Laying(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A restriction to lay. `suspended` is the kill switch: it stops what is under way, too."""

    scope: Scope
    target: _Name = ""
    """An agent, owner, task, server or action (`server/tool`); empty for everything. Others than operators name a task."""
    restriction: Restriction = Restriction.SUSPENDED
    why: _Why


class LiftQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why it is lifted, for the record."""

    why: _Why


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """A call that was under way."""

    execution: str
    task: str
    action: str
    outcome: str
    """`executed`, `failed`, `indeterminate` (it may have happened), or `started`: no gateway has said."""


class Laid(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done. The lists are empty for whoever is no operator; the counts are not."""

    containment: Containment
    stopped: Mapping[str, int] = {}
    """How many, by kind: `closed`, `suspended`, `holds`, `calls`, `unknown` (calls that may have happened)."""
    closed: tuple[str, ...] = ()
    suspended: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    calls: tuple[Met, ...] = ()


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is restricted now, oldest first."""

    containments: tuple[Containment, ...]


class Lifted(msgspec.Struct, frozen=True, kw_only=True):
    """A restriction that is in force no more."""

    containment: str


def containment_routes(
    contain: Contain, agents: Callable[[], Mapping[AgentId, Agent]], store: RecordStore
) -> list[Route]:
    """The rows of the table.

    Args:
        contain: the use case.
        agents: the registry in force.
        store: knows whose a task is.
    """
    routes = _Routes(contain, agents, store)
    return [
        Route(
            method="POST",
            path="/v1/containments",
            who=ANYBODY,
            handler=routes.lay,
            summary="Stop or restrict something, now",
            body=Laying,
            answer=Laid,
            status=201,
            also=(200,),
            refuses=(404, 409),
        ),
        Route(
            method="GET",
            path="/v1/containments",
            who=OPERATORS,
            handler=routes.list,
            summary="What is restricted now",
            answer=InForce,
        ),
        Route(
            method="DELETE",
            path="/v1/containments/{containment}",
            who=OPERATORS,
            handler=routes.lift,
            summary="Lift a restriction: a recorded privilege change",
            query=LiftQuery,
            answer=Lifted,
            refuses=(409,),
        ),
    ]


class _Routes:
    def __init__(self, contain: Contain, agents: Callable[[], Mapping[AgentId, Agent]], store: RecordStore) -> None:
        self._contain = contain
        self._agents = agents
        self._store = store

    async def lay(self, call: Call) -> Reply:
        wanted: Laying = call.body
        by = call.caller.name
        self._check(call.caller, wanted)
        before = None if call.caller.operator else self._before(call.caller, wanted)
        if before is not None:
            return Reply(value=Laid(containment=before), status=200)
        if wanted.restriction is not Restriction.SUSPENDED:
            laid = await self._contain.lay(wanted.scope, wanted.target, wanted.restriction, by=by, why=wanted.why)
            return Reply(value=Laid(containment=laid))
        killed = await self._contain.kill(wanted.scope, wanted.target, by=by, why=wanted.why, agents=self._agents())
        return Reply(value=_told(killed, await self._contain.outcomes(killed), whole=call.caller.operator))

    def _check(self, caller: Caller, wanted: Laying) -> None:
        """Who may restrict what.

        Raises:
            CallerError: `forbidden`; `unknown_task`.
        """
        if caller.operator:
            return
        if wanted.scope is not Scope.TASK:
            raise CallerError(
                Reason.FORBIDDEN,
                "only an operator restricts more than a task",
                remedy="name a task of your own, or ask a person in a group of `operators`",
            )
        owned(self._store, caller, wanted.target)

    def _before(self, caller: Caller, wanted: Laying) -> Containment | None:
        """The same restriction, if it is in force. There is room for so many in all, and every change makes others decide again.

        Raises:
            CallerError: `overloaded`: the caller has laid as many as one who is no operator may.
        """
        mine = 0
        for one in self._contain.in_force():
            if (one.scope, one.target, one.restriction) == (wanted.scope, wanted.target, wanted.restriction):
                return one
            mine += one.by == caller.name
        if mine >= MOST_OF_ONE:
            raise CallerError(
                Reason.OVERLOADED, f"{MOST_OF_ONE} restrictions of yours are in force", remedy="close the tasks instead"
            )
        return None

    async def list(self, _: Call) -> Reply:
        return Reply(value=InForce(containments=tuple(self._contain.in_force())))

    async def lift(self, call: Call) -> Reply:
        name = call.path["containment"]
        query: LiftQuery = call.query
        await self._contain.lift(name, by=HumanId(call.caller.opener.name), why=query.why)
        return Reply(value=Lifted(containment=name))


def _told(killed: Killed, became: tuple[InFlight, ...], *, whole: bool) -> Laid:
    unknown = sum(call.outcome in {"indeterminate", "started"} for call in became)
    counts = {
        "closed": len(killed.tasks),
        "suspended": len(killed.suspended),
        "holds": len(killed.holds),
        "calls": len(became),
        "unknown": unknown,
    }
    if not whole:
        return Laid(containment=killed.containment, stopped=counts)
    return Laid(
        containment=killed.containment,
        stopped=counts,
        closed=killed.tasks,
        suspended=killed.suspended,
        holds=killed.holds,
        calls=tuple(
            Met(execution=call.execution, task=call.task, action=call.action, outcome=call.outcome) for call in became
        ),
    )
