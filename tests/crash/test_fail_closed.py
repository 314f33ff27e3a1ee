"""Broken dependencies deny (facts R5, cases FAIL-01 to FAIL-10): no call leaves, the reason is right, and it mends itself."""

import asyncio
import dataclasses
import gc
import sys

import msgspec
import pytest

if sys.platform == "win32":
    pytest.skip("needs resource limits", allow_module_level=True)

from crash.faults import FAULTS, other_writer
from crash.ledger import Ledger
from crash.rig import NOW, Rig, reason_of
from crash.scene import LIMITS, OWNER, Policy, write_bundle
from lictor.model.approval import HoldStatus, seal_of
from lictor.model.errors import ConflictError, StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionStarted, decode_entry
from lictor.pdp.engine.cedar import Verdict
from lictor.ports import Receipt
from lictor.service.calls.authorize import Authorize
from lictor.service.containment.recover import recover
from lictor.service.people.approve import Proof
from lictor.service.policy import PolicyInForce

TOOLS = ("read", "write", "wipe")
LONG = "x" * 20_000
"""Text that needs pages of its own, so that a full file shows."""


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The bundle, compiled."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder)
    return Policy.load(folder)


@pytest.fixture
async def rig(tmp_path, policy):
    """A gateway that works."""
    async with Rig(tmp_path / "state", policy) as made:
        yield made


async def check_cell(rig, patch, fault, tool):
    """One cell of the matrix: allowed but for the fault, refused during it, carried out once after it."""
    await rig.ready(tool, id="a", text=LONG)
    size = rig.real.size()
    with FAULTS[fault](rig, patch):
        for _ in range(3):
            answer = await rig.call(tool, id="a", text=LONG)
            assert reason_of(answer) == Reason.CANNOT_RECORD
        assert rig.upstream.calls == []
        assert rig.real.size() == size
    answer = await rig.call(tool, id="a", text=LONG)
    assert (reason_of(answer), len(rig.upstream.calls)) == ("", 1)
    await rig.core.execute.drain()
    assert Ledger.read(rig.real).open == set()
    assert rig.real.rebuild_rows() == []


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_runs_that_cannot_be_recorded(rig, monkeypatch, fault, tool):
    """Store broken in each way x read, write, destructive: `cannot_record`, no call; afterwards it works without restart."""
    await check_cell(rig, monkeypatch, fault, tool)
    assert rig.defects == []


class Careless(Authorize):
    """Control: what cannot be recorded is let through."""

    async def _commit(self, *args):
        try:
            return await super()._commit(*args)
        except ConflictError:
            raise
        except StoreError:
            return Receipt(0, 1)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_matrix_catches_a_gateway_that_goes_on(rig, monkeypatch, fault):
    """Control: the same cell fails on a gateway that swallows the store's refusal."""
    rig.core.authorize.__class__ = Careless
    with pytest.raises(AssertionError):
        await check_cell(rig, monkeypatch, fault, "read")
    assert rig.upstream.calls


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_closed_store_denies(rig, tool):
    """After `close` there is no way to record, so there is no way to run."""
    await rig.ready(tool, id="a")
    state = rig.real.task(rig.task.id)
    rig.real.close()
    rig.real.task = lambda _: state  # the transport still knows its caller
    assert reason_of(await rig.call(tool, id="a")) == Reason.CANNOT_RECORD
    assert rig.upstream.calls == []


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_store_that_hangs_lets_nothing_run(rig, tool):
    """A commit that never returns is refused at its deadline, nothing was sent; mended, the same call runs."""
    await rig.ready(tool, id="a")
    rig.core.authorize._limits = msgspec.structs.replace(LIMITS, record_timeout_s=0.05)
    rig.store.before = lambda: asyncio.Event().wait()
    assert reason_of(await rig.call(tool, id="a")) == Reason.CANNOT_RECORD
    assert rig.upstream.calls == []
    rig.store.before = None
    assert reason_of(await rig.call(tool, id="a")) == ""
    assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize("tool", TOOLS)
