"""Openings that are decided: of a child as of any task, for every agent of its chain; a refusal leaves its two records and no task."""

from typing import Any

import msgspec
import pytest

import bundles
import store_samples
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import CallerError, ConflictError
from lictor.model.identity import Opener
from lictor.model.ids import AgentId, HumanId, RequestId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, RequestReceived, TaskOpened
from lictor.model.snapshot import Snapshot
from lictor.model.task import Budget
from lictor.policy.compile import compile_bundle, compile_files, parse_guarded
from lictor.policy.load import load_bundle
from lictor.ports import Batch, Payload, Receipt
from lictor.service.calls import gather
from lictor.service.containment.contain import Contain
from lictor.service.containment.signals import Signals
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.delegate import Delegate
from lictor.service.tasks.prospect import OpeningRefusedError, Prospects
from lictor.service.tasks.tasks import Tasks
from lictor.stores.memory import MemoryStore
from lictor.testing.clock import ManualClock
from lictor.testing.ids import SequenceIds

ME = HumanId("os:alice")
AGENTS = """\
purposes = ["development"]
[agents.coder]
owner = "alice"
review_by = 2027-01-31
groups = ["coders"]
delegates_to = ["guest", "third"]
[agents.guest]
owner = "alice"
review_by = 2027-01-31
[agents.third]
owner = "alice"
review_by = 2027-01-31
groups = ["closed"]
"""
POLICY = """\
@id("handing-on")
permit (principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "agent" && context.input.opener.groups.contains("coders") && context.input.calls <= 4 };
@id("people")
permit (principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "person" && context.input.calls == 5 };
@id("asked")
permit (principal, action == Action::"task:open", resource)
when { context.input.calls == 6 && context has approval && context.approval.groups.contains("owner") };
@id("not-for-the-closed")
forbid (principal in AgentGroup::"closed", action == Action::"task:open", resource);
@id("not-after-the-web")
forbid (principal, action == Action::"task:open", resource)
when { context.labels.contains("untrusted") };
@id("not-by-the-child-alone")
forbid (principal == Agent::"coder", action == Action::"task:open", resource)
when { context.input.ttl_s == 7 };
"""
FILES = {
    name: text.encode()
    for name, text in {
        **bundles.FILES,
        "agents.toml": AGENTS,
        "policies/tasks.cedar": POLICY,
        "signals.toml": '[signals.drift]\nat_least = 0.5\nlay = "step_up"\n',
    }.items()
}
BUNDLE = load_bundle(FILES, parse_guarded(FILES))
PDP = compile_bundle(BUNDLE)


class Batches(MemoryStore):
    """What was committed together."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Batch] = []

    async def commit(self, batch: Batch) -> Receipt:
        receipt = await super().commit(batch)
        self.batches.append(batch)
        return receipt


class House:
    """A parent's task, and what opens children."""

    def __init__(self) -> None:
        self.store, self.clock, self.ids = Batches(), ManualClock(bundles.NOW), SequenceIds()
        self.store.keep_bundle(BUNDLE.revision, BUNDLE.files)
        parts: dict[str, Any] = {"store": self.store, "clock": self.clock, "ids": self.ids}
        policy, limits = PolicyInForce(PDP), Limits()
        self.tasks = Tasks(**parts, policy=policy, limits=limits)
        self.delegate = Delegate(**parts, policy=policy, limits=limits)
        self.signals = Signals(**parts, policy=policy)
        self.contain = Contain(**parts)
        self.prospects = Prospects(store=self.store, policy=policy, ids=self.ids, limits=limits)

    async def task(self, agent: str = "coder") -> TaskId:
        """An open task with ten calls."""
        opened = await self.tasks.open(
            agent=AgentId(agent), human=ME, purpose="development", trusted_text="", ttl_s=600,
            budget=Budget(calls=10), audience="local", by=ME, token=False,
        )  # fmt: skip
        return opened.task.id

    async def child(self, parent: TaskId, agent: str = "guest", **changes: Any) -> TaskId:
        """A child task."""
        asked: dict[str, Any] = {"ttl_s": 60, "budget": Budget(calls=2), "by": "task", **changes}
        return (await self.delegate(parent, agent=AgentId(agent), **asked)).task.id

    async def refused(self, parent: TaskId, agent: str = "guest", **changes: Any) -> OpeningRefusedError:
        """A child that policy refuses: two records in one commit, nothing opened, nothing carved."""
        tasks, before, batches = len(list(self.store.tasks())), self.store.task(parent), len(self.store.batches)
        with pytest.raises(OpeningRefusedError) as raised:
            await self.child(parent, agent, **changes)
        assert len(list(self.store.tasks())) == tasks
        assert self.store.task(parent) == before
        (batch,) = self.store.batches[batches:]
        request, decision = batch.records
        assert isinstance(request, RequestReceived)
        assert isinstance(decision, DecisionMade)
        assert (request.agent, request.request, decision.request) == (agent, raised.value.request, request.request)
        assert decision.outcome != "allow"
        assert list(self.store.holds()) == []
        return raised.value


