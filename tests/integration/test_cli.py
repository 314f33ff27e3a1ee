"""The command line as a person uses it: one home, one bundle, one reviewed server, from `init` to `replay`."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import warm
from integration.peers import LICTOR, Heard, Stage, client, free_port, serving, stdio, streamable
from lictor.service.people.passkey_site import people_url

pytestmark = [pytest.mark.xdist_group("command line"), pytest.mark.timeout(180)]

READS = ("read_text_file", "list_directory", "directory_tree")


@dataclass
class Home:
    """A person's home folder and what they know."""

    folder: Path
    stage: Stage
    secret: str = ""
    port: int = field(default_factory=free_port)

    @property
    def bundle(self) -> Path:
        return self.folder / "lictor"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), "LICTOR_APPROVER_SECRET": self.secret, "NO_COLOR": "1"}

    def run(self, *words: str, code: int = 0, cwd: str = "", env: dict[str, str] | None = None) -> str:
        """A command; its standard output, or its standard error where it has to fail."""
        done = warm.run(*words, cwd=self.folder / cwd, env={**self.environment, **(env or {})})
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout if code in {0, 1} else done.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        """A command's result for programs."""
        return json.loads(self.run(*words, "--json", code=code))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """`init`, a drafted catalogue, a review of it, a setting."""
    folder = tmp_path_factory.mktemp("home")
    stage = Stage(folder / "stage")
    stage.reset()
    home = Home(folder, stage)
    home.secret = home.json("init")["secret"]
    command = list(stage.commands["files"])
    told = home.run("catalog", "pull", "files", "--write", "--", *command)
    assert "[servers.files]" in told
    catalogue = home.bundle / "catalog" / "files.toml"
    text = catalogue.read_text("utf-8")
    for name in READS:
        text = text.replace(f'[tools.{name}]\neffect = "write"', f'[tools.{name}]\neffect = "read"')
    catalogue.write_text(
        text.replace('[tools.move_file]\neffect = "write"', '[tools.move_file]\neffect = "destructive"')
    )
    settings = (home.bundle / "lictor.toml").read_text("utf-8").replace("port = 8700", f"port = {home.port}")
    settings += f"\n[servers.files]\ncommand = {json.dumps(command)}\n"
    (home.bundle / "lictor.toml").write_text(settings)
    return home


def test_init_writes_once(home: Home) -> None:
    """What exists is not overwritten, and the refusal says what to do."""
    assert "name another folder" in home.run("init", code=3)
    assert "no bundle" in home.run(
        "policy", "check", code=3, cwd="stage", env={"LICTOR_BUNDLE": str(home.folder / "no")}
    )


def test_policy_is_checked_tested_and_explained(home: Home) -> None:
    """A good bundle is good; a broken one is refused with file and line; an explanation names policies."""
    assert home.run("policy", "check").startswith("good: 6 policies")
    assert home.json("policy", "test")["failed"] == []
    told = home.run("policy", "explain", "destroying is denied")
    assert "baseline/nothing-destructive" in told
    assert home.json("policy", "explain", "a change waits for the owner")["outcome"] == "NeedsApproval"
    assert "lictor policy test lists them" in home.run("policy", "explain", "no such case", code=5)
    extra = home.bundle / "policies" / "extra.cedar"
    extra.write_text('@id("x")\npermit (principal, action, resource) when { context.nothing };\n')
    refused = home.run("policy", "check", code=1)
    extra.unlink()
    assert re.search(r"policies/extra\.cedar:\d", refused)
    assert home.json("policy", "check")["findings"] == []


