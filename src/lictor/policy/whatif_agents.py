"""What if the agent were another: autonomy, groups, team, environment. Each has an engine of its own, of the policies in scope.

Refuses to know answers and requests' facts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from cedarpy import pst
from msgspec.structs import replace as with_members

from lictor.model.agent import Agent
from lictor.model.ids import AgentId, PolicyId
from lictor.pdp.engine import slicing
from lictor.pdp.engine.cedar import CedarEngine
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import schema_text
from lictor.policy.compile import bundle_actions, entities
from lictor.policy.reach import action_keys, policy_trees, thing_keys
from lictor.policy.registry import MAX_AUTONOMY
from lictor.policy.whatif import Change, World

MAX_POLICIES: Final = 500
"""In scope of the action and the thing; with more of them other agents are not tried."""
_MAX_GROUPS: Final = 20


def agent_changes(bundle: Bundle, world: World) -> Iterator[Change]:
    """The agent with one attribute otherwise, the nearest first."""
    agent = world.snapshot.agent
    offering = world.pdp.offering(world.request.kind, world.request.server, world.request.name)
    if agent is None or offering is None or agent.id not in bundle.agents:
        return
    engines = _Engines(bundle, world)
    if not 0 < len(engines.policies) <= MAX_POLICIES:
        return

    def other(said: str, fact: str, **members: Any) -> Change:
        return Change(fact=fact, said=said, apply=lambda one: engines.with_agent(one, members))

    for level in sorted(range(MAX_AUTONOMY + 1), key=lambda one: abs(one - agent.autonomy)):
        if level != agent.autonomy:
            yield other(f"the agent's autonomy were {level} (is {agent.autonomy})", "autonomy", autonomy=level)
    for group in engines.groups(agent):
        yield other(f"the agent were in group {group!r}", "groups", groups=(*agent.groups, group))
    for group in agent.groups:
        left = tuple(one for one in agent.groups if one != group)
        yield other(f"the agent were not in group {group!r}", "groups", groups=left)
    for name in ("environment", "team"):
        now = getattr(agent, name)
        for value in sorted({getattr(one, name) for one in bundle.agents.values()} - {now})[:_MAX_GROUPS]:
            yield other(f"the agent's {name} were {value!r} (is {now!r})", name, **{name: value})


class _Engines:
    """Engines by what the agent is like, of the policies about one action and thing."""

    def __init__(self, bundle: Bundle, world: World) -> None:
        request = world.request
        offering = world.pdp.offering(request.kind, request.server, request.name)
        if offering is None:
            raise LookupError(request.action)
        actions = bundle_actions(bundle)
        groups = next(action.groups for action in actions if action.name == request.action)
        action, thing = action_keys(request.action, groups), thing_keys(offering.entry)
        trees = policy_trees(bundle.policies)
        self._bundle = bundle
        self._schema = schema_text(actions)
        self._engines: dict[Agent, CedarEngine] = {}
        self._trees = {name: tree for name, tree in trees.items() if _about(tree, action, thing)}
        self.policies: Mapping[PolicyId, Mapping[str, Any]] = {
            policy.id: policy.json for policy in bundle.policies if policy.id in self._trees
        }

    def groups(self, agent: Agent) -> list[str]:
        """Groups that policies name and the agent is not in."""
        named = {uid.id for uid in pst.entity_uids(tuple(self._trees.values())) if str(uid.type) == "AgentGroup"}
        return sorted(named - set(agent.groups))[:_MAX_GROUPS]

    def with_agent(self, world: World, members: Mapping[str, Any]) -> World:
        agent = world.snapshot.agent
        if agent is None:
            return world
        agent = with_members(agent, **members)
        agents = {**self._bundle.agents, AgentId(agent.id): agent}
        engine = self._engines.get(agent)
        if engine is None:
            engine = CedarEngine(self.policies, self._schema, entities(replace(self._bundle, agents=agents)))
            self._engines[agent] = engine
        pdp = replace(world.pdp, agents=agents, engine=engine)
        return World(pdp, world.request, with_members(world.snapshot, agent=agent))


def _about(tree: pst.Template, action: slicing.Keys, thing: slicing.Keys) -> bool:
    return not action.isdisjoint(slicing.action_keys(tree.action)) and thing.issuperset(
        slicing.scope_keys(tree.resource)
    )
