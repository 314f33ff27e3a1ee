"""Measures equal a brute-force recount of the events, whatever the order of starts, endings, resets, clocks and bundles."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lictor.lifecycle import measures
from lictor.lifecycle.fold import fold
from lictor.lifecycle.measures import Moved
from lictor.lifecycle.rows import Key, Row, measure_key, member_key
from lictor.model.history import Matching, Measure, Member, Move, Per, Total
from lictor.model.record import ExecutionEnded, ExecutionStarted, TaskOpened, decode_entry, encode_entry
from lictor.model.task import Budget, Task
from lictor.pdp import tally

T0 = 1_800_000_000_000
WINDOWS = (60_000, 120_000, 90_001, 0)


def spec(of: str, window_ms: int = 60_000, *, on: str = "started", fixed: bool = False) -> Measure:
    """A measure of one row."""
    where = Matching()
    return Measure(name=of, of=of, where=where, per=(Per.TASK,), window_ms=window_ms, on=on, fixed=fixed)


# -- the recount -----------------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """One thing that counted."""

    execution: int
    bucket: int
    amount: int
    member: str
    own: bool = True
    """It has a bucket of its own still, so it can be given back."""


@dataclass
class Recount:
    """One measure as a list of events: every answer looks at all of them."""

    measure: Measure
    width: tuple[int, int] = (0, 0)
    events: list[Event] = field(default_factory=list)
    fresh: int = 0

    def shape(self, at: int) -> None:
        """Another width: what either window could see moves into the newest bucket, and has none of its own."""
        before, now = self.width, tally.width(self.measure)
        if before == now:
            return
        self.width = now
        forever = not before[0] or not now[0]
        reach = max(before[0] * (before[1] + 1), now[0] * (now[1] + 1))
        kept = [e for e in self._standing(before) if forever or (e.bucket + 1) * before[0] > at - reach]
        newest = at // now[0] if now[0] else 0
        if now[0] and before[0]:
            newest = max([newest, *(((e.bucket + 1) * before[0] - 1) // now[0] for e in kept)])
        self.events = []
        for event in kept:
            self.fresh += 1
            member = f"anonymous {self.fresh}" if event.member else ""
            self.events.append(Event(event.execution, newest, event.amount, member, own=False))

    def _standing(self, width: tuple[int, int]) -> list[Event]:
        """The events that stand for something: of each member of a distinct count the newest."""
        if self.measure.of != "distinct":
            return self.events
        newest: dict[str, Event] = {}
        for event in self.events:
            if event.member not in newest or event.bucket >= newest[event.member].bucket:
                newest[event.member] = event
        return list(newest.values())

    def count(self, execution: int, amount: int, member: str, at: int) -> None:
        """One more."""
        bucket_ms, kept = self.width
        bucket = max([at // bucket_ms if bucket_ms else 0, *(e.bucket for e in self.events)])
        self.events = [e for e in self.events if e.bucket >= bucket - kept]
        self.events.append(Event(execution, bucket, amount, member))

    def give_back(self, execution: int) -> None:
        """It never happened."""
        self.events = [e for e in self.events if e.execution != execution or not e.own]

    def value(self, at: int) -> int:
        """What policy sees."""
        again = Recount(self.measure, self.width, list(self.events))
        again.shape(at)
        since = tally.oldest(self.measure, at)
        return sum(1 if e.member else e.amount for e in again._standing(again.width) if e.bucket >= since)


# -- the house -------------------------------------------------------------------------------------------------------------


class Rows:
    """State by the real fold, and the log it came from."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        self.log: list[bytes] = []
        task = Task(
            id="t", agent="a", human="test:h", purpose="p", trusted_text_digest="", audience="x", opened_at_ms=0,
            expires_at_ms=2**53 - 1, budget=Budget(calls=10**9),
        )  # fmt: skip
        self.apply(TaskOpened(task=task, opened_by="test:h"), T0)

    def apply(self, record: Any, at: int) -> None:
        """One record, all or nothing."""
        for key, row in fold(self.rows.get, record, at).items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row
        self.log.append(encode_entry(at, record))

    def total(self, key: str) -> Total:
        """A measure's row."""
        row = self.rows.get(measure_key(key))
        return row.body if row is not None else tally.NOTHING

    def member(self, key: str, name: str) -> Member | None:
        """A value's row."""
        row = self.rows.get(member_key(key, name))
        return row.body if row is not None else None

    def move(self, measure: Measure, **parts: Any) -> Move:
        """A move on the row as it stands."""
        bucket_ms, kept = tally.width(measure)
        on = measure.on == "executed"
        seen = self.total(measure.name).version
        return Move(key=measure.name, seen=seen, bucket_ms=bucket_ms, kept=kept, on_executed=on, **parts)

    def rebuilt(self) -> dict[Key, Row]:
        """The rows once more, from the log alone."""
        rows: dict[Key, Row] = {}
        for data in self.log:
            entry = decode_entry(data)
            for key, row in fold(rows.get, entry.record, entry.at).items():
                if row is None:
                    rows.pop(key, None)
                else:
                    rows[key] = row
        return rows


