"""Selectors at work: what they find is in the context, of the type that policies are validated against; what they refuse is a Deny."""

import json
from dataclasses import dataclass

import pytest

from bundles import bundle, request, snapshot
from lictor.model.action import ActionKind
from lictor.model.decision import Allow, Deny
from lictor.model.reasons import Reason
from lictor.pdp.decide import decide, facts_of
from lictor.policy.catalogue import pin_of
from lictor.policy.compile import compile_bundle

DEFINITION = {"name": "t", "inputSchema": {"type": "object", "properties": {}, "additionalProperties": True}}
NAMES = ("u", "to", "p", "q", "c", "r", "b", "v", "h", "a")
DEFINITION["inputSchema"]["properties"] = dict.fromkeys(NAMES, True)  # type: ignore[index]


def house(selectors, policy):
    """A Pdp with one tool that has these selectors, and one policy."""
    entry = f'[tools.t]\neffect = "write"\npin = "{pin_of(DEFINITION)}"\n{selectors}\n'
    directory = (
        '[hosts]\ndocs = ["docs.example"]\n[emails]\nteam = ["ann@corp.example"]\n[domains]\nteam = ["corp.example"]\n'
        '[accounts]\nours = ["DE89370400440532013000"]\n[repositories]\nours = ["github.com/acme/*"]\n'
    )
    return compile_bundle(
        bundle(
            policy,
            **{
                "catalog/fs.toml": entry,
                "catalog/fs.definitions.json": json.dumps({"tools": [DEFINITION]}),
                "directory.toml": directory,
            },
        )
    )


def answer(selectors, condition, arguments, **facts):
    """What the one policy says of one call."""
    pdp = house(
        selectors, f'@id("one")\npermit (principal, action == Action::"fs/t", resource) when {{ {condition} }};'
    )
    asked = request("t", arguments)
    return decide(pdp, asked, snapshot(pdp, asked, **facts))


@dataclass(frozen=True)
class Row:
    """A selector, a condition over everything it gives, and arguments with which it holds."""

    selector: str
    condition: str
    arguments: dict


ROWS = (
    Row(
        'destination = { url = ["/u", "/h/*"] }',
        'context.destination.kind == "url" && context.destination.hosts.contains("docs.example") && !context.destination.external '
        '&& !context.destination.private && !context.destination.ip && !context.destination.idn && !context.destination.mixed_script '
        '&& context.destination.count == 2 && context.destination.domains == ["docs.example"] && context.destination.port == 443 '
        '&& context.destination.domain == "docs.example" && context.destination.directory.contains("docs")',
        {"u": "https://docs.example/x", "h": ["https://docs.example"]},
    ),
    Row(
        'destination = { email = "/to", separator = "," }',
        'context.destination.addresses == ["ann@corp.example", "bob@corp.example"] && context.destination.address == "" '
        '&& context.destination.directory == ["team"] && context.destination.host == "corp.example"',
        {"to": "Ann@corp.example, bob@CORP.example"},
    ),
    Row('destination = { host = "/h" }', 'context.destination.host == "10.0.0.1" && context.destination.private', {"h": "10.0.0.1"}),
    Row('destination = { account = "/a" }', 'context.destination.directory == ["ours"]', {"a": "DE89 3704 0044 0532 0130 00"}),
    Row(
        'destination = { git = "/r", ref = "/b" }',
        'context has git && context.git.repository == "acme/app" && context.git.ref == "main" && context.git.force && !context.git.delete '
        '&& context.git.refs.contains("main") && context.git.host == "github.com" && !context.destination.external',
        {"r": "git@github.com:acme/app", "b": "+HEAD:main"},
    ),
    Row(
        'path = { pointer = "/p", roots = { ws = "/srv/ws" } }',
        'context.path.root == "ws" && context.path.inside && context.path.relative like "src/*" && context.path.extension == "py" '
        '&& context.path.count == 1 && !context.path.hidden && !context.path.names.contains(".env") && context.path.roots == ["ws"] '
        '&& context.path.segments.contains("src") && context.path.extensions.contains("py") && context.path.name == "x.py"',
        {"p": "/srv/ws/src/x.py"},
    ),
    Row(
        'sql = { text = "/q", dialect = "postgres" }',
        'context.sql.read_only && context.sql.tables.contains("t") && context.sql.statements == 1',
        {"q": "select a from t"},
    ),
    Row('command = { text = "/c" }', 'context.command.understood && ["git status"].containsAll(context.command.subcommands)', {"c": "git status"}),
    Row('command = { argv = "/c" }', "context.command.understood && context.command.commands == 1", {"c": ["git", "status"]}),
    Row('value = { amount = "/v", currency = "EUR", currencies = ["EUR"], unit = "number" }', "context.value.amount == 1250", {"v": 12.5}),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.selector)
