"""Backtest: kinds of difference, what cannot be told, and bounded counts."""

import asyncio
from itertools import pairwise
from typing import Any

import msgspec
import pytest

import bundles
from lictor.cli.backtest import explained
from lictor.cli.ranges import ranges_of
from lictor.policy.compile import compile_files
from lictor.ports import Payload
from lictor.service.calls.traffic import Wanted, passed
from lictor.service.evidence import backtest
from lictor.service.evidence.backtest import LATE, MAX_GROUPS, Backtest, Sort, Tally
from lictor.stores.memory import MemoryStore
from recorded_world import ASKED, FETCH, POLICY, READ, STRANGER, compiled, drive, world_bundle
from store_samples import erasure

BUNDLE = world_bundle()
LOOSE = world_bundle(POLICY.replace("context.destination.external", "false"))
HELD = world_bundle(POLICY.replace('permit (principal in AgentGroup::"coders", action in [Action::"read"], resource);',
    'permit (principal, action in [Action::"read"], resource) when { context has approval && context.approval.groups.contains("owner") };'))  # fmt: skip


def kinds(world: Any, bundle: Any) -> dict[str, int]:
    return {kind: count for kind, count in world.backtest(bundle).counts.items() if count}


def test_each_kind_of_difference() -> None:
    """Allowed, denied, held, unchanged: counted, grouped, with the first request as the example."""
    world = drive(BUNDLE, [FETCH, STRANGER, STRANGER])
    assert kinds(world, BUNDLE) == {"unchanged": 3}
    assert kinds(world, LOOSE) == {"newly_allowed": 2, "unchanged": 1}
    assert kinds(world, HELD) == {"newly_held": 1, "unchanged": 2}
    (group,) = world.backtest(LOOSE).groups
    assert (group.count, group.example) == (2, "req_2")
    assert group.sort.looser
    assert explained(group.sort) == "was denied (forbidden by leaks); is allowed (permitted by reads)"


def test_asking_other_people_is_a_difference() -> None:
    """The same outcome, and somebody else decides."""
    world = drive(BUNDLE, [ASKED])
    other = world_bundle(POLICY.replace('groups.contains("owner")', 'groups.contains("money")'))
    assert kinds(world, other) == {"newly_held": 1}
    (group,) = world.backtest(other).groups
    assert "asks money instead of owner" in explained(group.sort)
    assert not group.sort.looser


def test_two_bundles_are_compared_with_each_other() -> None:
    """What was recorded plays no part then."""
    world = drive(BUNDLE, [FETCH, STRANGER])
    assert world.backtest(LOOSE, before=LOOSE).different == 0
    assert world.backtest(BUNDLE, before=LOOSE).counts["newly_denied"] == 1


def test_what_was_erased_cannot_be_told() -> None:
    """A task's payloads are gone for good; its requests are counted as such."""
    world = drive(BUNDLE, [READ, FETCH])
    assert isinstance(world.store, MemoryStore)
    (task,) = {one.asked.task for one in passed(world.store, Wanted()) if one.asked}
    asyncio.run(world.store.commit(erasure(task, at=world.clock.now_ms())))
    assert kinds(world, BUNDLE) == {"cannot_tell": 2}
    assert {group.sort.why for group in world.backtest(BUNDLE).groups} == {"erased"}


def test_what_was_tampered_with_cannot_be_told() -> None:
    """Sealed bytes that are not those of the record are no evidence."""
    world = drive(BUNDLE, [READ])
    payload = world.store.payload
    for change in ({"arguments": b'{"path":"b"}'}, {"snapshot": b"{}"}):

        def forged(request: Any, change: dict[str, bytes] = change) -> Payload | None:
            kept = payload(request)
            return msgspec.structs.replace(kept, **change) if kept else None

        world.store.payload = forged  # type: ignore[method-assign]
        (group,) = world.backtest(BUNDLE).groups
        assert group.sort.why == "what was sealed is not what was recorded"


def test_a_bundle_that_was_not_kept_cannot_be_told() -> None:
    """Nobody knows by what the facts were gathered."""
    world = drive(BUNDLE, [READ])
    world.store.bundle = lambda _: None  # type: ignore[method-assign]
    report = Backtest(world.store, compile_files, compiled(BUNDLE))(Wanted())
    assert report.counts["cannot_tell"] == 1


def test_a_late_denial_cannot_be_told() -> None:
    """How long it took then says nothing about a bundle."""
    world = drive(BUNDLE, [READ])
    (one,) = passed(world.store, Wanted())
    late = msgspec.structs.replace(one.decided, outcome="deny", reason="policy_timeout", policies=())
    sort = Backtest(world.store, compile_files, compiled(BUNDLE)).sort(
        backtest.Passed(seq=one.seq, at_ms=0, asked=one.asked, decided=late)
    )
    assert (sort.kind, sort.why) == ("cannot_tell", LATE)


def test_groups_are_bounded_and_counts_are_not() -> None:
    """However many names an agent makes up."""
    tally = Tally()
    for index in range(MAX_GROUPS + 50):
        tally.add(Sort(kind="newly_denied", agent="a", action=f"fs/{index}", was="allow", now="deny"), "req")  # type: ignore[arg-type]
    report = tally.report()
    assert report.counts["newly_denied"] == MAX_GROUPS + 50
    assert len(report.groups) == MAX_GROUPS + 1
    assert sum(group.count for group in report.groups) == MAX_GROUPS + 50


@pytest.mark.parametrize("size", [0, 1, 999, 1_000, 1_001, 123_457])
@pytest.mark.parametrize("jobs", [1, 3, 64])
def test_ranges_cover_the_log_once(size: int, jobs: int) -> None:
    """Each entry in exactly one range."""
    ranges = ranges_of(size, jobs)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == size
    assert all(one[1] == other[0] for one, other in pairwise(ranges))


def test_only_what_is_wanted() -> None:
    """By time, task and agent."""
    world = drive(BUNDLE, [READ, FETCH])
    assert sum(world.backtest(BUNDLE, Wanted(since_ms=bundles.NOW + 1_500)).counts.values()) == 1
    assert sum(world.backtest(BUNDLE, Wanted(agent="guest")).counts.values()) == 0  # type: ignore[arg-type]
