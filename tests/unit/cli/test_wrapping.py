"""Wrapping and unwrapping clients' configuration files, on a real file system."""

import dataclasses
import difflib
import json
import stat
import tomllib
from pathlib import Path

import pytest

from lictor.cli import clients, jsonc, wrapping
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

LICTOR = "/opt/bin/lictor"

CLAUDE = """{
  "mcpServers": {
    "git": {
      "command": "uvx",
      "args": ["mcp-server-git", "--repository", "."],
      "env": {"TOKEN": "s\\u00e9cret"}
    },
    "docs": {"type": "http", "url": "https://example.com/mcp"}
  }
}
"""

CLAUDE_WRAPPED = """{
  "mcpServers": {
    "git": {
      "command": "/opt/bin/lictor",
      "args": ["run", "--server", "git", "--pass-env", "TOKEN", "--", "uvx", "mcp-server-git", "--repository", "."],
      "env": {"TOKEN": "s\\u00e9cret"}
    },
    "docs": {"type": "http", "url": "https://example.com/mcp"}
  }
}
"""

VSCODE = (
    "\ufeff// servers of this project\r\n"
    "{\r\n"
    '\t"inputs" : [ { "id": "key", "password": true, }, ],\r\n'
    '\t"servers":{ // here\r\n'
    '\t\t"Größe Files" : {\r\n'
    '\t\t\t"type":"stdio",\r\n'
    '\t\t\t"command"  :   "npx" , // the runner\r\n'
    '\t\t\t"args":[\r\n'
    '\t\t\t    "-y", /* yes */\r\n'
    '\t\t\t    "@modelcontextprotocol/server-filesystem",\r\n'
    '\t\t\t    "${workspaceFolder}/d\\u00e9j\\u00e0",\r\n'
    "\t\t\t],\r\n"
    '\t\t\t"dev": { "watch": "x" },\r\n'
    "\t\t},\r\n"
    '\t\t"bare": {"command": "server"},\r\n'
    "\t},\r\n"
    "}"
)

CODEX = """# my settings
model = "o5"   # the model

[mcp_servers.git]
command = 'C:\\Tools\\uvx.exe'   # a comment
args = [
    "mcp-server-git", # the server
    "--repository", ".",
]
env = { TOKEN = "x" }

[profiles.fast]
model = "m"

[mcp_servers.bare]
command = "server"

[mcp_servers.bare.env]
K = "v"

[mcp_servers.docs]
url = "https://example.com/mcp"
bearer_token_env_var = "T"
"""


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


def _plan(path: Path, *, lictor: str = LICTOR, bundle: Path | None = None) -> wrapping.Plan:
    return wrapping.plan(clients.describe(path), lictor, bundle)


