"""Decisions as the console's pages tell them: words, links and the query. Data in, data out; reads what the state says now.

Every `str` is raw: it is rendered when it is drawn. Refuses to know HTML and who visits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from lictor.console.forms import plausible
from lictor.console.rooms import Rooms, Visit
from lictor.model.ids import HoldId
from lictor.model.reasons import Reason
from lictor.ports import RecordStore
from lictor.service.evidence.decisions import REFUSED, Decisions, Made, Sought

ANSWERS: Final = {
    "allow": "allowed",
    "needs_approval": "needs approval",
    "deny": "denied",
    REFUSED: "turned away",
}
"""Answers one can filter by, with the words for them."""
WITHIN: Final = {
    "15m": ("the last 15 minutes", 900),
    "1h": ("the last hour", 3_600),
    "24h": ("the last day", 86_400),
    "7d": ("the last 7 days", 604_800),
}
"""Spans of time one can filter by, in seconds."""
REASONS: Final = tuple(sorted(reason.value for reason in Reason))
_MOMENT: Final = ("%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")
_INDEXES: "WeakKeyDictionary[Rooms, Decisions]" = WeakKeyDictionary()


def index_of(rooms: Rooms) -> Decisions:
    """The one index of a console's decisions, shared by its rooms."""
    found = _INDEXES.get(rooms)
    if found is None:
        found = _INDEXES[rooms] = Decisions(rooms.console.store)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for, as the form shows it; what cannot be understood is empty, and `strange` names it."""

    agent: str = ""
    task: str = ""
    action: str = ""
    answer: str = ""
    reason: str = ""
    within: str = ""
    until: str = ""
    """UTC, as `2026-11-21T12:00`."""
    strange: tuple[str, ...] = ()

    @property
    def narrowed(self) -> bool:
        """Whether anything is left out."""
        return bool(self._fields())

    def _fields(self) -> Mapping[str, str]:
        names = ("agent", "task", "action", "answer", "reason", "within", "until")
        return {name: value for name in names if (value := getattr(self, name))}

    def address(self, before: int | None = None) -> str:
        """The page with this query, from a decision on."""
        fields = {**self._fields(), **({"before": str(before)} if before is not None else {})}
        return f"/decisions?{urlencode(fields, errors='replace')}" if fields else "/decisions"

    def sought(self, now_ms: int) -> Sought:
        """What the index looks for."""
        since = now_ms - WITHIN[self.within][1] * 1_000 if self.within else 0
        return Sought(
            agent=self.agent,
            task=self.task,
            action=self.action,
            answer=self.answer,
            reason=self.reason,
            since_ms=max(0, since),
            until_ms=until_ms(self.until),
        )


def query_of(visit: Visit) -> Query:
    """The query of a request: bounded, each word once; nothing strange reaches the search."""
    words = {
        name: visit.word(name, 200).strip()
        for name in ("agent", "task", "action", "answer", "reason", "within", "until")
    }
    strange: list[str] = []
    for name, known in (("answer", ANSWERS), ("within", WITHIN)):
        if words[name] and words[name] not in known:
            strange.append(name)
    if words["task"] and not plausible(words["task"]):
        strange.append("task")
    if words["until"] and not until_ms(words["until"]):
        strange.append("until")
    words.update(dict.fromkeys(strange, ""))
    return Query(**words, strange=tuple(strange))


def until_ms(text: str) -> int:
    """A moment of a form (UTC), in milliseconds; 0: it is none."""
    for form in _MOMENT:
        try:
            return max(0, int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp() * 1_000))
        except (ValueError, OverflowError):
            continue
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One decision in a list."""

    made: Made
    became: str
    """What became of it, in few words."""
    mood: str
    """A class: `good`, `bad`, `waiting`, `quiet`."""
    hold: str = ""

    @property
    def address(self) -> str:
        """Its page."""
        return f"/decisions/{self.made.seq}"


def line_of(store: RecordStore, index: Decisions, made: Made, now_ms: int) -> Line:
    """A decision with what is known of it now."""
    became, mood = _became(store, index, made, now_ms)
    return Line(made=made, became=became, mood=mood, hold=made.hold)


_OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    "started": ("running", "waiting"),
    "executed": ("executed", "good"),
    "failed": ("failed: nothing was sent", "quiet"),
    "indeterminate": ("unknown: it may have happened", "bad"),
    "confirmed": ("happened, as a person found out", "good"),
    "refuted": ("did not happen, as a person found out", "quiet"),
}


def _became(store: RecordStore, index: Decisions, made: Made, now_ms: int) -> tuple[str, str]:
    outcome = index.outcome(made)
    if outcome:
        return _OUTCOMES.get(outcome, (outcome, "quiet"))
    if made.answer == "needs_approval" and made.hold:
        hold = store.hold(HoldId(made.hold))
        status = hold.status.value if hold is not None else "unknown"
        late = hold is not None and status == "pending" and now_ms >= hold.expires_at_ms
        if status == "pending" and not late:
            return "waits for people", "waiting"
        return ("nobody answered in time" if late or status == "expired" else status), "quiet"
    return "nothing ran", "quiet"
