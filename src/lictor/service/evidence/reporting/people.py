"""Who was asked, who answered what, and how fast: a fold over the records of approvals. Bounded by open holds and by people.

Refuses to say what makes a good approver; the figures are for people to judge.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from lictor.model.action import action_words
from lictor.model.approval import Hold
from lictor.model.ids import HoldId, HumanId
from lictor.model.record import (
    AllowanceGiven,
    ApprovalGiven,
    ApprovalWithdrawn,
    DenyOverridden,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    Record,
)
from lictor.service.evidence.reporting.counted import Latest, Spread

FAST_S: Final = 5
"""An approval in less time than that was hardly read."""
MAX_HOLDS: Final = 100_000
"""Holds remembered until they end; past that the oldest is forgotten, and its answer counts without its time."""


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """Break-glass, once."""

    at_ms: int
    by: str
    why: str
    action: str
    agent: str


@dataclass(slots=True)
class Answers:
    """What one person answered in the period."""

    given: int = 0
    denied: int = 0
    withdrawn: int = 0
    overrides: int = 0
    ahead: int = 0
    with_passkey: int = 0
    last_ms: int = 0
    took: Spread = field(default_factory=Spread)
    fast: int = 0
    """Yeses in less than `FAST_S`."""


@dataclass(slots=True)
class _Open:
    opened_at_ms: int
    action: str
    agent: str
    people: tuple[HumanId, ...] = ()


@dataclass(slots=True)
class People:
    """The fold."""

    answers: dict[HumanId, Answers] = field(default_factory=dict)
    asked: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Holds opened in the period, by the groups that could answer them."""
    overrides: Latest[Override] = field(default_factory=Latest)
    two_people: int = 0
    holds: dict[HoldId, _Open] = field(default_factory=dict)

    def take(self, record: Record, at_ms: int, *, counted: bool) -> bool:
        """Fold one record in; whether it started something that two or more people had approved.

        Args:
            record: the next of the log.
            at_ms: when it was written.
            counted: whether it is of the period; state is kept of all of them.
        """
        match record:
            case HoldOpened(hold=hold):
                self._opened(hold, counted=counted)
            case ExecutionStarted(hold=spent) if spent is not None:
                found = self.holds.pop(spent, None)
                return found is not None and len(found.people) > 1
            case HoldExpired(hold=expired):
                self.holds.pop(expired, None)
            case _:
                self._answered(record, at_ms, counted=counted)
        return False

    def _opened(self, hold: Hold, *, counted: bool) -> None:
        words = action_words(hold.kind, hold.server, hold.name)
        self.holds[hold.id] = _Open(opened_at_ms=hold.opened_at_ms, action=words, agent=hold.agent)
        if len(self.holds) > MAX_HOLDS:
            self.holds.pop(next(iter(self.holds)))
        if counted:
            self.asked[tuple(sorted({group for way in hold.ways for group in way.groups}))] += 1

    def _answered(self, record: Any, at_ms: int, *, counted: bool) -> None:
        match record:
            case ApprovalGiven(approval=approval):
                found = self.holds.get(approval.hold)
                if found is not None:
                    found.people = tuple(dict.fromkeys((*found.people, approval.approver)))
                if counted:
                    self._yes(record, at_ms, found)
            case ApprovalWithdrawn(hold=hold, by=by):
                found = self.holds.get(hold)
                if found is not None:
                    found.people = tuple(one for one in found.people if one != by)
                if counted:
                    self._of(by, at_ms).withdrawn += 1
            case HoldDenied(hold=hold, by=by):
                found = self.holds.pop(hold, None)
                if counted:
                    mine = self._of(by, at_ms)
                    mine.denied += 1
                    self._timed(mine, at_ms, found)
            case AllowanceGiven(allowance=allowance) if counted:
                self._of(allowance.approval.approver, at_ms).ahead += 1
            case DenyOverridden(hold=hold, by=by, why=why) if counted:
                found = self.holds.get(hold)
                self._of(by, at_ms).overrides += 1
                action, agent = (found.action, found.agent) if found else ("", "")
                self.overrides.add(Override(at_ms=at_ms, by=by, why=why, action=action, agent=agent))
            case _:
                pass

    def _yes(self, record: ApprovalGiven, at_ms: int, found: _Open | None) -> None:
        mine = self._of(record.approval.approver, at_ms)
        mine.given += 1
        mine.with_passkey += bool(record.approval.passkey)
        took = self._timed(mine, at_ms, found)
        mine.fast += took is not None and took < FAST_S * 1_000

    @staticmethod
    def _timed(mine: Answers, at_ms: int, found: _Open | None) -> int | None:
        if found is None:
            return None
        mine.took.add(at_ms - found.opened_at_ms)
        return at_ms - found.opened_at_ms

    def _of(self, human: HumanId, at_ms: int) -> Answers:
        mine = self.answers.setdefault(human, Answers())
        mine.last_ms = max(mine.last_ms, at_ms)
        return mine