def started(number: int, moves: tuple[Move, ...]) -> ExecutionStarted:
    """One execution."""
    return ExecutionStarted(
        execution=f"e{number}",
        request="r",
        decision="d",
        digest="x",
        arguments="y",
        task="t",
        instance="i",
        moves=moves,
    )


class Trial:
    """The house and the recount, side by side: a sum, a distinct count and a sum of what was executed, all of one row each."""

    def __init__(self) -> None:
        self.rows = Rows()
        self.at = T0
        self.number = 0
        self.open: dict[int, tuple[int, str, int]] = {}
        self.epoch = 0
        self.counts = {of: Recount(spec(of)) for of in ("sum", "distinct")}
        self.counts["executed"] = Recount(replace(spec("sum", on="executed"), name="executed"))

    def step(self, op: tuple[Any, ...]) -> None:
        """One thing happens; then both must say the same."""
        getattr(self, f"do_{op[0]}")(*op[1:])
        self.compare()

    def do_wait(self, ms: int) -> None:
        """The clock moves, or is set back."""
        self.at = max(0, self.at + ms)

    def do_start(self, amount: int, member: str, *, reset: bool) -> None:
        """A call starts, on the versions as they stand."""
        self.number += 1
        if reset:
            self.epoch += 1
            for count in self.counts.values():
                count.events = []
        moves = tuple(self._move(count.measure, amount, member, reset=reset) for count in self.counts.values())
        self.rows.apply(started(self.number, moves), self.at)
        for name, count in self.counts.items():
            count.shape(self.at)
            if name != "executed":
                count.count(self.number, amount, member if name == "distinct" else "", self.at)
        self.open[self.number] = (amount, member, self.epoch)

    def _move(self, measure: Measure, amount: int, member: str, *, reset: bool) -> Move:
        if measure.of == "distinct":
            return self.rows.move(measure, members=(member,), reset=reset)
        return self.rows.move(measure, amount=amount, reset=reset)

    def do_race(self, amount: int) -> None:
        """Two calls start on the same versions: the second must be told to decide again."""
        first = tuple(self._move(count.measure, amount, "race", reset=False) for count in self.counts.values())
        self.do_start(amount, "race", reset=False)
        refused = False
        try:
            self.rows.apply(started(self.number + 1, first), self.at)
        except Moved:
            refused = True
        assert refused, "two calls were the last to fit"

    def do_end(self, which: int, outcome: str, *, is_error: bool) -> None:
        """A call that is under way comes back."""
        if not self.open:
            return
        number = sorted(self.open)[which % len(self.open)]
        amount, _, epoch = self.open.pop(number)
        self.rows.apply(ExecutionEnded(execution=f"e{number}", outcome=outcome, is_error=is_error), self.at)
        if outcome == "failed":
            for count in self.counts.values():
                count.give_back(number)
        if outcome == "executed" and not is_error and epoch == self.epoch:
            self.counts["executed"].count(number, amount, "", self.at)

    def do_window(self, window_ms: int, *, fixed: bool) -> None:
        """Another bundle: the same measures over another window."""
        for count in self.counts.values():
            count.measure = replace(count.measure, window_ms=window_ms, fixed=fixed and bool(window_ms))

    def compare(self) -> None:
        """What policy would see is what a recount gives, now and a little later."""
        for name, count in self.counts.items():
            total = self.rows.total(name)
            assert len(total.buckets) <= tally.BUCKETS + 1
            for at in (self.at, self.at + 30_000):
                said, true = tally.total_at(total, count.measure, at), count.value(at)
                assert said == true, f"{name}: {said}, recounted {true}"


