"""What agents may do and never did: each permit, the things it reaches for an agent, and the part of them that was never used.

A permit counts as reaching what its scope meets, whatever its conditions: what is listed here *may* be permitted, and was not
needed. Each comes with the smallest change that takes it away. Refuses to know the log (`service.evidence.entitlements` counts).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lictor.model.action import ActionKind, action_name
from lictor.model.agent import Agent
from lictor.model.catalog import CatalogEntry, EffectClass
from lictor.model.ids import AgentId, PolicyId
from lictor.pdp.decide import Offering, Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.compile import bundle_actions
from lictor.policy.reach import action_keys, agent_keys, in_scope, policy_trees, thing_keys
from lictor.policy.text import ParsedPolicy

MAX_NAMED: Final = 8
"""Actions that a suggested change names; past that a draft of the whole bundle says it better."""
Thing = tuple[ActionKind, str, str]
"""Kind, server and name as the catalogue has them."""


@dataclass(slots=True)
class Usage:
    """What one agent was allowed over a span of the log, itself or as a link of somebody's chain."""

    things: dict[Thing, int] = field(default_factory=dict)
    permits: set[PolicyId] = field(default_factory=set)
    """Policies that permitted it, as recorded with the decisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unused:
    """One permit's surplus for one agent.

    Attributes:
        where: `file:line` of the permit.
        actions: what it reaches and was never allowed, by effect class, the hardest class first.
        reached: how many things it reaches in all.
        used: whether it ever permitted anything to this agent.
        change: what to change, in one line.
    """

    agent: AgentId
    permit: PolicyId
    where: str
    actions: tuple[tuple[str, str], ...]
    reached: int
    used: bool
    change: str


def unused(bundle: Bundle, pdp: Pdp, agents: Iterable[AgentId], usage: Mapping[AgentId, Usage]) -> tuple[Unused, ...]:
    """The surplus of each agent that has authority, by agent, then by place.

    Args:
        bundle: what `pdp` was compiled from.
        pdp: the compiled bundle.
        agents: whom to look at; those out of service are left out, they may do nothing.
        usage: what was used; an agent that is not in it used nothing.

    Raises:
        OperatorError: the bundle does not compile.
    """
    permits = [policy for policy in bundle.policies if policy.effect == "permit"]
    trees = policy_trees(permits)
    groups = {action.name: action.groups for action in bundle_actions(bundle)}
    things = [one for one in _offered(pdp) if one.entry.kind is not ActionKind.TASK]
    keys = [(action_keys(_action(one.entry), groups[_action(one.entry)]), thing_keys(one.entry)) for one in things]
    found: list[Unused] = []
    for name in agents:
        agent = bundle.agents[name]
        if not agent.active:
            continue
        mine = agent_keys(agent)
        possible = [
            (one, *key)
            for one, key in zip(things, keys, strict=True)
            if pdp.engine.may_permit(("Agent", name), _action(one.entry), one.resource)
        ]
        for policy in permits:
            reached = [one for one, action, thing in possible if in_scope(trees[policy.id], mine, action, thing)]
            surplus = _surplus(agent, policy, reached, usage.get(name, Usage()))
            if surplus is not None:
                found.append(surplus)
    return tuple(sorted(found, key=lambda one: (one.agent, one.where)))


def _surplus(agent: Agent, policy: ParsedPolicy, reached: list[Offering], usage: Usage) -> Unused | None:
    never = [one.entry for one in reached if _thing(one.entry) not in usage.things]
    if not never:
        return None
    kept = sorted({_action(one.entry) for one in reached if _thing(one.entry) in usage.things})
    used = bool(kept) and policy.id in usage.permits
    return Unused(
        agent=agent.id,
        permit=policy.id,
        where=policy.where,
        actions=tuple(sorted(((_shown(one), one.effect.value) for one in never), key=_hardest)),
        reached=len(reached),
        used=used,
        change=_narrowed(kept, agent) if used else _removed(policy, agent),
    )


def _removed(policy: ParsedPolicy, agent: Agent) -> str:
    """The permit gave this agent nothing: take it out of the permit's principal, in the way the permit was written."""
    scope: Mapping[str, Any] = policy.json.get("principal", {})
    entity = scope.get("entity") or scope.get("in", {}).get("entity") or {}
    if scope.get("op") == "==":
        return f"remove {policy.id}: it is for {agent.id} alone, who did not need it"
    if entity.get("type") == "AgentGroup":
        return f'take {agent.id} out of the group {entity["id"]}, or add to it: unless {{ principal == Agent::"{agent.id}" }}'
    return f'name in its principal whom it is for; {agent.id} did not need it: unless {{ principal == Agent::"{agent.id}" }}'


def _narrowed(kept: list[str], agent: Agent) -> str:
    if len(kept) > MAX_NAMED:
        return f"narrow it to the {len(kept)} actions that were used: lictor policy draft --agent {agent.id} --out DIR"
    actions = ", ".join(f'Action::"{name}"' for name in kept)
    return f"narrow its action to what was used: action in [{actions}]"


def _offered(pdp: Pdp) -> tuple[Offering, ...]:
    return (*pdp.exact.values(), *(one for found in pdp.prefixes.values() for _, one in found))


def _thing(entry: CatalogEntry) -> Thing:
    return entry.kind, str(entry.server), entry.name


def _action(entry: CatalogEntry) -> str:
    return action_name(entry.kind, entry.server, entry.name)


def _shown(entry: CatalogEntry) -> str:
    """The action, and for a resource which one: all of a server's share one action."""
    return f"{_action(entry)} {entry.name}" if entry.kind is ActionKind.RESOURCE else _action(entry)


_ORDER: Final = {EffectClass.DESTRUCTIVE.value: 0, EffectClass.WRITE.value: 1, EffectClass.READ.value: 2}


def _hardest(action: tuple[str, str]) -> tuple[int, str]:
    return _ORDER[action[1]], action[0]
