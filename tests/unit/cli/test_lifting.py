"""Secrets that cannot be lifted out of a client's file are at least said, by name and never by value."""

import json
from pathlib import Path

import pytest

from lictor.cli import clients
from lictor.cli.lifting import in_the_clear, in_words
from lictor.cli.wrapping import Plan, plan
from lictor.config import load_settings

SECRET = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
LICTOR = "/usr/bin/lictor"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--token", SECRET], ["--token"]),
        ([f"--token={SECRET}"], ["--token"]),
        (["run", "-e", f"GITHUB_PERSONAL_ACCESS_TOKEN={SECRET}", "image"], ["GITHUB_PERSONAL_ACCESS_TOKEN"]),
        (["serve", SECRET], ["word 2"]),
        (["postgresql://me:hunter22@db/x"], ["word 1"]),
        (["--header", "Authorization: Bearer abcdefgh"], ["Authorization"]),
        (["--header", "Accept: text/html"], []),
        (["--token-file", "/run/secrets/token"], []),
        (["--token", "${TOKEN}"], []),
        (["--api-key", "--verbose"], []),
        (["-y", "@modelcontextprotocol/server-filesystem", "/srv/work"], []),
        (["-m", "mcp_server_time", "--local-timezone", "Europe/Rome"], []),
        ("no list", []),
    ],
)
def test_words_of_a_command_line(words: object, found: list[str]):
    """By option, by known shape, by password in a URL; a file that holds one is none."""
    assert in_words(words) == found


def planned(tmp_path: Path, name: str, text: str) -> Plan:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    state = tmp_path / "state"
    return plan(clients.describe(path), LICTOR, tmp_path / "bundle", state)


CODEX = f"""[mcp_servers.far]
url = "https://far.example/mcp"
http_headers = {{ Authorization = "Bearer {SECRET}", X-Team = "blue" }}

[mcp_servers.near]
command = "near"
args = ["--token", "{SECRET}"]
"""


def test_what_a_toml_file_keeps_is_said(tmp_path: Path):
    """Codex: a remote server's field and a secret among the words of a started one stay, and a person is told."""
    made = planned(tmp_path, ".codex/config.toml", CODEX)
    notes = {entry.name: entry.note for entry in made.entries}
    assert "in the clear: Authorization" in notes["far"]
    assert "in the clear: --token" in notes["near"]
    assert "X-Team" not in notes["far"]
    assert SECRET not in "".join(notes.values())
    assert not made.lifted


@pytest.mark.parametrize("key", ["httpUrl", "serverUrl"])
def test_what_a_json_file_of_another_form_keeps_is_said(tmp_path: Path, key: str):
    """A remote server whose address has another name is not moved."""
    entry = {key: "https://far.example/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}}
    made = planned(tmp_path, ".mcp.json", json.dumps({"mcpServers": {"far": entry}}))
    (one,) = made.entries
    assert (one.action, "in the clear: Authorization" in one.note, SECRET in one.note) == ("remote", True, False)
    assert not made.changed


def test_settings_with_secrets_are_pointed_out():
    """Variables, fields and words of configured servers; nothing where there is none."""
    settings = load_settings(f"""
[servers.a]
command = ["a", "--token={SECRET}"]
env = {{ API_KEY = "0123456789", MODE = "fast" }}
[servers.b]
url = "https://b.example/mcp"
headers = {{ Authorization = "Bearer {SECRET}" }}
[servers.c]
command = ["c", "--fast"]
""")
    assert in_the_clear(settings) == [("a", ["API_KEY", "--token"]), ("b", ["Authorization"])]
