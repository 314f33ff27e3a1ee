"""Contracts, child tasks, restrictions and signals at their doors: what is refused changes nothing, and says why."""

from typing import Any

import pytest

import bundles
from lictor.model.containment import Restriction, Scope
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import FindingOpened, SignalObserved, SignalRefused, decode_entry
from lictor.model.task import Budget
from lictor.service.containment.contain import Contain
from lictor.service.containment.signals import Signals
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.contract import Contracts
from lictor.service.tasks.delegate import Delegate
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
delegates_to = ["guest"]
[agents.guest]
owner = "alice"
review_by = 2027-01-31
groups = ["coders"]
delegates_to = ["third"]
[agents.third]
owner = "alice"
review_by = 2027-01-31
delegates_to = ["coder"]
"""
SIGNALS = '[signals.drift]\nat_least = 0.5\nlay = "step_up"\n'
PDP = bundles.pdp(**{"agents.toml": AGENTS, "signals.toml": SIGNALS})
READ = Clause(action="fs/read_file", calls=2)
WIDE = Contract(source=ContractSource.APPLICATION, clauses=(READ,))


class Office:
    """The four use cases on one store."""

    def __init__(self) -> None:
        self.store, self.clock, self.ids = MemoryStore(), ManualClock(bundles.NOW), SequenceIds()
        policy, limits = PolicyInForce(PDP), Limits(delegation_depth=2)
        parts: dict[str, Any] = {"store": self.store, "clock": self.clock, "ids": self.ids}
        self.tasks = Tasks(**parts, policy=policy, limits=limits)
        self.delegate = Delegate(**parts, policy=policy, limits=limits)
        self.signals = Signals(**parts, policy=policy)
        self.contain = Contain(**parts)
        self.contracts = Contracts(store=self.store, clock=self.clock)

    async def task(self, **changes: Any) -> TaskId:
        """An open task of `coder`."""
        asked: dict[str, Any] = {
            "agent": AgentId("coder"), "human": ME, "purpose": "development", "trusted_text": "", "ttl_s": 600,
            "budget": Budget(calls=10, value={"EUR": 100}), "audience": "local", "by": ME, "token": False, **changes,
        }  # fmt: skip
        return (await self.tasks.open(**asked)).task.id

    async def child(self, parent: TaskId, agent: str = "guest", **changes: Any) -> TaskId:
        """A child task."""
        asked: dict[str, Any] = {"ttl_s": 60, "budget": Budget(calls=2), "by": "task", **changes}
        return (await self.delegate(parent, agent=AgentId(agent), **asked)).task.id

    def records(self) -> list[Any]:
        """What the log holds."""
        return [decode_entry(entry.data).record for entry in self.store.entries()]

    async def refused(self, doing: Any, *, adds: int = 0) -> Reason:
        """The reason with which something is refused; it adds so many records and no more."""
        before = len(self.records())
        with pytest.raises((CallerError, ConflictError)) as raised:
            await doing
        assert len(self.records()) == before + adds
        assert "\n" not in str(raised.value)
        return raised.value.reason


@pytest.fixture
def office() -> Office:
    """Everything fresh."""
    return Office()


# -- contracts -----------------------------------------------------------------------------------------------------------


async def test_a_task_is_bound_once(office: Office) -> None:
    """A second contract, also a narrower one, is refused; so is one for a task that is not there."""
    task = await office.task()
    await office.contracts.bind(task, WIDE, by=ME)
    narrower = Contract(source=ContractSource.APPLICATION, clauses=())
    assert await office.refused(office.contracts.bind(task, narrower, by=ME)) is Reason.CONFLICT
    assert await office.refused(office.contracts.bind(TaskId("no"), WIDE, by=ME)) is Reason.UNKNOWN_TASK
    state = office.store.task(task)
    assert state is not None
    assert state.contract == WIDE


async def test_binding_cannot_smuggle_in_a_confirmation(office: Office) -> None:
    """What is bound second must be the same contract with a name, and `confirm` is the only way there."""
    task = await office.task()
    drafted = Contract(source=ContractSource.DRAFTED, clauses=(READ,))
    await office.contracts.bind(task, drafted, by=ME)
    assert (await office.contracts.confirm(task, by=ME)).confirmed_by == ME
    assert await office.refused(office.contracts.confirm(task, by=ME)) is Reason.CONFLICT


async def test_only_its_person_confirms(office: Office) -> None:
    """Another person, no contract, no task, a closed one: refused."""
    task, bare = await office.task(contract=WIDE), await office.task()
    confirm = office.contracts.confirm
    assert await office.refused(confirm(task, by=HumanId("os:bob"))) is Reason.NOT_AN_APPROVER
    assert await office.refused(confirm(bare, by=ME)) is Reason.UNKNOWN_TASK
    assert await office.refused(confirm(TaskId("no"), by=ME)) is Reason.UNKNOWN_TASK
    await office.tasks.close(task, by=ME)
    assert await office.refused(confirm(task, by=ME)) is Reason.TASK_CLOSED
    await office.tasks.close(bare, by=ME)
    assert await office.refused(office.contracts.bind(bare, WIDE, by=ME)) is Reason.TASK_CLOSED


# -- child tasks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"agent": "third"}, Reason.DELEGATION),
        ({"agent": "nobody"}, Reason.DELEGATION),
        ({"agent": "coder"}, Reason.DELEGATION),
        ({"ttl_s": 601}, Reason.DELEGATION),
        ({"ttl_s": 0}, Reason.BUDGET_CALLS),
        ({"budget": Budget(calls=11)}, Reason.DELEGATION),
        ({"budget": Budget(calls=0)}, Reason.BUDGET_CALLS),
        ({"budget": Budget(calls=1, value={"EUR": 101})}, Reason.DELEGATION),
        ({"budget": Budget(calls=1, value={"USD": 1})}, Reason.DELEGATION),
        ({"budget": Budget(calls=1, value={"EUR": -1})}, Reason.BUDGET_CALLS),
    ],
)
async def test_a_child_is_less_in_every_dimension(office: Office, changes: dict[str, Any], reason: Reason) -> None:
    """Agent, lifetime, calls and each currency: more than there is, or nothing at all, opens no task."""
    parent = await office.task()
    assert await office.refused(office.child(parent, **changes)) is reason


async def test_children_share_what_the_parent_has(office: Office) -> None:
    """What one has been given, another cannot be; what a closed one left over can."""
    parent = await office.task()
    first = await office.child(parent, budget=Budget(calls=6, value={"EUR": 60}))
    assert await office.refused(office.child(parent, budget=Budget(calls=5))) is Reason.DELEGATION
    assert await office.refused(office.child(parent, budget=Budget(calls=1, value={"EUR": 41}))) is Reason.DELEGATION
    await office.tasks.close(first, by=ME)
    await office.child(parent, budget=Budget(calls=10, value={"EUR": 100}))


async def test_a_chain_is_short_and_has_no_agent_twice(office: Office) -> None:
    """The depth that settings allow; never back to an agent above; never below a closed or unknown task."""
    parent = await office.task()
    child = await office.child(parent)
    grandchild = await office.child(child, "third", ttl_s=30, budget=Budget(calls=1))
    assert await office.refused(office.child(grandchild, "coder", ttl_s=1, budget=Budget(calls=1))) is Reason.DELEGATION
    await office.tasks.close(parent, by=ME)
    again = office.child(child, "third", ttl_s=1, budget=Budget(calls=1))
    assert (
        await office.refused(again, adds=2) is Reason.TASK_CLOSED
    )  # asked and answered: it is decided like any opening
    assert await office.refused(office.child(parent)) is Reason.UNKNOWN_TASK
    assert await office.refused(office.child(TaskId("no"))) is Reason.UNKNOWN_TASK


@pytest.mark.parametrize(
    "clause",
    [
        Clause(action="fs/read_file", calls=3),
        Clause(action="fs/read_file"),
        Clause(action="fs/fetch", calls=1),
        Clause(action="fs/nothing", calls=1),
    ],
)
async def test_a_childs_contract_is_covered(office: Office, clause: Clause) -> None:
    """More often, another action, one nobody knows: refused; the parent's own clause is taken."""
    parent = await office.task(contract=WIDE)
    more = Contract(source=ContractSource.APPLICATION, clauses=(clause,))
    assert await office.refused(office.child(parent, contract=more)) is Reason.DELEGATION
    await office.child(parent, contract=WIDE)


