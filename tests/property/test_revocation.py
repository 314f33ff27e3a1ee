"""Kills, restrictions and releases in any order over trees of tasks: whoever was stopped does nothing, and nobody else is stopped.

A model of its own says who may run; the real thing is the store, the decision with its commit, the gate before the send, and what a
watching gateway would stop. The controls are gateways that remember, that look at the task alone, and that never look.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

import bundles
from integration.spender import Spender
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import AgentId, HumanId, InstanceId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import TaskOpened
from lictor.model.task import Budget, Task, TaskStatus
from lictor.pdp.decide import Pdp
from lictor.policy.compile import compile_bundle
from lictor.ports import Batch
from lictor.service.calls.authorize import Authorize, Granted, Refused
from lictor.service.calls.execute import Execute
from lictor.service.calls.gate import Gate
from lictor.service.calls.guard import Guard
from lictor.service.calls.standing import ended
from lictor.service.containment.contain import Contain
from lictor.service.policy import PolicyInForce
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore

AGENTS = {"coder": "ann", "helper": "ann", "other": "bob"}
TARGETS = [
    (Scope.EVERYTHING, ""),
    *((Scope.AGENT, name) for name in AGENTS),
    (Scope.OWNER, "ann"),
    (Scope.OWNER, "bob"),
    (Scope.SERVER, "fs"),
    (Scope.ACTION, "fs/read_file"),
    (Scope.SERVER, "elsewhere"),
]
REVIEW = "review_by = 2099-12-31"
POLICY = """\
@id("reads")
@reason("reading is fine")
@owner("alice")
permit (principal, action in [Action::"read"], resource);
"""
STOPPED = {Reason.CONTAINED, Reason.TASK_CLOSED, Reason.DELEGATION}


@dataclass
class Node:
    """A task as the model knows it."""

    task: Task
    chain: tuple[TaskId, ...]
    agents: frozenset[str]
    closed: bool = False


@dataclass
class Model:
    """Who may run, without a line of the real thing."""

    nodes: dict[TaskId, Node] = field(default_factory=dict)
    laid: dict[str, tuple[Scope, str]] = field(default_factory=dict)

    def stopped(self, node: Node) -> bool:
        """Whether a read of this task must not run."""
        if any(self.nodes[link].closed for link in node.chain):
            return True
        names = {
            Scope.EVERYTHING: {""},
            Scope.AGENT: node.agents,
            Scope.OWNER: {AGENTS[agent] for agent in node.agents},
            Scope.TASK: set(node.chain),
            Scope.SERVER: {"fs"},
            Scope.ACTION: {"fs/read_file"},
        }
        return any(target in names[scope] for scope, target in self.laid.values())


Ended = Callable[..., Reason | None]


@cache
def compiled() -> Pdp:
    """The tests' bundle, with three agents of two owners; compiled once."""
    agents = "".join(f'[agents.{name}]\nowner = "{owner}"\n{REVIEW}\n' for name, owner in AGENTS.items())
    return compile_bundle(bundles.bundle(POLICY, **{"agents.toml": f'purposes = ["development"]\n{agents}'}))