def test_a_catalogue_is_never_overwritten(home: Home) -> None:
    """Pulling again changes nothing that was reviewed, and says so."""
    again = home.run("catalog", "pull", "files")
    assert "nothing to write" in again
    changed = home.json("catalog", "pull", "files")
    assert changed["added"] == changed["changed"] == changed["gone"] == []
    catalogue = home.bundle / "catalog" / "files.toml"
    whole = catalogue.read_text("utf-8")
    first, found, rest = whole.partition("[tools.write_file]")
    catalogue.write_text(first + rest.partition("\n\n")[2])
    assert found
    preview = home.run("catalog", "pull", "files")
    assert "+[tools.write_file]" in preview
    assert "-[tools." not in preview
    catalogue.write_text(whole)
    assert "add --write" not in home.run("catalog", "pull", "nobody", code=3)
    home.run("catalog", "pull", "broken", "--", "/no/such/program", code=1)


def test_tasks_are_opened_shown_and_closed(home: Home) -> None:
    """The token is shown once; a person reads times and budgets, a program gets everything."""
    words = ("--agent", "assistant", "--purpose", "development", "--value", "EUR=1000")
    told = home.run("task", "open", *words, "--text", "look around")
    assert "Authorization: Bearer lt_" in told
    task = home.json("task", "list")[0]
    assert task["state"] == "open"
    assert "token" not in json.dumps(task)
    shown = home.run("task", "show", task["task"])
    assert "0 of 1000 minor units of EUR used" in shown
    assert "UTC" in shown
    assert "nothing of it starts any more" in home.run("task", "close", task["task"])
    assert "task_closed" in home.run("task", "close", task["task"], code=5)
    assert home.json("task", "show", task["task"])["state"] == "closed"
    assert "agents.toml" in home.run("task", "open", "--agent", "nobody", "--purpose", "development", code=5)
    assert "development, research" in home.run("task", "open", "--agent", "assistant", "--purpose", "fun", code=5)
    assert "MINOR_UNITS" in home.run("task", "open", *words[:4], "--value", "EUR=1.5", code=5)


async def test_a_held_write_is_shown_approved_and_run_once(home: Home) -> None:
    """From the client's refusal to the file on disk, with everything on record: pending, approve, deny, log, replay."""
    project = home.stage.project
    with serving(home.bundle, home.port) as served:
        opened = await asyncio.to_thread(home.json, "task", "open", "--agent", "assistant", "--purpose", "development")
        async with client(streamable(served.url, opened["token"], Heard()), "2026-07-28") as session:
            listed = {tool.name for tool in (await session.list_tools()).tools}
            assert "files__read_text_file" in listed
            read = await session.call_tool("files__read_text_file", {"path": str(project / "README.md")})
            assert not read.is_error
            arguments = {"path": str(project / "made\u202e.txt"), "content": "by\x1b[2J hand"}
            held = await session.call_tool("files__write_file", arguments)
            assert held.is_error
            link = re.search(rf"{people_url(served.base)}/holds/(hold_\S+)", held.content[0].text)
            assert link
            assert "same arguments" in held.content[0].text
            hold = link[1]
            await asyncio.to_thread(_answered, home, hold)
            done = await session.call_tool("files__write_file", arguments)
            assert not done.is_error
            assert (project / "made\u202e.txt").read_text() == "by\x1b[2J hand"
            again = await session.call_tool("files__write_file", arguments)
            assert "needs_approval" in again.content[0].text
            second = await asyncio.to_thread(home.json, "pending")
            denied = await asyncio.to_thread(home.run, "deny", second[0]["hold"], "--yes", "--note", "no more")
            assert "stays denied" in denied
            refused = await session.call_tool("files__write_file", arguments)
            assert "approval_denied" in refused.content[0].text
            moved = await session.call_tool("files__move_file", {"source": "a", "destination": "b"})
            assert "forbidden" in moved.content[0].text
    _on_record(home)


def _answered(home: Home, hold: str) -> None:
    table = home.run("pending")
    assert hold in table
    assert "files/write_file" in table
    assert home.json("pending")[0]["groups"] == [["owner"]]
    nobody = home.run("approve", hold, "--yes", code=5, env={"LICTOR_APPROVER_SECRET": "las_wrong"})
    assert "lictor approver enrol" in nobody
    assert "--yes" in home.run("approve", hold, code=5)  # nobody at a terminal: nothing is answered by accident
    shown = home.run("approve", hold, "--yes", "--note", "looks right")
    assert "\x1b[2J" not in shown
    assert "\u202e" not in shown
    assert "U+202E" in shown
    assert "approved" in shown
    assert "is approved" in home.run("approve", hold, "--yes", code=5)