def _listing(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def claude(tmp_path):
    return _write(tmp_path, ".mcp.json", CLAUDE)


# -- the rewrite ---------------------------------------------------------------------------------------------------------


def test_only_command_and_args_change(claude):
    """The exact text after wrapping; everything else of the file is as it was."""
    plan = _plan(claude)
    assert plan.before == CLAUDE
    assert plan.after == CLAUDE_WRAPPED
    assert [(e.name, e.action, e.server) for e in plan.entries] == [("git", "wrap", "git"), ("docs", "remote", "")]
    assert plan.entries[1].note == "not wrapped: remote; point it at `lictor serve`"
    assert claude.read_bytes() == CLAUDE.encode()


def test_vscode_keeps_comments_tabs_crlf_and_mark(tmp_path):
    """JSONC: each changed piece is known, all other bytes stay."""
    plan = _plan(_write(tmp_path, ".vscode/mcp.json", VSCODE))
    lead = "\r\n\t\t\t    "
    prefix = f",{lead}".join(['"run"', '"--server"', '"grosse-files"', '"--"', '"npx"'])
    expected = (
        VSCODE.replace('"command"  :   "npx"', f'"command"  :   "{LICTOR}"')
        .replace('"-y"', f'{prefix},{lead}"-y"')
        .replace('"command": "server"', f'"command": "{LICTOR}", "args": ["run", "--server", "bare", "--", "server"]')
    )
    assert plan.after == expected
    assert [e.note for e in plan.entries] == ["as grosse-files", ""]


def test_codex_keeps_comments_and_quotes(tmp_path):
    """TOML: comments, layout, quoting and order of tables stay."""
    plan = _plan(_write(tmp_path, ".codex/config.toml", CODEX))
    lead = "\n    "
    prefix = f",{lead}".join(
        ['"run"', '"--server"', '"git"', '"--pass-env"', '"TOKEN"', '"--"', "'C:\\Tools\\uvx.exe'"]
    )
    expected = (
        CODEX.replace("command = 'C:\\Tools\\uvx.exe'", f'command = "{LICTOR}"')
        .replace('"mcp-server-git"', f'{prefix},{lead}"mcp-server-git"')
        .replace(
            'command = "server"\n',
            f'command = "{LICTOR}"\nargs = ["run", "--server", "bare", "--pass-env", "K", "--", "server"]\n',
        )
    )
    assert plan.after == expected
    assert [(e.name, e.action) for e in plan.entries] == [("git", "wrap"), ("bare", "wrap"), ("docs", "remote")]


@pytest.mark.parametrize(
    "text",
    [
        '[mcp_servers]\na = {command="x", args=["1"]}\nb = { command = "y" }\n',
        'mcp_servers.a.command = "x"\nmcp_servers.a.args = [ ]\nmcp_servers.b.command = "y"\nfoo = 1\n',
        '[mcp_servers.a]\r\ncommand = "x"\r\n\r\n[z]\r\nq = nan\r\n',
        '[mcp_servers.a]\ncommand = "x"',
        '\ufeff[mcp_servers."a b"]\nargs = []\ncommand = """x"""\n',
        "[mcp_servers.a]\nargs = ['1', '''2''']\ncommand = 'x' # c\n[[other]]\n[[other]]\n",
    ],
)
def test_toml_shapes_change_only_command_and_args(tmp_path, text):
    """Inline tables, dotted keys, CRLF, no final newline, BOM: the values are right and line ends are not mixed."""
    path = _write(tmp_path, "config.toml", text)
    plan = _plan(path)
    after = tomllib.loads(plan.after.removeprefix("\ufeff"))
    for name, server in tomllib.loads(text.removeprefix("\ufeff"))["mcp_servers"].items():
        words = ["run", "--server", wrapping.server_name(name), "--", server["command"], *server.get("args", [])]
        assert after["mcp_servers"][name] == {"command": LICTOR, "args": words}
    assert plan.after.startswith("\ufeff") == text.startswith("\ufeff")
    if "\r\n" in text:
        assert plan.after.count("\n") == plan.after.count("\r\n")
    wrapping.apply(plan)
    assert _plan(path).after == plan.after
    assert wrapping.unwrap(path).how == "backup"
    assert path.read_bytes() == text.encode()


def test_all_scopes_of_the_claude_user_file(tmp_path):
    """User servers and those of every project are wrapped; history with lone surrogates and odd numbers passes."""
    text = json.dumps(
        {
            "history": ["\ud83d", 1e400, 10**40],
            "mcpServers": {"a": {"command": "x"}},
            "projects": {"/p": {"mcpServers": {"b": {"command": "y", "args": []}}}, "/q": {"mcpServers": {}}, "/r": {}},
        }
    ).replace("Infinity", "1e400")
    plan = _plan(_write(tmp_path, ".claude.json", text))
    assert [(e.where, e.server) for e in plan.entries] == [
        (("mcpServers", "a"), "a"),
        (("projects", "/p", "mcpServers", "b"), "b"),
    ]
    after = json.loads(plan.after)
    assert after["projects"]["/p"]["mcpServers"]["b"] == {
        "command": LICTOR,
        "args": ["run", "--server", "b", "--", "y"],
    }


def test_the_bundle_is_named_absolutely(claude, tmp_path, monkeypatch):
    """Clients start servers from anywhere, so a relative bundle folder is made absolute."""
    monkeypatch.chdir(tmp_path)
    args = json.loads(_plan(claude, bundle=Path("b")).after)["mcpServers"]["git"]["args"]
    assert args[:9] == [
        *["run", "--server", "git", "--bundle", str(tmp_path / "b")],
        "--pass-env",
        "TOKEN",
        "--",
        "uvx",
    ]


@pytest.mark.parametrize(
    ("entry", "action"),
    [
        ({"httpUrl": "https://x"}, "remote"),
        ({"serverUrl": "https://x"}, "remote"),
        ({"type": "sse"}, "remote"),
        ({"disabled": True}, "unknown"),
        ({"command": "lictor", "args": ["run", "--server", "q", "--", "x"]}, "already"),
        ({"command": "C:\\bin\\Lictor.EXE", "args": ["run"]}, "already"),
        ({"command": LICTOR, "args": ["run", "--task", "t"]}, "already"),
        ({"command": "lictor", "args": ["serve"]}, "wrap"),
        ({"command": "not-lictor", "args": ["run"]}, "wrap"),
        ({"command": "lictor"}, "wrap"),
    ],
)
def test_what_is_left_alone(tmp_path, entry, action):
    """Remote, unknown and wrapped entries stay as they are and are reported as such."""
    text = json.dumps({"mcpServers": {"n": entry}})
    plan = _plan(_write(tmp_path, ".mcp.json", text))
    assert plan.entries[0].action == action
    assert plan.changed == (action == "wrap")


def test_another_executable_of_that_name_is_pointed_out(tmp_path):
    """An entry wrapped with some other `lictor` is not touched, but a person is told which one it is."""
    text = json.dumps({"mcpServers": {"n": {"command": "/tmp/x/lictor", "args": ["run"]}}})
    assert "/tmp/x/lictor" in _plan(_write(tmp_path, ".mcp.json", text)).entries[0].note


@pytest.mark.parametrize("text", ["{}", '{"mcpServers": {}}', '{"servers": {"a": {"command": "x"}}}'])
def test_no_servers_is_no_change(tmp_path, text):
    """Only the client's own key counts."""
    plan = _plan(_write(tmp_path, ".mcp.json", text))
    assert plan.entries == ()
    assert not plan.changed
    assert wrapping.apply(plan).backup is None
    assert _listing(tmp_path) == [".mcp.json"]


# -- names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("git", "git"),
        ("My Git_Server", "my-git-server"),
        ("@scope/pkg.name", "scope-pkg-name"),
        ("Größe É", "grosse-e"),
        ("--x--", "x"),
        ("9", "9"),
        ("a" * 31 + "-" + "b" * 9, "a" * 31),
        ("ＧＩＴ", "git"),
    ],
)
def test_server_names(name, expected):
    """Names become lower case with `-`, at most 32 characters."""
    assert wrapping.server_name(name) == expected


