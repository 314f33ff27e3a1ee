"""Which policies' scopes meet which agents and things: the same keys as the engine's slices, for people's tools.

Refuses to know conditions.
"""

from collections.abc import Iterable, Sequence

import msgspec
from cedarpy import PolicySet, pst

from lictor.model.agent import Agent
from lictor.model.catalog import CatalogEntry
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.engine import slicing
from lictor.pdp.engine.slicing import Keys, entity_keys
from lictor.policy.cedarschema import resource_of
from lictor.policy.text import ParsedPolicy


def policy_trees(policies: Sequence[ParsedPolicy]) -> dict[str, pst.Template]:
    """Syntax trees by `@id`. Depth was measured when the text was parsed (facts C2).

    Raises:
        OperatorError: `bundle_refused`.
    """
    document = {"staticPolicies": {p.id: p.json for p in policies}, "templates": {}, "templateLinks": []}
    try:
        tree = PolicySet.from_json_str(msgspec.json.encode(document).decode()).to_pst()
    except ValueError as error:
        raise OperatorError(Reason.BUNDLE_REFUSED, f"the policies: {' '.join(str(error).split())[:300]}") from error
    return dict(tree.static_policies)


def agent_keys(agent: Agent) -> Keys:
    """What a principal scope can ask for that this agent satisfies."""
    return entity_keys(("Agent", agent.id), [("AgentGroup", group) for group in agent.groups])


def action_keys(name: str, groups: Iterable[str]) -> Keys:
    """What an action scope can ask for that this action satisfies."""
    return entity_keys(("Action", name), [("Action", group) for group in groups])


def thing_keys(entry: CatalogEntry) -> Keys:
    """What a resource scope can ask for that this thing satisfies."""
    return entity_keys(resource_of(entry), [("Server", entry.server)])


def in_scope(tree: pst.Template, principal: Keys, action: Keys, resource: Keys) -> bool:
    """Whether all three scopes of a policy match."""
    return (
        not action.isdisjoint(slicing.action_keys(tree.action))
        and principal.issuperset(slicing.scope_keys(tree.principal))
        and resource.issuperset(slicing.scope_keys(tree.resource))
    )
