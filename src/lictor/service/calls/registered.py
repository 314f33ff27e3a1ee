"""Whether an agent may receive authority now: registered, in service, owned, reviewed, and not suspended.

The same questions as at each decision (`pdp.standing`), asked before a task or a child task comes into being, so that nobody
holds a token that opens nothing (REVO-10, REVO-12, OWASP NHI1, NHI5). Refuses to know what the task is for.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from lictor.model.agent import Agent
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError
from lictor.model.ids import AgentId
from lictor.model.reasons import Reason
from lictor.pdp.refused import Refused
from lictor.pdp.standing import check_registered

_REMEDY: Final = {
    Reason.AGENT_INACTIVE: "it was taken out of service; register another one",
    Reason.AGENT_NO_OWNER: "name an owner in agents.toml",
    Reason.AGENT_REVIEW_OVERDUE: "look at what it did, then: lictor agents review NAME",
}


def check_registered_agent(
    agents: Mapping[AgentId, Agent], name: AgentId, now_ms: int, laid: Iterable[Containment] = ()
) -> Agent:
    """The registered agent, if it may receive authority.

    Args:
        agents: the registry in force.
        name: who is to receive authority.
        now_ms: milliseconds since the epoch.
        laid: restrictions in force; a suspended agent, owner or everything receives nothing new.

    Raises:
        CallerError: `unknown_agent`, `agent_inactive`, `agent_no_owner`, `agent_review_overdue` or `contained`.
    """
    agent = agents.get(name)
    if agent is None:
        raise CallerError(
            Reason.UNKNOWN_AGENT, f"agent {name[:80]!r} is not registered", remedy="add it: lictor agents add"
        )
    try:
        check_registered(agent, now_ms)
    except Refused as refused:
        raise CallerError(refused.reason, str(refused), remedy=_REMEDY.get(refused.reason, "")) from None
    if any(one.restriction is Restriction.SUSPENDED for one in laid_on(agent, laid)):
        raise CallerError(Reason.CONTAINED, f"agent {name[:80]!r} is suspended", remedy="see why: lictor contain list")
    return agent


def laid_on(agent: Agent, laid: Iterable[Containment]) -> tuple[Containment, ...]:
    """The restrictions that reach an agent whatever it does: laid on it, on its owner, or on everything."""
    targets = {Scope.AGENT: agent.id, Scope.OWNER: agent.owner, Scope.EVERYTHING: ""}
    return tuple(one for one in laid if targets.get(one.scope) == one.target)
