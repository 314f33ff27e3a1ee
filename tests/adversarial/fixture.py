"""The fixture bundle: files of `bundle/`, with the definitions and pins that `lictor catalog pull` would draft from the servers.

Also: changes of a bundle that preconditions and steps ask for, compiled once for each content.
"""

import copy
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from adversarial.model import Unreadable
from lictor.model.ids import PolicyRevision
from lictor.pdp.decide import Pdp
from lictor.policy.bundle import Bundle
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.load import load_bundle

HERE = Path(__file__).parent
FOLDER = HERE / "bundle"
Definitions = dict[str, list[dict[str, Any]]]
"""Tools by server, as the server offers them."""

DRAFTED = 'pin = "drafted"'
_TOOL = re.compile(r"^\[tools\.(?:\"([^\"]+)\"|([\w-]+))\]$")


def upstream_definitions() -> Definitions:
    """A fresh copy of what the fixture's servers offer."""
    found: Definitions = json.loads((HERE / "upstreams.json").read_text("utf-8"))
    return found


@lru_cache(maxsize=1)
def defaults() -> dict[str, dict[str, Any]]:
    """Harmless arguments by tool: what a case leaves out is filled in, so that only what it says can be refused."""
    found: dict[str, dict[str, Any]] = json.loads((HERE / "defaults.json").read_text("utf-8"))
    return found


def complete(tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A case's arguments, and defaults for what it does not mention; another spelling of the amount stands for the amount."""
    kept = {name: value for name, value in defaults().get(tool, {}).items() if not _replaced(name, arguments)}
    return {**kept, **copy.deepcopy(dict(arguments))}


def _replaced(name: str, arguments: Mapping[str, Any]) -> bool:
    return name in arguments or any(given.startswith(f"{name}_") for given in arguments)


def drafted(text: str, server: str, definitions: Definitions) -> str:
    """A catalogue file with its pins filled in from the definitions."""
    by_name = {tool["name"]: tool for tool in definitions.get(server, [])}
    lines, current = [], ""
    for line in text.splitlines():
        found = _TOOL.match(line)
        current = (found[1] or found[2]) if found else current
        lines.append(f'pin = "{pin_of(by_name[current])}"' if line == DRAFTED else line)
    return "\n".join(lines) + "\n"


def fixture_files(definitions: Definitions | None = None) -> dict[str, bytes]:
    """The bundle's files, pins drafted from these definitions (by default the fixture's own)."""
    offered = definitions if definitions is not None else upstream_definitions()
    files: dict[str, bytes] = {}
    for path in sorted(FOLDER.rglob("*")):
        if not path.is_file():
            continue
        name = path.relative_to(FOLDER).as_posix()
        if path.parent.name == "catalog":
            server = path.stem
            files[name] = drafted(path.read_text("utf-8"), server, offered).encode()
            files[f"catalog/{server}.definitions.json"] = json.dumps({"tools": offered[server]}).encode()
        else:
            files[name] = path.read_bytes()
    return files


def with_tool(
    files: Mapping[str, bytes], server: str, definition: Mapping[str, Any], entry: str = 'effect = "read"'
) -> dict[str, bytes]:
    """The same bundle with one more tool in the catalogue, pinned as it is."""
    name = f"catalog/{server}.toml"
    kept = f"catalog/{server}.definitions.json"
    tools = json.loads(files[kept])["tools"] if kept in files else []
    tools = [tool for tool in tools if tool["name"] != definition["name"]]
    pinned = pin_of(dict(definition))
    text = files.get(name, b"").decode() + f'\n[tools."{definition["name"]}"]\n{entry}\npin = "{pinned}"\n'
    return {**files, name: text.encode(), kept: json.dumps({"tools": [*tools, definition]}).encode()}


def with_policy(files: Mapping[str, bytes], name: str, text: str) -> dict[str, bytes]:
    """The same bundle with one more policy file."""
    return {**files, f"policies/{name}.cedar": text.encode()}


def with_approver(files: Mapping[str, bytes], human: str, group: str) -> dict[str, bytes]:
    """The same bundle with one more approver."""
    text = files["approvers.toml"].decode() + f'\n[approvers."{human}"]\ngroups = ["{group}"]\n'
    return {**files, "approvers.toml": text.encode()}


_FORBID = re.compile(r"forbid (?P<server>[a-z]+)\.\*")


def policy_of(words: str) -> str:
    """Cedar for the few rules that a case states in words."""
    match = _FORBID.fullmatch(words)
    if match is None:
        raise Unreadable(f"no rule: {words[:120]!r}")
    return f'@id("case/forbid")\nforbid(principal, action, resource in Server::"{match["server"]}");\n'


_COMPILED: dict[PolicyRevision, Pdp] = {}


def bundle_of(files: Mapping[str, bytes]) -> Bundle:
    """The files as a bundle.

    Raises:
        BundleRefused: as `lictor serve` would refuse it.
    """
    return load_bundle(files, parse_guarded(files))


def compiled(bundle: Bundle) -> Pdp:
    """A bundle's Pdp, compiled once in this process; immutable, so cases may share it."""
    if bundle.revision not in _COMPILED:
        _COMPILED[bundle.revision] = compile_bundle(bundle)
    return _COMPILED[bundle.revision]


@lru_cache(maxsize=1)
def fixture_bundle() -> Bundle:
    """The fixture, loaded."""
    return bundle_of(fixture_files())