AMOUNTS = st.integers(1, 1_000)
OPS = st.one_of(
    st.tuples(
        st.just("wait"), st.sampled_from([1, 500, 1_000, 7_000, 59_999, 60_000, 61_000, 200_000, -1_500, -90_000])
    ),
    st.tuples(st.just("start"), AMOUNTS, st.sampled_from("abc"), st.integers(0, 9)),
    st.tuples(st.just("start"), AMOUNTS, st.sampled_from("abc"), st.just(1)),
    st.tuples(st.just("race"), AMOUNTS),
    st.tuples(
        st.just("end"),
        st.integers(0, 5),
        st.sampled_from(["failed", "failed", "executed", "indeterminate"]),
        st.booleans(),
    ),
    st.tuples(st.just("window"), st.sampled_from(WINDOWS), st.booleans()),
)


def run_trial(ops: list[tuple[Any, ...]]) -> None:
    """One interleaving; at its end the log alone gives the same rows."""
    trial = Trial()
    for op in ops:
        match op:
            case ("start", amount, member, reset):
                trial.do_start(amount, member, reset=reset == 0)
            case ("end", which, outcome, is_error):
                trial.do_end(which, outcome, is_error=is_error)
            case ("window", window_ms, fixed):
                trial.do_window(window_ms, fixed=fixed)
            case (name, *rest):
                getattr(trial, f"do_{name}")(*rest)
        trial.compare()
    assert trial.rows.rebuilt() == trial.rows.rows


def check(examples: int, phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink)) -> None:
    """The property, over many interleavings."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=phases,
    )
    @given(st.lists(OPS, max_size=30))
    def holds(ops: list[tuple[Any, ...]]) -> None:
        run_trial(ops)

    holds()


def test_measures_equal_a_recount() -> None:
    """Sums, distinct counts and what was executed, under clock steps, changed windows, resets, races and every outcome."""
    check(250)


# -- controls --------------------------------------------------------------------------------------------------------------


@contextmanager
def broken(name: str) -> Iterator[None]:
    """A build that is wrong on purpose."""
    start, give_back = measures._start, measures._give_back

    def blind(now: Any, move: Move, at_ms: int) -> Any:
        return start(now, replace(move, seen=measures._total(now, move.key).version), at_ms)

    def twice(now: Any, move: Move, total: Total, bucket: int) -> None:
        give_back(now, move, total, bucket)
        give_back(now, move, measures._total(now, move.key), bucket)

    def forgetful(now: Any, move: Move, at_ms: int) -> Any:
        taken = start(now, move, at_ms)
        key = measure_key(move.key)
        row = now.changes.get(key)
        if move.reset and row is not None:
            now.changes[key] = replace(row, body=replace(row.body, epoch=row.body.epoch - 1))
            taken = replace(taken, epoch=taken.epoch - 1)
        return taken

    wrong: dict[str, tuple[Any, str, Callable[..., Any]]] = {
        "no version check": (measures, "_start", blind),
        "give back twice": (measures, "_give_back", twice),
        "reset forgets what is under way": (measures, "_start", forgetful),
        "keep nothing on failure": (measures, "_give_back", lambda *_: None),
    }
    target, attribute, replacement = wrong[name]
    with patch.object(target, attribute, replacement):
        yield


@pytest.mark.parametrize(
    "name",
    ["no version check", "give back twice", "reset forgets what is under way", "keep nothing on failure"],
)
def test_the_recount_catches(name: str) -> None:
    """The same check fails on a build that is wrong."""
    with broken(name), pytest.raises(AssertionError):
        check(400, (Phase.generate,))


# -- against time itself ---------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 40_000), AMOUNTS), max_size=40), st.sampled_from(WINDOWS[:3]))
def test_never_less_than_the_window_holds(events: list[tuple[int, int]], window_ms: int) -> None:
    """With a clock that only goes forward: everything in the window counts, and nothing older than one bucket more."""
    rows, measure, at = Rows(), spec("sum", window_ms), T0
    past: list[tuple[int, int]] = []
    for number, (wait, amount) in enumerate(events):
        at += wait
        rows.apply(started(number, (rows.move(measure, amount=amount),)), at)
        past.append((at, amount))
        bucket_ms, _ = tally.width(measure)
        said = tally.total_at(rows.total("sum"), measure, at)
        inside = sum(amount for when, amount in past if when >= at - window_ms)
        nearly = sum(amount for when, amount in past if when > at - window_ms - bucket_ms)
        assert inside <= said <= nearly
