"""What agents were allowed over a span of the log: one pass, nothing decided again, nothing unsealed.

If the process dies here, nothing is lost: it only reads.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lictor.model.ids import AgentId, TaskId
from lictor.pdp.decide import Pdp
from lictor.policy.unused import Usage
from lictor.ports import RecordStore
from lictor.service.calls.traffic import Passed, Wanted, passed
from lictor.service.registry import entry_time, first_since


@dataclass(frozen=True, slots=True)
class Observed:
    """Usage by agent, and the moment from which the log could tell: its first entry may be younger than the span."""

    usage: dict[AgentId, Usage]
    from_ms: int


def observed(store: RecordStore, pdp: Pdp, since_ms: int, on_progress: Callable[[int], None] | None = None) -> Observed:
    """Count what was allowed since a moment.

    A thing that the catalogue does not have any more is left out. What a child task was allowed counts for every agent above it:
    policy was asked about each.

    Args:
        store: the log.
        pdp: the bundle whose catalogue things are named by.
        since_ms: milliseconds since the epoch.
        on_progress: told how many entries were read.

    Raises:
        StoreError: an entry of the log cannot be read.
    """
    found = passed(store, Wanted(since_ms=since_ms, start=first_since(store, since_ms)), on_progress)
    usage = used(found, pdp, lambda task: _above(store, task))
    first = next(iter(store.entries(0, 1)), None)
    return Observed(usage, since_ms if first is None else max(since_ms, entry_time(first)))


def used(found: Iterable[Passed], pdp: Pdp, above: Callable[[TaskId], tuple[AgentId, ...]]) -> dict[AgentId, Usage]:
    """Count decisions that allowed, by agent.

    Args:
        found: decisions.
        pdp: the bundle whose catalogue things are named by; a thing that it does not have is left out.
        above: the agents of the tasks that a task was handed on by.
    """
    usage: dict[AgentId, Usage] = {}
    chains: dict[TaskId, tuple[AgentId, ...]] = {}
    for one in found:
        if one.asked is None or one.decided.outcome != "allow":
            continue
        offering = pdp.offering(one.asked.kind, one.asked.server, one.asked.name)
        if offering is None:
            continue
        thing = (offering.entry.kind, str(offering.entry.server), offering.entry.name)
        if one.asked.task not in chains:
            chains[one.asked.task] = above(one.asked.task)
        for agent in (one.asked.agent, *chains[one.asked.task]):
            mine = usage.setdefault(agent, Usage())
            mine.things[thing] = mine.things.get(thing, 0) + 1
            mine.permits.update(one.decided.policies)
    return usage


def _above(store: RecordStore, task: TaskId) -> tuple[AgentId, ...]:
    state = store.task(task)
    links = [store.task(parent) for parent in state.task.parents] if state is not None else []
    return tuple(link.task.agent for link in links if link is not None)
