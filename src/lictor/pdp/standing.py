"""Steps 2 and 3 of a decision: who asks, and whether the authority they ask with is alive, link by link up to the human.

A chain of delegation is as strong as its weakest link: each parent task has to be open, unexpired and the same human's, each
agent on the way registered, active and owned (RFC 8693 `act`; DELG-05, DELG-09). Refuses to know what is asked for.
"""

from lictor.model.action import ActionRequest
from lictor.model.agent import Agent
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import MAX_DEPTH, TaskState, TaskStatus
from lictor.pdp.refused import Refused


def check_agent(request: ActionRequest, snapshot: Snapshot) -> Agent:
    """The agent that asks."""
    agent = snapshot.agent
    if agent is None or agent.id != request.agent:
        raise Refused(Reason.UNKNOWN_AGENT, f"agent {request.agent!r} is not registered")
    check_registered(agent, snapshot.at_ms)
    return agent


def check_registered(agent: Agent, at_ms: int) -> None:
    """Active, owned, reviewed (OWASP NHI1, NHI5)."""
    if not agent.active:
        raise Refused(Reason.AGENT_INACTIVE, f"agent {agent.id!r} was taken out of service")
    if not agent.owner.strip():
        raise Refused(Reason.AGENT_NO_OWNER, f"agent {agent.id!r} has no owner")
    if at_ms >= agent.review_by_ms:
        raise Refused(Reason.AGENT_REVIEW_OVERDUE, f"agent {agent.id!r} is past its review date")


def check_task(purposes: frozenset[str], request: ActionRequest, snapshot: Snapshot) -> TaskState:
    """The task: this agent's and this human's, open, unexpired, of a declared purpose, with a call left."""
    state = snapshot.task
    if state is None or state.task.id != request.task:
        raise Refused(Reason.UNKNOWN_TASK, "no such task")
    if state.task.agent != request.agent or state.task.human != request.human:
        raise Refused(Reason.UNKNOWN_TASK, "the task belongs to another agent or human")
    _check_alive(state, snapshot.at_ms)
    if state.task.purpose not in purposes:
        raise Refused(Reason.UNKNOWN_TASK, f"purpose {state.task.purpose!r} is not declared")
    if state.calls_used >= state.task.budget.calls:
        raise Refused(Reason.BUDGET_CALLS, "the task's calls are used up")
    return state


def check_chain(state: TaskState, snapshot: Snapshot) -> tuple[TaskState, ...]:
    """The parents of a task, nearest first: exactly its chain, alive, of the same human, no agent twice."""
    parents = state.task.parents
    if len(parents) > MAX_DEPTH or len(snapshot.parents) != len(parents) or len(snapshot.principals) != len(parents):
        raise Refused(Reason.DELEGATION, "the chain of delegation is not complete")
    found: list[TaskState] = []
    agents = {state.task.agent}
    for index, (link, agent) in enumerate(zip(snapshot.parents, snapshot.principals, strict=True)):
        if link is None or link.task.id != parents[index] or link.task.parents != parents[index + 1 :]:
            raise Refused(Reason.DELEGATION, "a link of the chain is not the one the task was delegated through")
        if link.task.human != state.task.human or link.task.agent in agents:
            raise Refused(Reason.DELEGATION, "a link is of another human, or an agent is in the chain twice")
        if agent is None or agent.id != link.task.agent:
            raise Refused(Reason.UNKNOWN_AGENT, f"agent {link.task.agent!r} is not registered")
        check_registered(agent, snapshot.at_ms)
        _check_alive(link, snapshot.at_ms)
        agents.add(link.task.agent)
        found.append(link)
    return tuple(found)


def _check_alive(state: TaskState, at_ms: int) -> None:
    if state.status is not TaskStatus.OPEN:
        raise Refused(Reason.TASK_CLOSED, f"task {state.task.id!r} is closed")
    if not state.task.opened_at_ms <= at_ms < state.task.expires_at_ms:
        raise Refused(Reason.TASK_EXPIRED, f"task {state.task.id!r} has expired")
