"""The life of a lease is its table, whatever is tried, and nothing on loan is given twice."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import bundles
from lictor.lifecycle import leases as leasing
from lictor.lifecycle.fold import fold
from lictor.lifecycle.rows import Key, Row
from lictor.lifecycle.table import LEASE
from lictor.model.canonical import sha256_digest
from lictor.model.errors import ConflictError
from lictor.model.ids import (
    ActionDigest,
    AgentId,
    ArgumentsDigest,
    DecisionId,
    ExecutionId,
    HumanId,
    InstanceId,
    LeaseId,
    RequestId,
    ServerName,
    TaskId,
)
from lictor.model.lease import Lease, LeaseStatus
from lictor.model.record import (
    ExecutionStarted,
    LeaseAsked,
    LeaseEnded,
    LeaseEnding,
    LeaseGiven,
    LeaseKept,
    Record,
    TaskClosed,
    TaskOpened,
)
from lictor.model.task import Budget, Task

TASK = TaskId("task")
END = bundles.NOW + 900_000
EVENTS = sorted({event for _, event in LEASE})
LIVE = {"asked", "active"}
"""In these a lease may be in somebody's hands."""


class Rows:
    """A store of one process: fold and keep, with nothing in between."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}
        task = Task(
            id=TASK,
            agent=AgentId("coder"),
            human=HumanId("os:alice"),
            purpose="test",
            trusted_text_digest="",
            audience="local",
            opened_at_ms=bundles.NOW,
            expires_at_ms=END,
            budget=Budget(),
        )
        self.put(TaskOpened(task=task, opened_by="os:alice"))

    def put(self, record: Record, at_ms: int = bundles.NOW) -> None:
        for key, row in fold(self.rows.get, record, at_ms).items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    async def commit(self, record: Record) -> None:
        self.put(record)

    def ask(self, name: str) -> LeaseId:
        """A lease that is asked for, by an execution of its own."""
        lease, execution = LeaseId(f"lease_{name}"), ExecutionId(f"exe_{name}")
        self.put(
            ExecutionStarted(
                execution=execution,
                request=RequestId("r"),
                decision=DecisionId("d"),
                digest=ActionDigest("d"),
                arguments=ArgumentsDigest(sha256_digest(b"{}")),
                task=TASK,
                instance=InstanceId("inst"),
                lease=lease,
            )
        )
        self.put(
            LeaseAsked(
                lease=Lease(
                    id=lease,
                    credential="token",
                    server=ServerName("fs"),
                    destination="command",
                    provider="static",
                    agent=AgentId("coder"),
                    human=HumanId("os:alice"),
                    task=TASK,
                    execution=execution,
                    asked_at_ms=bundles.NOW,
                    expires_at_ms=END,
                )
            )
        )
        return lease

    def lease(self, lease: LeaseId) -> Lease:
        row = self.rows["lease", lease]
        assert isinstance(row.body, Lease)
        return row.body

    def live(self) -> set[str]:
        row = self.rows.get(("leases", TASK))
        return set(row.body.ids) if row is not None else set()


def record_of(lease: LeaseId, event: str) -> Record:
    match event:
        case "give":
            return LeaseGiven(lease=lease, handle="h", expires_at_ms=END)
        case "end":
            return LeaseEnding(lease=lease, why="over")
        case "keep":
            return LeaseKept(lease=lease, attempts=1, why="down")
        case _:
            return LeaseEnded(lease=lease, outcome=event)


class Life(RuleBasedStateMachine):
    """Every event at every lease in any order, and the task's end at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Rows()
        self.model: dict[LeaseId, str] = {}
        self.was_over: set[LeaseId] = set()
        self.open = True

    @rule()
    def asked(self) -> None:
        if len(self.model) >= 4:
            return
        name = str(len(self.model))
        if not self.open:
            with pytest.raises(ConflictError):
                self.store.ask(name)
            return
        self.model[self.store.ask(name)] = "asked"

    @rule(number=st.integers(0, 3), event=st.sampled_from(EVENTS), late=st.booleans())
    def happens(self, number: int, event: str, late: bool) -> None:
        lease = LeaseId(f"lease_{number}")
        at_ms = END if late else bundles.NOW
        status = self.model.get(lease)
        after = LEASE.get((status, event)) if status is not None else None
        early = event == "expired" and not late
        known = event == "never" and status is not None and bool(self.store.lease(lease).handle)
        if after is None or early or known:
            before = dict(self.store.rows)
            with pytest.raises(ConflictError):
                self.store.put(record_of(lease, event), at_ms)
            assert self.store.rows == before
            return
        self.store.put(record_of(lease, event), at_ms)
        self.model[lease] = after

    @rule()
    def task_ends(self) -> None:
        if self.open:
            self.store.put(TaskClosed(task=TASK, by="os:alice"))
            self.open = False
            self.model = {one: "revoking" if status in LIVE else status for one, status in self.model.items()}

    @invariant()
    def as_the_table_says(self) -> None:
        assert {one: self.store.lease(one).status.value for one in self.model} == self.model

    @invariant()
    def what_is_ending_never_comes_back(self) -> None:
        self.was_over |= {one for one, status in self.model.items() if status not in LIVE}
        for one in self.was_over:
            assert self.store.lease(one).status.value not in LIVE

    @invariant()
    def what_lives_is_listed(self) -> None:
        over = {status.value for status in leasing.OVER}
        assert self.store.live() == {one for one, status in self.model.items() if status not in over}

    @invariant()
    def a_closed_task_has_nothing_in_anybody_s_hands(self) -> None:
        assert self.open or not LIVE & set(self.model.values())


