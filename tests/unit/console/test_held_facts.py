"""A person who is asked sees what the gateway knew: chain, contract, restrictions, origins, paths, SQL and commands."""

import json

import msgspec
import pytest

from bundles import pdp, request, snapshot
from lictor.console.held_facts import sealed_facts
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.history import Origin
from lictor.model.ids import AgentId, HumanId, TaskId
from lictor.policy.catalogue import pin_of

TOOL = {"name": "t", "inputSchema": {"type": "object", "properties": dict.fromkeys("upqc", True)}}
SELECTORS = """\
path = { pointer = "/p", roots = { ws = "/srv/ws" }, resolve = "host", outside = "fact" }
sql = { text = "/q", dialect = "postgres" }
command = { text = "/c", unclear = "fact" }
watch = { u = { pointer = "/u", kind = "email" } }
"""
ARGUMENTS = {"u": "bob@x.example", "p": "/srv/ws/link", "q": "SELECT a FROM t", "c": "git push --force"}
ROOT = {"root:ws": "/srv/ws"}
RESOLVED = {**ROOT, "/p": "/srv/ws/real"}


@pytest.fixture(scope="module")
def house():
    """One tool with every selector."""
    entry = f'[tools.t]\neffect = "write"\npin = "{pin_of(TOOL)}"\n{SELECTORS}\n'
    changes = {"catalog/fs.toml": entry, "catalog/fs.definitions.json": json.dumps({"tools": [TOOL]})}
    signals = '[signals.odd]\nat_least = 0.5\nlay = "read_only"\n'
    return pdp('@id("one")\npermit (principal, action, resource);', **changes, **{"signals.toml": signals})


def shown(house, arguments=ARGUMENTS, contract=None, parents=(), **facts):
    """(label, text, note) of every line."""
    asked = request("t", arguments)
    found = snapshot(house, asked, **{"resolved": RESOLVED, **facts})
    state = msgspec.structs.replace(found.task, contract=contract, contract_used=(1,))
    links = []
    for name, bound in parents:
        task = msgspec.structs.replace(state.task, id=TaskId(name), agent=AgentId(name))
        links.append(msgspec.structs.replace(state, task=task, contract=bound, contract_used=(0,)))
    found = msgspec.structs.replace(found, task=state, parents=tuple(links))
    return [(line.label, line.text, line.note) for line in sealed_facts(house, asked, found)]


def line(lines, label):
    """The one line with this label."""
    (found,) = [(text, note) for name, text, note in lines if name == label]
    return found


def bound(source=ContractSource.PERSON, **changes):
    """A contract for the tool."""
    clause = Clause(action="fs/t", bind={"u": Binding(values=("bob@x.example",))}, calls=3)
    return Contract(**{"source": source, "clauses": (clause,), **changes})


def test_what_the_selectors_found(house):
    """Where the path really leads and how it was written; what the query and the command do."""
    lines = shown(house)
    assert line(lines, "Path") == ("real below /srv/ws", "a link leads here: it is written as link below /srv/ws")
    assert line(lines, "SQL") == ("1 statement: select; tables: t; calls: none; only reads", "")
    assert line(lines, "Command") == ('runs: "git push"; reads: none; writes: none', "")
    assert not any(label.startswith(("Chain", "Contract", "Where", "Restricted")) for label, *_ in lines)


def test_what_is_uncertain_is_said_in_the_note(house):
    """Outside, not proven, not understood: in the words that the page draws as warnings."""
    arguments = {**ARGUMENTS, "q": "DELETE FROM t", "c": "$(id) > x"}
    lines = shown(house, arguments, resolved={**ROOT, "/p": "/etc/a b"})
    assert line(lines, "Path")[0] == '"/etc/a b"'
    assert line(lines, "Path")[1].startswith("outside every declared root; a link leads here")
    assert line(lines, "SQL")[1] == "not proven to only read; changes rows without a condition"
    assert line(lines, "Command")[0] == "not wholly understood"
    assert line(lines, "Command")[1]
    lines = shown(house, resolved={})
    assert "cannot be read" in line(lines, "Facts")[1]


def test_the_chain_up_to_the_human(house):
    """Nearest first, every agent."""
    lines = shown(house, parents=(("boss", None), ("chief", None)))
    assert line(lines, "Chain of agents")[0] == "coder, by delegation from boss, by delegation from chief"


def test_the_clause_it_runs_under(house):
    """Of the task's own contract and of every one above; who made it, who confirmed it, what is used."""
    lines = shown(house, contract=bound(), parents=(("boss", bound(ContractSource.DRAFTED)),))
    text = "fs/t, at most 3 times: u only 'bob@x.example'"
    assert line(lines, "Contract") == (f"{text} (1 used; made by a person)", "")
    drafted = (f"{text} (0 used; drafted from the task's text)", "nobody has confirmed this draft")
    assert line(lines, "Contract of boss") == drafted
    confirmed = bound(ContractSource.DRAFTED, confirmed_by=HumanId("os:alice"))
    assert line(shown(house, contract=confirmed), "Contract")[0].endswith("confirmed by os:alice)")
    lines = shown(house, {**ARGUMENTS, "u": "eve@x.example"}, contract=bound())
    assert line(lines, "Contract") == ("no clause covers this", "")


def test_where_watched_values_are_from(house):
    """Every source, every label; nowhere is said as what it is."""
    origins = {
        "u": Origin(sources=("directory", "task", "tool:web/fetch"), labels=("untrusted:web",)),
        "v": Origin(),
    }
    lines = shown(house, origins=origins)
    text = "in the directory; named in the task's text; in a result of web/fetch"
    assert line(lines, "Where u is from") == (text, "came with untrusted:web")
    assert line(lines, "Where v is from") == ("not seen before", "nobody named this value")


def test_why_it_is_restricted(house):
    """Each restriction with who and why, and each signal that reached its rule."""
    laid = Containment(
        id="c", scope=Scope.AGENT, target="coder", restriction=Restriction.STEP_UP, by="os:bob", why="odd mails"
    )
    lines = shown(house, containments=(laid,), signals={"odd": 700})
    found = [(text, note) for label, text, note in lines if label == "Restricted"]
    assert found == [
        ("agent coder: everything needs approval, by os:bob", "odd mails"),
        ("signal odd at 0.700: reading only", ""),
    ]
    assert not [label for label, *_ in shown(house, signals={"odd": 499}) if label == "Restricted"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('SELECT 1 FROM "a, b"', "SELECT 1 FROM a, b"),
        ('SELECT 1 FROM "none"', "SELECT 1"),
        ('SELECT 1 FROM "t; calls: f"', "SELECT f() FROM t"),
    ],
)
def test_a_name_never_reads_as_part_of_the_sentence(house, one, other):
    """Names with our own punctuation are quoted, so two facts never make one line."""
    lines = [line(shown(house, {**ARGUMENTS, "q": query}), "SQL") for query in (one, other)]
    assert lines[0] != lines[1]
    assert '"' in lines[0][0]
