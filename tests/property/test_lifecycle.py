"""No history of records breaks the promises of the life cycles, whatever is asked in whatever order.

The promises are checked on the list of accepted records alone, not on the rows `fold` makes. Each control is `fold` without
one of its checks: the same machine must find it out.
"""

import re
from collections import Counter

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from lictor.lifecycle.fold import fold
from lictor.model.approval import HoldStatus
from lictor.model.errors import ConflictError
from lictor.model.record import (
    ApprovalGiven,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldExpired,
    HoldOpened,
    TaskClosed,
    TaskOpened,
)
from lictor.model.task import TaskStatus
from store_samples import DIGEST, NOW, OTHER, approved, ended, held, opened, started

TASKS = st.sampled_from(["task_1", "task_2"])
HOLDS = st.sampled_from(["hold_1", "hold_2"])
MOSTLY = st.sampled_from([True, True, True, False])
"""Right more often than wrong, or deep states are never reached."""
DIGESTS = st.sampled_from([DIGEST, OTHER])
VALUES = st.integers(0, 60)
CURRENCIES = st.sampled_from(["EUR", "USD"])
OUTCOMES = st.sampled_from(["executed", "failed", "indeterminate"])
CALLS, EUROS = 4, 100


class Histories(RuleBasedStateMachine):
    """Anything may be asked at any time; what is accepted must keep the promises."""

    fold = staticmethod(fold)

    def __init__(self):
        super().__init__()
        self.rows = {}
        self.now = NOW
        self.accepted = []

    def ask(self, record):
        try:
            changes = self.fold(self.rows.get, record, self.now)
        except ConflictError:
            return
        self.accepted.append((self.now, record))
        for key, row in changes.items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def of(self, kind):
        return [record for _, record in self.accepted if isinstance(record, kind)]

    def meant(self, hold, *, right):
        """Task and digest of a hold, or, when they are not to be right, others."""
        row = self.rows.get(("hold", hold))
        task, digest = (row.body.task, row.body.digest) if row else ("task_1", DIGEST)
        return (
            (task, digest)
            if right
            else ("task_1" if task == "task_2" else "task_2", OTHER if digest == DIGEST else DIGEST)
        )

    # -- what is asked -----------------------------------------------------------------------------------------------------

    @initialize()
    def two_tasks(self):
        for task in ("task_1", "task_2"):
            self.ask(opened(task, calls=CALLS, value={"EUR": EUROS}, expires=NOW + 100))

    @rule(task=TASKS)
    def open_task(self, task):
        self.ask(opened(task, calls=99))

    @rule(task=TASKS)
    def close_task(self, task):
        self.ask(TaskClosed(task=task, by="op"))

    @rule(hold=HOLDS, task=TASKS, digest=DIGESTS)
    def open_hold(self, hold, task, digest):
        self.ask(held(hold, task=task, digest=digest, at=self.now, expires=self.now + 40))

    @rule(hold=HOLDS, right=MOSTLY)
    def approve(self, hold, right):
        self.ask(approved(hold, digest=self.meant(hold, right=right)[1], expires=self.now + 30))

    @rule(hold=HOLDS, task=TASKS, digest=DIGESTS)
    def open_and_approve(self, hold, task, digest):
        self.open_hold(hold, task, digest)
        self.approve(hold, right=True)

    @rule(hold=HOLDS)
    def deny(self, hold):
        self.ask(HoldDenied(hold=hold, by="bob"))

    @rule(hold=HOLDS)
    def expire(self, hold):
        self.ask(HoldExpired(hold=hold))

    @rule(task=TASKS, value=VALUES, currency=CURRENCIES, label=st.sampled_from("abc"))
    def start(self, task, value, currency, label):
        name = f"e{len(self.of(ExecutionStarted))}"
        self.ask(started(name, task=task, value=value, currency=currency, labels=(label,)))

    @rule(hold=HOLDS, right_task=MOSTLY, right_digest=MOSTLY)
    def redeem(self, hold, right_task, right_digest):
        task, digest = self.meant(hold, right=right_task)[0], self.meant(hold, right=right_digest)[1]
        self.ask(started(f"e{len(self.of(ExecutionStarted))}", task=task, hold=hold, digest=digest))

    @rule(number=st.integers(0, 6), outcome=OUTCOMES)
    def end(self, number, outcome):
        self.ask(ended(f"e{number}", outcome))

    @rule(ms=st.integers(1, 25))
    def wait(self, ms):
        self.now += ms

    def teardown(self):
        """A broken promise stays broken, so the end of the history is the time to look."""
        self.no_approval_is_consumed_twice()
        self.every_redemption_has_its_own_live_approval()
        self.a_closed_or_expired_task_starts_nothing()
        self.budgets_are_never_exceeded()
        self.an_execution_ends_once()
        self.one_live_hold_for_an_action()

    # -- what must hold ----------------------------------------------------------------------------------------------------

    def no_approval_is_consumed_twice(self):
        spent = Counter(record.hold for record in self.of(ExecutionStarted) if record.hold)
        assert all(count == 1 for count in spent.values()), f"spent twice: {spent}"

    def every_redemption_has_its_own_live_approval(self):
        for position, (at, record) in enumerate(self.accepted):
            if not isinstance(record, ExecutionStarted) or record.hold is None:
                continue
            before = [earlier for _, earlier in self.accepted[:position]]
            hold = next(one.hold for one in before if isinstance(one, HoldOpened) and one.hold.id == record.hold)
            answers = [
                one.approval for one in before if isinstance(one, ApprovalGiven) and one.approval.hold == record.hold
            ]
            ends = [one for one in before if isinstance(one, HoldDenied | HoldExpired) and one.hold == record.hold]
            assert len(answers) == 1, "no approval, or several"
            assert not ends, "denied or expired before"
            assert answers[0].digest == hold.digest == record.digest, "for another action"
            assert hold.task == record.task, "for another task"
            assert at < answers[0].expires_at_ms, "expired"

    def a_closed_or_expired_task_starts_nothing(self):
        closed, expiry = set(), {}
        for at, record in self.accepted:
            if isinstance(record, TaskOpened):
                expiry[record.task.id] = record.task.expires_at_ms
            elif isinstance(record, TaskClosed):
                closed.add(record.task)
            elif isinstance(record, ExecutionStarted):
                assert record.task not in closed, "started under a closed task"
                assert at < expiry[record.task], "started under an expired task"
            elif isinstance(record, HoldOpened):
                assert record.hold.task not in closed, "asked under a closed task"

    def budgets_are_never_exceeded(self):
        starts, failed = (
            self.of(ExecutionStarted),
            {one.execution for one in self.of(ExecutionEnded) if one.outcome == "failed"},
        )
        calls = Counter(one.task for one in starts)
        assert all(count <= CALLS for count in calls.values()), "more calls than the budget"
        for task in calls:
            spent = Counter()
            for one in starts:
                if one.task == task and one.execution not in failed:
                    spent[one.currency] += one.value
            assert spent["EUR"] <= EUROS, "more value than the budget"
            assert spent["USD"] == 0, "value without a budget"
            state = self.rows["task", task].body
            # Exactly what did not fail: given back only on failed, and then exactly once.
            assert state.value_used.get("EUR", 0) == spent["EUR"], "given back without a failure, or not given back"
            assert state.calls_used == calls[task]
            assert state.labels == tuple(sorted({label for one in starts if one.task == task for label in one.labels}))

    def an_execution_ends_once(self):
        assert all(count == 1 for count in Counter(one.execution for one in self.of(ExecutionEnded)).values()), (
            "ended twice"
        )

    def one_live_hold_for_an_action(self):
        live = Counter(
            (row.body.task, row.body.digest)
            for (kind, _), row in self.rows.items()
            if kind == "hold" and row.status in {"pending", "approved"}
        )
        assert all(count == 1 for count in live.values()), "two live holds for one action"


