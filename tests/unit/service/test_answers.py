"""Answers to holds, over a real store and a real bundle: several people, proofs, withdrawing, approving ahead, break-glass."""

import asyncio
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import bundles
from lictor.lifecycle import approvals
from lictor.model.action import ActionKind as Kind
from lictor.model.action import ActionRequest, SealedArguments
from lictor.model.approval import Hold, HoldStatus, Need, Passkey, Strength, Terms, seal_ahead, seal_of
from lictor.model.errors import CallerError, ConflictError
from lictor.model.ids import AgentId, ExecutionId, HumanId, InstanceId, RequestId, SealDigest, ServerName
from lictor.model.limits import Limits
from lictor.model.preview import Precondition, Preview
from lictor.model.reasons import Reason
from lictor.model.record import (
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    FindingOpened,
    PasskeyAdded,
    SignedIn,
    decode_entry,
)
from lictor.model.task import Budget, Task
from lictor.pdp.decide import Pdp
from lictor.policy.compile import compile_bundle
from lictor.ports import Batch, RecordStore
from lictor.service.calls.authorize import Authorize, Granted, Held, Outcome, Refused
from lictor.service.calls.requests import held_preview
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.service.people.approve import Answer, Proof
from lictor.service.people.override import Override
from lictor.service.people.reconcile import Reconcile
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.keys import Keys
from lictor.stores.memory import MemoryStore
from lictor.stores.sqlite import SqliteStore
from lictor.testing.clock import ManualClock
from lictor.testing.ids import SequenceIds

BOB, CAROL, DAVE = HumanId("os:bob"), HumanId("os:carol"), HumanId("os:dave")
APPROVERS = """\
overriders = ["glass"]

[approvers."os:bob"]
groups = ["money", "owner"]

[approvers."os:carol"]
groups = ["owner"]

[approvers."os:dave"]
groups = ["glass", "money"]
"""
PAYS = """\
@id("pays")
@reason("two of the money people")
@owner("alice")
permit (principal, action in [Action::"spends"], resource)
when {
  context has approval && context.approval.groups.contains("money") &&
  context.approval.people >= 2 && context.approval.strength >= 2
};

@id("fetches")
@reason("somebody looks")
@owner("alice")
permit (principal, action == Action::"fs/fetch", resource)
when { context has approval };

@id("writes")
@reason("the owner decides")
@owner("alice")
permit (principal, action == Action::"fs/write-file/v1.2", resource)
when { context has approval && context.approval.groups.contains("owner") && !context.approval.ahead };

@id("reads")
@reason("reading is refused to guests")
@owner("alice")
permit (principal in AgentGroup::"coders", action == Action::"fs/read_file", resource);

@id("erases")
@reason("never")
@owner("alice")
forbid (principal, action in [Action::"destructive"], resource);
"""


class Looker:
    """A previewer whose one precondition is a member of its own."""

    def __init__(self) -> None:
        self.world = "as it was"

    async def preview(self, request: ActionRequest, entry: Any, resolved: Any) -> Preview | None:
        return Preview(
            kind="file",
            made_at_ms=bundles.NOW,
            preconditions=(Precondition(kind="file", target="it", value=self.world),),
        )

    async def changed(self, preview: Preview) -> str:
        return "" if preview.preconditions[0].value == self.world else "it is another"


