"""Which measures concern a request, whose totals they are, and what the request adds.

Pure; the same answers before the decision (what to read), in it (what policy sees) and after it (what the commit moves).

A measure that matches a request needs its key and its field: where one of them cannot be named, the request is denied with
`unknown_measure`; a missing amount is never 0. Money in another currency than the measure's adds nothing to it: it is another
budget (`lictor.policy.measures` refuses a bundle in which no measure keeps that budget). Of several destinations each has its own
row, the amount counts in full for each, and policy sees the greatest. Refuses to know stores and clocks (threats HIST-01..03).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Final

import msgspec

from lictor.model.action import ActionKind, ActionRequest
from lictor.model.catalog import CatalogEntry
from lictor.model.errors import CallerError
from lictor.model.history import Matching, Measure, Move, Per, Reading
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason
from lictor.pdp import tally
from lictor.pdp.normalise import Directory, Selected, point, select_once
from lictor.pdp.normalise.pointers import MISSING
from lictor.pdp.normalise.target import Destination, Target
from lictor.pdp.once import Once
from lictor.pdp.refused import Refused

MAX_KEYS: Final = 64
"""Rows of one measure that one request may touch, and values it may add to a distinct count; more is denied."""
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode


class Asked(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request, as measures see it."""

    request: ActionRequest
    root: TaskId
    """The task at the top of the tree: a child task, a new token or a new connection starts with its totals."""
    entry: CatalogEntry
    selected: Selected