def _on_record(home: Home) -> None:
    shown = home.run("log", "show", "-n", "0")
    for kind in ("request.received", "decision.made", "approval.hold_opened", "approval.given", "execution.ended"):
        assert kind in shown
    assert "every execution has a known outcome" in home.run("log", "show", "--open")
    assert all(
        entry["record"]["type"].startswith("approval.") for entry in home.json("log", "show", "--kind", "approval")
    )
    verified = home.json("log", "verify")
    assert verified["ok"]
    assert "consistent with the local anchor" in verified["anchor"]
    checkpoint = home.json("log", "checkpoint")
    assert checkpoint["verifier_key"].startswith("lictor.local/log+")
    kept = home.folder / "kept.txt"
    kept.write_text(checkpoint["checkpoint"])
    assert "verified" in home.run("log", "verify", "--anchor", str(kept))
    replayed = home.json("replay")
    assert replayed["decisions"] == replayed["identical"] > 5
    request = next(
        entry["record"]["request"]
        for entry in home.json("log", "show", "-n", "0", "--kind", "decision")
        if entry["record"]["outcome"] == "deny"
    )
    assert home.json("policy", "explain", request)["outcome"] == "Deny"


def test_a_new_secret_ends_the_old_one(home: Home) -> None:
    """Enrolling again mints another secret; a person nobody named gets none."""
    me = home.json("approver", "enrol", f"os:{home.environment.get('USER', '') or _user()}")
    old, home.secret = home.secret, me["secret"]
    assert old != home.secret
    assert "not_an_approver" in home.run("approver", "enrol", "os:stranger", code=5)
    assert "unauthenticated" in home.run("approve", "hold_x", "--yes", code=5, env={"LICTOR_APPROVER_SECRET": old})


def _user() -> str:
    import getpass

    return getpass.getuser()


def test_doctor_finds_what_is_wrong(home: Home) -> None:
    """All well first; then a log that was tampered with, said with the command that tells more."""
    checks = {check["name"]: check["state"] for check in home.json("doctor")}
    assert set(checks.values()) <= {"ok", "warn"}
    assert {"engine", "bundle", "approvers", "state", "log"} <= checks.keys()
    (home.bundle / ".lictor").chmod(0o755)
    assert "chmod 700" in home.run("doctor", code=1)
    (home.bundle / ".lictor").chmod(0o700)


CONFIGS: dict[str, str] = {
    ".mcp.json": '{\n  "mcpServers": {\n    "files": {"command": %(command)s, "args": %(args)s}\n  }\n}\n',
    ".cursor/mcp.json": '{"mcpServers":{"files":{"command":%(command)s,"args":%(args)s,"env":{"KEEP":"1"}}}}',
    ".vscode/mcp.json": '{\n  // mine\n  "servers": {\n    "files": {"type": "stdio", "command": %(command)s, "args": %(args)s,},\n  },\n}\n',
    ".codex/config.toml": 'model = "m" # kept\n\n[mcp_servers.files]\ncommand = %(command)s\nargs = %(args)s\n',
}