class Desk:
    """Use cases over one store."""

    def __init__(self, store: RecordStore, previewer: Looker | None = None, **changes: str | None) -> None:
        bundle = bundles.bundle(PAYS, **{"approvers.toml": APPROVERS, **changes})
        self.pdp: Pdp = compile_bundle(bundle)
        store.keep_bundle(bundle.revision, dict(bundle.files))
        self.store, self.clock, self.ids = store, ManualClock(bundles.NOW), SequenceIds()
        policy = PolicyInForce(self.pdp)
        parts: dict[str, Any] = {"store": store, "policy": policy, "clock": self.clock, "ids": self.ids}
        self.tasks = Tasks(**parts, limits=Limits())
        self.answer = Answer(**parts, limits=Limits())
        self.override = Override(**parts, limits=Limits())
        self.reconcile = Reconcile(store=store, policy=policy, clock=self.clock)
        self.authorize = Authorize(**parts, limits=Limits(), instance=InstanceId("ins"), previewer=previewer)

    async def task(self, human: str = "os:alice") -> Task:
        opened = await self.tasks.open(
            agent=AgentId("coder"), human=HumanId(human), purpose="development", trusted_text="", ttl_s=28_000,
            budget=Budget(calls=100, value={"EUR": 100_000}), audience="local", by="test", token=False,
        )  # fmt: skip
        return opened.task

    async def ask(self, task: Task, name: str, **arguments: Any) -> Outcome:
        self.clock.advance(100)
        request = ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=Kind.TOOL, server=ServerName("fs"), name=name,
            arguments=SealedArguments.seal(arguments), agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip
        offering = self.pdp.offering(request.kind, request.server, request.name)
        return await self.authorize(request, definition=offering.entry.pin if offering else None)

    async def held(self, task: Task, name: str, **arguments: Any) -> Hold:
        outcome = await self.ask(task, name, **arguments)
        assert isinstance(outcome, Held), outcome
        return outcome.hold

    async def yes(self, hold: Hold, human: HumanId, strength: Strength = Strength.LOGIN, note: str = "") -> Hold:
        current = self.store.hold(hold.id)
        assert current is not None
        seal = seal_of(current)
        signed = seal if strength >= Strength.PASSKEY else None
        return await self.answer.approve(hold.id, Proof(human=human, strength=strength, signed=signed), seal, note)

    def records(self, kind: type) -> list[Any]:
        records = (decode_entry(entry.data).record for entry in self.store.entries())
        return [record for record in records if isinstance(record, kind)]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield MemoryStore()
        return
    keys = Keys.open(tmp_path / "state")
    found = SqliteStore(tmp_path / "state" / "log.db", signer=keys.signer, origin="test")
    yield found
    found.close()


async def refused(work: Awaitable[Any]) -> Reason:
    with pytest.raises((CallerError, ConflictError)) as caught:
        await work
    return caught.value.reason


# -- several people, and how they prove who they are -----------------------------------------------------------------------


async def test_two_people_are_asked_where_policy_wants_two(store: RecordStore) -> None:
    """m of n: the hold says how many and how strongly, stays pending after the first, and runs after the second."""
    desk = Desk(store)
    task = await desk.task()
    hold = await desk.held(task, "pay", amount="1.00")
    assert hold.ways == (Need(groups=("money",), people=2, strength=Strength.LOGIN),)
    assert (await desk.yes(hold, BOB)).status is HoldStatus.PENDING
    assert isinstance(await desk.ask(task, "pay", amount="1.00"), Held)
    assert (await desk.yes(hold, DAVE)).status is HoldStatus.APPROVED
    assert isinstance(await desk.ask(task, "pay", amount="1.00"), Granted)
    assert isinstance(await desk.ask(task, "pay", amount="1.00"), Held), "approved once, not twice"


async def test_one_person_is_not_two(store: RecordStore) -> None:
    """The same person's second yes is refused."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "pay", amount="1.00")
    await desk.yes(hold, BOB)
    assert await refused(desk.yes(hold, BOB)) is Reason.CONFLICT


async def test_control_a_store_that_counts_answers_and_not_people_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same law, over a build that takes a second yes of the same person: it would run with one person's word."""
    monkeypatch.setattr(approvals, "_check_answer", lambda *_: None)
    monkeypatch.setattr(Need, "counted", lambda self, given: tuple(given))
    desk = Desk(MemoryStore())
    hold = await desk.held(await desk.task(), "pay", amount="1.00")
    await desk.yes(hold, BOB)
    assert (await desk.yes(hold, BOB)).status is HoldStatus.APPROVED