class Share(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request has to do with one measure."""

    keys: tuple[str, ...]
    """At least one. Of a measure that does not match and has no such destination, the total of nowhere: nothing."""
    amount: int = 0
    members: tuple[str, ...] = ()
    resets: bool = False
    matches: bool = False


def asked_of(
    request: ActionRequest, root: TaskId, entry: CatalogEntry, directory: Directory, resolved: Mapping[str, str]
) -> Asked:
    """A request as measures see it. What cannot be normalised is left out: `decide` denies it before it comes to measures."""
    try:
        selected = select_once(request, entry, directory, resolved)
    except CallerError:
        selected = Selected()
    return Asked(request=request, root=root, entry=entry, selected=selected)


def matches(where: Matching, entry: CatalogEntry, action: str) -> bool:
    """Whether an event counts: every member that is named holds."""
    return (
        (not where.actions or action in where.actions)
        and (not where.servers or entry.server in where.servers)
        and (not where.effects or entry.effect.value in where.effects)
        and (not where.tags or not set(where.tags).isdisjoint(entry.tags))
    )


def share_of(measure: Measure, asked: Asked) -> Share:
    """What a request has to do with a measure.

    Raises:
        Refused: `unknown_measure`: it matches, and its key, amount or values cannot be named, or there are too many.
    """
    return _share(measure, asked, _subjects(asked))


def _share(measure: Measure, asked: Asked, subjects: Mapping[Per, str]) -> Share:
    action = subjects[Per.TOOL]
    counts = matches(measure.where, asked.entry, action)
    resets = measure.since is not None and matches(measure.since, asked.entry, action)
    keys = _keys(measure, asked, subjects, needed=counts or resets)
    if not counts:
        return Share(keys=keys, resets=resets)
    amount, members = _COUNTED[measure.of](measure, asked)
    return Share(keys=keys, amount=amount, members=members, resets=resets, matches=True)


_ONCE: Final = Once[Mapping[str, Share | Refused]]()


def shares_once(measures: Mapping[str, Measure], asked: Asked) -> Mapping[str, Share | Refused]:
    """`share_of` every measure, worked out once for an action: gathering, deciding and recording ask for the same."""
    told = (asked.request.digest, asked.root)
    return _ONCE.of(told, (measures, asked.entry, asked.selected), lambda: _shares(measures, asked))


def _shares(measures: Mapping[str, Measure], asked: Asked) -> dict[str, Share | Refused]:
    found: dict[str, Share | Refused] = {}
    subjects = _subjects(asked)
    for name, measure in measures.items():
        try:
            found[name] = _share(measure, asked, subjects)
        except Refused as refused:
            found[name] = Refused(
                refused.reason, str(refused)
            )  # anew: the one that was raised holds on to where it was
    return found


def _known(share: Share | Refused) -> Share:
    if isinstance(share, Refused):
        raise Refused(share.reason, str(share))
    return share


def values_of(
    measures: Mapping[str, Measure], asked: Asked, readings: Mapping[str, tuple[Reading, ...]]
) -> dict[str, int]:
    """What policy sees: every measure as it would be after this request.

    Raises:
        Refused: `unknown_measure`: a reading is missing, is of another row, or the value is greater than `tally.MOST`.
    """
    shares = shares_once(measures, asked)
    return {name: _value(measure, _known(shares[name]), readings.get(name, ())) for name, measure in measures.items()}


def moves_of(
    measures: Mapping[str, Measure], asked: Asked, readings: Mapping[str, tuple[Reading, ...]]
) -> tuple[Move, ...]:
    """What the commit does once the request is allowed, on exactly the versions that were read.

    Raises:
        Refused: as `values_of`.
    """
    moves: list[Move] = []
    shares = shares_once(measures, asked)
    for name, measure in measures.items():
        share = _known(shares[name])
        bucket_ms, kept = tally.width(measure)
        moves.extend(
            Move(
                key=reading.key,
                seen=reading.version,
                bucket_ms=bucket_ms,
                kept=kept,
                amount=share.amount,
                members=share.members,
                reset=share.resets,
                on_executed=share.matches and measure.on == "executed",
            )
            for reading in readings[name]
        )
    return tuple(moves)


def _value(measure: Measure, share: Share, readings: tuple[Reading, ...]) -> int:
    if tuple([reading.key for reading in readings]) != share.keys:
        raise _unknown(measure, "was not read")
    value = 0
    for reading in readings:
        if reading.before < 0 or not 0 <= reading.counted <= len(share.members):
            raise _unknown(measure, "was not read")
        value = max(value, reading.before + share.amount + len(share.members) - reading.counted)
    if value >= tally.MOST:
        raise _unknown(measure, "is too great")
    return value


# -- whose total -----------------------------------------------------------------------------------------------------------


def _subjects(asked: Asked) -> Mapping[Per, str]:
    """Whose totals a request counts to, but for destinations: of these there can be several."""
    request = asked.request
    return {
        Per.TASK: asked.root,
        Per.AGENT: request.agent,
        Per.HUMAN: request.human,
        Per.TOOL: request.action,
    }


def _keys(measure: Measure, asked: Asked, subjects: Mapping[Per, str], *, needed: bool) -> tuple[str, ...]:
    if Per.DESTINATION not in measure.per:
        return (row_key(measure.name, measure.per, tuple([subjects[per] for per in measure.per])),)
    parts = [subjects[per] for per in measure.per if per is not Per.DESTINATION]
    names = _destinations(asked.selected.destination)
    if not names and not needed:
        names = ("",)
    if not names:
        raise _unknown(measure, "is per destination, and there is none")
    if len(names) > MAX_KEYS:
        raise _unknown(measure, f"has no room for more than {MAX_KEYS} destinations in one request")
    return tuple(row_key(measure.name, measure.per, (*parts, name)) for name in names)


@lru_cache(maxsize=1024)
def row_key(name: str, per: tuple[Per, ...], parts: tuple[str, ...]) -> str:
    """A row's key: the measure's name and a digest of whose total it is. Nothing else, so a changed window resets no count.

    `parts` are the subjects in the order of `per`, the destination last.
    """
    return f"{name}:{sha256(_ENCODE(['lictor measure/1', per, parts])).hexdigest()[:32]}"


def _destinations(destination: Destination | None) -> tuple[str, ...]:
    """Where it goes, each place once: a host whatever its scheme and port, an address, a repository, an account."""
    if destination is None:
        return ()
    targets = destination.targets
    return (_place(targets[0]),) if len(targets) == 1 else tuple(sorted({_place(target) for target in targets}))


def _place(target: Target) -> str:
    return target.host if target.kind in {"url", "host"} else f"{target.kind}:{target.address}"


# -- how much --------------------------------------------------------------------------------------------------------------


def _count(_measure: Measure, _asked: Asked) -> tuple[int, tuple[str, ...]]:
    return 1, ()


def _sum(measure: Measure, asked: Asked) -> tuple[int, tuple[str, ...]]:
    form, _, currency = measure.field.partition(":")
    if form == "value":
        value = asked.selected.value
        if value is None:
            raise _unknown(measure, "sums a value, and there is none")
        return (value.amount if value.currency == currency else 0), ()
    found = point(asked.request.arguments.open(), measure.field)
    if type(found) is not int or not 0 <= found <= tally.MOST:
        raise _unknown(measure, f"sums {measure.field!r:.100}, which is no whole number from 0 to 2^53")
    return found, ()


def _distinct(measure: Measure, asked: Asked) -> tuple[int, tuple[str, ...]]:
    match measure.field:
        case "destination":
            names = _destinations(asked.selected.destination)
        case "resource":
            names = _resources(asked)
        case pointer:
            found = point(asked.request.arguments.open(), pointer)
            items = () if found is MISSING else found if isinstance(found, list) else (found,)
            names = tuple({_ENCODE(item).decode() for item in items})
    if not names:
        raise _unknown(measure, f"tells {measure.field!r:.100} apart, and there is none")
    if len(names) > MAX_KEYS:
        raise _unknown(measure, f"has no room for more than {MAX_KEYS} values in one request")
    # A digest: arguments are sealed and stand in no record. Bound to the measure, so that equal values of two do not show.
    return 0, tuple(sorted({sha256(f"{measure.name}\0{name}".encode()).hexdigest()[:32] for name in names}))


def _resources(asked: Asked) -> tuple[str, ...]:
    """What is touched: a resource's URI, paths, or a repository."""
    if asked.request.kind is ActionKind.RESOURCE:
        return (asked.request.name,)
    if asked.selected.path is not None:
        return tuple(sorted({f"{path.root}\0{path.relative}" for path in asked.selected.path.found}))
    git = asked.selected.destination.git if asked.selected.destination is not None else None
    return (f"{git.host}\0{git.repository}",) if git is not None else ()


_COUNTED: Final[Mapping[str, Callable[[Measure, Asked], tuple[int, tuple[str, ...]]]]] = {
    "count": _count,
    "sum": _sum,
    "distinct": _distinct,
}


def _unknown(measure: Measure, what: str) -> Refused:
    return Refused(Reason.UNKNOWN_MEASURE, f"measure {measure.name!r} {what}")
