"""The routes of the kill switch: anybody who has authenticated stops things, operators see and lift."""

import asyncio
from typing import Any

import msgspec
import pytest

from lictor.api.caller import ANYBODY, OPERATORS, Caller
from lictor.api.containment import Laid, Laying, LiftQuery, containment_routes
from lictor.api.web import Call, Reply, Route
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener
from lictor.service.contain import Contain
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore

ANN = Caller(opener=Opener(kind="person", name="os:ann"))
OPS = Caller(opener=Opener(kind="person", name="os:ops"), operator=True)


@pytest.fixture
def rows() -> dict[str, Route]:
    """The rows by method, over a fresh log."""
    contain = Contain(store=MemoryStore(), clock=SystemClock(), ids=RandomIds())
    return {row.method: row for row in containment_routes(contain, dict)}


def ask(row: Route, caller: Caller, **parts: Any) -> Reply:
    """Call a handler as the door does."""
    assert row.handler is not None
    reply: Reply = asyncio.run(row.handler(Call(caller=caller, path=parts.pop("path", {}), **parts)))
    return reply


def laying(**members: Any) -> Laying:
    """A body, read as the door reads it."""
    return msgspec.convert({"scope": "agent", "target": "coder", "why": "a test", **members}, Laying)


def test_who_may(rows: dict[str, Route]) -> None:
    """Stopping is for anybody who has authenticated; looking and lifting is for operators."""
    assert rows["POST"].who == ANYBODY
    assert rows["GET"].who == rows["DELETE"].who == OPERATORS


def test_it_suspends_unless_told_otherwise(rows: dict[str, Route]) -> None:
    """Without a restriction it is the kill switch; who pulled it is on record."""
    laid: Laid = ask(rows["POST"], ANN, body=laying()).value
    assert laid.containment.restriction is Restriction.SUSPENDED
    assert laid.containment.by == "person:os:ann"
    assert laid.stopped == {"closed": 0, "suspended": 0, "holds": 0, "calls": 0, "unknown": 0}
    mild: Laid = ask(rows["POST"], ANN, body=laying(restriction="step_up")).value
    assert mild.containment.restriction is Restriction.STEP_UP
    listed = ask(rows["GET"], OPS).value.containments
    assert [one.id for one in listed] == [laid.containment.id, mild.containment.id]


def test_lifting(rows: dict[str, Route]) -> None:
    """An operator lifts it, once, and says why."""
    laid: Laid = ask(rows["POST"], ANN, body=laying(scope="everything", target="")).value
    name = {"containment": laid.containment.id}
    assert laid.containment.scope is Scope.EVERYTHING
    ask(rows["DELETE"], OPS, path=name, query=LiftQuery(why="looked at"))
    assert ask(rows["GET"], OPS).value.containments == ()
    with pytest.raises(ConflictError):
        ask(rows["DELETE"], OPS, path=name, query=LiftQuery(why="again"))


@pytest.mark.parametrize("wrong", [{"why": ""}, {"why": "  "}, {"scope": "all"}, {"restriction": "none"}, {"more": 1}])
def test_the_door_refuses(wrong: dict[str, Any]) -> None:
    """Without a reason, with an unknown scope or member, nothing is laid."""
    with pytest.raises(msgspec.ValidationError):
        laying(**wrong)


def test_scope_and_target_fit(rows: dict[str, Route]) -> None:
    """Everything has no target; the others have one."""
    with pytest.raises(CallerError):
        ask(rows["POST"], ANN, body=laying(target=""))