@pytest.mark.parametrize("name", ["", "---", "データ", "\u202e", "../.."])
def test_names_without_letters_are_refused(name, tmp_path):
    """A name that leaves nothing is refused, with the line of the entry."""
    with pytest.raises(OperatorError):
        wrapping.server_name(name)
    path = _write(tmp_path, ".mcp.json", json.dumps({"mcpServers": {name: {"command": "x"}}}, indent=1))
    with pytest.raises(OperatorError) as caught:
        _plan(path)
    assert caught.value.where == f"{path}:3"
    assert caught.value.remedy


@pytest.mark.parametrize(
    "servers",
    [
        {"a b": {"command": "x"}, "a_b": {"command": "y"}},
        {"a_b": {"command": "y"}, "A.B": {"command": "lictor", "args": ["run", "--server", "a-b", "--", "x"]}},
        {"x" * 40: {"command": "x"}, "x" * 41: {"command": "y"}},
    ],
)
def test_colliding_names_are_refused(tmp_path, servers):
    """Two servers never share a name: policy for one would govern the other."""
    path = _write(tmp_path, ".mcp.json", json.dumps({"mcpServers": servers}))
    with pytest.raises(OperatorError) as caught:
        _plan(path)
    assert "both be the server" in caught.value.message
    assert _listing(tmp_path) == [".mcp.json"]


def test_one_name_in_two_scopes_is_one_server(tmp_path):
    """A project's server of the same name is the client's own way to override; it stays one name."""
    server = {"s": {"command": "x"}}
    text = json.dumps({"mcpServers": server, "projects": {"/p": {"mcpServers": server}}})
    assert [e.server for e in _plan(_write(tmp_path, ".claude.json", text)).entries] == ["s", "s"]


