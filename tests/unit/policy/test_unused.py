"""What agents may do and never did: nothing that was used is called unused, and every permit that reaches is named."""

import asyncio

import pytest

from lictor.model.ids import AgentId
from lictor.policy.unused import Unused, Usage, unused
from lictor.service.evidence import entitlements
from lictor.service.evidence.entitlements import observed
from recorded_world import FETCH, PAY, POLICY, READ, RESOURCE, WRITE, Step, TrafficWorld, drive, world_bundle

AGENTS = (AgentId("coder"), AgentId("guest"))
ERASE = Step("erase")


def surplus(world: TrafficWorld, since_ms: int = 0) -> dict[tuple[str, str], Unused]:
    """By agent and permit."""
    seen = observed(world.store, world.pdp, since_ms)
    return {(one.agent, one.permit): one for one in unused(world.bundle, world.pdp, AGENTS, seen.usage)}


def names(one: Unused) -> set[str]:
    """The actions."""
    return {action for action, _ in one.actions}


def test_what_was_used_is_not_listed_and_what_was_not_is() -> None:
    """By permit, with its place, how much it reaches, and a change that keeps what was used."""
    found = surplus(drive(world_bundle(), (READ, READ, FETCH, WRITE)))
    reads, writes = found["coder", "reads"], found["coder", "writes"]
    assert names(reads) == {"prompt:fs/ask", "resource:fs file:///docs/*", "resource:fs file:///docs/one"}
    assert reads.used
    assert reads.change == 'narrow its action to what was used: action in [Action::"fs/fetch", Action::"fs/read_file"]'
    assert reads.where == "policies/main.cedar:1"
    assert "fs/write-file/v1.2" not in names(writes)
    assert ("guest", "reads") not in found
    guest = found["guest", "writes"]
    assert not guest.used
    assert 'unless { principal == Agent::"guest" }' in guest.change


def test_an_approved_use_counts_and_a_denied_ask_does_not() -> None:
    """Only what ran is need."""
    found = surplus(drive(world_bundle(), (PAY, ERASE, Step("read_file", (("path", "a"),), agent="guest"))))
    assert "fs/pay" not in names(found["coder", "writes"])
    assert "fs/read_file" in names(found["coder", "reads"])
    assert not found["coder", "reads"].used


def test_what_an_unconditional_forbid_takes_away_is_no_surplus() -> None:
    """`erase` is never permitted, so nobody can have it too much."""
    found = surplus(drive(world_bundle(), ()))
    assert all("fs/erase" not in names(one) for one in found.values())


def test_a_use_before_the_span_does_not_count() -> None:
    """What was needed a year ago is not needed now; and the log says from when it can tell."""
    world = drive(world_bundle(), (READ,))
    world.clock.advance(400 * 86_400_000)
    since = world.clock.now_ms() - 90 * 86_400_000
    assert "fs/read_file" in names(surplus(world, since)["coder", "reads"])
    assert observed(world.store, world.pdp, since).from_ms == since
    assert observed(world.store, world.pdp, 0).from_ms > 0


def test_a_resource_counts_for_the_entry_that_covers_it() -> None:
    """`file:///docs/two` is the pattern's; the one with an entry of its own stays unused."""
    found = surplus(drive(world_bundle(), (RESOURCE,)))
    assert "resource:fs file:///docs/*" not in names(found["coder", "reads"])
    assert "resource:fs file:///docs/one" in names(found["coder", "reads"])


@pytest.mark.parametrize(
    ("head", "change"),
    [
        ('principal == Agent::"coder"', "remove own: it is for coder alone, who did not need it"),
        ('principal in AgentGroup::"coders"', "take coder out of the group coders, or add to it: "),
        ("principal", "name in its principal whom it is for; coder did not need it: "),
    ],
)
def test_the_change_fits_the_way_the_permit_was_written(head: str, change: str) -> None:
    """Each kind of principal scope."""
    policy = (
        POLICY
        + f'\n@id("own")\n@owner("o")\n@reason("r")\npermit ({head}, action == Action::"fs/read_file", resource);\n'
    )
    assert surplus(drive(world_bundle(policy), ()))["coder", "own"].change.startswith(change)


def test_an_agent_out_of_service_has_no_surplus() -> None:
    """It may do nothing."""
    text = world_bundle().files["agents.toml"].decode().replace("autonomy = 2", "autonomy = 2\nactive = false")
    found = surplus(drive(world_bundle(**{"agents.toml": text}), ()))
    assert all(agent != "coder" for agent, _ in found)


def test_parents_used_what_their_children_were_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy was asked about every agent of the chain; control: without the chain the parent's use is missed."""
    text = (
        world_bundle().files["agents.toml"].decode().replace("autonomy = 2", 'autonomy = 2\ndelegates_to = ["guest"]')
    )
    text = text.replace("[agents.guest]\n", '[agents.guest]\ngroups = ["coders"]\n')
    world = drive(world_bundle(**{"agents.toml": text}), ())

    async def delegated() -> None:
        from lictor.model.limits import Limits
        from lictor.model.task import Budget
        from lictor.service.policy import PolicyInForce
        from lictor.service.tasks.delegate import Delegate

        delegate = Delegate(
            store=world.store, policy=PolicyInForce(world.pdp), clock=world.clock, ids=world.ids, limits=Limits()
        )
        parent = await world.task("coder")
        child = await delegate(parent.id, agent=AgentId("guest"), ttl_s=600, budget=Budget(calls=5), by="test")
        world._open["guest"] = child.task
        await world.step(Step("read_file", (("path", "a"),), agent="guest"))

    asyncio.run(delegated())
    assert "fs/read_file" not in names(surplus(world)["coder", "reads"])
    monkeypatch.setattr(entitlements, "_above", lambda *_: ())
    assert "fs/read_file" in names(surplus(world)["coder", "reads"])


def test_nothing_used_and_everything_used_are_told_apart() -> None:
    """Control: usage that names everything leaves nothing over."""
    world = drive(world_bundle(), ())
    everything = Usage(
        things={(one.entry.kind, str(one.entry.server), one.entry.name): 1 for one in
                (*world.pdp.exact.values(), *(o for found in world.pdp.prefixes.values() for _, o in found))}
    )  # fmt: skip
    assert unused(world.bundle, world.pdp, AGENTS, dict.fromkeys(AGENTS, everything)) == ()
    assert unused(world.bundle, world.pdp, AGENTS, {})