async def test_what_is_recorded_too_late_never_runs(rig, tool):
    """The commit becomes durable after its caller was refused: spent, nothing sent, and the log says that it never ran."""
    hold = await rig.ready(tool, id="a")
    before = rig.real.size()
    rig.core.authorize._limits = msgspec.structs.replace(LIMITS, record_timeout_s=0.05)
    with other_writer(rig):
        assert reason_of(await rig.call(tool, id="a")) == Reason.CANNOT_RECORD
    late = None
    for _ in range(500):
        records = [decode_entry(entry.data).record for entry in rig.real.entries(before)]
        late = next((one for one in records if isinstance(one, ExecutionStarted) and one.hold == hold), None)
        if late is not None and rig.real.execution_outcome(late.execution) != "started":
            break
        await asyncio.sleep(0.01)
    assert late is not None
    assert rig.real.execution_outcome(late.execution) == "failed"
    assert (rig.real.open_executions(), rig.upstream.calls) == ([], [])


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failed_write_leaves_no_lock_behind(rig, monkeypatch, fault):
    """The transaction ends with the failure, not with the garbage collector: the next call does not wait."""
    await rig.ready("write", id="a", text=LONG)
    gc.disable()
    try:
        with FAULTS[fault](rig, monkeypatch):
            assert reason_of(await rig.call("write", id="a", text=LONG)) == Reason.CANNOT_RECORD
        assert reason_of(await asyncio.wait_for(rig.call("write", id="a", text=LONG), 2)) == ""
    finally:
        gc.enable()


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_defect_of_the_store_denies(rig, tool):
    """Also an exception nobody foresaw."""

    def fail():
        raise RuntimeError("boom")

    await rig.ready(tool, id="a")
    rig.store.before = fail
    assert reason_of(await rig.call(tool, id="a")) == Reason.INTERNAL
    assert rig.upstream.calls == []
    assert len(rig.defects) == 1
    rig.store.before = None
    assert reason_of(await rig.call(tool, id="a")) == ""


@pytest.mark.parametrize("fault", FAULTS)
async def test_nobody_is_asked_what_cannot_be_kept(rig, monkeypatch, fault):
    """A hold, an approval and a task that cannot be recorded do not exist; afterwards they can."""
    await rig.ready("read")
    with FAULTS[fault](rig, monkeypatch):
        assert reason_of(await rig.call("write", id="a", text=LONG)) == Reason.CANNOT_RECORD
        assert rig.real.holds() == []
    assert reason_of(await rig.call("write", id="a", text=LONG)) == Reason.NEEDS_APPROVAL
    [hold] = rig.real.holds()
    if fault not in {"full", "out-of-space"}:  # a short record may find room
        with FAULTS[fault](rig, monkeypatch):
            with pytest.raises(StoreError) as caught:
                await rig.core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))
            assert caught.value.reason is Reason.CANNOT_RECORD
            assert rig.real.hold(hold.id).status is HoldStatus.PENDING
    await rig.core.answer.approve(hold.id, Proof(human=OWNER), seal_of(hold))
    assert reason_of(await rig.call("write", id="a", text=LONG)) == ""


@pytest.mark.parametrize("fault", ["refuses", "read-only", "locked"])
async def test_recovery_that_cannot_record_does_not_pretend(rig, monkeypatch, fault):
    """Recovering on a broken store raises, so nobody serves; when it is mended the open end becomes indeterminate."""
    rig.upstream.hang = True
    call = asyncio.create_task(rig.call("read", id="a"))
    await rig.upstream.arrived.wait()
    everybody = list
    with FAULTS[fault](rig, monkeypatch):
        with pytest.raises(StoreError) as caught:
            await recover(rig.store, rig.clock, everybody)
        assert caught.value.reason is Reason.CANNOT_RECORD
        assert len(rig.real.open_executions()) == 1
    [marked] = await recover(rig.store, rig.clock, everybody)
    assert rig.real.execution_outcome(marked.execution) == "indeterminate"
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await rig.core.execute.drain()
    assert rig.real.execution_outcome(marked.execution) == "indeterminate"
    assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize("outcome", ["executed", "failed"])
