"""The routes of the kill switch: everybody stops what is theirs, operators stop anything, see and lift."""

import asyncio
from typing import Any

import msgspec
import pytest

from lictor.api.caller import ANYBODY, OPERATORS, Caller
from lictor.api.containment import MOST_OF_ONE, Laid, Laying, LiftQuery, containment_routes
from lictor.api.web import Call, Reply, Route
from lictor.lifecycle.containments import MAX_LAID
from lictor.lifecycle.fold import fold
from lictor.lifecycle.rows import CONTAINMENTS_KEY, Row
from lictor.lifecycle.rows import Laid as Full
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener
from lictor.model.reasons import Reason
from lictor.model.record import ContainmentLaid
from lictor.model.task import Budget
from lictor.service.containment.contain import Contain
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from store_samples import batch, opened

ANN = Caller(opener=Opener(kind="person", name="os:ann"))
OPS = Caller(opener=Opener(kind="person", name="os:ops"), operator=True)


DESK = Caller(opener=Opener(kind="application", name="desk"))


@pytest.fixture
def store() -> MemoryStore:
    """A fresh log."""
    return MemoryStore()


@pytest.fixture
def rows(store: MemoryStore) -> dict[str, Route]:
    """The rows by method, over the log."""
    contain = Contain(store=store, clock=SystemClock(), ids=RandomIds())
    return {row.method: row for row in containment_routes(contain, dict, store)}


def a_task(store: MemoryStore, name: str, *, human: str, opener: str, parents: tuple[str, ...] = ()) -> None:
    """Somebody opens one."""
    record = opened(name)
    task = msgspec.structs.replace(
        record.task, human=human, opener=opener, parents=parents, budget=Budget(calls=10), agent=f"agent-{name}"
    )
    asyncio.run(store.commit(batch(msgspec.structs.replace(record, task=task))))


def test_who_is_no_operator_stops_their_own_tasks_only(store: MemoryStore, rows: dict[str, Route]) -> None:
    """An application: what it opened, children included. A person: what is for them. Somebody else's is not there."""
    a_task(store, "task_desk", human="os:ann", opener="application:desk")
    a_task(store, "task_child", human="os:ann", opener="", parents=("task_desk",))
    a_task(store, "task_other", human="os:bob", opener="application:other")
    for caller, targets in ((DESK, {"task_desk", "task_child"}), (ANN, {"task_desk", "task_child"})):
        for target in ("task_desk", "task_child", "task_other", "task_none", "x" * 300):
            body = laying(scope="task", target=target, restriction="read_only")
            if target in targets:
                assert ask(rows["POST"], caller, body=body).value.containment.target == target
                continue
            with pytest.raises(CallerError) as caught:
                ask(rows["POST"], caller, body=body)
            assert (caught.value.reason, caught.value.message) == (Reason.UNKNOWN_TASK, "there is no such task")
    assert (
        ask(rows["POST"], OPS, body=laying(scope="task", target="task_other")).value.containment.target == "task_other"
    )


@pytest.mark.parametrize("scope", ["everything", "agent", "owner", "server", "action"])
@pytest.mark.parametrize("restriction", list(Restriction))
def test_who_is_no_operator_stops_nothing_wider(rows: dict[str, Route], scope: str, restriction: Restriction) -> None:
    """One application that was taken over cannot stop everybody's work."""
    body = laying(scope=scope, target="" if scope == "everything" else "coder", restriction=restriction)
    for caller in (ANN, DESK):
        with pytest.raises(CallerError) as caught:
            ask(rows["POST"], caller, body=body)
        assert caught.value.reason is Reason.FORBIDDEN
    assert ask(rows["GET"], OPS).value.containments == ()


def ask(row: Route, caller: Caller, **parts: Any) -> Reply:
    """Call a handler as the door does."""
    assert row.handler is not None
    reply: Reply = asyncio.run(row.handler(Call(caller=caller, path=parts.pop("path", {}), **parts)))
    return reply


def laying(**members: Any) -> Laying:
    """A body, read as the door reads it."""
    return msgspec.convert({"scope": "agent", "target": "coder", "why": "a test", **members}, Laying)


def test_who_may(rows: dict[str, Route]) -> None:
    """Stopping is for anybody who has authenticated, each what is theirs; looking and lifting is for operators."""
    assert rows["POST"].who == ANYBODY
    assert rows["GET"].who == rows["DELETE"].who == OPERATORS


def test_it_suspends_unless_told_otherwise(rows: dict[str, Route]) -> None:
    """Without a restriction it is the kill switch; who pulled it is on record."""
    laid: Laid = ask(rows["POST"], OPS, body=laying()).value
    assert laid.containment.restriction is Restriction.SUSPENDED
    assert laid.containment.by == "person:os:ops"
    assert laid.stopped == {"closed": 0, "suspended": 0, "holds": 0, "calls": 0, "unknown": 0}
    mild: Laid = ask(rows["POST"], OPS, body=laying(restriction="step_up")).value
    assert mild.containment.restriction is Restriction.STEP_UP
    listed = ask(rows["GET"], OPS).value.containments
    assert [one.id for one in listed] == [laid.containment.id, mild.containment.id]


def test_lifting(rows: dict[str, Route]) -> None:
    """An operator lifts it, once, and says why."""
    laid: Laid = ask(rows["POST"], OPS, body=laying(scope="everything", target="")).value
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
        ask(rows["POST"], OPS, body=laying(target=""))


def test_nobody_uses_up_the_room_for_the_kill_switch(store: MemoryStore, rows: dict[str, Route]) -> None:
    """The same again is the same one; who is no operator has so many; and there is always room for stopping everything."""
    a_task(store, "task_desk", human="os:ann", opener="application:desk")
    mine = laying(scope="task", target="task_desk", restriction="step_up")
    first: Laid = ask(rows["POST"], DESK, body=mine).value
    changes = store.containment_changes()
    again = ask(rows["POST"], DESK, body=mine)
    assert (again.status, again.value.containment) == (200, first.containment)
    assert store.containment_changes() == changes
    for number in range(MOST_OF_ONE - 1):
        a_task(store, f"task_{number}", human="os:ann", opener="application:desk")
        ask(rows["POST"], DESK, body=laying(scope="task", target=f"task_{number}", restriction="step_up"))
    with pytest.raises(CallerError) as caught:
        ask(rows["POST"], DESK, body=laying(scope="task", target="task_desk", restriction="read_only"))
    assert caught.value.reason is Reason.OVERLOADED
    laid = tuple(msgspec.structs.replace(first.containment, id=f"c{number}") for number in range(MAX_LAID))
    full = {
        CONTAINMENTS_KEY: Row(
            kind="containments", id="all", status="", owner="", at_ms=0, body=Full(laid=laid, changes=1)
        )
    }
    one = msgspec.structs.replace(first.containment, id="new")
    with pytest.raises(ConflictError):
        fold(full.get, ContainmentLaid(containment=one), 0)
    everything = msgspec.structs.replace(one, scope=Scope.EVERYTHING, target="")
    assert fold(full.get, ContainmentLaid(containment=everything), 0)