async def test_who_is_in_no_wanted_group_is_not_counted(store: RecordStore) -> None:
    """An approver of another group cannot answer it."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "pay", amount="1.00")
    assert await refused(desk.yes(hold, CAROL)) is Reason.NOT_AN_APPROVER


async def test_a_weak_proof_is_refused(store: RecordStore) -> None:
    """Where policy wants a login, an enrolled secret does not do."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "pay", amount="1.00")
    assert await refused(desk.yes(hold, BOB, Strength.SECRET)) is Reason.APPROVAL_TOO_WEAK


async def test_who_left_the_group_is_not_counted_any_more(store: RecordStore) -> None:
    """Between the answer and its use somebody leaves: one of two is not enough."""
    desk = Desk(store)
    task = await desk.task()
    hold = await desk.held(task, "pay", amount="1.00")
    await desk.yes(hold, BOB)
    await desk.yes(hold, DAVE)
    later = Desk(store, **{"approvers.toml": APPROVERS.replace('"glass", "money"', '"glass"')})
    later.clock.advance(5_000)
    outcome = await later.ask(task, "pay", amount="1.00")
    assert isinstance(outcome, Refused)


async def test_the_owner_may_be_kept_from_approving(store: RecordStore) -> None:
    """`owners = false`: whoever owns the agent answers nothing of what it does."""
    agents = bundles.FILES["agents.toml"].replace('owner = "alice"', 'owner = "os:bob"')
    desk = Desk(store, **{"agents.toml": agents, "approvers.toml": "owners = false\n" + APPROVERS})
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/")
    assert await refused(desk.yes(hold, BOB)) is Reason.APPROVER_IS_REQUESTER
    assert (await desk.yes(hold, CAROL)).status is HoldStatus.APPROVED


