"""The reference says what the code says: a code, setting, record, command, lint or dependency without its row fails here."""

import argparse
import ast
import importlib
import re
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from lictor.api.settings import OAuth, SignIn, Tls
from lictor.channels.settings import NotifySettings
from lictor.cli.main import COMMANDS
from lictor.cli.output import Exit
from lictor.config import (
    BrokerSettings,
    Listen,
    LogSettings,
    RetentionSettings,
    ServerSettings,
    Settings,
    ShadowSettings,
    WitnessSettings,
)
from lictor.identity.settings import IssuerSettings
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.model.record import Record
from lictor.records.verify import FindingKind
from lictor.sinks.settings import SinkSettings
from lictor.telemetry.settings import MetricsSettings, TelemetrySettings

ROOT = Path(__file__).parents[2]
SOURCES = {path: path.read_text("utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}


def page(name: str) -> str:
    """A page of the reference."""
    return (ROOT / "docs" / "reference" / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of its level or above."""
    level = heading.index(" ")
    lines = text.split("\n")
    start = lines.index(heading) + 1
    for end in range(start, len(lines)):
        found = re.match(r"#+(?= )", lines[end])
        if found and len(found[0]) <= level:
            return "\n".join(lines[start:end])
    return "\n".join(lines[start:])


def rows(text: str) -> list[list[str]]:
    """Cells of every table row whose first cell is code, without the back-ticks of that cell."""
    found = []
    for line in text.split("\n"):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and re.fullmatch(r"`[^`]+`", cells[0]):
            found.append([cells[0].strip("`"), *cells[1:]])
    return found


def differences(documented: Iterable[str], real: Iterable[str]) -> list[str]:
    """What is on one side only."""
    there, here = list(documented), set(real)
    twice = {f"twice: {name}" for name in there if there.count(name) > 1}
    return sorted(
        {f"not documented: {name}" for name in here.difference(there)}
        | {f"does not exist: {name}" for name in set(there) - here}
        | twice
    )


# -- reason codes ------------------------------------------------------------------------------------------------------


def test_every_reason_has_its_row() -> None:
    """Each reason code is described exactly once, and no other is."""
    assert differences((row[0] for row in rows(page("reason-codes.md"))), set(Reason)) == []


def test_reserved_reasons_are_those_nobody_produces() -> None:
    """A code is called reserved exactly when no code outside the model names it."""
    reserved = {row[0] for row in rows(page("reason-codes.md")) if row[1].startswith("reserved")}
    text = "\n".join(text for path, text in SOURCES.items() if path.name != "reasons.py")
    used = set(re.findall(r"\bReason\.([A-Z0-9_]+)\b", text))
    assert reserved == {reason.value for reason in Reason if reason.name not in used}


# -- settings ----------------------------------------------------------------------------------------------------------

STRUCTS = [
    ("## Top level", Settings),
    ("## `[listen]`", Listen),
    ("## `[broker]`", BrokerSettings),
    ("## `[retention]`", RetentionSettings),
    ("## `[shadow]`", ShadowSettings),
    ("## `[log]`", LogSettings),
    ("## `[witness.NAME]`", WitnessSettings),
    ("## `[servers.NAME]`", ServerSettings),
    ("## `[issuers.NAME]`", IssuerSettings),
    ("## `[listen.tls]`", Tls),
    ("## `[oauth]`", OAuth),
    ("## `[sign_in]`", SignIn),
    ("## `[notify.NAME]`", NotifySettings),
    ("## `[sinks.NAME]`", SinkSettings),
    ("## `[metrics]`", MetricsSettings),
    ("## `[telemetry]`", TelemetrySettings),
    ("## `[limits]`", Limits),
]


@pytest.mark.parametrize(("heading", "struct"), STRUCTS)
def test_every_setting_has_its_row(heading: str, struct: type[msgspec.Struct]) -> None:
    """Each setting is described once, in the section of its table."""
    assert differences((row[0] for row in rows(section(page("settings.md"), heading))), struct.__struct_fields__) == []


@pytest.mark.parametrize(("heading", "struct"), STRUCTS)
def test_documented_defaults_are_the_real_ones(heading: str, struct: type[msgspec.Struct]) -> None:
    """The default column says what the code says."""
    needed = {
        IssuerSettings: {"kind": "oidc", "url": ""},
        NotifySettings: {"kind": "slack", "secret": ""},
        SinkSettings: {"kind": "file"},
        WitnessSettings: {"key": ""},
    }
    empty = msgspec.convert(needed.get(struct, {}), struct)
    wrong = []
    for name, default, *_ in rows(section(page("settings.md"), heading)):
        value = getattr(empty, name)
        if isinstance(value, msgspec.Struct) or default == "required" or name in {"public_url", "servers", "issuers"}:
            continue
        value = list(value) if isinstance(value, tuple) else value
        said = tomllib.loads(f"x = {default.strip('`')}")["x"]
        if value != said or type(value) is not type(said):
            wrong.append(f"{name}: {value!r} is documented as {said!r}")
    assert wrong == []


def limits_read(source: str) -> set[str]:
    """Limits that a module reads from a value it was handed; a fresh `Limits()` is not the configured one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name, value=ast.Name(id=owner) | ast.Attribute(attr=owner)) if owner in {
                "limits",
                "_limits",
            }:
                found.add(name)
            case _:
                pass
    return found


def test_every_limit_is_read_by_some_code() -> None:
    """No limit can be configured to no effect."""
    read = set().union(*(limits_read(text) for text in SOURCES.values() if "limits." in text))
    assert set(Limits.__struct_fields__) - read == set()


def test_every_environment_variable_is_documented() -> None:
    """Each `LICTOR_…` variable that the code names has its row."""
    named = {name for text in SOURCES.values() for name in re.findall(r'"(LICTOR_[A-Z_]+)"', text)}
    documented = {row[0] for row in rows(section(page("settings.md"), "## Environment variables"))}
    assert named
    assert named <= documented


# -- records -----------------------------------------------------------------------------------------------------------


def test_every_record_has_its_row_with_its_members() -> None:
    """Each record tag is described once, with exactly its members in their order."""
    real = {
        str(kind.__struct_config__.tag): ", ".join(f"`{m}`" for m in kind.__struct_fields__)
        for kind in get_args(Record)
    }
    documented = {row[0]: row[2] for row in rows(section(page("records.md"), "## Kinds"))}
    assert differences(documented, real) == []
    assert documented == real


def test_every_finding_has_its_row() -> None:
    """Each kind of finding of `log verify` is described once."""
    assert differences((row[0] for row in rows(section(page("records.md"), "## The tree"))), set(FindingKind)) == []


# -- commands ----------------------------------------------------------------------------------------------------------


def command_sections(text: str) -> list[str]:
    """Commands that have a heading."""
    return re.findall(r"^## lictor (\S+)$", text, re.MULTILINE)


def test_every_command_has_its_heading() -> None:
    """Each command has one section, in the order of the help."""
    found = command_sections(page("cli.md"))
    assert differences(found, COMMANDS) == []
    assert found == list(COMMANDS)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """Every option and action of a command, without those that all have."""
    found: set[str] = set()
    for action in parser._actions:
        found.update(option for option in action.option_strings if action.help != argparse.SUPPRESS)
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                found |= {name} | options(sub)
    return found - {"-h", "--help", "--bundle", "--json"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_mentioned(command: str) -> None:
    """Each option and action of a command stands in its section."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"lictor.cli.{COMMANDS[command][0]}").add(command, parser)
    text = section(page("cli.md"), f"## lictor {command}")
    missing = [
        name for name in sorted(options(parser)) if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    ]
    assert missing == []


def test_every_exit_code_has_its_row() -> None:
    """The table of exit codes is the enumeration."""
    codes = re.findall(r"^\| (\d+) \|", section(page("cli.md"), "## Exit codes"), re.MULTILINE)
    assert differences(codes, {str(int(code)) for code in Exit}) == []


def test_every_http_status_is_documented() -> None:
    """Each status with which the HTTP door turns a request away stands in the table of errors."""
    folder = ROOT / "src" / "lictor" / "pep" / "mcp" / "downstream"
    used = {code for path in folder.glob("*.py") for code in re.findall(r"TurnedError\((\d+)", path.read_text("utf-8"))}
    first = re.findall(r"^\| ([\d, ]+) \|(.*)", section(page("errors.md"), "## What an agent sees"), re.MULTILINE)
    documented = {code for cells in first for code in re.findall(r"\b\d{3}\b", " ".join(cells))}
    assert {"401", "421"} <= used <= documented


# -- lint and dependencies -----------------------------------------------------------------------------------------------


def lint_ids(source: str) -> set[str]:
    """Rule ids a lint module can give: what is passed as `rule`, the first argument of `Fault`, and tables of these."""
    found: set[str] = set()

    def strings(node: ast.expr) -> None:
        match node:
            case ast.Constant(value=str(text)):
                found.add(text)
            case ast.IfExp(body=body, orelse=orelse):
                strings(body)
                strings(orelse)
            case ast.JoinedStr(values=[ast.Constant(value=str(head)), ast.FormattedValue()]):
                found.update(f"{head}{tail}" for tail in ("reason", "owner"))
            case ast.Tuple(elts=[first, *_]):
                strings(first)
            case _:
                pass

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="Fault"), args=[first, *_]):
                strings(first)
            case ast.keyword(arg="rule", value=value):
                strings(value)
            case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id="rule"), *_])], value=ast.IfExp() as value):
                strings(value)
            case ast.AnnAssign(target=ast.Name(id="_VOCABULARY"), value=ast.Dict(values=values)):
                for value in values:
                    strings(value)
            case _:
                pass
    return found


def test_every_lint_has_its_row() -> None:
    """Each lint id is described once, and no other is."""
    folder = ROOT / "src" / "lictor" / "policy"
    modules = ("lint.py", "lintrules.py", "lintplaces.py")
    real = set().union(*(lint_ids((folder / module).read_text("utf-8")) for module in modules))
    assert {"invalid", "open_permit", "always_true", "unknown_name", "mixed_script"} <= real
    assert differences((row[0] for row in rows(section(page("policy.md"), "## Lint"))), real) == []


def test_every_dependency_has_its_reason() -> None:
    """Each base dependency and each extra stands in the list."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    names = [re.split(r"[<>=;~! ]", line)[0] for line in project["dependencies"]]
    found = [row[0] for row in rows(page("dependencies.md"))]
    extras = [f"lictor[{name}]" for name in project["optional-dependencies"]]
    assert differences(found, [*names, *extras]) == []


# -- controls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "find",
    [
        lambda: (page("reason-codes.md"), lambda text: [row[0] for row in rows(text)]),
        lambda: (page("records.md"), lambda text: [row[0] for row in rows(text)]),
        lambda: (page("cli.md"), command_sections),
    ],
)
def test_a_missing_or_invented_row_is_found(find: Callable[[], tuple[str, Callable[[str], list[str]]]]) -> None:
    """Control: with one row taken out, doubled or invented, the same comparison fails."""
    text, read = find()
    real = read(text)
    lines = text.split("\n")
    for index in [index for index, line in enumerate(lines) if read(line)][:5]:
        without = "\n".join(lines[:index] + lines[index + 1 :])
        doubled = "\n".join([*lines[: index + 1], *lines[index:]])
        invented = "\n".join([*lines[:index], lines[index].replace(real[0], "invented"), *lines[index + 1 :]])
        assert differences(read(without), real)
        assert differences(read(doubled), real)
        assert index or differences(read(invented), real)