RUNS = settings(max_examples=120, stateful_step_count=30, deadline=None)


def test_a_lease_lives_by_its_table():
    """Any order of any events."""
    run_state_machine_as_test(Life, settings=RUNS)


@pytest.mark.parametrize("fault", ["revival", "closing"])
def test_a_faulty_life_is_found_out(fault: str, monkeypatch: pytest.MonkeyPatch):
    """Control: an ending lease that can be given back, or a task that closes without its leases."""
    if fault == "revival":
        monkeypatch.setitem(leasing.LEASE, ("revoking", "give"), "active")
    else:
        monkeypatch.setattr(leasing, "of_closed_task", lambda _read, _task: {})
    with pytest.raises(AssertionError):
        run_state_machine_as_test(Life, settings=RUNS)


def test_every_state_but_the_last_ones_can_end_and_no_way_leads_back():
    """Read from the table: no state is a trap, and use is not reached from an ending."""
    ends = {"revoked", "expired", "never"}
    for state in LeaseStatus:
        steps = {after for (before, _), after in LEASE.items() if before == state.value}
        assert (not steps) is (state.value in ends)
        if state.value not in LIVE:
            assert not steps & LIVE


# -- single use ----------------------------------------------------------------------------------------------------------

ROUNDS, REDEEMERS = 10_000, 64
Commit = Callable[[Rows, Record], Awaitable[None]]


async def whole(store: Rows, record: Record) -> None:
    """Check and mark in one step."""
    await store.commit(record)


async def check_then_mark(store: Rows, record: Record) -> None:
    """Control: somebody else may come in between."""
    changes = fold(store.rows.get, record, bundles.NOW)
    await asyncio.sleep(0)
    for key, row in changes.items():
        if row is not None:
            store.rows[key] = row


async def redeemed(rounds: int, commit: Commit) -> int:
    """How many were redeemed twice."""
    store, double = Rows(), 0

    async def redeem(record: Record) -> bool:
        try:
            await commit(store, record)
        except ConflictError:
            return False
        return True

    for number in range(rounds):
        given = LeaseGiven(lease=store.ask(str(number)), handle="h", expires_at_ms=END)
        tasks = [redeem(given) for _ in range(REDEEMERS)]
        done: list[Any] = await asyncio.gather(*tasks)
        double += sum(done) != 1
        store.put(record_of(given.lease, "end"))
        store.put(record_of(given.lease, "revoked"))
        del store.rows["lease", given.lease], store.rows["execution", f"exe_{number}"]
    return double


@pytest.mark.timeout(120)
async def test_a_single_use_lease_is_redeemed_once():
    """10,000 rounds of 64 at once: nothing is given twice."""
    assert await redeemed(ROUNDS, whole) == 0


async def test_a_build_that_checks_then_marks_is_found_out():
    """Control: the same redeemers get it twice."""
    assert await redeemed(20, check_then_mark) == 20
