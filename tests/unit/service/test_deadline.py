"""A decision that comes late is a deny, whatever it was; replay knows the difference between late and changed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

import bundles
from lictor.model.action import ActionKind, ActionRequest, SealedArguments
from lictor.model.ids import InstanceId, RequestId, ServerName
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import DecisionMade, ExecutionStarted, decode_entry
from lictor.model.task import Budget, Task
from lictor.policy.compile import compile_bundle, compile_files
from lictor.service.calls.authorize import Authorize, Granted, Held, Outcome, Refused
from lictor.service.evidence.replay import Replay, Replayed, ReplayStatus
from lictor.service.policy import PolicyInForce
from lictor.service.tasks.tasks import Tasks
from lictor.stores.clock import SystemClock
from lictor.stores.ids import RandomIds
from lictor.stores.memory import MemoryStore

LIMIT_S = Limits().decide_timeout_s
POLICY = """@id("reads")
@reason("r")
@owner("alice")
permit (principal, action == Action::"fs/read_file", resource);

@id("pays")
@reason("r")
@owner("alice")
permit (principal, action == Action::"fs/pay", resource)
when { context has approval && context.approval.groups.contains("owner") };
"""


class Desk:
    """One authorizer whose decisions take as long as is said."""

    def __init__(self) -> None:
        self.takes_s = 0.0
        self._readings = 0
        self.store, self.clock, self.ids = MemoryStore(), SystemClock(), RandomIds()
        bundle = bundles.bundle(POLICY)
        self.files, self.pdp = dict(bundle.files), compile_bundle(bundle)
        self.store.keep_bundle(self.pdp.revision, self.files)
        parts: dict[str, Any] = {
            "store": self.store,
            "policy": PolicyInForce(self.pdp),
            "clock": self.clock,
            "ids": self.ids,
            "limits": Limits(),
        }
        self.tasks = Tasks(**parts)
        self.authorize = Authorize(**parts, instance=InstanceId("inst_test"), stopwatch=self._watch)

    def _watch(self) -> float:
        """Zero before a decision, what it takes after it."""
        self._readings += 1
        return 0.0 if self._readings % 2 else self.takes_s

    async def task(self) -> Task:
        """Plenty of everything."""
        opened = await self.tasks.open(
            agent="coder", human="os:alice", purpose="development", trusted_text="", ttl_s=3_600,
            budget=Budget(calls=1_000, value={"EUR": 10_000}), audience="local", by="test", token=False,
        )  # fmt: skip
        return opened.task

    async def call(self, task: Task, name: str, takes_s: float) -> Outcome:
        """One call, decided in so many seconds."""
        self.takes_s = takes_s
        request = ActionRequest.make(
            id=RequestId(self.ids.new("req")), kind=ActionKind.TOOL, server=ServerName("fs"), name=name,
            arguments=SealedArguments.seal({"amount": "1.00"} if name == "pay" else {"path": "/a"}),
            agent=task.agent, human=task.human, task=task.id,
        )  # fmt: skip
        offering = self.pdp.offering(request.kind, request.server, request.name)
        return await self.authorize(request, definition=offering.entry.pin if offering else None)

    def records(self, kind: type[Any]) -> list[Any]:
        """Of one kind, in order."""
        return [record for one in self.store.entries() if isinstance(record := decode_entry(one.data).record, kind)]

    def replay(self) -> list[Replayed]:
        """Everything, decided again."""
        return list(Replay(self.store, compile_files)())


async def late_runs_nothing(takes_s: float) -> None:
    """The check: nothing of a late decision is granted, held or started, and the record says why."""
    desk = Desk()
    task = await desk.task()
    for name in ("read_file", "pay", "nothing"):
        outcome = await desk.call(task, name, takes_s)
        assert outcome == Refused(reason=Reason.POLICY_TIMEOUT)
    assert not desk.records(ExecutionStarted)
    decided = desk.records(DecisionMade)
    assert [(one.outcome, one.reason, one.policies, one.approvers) for one in decided] == [
        ("deny", "policy_timeout", (), ())
    ] * 3
    assert all("more than" in one.errors[0] for one in decided)


@pytest.mark.parametrize("takes_s", [LIMIT_S + 0.001, 60.0, float("inf"), float("nan"), -1.0])
def test_late_is_a_deny(takes_s: float) -> None:
    """Also where a stopwatch says something that cannot be."""
    asyncio.run(late_runs_nothing(takes_s))


@contextmanager
def patient() -> Iterator[None]:
    """A build that takes an answer whenever it comes."""
    whole = Authorize.__init__

    def init(self: Authorize, **parts: Any) -> None:
        whole(self, **{**parts, "stopwatch": lambda: 0.0})

    with patch.object(Authorize, "__init__", init):
        yield


def test_a_patient_build_is_caught() -> None:
    """The control."""
    with patient(), pytest.raises(AssertionError):
        asyncio.run(late_runs_nothing(60.0))


def test_in_time_is_as_decided_and_late_leaves_nothing_behind() -> None:
    """At the limit it runs; after a late one the same call runs, and a held one is held."""

    async def run() -> None:
        desk = Desk()
        task = await desk.task()
        assert isinstance(await desk.call(task, "read_file", LIMIT_S), Granted)
        assert isinstance(await desk.call(task, "read_file", 2 * LIMIT_S), Refused)
        assert isinstance(await desk.call(task, "read_file", 0.0), Granted)
        assert isinstance(await desk.call(task, "pay", 2 * LIMIT_S), Refused)
        assert isinstance(await desk.call(task, "pay", 0.0), Held)
        late = ReplayStatus.LATE
        same = ReplayStatus.IDENTICAL
        assert [one.status for one in desk.replay()] == [same, late, same, late, same]
        assert desk.replay()[1].detail == "in time it would have been: allow (permitted)"

    asyncio.run(run())


CHANGES: dict[str, Callable[[DecisionMade], DecisionMade]] = {
    "allowed for being late": lambda one: msgspec.structs.replace(one, outcome="allow"),
    "held for being late": lambda one: msgspec.structs.replace(one, outcome="needs_approval", approvers=(("owner",),)),
    "policies took part": lambda one: msgspec.structs.replace(one, policies=("reads",)),
    "other facts": lambda one: msgspec.structs.replace(one, snapshot="sha256:" + "0" * 64),
    "another action": lambda one: msgspec.structs.replace(one, digest="sha256:" + "0" * 64),
    "another reason": lambda one: msgspec.structs.replace(one, reason="forbidden"),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_nothing_else_passes_for_late(change: str) -> None:
    """A record that differs in anything but what a late denial is stays different."""

    async def run() -> None:
        desk = Desk()
        await desk.call(await desk.task(), "read_file", 2 * LIMIT_S)
        replay = Replay(desk.store, compile_files)
        whole = replay._one

        def changed(seq: int, asked: Any, recorded: DecisionMade) -> Replayed:
            return whole(seq, asked, CHANGES[change](recorded))

        with patch.object(replay, "_one", changed):
            assert [one.status for one in replay()] == [ReplayStatus.DIFFERENT]

    asyncio.run(run())
