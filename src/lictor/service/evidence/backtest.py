"""What another bundle would have answered to everything that was asked: newly allowed, denied, held; unchanged; or cannot tell.

Each recorded request is decided with the new bundle on its own facts (`policy.rebase`); what was recorded is compared with that,
never with a second guess. History is not lived again: a bundle that lets less through would also have left other totals and
labels behind, and what each request met is what it met then. Counts and one example by kind of difference: memory does not grow
with the log. Refuses to know folders and processes.
"""

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from lictor.model.action import action_words
from lictor.model.decision import Decision, NeedsApproval
from lictor.model.ids import RequestId
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp, decide
from lictor.policy.rebase import rebase
from lictor.policy.recorded import ANSWERS
from lictor.service.calls.traffic import Compile, Passed, Reader, Recorded, Wanted, passed

Kind = Literal["newly_allowed", "newly_denied", "newly_held", "unchanged", "cannot_tell"]
KINDS: Final[tuple[Kind, ...]] = ("newly_allowed", "newly_denied", "newly_held", "unchanged", "cannot_tell")
NEW: Final[dict[str, Kind]] = {"allow": "newly_allowed", "deny": "newly_denied", "needs_approval": "newly_held"}
"""The kind of a difference, by what the new bundle answers."""
_STRICT: Final = ("allow", "needs_approval", "deny")
MAX_GROUPS: Final = 5_000
"""Kinds of difference told apart; what comes after them is counted together."""
OTHERS: Final = "…"
LATE: Final = "denied for being late: how long it took says nothing about the bundle"