@pytest.fixture
def house() -> House:
    """Everything fresh."""
    return House()


def check_one_commit(store: Batches) -> None:
    """A child is in the log with the decision that allowed it, in one commit, and for every agent of its chain."""
    for batch in store.batches:
        born = [record for record in batch.records if isinstance(record, TaskOpened) and record.task.parents]
        for one in born:
            request, decision, opened = batch.records
            assert isinstance(request, RequestReceived)
            assert isinstance(decision, DecisionMade)
            assert opened is one
            assert (request.task, request.agent) == (one.task.id, one.task.agent)
            assert (decision.request, decision.outcome) == (request.request, "allow")
            payload = store.payload(request.request)
            assert payload is not None
            facts = Snapshot.decode(payload.snapshot)
            assert [link and link.task.id for link in facts.parents] == list(one.task.parents)
    assert {one.status for one in Replay(store, compile_files)()} <= {ReplayStatus.IDENTICAL}


async def test_a_part_is_decided_and_opened_in_one_commit(house: House) -> None:
    """Request, decision and child together; the decision replays from what was sealed."""
    parent = await house.task()
    child = await house.child(parent)
    state = house.store.task(child)
    assert state is not None
    assert state.task.parents == (parent,)
    check_one_commit(house.store)


class Early(Prospects):
    """Control: the child first, its decision afterwards."""

    async def open(self, opener: Opener, record: TaskOpened, text: Any, *, key: bytes = b"") -> None:
        await self._store.commit(Batch(at_ms=record.task.opened_at_ms, records=(record,), payloads=(text,), key=key))


async def test_control_a_child_before_its_decision_is_found_out(house: House, monkeypatch: Any) -> None:
    """The same check fails on a build that opens first."""
    early = Early(store=house.store, policy=PolicyInForce(PDP), ids=house.ids, limits=Limits())
    monkeypatch.setattr(house.delegate, "_prospects", early)
    await house.child(await house.task())
    with pytest.raises((AssertionError, ValueError)):
        check_one_commit(house.store)


async def test_policy_refuses_a_part(house: House) -> None:
    """Too large, to an agent of a closed group, after untrusted content, or forbidden to the giver: no task."""
    parent = await house.task()
    assert (await house.refused(parent, budget=Budget(calls=5))).reason is Reason.NOT_PERMITTED
    assert (await house.refused(parent, "third")).reason is Reason.FORBIDDEN
    assert (await house.refused(parent, ttl_s=7)).reason is Reason.FORBIDDEN
    await house.child(parent)
    check_one_commit(house.store)


async def test_a_chain_that_is_not_told_is_refused(house: House, monkeypatch: Any) -> None:
    """A build that forgets to ask for those above opens nothing: the chain of the task and the facts do not fit."""
    monkeypatch.setattr(gather, "links_of", lambda *_: ((), ()))
    assert (await house.refused(await house.task())).reason is Reason.DELEGATION


