"""What the broker lends, to whom, and what is durable before anything leaves its hands."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

import bundles
from lending_world import FS, LENDS, TOKEN, WHERE, LendingWorld, refused, unanswered
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.approval import seal_of
from lictor.model.containment import Restriction, Scope
from lictor.model.errors import StoreError
from lictor.model.ids import HumanId, RequestId
from lictor.model.lease import LeaseStatus
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import (
    DecisionMade,
    ExecutionEnded,
    ExecutionStarted,
    LeaseAsked,
    LeaseGiven,
    RequestReceived,
    decode_entry,
)
from lictor.policy.credentials import MAX_TTL_S
from lictor.service.credentials.broker import Broker
from lictor.service.credentials.loan import CredentialRefusedError, Where
from lictor.service.people.approve import Answer, Proof


def records(world: LendingWorld, *kinds: type) -> list[Any]:
    found = [decode_entry(entry.data).record for entry in world.store.entries()]
    return [record for record in found if isinstance(record, kinds)]


async def test_a_loan_is_the_filled_template_and_every_step_is_recorded_in_order():
    """Decided, asked for, given, ended as executed; the header holds the secret, and no record does."""
    world = LendingWorld()
    task = await world.task()
    loan = await world.lend(task)
    secret = world.desk.live[loan.leases[0]]
    assert loan.headers["Authorization"].reveal() == f"Bearer {secret}"
    assert secret not in repr(loan)
    kinds = [kind for kind in world.kinds() if kind not in {"TaskOpened", "RequestReceived"}]
    assert kinds == ["DecisionMade", "ExecutionStarted", "LeaseAsked", "LeaseGiven", "ExecutionEnded"]
    started, asked, ended = records(world, ExecutionStarted, LeaseAsked, ExecutionEnded)
    assert started.lease == asked.lease.id == loan.leases[0]
    assert (ended.execution, ended.outcome) == (started.execution, "executed")
    assert world.lease().status is LeaseStatus.ACTIVE
    assert secret.encode() not in world.text()


async def test_the_use_of_a_credential_is_none_of_the_tasks_calls():
    """The budget of calls is for calls."""
    world = LendingWorld()
    task = await world.task()
    await world.lend(task)
    after = world.store.task(task.task.id)
    assert after is not None
    assert after.calls_used == 0


async def test_what_policy_denies_reads_no_secret():
    """Denied: the provider never hears of it, and the reason is policy's."""
    world = LendingWorld(policy=bundles.POLICY)
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.lend(await world.task())
    assert refusal.value.reason is Reason.NOT_PERMITTED
    assert not world.desk.made
    assert not world.drawer.kept
    assert records(world, DecisionMade)[0].outcome == "deny"


async def test_what_needs_people_is_held_and_lent_after_their_yes():
    """The hold comes with the refusal, and no secret was read for it."""
    policy = bundles.POLICY + LENDS.replace(
        "resource);", 'resource)\nwhen { context has approval && context.approval.groups.contains("owner") };'
    )
    world = LendingWorld(policy=policy)
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.lend(await world.task())
    assert refusal.value.reason is Reason.NEEDS_APPROVAL
    assert refusal.value.hold is not None
    assert not world.desk.made


@pytest.mark.parametrize(
    "where",
    [
        Where(destination="https://evil.example", url="https://evil.example/mcp"),
        Where(destination="https://fs.example:8443", url="https://fs.example:8443/mcp"),
        Where(destination="command"),
    ],
)
async def test_a_credential_goes_nowhere_but_to_its_destination(where: Where):
    """CRED-02, CRED-03: another origin is refused before anything is decided or read."""
    world = LendingWorld()
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.lend(await world.task(), where)
    assert refusal.value.reason is Reason.AUDIENCE
    assert not world.desk.made


async def test_one_lease_a_task_however_many_ask_at_once():
    """64 connections of one task at once: one decision, one credential; another task gets another."""
    world = LendingWorld()
    one, two = await world.task(), await world.task()
    loans = await asyncio.gather(*(world.lend(task) for _ in range(64) for task in (one, two)))
    assert len({loan.leases for loan in loans}) == 2 == len(world.desk.made)
    assert Counter(ask.task for ask in world.desk.made) == {one.task.id: 1, two.task.id: 1}


