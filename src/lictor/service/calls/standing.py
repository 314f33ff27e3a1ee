"""Who still has authority: the same question for a call that starts, for one under way, and for a server that waits.

Pure: facts in, a reason out. It can only find that something is over, never that it may run: that is `decide`'s word.
"""

from collections.abc import Callable, Iterable, Mapping

from lictor.model.agent import Agent
from lictor.model.containment import Containment
from lictor.model.ids import AgentId, TaskId
from lictor.model.reasons import Reason
from lictor.model.task import Task, TaskState, TaskStatus
from lictor.pdp.containment import Through


def ended(
    task: Task,
    find: Callable[[TaskId], TaskState | None],
    containments: Iterable[Containment],
    agents: Mapping[AgentId, Agent],
    now_ms: int,
    *,
    server: str = "",
    action: str = "",
) -> Reason | None:
    """Why what runs in a task has to end; None: it may go on.

    A child falls with any task of its chain (DELG-09), and with any agent of it.

    Args:
        task: whose authority it uses.
        find: the present state of this task and of its parents.
        containments: all that are in force.
        agents: the registry, for who owns whom.
        now_ms: the time.
        server: that it goes to; empty while it goes to none.
        action: that it is; empty for the connection or stream itself.
    """
    chain = [find(link) for link in (task.id, *task.parents)]
    for link in chain:
        if link is None or link.status is not TaskStatus.OPEN:
            return Reason.TASK_CLOSED
        if now_ms >= link.task.expires_at_ms:
            return Reason.TASK_EXPIRED
    laid = tuple(containments)
    if not laid:
        return None
    through = through_of([link.task for link in chain if link is not None], agents, server=server, action=action)
    return Reason.CONTAINED if through.suspended(laid) else None


def through_of(
    chain: Iterable[Task], agents: Mapping[AgentId, Agent], *, server: str = "", action: str = ""
) -> Through:
    """What the tasks of a chain go through."""
    links = tuple(chain)
    known = [agents[link.agent] for link in links if link.agent in agents]
    return Through(
        tasks=frozenset(link.id for link in links),
        agents=frozenset(link.agent for link in links),
        owners=frozenset(agent.owner for agent in known),
        server=server,
        action=action,
    )
