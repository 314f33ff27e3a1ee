"""Selectors in the catalogue and entries in the directory: what could never work is a fault of the bundle, with its line."""

import pytest

from lictor.model.ids import ServerName
from lictor.policy.catalogue import Catalogue, read_catalogue
from lictor.policy.documents import read_toml
from lictor.policy.problems import Problems
from lictor.policy.registry import account_problem, domain_problem, email_problem, read_directory

HEAD = '[features."logging/x"]\neffect = "read"\n'


def faults(selector):
    """Faults of one tool's selector, but for those about its pin."""
    problems = Problems()
    document = read_toml("catalog/s.toml", f'[tools.t]\neffect = "read"\n{selector}\n'.encode(), problems)
    catalogue = Catalogue()
    read_catalogue(document, ServerName("s"), {}, catalogue, problems)
    found = [f"{fault.where}: {fault.message}" for fault in problems._found if "definition" not in fault.message]
    return found, catalogue.entries


@pytest.mark.parametrize(
    "selector",
    [
        'destination = { url = "/url" }',
        'destination = { url = ["/a", "/b/*/c"], schemes = ["https"], private_suffixes = false }',
        'destination = { email = ["/to", "/cc/*"], separator = ",;" }',
        'destination = { host = "/host", port = "/port" }',
        'destination = { git = "/remote", ref = ["/branch"], force = "/force", schemes = ["ssh"] }',
        'destination = { account = "/iban" }',
        'destination = { account = "/to", form = "id" }',
        'value = { amount = "/p/*/amount", currency = "EUR", currencies = ["EUR", "JPY"] }',
        'value = { amount = "/a", currency = "/c", currencies = ["XAU"], unit = "number", digits = 4 }',
        'path = { pointer = "/path", roots = { ws = "/srv/ws" } }',
        'path = { pointer = ["/a", "/b/*"], roots = { ws = "C:\\\\ws" }, style = "windows", base = "ws", resolve = "host", outside = "fact", uri = true, case_sensitive = false }',
        'path = { pointer = "/files/*", base = "/repo", roots = { ws = "/" } }',
        'sql = { text = "/query", dialect = "postgres" }',
        'command = { text = "/command" }',
        'command = { argv = "/argv", unclear = "fact" }',
        'watch = { recipient = { pointer = "/to/*", kind = "email" } }',
    ],
)
def test_selectors(selector):
    """Every documented form loads."""
    found, entries = faults(selector)
    assert found == []
    assert entries[0].pointers


@pytest.mark.parametrize(
    ("selector", "word"),
    [
        ("destination = {}", "exactly one of"),
        ('destination = { url = "/a", email = "/b" }', "exactly one of"),
        ('destination = { url = "" }', "JSON pointer"),
        ('destination = { url = ["/a", "b"] }', "JSON pointer"),
        ('destination = { url = ["/a", "/a"] }', "twice"),
        ('destination = { url = "/*" }', "begins with a name"),
        ('destination = { url = "/a~2" }', "JSON pointer"),
        ('destination = { url = "/a", schemes = [] }', "schemes are"),
        ('destination = { url = "/a", schemes = ["ssh"] }', "schemes are"),
        ('destination = { git = "/a", schemes = ["ext"] }', "schemes are"),
        ('destination = { email = "/a", schemes = ["https"] }', "only"),
        ('destination = { url = "/a", separator = "," }', "only"),
        ('destination = { email = "/a", separator = "|" }', "separator is"),
        ('destination = { host = "/h", port = "/p/*" }', "without *"),
        ('destination = { git = "/r/*", ref = "/b" }', "one remote"),
        ('destination = { git = "/r", force = "/f" }', "give ref too"),
        ('destination = { account = "/a", form = "bban" }', "form is"),
        ('destination = { url = "/a", what = 1 }', "unknown"),
        ('value = { amount = "a", currency = "EUR", currencies = ["EUR"] }', "JSON pointer"),
        ('value = { amount = "/a", currency = "EUR", currencies = ["XAU", "EUR"] }', "declare digits"),
        ('value = { amount = "/a", currency = "EUR", currencies = ["EUR"], unit = "float" }', "unit is"),
        ('path = { pointer = "/p", roots = {} }', "at least one"),
        ('path = { pointer = "/p", roots = { ws = "srv" } }', "absolute"),
        ('path = { pointer = "/p", roots = { ws = "/srv/../x" } }', "absolute"),
        ('path = { pointer = "/p", roots = { ws = "/srv" }, style = "windows" }', "absolute"),
        ('path = { pointer = "/p", roots = { "" = "/srv" } }', ""),
        ('path = { pointer = "/p", roots = { ws = "/srv" }, base = "other" }', "base is"),
        ('path = { pointer = "/p", roots = { ws = "/srv" }, base = "/x/*" }', "without *"),
        ('path = { pointer = "/p", roots = { ws = "/srv" }, outside = "allow" }', "nvalid enum"),
        ('sql = { text = "/q", dialect = "english" }', "dialect is"),
        ('sql = { text = "/q/*", dialect = "postgres" }', "without *"),
        ("command = {}", "either"),
        ('command = { text = "/a", argv = "/b" }', "either"),
        ('watch = { "a-b" = { pointer = "/a", kind = "text" } }', "letters"),
        ('watch = { a = { pointer = "a", kind = "text" } }', "JSON pointer"),
        ('watch = { a = { pointer = "/a", kind = "song" } }', "nvalid enum"),
    ],
)
def test_faulty_selectors(selector, word):
    """Each fault is said, at its line."""
    found, _ = faults(selector)
    assert found
    assert any(word in fault for fault in found), found
    assert all(fault.startswith("catalog/s.toml:3") for fault in found), found


def directory(text):
    """What a directory file reads as, and its faults."""
    problems = Problems()
    found = read_directory(read_toml("directory.toml", text.encode(), problems), problems)
    return found, [f"{fault.where}: {fault.message}" for fault in problems._found]


def test_a_directory():
    """Five tables; groups of one name are one group."""
    found, problems = directory(
        '[hosts]\na = ["x.example"]\n[domains]\na = ["firm.example"]\n[emails]\nb = ["ann@x.example"]\n'
        '[accounts]\nc = ["DE89370400440532013000", "acc-1"]\n[repositories]\nd = ["github.com/acme/*"]\n'
    )
    assert problems == []
    assert found.groups == {"a", "b", "c", "d"}
    assert found.names_of_email("z@firm.example", "firm.example") == ("a",)


def test_faults_of_a_directory():
    """At the group's line."""
    _, problems = directory('[emails]\na = ["Ann@x.example"]\nb = []\n[people]\nc = ["x"]\n')
    assert any(fault.startswith("directory.toml:2") and "ann@x.example" in fault for fault in problems)
    assert any(fault.startswith("directory.toml:3") for fault in problems)
    assert any("people" in fault for fault in problems)


def test_entries_that_match_nothing_or_too_much():
    """Public suffixes, and whatever is not in the normal form."""
    for bad in (
        "co.uk",
        "github.io",
        "example",
        "*.firm.example",
        "firm.example:443",
        "Firm.example",
        "1.2.3.4",
        "[::1]",
        "",
    ):
        assert domain_problem(bad), bad
    assert not domain_problem("firm.example")
    assert email_problem("Ann <a@b.example>")
    assert account_problem("de89370400440532013000")
    assert account_problem("DE89 3704 0044 0532 0130 00")
    assert not account_problem("acc-1")