# -- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "reason", "line"),
    [
        (".mcp.json", "{\n  nope\n}", Reason.INVALID_JSON, ":2"),
        (".mcp.json", '{\n "mcpServers": {"a": {},\n "a": {}}}', Reason.DUPLICATE_KEY, ":3"),
        (".mcp.json", "// c\n{}", Reason.INVALID_JSON, ":1"),
        (".mcp.json", "[]", Reason.CONFIG_REFUSED, ":1"),
        (".mcp.json", '{\n"mcpServers": []}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{\n"mcpServers": {\n"a": 1}}', Reason.CONFIG_REFUSED, ":3"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": 1}}}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": ""}}}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": "x", "args": "y"}}}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": "x", "args": null}}}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": "x", "args": ["y", 1]}}}', Reason.CONFIG_REFUSED, ":2"),
        (".mcp.json", '{"mcpServers": {\n"a": {"command": "x", "url": "y"}}}', Reason.CONFIG_REFUSED, ":2"),
        (".claude.json", '{"projects": 1}', Reason.CONFIG_REFUSED, ":1"),
        ("config.toml", "a = 1\nb =\n", Reason.CONFIG_REFUSED, ":2"),
        ("config.toml", "[a]\nx = 1\n[a]\n", Reason.CONFIG_REFUSED, ":3"),
        ("config.toml", "mcp_servers = 1\n", Reason.CONFIG_REFUSED, ": [mcp_servers]"),
        ("config.toml", "[mcp_servers.a]\ncommand = 1\n", Reason.CONFIG_REFUSED, ": [mcp_servers.a]"),
        ("config.toml", "a = " + "[" * 5000, Reason.TOO_DEEP, ""),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(tmp_path, name, text, reason, line):
    """Nothing is written for a file that is not fully understood; the error says where."""
    path = _write(tmp_path, name, text)
    for attempt in (lambda: _plan(path), lambda: wrapping.unwrap(path)):
        with pytest.raises(OperatorError) as caught:
            attempt()
        assert (caught.value.reason, caught.value.where) == (reason, f"{path}{line}")
        assert "\n" not in str(caught.value)
    assert _listing(tmp_path) == [name]
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize("lictor", ["", "lictor\n", "${HOME}/lictor", "\udcff"])
def test_an_executable_no_client_would_pass_on_is_refused(claude, lictor):
    """Clients replace `${…}`; control characters and undecodable bytes cannot be written."""
    with pytest.raises(OperatorError):
        _plan(claude, lictor=lictor)
    with pytest.raises(OperatorError):
        _plan(claude, bundle=Path("/b" + (lictor or "\n")))


# -- the diff ------------------------------------------------------------------------------------------------------------


def test_diff_shows_what_changes(claude):
    """A unified diff with the path; nothing for no change."""
    text = wrapping.diff(_plan(claude))
    assert text.startswith(f"--- {claude}\n+++ {claude} (wrap)\n@@ ")
    assert '-      "command": "uvx",\n' in text
    assert f'+      "command": "{LICTOR}",\n' in text
    claude.write_text("{}")
    assert wrapping.diff(_plan(claude)) == ""


@pytest.mark.parametrize(("name", "text"), [(".mcp.json", CLAUDE), (".vscode/mcp.json", VSCODE), ("c.toml", CODEX)])
def test_diff_is_the_one_everybody_knows(tmp_path, name, text):
    """Line for line what the standard library prints for the same texts."""
    plan = _plan(_write(tmp_path, name, text.removeprefix("\ufeff")))
    before, after = (side.replace("\r", "").split("\n") for side in (plan.before, plan.after))
    expected = list(difflib.unified_diff(before, after, str(plan.path), f"{plan.path} (wrap)", lineterm=""))
    assert wrapping.diff(plan).splitlines() == expected


def test_diff_is_quick_and_truthful_where_lines_repeat(tmp_path):
    """Hundreds of equal-looking projects: every wrapped entry is shown, once, and nothing else."""
    project = {"history": ["same"] * 50, "mcpServers": {"g": {"command": "x", "args": ["1"]}}}
    text = json.dumps({"projects": {f"/p{i}": project for i in range(300)}}, indent=1)
    plan = _plan(_write(tmp_path, ".claude.json", text))
    lines = wrapping.diff(plan).splitlines()[2:]
    removed = [line for line in lines if line.startswith("-")]
    assert [line.split() for line in removed] == [["-", '"command":', '"x",']] * 300
    assert sum(line.startswith("+") for line in lines) == 300 * 6
    assert sum(line.startswith("@@") for line in lines) == 300