async def test_a_broker_without_single_flight_is_found_out():
    """Control: a build that looks, then asks, makes more than one."""

    class Careless(Broker):
        async def _one(self, state, credential, where, call=None):
            held = self._lent.get(self._of.get((state.task.id, f"{credential.server}/{credential.name}")))
            return held if held is not None else await self._make(state, credential, where, {})

    world = LendingWorld()
    world.broker, _ = world.process("inst_one", broker=Careless)
    task = await world.task()
    await asyncio.gather(*(world.lend(task) for _ in range(8)))
    assert len(world.desk.made) > 1


async def test_a_lease_for_a_grant_is_never_handed_out_twice():
    """Each loan has its own; given back, it begins to end."""
    world = LendingWorld(TOKEN + 'lease = "grant"\n')
    task = await world.task()
    loans = await asyncio.gather(*(world.lend(task) for _ in range(16)))
    assert len({loan.leases for loan in loans}) == 16 == len(world.desk.made)
    assert all(loan.single for loan in loans)
    world.broker.give_back(loans[0].leases)
    assert not world.broker.alive(loans[0])
    assert world.broker.alive(loans[1])
    await world.settle()
    kept = world.store.lease(loans[0].leases[0])
    assert kept is not None
    assert kept.status is LeaseStatus.REVOKING


async def test_its_life_is_the_shortest_of_credential_task_and_cap():
    """A provider that would give a month gives what the task has left (CRED-11)."""
    world = LendingWorld(TOKEN + f"ttl_s = {MAX_TTL_S}\n")
    world.desk.life_s = 30 * 86_400
    loan = await world.lend(await world.task(ttl_s=100))
    assert world.desk.made[0].ttl_s == 100
    assert loan.until_ms is not None
    assert loan.until_ms <= bundles.NOW + 100_000
    assert world.lease().expires_at_ms == bundles.NOW + 30 * 86_400_000  # it can be used so long, so it is revoked


async def test_a_lease_in_its_last_tenth_is_replaced():
    """Nobody is handed what ends under their hands."""
    world = LendingWorld(TOKEN + "ttl_s = 100\n")
    task = await world.task()
    first = await world.lend(task)
    world.clock.advance(89_000)
    assert (await world.lend(task)).leases == first.leases
    world.clock.advance(2_000)
    assert not world.broker.alive(first)
    assert (await world.lend(task)).leases != first.leases


async def test_an_ask_that_was_refused_made_nothing():
    """The execution failed, the lease never was."""
    world = LendingWorld()

    async def refuse(_: Any) -> None:
        raise refused()

    world.desk.before = refuse
    with pytest.raises(Exception, match="not there"):
        await world.lend(await world.task())
    await world.settle()
    assert world.lease().status is LeaseStatus.NEVER
    assert records(world, ExecutionEnded)[0].outcome == "failed"


async def test_an_ask_that_was_not_answered_counts_as_made():
    """Indeterminate; the lease goes on to be searched for and revoked, by its id alone."""
    world = LendingWorld()

    async def lose(_: Any) -> None:
        raise unanswered()

    world.desk.after = lose
    with pytest.raises(Exception, match="no answer"):
        await world.lend(await world.task())
    await world.settle()
    assert world.lease().status is LeaseStatus.REVOKING
    assert world.lease().handle == ""
    assert world.desk.live
    await world.look()
    assert not world.desk.live
    assert world.lease().status is LeaseStatus.REVOKED


async def test_a_task_that_closes_while_a_credential_is_made_gets_none():
    """Given or not: it is not handed out, and it is revoked by its name."""
    world = LendingWorld()
    task = await world.task()

    async def close(_: Any) -> None:
        await world.tasks.close(task.task.id, by="os:alice")

    world.desk.after = close
    with pytest.raises(CredentialRefusedError):
        await world.lend(task)
    await world.settle()
    assert world.lease().status is LeaseStatus.REVOKING
    assert world.lease().handle
    await world.look()
    assert not world.desk.live


async def test_what_cannot_be_recorded_is_not_handed_out():
    """The commit of `LeaseGiven` fails: no loan, and the credential is ended as soon as that can be recorded."""
    world = LendingWorld()
    task = await world.task()
    commit = world.store.commit
    failing = True

    async def fail(batch: Any) -> Any:
        if failing and any(isinstance(record, LeaseGiven) for record in batch.records):
            raise StoreError(Reason.CANNOT_RECORD, "full")
        return await commit(batch)

    world.store.commit = fail  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        await world.lend(task)
    failing = False
    await world.settle()
    await world.look()
    assert not world.desk.live
    assert world.lease().status is LeaseStatus.REVOKED


