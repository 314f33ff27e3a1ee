"""Agents as the console's pages tell them: standing, reach, what they did lately and what they never needed.

What they did is counted over the newest decisions kept in memory, and that is said: the whole log is for the command line. Every
`str` is raw. Refuses to know HTML and who visits.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lictor.model.action import ActionKind
from lictor.model.agent import Agent
from lictor.model.containment import Containment
from lictor.model.identity import Proof
from lictor.model.ids import AgentId, TaskId
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.unused import Unused, Usage, unused
from lictor.ports import RecordStore
from lictor.service.evidence.decisions import Made
from lictor.service.registry import Standing, State, state_of, within_reach

MAX_DID: Final = 30
"""Actions of one agent on its page; how many more there are is said."""
MAX_REACH: Final = 60
_LOOKS: Final = {Standing.OK: "ok", Standing.DUE: "due", Standing.OFFBOARDED: "expired"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One agent in the list."""

    agent: Agent
    state: State
    look: str
    """A class: `ok`, `due`, `expired`, `bad`."""
    open_tasks: int
    decided: int
    denied: int
    """... of the newest decisions."""
    restricted: bool
    proofs: int


@dataclass(slots=True)
class Did:
    """What became of one action, among the newest decisions."""

    action: str
    allowed: int = 0
    held: int = 0
    denied: int = 0
    last_ms: int = 0
    reasons: set[str] = field(default_factory=set)


def alive(state: TaskState, now_ms: int) -> bool:
    """Whether a task is neither closed nor expired."""
    return state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms


def cards_of(
    pdp: Pdp, tasks: Sequence[TaskState], laid: Sequence[Containment], rows: Iterable[Made], now_ms: int
) -> list[Card]:
    """Every agent of the registry: those who need somebody's attention first, then by name."""
    running: dict[AgentId, int] = {}
    for one in tasks:
        if alive(one, now_ms):
            running[one.task.agent] = running.get(one.task.agent, 0) + 1
    decided: dict[AgentId, list[int]] = {}
    for row in rows:
        counts = decided.setdefault(row.agent, [0, 0])
        counts[0] += 1
        counts[1] += row.answer in {"deny", "refused"}
    cards = [
        Card(
            agent=agent,
            state=(state := state_of(agent, now_ms, laid)),
            look=_LOOKS.get(state.standing, "bad"),
            open_tasks=running.get(agent.id, 0),
            decided=decided.get(agent.id, [0, 0])[0],
            denied=decided.get(agent.id, [0, 0])[1],
            restricted=state.standing is Standing.SUSPENDED,
            proofs=len(pdp.proofs.get(agent.id, ())),
        )
        for agent in pdp.agents.values()
    ]
    urgent = (Standing.OVERDUE, Standing.NO_OWNER, Standing.SUSPENDED, Standing.DUE, Standing.OK, Standing.OFFBOARDED)
    return sorted(cards, key=lambda card: (urgent.index(card.state.standing), card.agent.id))


def did_of(rows: Iterable[Made], agent: AgentId) -> list[Did]:
    """What an agent asked for, most used first."""
    found: dict[str, Did] = {}
    for row in rows:
        if row.agent != agent or not row.action:
            continue
        did = found.setdefault(row.action, Did(row.action))
        did.last_ms = max(did.last_ms, row.at_ms)
        match row.answer:
            case "allow":
                did.allowed += 1
            case "needs_approval":
                did.held += 1
            case _:
                did.denied += 1
                did.reasons.add(row.reason)
    return sorted(found.values(), key=lambda did: (-did.allowed - did.held - did.denied, did.action))


def reach_of(pdp: Pdp, agent: AgentId) -> dict[str, list[str]]:
    """What policy can permit it, each under its conditions, by effect class, the hardest first."""
    found: dict[str, list[str]] = {}
    for one in within_reach(pdp, agent):
        entry = one.entry
        if entry.kind in {ActionKind.TASK, ActionKind.CREDENTIAL}:
            continue
        name = f"{entry.server}/{entry.name}" if entry.server else entry.name
        found.setdefault(entry.effect.value, []).append(name)
    return {effect: sorted(found[effect]) for effect in ("destructive", "write", "read") if effect in found}


def usage_of(store: RecordStore, pdp: Pdp, rows: Iterable[Made]) -> dict[AgentId, Usage]:
    """What was allowed among some decisions, by agent; what a child was allowed counts for every agent above it."""
    usage: dict[AgentId, Usage] = {}
    chains: dict[TaskId, tuple[AgentId, ...]] = {}
    for row in rows:
        offering = pdp.offering(row.kind, row.server, row.name) if row.answer == "allow" else None
        if offering is None:
            continue
        if row.task not in chains:
            chains[row.task] = _above(store, row.task)
        thing = (offering.entry.kind, str(offering.entry.server), offering.entry.name)
        for agent in (row.agent, *chains[row.task]):
            mine = usage.setdefault(agent, Usage())
            mine.things[thing] = mine.things.get(thing, 0) + 1
            mine.permits.update(row.policies)  # type: ignore[arg-type]
    return usage


def surplus_of(kept: tuple[Bundle, Pdp] | str, agent: AgentId, usage: Mapping[AgentId, Usage]) -> tuple[Unused, ...]:
    """What it may do and did not, by permit. Takes its time: call it off the loop."""
    if isinstance(kept, str) or agent not in kept[0].agents:
        return ()
    return unused(kept[0], kept[1], [agent], usage)


def proof_words(proof: Proof) -> str:
    """A way to prove oneself, in one line."""
    claims = [f"claim {name} = {value}" for name, value in sorted(proof.claims.items())]
    return ", ".join([f"issuer {proof.issuer}", *([f"subject {proof.subject}"] if proof.subject else []), *claims])


def _above(store: RecordStore, task: TaskId) -> tuple[AgentId, ...]:
    state = store.task(task)
    links = [store.task(parent) for parent in state.task.parents] if state is not None else []
    return tuple(link.task.agent for link in links if link is not None)