SETTINGS = settings(max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck))


def test_no_history_breaks_a_promise():
    """Random histories of up to 30 asks."""
    run_state_machine_as_test(Histories, settings=SETTINGS)


# -- controls: fold without one of its checks ------------------------------------------------------------------------------


def _seeing(change):
    """`fold` that sees a row as `change` makes it: the check that reads it is gone."""

    def mutant(read, record, at):
        def altered(key):
            row = read(key)
            body = None if row is None else change(key, row.body, record)
            return (
                row
                if body is None
                else msgspec.structs.replace(row, body=body, status=getattr(body, "status", row.status))
            )

        return fold(altered, record, at)

    return mutant


def _approved_again(key, body, record):
    if key[0] == "hold" and body.status is HoldStatus.CONSUMED and isinstance(record, ExecutionStarted):
        return msgspec.structs.replace(body, status=HoldStatus.APPROVED)
    return None


def _never_ended(key, body, record):
    if key[0] == "hold" and body.approval and isinstance(record, ExecutionStarted):
        return msgspec.structs.replace(body, status=HoldStatus.APPROVED) if body.status != HoldStatus.CONSUMED else None
    return None


def _open_again(key, body, _):
    return msgspec.structs.replace(body, status=TaskStatus.OPEN) if key[0] == "task" else None