async def test_another_seal_is_refused(store: RecordStore) -> None:
    """What was shown has to be what is held: the action's digest alone is no seal."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/")
    other = seal_of(msgspec.structs.replace(hold, preview="sha256:" + "0" * 64))
    assert await refused(desk.answer.approve(hold.id, Proof(human=BOB), other)) is Reason.ACTION_HASH_MISMATCH
    assert await refused(desk.answer.approve(hold.id, Proof(human=BOB), hold.digest)) is Reason.ACTION_HASH_MISMATCH  # type: ignore[arg-type]


async def test_taken_back_until_it_is_used(store: RecordStore) -> None:
    """A withdrawn yes counts for nothing, its seal is no good again, and a used one cannot be withdrawn."""
    desk = Desk(store)
    task = await desk.task()
    hold = await desk.held(task, "fetch", url="https://docs.example/")
    approved = await desk.yes(hold, BOB)
    await desk.answer.withdraw(hold.id, BOB, "wrong page")
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/"), Held)
    assert (
        await refused(desk.answer.approve(hold.id, Proof(human=BOB), seal_of(approved))) is Reason.ACTION_HASH_MISMATCH
    )
    await desk.yes(hold, CAROL)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/"), Granted)
    assert await refused(desk.answer.withdraw(hold.id, CAROL)) is Reason.CONFLICT


# -- preconditions ---------------------------------------------------------------------------------------------------------


def _previewed(desk: Desk, name: str) -> None:
    """The entry asks for a preview, whatever it says."""
    offering = desk.pdp.exact[Kind.TOOL, ServerName("fs"), name]
    object.__setattr__(offering, "entry", msgspec.structs.replace(offering.entry, preview=object()))


async def test_what_changed_since_people_looked_voids_their_yes(store: RecordStore) -> None:
    """The preview is sealed with the hold; a precondition that is not as it was voids the approval, and people are asked again."""
    looker = Looker()
    desk = Desk(store, looker)
    _previewed(desk, "fetch")
    task = await desk.task()
    hold = await desk.held(task, "fetch", url="https://docs.example/")
    assert held_preview(store, hold) == await looker.preview(None, None, None)  # type: ignore[arg-type]
    await desk.yes(hold, BOB)
    looker.world = "swapped"
    outcome = await desk.ask(task, "fetch", url="https://docs.example/")
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PRECONDITION_CHANGED
    again = await desk.held(task, "fetch", url="https://docs.example/")
    assert again.id != hold.id
    assert seal_of(again) != seal_of(hold)
    await desk.yes(again, BOB)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/"), Granted)


async def test_without_anybody_to_look_an_approval_with_preconditions_is_void(store: RecordStore) -> None:
    """A gateway that cannot look at the preconditions does not take them for fulfilled."""
    desk = Desk(store, Looker())
    _previewed(desk, "fetch")
    task = await desk.task()
    hold = await desk.held(task, "fetch", url="https://docs.example/")
    await desk.yes(hold, BOB)
    desk.authorize._previewer = None
    outcome = await desk.ask(task, "fetch", url="https://docs.example/")
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.PRECONDITION_CHANGED


# -- approving ahead -------------------------------------------------------------------------------------------------------


async def ahead(
    desk: Desk, hold: Hold, *, most: int = 2, minutes: int = 30, this_task: bool = False, value: int = 0
) -> Any:
    until_ms = desk.clock.now_ms() + minutes * 60_000
    terms = Terms(most=most, most_value=value, until_ms=until_ms, this_task=this_task)
    return await desk.answer.allow_ahead(hold.id, Proof(human=BOB, strength=Strength.LOGIN), seal_of(hold), terms)


async def test_an_allowance_covers_so_many_of_the_like_and_no_more(store: RecordStore) -> None:
    """Same destination: two more run unasked, the third is asked about; another destination always is."""
    desk = Desk(store)
    task = await desk.task()
    hold = await desk.held(task, "fetch", url="https://docs.example/a")
    allowance = await ahead(desk, hold)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/a"), Granted), (
        "the held one, by its approval"
    )
    other = await desk.ask(await desk.task(), "fetch", url="https://docs.example/b")
    assert isinstance(other, Granted), "another task of the same agent for the same human"
    assert isinstance(await desk.ask(task, "fetch", url="https://elsewhere.example/"), Held)
    assert isinstance(await desk.ask(await desk.task("os:eve"), "fetch", url="https://docs.example/b"), Held)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/c"), Granted)
    assert isinstance(await desk.ask(task, "fetch", url="https://docs.example/d"), Held)
    found = store.allowance(allowance.id)
    assert found is not None
    assert found.used == 2
    assert store.allowances() == []
    replayed = [one.status for one in Replay(store, lambda *_: desk.pdp)()]
    assert set(replayed) == {ReplayStatus.IDENTICAL}


async def test_parallel_calls_do_not_outrun_an_allowance(store: RecordStore) -> None:
    """Twenty at once draw on an allowance of three: three run."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/a")
    await ahead(desk, hold, most=3)
    tasks = [await desk.task() for _ in range(20)]
    outcomes = await asyncio.gather(*(desk.ask(task, "fetch", url="https://docs.example/x") for task in tasks))
    assert sum(isinstance(one, Granted) for one in outcomes) == 3


async def test_control_an_allowance_that_is_not_drawn_on_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same over a build that forgets to count."""
    monkeypatch.setattr(approvals, "drawn", lambda *_: {})
    desk = Desk(MemoryStore())
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/a")
    await ahead(desk, hold, most=3)
    outcomes = [await desk.ask(await desk.task(), "fetch", url="https://docs.example/x") for _ in range(5)]
    assert sum(isinstance(one, Granted) for one in outcomes) == 5


async def test_an_allowance_ends_with_its_time_or_by_anybodys_word(store: RecordStore) -> None:
    """Past its time, or revoked, people are asked again."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/a")
    await ahead(desk, hold, minutes=1)
    desk.clock.advance(61_000)
    second = await desk.held(await desk.task(), "fetch", url="https://docs.example/b")
    allowance = await ahead(desk, second)
    await desk.answer.revoke_allowance(allowance.id, CAROL)
    assert isinstance(await desk.ask(await desk.task(), "fetch", url="https://docs.example/c"), Held)
    assert await refused(desk.answer.revoke_allowance(allowance.id, CAROL)) is Reason.CONFLICT