def test_facts_reach_policy(row):
    """Every member has its declared type: the condition validates, evaluates without error, and holds."""
    member = row.condition.partition(".")[2].partition(".")[0] if "has git" not in row.condition else "destination"
    found = answer(row.selector, f"context has {member} && {row.condition}", row.arguments)
    assert isinstance(found, Allow), found


def test_several_selectors_at_once():
    """All of them speak; the first that is refused refuses."""
    selectors = """
        destination = { url = "/u" }
        path = { pointer = "/p", roots = { ws = "/srv/ws" } }
        value = { amount = "/v", currency = "EUR", currencies = ["EUR"] }
        sql = { text = "/q", dialect = "sqlite" }
        command = { text = "/c" }
    """
    condition = (
        "context has destination && context has path && context has value && context has sql && context has command"
    )
    good = {"u": "https://x.example", "p": "/srv/ws/a", "v": "1", "q": "select 1", "c": "ls"}
    assert isinstance(answer(selectors, condition, good), Allow)
    for name, bad, reason in (
        ("u", "x", Reason.UNKNOWN_DESTINATION),
        ("p", "/etc/passwd", Reason.UNKNOWN_PATH),
        ("v", "NaN", Reason.UNKNOWN_VALUE),
        ("q", "select '", Reason.UNKNOWN_QUERY),
        ("c", "ls $(id)", Reason.UNKNOWN_COMMAND),
    ):
        for changed in ({**good, name: bad}, {key: value for key, value in good.items() if key != name}):
            found = answer(selectors, condition, changed)
            assert isinstance(found, Deny)
            assert found.reason is reason, (name, found)


def test_a_command_that_is_not_understood_can_be_a_fact():
    """Where the entry says so."""
    selector = 'command = { text = "/c", unclear = "fact" }'
    assert isinstance(answer(selector, "context has command && !context.command.understood", {"c": "ls $(id)"}), Allow)


def test_a_path_outside_can_be_a_fact():
    """Where the entry says so."""
    selector = 'path = { pointer = "/p", roots = { ws = "/srv/ws" }, outside = "fact" }'
    assert isinstance(answer(selector, "context has path && !context.path.inside", {"p": "/etc/passwd"}), Allow)


def test_links_come_from_the_snapshot():
    """Absent: refused. Leading out: refused. Leading in: judged where it leads."""
    selector = 'path = { pointer = "/p", roots = { ws = "/srv/ws" }, resolve = "host" }'
    condition = 'context has path && context.path.relative == "b"'
    arguments = {"p": "/srv/ws/a"}
    root = {"root:ws": "/srv/ws"}
    for resolved in ({}, root, {"/p": "/srv/ws/b"}, {**root, "/p": "/etc/b"}):
        found = answer(selector, condition, arguments, resolved=resolved)
        assert isinstance(found, Deny)
        assert found.reason is Reason.UNKNOWN_PATH
    assert isinstance(answer(selector, condition, arguments, resolved={**root, "/p": "/srv/ws/b"}), Allow)


def test_facts_for_records_need_no_snapshot():
    """Destination and value are told even where a path has still to be looked up."""
    selectors = 'destination = { url = "/u" }\npath = { pointer = "/p", roots = { ws = "/srv/ws" }, resolve = "host" }'
    pdp = house(selectors, '@id("one")\npermit (principal, action == Action::"fs/t", resource);')
    _, destination, _ = facts_of(pdp, request("t", {"u": "https://x.example", "p": "/srv/ws/a"}, kind=ActionKind.TOOL))
    assert destination is not None
    assert destination.targets[0].text == "https://x.example:443"
