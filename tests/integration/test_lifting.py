"""Secrets lifted out of a client's real configuration: the diff shows none, no file keeps one, `unwrap` brings every byte back."""

import asyncio
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

import warm
from integration.lent_world import ECHOING, POLICY, TOOL, WAYS
from integration.peers import free_port
from lictor.cli.lifting import looks_secret
from lictor.policy.catalogue import pin_of
from lictor.protocol.scrub import forms

pytestmark = pytest.mark.timeout(180)


class Desk:
    """A person's project: `.mcp.json` with canaries, and a bundle beside it."""

    def __init__(self, folder: Path, started: int, remote: int, each: int) -> None:
        self.folder, self.port = folder, free_port()
        self.canaries: dict[str, str] = {}
        servers: dict[str, Any] = {}
        for index in range(started):
            env = {f"SERVICE_{n}_TOKEN": self.canary(f"pipe{index}.{n}") for n in range(each)}
            servers[f"Pipe {index}"] = {
                "command": sys.executable,
                "args": ["-u", str(ECHOING)],
                "env": {"CANARY_MODE": "plain-words", **{f"CANARY_{k}": v for k, v in env.items()}},
            }
        for index in range(remote):
            headers = {f"X-Api-Key-{n}": self.canary(f"web{index}.{n}") for n in range(each - 1)}
            headers["Authorization"] = f"Bearer {self.canary(f'web{index}.a')}"
            servers[f"web{index}"] = {
                "type": "http",
                "url": f"http://127.0.0.1:{self.port}/mcp",
                "headers": {"X-Team": "blue", **headers},
            }
        self.config = folder / ".mcp.json"
        self.config.write_text(json.dumps({"mcpServers": servers}, indent=2) + "\n", "utf-8")
        self.before = self.config.read_bytes()
        files = {
            "agents.toml": 'purposes = ["test"]\n[agents.coder]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
            "approvers.toml": 'four_eyes = false\n[approvers."os:me"]\ngroups = ["owner"]\n',
            "policies/test.cedar": POLICY.replace(', Action::"credential.use"', ""),
        }
        for name in (*(f"pipe-{i}" for i in range(started)), *(f"web{i}" for i in range(remote))):
            files[f"catalog/{name}.toml"] = f'[tools.echo]\neffect = "read"\npin = "{pin_of(TOOL)}"\n'
            files[f"catalog/{name}.definitions.json"] = json.dumps({"tools": [TOOL]})
        for name, text in files.items():
            path = self.bundle / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def canary(self, name: str) -> str:
        self.canaries[name] = f"sk-live-{os.urandom(14).hex()}{name}"
        return self.canaries[name]

    @property
    def bundle(self) -> Path:
        return self.folder / "lictor"

    def run(self, *words: str, code: int = 0) -> str:
        done = warm.run(*words, cwd=self.folder)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def leaked(self, data: bytes) -> set[str]:
        return {name for name, value in self.canaries.items() if any(form in data for form in forms(value))}

    def files(self, *, without: Path | None = None) -> bytes:
        found = [path for path in self.folder.rglob("*") if path.is_file() and path != without]
        return b"".join(path.read_bytes() for path in found)

    def backup(self) -> Path:
        (found,) = (self.bundle / ".lictor" / "wrapped").iterdir()
        return found


async def called(desk: Desk, name: str, words: list[str], env: dict[str, str]) -> bytes:
    """What an agent's client gets when it starts an entry as configured, with the agent's environment and the entry's own."""
    process = await asyncio.create_subprocess_exec(
        *words, env={**os.environ, **env}, stdin=-1, stdout=-1, stderr=-1, cwd=desk.folder
    )
    assert process.stdin
    assert process.stdout
    begin = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    messages: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": begin},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    messages += [
        {"jsonrpc": "2.0", "id": 3 + n, "method": "tools/call", "params": {"name": "echo", "arguments": {"way": way}}}
        for n, way in enumerate(WAYS)
    ]
    heard = b""
    for message in messages:
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()
        while "id" in message:
            line = await asyncio.wait_for(process.stdout.readline(), 30)
            heard += line
            assert line, (name, heard, await process.stderr.read() if process.stderr else b"")
            if json.loads(line).get("id") == message["id"]:
                break
    environ = Path(f"/proc/{process.pid}/environ")
    if environ.exists():
        heard += environ.read_bytes()
    process.stdin.close()
    _, said = await process.communicate()
    return heard + said