def test_diff_of_texts_with_nothing_in_common_shows_both(claude):
    """When the texts do not run together again, the rest of both is shown, never cut short."""
    old, new = [f"a{i}" for i in range(300)], [f"b{i}" for i in range(200)]
    plan = dataclasses.replace(_plan(claude), before="\n".join(old), after="\n".join(new))
    assert wrapping.diff(plan).splitlines()[2:] == [
        "@@ -1,300 +1,200 @@",
        *(f"-{line}" for line in old),
        *(f"+{line}" for line in new),
    ]


def test_diff_cannot_redraw_the_terminal(tmp_path):
    """Escape sequences and direction marks in comments are shown, not obeyed."""
    text = '{ // \x1b[2K\u202e\x85\u2028\n"servers": {"a": {"command": "x"}}}\r\n'
    shown = wrapping.diff(_plan(_write(tmp_path, ".vscode/mcp.json", text)))
    assert "\\u001b[2K\\u202e\\u0085\\u2028" in shown
    assert all(char in "\n\t" or char.isprintable() for char in shown)


# -- writing -------------------------------------------------------------------------------------------------------------


def test_apply_keeps_a_private_backup_and_the_mode(claude):
    """The file is written with its mode kept; the backup is the old file, readable by its owner alone."""
    claude.chmod(0o640)
    done = wrapping.apply(_plan(claude))
    assert claude.read_bytes() == CLAUDE_WRAPPED.encode()
    assert stat.S_IMODE(claude.stat().st_mode) == 0o640
    assert done.backup == claude.with_name(".mcp.json.lictor.bak")
    assert done.backup.read_bytes() == CLAUDE.encode()
    assert stat.S_IMODE(done.backup.stat().st_mode) == 0o600
    assert _listing(claude.parent) == [".mcp.json", ".mcp.json.lictor.bak", ".mcp.json.lictor.json"]


def test_wrapping_twice_changes_nothing(claude):
    """Idempotent: the second plan is empty and writes nothing."""
    wrapping.apply(_plan(claude))
    again = _plan(claude)
    assert not again.changed
    assert [e.action for e in again.entries] == ["already", "remote"]
    assert wrapping.apply(again).backup is None
    assert claude.read_bytes() == CLAUDE_WRAPPED.encode()


def test_apply_refuses_a_file_that_changed_since_the_plan(claude):
    """What was shown is what is written, or nothing is."""
    plan = _plan(claude)
    claude.write_text(CLAUDE + " ")
    with pytest.raises(OperatorError) as caught:
        wrapping.apply(plan)
    assert caught.value.reason is Reason.CONFLICT
    assert claude.read_text() == CLAUDE + " "
    assert _listing(claude.parent) == [".mcp.json"]


def test_a_change_at_the_last_moment_leaves_nothing_of_ours(claude, monkeypatch):
    """The file changing between backup and replacement: theirs stays, backup and note go."""
    plan = _plan(claude)
    create = clients.create

    def create_then_edit(path, data):
        create(path, data)
        claude.write_text("{}")

    monkeypatch.setattr(clients, "create", create_then_edit)
    with pytest.raises(OperatorError) as caught:
        wrapping.apply(plan)
    assert caught.value.reason is Reason.CONFLICT
    assert claude.read_text() == "{}"
    assert _listing(claude.parent) == [".mcp.json"]


def test_apply_never_overwrites_a_different_backup(claude):
    """An older backup is somebody's only copy: refused, with what to do."""
    backup = _write(claude.parent, ".mcp.json.lictor.bak", "old")
    with pytest.raises(OperatorError) as caught:
        wrapping.apply(_plan(claude))
    assert caught.value.reason is Reason.CONFLICT
    assert "lictor unwrap" in caught.value.remedy
    assert backup.read_text() == "old"
    assert claude.read_bytes() == CLAUDE.encode()


def test_an_equal_backup_is_used(claude):
    """What a crash after the backup leaves behind does not stand in the way."""
    _write(claude.parent, ".mcp.json.lictor.bak", CLAUDE)
    wrapping.apply(_plan(claude))
    assert wrapping.unwrap(claude).how == "backup"
    assert claude.read_bytes() == CLAUDE.encode()


@pytest.mark.parametrize("suffix", [".lictor.bak", ".lictor.json"])
def test_links_in_place_of_our_files_are_not_followed(claude, suffix):
    """A repository must not make us write through a link it ships."""
    victim = _write(claude.parent, "victim", CLAUDE)
    claude.with_name(claude.name + suffix).symlink_to(victim)
    with pytest.raises(OperatorError):
        wrapping.apply(_plan(claude))
    assert victim.read_text() == CLAUDE
    assert claude.read_bytes() == CLAUDE.encode()


