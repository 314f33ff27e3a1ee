"""Decisions joined with the policies that made them, as those stood then: what kind of rule stopped how much, for which control.

A revision that was not kept, or does not parse any more, is said; its decisions are counted for no control. Refuses to decide.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lictor.model.errors import LictorError
from lictor.model.ids import PolicyId, PolicyRevision
from lictor.policy.compile import parse_guarded
from lictor.policy.standards import ANNOTATION, identifiers, named
from lictor.policy.text import ParsedPolicy
from lictor.policy.topics import topics_of
from lictor.service.evidence.reporting.counted import Figure
from lictor.service.evidence.reporting.tally import Ruled

BundleOf = Callable[[PolicyRevision], Mapping[str, bytes] | None]
"""The kept files of a revision; None: they were not kept."""


@dataclass(slots=True)
class ByControl:
    """Decisions of the period whose policies name one identifier."""

    allowed: int = 0
    held: int = 0
    denied: int = 0
    last_ms: int = 0

    @property
    def stopped(self) -> int:
        """Held and denied."""
        return self.held + self.denied


@dataclass(slots=True)
class Rules:
    """The join.

    Attributes:
        controls: by identifier; only known ones.
        stopped: figures `stopped.TOPIC`: decisions that a `forbid` on a topic denied or held.
        policies: by policy id: allowed, held, denied, the last moment.
        unread: decisions of revisions that cannot be read any more.
    """

    controls: dict[str, ByControl] = field(default_factory=dict)
    stopped: dict[str, Figure] = field(default_factory=dict)
    policies: dict[PolicyId, ByControl] = field(default_factory=dict)
    unread: int = 0


@dataclass(frozen=True, slots=True)
class _Rule:
    forbids: bool
    topics: frozenset[str]
    controls: tuple[str, ...]


def rules_of(ruled: Mapping[Ruled, Figure], bundle_of: BundleOf) -> Rules:
    """Join a tally's decisions with the policies of their revisions."""
    found = Rules()
    known: dict[PolicyRevision, dict[PolicyId, _Rule] | None] = {}
    for (revision, outcome, policies), figure in ruled.items():
        if not policies:
            continue
        if revision not in known:
            known[revision] = _rules(bundle_of(revision))
        rules = known[revision]
        if rules is None:
            found.unread += figure.count
        else:
            _count(found, outcome, policies, rules, figure)
    return found


def controls_named(policies: Iterable[ParsedPolicy]) -> dict[str, int]:
    """How many policies name each known identifier."""
    counts: dict[str, int] = {}
    for policy in policies:
        for name in _controls(policy):
            counts[name] = counts.get(name, 0) + 1
    return counts


def _controls(policy: ParsedPolicy) -> tuple[str, ...]:
    return tuple(name for name in named(policy.annotations.get(ANNOTATION, "")) if name in identifiers())


def _rules(files: Mapping[str, bytes] | None) -> dict[PolicyId, _Rule] | None:
    if files is None:
        return None
    try:
        policies = parse_guarded(files)
    except LictorError:
        return None
    return {one.id: _Rule(one.effect == "forbid", topics_of(one.json), _controls(one)) for one in policies}


def _count(
    found: Rules, outcome: str, policies: tuple[PolicyId, ...], rules: Mapping[PolicyId, _Rule], figure: Figure
) -> None:
    """Count one combination; a decision counts once for each topic and control, however many of its policies have it."""
    mine = [rules[policy] for policy in policies if policy in rules]
    for policy in policies:
        _add(found.policies.setdefault(policy, ByControl()), outcome, figure)
    for name in sorted({name for rule in mine for name in rule.controls}):
        _add(found.controls.setdefault(name, ByControl()), outcome, figure)
    if outcome != "allow":
        for topic in sorted({topic for rule in mine if rule.forbids for topic in rule.topics}):
            found.stopped.setdefault(f"stopped.{topic}", Figure()).join(figure)


def _add(counts: ByControl, outcome: str, figure: Figure) -> None:
    match outcome:
        case "allow":
            counts.allowed += figure.count
        case "needs_approval":
            counts.held += figure.count
        case _:
            counts.denied += figure.count
    counts.last_ms = max(counts.last_ms, figure.last_ms)
