"""Contracts, restrictions and child tasks as an agent meets them: a real client, `lictor serve`, a real server behind it."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from integration.peers import (
    Heard,
    Served,
    Stage,
    client,
    free_port,
    lictor,
    pulled,
    reviewed,
    server_tables,
    serving,
    streamable,
    write_bundle,
)  # fmt: skip

pytestmark = [pytest.mark.xdist_group("bound task"), pytest.mark.timeout(180)]

POLICY = """\
@id("house/what-is-reviewed")
@owner("tests")
@reason("what is reviewed may run")
permit (principal, action, resource);

@id("house/no-writes-after-untrusted")
@owner("tests")
@reason("who has read what strangers wrote writes nothing")
forbid (principal, action in Action::"write", resource)
when { context.labels.contains("untrusted") };
"""
AGENTS = """\
purposes = ["test"]
[agents.tester]
owner = "tests"
review_by = 2099-12-31
delegates_to = ["helper"]
[agents.helper]
owner = "tests"
review_by = 2099-12-31
"""
SIGNALS = '[signals.injection]\nat_least = 0.8\nlay = "suspended"\n'
WATCH = '\nwatch = { path = { pointer = "/path", kind = "path" } }'


@dataclass
class Scene:
    """A running gateway with the files server, and the commands of a person beside it."""

    stage: Stage
    served: Served
    secret: str = ""

    def opened(self, *more: str) -> dict[str, Any]:
        """A task: id and token."""
        return self.command("task", "open", "--agent", "tester", "--purpose", "test", *more)

    def command(self, *words: str, **env: str) -> Any:
        """A command of another process on the same bundle."""
        secret = {"LICTOR_APPROVER_SECRET": self.secret}
        done = lictor(*words, "--bundle", str(self.served.bundle), "--json", env={**secret, **env})
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def contract(self, *clauses: dict[str, Any]) -> str:
        """A file with these clauses."""
        path = self.stage.folder / "contract.json"
        path.write_text(json.dumps({"clauses": clauses}))
        return str(path)

    def file(self, name: str) -> str:
        """A path in the project."""
        return str(self.stage.project / name)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gateway for all tests; each opens tasks of its own."""
    folder = tmp_path_factory.mktemp("bound")
    stage = Stage(folder / "stage")
    stage.reset()
    lists = asyncio.run(pulled({"files": stage.commands["files"]}, stage.environment))
    files = reviewed("files", lists["files"], writes=("write_file", "move_file"))
    text = files["catalog/files.toml"]
    for name, more in (("write_file", WATCH), ("read_text_file", WATCH), ("list_directory", "")):
        head, found, rest = text.partition(f"[tools.{name}]")
        assert found
        labels = '\nlabels = ["untrusted:disk"]' if name == "list_directory" else ""
        text = head + found + more + labels + rest
    files |= {"catalog/files.toml": text, "agents.toml": AGENTS, "signals.toml": SIGNALS}
    port = free_port()
    servers = server_tables(stage, ["files"])
    bundle: Path = write_bundle(folder / "bundle", files, port=port, servers=servers, policy=POLICY)
    with serving(bundle, port) as served:
        scene = Scene(stage, served)
        scene.secret = scene.command("approver", "enrol", "os:tester")["secret"]
        yield scene


class Agent:
    """What an agent with a token hears of its calls."""

    def __init__(self, session: Any, names: set[str]) -> None:
        self._session, self._names = session, names

    async def call(self, tool: str, **arguments: Any) -> tuple[str, str]:
        """(reason of the refusal, whole text); no reason when the call went through."""
        name = next(name for name in self._names if name.endswith(tool))
        result = await self._session.call_tool(name, arguments)
        refusal = (result.meta or {}).get("dev.lictor/refusal", {})
        return refusal.get("reason", ""), "".join(getattr(part, "text", "") for part in result.content)


class Line:
    """A connection with a task's token."""

    def __init__(self, scene: Scene, token: str) -> None:
        self._client = client(streamable(scene.served.url, token, Heard()), "2026-07-28")

    async def __aenter__(self) -> Agent:
        session = await self._client.__aenter__()
        return Agent(session, {tool.name for tool in (await session.list_tools()).tools})

    async def __aexit__(self, *raised: object) -> None:
        await self._client.__aexit__(*raised)


