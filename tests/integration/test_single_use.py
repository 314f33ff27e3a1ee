"""One approval, 64 redeemers in four processes on one store: one execution (facts R3)."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from integration.store_worker import open_store
from lictor.model.approval import HoldStatus
from lictor.records.verify import verify_log
from store_samples import approved, batch, held, opened

PROCESSES, REDEEMERS = 4, 16
TESTS = Path(__file__).parents[1]


def winners(folder, holds, mode):
    """Approve that many holds, let everybody redeem all of them at once, and count the executions of each."""
    with open_store(folder) as store:
        asyncio.run(store.commit(batch(opened(calls=10**6))))
        for number in range(holds):
            digest, name = f"digest_{number}", f"hold_{number}"
            asyncio.run(store.commit(batch(held(name, digest=digest), approved(name, digest=digest))))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])}
    command = [
        sys.executable,
        str(TESTS / "integration" / "store_worker.py"),
        "redeem",
        str(folder),
        str(REDEEMERS),
        mode,
    ]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen(command, **pipes) for _ in range(PROCESSES)]
    try:
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * PROCESSES
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        lines = [line for process in processes for line in process.communicate(timeout=60)[0].splitlines()]
        assert [process.returncode for process in processes] == [0] * PROCESSES
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    return Counter(line.split()[0] for line in lines)


def test_an_approval_is_redeemed_once(tmp_path):
    """Each hold has exactly one winner among all processes, and the log says the same."""
    holds = 60
    counts = winners(tmp_path / "state", holds, "atomic")
    assert counts == {f"hold_{number}": 1 for number in range(holds)}
    with open_store(tmp_path / "state") as store:
        assert {hold.status for hold in store.holds()} == {HoldStatus.CONSUMED}
        assert len(store.open_executions()) == store.task("task_1").calls_used == holds
        assert verify_log(store.entries(), store.checkpoints(), store.verifier_key).ok
        assert store.rebuild_rows() == []


@pytest.mark.parametrize("mode", ["check_then_mark"])
def test_check_then_mark_doubles(tmp_path, mode):
    """Control: looking first and marking afterwards redeems some of the same approvals more than once."""
    counts = winners(tmp_path / "state", 10, mode)
    assert max(counts.values()) > 1
