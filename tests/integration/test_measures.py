"""Measures through the real decision and the real stores: calls in parallel, several processes, what failed, replay."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from msgspec.structs import replace

from integration.spender import AMOUNT, LIMIT, Spender, open_store
from lictor.lifecycle import measures
from lictor.model.action import SealedArguments
from lictor.model.errors import UpstreamError
from lictor.model.reasons import Reason
from lictor.model.record import ExecutionEnded
from lictor.pdp import tally
from lictor.policy.compile import compile_files
from lictor.ports import RecordStore
from lictor.service.calls.authorize import Granted, Refused
from lictor.service.calls.execute import Execute, Sent
from lictor.service.calls.grant import Grant
from lictor.service.evidence.replay import Replay, ReplayStatus
from lictor.stores.memory import MemoryStore
from unhurried import Unhurried

FIT = LIMIT // AMOUNT


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], RecordStore]:
    """A fresh store of each kind."""
    numbers = iter(range(1_000))

    def make() -> RecordStore:
        if request.param == "memory":
            return MemoryStore()
        return open_store(tmp_path / str(next(numbers)))

    return make


@asynccontextmanager
async def spending(store: RecordStore) -> AsyncIterator[Spender]:
    """A core on a store, closed afterwards."""
    try:
        yield Spender(store)
    finally:
        store.close()


async def rounds(make: Callable[[], RecordStore], number: int) -> list[tuple[int, list[Reason]]]:
    """64 transfers at once over 4 tasks of one person, on a fresh store each time."""
    found = []
    for _ in range(number):
        async with spending(make()) as spender:
            tasks = [await spender.open_task() for _ in range(4)]
            found.append(await spender.all_at_once(tasks, 64))
    return found


def test_64_at_the_boundary(store: Callable[[], RecordStore]) -> None:
    """As many as fit are allowed, not one more, and every other caller hears the true reason."""
    for allowed, refused in asyncio.run(rounds(store, 4)):
        assert allowed == FIT
        assert set(refused) == {Reason.NOT_PERMITTED}


def test_64_without_versions_is_caught(store: Callable[[], RecordStore]) -> None:
    """Control: a commit that does not compare versions lets more through."""
    start = measures._start

    def blind(now, move, at_ms):
        return start(now, replace(move, seen=measures._total(now, move.key).version), at_ms)

    with patch.object(measures, "_start", blind):
        found = asyncio.run(rounds(lambda: Unhurried(store()), 4))
    assert any(allowed > FIT for allowed, _ in found)


def spender_process(folder: Path, task: str, calls: int) -> "subprocess.Popen[str]":
    """Another process on the same log; 0 calls: one after another until it is killed."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-m", "integration.spender", str(folder), task, str(calls)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def go(worker: "subprocess.Popen[str]") -> None:
    """Let it begin."""
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """After kill -9 the rows are what the log says, and hold everything that was allowed."""

    async def opened() -> str:
        async with spending(open_store(tmp_path)) as spender:
            return (await spender.open_task()).id

    task, allowed = asyncio.run(opened()), 0
    for lines in (7, 40, 23):
        worker = spender_process(tmp_path, task, 0)
        go(worker)
        assert worker.stdout is not None
        for _ in range(lines):
            allowed += worker.stdout.readline() == "true\n"
        worker.kill()
        rest, _ = worker.communicate()
        allowed += rest.count("true\n")
        with open_store(tmp_path) as store:
            assert store.rebuild_rows() == []
            key = next(m.key for s in store.open_executions() for m in s.moves if m.key.startswith("spent:"))
            spent = sum(amount for _, amount in store.measure(key).buckets)
            assert allowed <= spent <= allowed + 3
            assert spent == len(store.open_executions())


def test_three_processes(tmp_path: Path) -> None:
    """64 transfers in each of three processes on one log: together as many as fit."""

    async def opened() -> str:
        async with spending(open_store(tmp_path)) as spender:
            return (await spender.open_task()).id

    task = asyncio.run(opened())
    workers = [spender_process(tmp_path, task, 64) for _ in range(3)]
    for worker in workers:
        go(worker)
    answers = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]
    assert sum(answer["allowed"] for answer in answers) == FIT
    assert {reason for answer in answers for reason in answer["refused"]} == {"not_permitted"}
    with open_store(tmp_path) as store:
        assert store.rebuild_rows() == []


