"""The kill switch between processes: two gateways on one log, the command line, and a gateway that is killed with -9 (REVO-01, -03)."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from integration.stopping import Process, Stage, now_ns, until
from lictor.cli.demonstration.stage import free_port

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("kill processes")]

BAR_MS = 2_000


class Calling(threading.Thread):
    """A call that takes its time."""

    def __init__(self, process: Process, token: str, name: str, ms: int = 10_000) -> None:
        super().__init__(daemon=True)
        self.reason = ""
        self._parts = (process, token, name, ms)
        self.start()

    def run(self) -> None:
        process, token, name, ms = self._parts
        self.reason = process.call(token, name, ms)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A server that ignores cancellations, behind a port that nobody else has."""
    return Stage(tmp_path, "ignores", listen=free_port())


def test_the_command_stops_two_processes(stage: Stage) -> None:
    """`lictor kill` says what it stopped and what may have happened; nothing runs on either process until a release."""
    other = stage.beside(free_port())
    with stage.process() as one, stage.process(other) as two:
        _, token = stage.token()
        calls = [Calling(one, token, "a"), Calling(two, token, "b")]
        until(lambda: bool(stage.effects("a") and stage.effects("b")), 20)
        said = stage.command("kill", "agent", "coder", "--why", "a test")
        at = now_ns()  # its commit is long over
        for call in calls:
            call.join(10)
        assert [call.reason for call in calls] == ["contained", "contained"]
        assert sorted(call["action"] for call in said["calls"]) == ["clock/tick", "clock/tick"]
        assert {call["outcome"] for call in said["calls"]} == {"indeterminate"}
        time.sleep(0.5)
        assert max(stage.quiet("a", at), stage.quiet("b", at)) <= BAR_MS
        assert {one.call(token, "c"), two.call(token, "c")} == {"contained"}
        assert stage.effects("c") == []
        assert [laid["containment"] for laid in stage.command("contain", "list")] == [said["containment"]]
        stage.command("release", said["containment"], "--why", "looked at")
        assert {one.call(token, "d"), two.call(token, "d")} == {"permitted"}


def test_killed_stays_killed_when_the_gateway_dies(stage: Stage) -> None:
    """A gateway killed with -9 in the middle: its server has no effect any more, and the next one starts killed."""
    with stage.process() as first:
        _, token = stage.token()
        Calling(first, token, "long")
        until(lambda: bool(stage.effects("long")), 20)
        stage.command("kill", "everything", "--why", "a test", code=0)
        os.kill(first.popen.pid, signal.SIGKILL)
        first.popen.wait()
    with stage.process() as second:
        assert second.call(token, "after") == "contained"
    assert stage.effects("after") == []


def test_a_gateway_that_does_not_answer_is_said(stage: Stage) -> None:
    """A stopped process cannot say what became of its call: the command says so, and exits with 1."""
    with stage.process() as frozen:
        _, token = stage.token()
        Calling(frozen, token, "long")
        until(lambda: bool(stage.effects("long")), 20)
        os.kill(frozen.popen.pid, signal.SIGSTOP)
        try:
            said = stage.command("kill", "agent", "coder", "--why", "a test", code=1)
            assert [call["outcome"] for call in said["calls"]] == ["started"]
        finally:
            os.kill(frozen.popen.pid, signal.SIGCONT)
        at = now_ns()
        time.sleep(1.5)
        assert stage.quiet("long", at) <= BAR_MS
        assert frozen.call(token, "after") in {"contained", "state_unconfirmed"}


def test_a_killed_task_is_closed(stage: Stage) -> None:
    """A release does not bring it back; the answer says so."""
    with stage.process() as process:
        task, token = stage.token()
        assert process.call(token, "before") == "permitted"
        said = stage.command("kill", "task", task, "--why", "a test")
        assert said["closed"] == [task]
        stage.command("release", said["containment"], "--why", "looked at")
        assert process.call(token, "after") in {"task_closed", "unauthenticated"}
        assert stage.effects("after") == []


def test_a_kill_works_on_a_broken_bundle(stage: Stage) -> None:
    """Nobody has to mend a policy before the plug can be pulled."""
    with stage.process() as process:
        _, token = stage.token()
        assert process.call(token, "before") == "permitted"
        (stage.bundle / "policies" / "broken.cedar").write_text("permit (", "utf-8")
        stage.command("kill", "everything", "--why", "a test")
        assert process.call(token, "after") == "contained"
