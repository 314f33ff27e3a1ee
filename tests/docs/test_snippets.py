"""Snippets are not decoration: bundles load, policies hold what their tests say, commands parse, JSON is what the code writes.

A fenced `toml` block begins with `# bundle: PATH` (a whole file of a bundle: it is loaded by the real loader, over the starter
bundle and with the page's own policies) or `# excerpt: PATH` (a part of one).
"""

import contextlib
import io
import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import msgspec
import pytest

from lictor.cli.main import COMMANDS, _parser
from lictor.config import load_settings
from lictor.model.action import ActionKind
from lictor.model.approval import Hold
from lictor.model.errors import LictorError
from lictor.model.ids import ActionDigest, AgentId, HoldId, HumanId, RequestId, ServerName, TaskId
from lictor.model.reasons import Reason
from lictor.model.record import decode_entry, encode_entry
from lictor.pep.mcp.answers import refuse_tool
from lictor.pep.mcp.seam import Era
from lictor.policy.casefiles import read_suites
from lictor.policy.cases import run_suite
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle
from lictor.policy.lint import lint_bundle
from lictor.policy.starter import starter_files
from lictor.stores.bundle_folder import BundleFolder

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
KINDS = {"toml", "cedar", "json", "console", "python", "text", ""}
OTHER_COMMANDS = {"make", "mkdir", "pip"}
FETCH = {
    "name": "fetch",
    "description": "Fetch a page.",
    "inputSchema": {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]},
}
"""The definition behind the pin in the reference's catalogue example."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One fenced block."""

    page: Path
    line: int
    kind: str
    body: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path, kind: str | None = None) -> list[Snippet]:
    """The fenced blocks of a page, of one kind or all."""
    text = page.read_text("utf-8")
    found = []
    for match in FENCE.finditer(text):
        body = re.sub(rf"^{match['indent']}", "", match["body"], flags=re.MULTILINE)
        found.append(Snippet(page, text.count("\n", 0, match.start()) + 1, match["kind"], body))
    return [one for one in found if kind is None or one.kind == kind]


def having(kind: str) -> list[Path]:
    """Pages with a block of this kind."""
    return [page for page in PAGES if snippets(page, kind)]


def named(page: Path) -> str:
    """Test id."""
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_are_closed_and_of_a_known_kind(page: Path) -> None:
    """Every fence has its end and a kind that is checked here; none escapes by being misspelt."""
    found = snippets(page)
    assert len(re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE)) == 2 * len(found)
    assert [one.where for one in found if one.kind not in KINDS] == []


# -- bundles -----------------------------------------------------------------------------------------------------------


def bundle_files(page: Path, extra: str = "") -> dict[str, bytes]:
    """The starter bundle with what the page shows in its place."""
    files = starter_files("os:alice", date(2026, 11, 1))
    for one in snippets(page, "toml"):
        found = re.match(r"# (bundle|excerpt): (\S+)\n", one.body)
        assert found, f"{one.where}: begin with `# bundle: PATH` or `# excerpt: PATH`"
        tomllib.loads(one.body)
        if found[1] == "bundle":
            files[found[2]] = one.body.encode()
    policies = "\n".join(one.body for one in snippets(page, "cedar")) + extra
    if policies.strip():
        del files["policies/baseline.cedar"]
        files.pop("tests/baseline.toml")
        files["policies/page.cedar"] = policies.encode()
    if "catalog/web.toml" in files:
        files["catalog/web.definitions.json"] = json.dumps({"tools": [FETCH]}).encode()
    return files


def check_bundle(files: dict[str, bytes], folder: Path) -> list[str]:
    """What is wrong with a bundle: load, settings, compile, lint, its own tests."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    load_settings(files["lictor.toml"].decode())
    bundle = BundleFolder(folder).load()
    compile_bundle(bundle)
    faults = [str(finding) for finding in lint_bundle(bundle) if finding.severity == "error"]
    for suite in read_suites(files):
        faults += [f"{one.case.name}: {one.problem}" for one in run_suite(bundle, suite) if not one.passed]
    return faults


@pytest.mark.parametrize("page", sorted({*having("toml"), *having("cedar")}), ids=named)
def test_bundles_load_and_hold(page: Path, tmp_path: Path) -> None:
    """What a page shows of a bundle loads, compiles, has no lint error, and passes the tests it shows."""
    assert check_bundle(bundle_files(page), tmp_path) == []


def test_a_wrong_policy_and_a_wrong_key_are_found(tmp_path: Path) -> None:
    """Control: the same check fails on a policy that breaks the page's tests, and on an unknown key."""
    page = ROOT / "docs" / "how-to" / "write-policy.md"
    assert check_bundle(bundle_files(page), tmp_path / "right") == []
    lax = '@id("lax") @owner("o") @reason("r") permit (principal, action in [Action::"read"], resource);'
    assert check_bundle(bundle_files(page, lax), tmp_path / "lax")
    files = bundle_files(page)
    files["agents.toml"] += b"\nunheard_of = 1\n"
    with pytest.raises(LictorError):
        check_bundle(files, tmp_path / "key")


