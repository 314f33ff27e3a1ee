"""A wall clock that jumps under a real gateway process: nothing expired becomes valid, nothing dies silently (facts R15, REVO-07).

The clock is libfaketime's; what it does to a process it does while the process runs. Monotonic clocks go on as they are.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import libfaketime
import pytest

from integration.stopping import Process, Stage, until
from lictor.cli.demonstration.stage import free_port

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("clock")]

LIBRARY = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
REFUSED = {"clock_unsound", "state_unconfirmed"}


class Clock:
    """The wall clock of a process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "faketime"
        self.set("+0")

    def set(self, text: str) -> None:
        """`+1d`, `-1d`, `@2038-01-20 00:00:00`, or `+0`: the right time."""
        draft = self._file.with_name("faketime.new")
        draft.write_text(f"{text}\n", "ascii")
        draft.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        """For the process."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """The right time, for now."""
    return Clock(tmp_path)


def stage_of(folder: Path, limits: str = "") -> Stage:
    """A stage whose port nobody else has."""
    return Stage(folder, listen=free_port(), limits=limits)


@pytest.fixture
def running(tmp_path: Path, clock: Clock) -> Iterator[tuple[Stage, Process]]:
    """A gateway under that clock."""
    stage = stage_of(tmp_path)
    with stage.process(**clock.env) as process:
        yield stage, process


def after_stepping_back(stage: Stage, process: Process, clock: Clock, text: str) -> str:
    """The reason of a call of a task that has expired, with the clock set back to before it did."""
    _, token = stage.token(ttl_s=4)
    assert process.call(token, "in-time") == "permitted"
    until(lambda: process.call(token, "too-late") in {"task_expired", "unauthenticated"}, 10)
    clock.set(text)
    return process.call(token, "set-back")


@pytest.mark.parametrize("text", ["-1d", "-3s", "@1970-01-02 00:00:00"])
def test_nothing_expired_becomes_valid(running: tuple[Stage, Process], clock: Clock, text: str) -> None:
    """A step back makes the process refuse everything and say that it is not ready; set right, it goes on."""
    stage, process = running
    assert after_stepping_back(stage, process, clock, text) in REFUSED
    assert process.get("/healthz") == 503
    assert stage.effects("set-back") == []
    clock.set("+0")
    until(lambda: process.get("/healthz") == 200, 10)
    _, token = stage.token()
    assert process.call(token, "right-again") == "permitted"


def test_a_clock_that_is_believed_is_found_out(tmp_path: Path, clock: Clock) -> None:
    """Control: with a skew of a century allowed, the expired task is valid again. (A day back it would not have been opened yet.)"""
    stage = stage_of(tmp_path, "clock_skew_s = 3.0e9")
    with stage.process(**clock.env) as process:
        assert after_stepping_back(stage, process, clock, "-3s") == "permitted"


def test_a_restart_behind_the_log_is_not_ready(tmp_path: Path, clock: Clock) -> None:
    """What was recorded yesterday is tomorrow now: a process that starts so refuses."""
    stage = stage_of(tmp_path)
    with stage.process(**clock.env):
        stage.token()
    clock.set("-1d")
    with stage.process(healthy=False, **clock.env) as process:
        until(lambda: process.get("/healthz") != 0, 20)
        assert process.get("/healthz") == 503


@pytest.mark.parametrize("text", ["+1d", "@2038-01-20 00:00:00"])
def test_a_step_forward_kills_nothing_silently(running: tuple[Stage, Process], clock: Clock, text: str) -> None:
    """No mass expiry: everything waits, the operator is told, and a glitch that ends leaves every task alive."""
    stage, process = running
    _, token = stage.token()
    assert process.call(token, "before") == "permitted"
    clock.set(text)
    until(lambda: refused_for_the_clock(process, token), 10)
    assert process.get("/healthz") == 503
    assert stage.effects("ahead") == []
    clock.set("+0")
    until(lambda: process.get("/healthz") == 200, 10)
    assert process.call(token, "after") == "permitted"
    assert process.popen.poll() is None
    until(lambda: "the clock stepped by" in process.log.read_text("utf-8"), 10)  # told by a watch, however short it was


def test_what_is_under_way_outlives_a_glitch(running: tuple[Stage, Process], clock: Clock) -> None:
    """A call that ends while the clock is wrong is not stopped, and its outcome gets a time that no right one is behind."""
    stage, process = running
    _, token = stage.token()
    assert process.call(token, "before") == "permitted"
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(process.call, token, "long", 2_000)
        until(lambda: stage.effects("long") != [], 10)
        clock.set("@2038-01-20 00:00:00")
        until(lambda: refused_for_the_clock(process, token), 10)
        assert under_way.result() in {"permitted", "state_unconfirmed"}  # the other one where the machine is busy
    clock.set("+0")
    until(lambda: process.get("/healthz") == 200, 10)
    until(lambda: process.call(token, "after") == "permitted", 10)


def refused_for_the_clock(process: Process, token: str) -> bool:
    """Whether a call is refused because of the time; a busy machine may say first that the state is not confirmed."""
    reason = process.call(token, "ahead")
    assert reason in REFUSED
    return reason == "clock_unsound"


def test_the_library_is_there() -> None:
    """A missing library would let these tests pass without a jump."""
    assert os.access(LIBRARY, os.R_OK)
