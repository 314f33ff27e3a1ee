"""`measures.toml`: the running totals policy may read, each with its fault at file and line.

What could silently count nothing is refused here: a selector that names nothing of the catalogue, a thing that matches and has
not what is counted, money in a currency that no measure of the same selector sums. Refuses to know rows and readings.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from lictor.model.action import ActionKind, action_name
from lictor.model.catalog import CatalogEntry
from lictor.model.history import Matching, Measure, Per
from lictor.pdp.measures import matches
from lictor.policy.documents import Document, convert, only_keys, tables
from lictor.policy.names import CLASSES, IDENTIFIER, KNOWN_TAGS
from lictor.policy.problems import Problems, quote

MAX_MEASURES: Final = 64
"""Measures of one bundle: each is read at every decision."""
MAX_WINDOW_MS: Final = 400 * 86_400_000
FOREVER: Final = "forever"
_WINDOW: Final = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)", re.ASCII)
_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_VALUE: Final = re.compile(r"value:[A-Z]{3}", re.ASCII)
_NAMED: Final = ("actions", "tags", "effects", "servers")


class _Table(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    of: Literal["count", "sum", "distinct"]
    where: Matching
    per: tuple[Per, ...]
    window: str
    field: str = ""
    fixed: bool = False
    on: Literal["started", "executed"] = "started"
    since: Matching | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """One table, for messages."""

    document: Document
    name: str
    problems: Problems

    def fault(self, key: str, message: str, remedy: str = "") -> None:
        where = self.document.lines.where(("measures", self.name, key))
        self.problems.add(where, f"measure {quote(self.name)}: {message}", remedy)


def read_measures(document: Document, entries: Sequence[CatalogEntry], problems: Problems) -> dict[str, Measure]:
    """`[measures.NAME]` tables against the catalogue."""
    only_keys(document, ("measures",), problems)
    found: dict[str, Measure] = {}
    for name, raw in tables(document, "measures", problems).items():
        place = _Place(document, name, problems)
        table = convert(document, ("measures", name), raw, _Table, problems)
        if not IDENTIFIER.fullmatch(name):
            place.fault("", "a name is at most 64 of a-z, 0-9, '_', and starts with a letter")
        if table is not None:
            found[name] = _measure(place, name, table, raw)
    if len(found) > MAX_MEASURES:
        problems.add(document.file, f"more than {MAX_MEASURES} measures", "each is read at every decision")
    for name, measure in found.items():
        _against_catalogue(_Place(document, name, problems), measure, entries, found.values())
    return found


def _measure(place: _Place, name: str, table: _Table, raw: dict[str, Any]) -> Measure:
    if not table.per:
        place.fault("per", "whose total it is, is missing", f"one or more of {', '.join(Per)}")
    if len(set(table.per)) < len(table.per):
        place.fault("per", "names something twice")
    if table.fixed and table.window == FOREVER:
        place.fault("fixed", "a window without end has no fixed starts", "leave out `fixed`")
    for key in ("where", "since"):
        selector = raw.get(key)
        if isinstance(selector, dict) and any(value == [] for value in selector.values()):
            place.fault(key, "an empty list matches nothing or everything, depending on who reads it", "leave it out")
    _field(place, table)
    return Measure(
        name=name,
        of=table.of,
        where=table.where,
        per=tuple(sorted(set(table.per), key=list(Per).index)),
        window_ms=_window(place, table.window),
        fixed=table.fixed,
        field=table.field,
        on=table.on,
        since=table.since,
    )


def _window(place: _Place, text: str) -> int:
    if text == FOREVER:
        return 0
    found = _WINDOW.fullmatch(text)
    length = int(found[1]) * _UNIT_MS[found[2]] if found else 0
    if not 0 < length <= MAX_WINDOW_MS:
        place.fault("window", f"{quote(text)} is no length of time", 'such as "90s", "15m", "1h", "30d", or "forever"')
    return min(length, MAX_WINDOW_MS)


def _field(place: _Place, table: _Table) -> None:
    field = table.field
    pointer = field.startswith("/")
    good, forms = {
        "count": (not field, "a count has no `field`"),
        "sum": (pointer or bool(_VALUE.fullmatch(field)), "what is summed is `value:<ISO 4217>` or a JSON pointer"),
        "distinct": (
            pointer or field in {"destination", "resource"},
            "what is told apart is `destination`, `resource` or a JSON pointer",
        ),
    }[table.of]
    if not good:
        place.fault("field", forms)


def _against_catalogue(
    place: _Place, measure: Measure, entries: Sequence[CatalogEntry], measures: Iterable[Measure]
) -> None:
    _names(place, "where", measure.where, entries)
    if measure.since is not None:
        _names(place, "since", measure.since, entries)
    for entry in entries:
        action = action_name(entry.kind, entry.server, entry.name)
        counts = matches(measure.where, entry, action)
        resets = measure.since is not None and matches(measure.since, entry, action)
        if (counts or resets) and Per.DESTINATION in measure.per and entry.destination is None:
            place.fault("per", f"is per destination, and {quote(action)} has none in the catalogue", _NARROW)
        if counts:
            _countable(place, measure, entry, action)
            _currencies(place, measure, entry, action, measures)


_NARROW: Final = "narrow the selector, or give the catalogue entry what is missing"


def _names(place: _Place, key: str, selector: Matching, entries: Sequence[CatalogEntry]) -> None:
    """Every name is one of the catalogue's: a misspelt one would count nothing."""
    known = {
        "actions": {action_name(entry.kind, entry.server, entry.name) for entry in entries},
        "tags": {*KNOWN_TAGS, *(tag for entry in entries for tag in entry.tags)},
        "effects": set(CLASSES),
        "servers": {str(entry.server) for entry in entries},
    }
    for member in _NAMED:
        for name in getattr(selector, member):
            if name not in known[member]:
                place.fault(key, f"nothing in the catalogue has {quote(name)} among its {member}", "check the spelling")


def _countable(place: _Place, measure: Measure, entry: CatalogEntry, action: str) -> None:
    field = measure.field
    if field.startswith("value:"):
        good = entry.value is not None
    elif field == "destination":
        good = entry.destination is not None
    elif field == "resource":
        git = entry.destination is not None and bool(entry.destination.ref)
        good = entry.kind is ActionKind.RESOURCE or entry.path is not None or git
    else:
        good = not field or entry.kind in {ActionKind.TOOL, ActionKind.PROMPT}
    if not good:
        place.fault("field", f"{quote(action)} matches and has no {quote(field)} in the catalogue", _NARROW)


def _currencies(place: _Place, measure: Measure, entry: CatalogEntry, action: str, measures: Iterable[Measure]) -> None:
    """A limit in one currency is no limit while the same tool also takes another one that nobody sums."""
    if not measure.field.startswith("value:") or entry.value is None:
        return
    summed = {other.field[6:] for other in measures if other.of == "sum" and matches(other.where, entry, action)}
    for currency in entry.value.currencies:
        if currency not in summed:
            remedy = f'add a measure of field = "value:{currency}", or take {currency} out of the currencies'
            place.fault("field", f"{quote(action)} also takes {quote(currency)}, which no measure sums", remedy)
