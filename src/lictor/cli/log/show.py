"""`lictor log show`: records, newest last; a task's story; what goes on now. Memory does not grow with the log."""

import argparse
import asyncio
import json
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from lictor.cli.log.words import gist
from lictor.cli.main import common
from lictor.cli.output import Exit, Out
from lictor.cli.span import moment_of
from lictor.model.errors import CallerError
from lictor.model.ids import TaskId
from lictor.model.reasons import Reason

if TYPE_CHECKING:
    from lictor.app import House

NEWEST: Final = 40
"""Records shown where nobody says how many."""
POLL_S: Final = 0.25
"""How often the log is looked at by `--follow`: one query."""
KINDS: Final = ("request", "decision", "approval", "privilege", "signal", "execution")

Found = tuple[int, dict[str, Any]]
"""A record's number in the log, and its entry."""


def add(actions: Any) -> None:
    """Arguments."""
    showing = actions.add_parser("show", help="records, newest last; with --task the story of one task")
    common(showing)
    showing.add_argument("-n", type=int, metavar="N", help=f"how many of the newest (default: {NEWEST}; 0: all)")
    showing.add_argument("--kind", choices=KINDS, help="only records of this kind")
    showing.add_argument("--task", help="what one task asked for and what came of it")
    showing.add_argument("--since", metavar="WHEN", help="only what came after: 12h, 7d, 2026-11-01, 2026-11-01T08:00Z")
    showing.add_argument("--open", action="store_true", help="only executions whose outcome is open or unknown")
    showing.add_argument("--follow", "-f", action="store_true", help="go on with what is recorded from now on")
    showing.add_argument("--jsonl", action="store_true", help="print each entry as a line of JSON, as it is read")
    showing.set_defaults(run=_show)


def _show(args: argparse.Namespace) -> int:
    from lictor.app import bundle_path, open_house

    out = Out(as_json=args.json or args.jsonl)
    if args.n is not None and args.n < 0:
        raise CallerError(Reason.INVALID_ARGUMENTS, f"-n {args.n} is no number of records")
    if args.follow and args.json:
        raise CallerError(Reason.INVALID_ARGUMENTS, "what has no end is no JSON value", remedy="use --jsonl")
    house = asyncio.run(open_house(bundle_path(args.bundle), load=False))
    try:
        if args.open:
            return _show_open(out, house.store)
        if args.task and not (out.as_json or args.kind or args.follow):
            return _tell(out, house, args)
        _print(out, args, _shown(house, args))
    finally:
        house.close()
    return Exit.OK


# -- records -----------------------------------------------------------------------------------------------------------------


def _shown(house: "House", args: argparse.Namespace) -> Iterator[Found]:
    """What is asked for: the newest so many, then what comes, if that is asked for too."""
    store, wanted = house.store, _filter(args)
    size = store.size()
    count = NEWEST if args.n is None else args.n
    start = _start(house, args)
    filtered = args.kind or args.task
    if count and not filtered:
        start = max(start, size - count)
    found = _read(store, wanted, start, size)
    yield from deque(found, maxlen=count) if count and filtered else found
    while args.follow:
        sys.stdout.flush()
        before, size = size, store.size()
        yield from _read(store, wanted, before, size)
        if before == size:
            time.sleep(POLL_S)


def _start(house: "House", args: argparse.Namespace) -> int:
    """The first entry that can be asked for."""
    from lictor.service.evidence.story import first_at

    state = house.store.task(TaskId(args.task)) if args.task else None
    since = moment_of(args.since) if args.since and not args.task else 0
    at_ms = max(since, state.task.opened_at_ms if state is not None else 0)
    return first_at(house.store, at_ms) if at_ms else 0


