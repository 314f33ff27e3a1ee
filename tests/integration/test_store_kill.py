"""A writer killed with -9 under load: what was acknowledged is there, what is there is whole (facts R1, R9).

`LICTOR_KILL_ROUNDS` sets the number of rounds.
"""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from integration.store_worker import open_store
from lictor.model.record import DecisionMade, ExecutionStarted, RequestReceived, TaskOpened, decode_entry
from lictor.records.verify import verify_log

ROUNDS = int(os.environ.get("LICTOR_KILL_ROUNDS", "60"))
CONTROL_ROUNDS = 30
TESTS = Path(__file__).parents[1]


@contextmanager
def writers(folder):
    """A process that forks writers on order."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent / "src"), str(TESTS)])}
    command = [sys.executable, str(TESTS / "integration" / "store_worker.py"), "write", str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()
        process.wait(30)


def run_and_kill(process, acks, mode, seconds):
    """Let a writer write, kill it, return what it was told is durable."""
    process.stdin.write(f"{acks} {mode}\n")
    process.stdin.flush()
    child = int(process.stdout.readline())
    deadline = time.monotonic() + 20
    while not acks.exists() or not acks.stat().st_size:
        assert time.monotonic() < deadline, "the writer never wrote"
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert process.stdout.readline() == "gone\n"
    return acks.read_text().split()


def lost(folder, acknowledged):
    """What was acknowledged and is not there with its payload. Opening checks head and newest checkpoint."""
    with open_store(folder) as store:
        return [name for name in acknowledged if store.execution_outcome(name) is None or store.payload(name) is None]


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    """Every acknowledged batch is there after each kill; in the end the tree verifies and no batch is there in part."""
    folder, moments = tmp_path / "state", random.Random(1)
    acknowledged = []
    with writers(folder) as process:
        for number in range(ROUNDS):
            acknowledged += run_and_kill(process, tmp_path / f"acks{number}", "late", moments.random() * 0.04)
            assert lost(folder, acknowledged[-500:]) == []
    assert len(acknowledged) > 10 * ROUNDS
    assert lost(folder, acknowledged) == []
    with open_store(folder) as store:
        report = verify_log(store.entries(), store.checkpoints(), store.verifier_key)
        assert report.ok, report.findings
        assert store.rebuild_rows() == []
        kinds = [type(decode_entry(entry.data).record) for entry in store.entries()]
    batches = [kind for kind in kinds if kind is not TaskOpened]
    assert batches == [RequestReceived, DecisionMade, ExecutionStarted] * (len(batches) // 3)


@pytest.mark.timeout(60)
def test_the_check_finds_an_early_acknowledgement(tmp_path):
    """Control: a writer that says so before it is durable is caught by the same check."""
    folder, moments = tmp_path / "state", random.Random(2)
    with writers(folder) as process:
        for number in range(CONTROL_ROUNDS):
            if lost(folder, run_and_kill(process, tmp_path / f"acks{number}", "early", moments.random() * 0.04)):
                return
    pytest.fail("nothing was lost: the check sees nothing")
