"""Disks that fail under a running gateway, its start and its recovery (facts R5, cases FAIL-01 to FAIL-10).

Nothing runs that cannot be recorded, the reason is right, nothing that was acknowledged is lost, and what works again works at once.
`crash.test_fail_closed` has the disks that can be broken from above; these are broken below SQLite.
"""

import asyncio
import time

import pytest

from crash.ledger import Ledger, log_faults
from crash.rig import Rig, reason_of
from crash.scene import Policy, open_store, write_bundle
from lictor.model.errors import ConflictError, LictorError, StoreError
from lictor.model.reasons import Reason
from lictor.ports import Receipt
from lictor.service.calls.authorize import Authorize
from lictor.service.containment.recover import recover
from lictor.stores import scribe, writer
from power.disk import available, installed
from power.faults import MODES, Failing
from power.session import journal_files, journaled

pytestmark = pytest.mark.skipif(not available(), reason="sqlite cannot be reached below python's module")
TOOLS = ("read", "write", "wipe")
MENDED_S = 5.0
LONG = "x" * 20_000


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """The bundle, compiled."""
    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(folder)
    return Policy.load(folder)


@pytest.fixture
def disk():
    """A disk that can fail."""
    with installed(made := Failing()):
        yield made
        made.mode, made.delay_s = "", 0.0


@pytest.fixture(params=[False, True], ids=["tables", "journal"])
async def rig(tmp_path, policy, disk, request, monkeypatch):
    """A gateway on it that works."""
    if request.param:
        journaled(monkeypatch)
        for name, data in journal_files().items():
            (tmp_path / "state").mkdir(mode=0o700, exist_ok=True)
            (tmp_path / "state" / name).write_bytes(data)
            (tmp_path / "state" / name).chmod(0o600)
    async with Rig(tmp_path / "state", policy) as made:
        yield made
        disk.mode, disk.delay_s = "", 0.0


async def check_cell(rig, disk, mode, tool):
    """Allowed but for the disk, refused while it fails, carried out once after it."""
    await rig.ready(tool, id="a", text=LONG)
    size = rig.real.size()
    disk.mode = mode
    for _ in range(3):
        assert reason_of(await rig.call(tool, id="a", text=LONG)) == Reason.CANNOT_RECORD
    assert (rig.upstream.calls, rig.real.size()) == ([], size)
    assert disk.refused
    disk.mode = ""
    start = time.monotonic()
    assert reason_of(await rig.call(tool, id="a", text=LONG)) == ""
    assert time.monotonic() - start < MENDED_S
    await rig.core.execute.drain()
    assert len(rig.upstream.calls) == 1
    assert Ledger.read(rig.real).open == set()
    assert log_faults(rig.real, None) == []
    assert rig.defects == []


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("mode", MODES)
async def test_nothing_runs_while_the_disk_fails(rig, disk, mode, tool):
    """Each failure x read, write, destructive: `cannot_record`, no call, nothing more in the log; mended, the call runs once."""
    await check_cell(rig, disk, mode, tool)


class Careless(Authorize):
    """Control: what cannot be recorded is let through."""

    async def _commit(self, *args):
        try:
            return await super()._commit(*args)
        except ConflictError:
            raise
        except StoreError:
            return Receipt(0, 1)


@pytest.mark.parametrize("mode", MODES)
async def test_control_a_gateway_that_goes_on_is_caught(rig, disk, mode):
    """Control: the same cell, a gateway that does not mind the disk's refusal."""
    rig.core.authorize.__class__ = Careless
    with pytest.raises(AssertionError):
        await check_cell(rig, disk, mode, "read")
    assert rig.upstream.calls


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_sync_that_fails_at_the_first_start_leaves_a_safe_log_or_none(tmp_path, disk, nth):
    """A log that stays in another journal mode loses commits to a power cut: SQLite says so only to who reads its answer to the end."""
    disk.nth = nth
    for _ in range(2):
        try:
            with open_store(tmp_path / "state") as store:
                assert store._reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)
                assert log_faults(store, None) == []
        except StoreError as error:
            assert error.reason is Reason.CANNOT_RECORD
            assert disk.syncs >= nth


