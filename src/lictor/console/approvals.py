"""The lists of the approvals room: what waits, what was answered, what is approved ahead, what nobody knows, and figures.

No payload is opened for a list: a thousand open holds are a thousand rows of state. Refuses to know what a hold holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from weakref import WeakKeyDictionary

from starlette.responses import Response

from lictor.console import waiting
from lictor.console.decisions_view import index_of
from lictor.console.figures import figures
from lictor.console.rooms import OpenRow, Role, Rooms, Row, Visit
from lictor.console.views import RowView
from lictor.model.action import action_words
from lictor.model.approval import Allowance, Hold, HoldStatus
from lictor.model.ids import AllowanceId, ExecutionId, HumanId
from lictor.model.record import ExecutionStarted
from lictor.service.evidence.decisions import Decisions

PER_PAGE: Final = 50
MOST_UNKNOWN: Final = 50
"""Executions shown whose outcome nobody knows; the next come when these are settled."""
MAX_NOTE: Final = 500
MAX_MS: Final = 2**53
MAX_SORTED: Final = 100
"""People whose list is kept sorted."""


class Lists:
    """Open and late holds of a console, read again when the log has grown, sorted again when one of them has ended."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._open: tuple[object, int, tuple[Hold, ...]] = (None, 0, ())
        """What was read, the first moment at which one of them ends, and those that have not ended."""
        self._sorted: dict[HumanId, tuple[object, object, waiting.Sorted]] = {}

    def open(self) -> tuple[Hold, ...]:
        """Those an answer could still matter to, the most urgent first."""
        now = self._rooms.console.clock.now_ms()
        read = self._rooms.while_same("open holds", lambda: waiting.open_holds(self._rooms.console.store, now))
        if read is not self._open[0] or now >= self._open[1]:
            left = [(ends_ms, hold) for ends_ms, hold in read if now < ends_ms]
            self._open = (read, left[0][0] if left else MAX_MS, tuple(hold for _, hold in left))
        return self._open[2]

    def of(self, human: HumanId) -> waiting.Sorted:
        """The same, for somebody who is signed in: what waits for them, and what for others."""
        holds, pdp = self.open(), self._rooms.console.policy.current()
        kept = self._sorted.get(human)
        if kept is not None and kept[0] is holds and kept[1] is pdp:
            return kept[2]
        if len(self._sorted) >= MAX_SORTED:
            self._sorted.clear()
        found = waiting.sort_out(pdp, holds, human)
        self._sorted[human] = (holds, pdp, found)
        return found

    def lately(self) -> Sequence[Hold]:
        """The newest, whatever became of them."""
        store = self._rooms.console.store
        return self._rooms.while_same("holds lately", lambda: store.holds(limit=waiting.MOST_LATELY))


_LISTS: WeakKeyDictionary[Rooms, Lists] = WeakKeyDictionary()


def lists(rooms: Rooms) -> Lists:
    """The lists of a console; one for each."""
    found = _LISTS.get(rooms)
    if found is None:
        found = _LISTS[rooms] = Lists(rooms)
    return found


def routes(rooms: Rooms) -> list[Row | OpenRow]:
    """Its routes."""
    del rooms
    return [
        Row(method="GET", path="/", handler=inbox),
        Row(method="GET", path="/approvals/answered", handler=answered),
        Row(method="GET", path="/approvals/ahead", handler=ahead),
        Row(method="POST", path="/approvals/ahead/{allowance}", handler=revoke, role=Role.APPROVER),
        Row(method="GET", path="/approvals/unknown", handler=unknown),
        Row(method="POST", path="/approvals/unknown/{execution}", handler=settle, role=Role.APPROVER),
        Row(method="GET", path="/approvals/people", handler=people),
    ]


async def inbox(visit: Visit) -> Response:
    """What waits: for this person first, then for others."""
    console, now = visit.console, visit.now_ms
    found = lists(visit.rooms).of(visit.human)
    start = visit.number("from", 0, most=waiting.MOST_OPEN)
    both = [*((hold, True) for hold in found.mine), *((hold, False) for hold in found.others)]
    shown = both[start : start + PER_PAGE]
    rows = [(waiting.row_view(console.store, visit.pdp, hold, now, visit.human), mine) for hold, mine in shown]
    return visit.page(
        "approvals.html",
        title="Approvals",
        nav="approvals",
        live=True,
        tab="waiting",
        counts=_counts(visit),
        mine=waiting.grouped([row for row, mine in rows if mine], together=Role.APPROVER in visit.roles),
        others=waiting.grouped([row for row, mine in rows if not mine], together=False),
        total_mine=len(found.mine),
        total=len(both),
        start=start,
        stop=start + len(shown),
        newer=f"/?from={max(0, start - PER_PAGE)}" if start else "",
        older=f"/?from={start + PER_PAGE}" if start + PER_PAGE < len(both) else "",
        soon_ms=120_000,
    )