def test_a_foreign_file_with_the_name_of_our_note_stays(claude):
    """Not ours, not overwritten; and no backup is made for nothing."""
    note = _write(claude.parent, ".mcp.json.lictor.json", '{"mine": 1}')
    with pytest.raises(OperatorError):
        wrapping.apply(_plan(claude))
    assert note.read_text() == '{"mine": 1}'
    assert _listing(claude.parent) == [".mcp.json", ".mcp.json.lictor.json"]


def test_a_linked_configuration_is_edited_behind_the_link(tmp_path):
    """The link stays a link, the target is edited, backup beside the target, and it is said."""
    target = _write(tmp_path, "dotfiles/claude.json", CLAUDE)
    link = tmp_path / ".mcp.json"
    link.symlink_to(target)
    plan = _plan(link)
    assert any("symbolic link" in note and str(target) in note for note in plan.notes)
    done = wrapping.apply(plan)
    assert link.is_symlink()
    assert target.read_bytes() == CLAUDE_WRAPPED.encode()
    assert done.backup == target.with_name("claude.json.lictor.bak")
    assert wrapping.unwrap(link).notes == plan.notes
    assert target.read_bytes() == CLAUDE.encode()


def test_a_link_that_moved_since_the_plan_is_refused(tmp_path):
    """The plan was for another file."""
    link = tmp_path / ".mcp.json"
    link.symlink_to(_write(tmp_path, "a", CLAUDE))
    plan = _plan(link)
    link.unlink()
    link.symlink_to(_write(tmp_path, "b", CLAUDE))
    with pytest.raises(OperatorError) as caught:
        wrapping.apply(plan)
    assert caught.value.reason is Reason.CONFLICT
    assert (tmp_path / "b").read_text() == CLAUDE


# -- unwrapping ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [(".mcp.json", CLAUDE), (".vscode/mcp.json", VSCODE), (".codex/config.toml", CODEX), (".cursor/mcp.json", CLAUDE)],
)
def test_unwrap_restores_byte_for_byte_and_clears_up(tmp_path, name, text):
    """The backup comes back exactly; backup and note are gone; a second unwrap does nothing."""
    path = _write(tmp_path, name, text)
    wrapping.apply(_plan(path))
    done = wrapping.unwrap(path)
    assert (done.how, done.notes) == ("backup", ())
    assert {entry.action for entry in done.entries} == {"unwrap"}
    assert path.read_bytes() == text.encode()
    assert _listing(path.parent) == [path.name]
    again = wrapping.unwrap(path)
    assert not again.changed
    assert again.entries == ()


@pytest.mark.parametrize(("name", "text"), [(".mcp.json", CLAUDE), (".vscode/mcp.json", VSCODE), ("c.toml", CODEX)])
def test_unwrap_after_an_edit_keeps_the_edit(tmp_path, name, text):
    """The user's edit stays, the entries come back, and it is said that the backup was not used."""
    edit = "\n# mine\n" if name.endswith("toml") else "\n \n"
    path = _write(tmp_path, name, text)
    wrapping.apply(_plan(path))
    path.write_bytes(path.read_bytes() + edit.encode())
    done = wrapping.unwrap(path)
    assert done.how == "entries"
    assert any("edited after wrapping" in note for note in done.notes)
    for bare in ('"command": "server"', 'command = "server"\n'):
        empty = f"{bare}args = []\n" if bare.endswith("\n") else f'{bare}, "args": []'
        text = text.replace(bare, empty)  # whether args were missing or empty is not known any more
    assert path.read_bytes() == (text + edit).encode()
    assert _listing(path.parent) == [path.name]


def test_unwrap_without_our_files_rewrites_the_entries(tmp_path):
    """A wrapped file copied to another machine can be unwrapped."""
    path = _write(tmp_path, ".mcp.json", CLAUDE_WRAPPED)
    done = wrapping.unwrap(path)
    assert done.how == "entries"
    assert any("no backup" in note for note in done.notes)
    assert path.read_bytes() == CLAUDE.encode()


def test_unwrap_knows_the_executable_it_wrote(tmp_path):
    """Wrapped with an executable of another name, the note tells which."""
    path = _write(tmp_path, ".mcp.json", CLAUDE)
    wrapping.apply(_plan(path, lictor="/x/my-gate", bundle=tmp_path))
    path.write_text(path.read_text() + "\n")
    assert [entry.action for entry in wrapping.unwrap(path).entries] == ["unwrap"]
    assert path.read_text() == CLAUDE + "\n"


