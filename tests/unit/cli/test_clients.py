"""Finding, reading and replacing clients' configuration files, on a real file system."""

import os
import stat
from pathlib import Path

import pytest

from lictor.cli import clients
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason


def _touch(path: Path, data: bytes = b"{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("platform", "folder"),
    [("linux", ".config"), ("darwin", "Library/Application Support"), ("win32", "AppData/Roaming")],
)
def test_every_client_is_found_in_its_place(tmp_path, platform, folder):
    """Each file of each client is found, with its format and the keys under which servers stand."""
    home, cwd = tmp_path / "home", tmp_path / "project"
    expected = [
        ("claude-code", cwd / ".mcp.json", "json", (("mcpServers",),)),
        ("cursor", cwd / ".cursor/mcp.json", "jsonc", (("mcpServers",),)),
        ("vscode", cwd / ".vscode/mcp.json", "jsonc", (("servers",),)),
        ("codex", cwd / ".codex/config.toml", "toml", (("mcp_servers",),)),
        ("claude-code", home / ".claude.json", "json", (("mcpServers",), ("projects", "*", "mcpServers"))),
        ("cursor", home / ".cursor/mcp.json", "jsonc", (("mcpServers",),)),
        ("vscode", home / folder / "Code/User/mcp.json", "jsonc", (("servers",),)),
        ("codex", home / ".codex/config.toml", "toml", (("mcp_servers",),)),
        ("claude-desktop", home / folder / "Claude/claude_desktop_config.json", "json", (("mcpServers",),)),
    ]
    for _, path, _, _ in expected:
        _touch(path)
    found = clients.discover(home, cwd, platform)
    assert [(c.client, c.path, c.format, c.root_key_paths) for c in found] == expected


def test_describe_agrees_with_discover(tmp_path):
    """A file named by hand is understood exactly as when it is found."""
    for path in [
        ".mcp.json", ".cursor/mcp.json", ".vscode/mcp.json", ".codex/config.toml", ".claude.json",
        ".config/Code/User/mcp.json", ".config/Claude/claude_desktop_config.json",
    ]:  # fmt: skip
        _touch(tmp_path / path)
    found = clients.discover(tmp_path, tmp_path, "linux")
    assert len(found) == 7
    assert [clients.describe(config.path) for config in found] == found


def test_an_unknown_name_is_read_leniently(tmp_path):
    """A name nobody knows: JSON with comments, either root key."""
    config = clients.describe(tmp_path / "whatever.json")
    assert (config.client, config.format) == ("unknown", "jsonc")
    assert config.root_key_paths == (("mcpServers",), ("servers",))


def test_nothing_there_is_an_empty_list(tmp_path):
    """Missing folders, folders in place of files and dangling links are no configuration."""
    (tmp_path / ".mcp.json").mkdir()
    (tmp_path / ".cursor").write_text("a file")
    (tmp_path / ".vscode").mkdir()
    (tmp_path / ".vscode/mcp.json").symlink_to(tmp_path / "gone")
    assert clients.discover(tmp_path, tmp_path, "linux") == []


def test_a_circle_of_links_is_not_silently_missed(tmp_path):
    """When it cannot be told whether a configuration exists, that is said."""
    (tmp_path / ".mcp.json").symlink_to(tmp_path / ".mcp.json")
    with pytest.raises(OperatorError) as caught:
        clients.discover(tmp_path, tmp_path, "linux")
    assert caught.value.reason is Reason.CONFIG_REFUSED
    with pytest.raises(OperatorError):
        clients.resolve(tmp_path / ".mcp.json")


def test_read_refuses_what_is_no_small_regular_file(tmp_path):
    """Missing, folder, named pipe (which must not hang) and too large are each refused with the path."""
    os.mkfifo(tmp_path / "pipe")
    large = _touch(tmp_path / "large", b"x" * (clients.MAX_BYTES + 1))
    for path in (tmp_path / "gone", tmp_path, tmp_path / "pipe"):
        with pytest.raises(OperatorError) as caught:
            clients.read(path)
        assert (caught.value.reason, caught.value.where) == (Reason.CONFIG_REFUSED, str(path))
    with pytest.raises(OperatorError) as caught:
        clients.read(large)
    assert caught.value.reason is Reason.TOO_LARGE
    large.write_bytes(b"x" * clients.MAX_BYTES)
    assert len(clients.read(large)) == clients.MAX_BYTES


def test_text_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    """No guessing of encodings."""
    with pytest.raises(OperatorError) as caught:
        clients.decode(b"{\n\n\xff}", tmp_path / "f")
    assert (caught.value.reason, caught.value.where) == (Reason.NOT_UTF8, f"{tmp_path / 'f'}:3")


def test_create_is_private_and_never_overwrites_nor_follows(tmp_path):
    """A backup is 0600 and never goes where something stands already, a dangling link included."""
    clients.create(tmp_path / "a", b"1")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("a", "link"):
        with pytest.raises(FileExistsError):
            clients.create(tmp_path / name, b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o664])
def test_replace_keeps_the_mode_and_leaves_nothing_behind(tmp_path, mode):
    """The new file has the old one's mode; the temporary file is gone."""
    path = _touch(tmp_path / "f", b"old")
    path.chmod(mode)
    clients.replace(path, b"new", expected=b"old")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_replace_keeps_the_owner(tmp_path):
    """Run as root on a user's file, the file stays the user's."""
    path = _touch(tmp_path / "f", b"old")
    os.chown(path, 1234, 1235)
    clients.replace(path, b"new", expected=b"old")
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def test_replace_refuses_a_file_that_changed(tmp_path):
    """The last look is right before the replacement; the other writer's file stays and nothing is left behind."""
    path = _touch(tmp_path / "f", b"theirs")
    with pytest.raises(OperatorError) as caught:
        clients.replace(path, b"new", expected=b"old")
    assert caught.value.reason is Reason.CONFLICT
    assert path.read_bytes() == b"theirs"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_replace_in_a_missing_folder_is_refused(tmp_path):
    """System errors come out as ours, with the path."""
    with pytest.raises(OperatorError) as caught:
        clients.replace(tmp_path / "no" / "f", b"new", expected=None)
    assert caught.value.where == str(tmp_path / "no" / "f")
