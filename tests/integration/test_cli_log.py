"""`lictor log show`, `erase` and `schema` as an operator uses them, on a log with everything in it."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import warm
from lictor.app import open_house
from lictor.model.ids import HumanId
from lictor.model.record import SignedOut
from lictor.ports import Batch
from recorded_world import ASKED, ERASE, FETCH, GUEST, READ, WRITE, TrafficWorld, world_bundle

DAY_MS = 86_400_000


class Desk:
    """A bundle, its log, and who sits before it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks: dict[str, str] = {}
        folder.mkdir(mode=0o700)
        self.bundle = world_bundle()
        for path, data in self.bundle.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)

    def drive(self, days_ago: int = 10) -> dict[str, str]:
        """Traffic of some days ago; the tasks by agent."""

        async def run() -> dict[str, str]:
            house = await open_house(self.folder, load=False)
            try:
                world = TrafficWorld(self.bundle, house.store, house.clock.now_ms() - days_ago * DAY_MS)
                for step in (READ, FETCH, WRITE, ERASE, GUEST, ASKED):
                    await world.step(step)
                return {agent: task.id for agent, task in world._open.items()}
            finally:
                house.close()

        return asyncio.run(run())

    def run(self, *words: str, code: int = 0, text: str = "") -> str:
        """A command; its standard output, or its standard error where it has to fail."""
        done = warm.run(*words, "--bundle", str(self.folder), text=text, env={**os.environ, "NO_COLOR": "1"})
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    made = Desk(tmp_path_factory.mktemp("home") / "lictor")
    made.tasks = made.drive()
    return made


def test_a_task_tells_its_story(desk: Desk) -> None:
    """Each request with its decision, who was asked, what ran, and how it ended; nothing of another task."""
    told = desk.run("log", "show", "--task", desk.tasks["coder"])
    lines = told.splitlines()
    assert lines[0].startswith(f"{desk.tasks['coder']}  coder for os:alice: development")
    for words in (
        "coder asks fs/read_file",
        "    decided: allow permitted reads",
        "    executed after ",
        "    held hold_1: somebody of owner has to answer",
        "    approved by os:bob (secret)",
        "    started on hold_1",
        "    decided: deny forbidden erases",
        "nothing more is recorded of it so far",
    ):
        assert words in told, told
    assert "guest asks" not in told
    newest = desk.run("log", "show", "--task", desk.tasks["coder"], "-n", "1")
    assert [line for line in newest.splitlines() if " asks " in line] == [line for line in lines if " asks " in line][
        -1:
    ]


def test_records_are_filtered_by_kind_task_and_time(desk: Desk) -> None:
    """A decision names no task and is found by its request; JSON has the shape it had, and lines of JSON are the same entries."""
    coder = desk.tasks["coder"]
    decisions = desk.json("log", "show", "--kind", "decision", "--task", coder, "-n", "0")
    assert [one["record"]["outcome"] for one in decisions].count("allow") == 3
    lines = desk.run("log", "show", "--kind", "decision", "--task", coder, "-n", "0", "--jsonl").splitlines()
    assert [json.loads(line) for line in lines] == decisions
    everything = desk.json("log", "show", "-n", "0")
    assert [one["seq"] for one in everything] == list(range(len(everything)))
    assert desk.json("log", "show", "-n", "3") == everything[-3:]
    assert (
        desk.json("log", "show", "-n", "2", "--kind", "request")
        == [one for one in everything if one["record"]["type"].startswith("request.")][-2:]
    )
    assert desk.json("log", "show", "--since", "2d") == []
    assert len(desk.json("log", "show", "-n", "0", "--since", "20d")) == len(everything)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("log", "show", "--task", "task_nope"), 5),
        (("log", "show", "-n", "-1"), 5),
        (("log", "show", "--follow", "--json"), 5),
        (("log", "show", "--since", "tomorrow"), 5),
        (("log", "show", "--kind", "everything"), 2),
        (("log", "erase", "--task", "task_nope", "--yes"), 5),
    ],
)
def test_what_makes_no_sense_is_refused(desk: Desk, words: tuple[str, ...], code: int) -> None:
    """With a code and no output that looks like an answer."""
    assert desk.run(*words, code=code)


def test_following_shows_what_is_recorded_meanwhile(desk: Desk) -> None:
    """A line for each record, soon after it was committed; until somebody ends it."""
    command = ["log", "show", "--follow", "-n", "1", "--jsonl", "--bundle", str(desk.folder)]
    executable = Path(sys.executable).parent / "lictor"
    with subprocess.Popen([str(executable), *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())

        asyncio.run(_signed_out(desk.folder))
        second = json.loads(process.stdout.readline())
        process.terminate()
    assert second["seq"] == first["seq"] + 1


async def _signed_out(folder: Path) -> None:
    house = await open_house(folder, load=False)
    try:
        await house.store.commit(Batch(at_ms=house.clock.now_ms(), records=(SignedOut(human=HumanId("os:ann")),)))
    finally:
        house.close()


def test_the_schema_needs_no_bundle(tmp_path: Path) -> None:
    """It is printed anywhere, and is the published one."""
    done = warm.run("log", "schema", cwd=tmp_path)
    published = Path(__file__).parents[2] / "docs" / "reference" / "schema" / "records.json"
    assert json.loads(done.stdout) == json.loads(published.read_text("utf-8"))


def test_an_erased_task_is_erased_everywhere(tmp_path: Path) -> None:
    """Asked first; then verify is content, replay and story say what happened, and a second time changes nothing."""
    desk = Desk(tmp_path / "lictor")
    coder = desk.drive()["coder"]
    assert "nothing was erased" in desk.run("log", "erase", "--task", coder, code=1)
    assert desk.json("replay")["erased"] == 0
    done = desk.json("log", "erase", "--task", coder, "--yes", "--why", "request 12")
    assert done == {"erased": [coder], "already": [], "clean": True}
    assert desk.json("log", "verify")["ok"] is True
    assert desk.json("replay")["erased"] == 6
    told = desk.run("log", "show", "--task", coder)
    assert "its arguments and facts were erased by os:" in told
    assert "request 12" in told
    assert desk.json("log", "erase", "--task", coder, "--yes") == {"erased": [], "already": [coder], "clean": True}


def test_a_live_task_is_not_erased(tmp_path: Path) -> None:
    """It says what to do first."""
    desk = Desk(tmp_path / "lictor")
    coder = desk.drive(days_ago=0)["coder"]
    assert "lictor task close" in desk.run("log", "erase", "--task", coder, "--yes", code=5)
    desk.run("task", "close", coder)
    assert desk.json("log", "erase", "--task", coder, "--yes")["erased"] == [coder]