async def test_a_contract_refuses_what_is_outside_of_it(scene: Scene) -> None:
    """Bound value and number of calls hold; the agent hears a code, and nothing of clauses, values or policies."""
    task = scene.opened(
        "--contract",
        scene.contract(
            {"action": "files/write_file", "bind": {"path": {"values": [scene.file("agreed.txt")]}}, "calls": 1},
            {"action": "files/read_text_file", "bind": {"path": {"sources": ["task"]}}},
        ),
        "--text",
        f"look at {scene.file('README.md')} and write a summary",
    )
    async with Line(scene, task["token"]) as agent:
        assert (await agent.call("read_text_file", path=scene.file("README.md")))[0] == ""
        told = [await agent.call("read_text_file", path=scene.file("pixel.png"))]
        told.append(await agent.call("write_file", path=scene.file("other.txt"), content="x"))
        told.append(await agent.call("list_directory", path=str(scene.stage.project)))
        assert [reason for reason, _ in told] == ["outside_contract"] * 3
        assert (await agent.call("write_file", path=scene.file("agreed.txt"), content="done"))[0] == ""
        told.append(await agent.call("write_file", path=scene.file("agreed.txt"), content="again"))
        assert told[-1][0] == "contract_used"
    assert Path(scene.file("agreed.txt")).read_text() == "done"
    assert not Path(scene.file("other.txt")).exists()
    for _, text in told:
        assert not any(word in text for word in ("agreed.txt", "house/", "clause", "sources", "calls"))
    shown = await asyncio.to_thread(scene.command, "task", "show", task["task"])
    assert shown["calls_used"] == 2


async def test_a_restriction_takes_effect_on_the_next_call(scene: Scene) -> None:
    """Laid and lifted by another process: the very next call of a connection that is open already obeys."""
    task = scene.opened()
    async with Line(scene, task["token"]) as agent:

        async def outcome(tool: str, **arguments: Any) -> str:
            return (await agent.call(tool, **arguments))[0]

        writing = {"path": scene.file("w.txt"), "content": "w"}
        reading = {"path": scene.file("README.md")}
        assert await outcome("write_file", **writing) == ""
        for what, restriction, wrote, read in (
            (f"task:{task['task']}", "read_only", "contained", ""),
            ("agent:tester", "step_up", "needs_approval", "needs_approval"),
            ("server:files", "suspended", "contained", "contained"),
        ):
            laid = await asyncio.to_thread(scene.command, "contain", "add", what, restriction)
            try:
                heard = (await outcome("write_file", **writing), await outcome("read_text_file", **reading))
            finally:
                await asyncio.to_thread(scene.command, "contain", "lift", laid["containment"], "--why", "over")
            assert heard == (wrote, read)
        assert await outcome("write_file", **writing) == ""


async def test_a_signal_takes_effect_on_the_next_call(scene: Scene) -> None:
    """It holds for the tree of its task to the end, whatever is observed later; other tasks go on."""
    task, other = scene.opened(), scene.opened()
    reading = {"path": scene.file("README.md")}
    async with Line(scene, task["token"]) as agent, Line(scene, other["token"]) as bystander:
        await asyncio.to_thread(scene.command, "signal", task["task"], "injection", "0.5")
        assert (await agent.call("read_text_file", **reading))[0] == ""
        for score in ("0.9", "0"):
            await asyncio.to_thread(scene.command, "signal", task["task"], "injection", score)
            assert (await agent.call("read_text_file", **reading))[0] == "contained"
        assert (await bystander.call("read_text_file", **reading))[0] == ""


async def test_a_child_works_and_dies_with_its_parent(scene: Scene) -> None:
    """Its token works until the parent is closed; then the connection that is open already starts nothing more."""
    parent = scene.opened()
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "5")
    child = await asyncio.to_thread(lambda: scene.command(*words, LICTOR_TASK_TOKEN=parent["token"]))
    reading = {"path": scene.file("README.md")}
    async with Line(scene, child["token"]) as helper:
        assert (await helper.call("read_text_file", **reading))[0] == ""
        await asyncio.to_thread(scene.command, "task", "close", parent["task"])
        assert (await helper.call("read_text_file", **reading))[0] == "task_closed"
    records = await asyncio.to_thread(scene.command, "log", "show", "-n", "0", "--kind", "execution")
    started = [e["record"] for e in records if e["record"].get("task") == child["task"]]
    assert len(started) == 1