async def test_policy_may_refuse_what_was_approved_ahead(store: RecordStore) -> None:
    """`!context.approval.ahead`: the identical write is asked about each time."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "write-file/v1.2", path="/a")
    await ahead(desk, hold)
    assert isinstance(await desk.ask(await desk.task(), "write-file/v1.2", path="/a"), Held)


async def test_a_passkey_signs_the_terms_and_no_yes_is_another(store: RecordStore) -> None:
    """Signed for other terms, or for the hold alone: nothing is approved ahead; signed for the terms: no approval of another kind."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/a")
    key = Passkey(id="cred", human=BOB, public_key="pk", name="laptop", added_at_ms=1)
    await store.commit(Batch(at_ms=desk.clock.now_ms(), records=(PasskeyAdded(passkey=key, by="test"),)))
    until_ms = desk.clock.now_ms() + 60_000
    terms = Terms(most=2, most_value=0, until_ms=until_ms, this_task=True)

    def proved(signed: SealDigest | None) -> Proof:
        return Proof(human=BOB, strength=Strength.PASSKEY, passkey="cred", uses=1, signed=signed)

    others = [Terms(most=3, most_value=0, until_ms=until_ms, this_task=True)]
    others += [Terms(most=2, most_value=1, until_ms=until_ms, this_task=True)]
    others += [Terms(most=2, most_value=0, until_ms=until_ms + 1, this_task=True)]
    others += [Terms(most=2, most_value=0, until_ms=until_ms, this_task=False)]
    seal = seal_of(hold)
    for signed in (seal, None, *(seal_ahead(hold, other) for other in others)):
        wrong = desk.answer.allow_ahead(hold.id, proved(signed), seal, terms)
        assert await refused(wrong) is Reason.PASSKEY_CHALLENGE
    for signed in (seal_ahead(hold, terms), None):
        assert await refused(desk.answer.approve(hold.id, proved(signed), seal)) is Reason.PASSKEY_CHALLENGE
    assert store.hold(hold.id).status is HoldStatus.PENDING  # type: ignore[union-attr]
    allowance = await desk.answer.allow_ahead(hold.id, proved(seal_ahead(hold, terms)), seal, terms)
    assert (allowance.most, allowance.until_ms, allowance.approval.strength) == (2, until_ms, Strength.PASSKEY)


async def test_no_allowance_without_limits(store: RecordStore) -> None:
    """Too many, too long, for a value where there is none: refused, and the hold is not approved by it."""
    desk = Desk(store)
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/a")
    for wrong in ({"most": 0}, {"most": 101}, {"minutes": 24 * 60 + 1}, {"minutes": -1}, {"value": 5}):
        assert await refused(ahead(desk, hold, **wrong)) is Reason.INVALID_ARGUMENTS
    assert store.hold(hold.id).status is HoldStatus.PENDING  # type: ignore[union-attr]


# -- break-glass -----------------------------------------------------------------------------------------------------------


async def denied(desk: Desk, task: Task) -> int:
    outcome = await desk.ask(task, "erase")
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.FORBIDDEN
    return max(entry.seq for entry in desk.store.entries() if isinstance(decode_entry(entry.data).record, DecisionMade))


async def test_a_person_overrides_one_deny_once(store: RecordStore) -> None:
    """With a passkey and a reason, if the bundle lets that person: it runs once, as an override, and is a finding."""
    desk = Desk(store)
    task = await desk.task()
    seq = await denied(desk, task)
    hold = await desk.override.open(seq, DAVE)
    assert await refused(desk.yes(hold, DAVE, Strength.LOGIN, "fire")) is Reason.APPROVAL_TOO_WEAK
    assert await refused(desk.yes(hold, DAVE, Strength.PASSKEY)) is Reason.INVALID_ARGUMENTS
    assert await refused(desk.yes(hold, BOB, Strength.PASSKEY, "fire")) is Reason.NOT_AN_APPROVER
    await desk.yes(hold, DAVE, Strength.PASSKEY, "the disk is on fire")
    outcome = await desk.ask(task, "erase")
    assert isinstance(outcome, Granted)
    assert outcome.grant.decision.reason is Reason.OVERRIDDEN
    assert isinstance(await desk.ask(task, "erase"), Refused)
    assert [record.why for record in desk.records(DenyOverridden)] == ["the disk is on fire"]
    assert [record.signal for record in desk.records(FindingOpened)] == [f"override:{hold.id}"]
    assert {one.status for one in Replay(store, lambda *_: desk.pdp)()} == {ReplayStatus.IDENTICAL}