async def spend(spender: Spender, how: str) -> int:
    """What a transfer that ended in a way has used of the limit."""
    task = await spender.open_task()
    outcome = await spender.pay(task)
    errors = {
        "failed": UpstreamError(Reason.UPSTREAM_DOWN, "never left", effect_possible=False),
        "indeterminate": UpstreamError(Reason.UPSTREAM_TIMEOUT, "who knows", effect_possible=True),
    }
    await spender.send(outcome, is_error=how == "error", error=errors.get(how))
    again, reading = await spender.pay(task, 100), 0
    assert isinstance(again, Granted)
    for name in ("spent",):
        measure = spender.pdp.measures[name]
        move = next(m for m in _moves(spender) if m.key.startswith(f"{name}:"))
        reading = tally.total_at(spender.store.measure(move.key), measure, spender.clock.now_ms())
    return reading - 100


def _moves(spender: Spender):
    return [move for started in spender.store.open_executions() for move in started.moves]


@pytest.mark.parametrize(
    ("how", "used"), [("failed", 0), ("indeterminate", AMOUNT), ("executed", AMOUNT), ("error", AMOUNT)]
)
def test_only_what_never_left_is_given_back(store: Callable[[], RecordStore], how: str, used: int) -> None:
    """`failed` gives back; what may have happened stays counted."""

    async def run() -> int:
        async with spending(store()) as spender:
            return await spend(spender, how)

    assert asyncio.run(run()) == used


def test_nothing_resets_it(store: Callable[[], RecordStore]) -> None:
    """A new task of the same person starts with the person's total; denied requests add nothing to it."""

    async def run() -> None:
        async with spending(store()) as spender:
            for _ in range(FIT):
                assert isinstance(await spender.pay(await spender.open_task()), Granted)
            for _ in range(5):
                refused = await spender.pay(await spender.open_task())
                assert isinstance(refused, Refused)
            rest = LIMIT - FIT * AMOUNT
            assert isinstance(await spender.pay(await spender.open_task(), rest), Granted)
            assert isinstance(await spender.pay(await spender.open_task("os:zoe")), Granted)

    asyncio.run(run())


def test_it_survives_a_restart_and_replays(tmp_path: Path) -> None:
    """Another process on the same log goes on with the total, and every decision replays bit for bit."""

    async def run() -> None:
        async with spending(open_store(tmp_path)) as spender:
            task = await spender.open_task()
            for _ in range(FIT):
                await spender.pay(task)
        async with spending(open_store(tmp_path)) as spender:
            assert isinstance(await spender.pay(task), Refused)
            spender.store.keep_bundle(spender.pdp.revision, spender.files)
            replayed = list(Replay(spender.store, compile_files)())
            assert len(replayed) == FIT + 1
            assert {one.status for one in replayed} == {ReplayStatus.IDENTICAL}

    asyncio.run(run())
    with open_store(tmp_path) as store:
        assert store.rebuild_rows() == []


CHECKED = """
[measures.reads_done]
of = "count"
where = { actions = ["fs/read_file"] }
per = ["task"]
window = "1h"
on = "executed"
"""
AFTER_READ = """
@id("reads") @owner("os:a") @reason("r")
permit (principal, action == Action::"fs/read_file", resource);
@id("pays") @owner("os:a") @reason("only after a read came back")
permit (principal, action == Action::"fs/pay", resource) when { context.measures.reads_done >= 1 };
"""


async def answered(_: SealedArguments) -> Sent:
    """A server that answers at once."""
    return Sent(body=b"{}", is_error=False)


async def pays_right_after_a_read(store: RecordStore) -> bool:
    """Whether the call that follows the reply without a pause finds it counted."""
    spender = Spender(store, CHECKED, AFTER_READ)
    try:
        task = await spender.open_task()
        assert isinstance(await spender.pay(task), Refused)
        read = await spender.decide(spender.ask(task, name="read_file"))
        assert isinstance(read, Granted)
        await spender.execute(read.grant, answered)
        return isinstance(await spender.pay(task, AMOUNT + 1), Granted)
    finally:
        await spender.execute.drain()
        store.close()


def test_what_was_executed_is_counted_before_the_reply(store: Callable[[], RecordStore]) -> None:
    """ "Tests passed, so deploy" holds for an agent that does not wait in between."""
    assert all(asyncio.run(pays_right_after_a_read(store())) for _ in range(5))


def test_counting_behind_the_reply_is_caught(store: Callable[[], RecordStore]) -> None:
    """Control: the outcome left to the queue."""

    async def hasty(execute: Execute, _grant: Grant, ended: ExecutionEnded) -> None:
        execute._record(ended)

    with patch.object(Execute, "_counted", hasty):
        assert not all(asyncio.run(pays_right_after_a_read(store())) for _ in range(5))
