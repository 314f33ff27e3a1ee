"""A process that cannot make sure of the newest state stops within two seconds, says so, and goes on by itself (facts R4, REVO-02)."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adversarial.wire import ask
from integration.stopping import PORT, Live, Stage, now_ns
from lictor.model.record import ExecutionEnded
from lictor.pep.mcp.underway import UnderWay
from lictor.ports import Batch, Receipt

pytestmark = pytest.mark.timeout(120)

BAR_MS = 2_000
KEEP_OUT = Path(__file__).with_name("keep_out.py")


@contextlib.asynccontextmanager
async def kept_out(whom: str, log: Path) -> AsyncIterator[None]:
    """Another process keeps everybody out of the log until the block ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(KEEP_OUT), whom, str(log), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"kept out\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def moved_away(log: Path) -> AsyncIterator[None]:
    """The log is somewhere else until the block ends."""
    log.rename(log.with_name("elsewhere"))
    try:
        yield
    finally:
        log.with_name("elsewhere").rename(log)


async def ready(live: Live) -> bool:
    """What `/healthz` says."""
    response = await ask(live.app, "GET", "/healthz", [("Host", f"127.0.0.1:{PORT}")], b"")
    return response.status == 200


async def goes_on(live: Live, token: str) -> None:
    """Wait until a call runs again."""
    async with asyncio.timeout(10):
        while await live.call(token, "again") != "permitted":
            await asyncio.sleep(0.1)
    assert await ready(live)


async def late_while_the_loop_stands_still(stage: Stage) -> float:
    """Milliseconds to the last effect of a call, with the event loop stuck in a read from the moment the store is cut off."""
    async with stage.gateway() as live:
        _, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", 5_000))
        await live.begun("long")
        at = now_ns()
        async with moved_away(stage.log):
            time.sleep(4.0)  # what a read does that hangs
        reason = await calling
        assert reason in {"state_unconfirmed", "upstream_down", "permitted"}
        return stage.quiet("long", at)


async def test_a_loop_that_stands_still_stops_nobody_from_stopping(tmp_path: Path) -> None:
    """The server's process ends within the bar all the same."""
    late = await late_while_the_loop_stands_still(Stage(tmp_path, "stubborn"))
    assert late <= BAR_MS + 500


async def test_a_gateway_without_a_thread_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: nobody strikes, and the effects go on."""
    monkeypatch.setattr(UnderWay, "strike", lambda _: None)
    assert await late_while_the_loop_stands_still(Stage(tmp_path, "stubborn")) > BAR_MS + 500


@pytest.mark.parametrize("fault", ["readers kept out", "moved away"])
async def test_a_process_cut_off_from_its_store_stops(tmp_path: Path, fault: str) -> None:
    """Calls under way end within the bar, new ones are refused, readiness says so, and it mends itself."""
    stage = Stage(tmp_path, "ignores")
    async with stage.gateway() as live:
        task, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", 8_000))
        await live.begun("long")
        cut = moved_away(stage.log) if fault == "moved away" else kept_out("readers", stage.log)
        async with cut:
            at = now_ns()
            assert await calling == "state_unconfirmed"
            assert await live.call(token, "refused") == "state_unconfirmed"
            assert (now_ns() - at) / 1e6 <= BAR_MS
            assert not await ready(live)
            await asyncio.sleep(1.0)
            assert stage.quiet("long", at) <= BAR_MS + 500  # and half a second for a server that ignores everything
        assert stage.effects("refused") == []
        await goes_on(live, token)
        await live.runtime.calls.execute.drain()
        assert ("indeterminate", "state_unconfirmed") in live.outcomes(task)


async def test_without_a_lease_it_goes_on(tmp_path: Path) -> None:
    """Control: the same with a lease of ten minutes: its effects go on, and it calls itself ready."""
    stage = Stage(tmp_path, "ignores", limits="epoch_lease_s = 600.0")
    async with stage.gateway() as live:
        _, token = await live.task()
        calling = asyncio.create_task(live.call(token, "long", 4_000))
        await live.begun("long")
        at = now_ns()
        async with moved_away(stage.log):
            await asyncio.sleep(3.5)
            assert await ready(live)
        assert await calling == "permitted"
        assert stage.quiet("long", at) > BAR_MS + 500


async def test_nothing_is_sent_while_nobody_can_write(tmp_path: Path) -> None:
    """With the log locked by somebody else nothing can be recorded, so nothing runs; afterwards it does."""
    stage = Stage(tmp_path, limits="record_timeout_s = 1.0")
    async with stage.gateway() as live:
        _, token = await live.task()
        assert await live.call(token, "before") == "permitted"
        async with kept_out("writers", stage.log):
            assert await live.call(token, "during") == "cannot_record"
            assert stage.effects("during") == []
        await goes_on(live, token)
        assert stage.effects("during") == []


class Late:
    """A store whose next commits become durable, and say so long after."""

    def __init__(self, inner: Any, seconds: float) -> None:
        self.inner = inner
        self.seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def commit(self, batch: Batch) -> Receipt:
        receipt: Receipt = await self.inner.commit(batch)
        await asyncio.sleep(self.seconds)
        return receipt


async def sent_late(stage: Stage) -> tuple[str, list[int], list[str]]:
    """A call whose decision is durable at once, but known of only when the store has not confirmed anything for two seconds."""
    async with stage.gateway() as live:
        _, token = await live.task()
        assert await live.call(token, "before") == "permitted"
        hanging: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def hangs(_: Any) -> Any:
            return await hanging

        live.runtime.revoke._probe.look = hangs  # type: ignore[method-assign]
        # Whoever minds the lease is kept out as well: the gate alone decides.
        live.runtime.revoke._stops = NothingUnderWay()  # type: ignore[assignment]
        authorize = live.runtime.gateway.authorize
        authorize._store = Late(authorize._store, 2.0)
        reason = await live.call(token, "late")
        await live.runtime.calls.execute.drain()
        ended = [one.outcome for one in live.records() if isinstance(one, ExecutionEnded)]
        return reason, stage.effects("late"), ended


class NothingUnderWay:
    """Stops nothing."""

    def under_way(self) -> list[Any]:
        return []


async def test_nothing_is_sent_after_the_lease(tmp_path: Path) -> None:
    """Between the commit and the send the lease runs out: refused, and recorded as never having left."""
    reason, effects, ended = await sent_late(Stage(tmp_path))
    assert reason == "state_unconfirmed"
    assert effects == []
    assert ended == ["executed", "failed"]


async def test_a_send_that_does_not_ask_is_found_out(tmp_path: Path) -> None:
    """Control: without the lease the same call is sent two seconds after anything was known."""
    reason, effects, _ = await sent_late(Stage(tmp_path, limits="epoch_lease_s = 600.0"))
    assert reason == "permitted"
    assert effects