async def test_nobody_else_overrides_and_nothing_else_is_overridden(store: RecordStore) -> None:
    """Neither an approver without the role, nor an allow, nor what a person denied."""
    desk = Desk(store)
    task = await desk.task()
    seq = await denied(desk, task)
    assert await refused(desk.override.open(seq, BOB)) is Reason.NOT_AN_APPROVER
    assert await refused(desk.override.open(seq - 1, DAVE)) is Reason.UNKNOWN_APPROVAL
    assert await refused(desk.override.open(10**9, DAVE)) is Reason.UNKNOWN_APPROVAL
    hold = await desk.override.open(seq, DAVE)
    await desk.answer.deny(hold.id, BOB)
    assert await refused(desk.override.open(seq, DAVE)) is Reason.CONFLICT
    assert isinstance(await desk.ask(task, "erase"), Refused)


# -- passkeys' counters, and what nobody knew ------------------------------------------------------------------------------


async def test_a_counter_that_does_not_go_forward_is_refused(store: RecordStore) -> None:
    """Somebody has a copy of the key: neither a sign-in nor an answer with it counts."""
    desk = Desk(store)

    async def commit(*records: Any) -> None:
        await store.commit(Batch(at_ms=desk.clock.now_ms(), records=records))

    key = Passkey(id="cred", human=BOB, public_key="pk", name="laptop", added_at_ms=1)
    await commit(PasskeyAdded(passkey=key, by="test"))
    await commit(SignedIn(human=BOB, how="passkey", passkey="cred", uses=3))
    again = SignedIn(human=BOB, how="passkey", passkey="cred", uses=3)
    assert await refused(commit(again)) is Reason.PASSKEY_REPLAYED
    hold = await desk.held(await desk.task(), "fetch", url="https://docs.example/")
    old = Proof(human=BOB, strength=Strength.PASSKEY, passkey="cred", uses=2, signed=seal_of(hold))
    assert await refused(desk.answer.approve(hold.id, old, seal_of(hold))) is Reason.PASSKEY_REPLAYED
    other = Proof(human=CAROL, strength=Strength.PASSKEY, passkey="cred", uses=9, signed=seal_of(hold))
    assert await refused(desk.answer.approve(hold.id, other, seal_of(hold))) is Reason.PASSKEY_UNKNOWN
    assert [one.uses for one in store.passkeys(BOB)] == [3]


async def test_a_person_says_what_became_of_it(store: RecordStore) -> None:
    """Indeterminate is shown, resolved once, and what did not happen gives its value back."""
    desk = Desk(store)
    task = await desk.task()
    hold = await desk.held(task, "pay", amount="7.00")
    await desk.yes(hold, BOB)
    await desk.yes(hold, DAVE)
    outcome = await desk.ask(task, "pay", amount="7.00")
    assert isinstance(outcome, Granted)
    execution = outcome.grant.execution
    assert await refused(desk.reconcile(execution, BOB, "refuted")) is Reason.CONFLICT
    ended = ExecutionEnded(execution=execution, outcome="indeterminate")
    await store.commit(Batch(at_ms=desk.clock.now_ms(), records=(ended,)))
    assert [one.execution for one in store.indeterminate()] == [execution]
    assert store.task(task.id).value_used == {"EUR": 700}  # type: ignore[union-attr]
    await desk.reconcile(execution, BOB, "refuted", "the bank says no")
    assert store.indeterminate() == []
    assert store.task(task.id).value_used == {"EUR": 0}  # type: ignore[union-attr]
    assert await refused(desk.reconcile(execution, BOB, "confirmed")) is Reason.CONFLICT
    assert await refused(desk.reconcile(ExecutionId("none"), BOB, "confirmed")) is Reason.CONFLICT