def test_the_pin_in_the_reference_is_a_real_one() -> None:
    """The catalogue example pins the definition that stands in this file."""
    assert f'pin = "{pin_of(FETCH)}"' in (ROOT / "docs" / "reference" / "bundle.md").read_text("utf-8")


# -- commands ------------------------------------------------------------------------------------------------------------


def command_lines(text: str) -> list[str]:
    """What a console block types."""
    return [line.removeprefix("$ ") for line in text.split("\n") if line.startswith("$ ")]


def complaint(line: str) -> str:
    """What the command line's own parser says of a line; empty when it takes it."""
    words = shlex.split(line, comments=True)
    if words[0] != "lictor":
        return "" if words[0] in OTHER_COMMANDS else f"{line}: not a command shown to work"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            # As `main` does it: what follows `--` is another program's command line.
            args = _parser(words[1]).parse_args(words[1 : words.index("--") if "--" in words else None])
    except SystemExit:
        return f"{line}: {said.getvalue().splitlines()[-1]}"
    return "" if callable(getattr(args, "run", None)) else f"{line}: names no action"


@pytest.mark.parametrize("page", having("console"), ids=named)
def test_commands_parse(page: Path) -> None:
    """Every line that a reader is told to type is one that the program takes."""
    lines = [line for one in snippets(page, "console") for line in command_lines(one.body)]
    assert lines
    assert [problem for line in lines if (problem := complaint(line))] == []


def test_make_targets_exist() -> None:
    """What is to be made can be made."""
    rules = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    lines = [line for page in PAGES for one in snippets(page, "console") for line in command_lines(one.body)]
    targets = {shlex.split(line, comments=True)[1] for line in lines if line.startswith("make ")}
    assert {"demo", "test"} <= targets <= rules


def test_a_wrong_command_is_found() -> None:
    """Control: an unknown option, a missing argument, an unknown command and a bare group are all complained about."""
    for line in ("lictor serve --fast", "lictor approve", "lictor conquer", "lictor log", "rm -rf x"):
        assert complaint(line)
    assert complaint("lictor log show -n 3") == ""


def test_every_command_is_shown_in_use() -> None:
    """The reference has an example of each command."""
    lines = [line for one in snippets(ROOT / "docs/reference/cli.md", "console") for line in command_lines(one.body)]
    shown = {shlex.split(line)[1] for line in lines}
    assert set(COMMANDS) - shown == set()


# -- JSON ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", having("json"), ids=named)
def test_json_parses(page: Path) -> None:
    """Every JSON block is JSON."""
    for one in snippets(page, "json"):
        assert isinstance(json.loads(one.body), dict), one.where


def test_the_refusal_is_what_the_gateway_says() -> None:
    """The example of a refusal is the gateway's own answer, and the README quotes its text."""
    hold = Hold(
        id=HoldId("hold_7Qx"),
        request=RequestId("req"),
        digest=ActionDigest("sha256:0"),
        task=TaskId("task"),
        agent=AgentId("assistant"),
        human=HumanId("os:alice"),
        kind=ActionKind.TOOL,
        server=ServerName("files"),
        name="write_file",
        groups=(("owner",),),
        opened_at_ms=0,
        expires_at_ms=1,
    )
    url = "http://localhost:8700/holds/hold_7Qx"
    answer = refuse_tool("tools/call 'write_file'", Reason.NEEDS_APPROVAL, Era.LEGACY, hold=hold, url=url)
    assert answer.result is not None
    real = json.loads(answer.result)
    assert json.loads(snippets(ROOT / "docs/reference/errors.md", "json")[0].body) == real
    quoted = " ".join(snippets(ROOT / "README.md", "text")[0].body.split())
    assert quoted == real["content"][0]["text"]


def test_the_log_entry_is_a_real_one() -> None:
    """The example of an entry decodes strictly, and encodes to the same."""
    shown = json.loads(snippets(ROOT / "docs/reference/records.md", "json")[0].body)
    entry = decode_entry(msgspec.json.encode(shown, order="sorted"))
    assert json.loads(encode_entry(entry.at, entry.record)) == shown