async def test_a_hundred_canaries_are_lifted_used_and_seen_by_nobody(tmp_path: Path):
    """Five started and five remote servers: in no file of the client, no reply, no environment; and the servers still get them."""
    desk = Desk(tmp_path, started=5, remote=5, each=10)
    assert len(desk.canaries) == 100
    shown = desk.run("wrap", ".mcp.json")
    assert not desk.leaked(shown.encode())
    assert "into the safe" in shown
    assert desk.config.read_bytes() == desk.before
    assert not (desk.bundle / ".lictor" / "safe.db").exists()
    assert not desk.leaked(desk.run("wrap", ".mcp.json", "--write", "--json").encode())
    assert not desk.leaked(desk.files(without=desk.backup()))
    assert stat.S_IMODE(desk.backup().stat().st_mode) == 0o600
    web = await asyncio.create_subprocess_exec(sys.executable, str(ECHOING), str(desk.port))
    try:
        entries = json.loads(desk.config.read_text())["mcpServers"]
        assert "url" not in entries["web0"]
        assert entries["Pipe 0"]["env"]["CANARY_MODE"] == "plain-words"
        for name in ("Pipe 0", "web0"):
            entry = entries[name]
            heard = await called(desk, name, [entry["command"], *entry["args"]], entry.get("env", {}))
            assert not desk.leaked(heard)
            assert heard.count(b"removed]") >= 10, heard
    finally:
        web.kill()
        await web.wait()
    desk.run("policy", "check")
    assert not desk.leaked(desk.files(without=desk.backup()))
    assert "nothing to change" in desk.run("wrap", ".mcp.json")
    desk.run("unwrap", ".mcp.json", "--write")
    assert desk.config.read_bytes() == desk.before
    assert not (desk.bundle / ".lictor" / "wrapped").exists() or not list(
        (desk.bundle / ".lictor" / "wrapped").iterdir()
    )


def test_an_edited_file_gets_its_secrets_back_too(tmp_path: Path):
    """Somebody added a server after wrapping: the edit stays, and every value is where it was."""
    desk = Desk(tmp_path, started=1, remote=1, each=2)
    desk.run("wrap", ".mcp.json", "--write")
    value = json.loads(desk.config.read_text())
    value["mcpServers"]["other"] = {"type": "stdio", "url": "x"}
    desk.config.write_text(json.dumps(value, indent=2))
    desk.run("unwrap", ".mcp.json", "--write")
    after = json.loads(desk.config.read_text())["mcpServers"]
    assert after.pop("other") == {"type": "stdio", "url": "x"}
    assert after == json.loads(desk.before)["mcpServers"]


def test_secrets_stay_where_a_person_wants_them(tmp_path: Path):
    """`--keep-secrets`: as before, and the bundle is not touched."""
    desk = Desk(tmp_path, started=1, remote=1, each=2)
    desk.run("wrap", ".mcp.json", "--write", "--keep-secrets")
    assert not (desk.bundle / "credentials.toml").exists()
    assert desk.leaked(desk.config.read_bytes()) == set(desk.canaries)


def test_checking_a_bundle_points_secrets_out(tmp_path: Path):
    """`policy check` warns of what stands in lictor.toml in the clear, by name; it is no error."""
    desk = Desk(tmp_path, started=1, remote=0, each=2)
    secret = desk.canary("clear")
    (desk.bundle / "lictor.toml").write_text(f'[servers.x]\ncommand = ["x", "--token", "{secret}"]\n', "utf-8")
    said = desk.run("policy", "check")
    assert "secret-in-settings" in said
    assert "--token" in said
    assert secret not in said


def test_a_bundle_that_would_not_load_stops_everything(tmp_path: Path):
    """Nothing is lifted, nothing written: the client's file and the bundle are as they were."""
    desk = Desk(tmp_path, started=1, remote=0, each=2)
    (desk.bundle / "policies" / "lifted.cedar").write_text("permit (principal, action, resource) when { nothing };\n")
    desk.run("wrap", ".mcp.json", "--write", code=3)
    assert desk.config.read_bytes() == desk.before
    assert not (desk.bundle / "credentials.toml").exists()


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("GITHUB_TOKEN", "ghp_0123456789abcdefghijklmnopqrstuvwxyz", True),
        ("DB_PASSWORD", "hunter22", True),
        ("OPENAI_API_KEY", "sk-abc", True),
        ("Authorization", "Bearer abcdefgh", True),
        ("ANYTHING", "AKIAIOSFODNN7EXAMPLE", True),
        ("DATABASE_URL", "postgres://me:hunter22@db/x", True),
        ("SOMETHING", "x8Zk2mQp9vLr4Tn7Wc1Yd5Hs", True),
        ("GITHUB_TOKEN_FILE", "/run/secrets/token", False),
        ("AUTH_URL", "https://login.example/", False),
        ("GITHUB_TOKEN", "${GITHUB_TOKEN}", False),
        ("PATH", "/usr/bin:/bin", False),
        ("LOG_LEVEL", "debug", False),
        ("NODE_ENV", "production", False),
        ("BASE_URL", "https://api.example/v1", False),
        ("TOKEN", "", False),
    ],
)
def test_what_looks_like_a_secret(name: str, value: str, secret: bool):
    """By name, by known beginnings, by password in a URL, by shape."""
    assert looks_secret(name, value) is secret
