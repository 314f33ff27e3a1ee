"""What agents really used: allowed requests by agent, permit, action and thing, with the bounds that all of them kept.

Bounded: of each fact only so many values are kept; past that nothing is said about it. Refuses to know the log and policy text.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from lictor.model.action import ActionRequest
from lictor.model.catalog import CatalogEntry
from lictor.model.decision import Allow, Decision
from lictor.model.ids import AgentId, PolicyId
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import Engine, Entity, Pdp, decide
from lictor.pdp.verdict import Verdict, joined

MAX_VALUES: Final = 50
"""Different values of one fact that are kept."""
MAX_USES: Final = 20_000
"""Agent, permit, action and thing together."""
SETS: Final = (
    ("destination", "hosts"),
    ("destination", "addresses"),
    ("path", "roots"),
    ("sql", "kinds"),
    ("sql", "tables"),
    ("command", "programs"),
)
"""Facts that are sets; what was seen of them bounds what is drafted."""
FLAGS: Final = (("path", "inside"), ("sql", "read_only"), ("command", "understood"))
"""Facts that are true or false; those that were always true stay demanded."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is counted together."""

    agent: AgentId
    permit: PolicyId
    action: str
    resource: Entity


@dataclass(slots=True)
class Use:
    """What one agent did under one permit with one thing.

    Attributes:
        sets: values seen by fact, None where there were too many.
        groups: directory groups that listed every destination; None before there was one.
        values: greatest amount seen by currency, in minor units.
        approvals: groups of the approvals, each use with its own; `approved` counts those uses.
    """

    key: Key
    entry: CatalogEntry
    count: int = 0
    approved: int = 0
    first_ms: int = 0
    last_ms: int = 0
    example: str = ""
    purposes: set[str] = field(default_factory=set)
    sets: dict[tuple[str, str], set[str] | None] = field(default_factory=dict)
    flags: dict[tuple[str, str], bool] = field(default_factory=dict)
    groups: set[str] | None = None
    values: dict[str, int] = field(default_factory=dict)
    approvals: set[str] = field(default_factory=set)

    def add(self, request: ActionRequest, snapshot: Snapshot, context: Mapping[str, Any]) -> None:
        """One use more."""
        self.first_ms = min(self.first_ms, snapshot.at_ms) if self.count else snapshot.at_ms
        self.last_ms = max(self.last_ms, snapshot.at_ms)
        self.example = self.example or request.id
        self.count += 1
        self.purposes.add(context["task"]["purpose"])
        for path in SETS:
            if path[0] in context:
                self._see(path, context[path[0]][path[1]])
        for path in FLAGS:
            if path[0] in context:
                self.flags[path] = self.flags.get(path, True) and bool(context[path[0]][path[1]])
        if "destination" in context:
            listed = set(context["destination"]["directory"])
            self.groups = listed if self.groups is None else self.groups & listed
        if "value" in context:
            currency, amount = context["value"]["currency"], context["value"]["amount"]
            self.values[currency] = max(amount, self.values.get(currency, 0))
        if "approval" in context:
            self.approved += 1
            self.approvals.update(context["approval"]["groups"])

    def _see(self, path: tuple[str, str], values: list[str]) -> None:
        seen = self.sets.setdefault(path, set())
        if seen is not None:
            seen.update(values)
            if len(seen) > MAX_VALUES:
                self.sets[path] = None


class Observed:
    """Uses, collected one request at a time."""

    def __init__(self, pdp: Pdp) -> None:
        self._pdp = pdp
        self._uses: dict[Key, Use] = {}

    @property
    def uses(self) -> tuple[Use, ...]:
        """Sorted by agent, action, permit."""
        order = sorted(self._uses, key=lambda key: (key.agent, key.action, key.resource, key.permit))
        return tuple(self._uses[key] for key in order)

    def add(self, request: ActionRequest, snapshot: Snapshot) -> Decision:
        """Decide a request with the bundle; if it is allowed, it is a use of every agent in its chain.

        Returns:
            The decision: what is not allowed any more is not a use.
        """
        asked = _Listening(self._pdp.engine)
        decision = decide(replace(self._pdp, engine=asked), request, snapshot)
        offering = self._pdp.offering(request.kind, request.server, request.name)
        if isinstance(decision, Allow) and offering is not None:
            for key, context in asked.allowed():
                use = self._uses.get(key)
                if use is None and len(self._uses) < MAX_USES:
                    use = self._uses[key] = Use(key=key, entry=offering.entry)
                if use is not None:
                    use.add(request, snapshot, context)
        return decision


class _Listening:
    """The engine, remembering what it allowed and by which permits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._heard: list[tuple[Entity, str, Entity, dict[str, Any], Verdict]] = []

    def allowed(self) -> Iterator[tuple[Key, dict[str, Any]]]:
        """For each agent that was asked about: the first permit that allowed, and the facts."""
        for principal, action, resource, context, verdict in self._heard:
            if verdict.allowed and verdict.determining:
                yield Key(AgentId(principal[1]), verdict.determining[0], action, resource), context

    def evaluate(self, principal: Entity, action: str, resource: Entity, context: dict[str, Any]) -> Verdict:
        verdict = self._engine.evaluate(principal, action, resource, context)
        self._heard.append((principal, action, resource, context, verdict))
        return verdict

    def for_all(
        self, principals: tuple[Entity, ...], action: str, resource: Entity, context: dict[str, Any]
    ) -> Verdict:
        return joined([self.evaluate(principal, action, resource, context) for principal in principals])

    def may_permit(self, principal: Entity, action: str, resource: Entity) -> bool:
        return self._engine.may_permit(principal, action, resource)

    def groups_named(self, action: str, resource: Entity) -> frozenset[str]:
        return self._engine.groups_named(action, resource)
