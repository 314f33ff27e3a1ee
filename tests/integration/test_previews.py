"""A held action through the real gateway: people see its effect, and their yes is good for the world they saw."""

import contextlib
import json
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from integration.live import PORT, Live, started
from lictor.model.approval import Hold, HoldStatus, seal_of
from lictor.model.preview import Preview
from lictor.policy.catalogue import pin_of
from lictor.service.calls.requests import held_preview
from lictor.service.people.approve import Proof
from previews_world import told
from servers.writing import PLAN, TOOLS

SERVER = Path(__file__).parents[1] / "servers" / "writing.py"
POLICY = """
@id("held") @owner("os:me") @reason("people see it first")
permit (principal, action, resource) when { context has approval && context.approval.groups.contains("owner") };
@id("opens") @owner("os:me") @reason("by hand")
permit (principal, action == Action::"task:open", resource);
"""
ENTRIES = {
    "write": 'effect = "write"\npath = {{ pointer = "/path", roots = {{ ws = {ws} }}, resolve = "host" }}\n'
    'preview = {{ kind = "file", action = "write", path = "/path", content = "/text" }}\n',
    "sql": 'effect = "destructive"\nsql = {{ text = "/sql", dialect = "sqlite" }}\n'
    'preview = {{ kind = "sql", authority = "shop" }}\n',
    "apply": 'effect = "write"\npreview = {{ kind = "tool", tool = "plan" }}\n',
    "plan": 'effect = "read"\n',
}


def write(folder: Path) -> Path:
    """The bundle, the folder the server works in, and its database."""
    ws = folder / "ws"
    ws.mkdir()
    (ws / "a.txt").write_text("one\ntwo\n")
    (ws / PLAN).write_text("3 changes")
    with sqlite3.connect(ws / "shop.db") as database:
        database.executescript("CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1), (2), (3);")
    database.close()
    command = json.dumps([sys.executable, "-u", str(SERVER), str(ws)])
    by_name = {one["name"]: one for one in TOOLS}
    catalogue = "".join(
        f'[tools.{name}]\npin = "{pin_of(by_name[name])}"\n{text.format(ws=json.dumps(str(ws)))}'
        for name, text in ENTRIES.items()
    )
    files = {
        "lictor.toml": f"[listen]\nport = {PORT}\n[limits]\ndecide_timeout_s = 30.0\n[servers.shop]\ncommand = {command}\n"
        f'[previews.shop]\nkind = "sqlite"\npath = {json.dumps(str(ws / "shop.db"))}\n',
        "catalog/shop.toml": catalogue,
        "catalog/shop.definitions.json": json.dumps({"tools": TOOLS}),
        "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
        "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
        "policies/test.cedar": POLICY,
    }
    for name, text in files.items():
        path = folder / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder / "bundle"


class Desk(Live):
    """The gateway, an agent, and a person."""

    token = ""

    async def call(self, tool: str, **arguments: str) -> str:
        """One call: what the agent is told."""
        said = {"name": f"shop__{tool}", "arguments": arguments}
        return (await self.send(self.token, "tools/call", said)).body.decode()

    def hold(self) -> Hold:
        """The newest."""
        return self.house.store.holds()[0]

    def preview(self) -> Preview:
        """Of the newest hold, as it is sealed."""
        found = held_preview(self.house.store, self.hold())
        assert found is not None
        return found

    async def approve(self) -> None:
        """The person says yes to exactly what is shown."""
        hold = self.hold()
        proof = Proof(human="os:me")  # type: ignore[arg-type]
        await self.house.answer.approve(hold.id, proof, seal_of(hold), "")


@contextlib.asynccontextmanager
async def desk(tmp_path: Path) -> AsyncIterator[tuple[Desk, Path]]:
    async with started(write(tmp_path)) as parts:
        made = Desk(*parts)
        _, made.token = await made.task()
        yield made, tmp_path / "ws"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine is not what these tests are about."""
    monkeypatch.setattr("lictor.previews.previewer.TIME_S", 20.0)


async def test_an_approved_difference_is_what_happens(tmp_path: Path) -> None:
    """Shown, sealed, approved, done."""
    async with desk(tmp_path) as (gateway, ws):
        arguments = {"path": str(ws / "a.txt"), "text": "one\nTWO\n"}
        await gateway.call("write", **arguments)
        assert "-two\n+TWO" in told(gateway.preview())
        assert (ws / "a.txt").read_text() == "one\ntwo\n"
        await gateway.approve()
        assert "written" in await gateway.call("write", **arguments)
        assert (ws / "a.txt").read_text() == "one\nTWO\n"


async def change_file(ws: Path) -> None:
    (ws / "a.txt").write_text("somebody was faster\n")


async def change_rows(ws: Path) -> None:
    with sqlite3.connect(ws / "shop.db") as database:
        database.execute("INSERT INTO t VALUES (4)")
    database.close()


async def change_plan(ws: Path) -> None:
    (ws / PLAN).write_text("300 changes")


@pytest.mark.parametrize(
    ("tool", "arguments", "said", "change"),
    [
        ("write", {"path": "{ws}/a.txt", "text": "x"}, "+x", change_file),
        ("sql", {"sql": "DELETE FROM t"}, "all rows (N = 3) of t: 3 rows go", change_rows),
        ("apply", {"name": "it"}, "would apply it: 3 changes", change_plan),
    ],
)
async def test_what_changed_since_is_asked_about_anew(
    tmp_path: Path, tool: str, arguments: dict[str, str], said: str, change: Any
) -> None:
    """The approval is void, nothing happens, and the next hold shows the world as it is now."""
    async with desk(tmp_path) as (gateway, ws):
        arguments = {name: text.format(ws=ws) for name, text in arguments.items()}
        await gateway.call(tool, **arguments)
        first, shown = gateway.hold(), gateway.preview()
        assert said in told(shown)
        await gateway.approve()
        await change(ws)
        assert "precondition_changed" in await gateway.call(tool, **arguments)
        assert gateway.house.store.hold(first.id).status is HoldStatus.EXPIRED
        await gateway.call(tool, **arguments)
        assert gateway.hold().id != first.id
        assert told(gateway.preview()) != told(shown)
        await gateway.approve()
        assert "precondition_changed" not in await gateway.call(tool, **arguments)