@pytest.mark.parametrize("damage", ["backup", "note", "no-note"])
def test_a_backup_that_is_not_the_one_wrap_made_is_not_used(claude, damage):
    """Bytes that cannot be traced to `apply` are never restored, and never deleted."""
    done = wrapping.apply(_plan(claude))
    assert done.backup is not None
    note = claude.with_name(".mcp.json.lictor.json")
    if damage == "backup":
        done.backup.write_text(CLAUDE.replace("uvx", "evil"))
    elif damage == "note":
        note.write_text("{")
    else:
        note.unlink()
    result = wrapping.unwrap(claude)
    assert result.how == "entries"
    assert any("stays where it is" in text for text in result.notes)
    assert claude.read_bytes() == CLAUDE.encode()
    assert done.backup.exists()


def test_entries_in_another_form_are_kept_and_named(tmp_path):
    """An entry written by hand as `lictor run …` without a command behind it is not guessed at."""
    servers = {
        "a": {"command": "lictor", "args": ["run", "--server", "a"]},
        "b": {"command": "lictor", "args": ["run", "--server", "b", "--"]},
        "c": {"command": "lictor", "args": ["run", "--server", "c", "--verbose", "x", "--", "y"]},
        "d": {"command": "lictor", "args": ["run", "--server", "d", "--bundle", "--", "--", "y", "--", "z"]},
        "e": {"url": "https://x"},
    }
    path = _write(tmp_path, ".mcp.json", json.dumps({"mcpServers": servers}))
    done = wrapping.unwrap(path)
    assert [(e.name, e.action) for e in done.entries] == [("a", "kept"), ("b", "kept"), ("c", "kept"), ("d", "unwrap")]
    after = json.loads(path.read_text())["mcpServers"]
    assert after == servers | {"d": {"command": "y", "args": ["--", "z"]}}


def test_a_crash_before_the_replacement_is_cleared_up(claude):
    """Backup and note complete, file not yet replaced: unwrap finds the original and removes the leftovers."""
    plan = _plan(claude)
    wrapping.apply(plan)
    claude.write_bytes(CLAUDE.encode())
    done = wrapping.unwrap(claude)
    assert not done.changed
    assert claude.read_bytes() == CLAUDE.encode()
    assert _listing(claude.parent) == [".mcp.json"]


def test_a_trailing_comma_added_by_hand_does_not_break_unwrap(tmp_path):
    """`["run", …, "cmd",]` comes back as an empty list, not as a lone comma."""
    path = _write(tmp_path, ".vscode/mcp.json", '{"servers": {"a": {"command": "x", "args": []}}}')
    wrapping.apply(_plan(path))
    path.write_text(path.read_text().replace('"x"]', '"x",]'))
    wrapping.unwrap(path)
    assert path.read_text() == '{"servers": {"a": {"command": "x", "args": []}}}'


def test_a_plan_to_unwrap_is_not_applied_as_a_wrap(tmp_path):
    """`apply` takes plans of `plan` alone: a restored file must not get a backup of its wrapped form."""
    path = _write(tmp_path, ".mcp.json", CLAUDE_WRAPPED)
    with pytest.raises(OperatorError):
        wrapping.apply(wrapping.plan_unwrap(path))
    assert path.read_text() == CLAUDE_WRAPPED


def test_an_editor_that_changes_something_else_is_caught(tmp_path, monkeypatch):
    """Control: the comparison of what was built with what was meant stops a defective edit."""
    path = _write(tmp_path, ".mcp.json", CLAUDE)
    apply_edits = jsonc.apply_edits
    monkeypatch.setattr(jsonc, "apply_edits", lambda *args: apply_edits(*args).replace("TOKEN", "TOKEN2"))
    with pytest.raises(OperatorError) as caught:
        _plan(path)
    assert "more than command and args" in caught.value.message


def test_large_files_are_refused(tmp_path):
    """A limit with a name; nothing is written."""
    path = _write(tmp_path, ".mcp.json", '{"a": "' + "x" * clients.MAX_BYTES + '"}')
    with pytest.raises(OperatorError) as caught:
        _plan(path)
    assert caught.value.reason is Reason.TOO_LARGE