class Sort(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What differences have in common that are counted together."""

    kind: Kind
    agent: str
    action: str
    was: str = ""
    was_reason: str = ""
    was_by: tuple[str, ...] = ()
    now: str = ""
    now_reason: str = ""
    now_by: tuple[str, ...] = ()
    why: str = ""
    """Why it cannot be told; or, of an unchanged answer, nothing."""

    @property
    def looser(self) -> bool:
        """Whether the new bundle asks for less."""
        return bool(self.now) and _STRICT.index(self.now) < _STRICT.index(self.was)

    @property
    def suspect(self) -> bool:
        """Whether nobody can say that it is not looser: it is, or it asks other people, or it was counted with others."""
        if self.kind in {"unchanged", "cannot_tell"}:
            return False
        return self.looser or self.was == self.now


class Group(msgspec.Struct, kw_only=True):
    """How many there are of one sort, and the first of them."""

    sort: Sort
    count: int
    example: RequestId


class Report(msgspec.Struct, kw_only=True):
    """Counts over a range of the log; ranges add up (`merged`). Unchanged answers are only counted."""

    counts: dict[str, int]
    groups: list[Group]

    @property
    def different(self) -> int:
        """Answers that differ."""
        return sum(self.counts[kind] for kind in ("newly_allowed", "newly_denied", "newly_held"))

    @property
    def suspect(self) -> int:
        """Answers of which nobody can say that the new bundle is not looser there."""
        return sum(group.count for group in self.groups if group.sort.suspect)


class Backtest:
    """Answers recorded requests with another bundle."""

    def __init__(self, store: Recorded, compile_bundle: Compile, pdp: Pdp, before: Pdp | None = None) -> None:
        """Of one log.

        Args:
            store: the log.
            compile_bundle: for the bundles that were in force.
            pdp: the bundle that is tried.
            before: compare with this bundle's answers, not with those that were recorded.
        """
        self._store = store
        self._reader = Reader(store, compile_bundle)
        self._pdp = pdp
        self._before = before

    def __call__(self, wanted: Wanted, on_progress: Callable[[int], None] | None = None) -> Report:
        """Everything that is wanted, in one pass.

        Raises:
            StoreError: the log cannot be read.
        """
        report = Tally()
        for one in passed(self._store, wanted, on_progress):
            report.add(self.sort(one), one.decided.request)
        return report.report()

    def sort(self, one: Passed) -> Sort:
        """One decision compared."""
        agent, action = _names(one)
        facts = self._reader.facts(one)
        if isinstance(facts, str):
            return Sort(kind="cannot_tell", agent=agent, action=action, why=facts)
        action = facts.request.action
        if self._before is None and one.decided.reason == Reason.POLICY_TIMEOUT:
            return Sort(kind="cannot_tell", agent=agent, action=action, why=LATE)
        answers: list[_Answer] = []
        for pdp in (self._pdp,) if self._before is None else (self._pdp, self._before):
            changed = one.decided.reason == Reason.TOOL_CHANGED
            rebased = rebase(pdp, facts.request, facts.snapshot, facts.basis, changed=changed)
            decision = decide(pdp, facts.request, rebased.snapshot)
            if not rebased.tells(decision):
                why = f"never recorded: {', '.join(rebased.unknown)}"
                return Sort(kind="cannot_tell", agent=agent, action=action, why=why)
            answers.append(_answer(decision))
        was = answers[1] if self._before is not None else _recorded(one)
        return compared(agent, action, was, answers[0])


class _Answer(msgspec.Struct, frozen=True):
    """An outcome, its reason, its policies, and who is asked."""

    outcome: str
    reason: str
    policies: tuple[str, ...]
    approvers: tuple[tuple[str, ...], ...]


def _answer(decision: Decision) -> _Answer:
    approvers = decision.approvers if isinstance(decision, NeedsApproval) else ()
    return _Answer(ANSWERS[type(decision)], decision.reason.value, tuple(decision.policies), approvers)


def _recorded(one: Passed) -> _Answer:
    made = one.decided
    return _Answer(made.outcome, made.reason, tuple(made.policies), made.approvers)


def compared(agent: str, action: str, was: _Answer, now: _Answer) -> Sort:
    """The sort of two answers to one request. Asking other people is a difference; another reason for the same answer is none."""
    if (was.outcome, was.approvers) == (now.outcome, now.approvers):
        return Sort(kind="unchanged", agent=agent, action=action)
    other_people = was.outcome == now.outcome
    return Sort(
        kind=NEW[now.outcome],
        agent=agent,
        action=action,
        was=was.outcome,
        was_reason=was.reason,
        was_by=was.policies,
        now=now.outcome,
        now_reason=now.reason,
        now_by=now.policies,
        why=f"asks {_people(now)} instead of {_people(was)}" if other_people else "",
    )


def _people(answer: _Answer) -> str:
    return " or ".join("+".join(groups) for groups in answer.approvers)


def _names(one: Passed) -> tuple[str, str]:
    return (
        (one.asked.agent, action_words(one.asked.kind, one.asked.server, one.asked.name)) if one.asked else ("?", "?")
    )


class Tally:
    """Counts by sort."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._groups: dict[Sort, Group] = {}

    def add(self, sort: Sort, example: RequestId, count: int = 1) -> None:
        """Some of a sort."""
        self._counts[sort.kind] += count
        if sort.kind == "unchanged":
            return
        if sort not in self._groups and len(self._groups) >= MAX_GROUPS:
            sort = Sort(kind=sort.kind, agent=OTHERS, action=OTHERS)
        group = self._groups.get(sort)
        if group is None:
            self._groups[sort] = Group(sort=sort, count=count, example=example)
        else:
            group.count += count

    def count_unchanged(self, count: int) -> None:
        """Unchanged answers counted elsewhere."""
        self._counts["unchanged"] += count

    def report(self) -> Report:
        """Everything so far; what is newly allowed first, then by count."""
        order = {kind: index for index, kind in enumerate(KINDS)}
        groups = sorted(
            self._groups.values(), key=lambda one: (order[one.sort.kind], -one.count, one.sort.agent, one.sort.action)
        )
        return Report(counts=dict(self._counts), groups=groups)


def merged(reports: Iterable[Report]) -> Report:
    """The reports of consecutive ranges as one; each example is the first there was."""
    tally = Tally()
    for report in reports:
        tally.count_unchanged(report.counts["unchanged"])
        for group in report.groups:
            tally.add(group.sort, group.example, group.count)
    return tally.report()
