"""Legacy HTTP sessions."""

import pytest

from lictor.model.errors import CallerError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.pep.mcp.downstream.eras import Opening
from lictor.pep.mcp.downstream.notices import Hub
from lictor.pep.mcp.downstream.sessions import SESSIONS_PER_TASK, Sessions
from lictor.pep.mcp.downstream.stream import Flight
from lictor.testing.clock import ManualClock
from lictor.testing.ids import SequenceIds

OPENING = Opening(version="2025-11-25", capabilities={}, client_info={})
A, B = TaskId("a"), TaskId("b")


def sessions() -> tuple[Sessions, ManualClock, Hub]:
    clock, hub = ManualClock(), Hub()
    return Sessions(hub, clock, SequenceIds(), idle_ms=1_000), clock, hub


async def test_a_session_exists_for_its_task_only() -> None:
    """Knowing the id is worth nothing."""
    all_, _, _ = sessions()
    session = all_.open(A, OPENING)
    assert all_.find(session.id, A) is session
    assert all_.find(session.id, B) is None
    assert all_.find("mcp_9", A) is None


async def test_an_idle_session_expires_and_a_used_one_does_not() -> None:
    """Use, and a request under way, keep it."""
    all_, clock, hub = sessions()
    session = all_.open(A, OPENING)
    clock.advance(999)
    assert all_.find(session.id, A) is session
    clock.advance(999)
    assert all_.find(session.id, A) is session
    session.flights[int, 1] = Flight()
    clock.advance(5_000)
    assert all_.find(session.id, A) is session
    session.flights.clear()
    clock.advance(1_000)
    assert all_.find(session.id, A) is None
    assert (len(all_), hub.count(A)) == (0, 0)


async def test_sessions_of_a_task_are_bounded() -> None:
    """The oldest idle one makes room; when none is idle the new one is refused."""
    all_, clock, _ = sessions()
    own = []
    for _ in range(SESSIONS_PER_TASK):
        own.append(all_.open(A, OPENING))
        clock.advance(1)
    own[0].flights[int, 1] = Flight()
    all_.open(A, OPENING)
    assert all_.find(own[0].id, A) is own[0]
    assert all_.find(own[1].id, A) is None
    all_.open(B, OPENING)
    for session in all_._sessions.values():
        session.flights[int, 1] = Flight()
    with pytest.raises(CallerError) as caught:
        all_.open(A, OPENING)
    assert caught.value.reason is Reason.OVERLOADED


async def test_an_ended_session_answers_no_questions() -> None:
    """Questions fail at once instead of waiting."""
    all_, _, _ = sessions()
    session = all_.open(A, OPENING)
    all_.end(session)

    async def send(_: bytes) -> bool:
        return True

    with pytest.raises(CallerError):
        await session.asks.ask(send, "roots/list", {}, timeout_s=5)