async def test_what_a_child_has_seen_its_parent_has_seen(scene: Scene) -> None:
    """A parent that sends somebody else to read what strangers wrote may not write afterwards either."""
    parent = scene.opened()
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "5")
    child = await asyncio.to_thread(lambda: scene.command(*words, LICTOR_TASK_TOKEN=parent["token"]))
    writing = {"path": scene.file("p.txt"), "content": "p"}
    async with Line(scene, parent["token"]) as agent, Line(scene, child["token"]) as helper:
        assert (await agent.call("write_file", **writing))[0] == ""
        assert (await helper.call("list_directory", path=str(scene.stage.project)))[0] == ""
        reason, text = await agent.call("write_file", **writing)
        assert reason == "forbidden"
        assert "house/" not in text
        assert "untrusted" not in text


async def test_a_childs_contract_and_its_parents_both_hold(scene: Scene) -> None:
    """A child without a contract is bound by its parent's, and its calls use up the parent's clause."""
    clause = {"action": "files/read_text_file", "bind": {"path": {"values": [scene.file("README.md")]}}, "calls": 2}
    parent = scene.opened("--contract", scene.contract(clause))
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "5")
    child = await asyncio.to_thread(lambda: scene.command(*words, LICTOR_TASK_TOKEN=parent["token"]))
    async with Line(scene, parent["token"]) as agent, Line(scene, child["token"]) as helper:
        reading = {"path": scene.file("README.md")}
        assert (await helper.call("read_text_file", path=scene.file("pixel.png")))[0] == "outside_contract"
        assert (await helper.call("read_text_file", **reading))[0] == ""
        assert (await agent.call("read_text_file", **reading))[0] == ""
        assert (await helper.call("read_text_file", **reading))[0] == "contract_used"


async def test_who_is_asked_sees_chain_contract_and_origins(scene: Scene) -> None:
    """What the terminal shows before it asks: in plain lines, made from the sealed facts."""
    readme = scene.file("README.md")
    clause = {"action": "files/read_text_file", "bind": {"path": {"sources": ["task"]}}, "calls": 3}
    parent = scene.opened("--contract", scene.contract(clause), "--text", f"read {readme}")
    words = ("task", "delegate", parent["task"], "--agent", "helper", "--calls", "5")
    child = await asyncio.to_thread(lambda: scene.command(*words, LICTOR_TASK_TOKEN=parent["token"]))
    laid = await asyncio.to_thread(scene.command, "contain", "add", f"task:{parent['task']}", "step_up", "--why", "odd")
    async with Line(scene, child["token"]) as helper:
        assert (await helper.call("read_text_file", path=readme))[0] == "needs_approval"
        (hold,) = [one for one in await asyncio.to_thread(scene.command, "pending") if one["task"] == child["task"]]
        assert hold["chain"] == ["helper", "tester"]
        shown = await asyncio.to_thread(
            lambda: lictor(
                "approve", hold["hold"], "--yes", "--bundle", str(scene.served.bundle),
                env={"LICTOR_APPROVER_SECRET": scene.secret, "COLUMNS": "300"},
            ).stdout
        )  # fmt: skip
        for line in (
            "helper, by delegation from tester",
            "files/read_text_file, at most 3 times: path only named in the task (0 used; made by a person)",
            "named in the task's text",
            f"task {parent['task']}: everything needs approval, by os:",
        ):
            assert line in shown, shown
        assert (await helper.call("read_text_file", path=readme))[0] == ""
    await asyncio.to_thread(scene.command, "contain", "lift", laid["containment"], "--why", "over")


async def test_every_decision_replays(scene: Scene) -> None:
    """With contracts, chains, restrictions and signals in the snapshots, the log still answers the same."""
    async with Line(scene, scene.opened()["token"]) as line:
        assert (await line.call("read_text_file", path=scene.file("README.md")))[0] == ""
    replayed = await asyncio.to_thread(scene.command, "replay")
    assert replayed["decisions"] == replayed["identical"] > 0
    assert (await asyncio.to_thread(scene.command, "log", "verify"))["ok"]