@pytest.mark.parametrize("mode", MODES)
async def test_a_first_start_says_what_is_wrong(tmp_path, disk, mode):
    """No log can be made: an error of ours that names the disk's; afterwards the same folder starts."""
    disk.mode = mode
    with pytest.raises(LictorError) as caught:
        open_store(tmp_path / "state")
    assert caught.value.reason is Reason.CANNOT_RECORD
    disk.mode = ""
    with open_store(tmp_path / "state") as store:
        assert store.size() == 0


@pytest.mark.parametrize("mode", MODES)
async def test_a_later_start_and_its_recovery_do_not_pretend(tmp_path, policy, disk, mode):
    """The log can be read and not written: recovery raises, so nobody serves; mended, the open end becomes indeterminate."""
    async with Rig(tmp_path / "state", policy) as rig:
        rig.upstream.hang = True
        call = asyncio.create_task(rig.call("read", id="a"))
        await rig.upstream.arrived.wait()
        disk.mode = mode
        with open_store(tmp_path / "state") as store:
            with pytest.raises(StoreError) as caught:
                await recover(store, rig.clock, list)
            assert caught.value.reason is Reason.CANNOT_RECORD
            disk.mode = ""
            [marked] = await recover(store, rig.clock, list)
            assert store.execution_outcome(marked.execution) == "indeterminate"
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_a_move_that_fails_loses_nothing(rig, disk, monkeypatch):
    """The write-ahead log cannot be moved into the file: what was acknowledged stays, and later moves succeed."""
    monkeypatch.setattr(scribe, "CHECKPOINT_IDLE", 1)
    monkeypatch.setattr(scribe, "CHECKPOINT_BUSY", 1)
    disk.mode = ""
    await rig.ready("read")
    for _ in range(20):
        disk.mode = "sync fails" if disk.mode == "" else ""
        answer = await rig.call("read", id="a", text=LONG)
        assert reason_of(answer) in ({Reason.CANNOT_RECORD} if disk.mode else {"", Reason.CANNOT_RECORD})
    disk.mode = ""
    assert reason_of(await rig.call("read", id="a", text=LONG)) == ""
    await rig.core.execute.drain()
    ledger = Ledger.read(rig.real)
    assert {one for one in ledger.started if ledger.ended.get(one)} == ledger.started.keys()
    assert log_faults(rig.real, None) == []


@pytest.mark.parametrize("delay", [0.005, 0.5])
async def test_a_slow_disk_is_waited_for_and_shared(rig, disk, delay):
    """5 ms and 500 ms a sync: every call runs, together they share the disk's time, and nothing runs before it is recorded."""
    await rig.ready("read")
    disk.delay_s, disk.syncs = delay, 0
    start = time.monotonic()
    answers = await asyncio.gather(*(rig.call("read", id=f"a{n}") for n in range(12)))
    took = time.monotonic() - start
    disk.delay_s = 0.0
    assert {reason_of(answer) for answer in answers} == {""}
    assert took > delay
    assert disk.syncs < 2 * len(answers)
    await rig.core.execute.drain()
    assert Ledger.read(rig.real).open == set()


async def test_a_disk_that_turns_slow_stops_the_loop_once_at_most(rig, disk):
    """A caller alone is served on the loop while the disk is quick; the first slow sync ends that."""
    await rig.ready("read")
    for number in range(2 * writer.SHORT_RUN):
        await rig.call("read", id=f"warm{number}")
    await rig.core.execute.drain()
    pauses = []

    async def heart():
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            pauses.append(time.monotonic() - before)

    beating = asyncio.create_task(heart())
    disk.delay_s = 0.5
    for number in range(3):
        assert reason_of(await rig.call("read", id=f"slow{number}")) == ""
    disk.delay_s = 0.0
    beating.cancel()
    assert sum(pause > 0.4 for pause in pauses) <= 1
