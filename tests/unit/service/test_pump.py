"""The pump: nothing is ever lost, whatever fails and wherever the process dies; what is said of how far it is is true."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import store_samples
from lictor.model.errors import StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.ports import StoredEntry
from lictor.service.log import pump as pumping
from lictor.service.log.pump import Event, Keeper, Place, Pump
from lictor.sinks.encode import encoder
from lictor.stores.memory import MemoryStore
from lictor.stores.places import FilePlace
from lictor.stores.tail import StoreTail

ORIGIN = "lictor.example/log"


class DiedError(BaseException):
    """The process ended here."""


class Kept:
    """A keeper in memory that outlives pumps, and can fail or die as told."""

    def __init__(self) -> None:
        self.place: Place | None = None
        self.before: Callable[[], None] = lambda: None
        self.saves = 0

    def mine(self) -> bool:
        return True

    def load(self) -> Place | None:
        return self.place

    def save(self, place: Place) -> None:
        self.before()
        self.saves += 1
        self.place = place

    def close(self) -> None:
        """Nothing."""


class Taking:
    """A sink that keeps what it takes."""

    def __init__(self, most: int = 10_000) -> None:
        self.got: list[int] = []
        self.batches: list[int] = []
        self.most = most
        self.act: Callable[[Sequence[Event]], str] = lambda _: "take"

    def send(self, events: Sequence[Event]) -> None:
        self.batches.append(len(events))
        if len(events) > self.most:
            raise UpstreamError(Reason.UPSTREAM_INVALID, "too much", effect_possible=False)
        match self.act(events):
            case "refuse":
                raise UpstreamError(Reason.UPSTREAM_DOWN, "no", effect_possible=False)
            case "take and fail":
                self.got += [event.seq for event in events]
                raise TimeoutError("nobody knows")
            case "die before":
                raise DiedError
            case "die after":
                self.got += [event.seq for event in events]
                raise DiedError
            case _:
                self.got += [event.seq for event in events]

    def close(self) -> None:
        """Nothing."""


def log_of(many: int) -> MemoryStore:
    """A log of so many records."""
    store = MemoryStore(origin=ORIGIN)
    asyncio.run(grow(store, many))
    return store


async def grow(store: MemoryStore, many: int, name: str = "task") -> None:
    for _ in range(many):
        number = store.size()
        await store.commit(store_samples.batch(store_samples.opened(f"{name}_{number}")))


def pump_of(store: Any, sink: Any, keeper: Keeper, kind: type[Pump] = Pump, **more: Any) -> Pump:
    said: list[str] = more.pop("said", [])
    return kind(
        "s", origin=ORIGIN, tail=lambda: StoreTail(store), sink=sink, keeper=keeper, encode=encoder("lictor"),
        say=said.append, poll_s=0.01, first_wait_s=0.01, **more,
    )  # fmt: skip


def drained(pump: Pump, tries: int = 1_000) -> None:
    """Turn until there is nothing more."""
    for _ in range(tries):
        try:
            if not pump.turn():
                return
        except (UpstreamError, OSError):
            pump._drop_tail()
    raise AssertionError("it never ends")


def firsts(got: list[int]) -> list[int]:
    """Each number where it came first."""
    return list(dict.fromkeys(got))


def test_everything_comes_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing going wrong a log arrives entry by entry, in bounded batches, and then what is added to it."""
    monkeypatch.setattr(pumping, "MOST_EVENTS", 7)
    store, sink, kept = log_of(30), Taking(), Kept()
    pump = pump_of(store, sink, kept)
    pump._most = 7
    drained(pump)
    asyncio.run(grow(store, 3))
    assert pump.lag(store.size()) == 3
    drained(pump)
    assert sink.got == list(range(33))
    assert max(sink.batches) <= 7
    assert pump.lag(store.size()) == 0
    assert kept.place is not None
    assert kept.place.next == 33


class CarelessPump(Pump):
    """Control: keeps the place first, and sends then."""

    def turn(self) -> bool:
        tail = self._tail = self._tail or self._open()
        start = self._next if self._begun and self._next is not None else self._begin(tail)
        page = tail.read(start, self._most)
        if not page:
            return False
        events, upto, leaf = self._batch(start, page)
        self._keep(upto, leaf)
        self._next = upto
        self._sink.send(events)
        return True


ACTS = st.lists(
    st.sampled_from(["take", "refuse", "take and fail", "die before", "die after", "die keeping", "fail keeping"]),
    max_size=25,
)


