"""A task's story from the log: complete, of nobody else, in order, in bounded memory; and streams of one kind that stand alone."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.ids import TaskId
from lictor.model.record import LogEntry, decode_entry
from lictor.model.schema import record_tags
from lictor.ports import StoredEntry
from lictor.service.evidence import telling
from lictor.service.evidence.telling import Belonging, Chapter, chapters
from recorded_world import STEPS, Step, drive, world_bundle

STEP = st.sampled_from(STEPS)


def related(entries: list[LogEntry], task: str) -> list[int]:
    """The oracle: whatever names the task, or anything that is named together with it, however often the log has to be read."""
    names = {task}
    joins = ("request", "hold", "execution", "lease", "allowance", "decision")

    def own(entry: LogEntry) -> set[str]:
        record: dict[str, Any] = msgspec.to_builtins(entry.record)
        inner = record.get("hold"), record.get("approval"), record.get("task"), record.get("lease")
        members = [record, *(one for one in inner if isinstance(one, dict))]
        found = {one[name] for one in members for name in joins if isinstance(one.get(name), str)}
        found |= {one["id"] for one in members[1:] if one is not record.get("approval")}
        return found | {one["task"] for one in members if isinstance(one.get("task"), str)}

    mine: set[int] = set()
    grown = True
    while grown:
        grown = False
        for number, entry in enumerate(entries):
            if number not in mine and own(entry) & names:
                mine.add(number)
                names |= own(entry)
                grown = True
    return sorted(mine)


class Forgetful(Belonging):
    """The control: does not follow holds and executions."""

    def _begins(self, name: str, task: str, of: str) -> str | None:
        return self._places.get(of)


def told(entries: list[StoredEntry], task: str) -> list[Chapter]:
    return list(chapters(entries, TaskId(task)))


def numbers(found: list[Chapter]) -> list[int]:
    return sorted(seq for one in found for seq, _ in one.records)


@given(st.lists(STEP, max_size=14))
@settings(max_examples=40, deadline=None)
def test_the_stories_of_all_tasks_are_the_whole_log(steps: list[Step]) -> None:
    """Each record that belongs to a task is in its story once, as the oracle says; each request stands with what came of it."""
    world = drive(world_bundle(), steps)
    stored = list(world.store.entries())
    entries = [decode_entry(one.data) for one in stored]
    for task in world._open.values():
        found = told(stored, task.id)
        assert numbers(found) == related(entries, task.id)
        starts = [one.records[0][0] for one in found]
        assert starts == sorted(starts)
        for one in found:
            assert [seq for seq, _ in one.records] == sorted(seq for seq, _ in one.records)
            assert {getattr(entry.record, "request", one.request) for _, entry in one.records} <= {one.request}
            tags = [entry.record.__struct_config__.tag for _, entry in one.records]
            if one.request:
                assert tags[:2] == ["request.received", "decision.made"]


@given(st.lists(STEP, min_size=3, max_size=14), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_what_is_told_early_is_not_lost(steps: list[Step], most: int) -> None:
    """With room for hardly any open request the story has the same records; what comes late stands by itself."""
    world = drive(world_bundle(), steps)
    stored = list(world.store.entries())
    before, telling.MAX_OPEN = telling.MAX_OPEN, most  # type: ignore[misc]
    try:
        few = {task.id: numbers(told(stored, task.id)) for task in world._open.values()}
    finally:
        telling.MAX_OPEN = before  # type: ignore[misc]
    assert few == {task.id: numbers(told(stored, task.id)) for task in world._open.values()}


def test_the_oracle_finds_a_teller_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: answers and outcomes that are not followed are missed by the first property."""
    world = drive(world_bundle(), STEPS)
    stored = list(world.store.entries())
    task = world._open["coder"].id
    monkeypatch.setattr(telling, "Belonging", Forgetful)
    monkeypatch.setattr(
        Forgetful,
        "_named",
        lambda self, record: None if hasattr(record, "execution") else Belonging._named(self, record),
    )
    assert numbers(told(stored, task)) != related([decode_entry(one.data) for one in stored], task)


def test_a_request_that_waits_is_not_over() -> None:
    """A hold without an answer, and a call without an outcome, are said to be open; what ended is not."""
    world = drive(
        world_bundle(),
        [Step("read_file", (("path", "a"),)), Step("read_file", (("path", "b"),), send=False), *STEPS[4:5]],
    )
    found = told(list(world.store.entries()), world._open["coder"].id)
    assert [one.over for one in found if one.request] == [True, False, False]


def test_memory_does_not_grow_with_the_log() -> None:
    """However many requests a task has had, few names are followed: of what is open, and of the last few."""
    world = drive(world_bundle(), [Step("read_file", (("path", "a"),))] * 120)
    mine = Belonging(world._open["coder"].id)
    most = 0
    for one in world.store.entries():
        mine.take(one)
        most = max(most, len(mine._places))
    assert most <= telling.RECENT + 2


# -- kinds --------------------------------------------------------------------------------------------------------------------

SUBJECTS = {
    *("task", "request", "hold", "execution", "lease", "decision", "allowance", "containment", "finding", "passkey"),
    *("human", "agent", "server", "application", "revision", "by", "witness", "log", "epoch"),
}
"""What a record can be about. One that says nothing of them could be joined with nothing."""


def members(type_: Any) -> Iterator[str]:
    """Its required members, and those of what it is about."""
    for one in msgspec.structs.fields(type_):
        if one.required:
            yield one.name


@pytest.mark.parametrize("tag", record_tags())
def test_a_record_of_every_kind_says_what_it_belongs_to(tag: str) -> None:
    """A stream of one kind stands alone: each record names a task, request, hold, execution or whatever it is about."""
    type_ = record_tags()[tag]
    named = set(members(type_))
    wrapped = {"hold", "approval", "allowance", "task", "contract", "containment", "lease", "passkey", "signal"}
    assert named & (SUBJECTS | wrapped), f"{tag} names nothing"
    kind = tag.partition(".")[0]
    if kind in {"request", "decision", "execution"} and tag != "request.party_refused":  # before there was any
        assert named & {"task", "request", "execution"}, f"{tag} can be joined with no task"
    if kind == "approval":
        assert named & {"hold", "approval", "allowance", "request"}, f"{tag} can be joined with no hold or request"