async def test_what_the_tree_has_seen_counts(house: House) -> None:
    """After untrusted content policy forbids handing on; a task of another tree may."""
    parent, other = await house.task(), await house.task()
    seen = store_samples.started("e1", task=parent, labels=("untrusted:web",))
    await house.store.commit(Batch(at_ms=bundles.NOW, records=(seen,)))
    assert (await house.refused(parent)).reason is Reason.FORBIDDEN
    await house.child(other)


async def test_nobody_is_asked_about_a_part(house: House) -> None:
    """Where policy wants a person's yes the opening is refused, says so, and holds nothing."""
    refusal = await house.refused(await house.task(), budget=Budget(calls=6))
    assert refusal.reason is Reason.NEEDS_APPROVAL
    assert "nobody is asked before a task is open" in refusal.remedy
    assert "(owner)" in refusal.remedy


@pytest.mark.parametrize("scope", [Scope.TASK, Scope.AGENT, Scope.OWNER, Scope.EVERYTHING])
async def test_what_is_restricted_hands_nothing_on(house: House, scope: Scope) -> None:
    """Whatever of the chain it is laid on; lifted, it is as before."""
    parent = await house.task()
    target = {Scope.TASK: parent, Scope.AGENT: "coder", Scope.OWNER: "alice", Scope.EVERYTHING: ""}[scope]
    laid = await house.contain.lay(scope, target, Restriction.STEP_UP, by=ME)
    refusal = await house.refused(parent)
    assert (refusal.reason, refusal.remedy) == (Reason.CONTAINED, "see what is restricted: lictor contain list")
    await house.contain.lift(laid.id, by=ME, why="over")
    await house.child(parent)


async def test_a_tree_that_is_signalled_hands_nothing_on(house: House) -> None:
    """A signal restricts openings below it as it restricts calls; a task of another tree is not touched."""
    parent, other = await house.task(), await house.task()
    await house.signals.observe(parent, "drift", 0.9, source="guard")
    assert (await house.refused(parent)).reason is Reason.CONTAINED
    await house.child(other)
    check_one_commit(house.store)


async def test_policy_is_told_who_asks(house: House) -> None:
    """A person with a credential of their own is a person; whoever holds the parent's token is its agent."""
    parent, five = await house.task(), Budget(calls=5)
    assert (await house.refused(parent, budget=five)).reason is Reason.NOT_PERMITTED
    await house.child(parent, budget=five, opener=Opener(kind="person", name=ME))
    assert (await house.refused(parent, opener=Opener(kind="person", name=ME))).reason is Reason.NOT_PERMITTED


async def test_an_agent_opens_no_task_of_its_own(house: House) -> None:
    """Without a parent an agent is refused before anything is decided, whatever policy would say."""
    parent = await house.task()
    record = next(one for batch in house.store.batches for one in batch.records if isinstance(one, TaskOpened))
    task = msgspec.structs.replace(record.task, id=TaskId("task_own"))
    own = msgspec.structs.replace(record, task=task)
    text = Payload(request=RequestId(task.id), task=task.id, arguments=b"", snapshot=b"")
    for opener in (Opener(kind="agent", name="coder", groups=("coders",)), Opener(kind="agent", name="guest")):
        with pytest.raises(CallerError) as raised:
            await house.prospects.open(opener, own, text)
        assert raised.value.reason is Reason.FORBIDDEN
    assert [state.task.id for state in house.store.tasks()] == [parent]
    assert len(house.store.batches) == 1


async def test_what_the_commit_refuses_leaves_nothing(house: House) -> None:
    """Permitted, and more than the parent has left: neither the child nor a decision that allowed it is on record."""
    parent = await house.task()
    for _ in range(2):
        await house.child(parent, budget=Budget(calls=4))
    batches = len(house.store.batches)
    with pytest.raises(ConflictError) as raised:
        await house.child(parent, budget=Budget(calls=4))
    assert raised.value.reason is Reason.DELEGATION
    assert len(house.store.batches) == batches
