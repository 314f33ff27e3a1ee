"""A task's story, read from the log in pages: every step once, in order, and nothing of another task."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import CallerError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.task import Budget
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle
from lictor.service.calls.door import record_refusal
from lictor.service.evidence import story
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.opening import Open
from lictor.service.tasks.prospect import Prospects
from lictor.service.tasks.tasks import Tasks, Wish
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock

FILES = {
    "agents.toml": b'purposes = ["work"]\n[agents.helper]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
    "policies/p.cedar": b'@id("o") permit (principal, action == Action::"task:open", resource);\n',
}
PDP = compile_bundle(load_bundle(FILES, parse_guarded(FILES)))
WISH = Wish(agent=AgentId("helper"), human=HumanId("os:ann"), purpose="work", ttl_s=600, budget=Budget(calls=1))


async def told(turns: list[int], tasks: int) -> tuple[MemoryStore, list[TaskId]]:
    """A log in which so many tasks are turned away in this order, an hour after older things."""
    store, clock, ids = MemoryStore(), ManualClock(1_700_000_000_000), RandomIds()
    parts: dict[str, Any] = {
        "store": store,
        "policy": PolicyInForce(PDP),
        "clock": clock,
        "ids": ids,
        "limits": Limits(),
    }
    prospects = Prospects(**{name: parts[name] for name in ("store", "policy", "ids", "limits")})
    opens = Open(tasks=Tasks(**parts), store=store, prospects=prospects)
    opener = Opener(kind="operator", name="os:ann")
    await opens(opener, WISH, audience="local")
    clock.advance(3_600_000)
    opened = [(await opens(opener, WISH, audience="local")).task.id for _ in range(tasks)]
    for number, turn in enumerate(turns):
        clock.advance(1_000)
        error = CallerError(_reason(number), "x")
        await record_refusal(store, clock, opened[turn % tasks], b"x", error)
    return store, opened


def _reason(number: int) -> Reason:
    return list(Reason)[number % 7]


@given(st.lists(st.integers(0, 2), max_size=25), st.integers(1, 7), st.integers(2, 30))
@settings(max_examples=60, deadline=None)
def test_pages_of_any_size_tell_the_same(turns: list[int], limit: int, window: int) -> None:
    """However few entries are looked at for a page, and however few steps it holds."""
    store, opened = asyncio.run(told(turns, 3))
    before, story.MAX_ENTRIES = story.MAX_ENTRIES, window  # type: ignore[misc]
    try:
        for which, task in enumerate(opened):
            state = store.task(task)
            assert state is not None
            steps, after = [], 0
            for _ in range(1_000):
                page = story.page_of(store, state, after=after, limit=limit)
                assert len(page.steps) <= limit
                steps += page.steps
                if page.next is None:
                    break
                assert page.next > after
                after = page.next
            else:
                pytest.fail("the pages never end")
            wanted = [_reason(number).value for number, turn in enumerate(turns) if turn % 3 == which]
            assert [step.reason for step in steps] == ["permitted", *wanted]
            assert [step.seq for step in steps] == sorted({step.seq for step in steps})
    finally:
        story.MAX_ENTRIES = before  # type: ignore[misc]


def test_it_begins_where_the_task_does() -> None:
    """Entries that are much older are not read."""
    store, opened = asyncio.run(told([], 1))
    state = store.task(opened[0])
    assert state is not None
    read: list[int] = []
    entries = store.entries

    def heard(start: int = 0, stop: int | None = None) -> Any:
        for entry in entries(start, stop):
            read.append(entry.seq)
            yield entry

    store.entries = heard  # type: ignore[method-assign]
    story.page_of(store, state, after=0, limit=10)
    assert min(read[len(read) // 2 :]) >= 3


def test_a_batch_is_a_batch() -> None:
    """What is committed together is one step, not two."""
    store, opened = asyncio.run(told([0, 0], 1))
    state = store.task(opened[0])
    assert state is not None
    page = story.page_of(store, state, after=0, limit=200)
    assert [step.outcome for step in page.steps] == ["allow", "refused", "refused"]
