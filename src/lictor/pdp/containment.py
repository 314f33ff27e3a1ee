"""Restrictions joined after policy. They can only raise the answer on `Allow < NeedsApproval < Deny`; no path goes down.

Which restrictions touch a request is decided here too, so that replay finds the same ones.
"""

from collections.abc import Iterable, Mapping

import msgspec

from lictor.model.action import ActionRequest
from lictor.model.agent import Agent
from lictor.model.catalog import EffectClass
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.ids import TaskId
from lictor.model.signal import SignalRule


def touching(
    containments: Iterable[Containment],
    request: ActionRequest,
    tasks: Iterable[TaskId],
    agents: Iterable[Agent | None],
) -> tuple[Containment, ...]:
    """Those that are laid on something this request goes through: any task or agent of its chain, its server, its action."""
    principals = [agent for agent in agents if agent is not None]
    through = Through(
        tasks=frozenset((request.task, *tasks)),
        agents=frozenset([request.agent, *[agent.id for agent in principals]]),
        owners=frozenset([agent.owner for agent in principals]),
        server=request.server,
        action=request.action,
    )
    found = [containment for containment in containments if through.meets(containment)]
    return tuple(sorted(found, key=lambda containment: containment.id)) if found else ()


class Through(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What something goes through: all that a restriction on it can be laid on. Empty server and action: none yet."""

    tasks: frozenset[str]
    agents: frozenset[str]
    owners: frozenset[str]
    server: str = ""
    action: str = ""

    def meets(self, containment: Containment) -> bool:
        """Whether this restriction is laid on any of it."""
        target = containment.target
        match containment.scope:
            case Scope.EVERYTHING:
                return not target
            case Scope.AGENT:
                return target in self.agents
            case Scope.OWNER:
                return target in self.owners
            case Scope.TASK:
                return target in self.tasks
            case Scope.SERVER:
                return bool(target) and target == self.server
            case Scope.ACTION:
                return bool(target) and target == self.action

    def suspended(self, containments: Iterable[Containment]) -> bool:
        """Whether one of these suspends it."""
        return any(one.restriction is Restriction.SUSPENDED and self.meets(one) for one in containments)


def restrictions(
    containments: Iterable[Containment], rules: Iterable[SignalRule], scores: Mapping[str, int], effect: EffectClass
) -> frozenset[Restriction]:
    """What is laid on a request, and what its task's signals lay on an action of this effect class.

    A kind of signal that is needed and absent restricts as its highest score would.
    """
    found = {containment.restriction for containment in containments}
    for rule in rules:
        score = scores.get(rule.kind)
        if effect in rule.effects and (rule.needed if score is None else score >= rule.at_least):
            found.add(rule.restriction)
    return frozenset(found)


def forbids(laid: frozenset[Restriction], effect: EffectClass) -> bool:
    """Whether one of them forbids an action of this effect class outright."""
    return Restriction.SUSPENDED in laid or (Restriction.READ_ONLY in laid and effect is not EffectClass.READ)
