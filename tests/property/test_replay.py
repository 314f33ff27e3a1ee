"""Replay: what was recorded comes out again, whatever the log is cut into; and whatever was changed or left out is found."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.model.decision import Allow, Deny
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import decide
from lictor.ports import Payload
from lictor.service.calls.traffic import Wanted
from lictor.service.evidence import replay as module
from lictor.service.evidence.replay import MAX_FAULTS, Replay, Replayed, ReplayStatus, counted, merged
from recorded_world import ASKED, HELD_READ, PAY, READ, STEPS, WRITE, Step, TrafficWorld, drive, world_bundle

BUNDLE = world_bundle()
TRAFFIC = st.lists(st.sampled_from(STEPS), min_size=1, max_size=14)
BOUNDED = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
FAULTS = {ReplayStatus.DIFFERENT, ReplayStatus.BROKEN}


def replayed(world: TrafficWorld) -> list[Replayed]:
    return list(Replay(world.store, lambda *_: world.pdp)())


def found(world: TrafficWorld, replay: type[Replay] = Replay) -> list[Replayed]:
    """The decisions that are not what was recorded."""
    return [one for one in replay(world.store, lambda *_: world.pdp)() if one.status in FAULTS]


class Blind(Replay):
    """Believes the record."""

    def _again(self, *_: Any) -> tuple[ReplayStatus, str]:
        return ReplayStatus.IDENTICAL, ""


@BOUNDED
@given(TRAFFIC)
def test_every_recorded_decision_comes_out_again(steps: list[Step]) -> None:
    """Whatever was asked, approved, held, spent and counted."""
    world = drive(BUNDLE, steps)
    assert {one.status for one in replayed(world)} == {ReplayStatus.IDENTICAL}


@BOUNDED
@given(TRAFFIC, st.data())
def test_ranges_add_up_to_the_whole(steps: list[Step], data: st.DataObject) -> None:
    """Wherever the log is cut, also between a request and its decision, and whatever is wrong in it."""
    world = drive(BUNDLE, steps)
    size = world.store.size()
    spoilt = data.draw(st.sampled_from([one.request for one in replayed(world)]))
    spoil(world, lambda kept: msgspec.structs.replace(kept, arguments=b"{}") if kept.request == spoilt else kept)
    cuts = sorted({0, size, *data.draw(st.lists(st.integers(0, size), max_size=6))})
    replay = Replay(world.store, lambda *_: world.pdp)
    whole = counted(replay())
    parts = [counted(replay(Wanted(start=a, stop=b))) for a, b in pairwise(cuts)]
    assert merged(parts) == whole
    assert whole.decisions == sum(1 for _ in replay())


def test_faults_are_bounded_and_counts_are_not() -> None:
    """However much is wrong."""
    one = Replayed(seq=0, request="req", action="a", status=ReplayStatus.BROKEN)  # type: ignore[arg-type]
    report = merged([counted([one] * (MAX_FAULTS - 1)), counted([one] * 7), counted([one])])
    assert (len(report.faults), report.faulty, report.decisions) == (MAX_FAULTS, MAX_FAULTS + 7, MAX_FAULTS + 7)


# -- what is left out ----------------------------------------------------------------------------------------------------


def spoil(world: TrafficWorld, change: Callable[[Payload], Payload]) -> None:
    payload = world.store.payload

    def changed(request: Any) -> Payload | None:
        kept = payload(request)
        return change(kept) if kept is not None else None

    world.store.payload = changed  # type: ignore[method-assign]


def without(snapshot: Snapshot, fact: str) -> Snapshot:
    """The facts but one."""
    nothing = {"measures": {}, "containments": (), "human_groups": ()}.get(fact)
    if fact == "labels" and snapshot.task is not None:
        return msgspec.structs.replace(snapshot, task=msgspec.structs.replace(snapshot.task, labels=()))
    return snapshot if fact == "labels" else msgspec.structs.replace(snapshot, **{fact: nothing})


NEEDED = {
    "agent": [READ],
    "task": [READ],
    "definition": [READ],
    "approval": [WRITE],
    "containments": [HELD_READ],
    "measures": [READ] * 13,
    "labels": [Step("fetch", (("url", "https://docs.example/start"),)), Step("fetch", (("url", "https://evil.example/x"),))],
}  # fmt: skip


@pytest.mark.parametrize("fact", NEEDED)
def test_a_fact_that_was_not_recorded_is_found(fact: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that decides on a fact and leaves it out of what it seals: the decision does not come out again."""
    assert found(drive(BUNDLE, NEEDED[fact])) == []
    whole = Snapshot.encode
    with monkeypatch.context() as patch:
        patch.setattr(Snapshot, "encode", lambda snapshot: whole(without(snapshot, fact)))
        world = drive(BUNDLE, NEEDED[fact])
    assert found(world) != []
    assert found(world, Blind) == []


def test_every_byte_that_was_sealed_counts() -> None:
    """One bit of what was sealed flipped, at every byte in turn: found each time, at that decision and at no other."""
    world = drive(BUNDLE, [READ, PAY])
    target = replayed(world)[1]
    kept = world.store.payload(target.request)
    assert kept is not None
    for member in ("arguments", "snapshot"):
        data = getattr(kept, member)
        for at in range(0, len(data), 1 if member == "arguments" else 7):
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            forged = msgspec.structs.replace(kept, **{member: flipped})
            world.store.payload = lambda request, forged=forged: (  # type: ignore[method-assign]
                forged if request == forged.request else None
            )
            world.store.erased = lambda task: (1, "test")  # type: ignore[method-assign]
            status = {one.seq: one.status for one in replayed(world)}
            assert status.pop(target.seq) in FAULTS, (member, at)
            assert set(status.values()) == {ReplayStatus.ERASED}


# -- another answer ------------------------------------------------------------------------------------------------------


def stricter(*args: Any, **more: Any) -> Any:
    made = decide(*args, **more)
    if not isinstance(made, Allow):
        return made
    return Deny(request=made.request, snapshot=made.snapshot, revision=made.revision, reason=made.reason)


def other_reasons(*args: Any, **more: Any) -> Any:
    made = decide(*args, **more)
    return msgspec.structs.replace(made, policies=made.policies[1:]) if made.policies else made


@pytest.mark.parametrize("engine", [stricter, other_reasons])
def test_another_answer_of_the_engine_is_found(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another outcome, and also the same outcome for another reason."""
    world = drive(BUNDLE, [READ, WRITE, ASKED])
    assert found(world) == []
    monkeypatch.setattr(module, "decide", engine)
    assert [one.action for one in found(world)]
    assert all(one.status is ReplayStatus.DIFFERENT for one in found(world))


def test_a_decision_without_its_request_is_found() -> None:
    """Nobody can say what it was about."""
    world = drive(BUNDLE, [READ, READ])
    entries = list(world.store.entries())
    first = next(one for one in entries if b'"request.received"' in one.data)
    world.store.entries = (
        lambda start=0, stop=None: iter(  # type: ignore[method-assign]
            one for one in entries[start:stop] if one is not first
        )
    )
    (fault,) = found(world)
    assert fault.detail == "the decision's request is not in the log"


def test_a_bundle_that_was_not_kept_is_said() -> None:
    """Deciding by another one would prove nothing."""
    world = drive(BUNDLE, [READ])
    world.store.bundle = lambda _: None  # type: ignore[method-assign]
    (fault,) = found(world)
    assert "was not kept" in fault.detail