def lived_through(acts: list[str], kind: type[Pump], many: int = 12) -> list[int]:
    """What arrived, with each try of sending going as told, and a new process after each death; at last all is well."""
    store, sink, kept = log_of(many), Taking(), Kept()
    left = list(acts)

    def act(_: Sequence[Event]) -> str:
        now = left.pop(0) if left else "take"
        if now == "die keeping":
            kept.before = die
        elif now == "fail keeping":
            kept.before = fail
        return now

    def die() -> None:
        kept.before = lambda: None
        raise DiedError

    def fail() -> None:
        kept.before = lambda: None
        raise StoreError(Reason.CANNOT_RECORD, "full")

    sink.act = act
    pump = pump_of(store, sink, kept, kind)
    pump._most = 3
    for _ in range(200):
        try:
            more = pump.turn()
            pump._most = 3
        except (UpstreamError, StoreError, OSError):
            pump._drop_tail()
            continue
        except DiedError:
            pump = pump_of(store, sink, kept, kind)
            pump._most = 3
            continue
        if not more:
            return sink.got
    raise AssertionError("it never ends")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ACTS)
def test_nothing_is_lost_wherever_it_dies(acts: list[str]) -> None:
    """At least once: every entry arrives, first arrivals are in the order of the log."""
    assert firsts(lived_through(acts, Pump)) == list(range(12))


@pytest.mark.parametrize("act", ["refuse", "die before"])
def test_a_place_that_is_kept_first_loses(act: str) -> None:
    """Control: the same life with the place kept before sending loses entries, and the check above sees it."""
    assert firsts(lived_through([act], CarelessPump)) != list(range(12))
    assert firsts(lived_through([act], Pump)) == list(range(12))


def test_a_batch_that_is_too_much_is_made_smaller() -> None:
    """A sink that takes two at most gets everything."""
    store, sink = log_of(40), Taking(most=2)
    drained(pump_of(store, sink, Kept()))
    assert firsts(sink.got) == list(range(40))


def test_bytes_bound_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch ends before it gets too long; an entry that is longer alone goes alone."""
    monkeypatch.setattr(pumping, "MOST_BYTES", 1)
    store, sink = log_of(5), Taking()
    drained(pump_of(store, sink, Kept()))
    assert sink.batches == [1] * 5


def test_now_means_when_it_first_started() -> None:
    """A sink that begins now takes what came after its first start, also when that start ended at once."""
    store, kept = log_of(5), Kept()
    assert pump_of(store, Taking(), kept, from_now=True).turn() is False
    asyncio.run(grow(store, 4))
    sink = Taking()
    drained(pump_of(store, sink, kept, from_now=True))
    assert sink.got == [5, 6, 7, 8]


def test_now_stays_the_moment_of_the_first_try() -> None:
    """Where the first place could not be kept, what came meanwhile is not passed over."""
    store, kept, sink = log_of(5), Kept(), Taking()

    def full() -> None:
        kept.before = lambda: None
        raise StoreError(Reason.CANNOT_RECORD, "full")

    kept.before = full
    pump = pump_of(store, sink, kept, from_now=True)
    with pytest.raises(StoreError):
        pump.turn()
    asyncio.run(grow(store, 3))
    drained(pump)
    assert sink.got == [5, 6, 7]


def test_a_log_that_is_exchanged_meanwhile_is_noticed() -> None:
    """After a failure to read, what is opened is held against the place again: another log is sent from its beginning."""
    stores, sink, said = [log_of(8), MemoryStore(origin=ORIGIN)], Taking(), []
    asyncio.run(grow(stores[1], 20, "other"))

    class Breaking(StoreTail):
        broken = False

        def read(self, start: int, limit: int) -> list[StoredEntry]:
            if self.broken:
                raise StoreError(Reason.CANNOT_RECORD, "gone")
            return list(super().read(start, limit))

    pump = pump_of(stores[0], sink, Kept(), said=said)
    pump._open = lambda: Breaking(stores[0])
    drained(pump)
    pump._tail.broken = True  # type: ignore[union-attr]
    with pytest.raises(StoreError) as failed:
        pump.turn()
    pump._failed(failed.value)
    pump._open = lambda: Breaking(stores[1])
    drained(pump)
    assert sink.got == [*range(8), *range(20)]
    assert "another log" in said[-1]


def test_unwanted_records_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only wanted kinds are sent; the place is kept now and then all the same, and lag counts what is passed as taken."""
    monkeypatch.setattr(pumping, "KEEP_EVERY", 4)
    store, sink, kept = log_of(10), Taking(), Kept()
    pump = pump_of(store, sink, kept, kinds=("decision",))
    drained(pump)
    assert sink.got == []
    assert pump.lag(store.size()) == 0
    assert kept.place is not None
    assert kept.place.next >= 4


