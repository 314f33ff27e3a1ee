"""What runs beside the calls must outlive any fault: policy changes arrive, dead tasks lose their servers, floods end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import bundles
from lictor import app
from lictor.model.errors import StoreError, UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import HoldOpened, ToolQuarantined
from lictor.pep.mcp.seam import Era
from security.house import BOB, TOOLS, House, Line, caller, reason

WRITE = "write-file/v1.2"


class Flaky:
    """A part that fails some times before it works again."""

    def __init__(self, inner: Any, method: str, error: Exception, times: int) -> None:
        self._inner, self._method, self._error, self._left = inner, method, error, times

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._left:
            self._left -= 1
            raise self._error
        return getattr(self._inner, name)


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


@pytest.fixture
async def runtime(tmp_path: Path) -> Any:
    _write(tmp_path, bundles.files())
    house = await app.open_house(tmp_path)
    runtime = app.Runtime(house, {}, prefixed=True)
    runtime.reload.every_s = runtime.reload.retry_s = runtime.sweep.every_s = 0.02
    return runtime


async def _until(happened: Any) -> bool:
    try:
        async with asyncio.timeout(8):
            while not happened():
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(
    ("part", "method", "error"),
    [
        ("folder", "changed", RuntimeError("can't start new thread")),
        ("folder", "load", MemoryError()),
        ("store", "keep_bundle", StoreError(Reason.CANNOT_RECORD, "disk full")),
    ],
)
async def test_a_stricter_policy_arrives_after_a_fault(runtime: Any, part: str, method: str, error: Exception) -> None:
    """A fault while a bundle is loaded or recorded delays it, and never keeps the old policy in force for good.

    Control: unfixed, the reloading task dies, or takes the folder for read, and the old permit stays until a restart.
    """
    house = runtime.house
    before = house.policy.current().revision
    async with runtime.running():
        setattr(house, part, Flaky(getattr(house, part), method, error, 2))
        stricter = bundles.POLICY + '@id("stop") @owner("alice") @reason("x")\nforbid (principal, action, resource);\n'
        _write(house.folder.path, bundles.files(**{"policies/main.cedar": stricter}))
        assert await _until(lambda: house.policy.current().revision != before)


async def test_dead_tasks_lose_their_servers_after_a_fault(runtime: Any) -> None:
    """One failing read or anchor does not end the sweep.

    Control: unfixed, the sweeping task dies and nothing is closed any more when a task ends.
    """
    ended: list[str] = []

    class Held:
        def tasks(self) -> frozenset[str]:
            return frozenset({"task_gone"})

        async def end_task(self, task: str) -> None:
            ended.append(task)

        async def close(self) -> None:
            """Nothing."""

    runtime.sweep.connections = Held()
    runtime.house.store = Flaky(runtime.house.store, "newest_checkpoint", StoreError(Reason.CANNOT_RECORD, "full"), 1)
    async with runtime.running():
        assert await _until(lambda: len(ended) >= 3)


async def test_a_server_that_starts_for_a_dead_task_is_stopped() -> None:
    """A connection that is still being made when its task ends is closed, not forgotten.

    Control: unfixed, the process runs on with nobody to end it, and the call goes on with it.
    """
    house = House()
    task = await house.task()
    gate, entered = asyncio.Event(), asyncio.Event()
    [server] = house.connections._servers.values()
    connect = server.connect

    async def slowly(*rest: Any) -> Any:
        entered.set()
        await gate.wait()
        return await connect(*rest)

    object.__setattr__(server, "connect", slowly)
    call = asyncio.create_task(house.call(task, "read_file", {"path": "a"}))
    await entered.wait()
    await house.connections.end_task(task.task.id)
    gate.set()
    assert reason(await call) == "upstream_down"
    assert [one.alive for one in house.servers] == [False]


async def test_a_server_that_changes_all_the_time_does_not_fill_the_log() -> None:
    """Some changes of one thing are written down, then it is known to be unsteady.

    Control: unfixed, each listing writes a durable record and keeps a digest for ever.
    """
    house = House()
    task = await house.task()
    await house.call(task, "read_file", {"path": "a"})
    for turn in range(60):
        house.servers[0].tools = [{**tool, "description": f"version {turn}"} for tool in TOOLS[:1]]
        await house.ask(task, "tools/list", {})
    found = [record for record in house.records() if isinstance(record, ToolQuarantined)]
    assert 1 <= len(found) <= 16


async def test_parallel_calls_do_not_pass_the_limit_on_holds() -> None:
    """Asking in parallel wears approvers out no faster than asking in turn.

    Control: unfixed, every call counts before any of them is written, and all 60 open a hold.
    """
    house = House()
    task = await house.task()
    await house.call(task, "read_file", {"path": "a"})
    commit = house.store.commit

    async def slowly(batch: Any) -> Any:
        await asyncio.sleep(0.01)
        return await commit(batch)

    house.store.commit = slowly  # type: ignore[method-assign]
    await asyncio.gather(*(house.call(task, WRITE, {"path": str(index)}) for index in range(60)))
    opened = [record for record in house.records() if isinstance(record, HoldOpened)]
    assert len(opened) == house.limits.holds_per_task_per_minute


async def test_a_refused_action_stays_refused_when_policy_would_let_it_pass() -> None:
    """A person's no holds for the task, also after policy or time changed so that nobody would be asked any more.

    Control: unfixed, the retry without a word about the hold runs.
    """
    house = House()
    task = await house.task()
    arguments = {"path": "a"}
    assert reason(await house.call(task, WRITE, arguments)) == "needs_approval"
    [hold] = house.store.holds(pending_only=True)
    await house.answer.deny(hold.id, BOB)
    laxer = '@id("all") @owner("alice") @reason("x")\npermit (principal, action, resource);\n'
    house.policy.swap(bundles.pdp(laxer))
    assert reason(await house.call(task, WRITE, arguments)) == "approval_denied"
    assert house.servers[0].sent == []
    assert reason(await house.call(task, WRITE, {"path": "b"})) == ""


async def test_a_clock_that_steps_back_does_not_make_a_list_fresh() -> None:
    """After the clock was set back the list is read again.

    Control: unfixed, a list that was read "tomorrow" is believed until then.
    """
    house = House()
    task = await house.task()
    house.clock.advance(600_000)
    await house.call(task, "read_file", {"path": "a"})
    house.clock.advance(-500_000)
    house.servers[0].tools = [{**tool, "description": "changed"} for tool in TOOLS]
    assert reason(await house.call(task, "read_file", {"path": "a"})) == "tool_changed"


async def test_a_dead_server_hides_nothing() -> None:
    """A server that cannot be reached is an error for its own calls only, and nothing is recorded as sent."""
    house = House()
    task = await house.task()

    def dead(_: object) -> None:
        raise UpstreamError(Reason.UPSTREAM_DOWN, "no", effect_possible=False)

    house.on_connect = dead
    answer = await house.gateway.handle(caller(task, Era.LEGACY), "tools/call", {"name": "read_file"}, Line())
    assert reason(answer) == "upstream_down"
    assert house.started() == []