class Quick(Spender):
    """A spender on that bundle."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.pdp = store, compiled()
        self.clock, self.ids = SystemClock(), RandomIds()
        parts: dict[str, Any] = {"policy": PolicyInForce(self.pdp), "clock": self.clock, "ids": self.ids}
        self.authorize = Authorize(store=store, **parts, limits=Limits(), instance=InstanceId("ins"))
        self.execute = Execute(store=store, clock=self.clock)


class Revocation(RuleBasedStateMachine):
    """One store, one gateway core, and whoever pulls the plug."""

    ended: Ended = staticmethod(ended)
    tasks = Bundle("tasks")
    laid = Bundle("laid")

    @initialize()
    def open_house(self) -> None:
        """A fresh log."""
        self.loop = asyncio.new_event_loop()
        self.store = MemoryStore()
        self.spender = Quick(self.store)
        self.clock, self.ids = self.spender.clock, self.spender.ids
        self.contain = Contain(store=self.store, clock=self.clock, ids=self.ids)
        self.agents = self.spender.pdp.agents
        policy = PolicyInForce(self.spender.pdp)
        self.gate = Gate(
            store=self.store, policy=policy, clock=self.clock, guard=Guard(self.clock, lease_s=1.0, skew_s=1.0)
        )
        self.model = Model()

    def teardown(self) -> None:
        """End the loop."""
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.spender.execute.drain())
            self.store.close()
            self.loop.close()

    def do(self, work: Any) -> Any:
        """Run something of the real thing."""
        return self.loop.run_until_complete(work)

    # -- what happens --------------------------------------------------------------------------------------------------

    @rule(target=tasks, agent=st.sampled_from(sorted(AGENTS)))
    def opens(self, agent: str) -> TaskId:
        """A person opens a task."""
        return self._open(agent, None)

    @rule(target=tasks, parent=tasks, agent=st.sampled_from(sorted(AGENTS)))
    def hands_on(self, parent: TaskId, agent: str) -> Any:
        """A task is handed on, if its chain lives and has no such agent."""
        above = self.model.nodes[parent]
        try:
            return self._open(agent, above)
        except ConflictError:
            dead = any(self.model.nodes[link].closed for link in above.chain)
            assert dead or agent in above.agents or len(above.chain) > 7
            return multiple()

    def _open(self, agent: str, above: Node | None) -> TaskId:
        now = self.clock.now_ms()
        task = Task(
            id=TaskId(self.ids.new("task")),
            agent=AgentId(agent),
            human=HumanId("os:alice"),
            purpose="development",
            trusted_text_digest="",
            audience="local",
            opened_at_ms=now,
            expires_at_ms=above.task.expires_at_ms if above else now + 3_600_000,
            budget=Budget(calls=1_000 if above is None else 1),
            parents=above.chain if above else (),
        )
        self.do(self.store.commit(Batch(at_ms=now, records=(TaskOpened(task=task, opened_by="test"),))))
        agents = frozenset({agent, *(above.agents if above else ())})
        self.model.nodes[task.id] = Node(task, (task.id, *task.parents), agents)
        return task.id

    @rule(target=laid, on=st.sampled_from(TARGETS))
    def kills(self, on: tuple[Scope, str]) -> str:
        """The plug is pulled on something that is no task."""
        return self._kill(*on)

    @rule(target=laid, task=tasks)
    def kills_a_task(self, task: TaskId) -> str:
        """... and on a task: it and all below it are closed for good."""
        name = self._kill(Scope.TASK, task)
        for node in self.model.nodes.values():
            node.closed = node.closed or task in node.chain
        return name

    def _kill(self, scope: Scope, target: str) -> str:
        killed = self.do(self.contain.kill(scope, target, by="os:op", why="a test", agents=self.agents))
        self.model.laid[killed.containment.id] = (scope, target)
        return killed.containment.id

    @rule(on=st.sampled_from(TARGETS), mild=st.sampled_from([Restriction.STEP_UP, Restriction.READ_ONLY]))
    def restricts_mildly(self, on: tuple[Scope, str], mild: Restriction) -> None:
        """A milder restriction stops no read that policy allows."""
        if mild is Restriction.READ_ONLY:
            self.do(self.contain.lay(*on, mild, by="os:op"))

    @rule(name=laid)
    def releases(self, name: str) -> None:
        """A person lifts a restriction; twice is refused."""
        try:
            self.do(self.contain.lift(name, by=HumanId("os:op"), why="looked at"))
            assert name in self.model.laid
        except ConflictError:
            assert name not in self.model.laid
        self.model.laid.pop(name, None)

    # -- what must hold ------------------------------------------------------------------------------------------------

    @rule(task=tasks)
    def asks(self, task: TaskId) -> None:
        """A decision and its commit: granted exactly when the model says so."""
        node = self.model.nodes[task]
        outcome = self.do(self.spender.decide(self.spender.ask(node.task, name="read_file")))
        if self.model.stopped(node):
            assert isinstance(outcome, Refused), outcome
            assert outcome.reason in STOPPED, outcome
        elif isinstance(outcome, Refused):
            assert outcome.reason is Reason.BUDGET_CALLS, outcome
        else:
            assert isinstance(outcome, Granted)
            self.gate(outcome.grant)
            self.do(self.spender.send(outcome))

    @rule(task=tasks, on=st.sampled_from(TARGETS))
    def killed_before_the_send(self, task: TaskId, on: tuple[Scope, str]) -> None:
        """The plug is pulled between commit and send: the gate refuses exactly what it reaches."""
        node = self.model.nodes[task]
        if self.model.stopped(node):
            return
        outcome = self.do(self.spender.decide(self.spender.ask(node.task, name="read_file")))
        if not isinstance(outcome, Granted):
            return
        self._kill(*on)
        try:
            self.gate(outcome.grant)
            assert not self.model.stopped(node)
        except CallerError as error:
            assert self.model.stopped(node)
            assert error.reason in STOPPED

    @invariant()
    def the_watcher_agrees(self) -> None:
        """What a watching gateway would stop is what the model says, for every task there is."""
        if not hasattr(self, "model"):
            return
        for node in self.model.nodes.values():
            found = type(self).ended(
                node.task,
                self.store.task,
                self.store.containments(),
                self.agents,
                self.clock.now_ms(),
                server="fs",
                action="fs/read_file",
            )
            assert (found is not None) is self.model.stopped(node), (found, node)

    @invariant()
    def closed_stays_closed(self) -> None:
        """No release and nothing else raises a closed task."""
        for node in getattr(self, "model", Model()).nodes.values():
            state = self.store.task(node.task.id)
            assert state is not None
            if node.closed:
                assert state.status is TaskStatus.CLOSED


def played(machine: type[Revocation], examples: int = 40) -> None:
    """Let Hypothesis play. A control need not be shrunk."""
    phases = [Phase.generate] if machine is not Revocation else list(Phase)
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=examples, stateful_step_count=20, deadline=None, database=None, phases=phases),
    )


def test_whoever_is_stopped_does_nothing() -> None:
    """The laws hold in every order."""
    played(Revocation)


def remembering() -> Ended:
    """A gateway that keeps what it once found."""
    kept: dict[TaskId, Reason | None] = {}

    def found(task: Task, *args: Any, **more: Any) -> Reason | None:
        return kept.setdefault(task.id, ended(task, *args, **more))

    return found


def for_itself(task: Task, find: Any, laid: Any, *args: Any, **more: Any) -> Reason | None:
    """A gateway that looks at the task alone, not at those above it."""
    return ended(msgspec.structs.replace(task, parents=()), find, laid, *args, **more)


def by_tasks_only(task: Task, find: Any, laid: tuple[Containment, ...], *args: Any, **more: Any) -> Reason | None:
    """A gateway that knows closed tasks and no restrictions."""
    return ended(task, find, (), *args, **more)


@pytest.mark.parametrize("broken", [remembering, lambda: for_itself, lambda: by_tasks_only])
def test_a_broken_watcher_is_found_out(broken: Callable[[], Ended]) -> None:
    """Controls: a decision cache, one that forgets the chain, one that never reads restrictions."""

    class Broken(Revocation):
        ended = staticmethod(broken())

    with pytest.raises(AssertionError):
        played(Broken, examples=200)