def _generous(key, body, record):
    if key[0] == "task" and isinstance(record, ExecutionStarted):
        return msgspec.structs.replace(
            body, task=msgspec.structs.replace(body.task, budget=type(body.task.budget)(calls=99, value={"EUR": 999}))
        )
    return None


def _any_digest(key, body, record):
    if key[0] == "hold" and isinstance(record, ExecutionStarted):
        return msgspec.structs.replace(body, digest=record.digest)
    return None


def _any_task(key, body, record):
    if key[0] == "hold" and isinstance(record, ExecutionStarted):
        return msgspec.structs.replace(body, task=record.task)
    return None


def _gives_back_too_much(read, record, at):
    changes = fold(read, record, at)
    if isinstance(record, ExecutionEnded) and record.outcome == "indeterminate":
        changes = {**fold(read, msgspec.structs.replace(record, outcome="failed"), at), **changes}
    return changes


def _timeless(read, record, at):
    return fold(read, record, NOW if isinstance(record, ExecutionStarted) else at)


def _ends_again(read, record, at):
    def altered(key):
        row = read(key)
        return msgspec.structs.replace(row, status="started") if key[0] == "execution" and row else row

    return fold(altered if isinstance(record, ExecutionEnded) else read, record, at)


def _crowded(read, record, at):
    return fold(
        (lambda key: None if key[0] == "live" else read(key)) if isinstance(record, HoldOpened) else read, record, at
    )


SEARCHES = 8
"""A rare history is looked for again: a control that misses its fault once in many runs says nothing about the fault."""


@pytest.mark.parametrize(
    ("mutant", "complaint"),
    [
        (_seeing(_approved_again), "spent twice"),
        (_seeing(_never_ended), "denied or expired before"),
        (_seeing(_open_again), "closed task"),
        (_seeing(_generous), "more calls|more value|without a budget"),
        (_seeing(_any_digest), "another action"),
        (_seeing(_any_task), "another task"),
        (_gives_back_too_much, "given back|more value"),
        (_timeless, "expired"),
        (_ends_again, "ended twice|given back|more value"),
        (_crowded, "two live holds"),
    ],
    ids=["double", "ended", "closed", "budget", "digest", "task", "refund", "time", "twice", "live"],
)
def test_the_machine_finds_a_missing_check(mutant, complaint):
    """Control: without the check the machine fails, and for the right reason."""
    machine = type("Mutated", (Histories,), {"fold": staticmethod(mutant)})
    thorough = settings(
        SETTINGS,
        max_examples=400,
        derandomize=False,
        phases=[Phase.generate],
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
    )
    for _ in range(SEARCHES):
        try:
            run_state_machine_as_test(machine, settings=thorough)
        except AssertionError as found:
            assert re.search(complaint, str(found)), found
            return
    pytest.fail(f"the machine missed it in {SEARCHES} searches")
