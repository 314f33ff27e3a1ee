"""Who has to answer what: open holds sorted for one person, without opening a payload. Pure, but for reading the store's state.

Refuses to know pages, and whether an answer suffices: that is `decide`'s word.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lictor.console.views import GroupView, RowView, WayView
from lictor.model.approval import Hold, HoldStatus, Need, Strength, seal_of
from lictor.model.ids import HumanId, TaskId
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp.decide import Pdp
from lictor.pdp.roles import Role
from lictor.ports import RecordStore

MOST_OPEN: Final = 2_000
"""Open holds looked at; a task opens a few a minute (`Limits.holds_per_task_per_minute`), so more than that is a flood."""
MOST_LATELY: Final = 1_000
"""Holds of any state looked at for answers that can be taken back, and for figures."""
PROOFS: Final[Mapping[int, str]] = {
    Strength.SECRET: "",
    Strength.LOGIN: "a sign-in with the organisation, or a passkey",
    Strength.PASSKEY: "a passkey",
}
"""What a strength is called; one we do not know is the strongest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Open holds for one person, the most urgent first."""

    mine: tuple[Hold, ...]
    """They can answer, and have not."""
    others: tuple[Hold, ...]
    """Somebody else has to, or they have said yes and more people are needed."""


def open_holds(store: RecordStore, now_ms: int) -> tuple[tuple[int, Hold], ...]:
    """Those an answer could still matter to, each with the moment until which it could, the most urgent first."""
    tasks: dict[TaskId, TaskState | None] = {}
    found: list[tuple[int, Hold]] = []
    for hold in store.holds(pending_only=True, limit=MOST_OPEN):
        if hold.task not in tasks:
            tasks[hold.task] = store.task(hold.task)
        ends_ms = _ends_ms(hold, tasks[hold.task])
        if now_ms < ends_ms:
            found.append((ends_ms, hold))
    return tuple(sorted(found, key=lambda one: (one[0], one[1].id)))


def answerable(store: RecordStore, hold: Hold, now_ms: int) -> bool:
    """Whether an answer could still matter: the hold waits, and the task it belongs to lives."""
    return now_ms < _ends_ms(hold, store.task(hold.task))


def _ends_ms(hold: Hold, state: TaskState | None) -> int:
    """Until when an answer matters; 0: it does not."""
    if hold.status is not HoldStatus.PENDING or state is None or state.status is not TaskStatus.OPEN:
        return 0
    return min(hold.expires_at_ms, state.task.expires_at_ms)


def sort_out(pdp: Pdp, holds: Iterable[Hold], person: HumanId) -> Sorted:
    """Which of these wait for this person."""
    mine: list[Hold] = []
    others: list[Hold] = []
    for hold in holds:
        (others if why_not(pdp, hold, person) else mine).append(hold)
    return Sorted(mine=tuple(mine), others=tuple(others))


def why_not(pdp: Pdp, hold: Hold, person: HumanId) -> str:
    """Why this person cannot approve a pending hold; empty: they can. `Answer.approve` checks it again."""
    approvers = pdp.approvers
    if Role.APPROVER not in approvers.roles_of(person):
        return "you may look, and answer nothing"
    groups = set(approvers.groups_of.get(person, ()))
    if not any(groups.intersection(way.groups) for way in hold.ways):
        return "you are in none of the groups that can approve this"
    agent = pdp.agents.get(hold.agent)
    if not approvers.may_answer(person, requester=hold.human, owner=agent.owner if agent is not None else ""):
        if person == hold.human:
            return "the agent works for you: somebody else has to answer (four_eyes)"
        return "you own the agent: somebody else has to answer (owners)"
    if any(one.approver == person for one in hold.given):
        return "you have approved it; more people have to"
    return ""


def may_deny(pdp: Pdp, person: HumanId) -> bool:
    """Whether this person's no counts for a pending hold: every approver's does, as in `Answer.deny`."""
    return Role.APPROVER in pdp.approvers.roles_of(person)


def proof_needed(hold: Hold, groups: Iterable[str]) -> int:
    """How strongly somebody of these groups has to prove who they are at least, for their answer to count at all."""
    mine = set(groups)
    return min((way.strength for way in hold.ways if mine.intersection(way.groups)), default=Strength.PASSKEY)


def may_withdraw(store: RecordStore, hold: Hold, person: HumanId, now_ms: int) -> bool:
    """Whether this person has said yes, and it has not been used."""
    match hold.status:
        case HoldStatus.PENDING:
            said = hold.given
        case HoldStatus.APPROVED if hold.approval is not None and not hold.approval.allowance:
            said = hold.approval.people if now_ms < hold.approval.expires_at_ms else ()
        case _:
            said = ()
    if not any(one.approver == person for one in said):
        return False
    state = store.task(hold.task)
    return state is not None and state.status is TaskStatus.OPEN and now_ms < state.task.expires_at_ms


def ways_of(hold: Hold) -> tuple[WayView, ...]:
    """Each way to approve, and who counts towards it."""
    return tuple(_way(way, hold) for way in hold.ways)


def _way(way: Need, hold: Hold) -> WayView:
    return WayView(
        groups=way.groups,
        people=max(1, way.people),
        proof=PROOFS.get(way.strength, PROOFS[Strength.PASSKEY]),
        given=tuple(one.approver for one in way.counted(hold.given)),
    )


def row_view(store: RecordStore, pdp: Pdp, hold: Hold, now_ms: int, person: HumanId, *, answered: str = "") -> RowView:
    """A hold as a line of a list."""
    offering = pdp.offering(hold.kind, hold.server, hold.name)
    state = store.task(hold.task)
    expired = hold.status is HoldStatus.PENDING and now_ms >= hold.expires_at_ms
    return RowView(
        id=hold.id,
        server=hold.server,
        tool=hold.name,
        kind=hold.kind.value,
        effect=offering.entry.effect.value if offering is not None else "unknown",
        agent=hold.agent,
        human=hold.human,
        purpose=state.task.purpose if state is not None else "",
        ways=ways_of(hold),
        short=short_seal(seal_of(hold)),
        opened_ms=hold.opened_at_ms,
        ago_ms=max(0, now_ms - hold.opened_at_ms),
        left_ms=max(0, hold.expires_at_ms - now_ms),
        status="expired" if expired else hold.status.value,
        override=hold.override,
        answered=answered,
        may_withdraw=may_withdraw(store, hold, person, now_ms),
    )


def short_seal(seal: str) -> str:
    """The first 12 hexadecimal digits of a seal in threes of four: enough to compare two screens by eye."""
    digits = seal.removeprefix("sha256:")[:12]
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


def related(hold: Hold) -> tuple[str, ...]:
    """What holds have in common that people can look at together."""
    return (hold.agent, hold.human, hold.kind.value, hold.server, hold.name)


def grouped(rows: Sequence[RowView], *, together: bool) -> tuple[GroupView, ...]:
    """Rows side by side that are related; groups in the order of their most urgent row."""
    groups: dict[tuple[str, ...], list[RowView]] = {}
    for row in rows:
        groups.setdefault((row.agent, row.human, row.kind, row.server, row.tool), []).append(row)
    return tuple(GroupView(rows=tuple(found), together=together and len(found) > 1) for found in groups.values())