async def test_a_caller_that_goes_away_leaves_nothing_half_done():
    """Cancelled while the provider works: the lease is given all the same, recorded, and there for the next call."""
    world = LendingWorld()
    task = await world.task()
    going = asyncio.Event()

    async def wait(_: Any) -> None:
        await going.wait()

    world.desk.before = wait
    waiting = asyncio.ensure_future(world.lend(task))
    while not world.desk.made:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    going.set()
    loan = await world.lend(task)
    assert len(world.desk.made) == 1
    assert world.broker.alive(loan)


async def test_a_template_that_wants_another_field_is_refused_and_the_lease_ended():
    """Nothing half-filled is ever sent."""
    world = LendingWorld(TOKEN.replace("{token}", "{password}"))
    with pytest.raises(CredentialRefusedError, match="password"):
        await world.lend(await world.task())
    await world.look()
    assert not world.desk.live


async def test_policy_that_no_longer_permits_the_use_ends_it_at_the_next_loan():
    """Drift: the same loan is asked for after a stricter bundle came into force."""
    world = LendingWorld()
    task = await world.task()
    first = await world.lend(task)
    world.policy.swap(bundles.pdp(bundles.POLICY, **{"credentials.toml": TOKEN}))
    with pytest.raises(CredentialRefusedError):
        await world.lend(task)
    assert not world.broker.alive(first)
    await world.look()
    assert not world.desk.live


async def test_an_agent_that_is_suspended_is_lent_nothing():
    """Also what it has is not handed out again."""
    world = LendingWorld()
    task = await world.task()
    await world.lend(task)
    await world.contain.lay(Scope.AGENT, "coder", Restriction.SUSPENDED, by="os:bob")
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.lend(task)
    assert refusal.value.reason is Reason.CONTAINED


async def test_a_server_without_credentials_is_lent_nothing_and_nothing_ends():
    """No credential: no decision, no record."""
    world = LendingWorld()
    loan = await world.broker.lend(await world.task(), "other", WHERE)  # type: ignore[arg-type]
    assert (loan.headers, loan.env, loan.leases) == ({}, {}, ())
    assert world.broker.alive(loan)
    assert "RequestReceived" not in world.kinds()
    assert world.broker.wants(FS)


async def test_a_lease_whose_ask_was_not_answered_is_looked_for_as_long_as_it_may_live():
    """The provider's own longest life counts, not how long we would have lent it."""
    world = LendingWorld(TOKEN + "ttl_s = 60\n")
    world.desk.longest = 3_600

    async def lose(_: Any) -> None:
        raise unanswered()

    world.desk.after = lose
    with pytest.raises(Exception, match="no answer"):
        await world.lend(await world.task())
    await world.settle()
    world.desk.refuses_revoking = refused()
    world.clock.advance(120_000)
    await world.look()
    assert world.lease().status is LeaseStatus.REVOKING
    world.clock.set(bundles.NOW + 3_600_000 + 60_000)
    world.reaper._tries.clear()
    await world.look()
    assert world.lease().status is LeaseStatus.EXPIRED


async def test_what_lives_longer_is_lent_for_its_time_and_then_revoked():
    """A provider that gives an hour for a minute: after the minute nobody has it, and it is ended at the provider."""
    world = LendingWorld(TOKEN + "ttl_s = 60\n")
    world.desk.life_s = 3_600
    loan = await world.lend(await world.task())
    assert loan.ends_ms == bundles.NOW + 60_000
    world.clock.advance(59_000)
    await world.look()
    assert world.desk.live
    assert world.broker.holds(loan)
    world.clock.advance(1_000)
    assert not world.broker.holds(loan)
    await world.look()
    assert not world.desk.live
    assert world.lease().status is LeaseStatus.REVOKED


async def test_a_lease_at_its_end_is_revoked_and_not_only_called_expired():
    """What outlives its credential (an open session) is ended, so revoking is asked for at expiry too."""
    world = LendingWorld(TOKEN + "ttl_s = 60\n")
    await world.lend(await world.task())
    world.clock.advance(90_000 + 60_000)
    await world.look()
    assert dict(world.desk.revokes) == {world.lease().id: 1}
    assert world.lease().status is LeaseStatus.REVOKED


