"""How often each policy mattered while tests ran: which ones no test would miss.

A policy is *determining* where it made the answer, also the permit that an approval would meet; *satisfied* where its conditions
held, whether or not another policy outweighed it. Refuses to know what was expected.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lictor.model.action import ActionRequest
from lictor.model.decision import NeedsApproval
from lictor.model.ids import PolicyId
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Engine, Entity, Pdp, decide
from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.verdict import Verdict, joined
from lictor.policy.bundle import Bundle
from lictor.policy.cedarschema import schema_text
from lictor.policy.compile import bundle_actions, entities
from lictor.policy.text import ParsedPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """One policy and how many of the questions it mattered in."""

    id: PolicyId
    effect: str
    where: str
    determining: int
    satisfied: int


class Coverage:
    """Counts over the questions of any number of suites of one bundle."""

    def __init__(self, policies: Sequence[ParsedPolicy]) -> None:
        self._policies = policies
        self._determining: Counter[PolicyId] = Counter()
        self._satisfied: Counter[PolicyId] = Counter()

    def ask(self, bundle: Bundle, pdp: Pdp, questions: Sequence[tuple[ActionRequest, Snapshot]]) -> None:
        """Decide questions, and count.

        Args:
            bundle: what `pdp` was compiled from.
            pdp: with the things of the suite, if it has any.
            questions: requests with their facts.

        Raises:
            OperatorError: the bundle does not compile.
        """
        # Beside a forbid the engine names no permit: those are asked for alone.
        permits = CedarEngine(
            {policy.id: policy.json for policy in bundle.policies if policy.effect == "permit"},
            schema_text(bundle_actions(bundle)),
            entities(bundle),
        )
        for request, snapshot in questions:
            counting = _Counting(pdp.engine, permits)
            decision = decide(replace(pdp, engine=counting), request, snapshot)
            held = counting.permitting if isinstance(decision, NeedsApproval) else set()
            self._determining.update({*decision.policies, *held})
            self._satisfied.update({*counting.satisfied, *decision.policies, *held})

    def policies(self) -> tuple[Covered, ...]:
        """Every policy of the bundle, in the order of its files."""
        ordered = sorted(self._policies, key=lambda policy: (policy.file, policy.line))
        return tuple(
            Covered(
                id=policy.id,
                effect=policy.effect,
                where=policy.where,
                determining=self._determining[policy.id],
                satisfied=self._satisfied[policy.id],
            )
            for policy in ordered
        )

    @property
    def percent(self) -> float:
        """Share of the policies that were determining at least once, 0 to 100."""
        covered = sum(one.determining > 0 for one in self.policies())
        return 100 * covered / max(1, len(self._policies))


class _Counting:
    """An engine that notes what it answers; its answers are the real ones."""

    def __init__(self, engine: Engine, permits: Engine) -> None:
        self._engine = engine
        self._permits = permits
        self.satisfied: set[PolicyId] = set()
        self.permitting: set[PolicyId] = set()
        """Permits of the last evaluation that allowed: of a hold, those an approval meets."""

    def evaluate(self, principal: Entity, action: str, resource: Entity, context: dict[str, Any]) -> Verdict:
        verdict = self._engine.evaluate(principal, action, resource, context)
        alone = self._permits.evaluate(principal, action, resource, context)
        self.satisfied.update(verdict.determining, alone.determining)
        if verdict.allowed:
            self.permitting = set(verdict.determining)
        return verdict

    def for_all(
        self, principals: tuple[Entity, ...], action: str, resource: Entity, context: dict[str, Any]
    ) -> Verdict:
        return joined([self.evaluate(principal, action, resource, context) for principal in principals])

    def may_permit(self, principal: Entity, action: str, resource: Entity) -> bool:
        return self._engine.may_permit(principal, action, resource)

    def groups_named(self, action: str, resource: Entity) -> frozenset[str]:
        return self._engine.groups_named(action, resource)
