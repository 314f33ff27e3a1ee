"""Decisions, newest first: pages of any size and any filter tell what the log says, whatever is kept in memory."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.model.ids import RequestId
from lictor.model.record import DecisionMade, RequestReceived, RequestRefused, decode_entry
from lictor.ports import StoredEntry
from lictor.service.evidence import decisions
from lictor.service.evidence.decisions import Decisions, Found, Made, Sought
from lictor.stores.memory import MemoryStore
from recorded_world import ASKED, ERASE, FETCH, GUEST, PAY, READ, STRANGER, WRONG, TrafficWorld, drive, world_bundle

BUNDLE = world_bundle()
WORLD = drive(BUNDLE, [READ, FETCH, STRANGER, GUEST, WRONG, ASKED, ERASE, READ, PAY, FETCH, GUEST, READ])
STORE = WORLD.store
SOUGHT = st.builds(
    Sought,
    agent=st.sampled_from(["", "coder", "guest", "nobody"]),
    answer=st.sampled_from(["", "allow", "deny", "needs_approval"]),
    action=st.sampled_from(["", "FETCH", "fs/r", "none"]),
    reason=st.sampled_from(["", "forbidden", "permitted"]),
    since_ms=st.sampled_from([0, WORLD.clock.now_ms() - 5_000]),
    until_ms=st.sampled_from([0, WORLD.clock.now_ms() - 3_000]),
)


def told(sought: Sought) -> list[int]:
    """What the log says, read by itself: numbers of the wanted decisions, newest first."""
    asked: dict[str, RequestReceived] = {}
    found: list[int] = []
    for entry in STORE.entries():
        logged = decode_entry(entry.data)
        match logged.record:
            case RequestReceived() as request:
                asked[request.request] = request
            case DecisionMade() as made:
                request = asked[made.request]
                wanted = (
                    sought.agent in {"", request.agent}
                    and sought.answer in {"", made.outcome}
                    and sought.reason in {"", made.reason}
                    and sought.action.lower() in f"{request.server}/{request.name}".lower()
                    and sought.since_ms <= logged.at
                    and (not sought.until_ms or logged.at < sought.until_ms)
                )
                found += [entry.seq] if wanted else []
            case _:
                pass
    return found[::-1]


def walked(index: Decisions, sought: Sought, limit: int) -> list[int]:
    """Every page after the other."""

    async def walk() -> list[int]:
        found: list[int] = []
        before: int | None = None
        for _ in range(1_000):
            page = await index.page(sought, before=before, limit=limit)
            assert len(page.rows) <= limit
            found += [row.seq for row in page.rows]
            if page.next is None:
                return found
            assert before is None or page.next < before
            before = page.next
        pytest.fail("the pages never end")

    return asyncio.run(walk())


class Forgetful(Decisions):
    """The control: it looks for a request among the entries of its own part only."""

    def _rows_of(self, start: int, stop: int) -> list[Made]:
        inside = [entry.seq for entry in self._store.entries(start, stop)]
        return [row for row in super()._rows_of(start, stop) if row.seq - 1 in inside]


def check(make: Callable[[Any], Decisions], sought: Sought, limit: int, sizes: tuple[int, int, int, int]) -> None:
    """With so many kept, followed and searched entries, and parts of such a size."""
    names = ("KEPT", "FOLLOWED", "SEARCHED", "PART")
    before = [getattr(decisions, name) for name in names]
    for name, size in zip(names, sizes, strict=True):
        setattr(decisions, name, size)
    try:
        assert walked(make(STORE), sought, limit) == told(sought)
    finally:
        for name, size in zip(names, before, strict=True):
            setattr(decisions, name, size)


SIZES = st.tuples(st.integers(1, 20), st.integers(1, 60), st.integers(1, 60), st.integers(1, 30))


@given(SOUGHT, st.integers(1, 9), SIZES)
@settings(max_examples=150, deadline=None)
def test_pages_tell_what_the_log_says(sought: Sought, limit: int, sizes: tuple[int, int, int, int]) -> None:
    """Each wanted decision once, newest first, however little is kept, followed, searched or read at once."""
    check(Decisions, sought, limit, sizes)


def test_a_forgetful_index_is_caught() -> None:
    """Control: one that loses a decision whose request is in the part before."""
    with pytest.raises(AssertionError):
        check(Forgetful, Sought(), 5, (3, 7, 60, 2))


def test_new_decisions_come_first() -> None:
    """What is decided after the first look is on the next."""

    async def look() -> None:
        world = TrafficWorld(BUNDLE)
        index = Decisions(world.store)
        assert (await index.page(Sought())).rows == ()
        for count in range(1, 4):
            await world.step(READ)
            rows = (await index.page(Sought())).rows
            assert len(rows) == count
            assert rows[0].execution
            assert index.outcome(rows[0]) == "executed"

    asyncio.run(look())


class Counting(MemoryStore):
    """Counts what is read of the log."""

    read = 0

    def entries(self, start: int = 0, stop: int | None = None) -> Any:
        for entry in super().entries(start, stop):
            self.read += 1
            yield entry


def test_a_look_at_a_long_log_is_bounded() -> None:
    """Nothing is read twice without need; a page that finds nothing ends where it says, and goes on from there."""
    store = Counting()
    drive(BUNDLE, [READ] * 40, store)
    limits = {"FOLLOWED": 30, "SEARCHED": 30, "PART": 10}
    before = {name: getattr(decisions, name) for name in limits}
    vars(decisions).update(limits)
    try:
        index = Decisions(store)
        found: Found = asyncio.run(index.page(Sought(agent="nobody")))
        assert found.searched
        assert found.next is not None
        assert found.next >= store.size() - 60
        store.read = 0
        asyncio.run(index.page(Sought(agent="coder"), limit=3))
        assert store.read == 0
    finally:
        vars(decisions).update(before)


def test_a_decision_by_number() -> None:
    """With what was recorded beside it; any other number is none."""
    index = Decisions(STORE)
    for entry in STORE.entries():
        record = decode_entry(entry.data).record
        found = index.one(entry.seq)
        assert (found is not None) is isinstance(record, DecisionMade | RequestRefused)
        if found is not None and isinstance(record, DecisionMade):
            kinds = [type(one) for _, one in found[1]]
            assert kinds[:2] == [RequestReceived, DecisionMade]
    for number in (-1, STORE.size(), 10**9):
        assert index.one(number) is None


def test_a_request_is_found() -> None:
    """Whether it is kept in memory or not; one that never was is not."""
    wanted = [(row.request, row.seq) for row in asyncio.run(Decisions(STORE).newest())]
    assert len(wanted) == 13
    before, decisions.FOLLOWED = decisions.FOLLOWED, 1  # type: ignore[misc]
    try:
        for request, seq in wanted:
            assert asyncio.run(Decisions(STORE).find(request)) == seq
    finally:
        decisions.FOLLOWED = before  # type: ignore[misc]
    assert asyncio.run(Decisions(STORE).find(RequestId("req_none"))) is None


def test_a_damaged_entry_is_said() -> None:
    """An entry that cannot be read is never passed over."""

    class Damaged(MemoryStore):
        def entries(self, start: int = 0, stop: int | None = None) -> Any:
            for entry in super().entries(start, stop):
                yield StoredEntry(entry.seq, entry.data.replace(b'"v":1', b'"v":2'), entry.leaf)

    store = Damaged()
    drive(BUNDLE, [READ], store)
    with pytest.raises(StoreError, match="cannot be read"):
        asyncio.run(Decisions(store).page(Sought()))