async def test_a_childs_contract_holds_nothing_that_policy_never_permits(office: Office) -> None:
    """Also below a parent without contract: what no agent of the chain can be permitted is not in a contract."""
    parent = await office.task()
    erase = Contract(source=ContractSource.APPLICATION, clauses=(Clause(action="fs/erase"),))
    assert await office.refused(office.child(parent, contract=erase)) is Reason.DELEGATION
    odd = Contract(source=ContractSource.APPLICATION, clauses=(Clause(action="fs/no", bind={"x": Binding()}),))
    assert await office.refused(office.child(parent, contract=odd)) is Reason.DELEGATION


# -- restrictions --------------------------------------------------------------------------------------------------------


async def test_restrictions_need_a_target_and_lifting_a_reason(office: Office) -> None:
    """Scope and target fit each other; nothing is lifted without a word, twice, or by a wrong id."""
    lay, lift = office.contain.lay, office.contain.lift
    assert await office.refused(lay(Scope.AGENT, "", Restriction.STEP_UP, by=ME)) is Reason.CONFLICT
    assert await office.refused(lay(Scope.EVERYTHING, "x", Restriction.STEP_UP, by=ME)) is Reason.CONFLICT
    laid = await lay(Scope.EVERYTHING, "", Restriction.SUSPENDED, by=ME)
    assert await office.refused(lift(laid.id, by=ME, why="  ")) is Reason.CONFLICT
    assert await office.refused(lift("cnt_no", by=ME, why="x")) is Reason.CONFLICT
    assert list(office.contain.in_force()) == [laid]
    await lift(laid.id, by=ME, why="over")
    assert await office.refused(lift(laid.id, by=ME, why="over")) is Reason.CONFLICT


