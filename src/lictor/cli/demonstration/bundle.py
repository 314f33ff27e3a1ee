"""The demo's bundle: three servers' catalogues, pinned to what they really offer, and a policy of seven rules."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from lictor.cli.demonstration.stage import Pages
from lictor.policy.catalogue import pin_of

POLICY: Final = """\
@id("tasks-by-hand")
@owner("demo")
@reason("whoever runs the demo opens its task")
permit (principal, action == Action::"task:open", resource)
when { context.input.opener.kind == "operator" };

@id("reads-are-free")
@owner("demo")
@reason("reading inside the project is free")
permit (principal, action in Action::"read", resource);

@id("writes-need-a-person")
@owner("demo")
@reason("a person approves each write, exactly as it will happen")
permit (principal, action in Action::"write", resource)
when { context has approval && context.approval.groups.contains("owner") };

@id("nothing-is-destroyed")
@owner("demo")
@reason("agents destroy nothing, whoever asks")
forbid (principal, action in Action::"destructive", resource);

@id("known-hosts-only")
@owner("demo")
@reason("data goes only to hosts of the directory")
forbid (principal, action in Action::"communicates", resource)
when { context has destination && context.destination.external };

@id("no-sending-after-untrusted-text")
@owner("demo")
@reason("a task that has read untrusted text sends nothing outside the documentation host")
forbid (principal, action in Action::"communicates", resource)
when { context.labels.contains("untrusted:web") && !(context has destination && context.destination.directory.contains("docs")) };
"""

EFFECTS: Final[Mapping[str, Mapping[str, Sequence[str]]]] = {
    "files": {
        "read": ("read_text_file", "list_directory", "get_file_info", "search_files", "directory_tree"),
        "write": ("write_file", "edit_file", "create_directory"),
        "destructive": ("move_file",),
    },
    "git": {
        "read": ("git_status", "git_log", "git_diff_unstaged", "git_diff_staged", "git_show", "git_branch"),
        "write": ("git_add", "git_commit", "git_create_branch", "git_checkout"),
        "destructive": ("git_reset",),
    },
    "web": {"read": ("fetch",)},
}
"""What a person decided of each tool after looking at it. A tool not named here has no entry: denied."""

_EXTRA: Final = {
    ("web", "fetch"): 'tags = ["communicates"]\nlabels = ["untrusted:web"]\ndestination = { url = "/url" }\n',
}
_FILES: Final = {
    "write_file": 'action = "write", path = "/path", content = "/content"',
    "edit_file": 'action = "edit", path = "/path", edits = "/edits"',
    "create_directory": 'action = "directory", path = "/path"',
}
"""What becomes of a file, by tool: the person sees the difference, not only the arguments."""


def write_bundle(
    folder: Path,
    definitions: Mapping[str, Sequence[dict[str, Any]]],
    commands: Mapping[str, Sequence[str]],
    pages: Pages,
    port: int,
    human: str,
    today: Any,
) -> None:
    """Write the bundle folder.

    Args:
        definitions: what each server offers, as its own `tools/list` says.
        commands: how each is started; that of `files` ends with the project's folder.
        port: where the gateway will listen.
        human: the approver, e.g. `os:ada`.
        today: a date; the agent's review is due ninety days later.
    """
    project = commands["files"][-1]
    files = {
        "lictor.toml": _settings(commands, port),
        "agents.toml": _agents(today + timedelta(days=90)),
        "approvers.toml": f'four_eyes = false\n\n[approvers."{human}"]\ngroups = ["owner"]\n',
        "directory.toml": f'[hosts]\ndocs = ["127.0.0.1:{pages.handbook_port}"]\n',
        "policies/demo.cedar": POLICY,
    }
    for server, offered in definitions.items():
        known = {tool["name"]: tool for tool in offered}
        effects = {name: effect for effect, names in EFFECTS[server].items() for name in names if name in known}
        entries = (_entry(server, n, e, known[n], project) for n, e in sorted(effects.items()))
        files[f"catalog/{server}.toml"] = "\n".join(entries)
        pinned = {"tools": [known[name] for name in sorted(effects)]}
        files[f"catalog/{server}.definitions.json"] = json.dumps(pinned, indent=1, sort_keys=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def _entry(server: str, name: str, effect: str, definition: dict[str, Any], project: str) -> str:
    extra = _EXTRA.get((server, name), "")
    if server == "files" and name in _FILES:
        extra += f'path = {{ pointer = "/path", roots = {{ project = {json.dumps(project)} }}, resolve = "host" }}\n'
        extra += f'preview = {{ kind = "file", {_FILES[name]} }}\n'
    return f'[tools.{name}]\neffect = "{effect}"\npin = "{pin_of(definition)}"\n{extra}'


def _settings(commands: Mapping[str, Sequence[str]], port: int) -> str:
    servers = "".join(f"\n[servers.{name}]\ncommand = {json.dumps(list(cmd))}\n" for name, cmd in commands.items())
    return f"[listen]\nport = {port}\n{servers}"


def _agents(review_by: Any) -> str:
    return (
        'purposes = ["prepare-release"]\n\n[agents.assistant]\nowner = "demo"\nteam = "lantern"\nautonomy = 3\n'
        f"review_by = {review_by.isoformat()}\n"
    )