async def test_an_outcome_that_cannot_be_recorded_is_not_given_up(rig, outcome):
    """The store breaks after the effect: the client has its answer, and the true outcome is recorded once that works again."""
    rig.upstream.fault = None if outcome == "executed" else down(effect_possible=False)
    commits = []

    def breaks():
        commits.append(1)
        if 1 < len(commits) < 5:
            raise StoreError(Reason.CANNOT_RECORD, "no")

    await rig.ready("read")
    rig.store.before = breaks
    await rig.call("read", id="a")
    [open_now] = rig.real.open_executions()
    assert await rig.core.execute.drain() == []
    assert len(commits) == 5
    assert rig.real.execution_outcome(open_now.execution) == outcome
    assert rig.real.open_executions() == []


async def test_an_outcome_that_can_never_be_recorded_is_named_and_becomes_indeterminate(rig):
    """The store stays broken until the end: shutdown says what is open, and recovery says indeterminate, which then stands."""
    commits = []

    def breaks():
        commits.append(1)
        if len(commits) > 1:
            raise StoreError(Reason.CANNOT_RECORD, "no")

    await rig.ready("read")
    rig.store.before = breaks
    await rig.call("read", id="a")
    [[named]] = await rig.core.execute.outcomes.drain(0.2)
    [left] = rig.real.open_executions()
    assert named.execution == left.execution
    assert [one.execution for one in await recover(rig.real, rig.clock, list)] == [left.execution]
    rig.store.before = None
    assert await rig.core.execute.drain() == []
    assert rig.real.execution_outcome(left.execution) == "indeterminate"


# -- policy --------------------------------------------------------------------------------------------------------------


class BrokenEngine:
    """An engine that answers what it must not."""

    def __init__(self, inner, answer):
        self._inner = inner
        self._answer = answer

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def evaluate(self, *asked):
        """What the test says."""
        return self._answer()


def explode():
    """Raise."""
    raise RuntimeError("boom")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (explode, Reason.INTERNAL),
        (lambda: None, Reason.INTERNAL),
        (lambda: Verdict(allowed=True, determining=("reads",), errors=("overflow",)), Reason.POLICY_ERROR),
        (lambda: Verdict(allowed=False, errors=("late",)), Reason.POLICY_ERROR),
    ],
    ids=["raises", "nothing", "allow-with-errors", "errors"],
)
async def test_a_broken_policy_engine_denies(rig, tool, answer, reason):
    """Whatever the engine does but answer, the decision is a recorded deny; mended, the same call runs."""
    await rig.ready(tool, id="a")
    right = rig.core.policy.current()
    rig.core.policy.swap(dataclasses.replace(right, engine=BrokenEngine(right.engine, answer)))
    assert reason_of(await rig.call(tool, id="a")) == reason
    assert rig.upstream.calls == []
    *_, last = Ledger.read(rig.real).decisions.values()
    assert (last.outcome, last.reason) == ("deny", reason)
    assert last.errors
    rig.core.policy.swap(right)
    assert reason_of(await rig.call(tool, id="a")) == ""


@pytest.mark.parametrize("tool", TOOLS)
async def test_without_a_bundle_nothing_runs(rig, tool):
    """No policy in force is no permission."""
    await rig.ready(tool, id="a")
    rig.core.authorize._policy = PolicyInForce()
    assert reason_of(await rig.call(tool, id="a")) == Reason.NO_POLICY
    assert rig.upstream.calls == []


# -- clock ---------------------------------------------------------------------------------------------------------------


def broken_clock():
    """No time at all."""
    raise OSError("no clock")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("at", [NOW - 1, NOW - 86_400_000, 0, NOW + 3_600_000, NOW + 86_400_000])
async def test_outside_its_time_a_task_does_nothing(rig, tool, at):
    """A clock before the task was opened, in 1970, or after its end: denied; put right, the approval still stands."""
    await rig.ready(tool, id="a")
    rig.clock.set(at)
    assert reason_of(await rig.call(tool, id="a")) == Reason.TASK_EXPIRED
    assert rig.upstream.calls == []
    rig.clock.set(NOW)
    assert reason_of(await rig.call(tool, id="a")) == ""
    assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_clock_that_fails_or_is_impossible_denies(rig, tool):
    """Without a time there is no decision; a time before the epoch cannot be recorded."""
    await rig.ready(tool, id="a")
    rig.clock.set(-1)
    assert reason_of(await rig.call(tool, id="a")) == Reason.CANNOT_RECORD
    rig.clock.set(NOW)
    rig.core.authorize._gather._clock = type("Broken", (), {"now_ms": staticmethod(broken_clock)})()
    assert reason_of(await rig.call(tool, id="a")) == Reason.INTERNAL
    assert rig.upstream.calls == []