async def test_an_older_lease_s_end_does_not_forget_the_younger_one():
    """Replaced in its last tenth: when the old one ends, the task still has the new one, and no third is made."""
    world = LendingWorld(TOKEN + "ttl_s = 100\n")
    world.desk.life_s = 3_600
    task = await world.task()
    await world.lend(task)
    world.clock.advance(91_000)
    second = await world.lend(task)
    world.clock.advance(10_000)
    await world.look()
    assert (await world.lend(task)).leases == second.leases
    assert len(world.desk.made) == 2


async def test_a_request_that_went_away_leaves_no_single_lease_behind():
    """Cancelled while a credential for one call is made: nobody will give it back, so it ends by itself."""
    world = LendingWorld(TOKEN + 'lease = "grant"\n')
    going = asyncio.Event()

    async def wait(_: Any) -> None:
        await going.wait()

    world.desk.before = wait
    waiting = asyncio.ensure_future(world.lend(await world.task()))
    while not world.desk.made:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    going.set()
    async with asyncio.timeout(5):
        while not world.lease().handle or world.broker.mine():
            await asyncio.sleep(0)
    await world.look()
    assert not world.desk.live


async def test_a_held_use_is_lent_once_somebody_said_yes():
    """The very same use, approved: decided again, lent, and the approval is spent with it."""
    policy = bundles.POLICY + LENDS.replace(
        "resource);", 'resource)\nwhen { context has approval && context.approval.groups.contains("owner") };'
    )
    world = LendingWorld(policy=policy)
    task = await world.task()
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.lend(task)
    hold = refusal.value.hold
    assert hold is not None
    answer = Answer(store=world.store, policy=world.policy, clock=world.clock, ids=world.ids, limits=Limits())
    await answer.approve(hold.id, Proof(human=HumanId("os:bob")), seal_of(hold))
    loan = await world.lend(task)
    assert world.desk.live[loan.leases[0]]
    with pytest.raises(CredentialRefusedError) as again:
        await world.broker.lend(await world.task(), FS, WHERE)
    assert again.value.reason is Reason.NEEDS_APPROVAL  # another task's use is another action


NARROWED = (
    TOKEN
    + """lease = "grant"
[credentials.token.narrow]
team = "lamps"
page = { argument = "/url" }
host = { fact = "destination.host" }
"""
)


async def test_values_come_from_the_sealed_arguments_and_their_facts():
    """Literals, arguments and facts reach the provider and policy, under their names."""
    world = LendingWorld(NARROWED)
    task = await world.task()
    await world.broker.lend(task, FS, WHERE, fetching(task, url="https://Example.ORG:443/a"))
    (ask,) = world.desk.made
    assert dict(ask.narrow) == {"team": "lamps", "page": "https://Example.ORG:443/a", "host": "example.org"}
    (request,) = [record.request for record in records(world, RequestReceived)]
    payload = world.store.payload(request)
    assert payload is not None
    told = msgspec.json.decode(payload.arguments)["narrow"]
    assert told == ["host=example.org", "page=https://Example.ORG:443/a", "team=lamps"]


@pytest.mark.parametrize("arguments", [None, {}, {"url": 7}, {"url": ""}, {"url": "javascript:1"}, {"url": "a" * 600}])
async def test_a_call_that_does_not_say_what_it_is_about_is_lent_nothing(arguments: dict[str, Any] | None):
    """No call at all, a missing argument, one of another type, too long, one that no fact follows from."""
    world = LendingWorld(NARROWED)
    task = await world.task()
    with pytest.raises(CredentialRefusedError) as refusal:
        await world.broker.lend(task, FS, WHERE, fetching(task, **arguments) if arguments is not None else None)
    assert refusal.value.reason in {Reason.UNKNOWN_VALUE, Reason.UNKNOWN_DESTINATION}
    assert not world.desk.made
    assert "RequestReceived" not in world.kinds()


def fetching(task: Any, **arguments: Any) -> ActionRequest:
    return ActionRequest.make(
        id=RequestId("req_1"),
        kind=ActionKind.TOOL,
        server=FS,
        name="fetch",
        arguments=SealedArguments.seal(arguments),
        agent=task.task.agent,
        human=task.task.human,
        task=task.task.id,
    )
