"""No tree of tasks does more than the task at its top may, in whatever order children are opened, used and closed.

The promises are checked on the accepted records alone. Each control is `fold` without one of its checks.
"""

from unittest.mock import patch

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from lictor.lifecycle import bounds
from lictor.lifecycle.fold import fold
from lictor.model.contract import Clause, Contract, ContractSource
from lictor.model.errors import ConflictError
from lictor.model.record import ExecutionEnded, ExecutionStarted, TaskClosed, TaskOpened
from store_samples import NOW, ended, opened, started

CALLS, EUROS, CLAUSE_CALLS = 8, 100, 3
AGENTS = ("agent", "b", "c", "d")
TASKS = ("root", "t1", "t2", "t3", "t4")
NAMES = st.sampled_from(TASKS[1:])
CONTRACT = Contract(
    source=ContractSource.APPLICATION,
    clauses=(Clause(action="s/limited", calls=CLAUSE_CALLS), Clause(action="s/free")),
)


class Trees(RuleBasedStateMachine):
    """Anything may be asked at any time."""

    def __init__(self):
        super().__init__()
        self.rows = {}
        self.now = NOW
        self.accepted = []

    def ask(self, record):
        try:
            changes = fold(self.rows.get, record, self.now)
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

    @initialize()
    def a_root(self):
        root = opened("root", calls=CALLS, value={"EUR": EUROS}, expires=NOW + 100)
        self.ask(msgspec.structs.replace(root, contract=CONTRACT))

    @rule(
        child=NAMES, parent=st.sampled_from(TASKS), agent=st.sampled_from(AGENTS), calls=st.integers(1, 5),
        value=st.integers(-10, 60), late=st.integers(-60, 10), spliced=st.sampled_from([0, 0, 0, 1]),
    )  # fmt: skip
    def delegate(self, child, parent, agent, calls, value, late, spliced):
        above = self.rows.get(("task", parent))
        if above is None:
            return
        task = above.body.task
        record = opened(child, calls=calls, value={"EUR": value}, expires=task.expires_at_ms + late, opened=self.now)
        chain = (task.id, *task.parents)[spliced:] or (task.id,)
        self.ask(msgspec.structs.replace(record, task=msgspec.structs.replace(record.task, agent=agent, parents=chain)))

    @rule(child=NAMES, calls=st.integers(1, 4), clause=st.sampled_from([1, 1, 1, 0, 2, -1]))
    def errand(self, child, calls, clause):
        """A child that uses all it got, perhaps under a clause its parent has not, and is closed: nothing comes back."""
        self.delegate(child, "root", "b", calls, 0, 0, 0)
        for _ in range(calls):
            self.start(child, 0, clause)
        self.close(child)

    @rule(task=st.sampled_from(TASKS))
    def close(self, task):
        if task != "root" or len(self.accepted) > 15:
            self.ask(TaskClosed(task=task, by="op"))

    @rule(task=st.sampled_from(TASKS), value=st.integers(0, 40), clause=st.integers(-1, 2))
    def start(self, task, value, clause):
        row = self.rows.get(("task", task))
        depth = len(row.body.task.parents) if row else 0
        record = started(f"e{len(self.of(ExecutionStarted))}", task=task, value=value, currency="EUR", labels=(task,))
        clauses = (*(-1 for _ in range(depth)), clause)
        self.ask(msgspec.structs.replace(record, clauses=clauses))

    @rule(number=st.integers(0, 8), outcome=st.sampled_from(["executed", "failed", "indeterminate"]))
    def end(self, number, outcome):
        self.ask(ended(f"e{number}", outcome))

    @rule(ms=st.integers(1, 30))
    def wait(self, ms):
        self.now += ms

    def teardown(self):
        """What must hold of everything that was accepted."""
        tasks = {record.task.id: record.task for record in self.of(TaskOpened)}
        starts = self.of(ExecutionStarted)
        failed = {record.execution for record in self.of(ExecutionEnded) if record.outcome == "failed"}
        assert len(starts) <= CALLS, "the tree ran more than the root's calls"
        spent = sum(one.value for one in starts if one.execution not in failed)
        assert spent <= EUROS, "the tree spent more than the root's value"
        assert sum(one.clauses[-1] == 0 for one in starts) <= CLAUSE_CALLS, "a clause ran more often than it may"
        assert all(one.clauses[-1] in {0, 1} for one in starts), "outside the contract"
        for task in tasks.values():
            chain = [tasks[parent] for parent in task.parents]
            assert len({task.agent, *(link.agent for link in chain)}) == len(chain) + 1, "an agent twice in a chain"
            assert all(task.expires_at_ms <= link.expires_at_ms for link in chain), "outlives its parent"
            if chain:
                assert task.parents == (chain[0].id, *chain[0].parents), "spliced"
        self.nothing_starts_below_a_dead_task(tasks)
        for task in tasks.values():
            seen = set(self.rows["task", "root"].body.labels)
            assert {one.task for one in starts} == seen, "the root has not seen what its tree has"
            assert self.rows["task", task.id].body.calls_used >= 0, "gave back more than it took"

    def nothing_starts_below_a_dead_task(self, tasks):
        closed = set()
        for at, record in self.accepted:
            if isinstance(record, TaskClosed):
                closed.add(record.task)
            elif isinstance(record, ExecutionStarted):
                for link in (record.task, *tasks[record.task].parents):
                    assert link not in closed, "started below a closed task"
                    assert at < tasks[link].expires_at_ms, "started below an expired task"


SETTINGS = settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))


def test_a_tree_never_does_more_than_its_root():
    """Random trees of up to four children and 40 asks."""
    run_state_machine_as_test(Trees, settings=SETTINGS)


def _nothing_carved(read, record):
    changes = bounds_opened(read, record)
    return {key: row for key, row in changes.items() if key == ("task", record.task.id)}


def _no_chain(read, record, at_ms):
    state = read(("task", record.task)).body
    alone = msgspec.structs.replace(state, task=msgspec.structs.replace(state.task, parents=()))

    def below(key):
        row = read(key)
        return msgspec.structs.replace(row, body=alone) if key == ("task", record.task) else row

    changes = bounds_used(below, msgspec.structs.replace(record, clauses=record.clauses[:1]), at_ms)
    return {key: row for key, row in changes.items() if key != ("task", record.task)}


def _everything_back(read, record):
    child = read(("task", record.task)).body

    def unused(key):
        row = read(key)
        body = msgspec.structs.replace(child, calls_used=0, value_used={})
        return msgspec.structs.replace(row, body=body) if key == ("task", record.task) else row

    return bounds_closed(unused, record)


def _unchecked(_read, _parent, _task):
    return None


def _own_labels_only(read, task, labels):
    changes = bounds_labels(read, task, labels)
    return {key: row for key, row in changes.items() if key == ("task", task)}


bounds_opened, bounds_used, bounds_closed, bounds_labels = (
    bounds.opened,
    bounds.used,
    bounds.closed,
    bounds.take_labels,
)
CONTROLS = {
    "opened": _nothing_carved,
    "used": _no_chain,
    "closed": _everything_back,
    "_check_child": _unchecked,
    "take_labels": _own_labels_only,
}


@pytest.mark.parametrize("name", CONTROLS)
def test_a_fold_without_one_check_is_found_out(name):
    """Each check is needed: without it the same machine finds a broken promise."""
    with patch.object(bounds, name, CONTROLS[name]), pytest.raises(AssertionError):
        run_state_machine_as_test(Trees, settings=settings(SETTINGS, max_examples=600, phases=[Phase.generate]))