async def test_a_second_restriction_stands_beside_the_first(office: Office) -> None:
    """Lifting one leaves the other."""
    hard = await office.contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by=ME)
    mild = await office.contain.lay(Scope.AGENT, "coder", Restriction.STEP_UP, by=ME)
    await office.contain.lift(mild.id, by=ME, why="over")
    assert list(office.contain.in_force()) == [hard]


# -- signals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score", [float("nan"), float("inf"), -0.01, 1.01, True, None, "0.9", [], pytest.param(10**5_000, id="long")]
)
async def test_a_score_that_cannot_be_read_is_no_signal(office: Office, score: Any) -> None:
    """Refused on record, as a digest; it counts neither as low nor as high (BEHV-03)."""
    task = await office.task()
    observing = office.signals.observe(task, "drift", score, source="guard")
    assert await office.refused(observing, adds=1) is Reason.INVALID_ARGUMENTS
    assert isinstance(office.records()[-1], SignalRefused)
    assert office.store.signal(task, "drift") is None


async def test_kind_source_and_task_are_checked(office: Office) -> None:
    """A kind of the bundle, a source that can be printed, a task that exists."""
    task = await office.task()
    observe = office.signals.observe
    assert await office.refused(observe(task, "mood", 0.5, source="guard"), adds=1) is Reason.INVALID_ARGUMENTS
    for source in ("", "a\nb", "x" * 129):
        assert await office.refused(observe(task, "drift", 0.5, source=source), adds=1) is Reason.INVALID_ARGUMENTS
    assert await office.refused(observe(TaskId("no"), "drift", 0.5, source="guard")) is Reason.UNKNOWN_TASK


async def test_scores_round_up_and_findings_open_at_the_threshold(office: Office) -> None:
    """The strict side of a thousandth; one finding for each signal that restricts, none below."""
    task = await office.task()
    child = await office.child(task)
    low = await office.signals.observe(task, "drift", 0.4989, source="guard")
    high = await office.signals.observe(task, "drift", 0.4991, source="guard")
    assert (low.score, high.score) == (499, 500)
    assert len([r for r in office.records() if isinstance(r, SignalObserved)]) == 2
    found = [record for record in office.records() if isinstance(record, FindingOpened)]
    assert [(one.signal, one.restriction) for one in found] == [(high.id, Restriction.STEP_UP)]
    await office.signals.observe(child, "drift", 1, source="guard")
    assert office.store.signal(task, "drift") == 1_000