def _filter(args: argparse.Namespace) -> Callable[[Any], dict[str, Any] | None]:
    """An entry as it is shown; None for one that is not."""
    from lictor.service.evidence.telling import Belonging

    since = moment_of(args.since) if args.since else 0
    mine = Belonging(TaskId(args.task)) if args.task else None
    tag = f'"type":"{args.kind}.'.encode() if args.kind else b""

    def wanted(stored: Any) -> dict[str, Any] | None:
        if mine is not None and mine.take(stored) is None:
            return None
        if tag not in stored.data:
            return None
        entry: dict[str, Any] = msgspec.json.decode(stored.data)
        kept = entry["at"] >= since and (not args.kind or entry["record"]["type"].startswith(f"{args.kind}."))
        return entry if kept else None

    return wanted


def _read(store: Any, wanted: Callable[[Any], dict[str, Any] | None], start: int, stop: int) -> Iterator[Found]:
    for stored in store.entries(start, stop):
        entry = wanted(stored)
        if entry is not None:
            yield stored.seq, entry


def _print(out: Out, args: argparse.Namespace, found: Iterable[Found]) -> None:
    if args.jsonl:
        for seq, entry in found:
            print(json.dumps({"seq": seq, **entry}, ensure_ascii=True))
    elif args.json:
        _print_array({"seq": seq, **entry} for seq, entry in found)
    else:
        for seq, entry in found:
            out.line(_line(out, seq, entry))


def _print_array(values: Iterable[dict[str, Any]]) -> None:
    """A JSON array, one value at a time."""
    first = True
    for value in values:
        text = textwrap.indent(json.dumps(value, indent=2, ensure_ascii=True), "  ")
        print("[\n" if first else ",\n", text, sep="", end="")
        first = False
    print("[]" if first else "\n]")


def _line(out: Out, seq: int, entry: dict[str, Any]) -> str:
    at = datetime.fromtimestamp(entry["at"] / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    record = entry["record"]
    return f"{out.dim(f'{seq:>6} {at}')}  {record['type']:<28} {gist(out, record)}"


def _show_open(out: Out, store: Any) -> int:
    found = [_unknown(entry["record"]) for _, entry in _read(store, _indeterminate, 0, store.size())]
    found += [{"execution": one.execution, "outcome": "started", "reason": ""} for one in store.open_executions()]
    out.data(found)
    for one in found:
        out.line(f"{one['execution']}  {out.warm(one['outcome'])}  {one['reason']}")
    if not found:
        out.line("every execution has a known outcome")
    return Exit.OK


def _indeterminate(stored: Any) -> dict[str, Any] | None:
    if b'"indeterminate"' not in stored.data:
        return None
    entry: dict[str, Any] = msgspec.json.decode(stored.data)
    record = entry["record"]
    return entry if record["type"] == "execution.ended" and record["outcome"] == "indeterminate" else None


def _unknown(record: dict[str, Any]) -> dict[str, str]:
    return {"execution": record["execution"], "outcome": "indeterminate", "reason": record.get("reason", "")}


# -- a story -----------------------------------------------------------------------------------------------------------------


def _tell(out: Out, house: "House", args: argparse.Namespace) -> int:
    from lictor.cli.log import story
    from lictor.service.evidence.telling import chapters

    store, task = house.store, TaskId(args.task)
    state = store.task(task)
    since = moment_of(args.since) if args.since else 0
    found = chapters(store.entries(_start(house, args)), task)
    found = (one for one in found if one.records[-1][1].at >= since)
    told = story.told(out, deque(found, maxlen=args.n) if args.n else found, task)
    if state is None:
        # A task that was never opened: its opening was refused, and that is its story.
        first = next(told, None)
        if first is None:
            raise CallerError(Reason.UNKNOWN_TASK, f"there is no task {task[:64]!r}", remedy="see: lictor task list")
        out.line(first)
    else:
        children = (one for one in store.descendants(task) if one.task.parents[0] == task)
        for line in story.heading(out, state, children, store.erased(task), now_ms=house.clock.now_ms()):
            out.line(line)
    for line in told:
        out.line(line)
    return Exit.OK