async def answered(visit: Visit) -> Response:
    """What this person answered lately, and can take back."""
    rows = [_answered(visit, hold, said) for hold in lists(visit.rooms).lately() if (said := _said(visit, hold))]
    rows.sort(key=lambda row: (not row.may_withdraw, -row.opened_ms))
    return visit.page(
        "approvals_answered.html",
        title="Your answers",
        nav="approvals",
        live=True,
        tab="answered",
        counts=_counts(visit),
        rows=rows[:PER_PAGE],
        total=len(rows),
    )


async def ahead(visit: Visit) -> Response:
    """What is approved ahead, and how much of it is left."""
    now = visit.now_ms
    return visit.page(
        "approvals_ahead.html",
        title="Approved ahead",
        nav="approvals",
        live=True,
        tab="ahead",
        counts=_counts(visit),
        allowances=_in_force(visit),
        now=now,
        may_revoke=Role.APPROVER in visit.roles,
    )


async def revoke(visit: Visit) -> Response:
    """End an allowance."""
    allowance = AllowanceId(visit.path("allowance"))
    await visit.console.answer.revoke_allowance(allowance, visit.human, visit.form.get("note", "")[:MAX_NOTE])
    return visit.to("/approvals/ahead")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An execution of which nobody knows what became."""

    started: ExecutionStarted
    action: str
    agent: str
    human: str


async def unknown(visit: Visit) -> Response:
    """Executions of which nobody knows what became, for somebody who can find out."""
    found = visit.console.store.indeterminate(MOST_UNKNOWN + 1)
    decisions = index_of(visit.rooms)
    rows = [await _unknown(visit, decisions, one) for one in found[:MOST_UNKNOWN]]
    return visit.page(
        "approvals_unknown.html",
        title="Unknown outcomes",
        nav="approvals",
        live=True,
        tab="unknown",
        counts=_counts(visit),
        rows=rows,
        more=len(found) > MOST_UNKNOWN,
        may_settle=Role.APPROVER in visit.roles and visit.console.reconcile is not None,
    )


async def settle(visit: Visit) -> Response:
    """Record what became of an execution."""
    outcome = visit.form.get("outcome", "")
    if visit.console.reconcile is None:
        return visit.message("Not here", "outcomes cannot be settled here", 404)
    said: Literal["confirmed", "refuted"]
    match outcome:
        case "confirmed":
            said = "confirmed"
        case "refuted":
            said = "refuted"
        case _:
            return visit.message("Not done", "say whether it happened or not", 400)
    execution = ExecutionId(visit.path("execution"))
    await visit.console.reconcile(execution, visit.human, said, visit.form.get("note", "")[:MAX_NOTE])
    return visit.to("/approvals/unknown")


async def people(visit: Visit) -> Response:
    """How approvers answer."""
    holds = lists(visit.rooms).lately()
    return visit.page(
        "approvals_people.html",
        title="How people answer",
        nav="approvals",
        tab="people",
        counts=_counts(visit),
        figures=visit.rooms.while_same("figures", lambda: figures(visit.pdp, holds)),
        looked_at=len(holds),
    )


def _counts(visit: Visit) -> dict[str, int]:
    """What the tabs say."""
    return {
        "waiting": visit.rooms.waiting(visit.human),
        "ahead": len(_in_force(visit)),
        "unknown": len(visit.console.store.indeterminate(MOST_UNKNOWN)),
    }


def _in_force(visit: Visit) -> list[Allowance]:
    return [one for one in visit.console.store.allowances() if visit.now_ms < one.until_ms]


def _said(visit: Visit, hold: Hold) -> str:
    """What this person answered; empty: nothing."""
    if hold.status is HoldStatus.DENIED and hold.answered_by == visit.human:
        return "denied"
    yes = hold.given or (hold.approval.people if hold.approval is not None else ())
    return "approved" if any(one.approver == visit.human and not one.allowance for one in yes) else ""


def _answered(visit: Visit, hold: Hold, said: str) -> RowView:
    return waiting.row_view(visit.console.store, visit.pdp, hold, visit.now_ms, visit.human, answered=said)


async def _unknown(visit: Visit, decisions: Decisions, started: ExecutionStarted) -> Unknown:
    state = visit.console.store.task(started.task)
    return Unknown(
        started=started,
        action=await _action(visit, decisions, started),
        agent=state.task.agent if state is not None else "",
        human=state.task.human if state is not None else "",
    )


async def _action(visit: Visit, decisions: Decisions, started: ExecutionStarted) -> str:
    """What it was: by its hold where there was one, else by its decision in the log; empty where that is too far back."""
    hold = visit.console.store.hold(started.hold) if started.hold else None
    if hold is not None:
        return action_words(hold.kind, hold.server, hold.name)
    seq = await decisions.find(started.request)
    found = decisions.one(seq) if seq is not None else None
    return found[0].action if found is not None else ""