def test_a_place_of_another_log_is_not_believed() -> None:
    """A log that was rolled back or exchanged is sent from its beginning, and that is said: twice is better than never."""
    one, other = log_of(8), log_of(3)
    kept, said = Kept(), []
    drained(pump_of(one, Taking(), kept))
    for store in (other, log_of(20)):
        sink = Taking()
        if store.size() == 20:
            kept.place = Place(origin=ORIGIN, next=8, leaf="00" * 32)
        drained(pump_of(store, sink, kept, said=said))
        assert sink.got == list(range(store.size()))
    assert len(said) == 2


def test_lag_before_anything_is_known() -> None:
    """A new sink is behind by the whole log; one that begins now by nothing."""
    assert pump_of(log_of(3), Taking(), Kept()).lag(3) == 3
    assert pump_of(log_of(3), Taking(), Kept(), from_now=True).lag(3) == 0


def test_a_hole_in_the_log_stops_it() -> None:
    """An entry that is missing is not passed over."""

    class Holed(StoreTail):
        def read(self, start: int, limit: int) -> list[StoredEntry]:
            return [entry for entry in super().read(start, limit) if entry.seq != 2]

    store, sink = log_of(5), Taking()
    pump = pump_of(store, sink, Kept())
    pump._tail = Holed(store)
    with pytest.raises(StoreError, match="entry 2 is missing"):
        pump.turn()
    assert sink.got == []


# -- with files and threads ------------------------------------------------------------------------------------------------


def until(holds: Callable[[], bool], wait_s: float = 20.0) -> None:
    ends = time.monotonic() + wait_s
    while not holds():
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.01)


def test_one_process_sends_and_another_goes_on_after_it(tmp_path: Path) -> None:
    """Of two gateways on one log one sends; the other knows how far it is, and takes over when it ends."""
    store, first, second = log_of(5), Taking(), Taking()
    one = pump_of(store, first, FilePlace(tmp_path, "s"))
    other = pump_of(store, second, FilePlace(tmp_path, "s"))
    one.start()
    until(lambda: len(first.got) == 5)
    other.start()
    until(lambda: other.lag(5) == 0)
    assert second.got == []
    one.stop(10)
    asyncio.run(grow(store, 2))
    until(lambda: len(second.got) == 2)
    other.stop(10)
    assert second.got == [5, 6]


def test_a_hanging_sink_holds_nobody_up(tmp_path: Path) -> None:
    """Starting, asking for the lag and stopping do not wait for a sink that never answers."""
    release = threading.Event()

    class Hanging(Taking):
        def send(self, events: Sequence[Event]) -> None:
            release.wait(60)

    store = log_of(3)
    pump = pump_of(store, Hanging(), FilePlace(tmp_path, "s"))
    began = time.monotonic()
    pump.start()
    assert pump.lag(3) == 3
    pump.stop(0.0)
    assert time.monotonic() - began < 5
    release.set()


def test_a_failing_sink_is_said_once_and_when_it_is_well_again(tmp_path: Path) -> None:
    """The operator hears of it once, not at every try; and hears that it goes on."""
    said: list[str] = []
    store, sink = log_of(3), Taking()
    sink.act = lambda _: "refuse"
    pump = pump_of(store, sink, FilePlace(tmp_path, "s"), said=said)
    pump.start()
    until(lambda: len(sink.batches) >= 4)
    assert pump.failing == "no"
    sink.act = lambda _: "take"
    until(lambda: len(said) == 2)
    pump.stop(10)
    assert sink.got == [0, 1, 2]
    assert "takes nothing now" in said[0]
    assert "takes records again" in said[1]
    assert pump.failing == ""


def test_a_place_is_a_private_file_that_is_replaced_whole(tmp_path: Path) -> None:
    """Mode 0600; a damaged or open one is not believed, and everything is sent."""
    keeper = FilePlace(tmp_path, "s")
    keeper.save(Place(origin=ORIGIN, next=2, leaf="ab"))
    path = tmp_path / "sinks" / "s.place"
    assert json.loads(path.read_bytes()) == {"origin": ORIGIN, "next": 2, "leaf": "ab"}
    assert path.stat().st_mode & 0o777 == 0o600
    store = log_of(4)
    for damage in (lambda: path.write_bytes(b'{"next":'), lambda: path.chmod(0o644)):
        damage()
        sink, said, place = Taking(), [], FilePlace(tmp_path, "s")
        drained(pump_of(store, sink, place, said=said))
        place.close()
        assert sink.got == [0, 1, 2, 3]
        assert "starts with the first record" in said[0]