async def test_an_approval_from_the_future_is_not_used_and_not_lost(rig):
    """The clock steps back behind an approval: denied until its time has come again, then good for one use."""
    rig.clock.advance(60_000)
    hold = await rig.ready("write", id="a")
    rig.clock.advance(-1_000)
    assert reason_of(await rig.call("write", id="a")) == Reason.APPROVAL_EXPIRED
    assert rig.upstream.calls == []
    assert rig.real.hold(hold).status is HoldStatus.APPROVED
    rig.clock.advance(1_000)
    assert reason_of(await rig.call("write", id="a")) == ""
    assert len(rig.upstream.calls) == 1


async def test_an_approval_past_its_time_is_worth_nothing_ever_after(rig):
    """Used too late it is expired, for good: turning the clock back does not revive it."""
    hold = await rig.ready("write", id="a")
    rig.clock.set(rig.real.hold(hold).approval.expires_at_ms)
    assert reason_of(await rig.call("write", id="a")) == Reason.APPROVAL_EXPIRED
    assert rig.real.hold(hold).status is HoldStatus.EXPIRED
    rig.clock.set(NOW)
    assert reason_of(await rig.call("write", id="a")) == Reason.NEEDS_APPROVAL
    assert rig.upstream.calls == []


# -- servers -------------------------------------------------------------------------------------------------------------


def down(*, effect_possible, reason=Reason.UPSTREAM_DOWN):
    """A server's failure."""
    return UpstreamError(reason, "the server is gone", effect_possible=effect_possible)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("fault", "outcome", "told", "sent"),
    [
        (down(effect_possible=False), "failed", "upstream_down", False),
        (down(effect_possible=True), "indeterminate", "upstream_down", True),
        (down(effect_possible=True, reason=Reason.UPSTREAM_TIMEOUT), "indeterminate", "upstream_timeout", True),
        (RuntimeError("boom"), "indeterminate", "internal_error", True),
    ],
    ids=["dead-before", "dead-after", "slow", "defect"],
)
async def test_a_broken_server_has_a_true_outcome(rig, tool, fault, outcome, told, sent):
    """`failed` only where nothing left us, else `indeterminate`; called once, the approval is spent either way."""
    hold = await rig.ready(tool, id="a")
    rig.upstream.fault = fault
    assert reason_of(await rig.call(tool, id="a")) == told
    await rig.core.execute.drain()
    assert len(rig.upstream.calls) == 1
    ledger = Ledger.read(rig.real)
    [end] = [ends[0] for name, ends in ledger.ended.items() if ledger.started[name].hold == hold][-1:]
    assert (end.outcome, bool(end.sent)) == (outcome, sent)
    if hold is not None:
        rig.upstream.fault = None
        assert reason_of(await rig.call(tool, id="a")) == Reason.NEEDS_APPROVAL
        assert len(rig.upstream.calls) == 1


@pytest.mark.parametrize("tool", TOOLS)
async def test_a_cancelled_call_is_indeterminate(rig, tool):
    """The client gives up while the server works: nobody knows, and that is what is recorded."""
    await rig.ready(tool, id="a")
    rig.upstream.hang = True
    call = asyncio.create_task(rig.call(tool, id="a"))
    await rig.upstream.arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await rig.core.execute.drain()
    *_, ends = Ledger.read(rig.real).ended.values()
    assert [(end.outcome, end.reason) for end in ends] == [("indeterminate", "cancelled")]
    assert len(rig.upstream.calls) == 1


async def test_a_server_that_cannot_be_reached_costs_nothing(rig):
    """No connection: refused before anything is decided; the approval is kept for when the server is back."""
    hold = await rig.ready("write", id="a")
    rig.upstream.alive, rig.unreachable = False, down(effect_possible=False)
    assert reason_of(await rig.call("write", id="a")) == Reason.UPSTREAM_DOWN
    assert rig.real.hold(hold).status is HoldStatus.APPROVED
    rig.unreachable = None
    assert reason_of(await rig.call("write", id="a")) == ""
