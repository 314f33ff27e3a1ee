"""The delegation chain, the restrictions and the signals of one request, as facts for its snapshot. Reads; decides nothing."""

from lictor.model.action import ActionRequest
from lictor.model.agent import Agent
from lictor.model.containment import Containment
from lictor.model.task import TaskState
from lictor.pdp.containment import touching
from lictor.pdp.decide import Pdp
from lictor.ports import RecordStore

Links = tuple[tuple[TaskState | None, ...], tuple[Agent | None, ...]]


def links_of(store: RecordStore, pdp: Pdp, state: TaskState | None) -> Links:
    """The parents of a task, nearest first, and their agents; None for what is not there."""
    if state is None or not state.task.parents:
        return (), ()
    parents = [store.task(parent) for parent in state.task.parents]
    return tuple(parents), tuple([pdp.agents.get(parent.task.agent) if parent else None for parent in parents])


def restrictions_on(
    store: RecordStore, pdp: Pdp, request: ActionRequest, state: TaskState | None, agents: tuple[Agent | None, ...]
) -> tuple[Containment, ...]:
    """The containments in force that touch a request."""
    laid = store.containments()
    if not laid:
        return ()
    tasks = (request.task, *(state.task.parents if state else ()))
    return touching(laid, request, tasks, (pdp.agents.get(request.agent), *agents))


def scores_of(store: RecordStore, pdp: Pdp, state: TaskState | None) -> dict[str, int]:
    """The highest score of each kind of signal that the bundle knows, for the tree of a task."""
    if state is None or not pdp.signals:
        return {}
    root, found = state.task.root, {}
    for kind in sorted(pdp.signals):
        score = store.signal(root, kind)
        if score is not None:
            found[kind] = score
    return found
