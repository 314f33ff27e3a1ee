"""How approvers answer: how often they are asked, how fast, and whether they ever say no. Pure.

Whoever says yes to everything within seconds is worn down, and no protection any more (DESIGN section 8, "against fatigue").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from lictor.model.approval import Hold, HoldStatus
from lictor.model.ids import HumanId
from lictor.pdp.decide import Pdp

MANY: Final = 20
"""Answers from which on never having said no is remarkable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One approver, over the holds looked at."""

    person: HumanId
    asked: int
    """Holds they could have answered."""
    yes: int
    no: int
    median_ms: int
    """Between the hold's opening and their answer; 0 without one."""

    @property
    def answered(self) -> int:
        """How many they answered."""
        return self.yes + self.no

    @property
    def share(self) -> int:
        """Of a hundred answers, how many are yes."""
        return self.yes * 100 // self.answered if self.answered else 0

    @property
    def always(self) -> bool:
        """Whether they have said yes many times and never no."""
        return self.no == 0 and self.yes >= MANY


def figures(pdp: Pdp, holds: Sequence[Hold]) -> tuple[Figure, ...]:
    """One for each approver of the bundle, those with the most answers first."""
    answers: dict[HumanId, list[tuple[bool, int]]] = {}
    for hold in holds:
        for person, yes, took_ms in _answers(hold):
            answers.setdefault(person, []).append((yes, took_ms))
    found = [_figure(pdp, holds, person, answers.get(person, [])) for person in pdp.approvers.groups_of]
    return tuple(sorted(found, key=lambda one: (-one.answered, one.person)))


def _figure(pdp: Pdp, holds: Sequence[Hold], person: HumanId, answers: Sequence[tuple[bool, int]]) -> Figure:
    groups = frozenset(pdp.approvers.groups_of.get(person, ()))
    yes = sum(said for said, _ in answers)
    return Figure(
        person=person,
        asked=sum(_could(pdp, hold, person, groups) for hold in holds),
        yes=yes,
        no=len(answers) - yes,
        median_ms=round(median(took for _, took in answers)) if answers else 0,
    )


def _could(pdp: Pdp, hold: Hold, person: HumanId, groups: frozenset[str]) -> bool:
    if not any(groups.intersection(way.groups) for way in hold.ways):
        return False
    agent = pdp.agents.get(hold.agent)
    return pdp.approvers.may_answer(person, requester=hold.human, owner=agent.owner if agent is not None else "")


def _answers(hold: Hold) -> Iterator[tuple[HumanId, bool, int]]:
    """Who said what, and after how many milliseconds. What was approved ahead was nobody's answer to this hold."""
    for one in hold.given or (hold.approval.people if hold.approval is not None else ()):
        if not one.allowance:
            yield one.approver, True, max(0, one.given_at_ms - hold.opened_at_ms)
    if hold.status is HoldStatus.DENIED and hold.answered_by and hold.answered_at_ms:
        yield hold.answered_by, False, max(0, hold.answered_at_ms - hold.opened_at_ms)