def _entry(file: str, text: str) -> dict[str, Any]:
    """The configured server as a client reads it."""
    import tomllib

    if file.endswith(".toml"):
        return tomllib.loads(text)["mcp_servers"]["files"]
    plain = re.sub(r",(\s*[}\]])", r"\1", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    return next(iter(json.loads(plain).values()))["files"]


@pytest.mark.parametrize("file", CONFIGS)
async def test_a_wrapped_client_entry_works_and_comes_off_again(home: Home, file: str) -> None:
    """The diff first, then written; the entry starts and serves a call; `unwrap` gives back every byte."""
    command = home.stage.commands["files"]
    path = home.folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(CONFIGS[file] % {"command": json.dumps(command[0]), "args": json.dumps(list(command[1:]))})
    before = path.read_bytes()
    try:
        assert "add --write" in await asyncio.to_thread(home.run, "wrap")
        assert path.read_bytes() == before
        told = await asyncio.to_thread(home.run, "wrap", "--write")
        assert "lictor unwrap" in told
        assert "no catalogue yet" not in told
        entry = _entry(file, path.read_text("utf-8"))
        assert entry["args"][:2] == ["run", "--server"]
        env = {**entry.get("env", {}), "HOME": str(home.folder)}
        async with client(stdio([entry["command"], *entry["args"]], env, Heard()), "auto") as session:
            read = await session.call_tool("read_text_file", {"path": str(home.stage.project / "README.md")})
            assert "Lantern" in read.content[0].text
        assert "every server is behind Lictor" in await asyncio.to_thread(home.run, "doctor")
        assert "restored" in await asyncio.to_thread(home.run, "unwrap", "--write")
        assert path.read_bytes() == before
    finally:
        path.unlink()


def test_wrapping_what_nobody_reviewed_says_so(home: Home) -> None:
    """A server without a catalogue may do nothing: the person hears it now, not from the client."""
    config = home.folder / "other.json"
    config.write_text('{"mcpServers": {"unknown": {"command": "true"}}}')
    told = home.run("wrap", str(config))
    assert "unknown has no catalogue yet" in told
    assert "lictor catalog pull unknown" in told


async def test_a_server_that_cannot_start_is_named_to_the_operator(home: Home) -> None:
    """The client is told that it is down, standard error why."""
    words = ["run", "--server", "files", "--", "/no/such/program"]
    process = await asyncio.create_subprocess_exec(
        LICTOR, *words, cwd=home.folder, env=home.environment, stdin=-1, stdout=-1, stderr=-1
    )
    assert process.stdin
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    call = {"name": "read_text_file", "arguments": {"path": "x"}, "_meta": meta}
    output, errors = await asyncio.wait_for(
        process.communicate(
            json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}).encode() + b"\n"
        ),
        30,
    )
    if output:
        assert b"upstream_down" in output
    assert b"server files: " in errors
    assert b"/no/such/program" in errors


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_run_in_order(home: Home, how: signal.Signals) -> None:
    """The task is closed and the server stopped, as at the end of input."""
    command = [LICTOR, "run", "--server", "files", "--", *home.stage.commands["files"]]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=home.folder,
        env=home.environment,
        stdin=-1,
        stdout=-1,
        stderr=-1,
        # Whoever started the tests may ignore Ctrl-C, and that would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin
    assert process.stdout
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    process.stdin.write(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}).encode() + b"\n"
    )
    await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(how)
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert b"Traceback" not in errors, errors.decode()
    assert process.returncode == 130
    tasks = await asyncio.to_thread(home.json, "task", "list")
    assert [task["state"] for task in tasks if task["audience"] == "local"].count("open") == 0


@pytest.mark.parametrize("words", [(), ("task",), ("nothing",), ("run",), ("catalog", "pull")])
def test_usage_is_taught(home: Home, words: tuple[str, ...]) -> None:
    """A command that is not one ends with 2 and with how it is used."""
    done = subprocess.run(
        [LICTOR, *words], capture_output=True, text=True, check=False, timeout=30, env=home.environment
    )
    assert done.returncode == 2
    assert "usage: lictor" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "command", ["init", "run", "serve", "wrap", "unwrap", "pending", "approve", "policy", "log", "doctor"]
)
def test_every_command_has_help(command: str) -> None:
    """`--help` needs no bundle."""
    done = subprocess.run(
        [sys.executable, "-m", "lictor", command, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "usage: lictor" in done.stdout


def test_errors_for_programs_are_json(home: Home) -> None:
    """With --json a refusal is an object with reason and remedy."""
    error = json.loads(home.run("task", "show", "nothing", "--json", code=5))["error"]
    assert error["reason"] == "unknown_task"
    assert error["remedy"] == "see: lictor task list"
