"""`preview` in the catalogue: every documented form loads; what could never be made, or looks elsewhere, is a fault with its line."""

import pytest

from lictor.model.ids import ServerName
from lictor.policy.catalogue import Catalogue, read_catalogue
from lictor.policy.documents import read_toml
from lictor.policy.problems import Problems

PATH = 'path = { pointer = ["/path", "/to", "/all/*"], roots = { ws = "/ws" }, resolve = "host" }\n'
GIT = 'destination = { git = "/remote", ref = "/branch" }\n'
MORE = '[tools.plan]\neffect = "read"\n[tools.act]\neffect = "write"\n'


def read(text: str):
    """Faults of one tool's preview, and its rule."""
    problems = Problems()
    document = read_toml("catalog/s.toml", f'[tools.t]\neffect = "write"\n{text}\n{MORE}'.encode(), problems)
    assert document is not None, problems._found
    catalogue = Catalogue()
    read_catalogue(document, ServerName("s"), {}, catalogue, problems)
    found = [
        f"{fault.where}: {fault.message}" for fault in problems._found if "beside the catalogue" not in fault.message
    ]
    return found, next((entry.preview for entry in catalogue.entries if entry.name == "t"), None)


@pytest.mark.parametrize(
    "text",
    [
        PATH + 'preview = { kind = "file", action = "write", path = "/path", content = "/content" }',
        PATH + 'preview = { kind = "file", action = "create", path = "/path", content = "/content", base64 = true }',
        PATH + 'preview = { kind = "file", action = "append", path = "/path", content = "/content" }',
        PATH + 'preview = { kind = "file", action = "delete", path = "/all/*" }',
        PATH + 'preview = { kind = "file", action = "move", path = "/path", to = "/to" }',
        PATH
        + 'preview = { kind = "file", action = "edit", path = "/path", edits = "/edits", old = "from", new = "to", every = true }',
        PATH + 'preview = { kind = "file", action = "directory", path = "/path" }',
        'preview = { kind = "list", pattern = ["/glob"], roots = { ws = "/ws" }, base = "ws", hidden = true, limit = 5 }',
        'command = { argv = "/argv" }\npreview = { kind = "command", cwd = "/cwd", base = "/ws" }',
        'sql = { text = "/sql", dialect = "sqlite" }\npreview = { kind = "sql", authority = "shop" }',
        'sql = { text = "/sql", dialect = "mysql" }\npreview = { kind = "sql" }',
        'destination = { url = "/url" }\npreview = { kind = "http", lookup = "any", follow = true, strict = true }',
        'destination = { email = "/to" }\npreview = { kind = "message", subject = "/s", body = "/b", attachments = ["/f/*"] }',
        'preview = { kind = "message", to = "/to", separator = "," }',
        PATH + GIT + 'preview = { kind = "git", repository = "/path", protected = ["main"] }',
        GIT + 'preview = { kind = "git", clone = "/ws/app" }',
        'destination = { account = "/iban" }\nvalue = { amount = "/a", currency = "EUR", currencies = ["EUR"] }\npreview = { kind = "payment" }',
        'preview = { kind = "tool", tool = "plan", drop = ["/confirm"], check = false }',
        'preview = { kind = "tool", tool = "t", put = { "/dryRun" = true } }',
    ],
)
def test_previews(text: str) -> None:
    """Every documented form."""
    found, rule = read(text)
    assert found == []
    assert rule is not None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('preview = { kind = "magic" }', "kind"),
        ('preview = { action = "write" }', "kind"),
        (PATH + 'preview = { kind = "file", action = "write", path = "/path", content = "/c", what = 1 }', "unknown"),
        (PATH + 'preview = { kind = "file", action = "shred", path = "/path" }', "shred"),
        ('preview = { kind = "file", action = "delete", path = "/path" }', 'resolve = "host"'),
        (
            'path = { pointer = "/path", roots = { ws = "/ws" } }\npreview = { kind = "file", action = "delete", path = "/path" }',
            'resolve = "host"',
        ),
        (PATH + 'preview = { kind = "file", action = "delete", path = "/other" }', "none of the pointers"),
        (PATH + 'preview = { kind = "file", action = "write", path = "/path" }', "content belongs"),
        (PATH + 'preview = { kind = "file", action = "delete", path = "/path", content = "/c" }', "content belongs"),
        (PATH + 'preview = { kind = "file", action = "move", path = "/path" }', "to belongs"),
        (PATH + 'preview = { kind = "file", action = "edit", path = "/path" }', "edits belongs"),
        (PATH + 'preview = { kind = "file", action = "write", path = "/all/*", content = "/c" }', "delete only"),
        ('preview = { kind = "list", pattern = "glob", roots = { ws = "/ws" } }', "JSON pointer"),
        ('preview = { kind = "list", pattern = [], roots = { ws = "/ws" } }', "JSON pointer"),
        ('preview = { kind = "list", pattern = "/g", roots = {} }', "at least one"),
        ('preview = { kind = "list", pattern = "/g", roots = { ws = "ws" } }', "absolute"),
        ('preview = { kind = "list", pattern = "/g", roots = { ws = "/ws/../x" } }', "absolute"),
        ('preview = { kind = "list", pattern = "/g", roots = { ws = "/ws" }, base = "x" }', "name of a root"),
        ('preview = { kind = "list", pattern = "/g", roots = { ws = "/ws" }, limit = 0 }', "limit is"),
        ('preview = { kind = "command" }', "needs command"),
        ('command = { text = "/c" }\npreview = { kind = "command", base = "ws" }', "absolute"),
        ('preview = { kind = "sql" }', "needs sql"),
        ('sql = { text = "/sql", dialect = "sqlite" }\npreview = { kind = "sql", authority = "a b" }', "a b"),
        ('preview = { kind = "http" }', "needs destination"),
        (
            'destination = { url = "/url" }\npreview = { kind = "http", lookup = "none", strict = true }',
            "need look-ups",
        ),
        ('preview = { kind = "message" }', "needs destination.email, or to"),
        ('preview = { kind = "message", to = "/to", separator = "|" }', "separator"),
        (GIT + 'preview = { kind = "git" }', "either repository"),
        (GIT + 'preview = { kind = "git", clone = "relative" }', "absolute"),
        (GIT + 'preview = { kind = "git", repository = "/path" }', 'resolve = "host"'),
        ('destination = { git = "/remote" }\npreview = { kind = "git", clone = "/ws" }', "with ref"),
        ('preview = { kind = "payment" }', "needs destination.account"),
        ('preview = { kind = "tool", tool = "none" }', "effect read"),
        ('preview = { kind = "tool", tool = "act" }', "effect read"),
        ('preview = { kind = "tool", tool = "act", put = { "/dryRun" = true } }', "effect read"),
        ('preview = { kind = "tool", tool = "t" }', "dry run"),
        ('preview = { kind = "tool", tool = "plan", put = { "x" = 1 } }', "JSON pointer"),
        ('preview = { kind = "tool", tool = "plan", put = { "/x" = 1 }, drop = ["/x"] }', "put and dropped"),
    ],
)
def test_what_is_no_preview(text: str, word: str) -> None:
    """A fault of the bundle, at its line."""
    found, _ = read(text)
    assert found
    assert all(fault.startswith("catalog/s.toml:") for fault in found)
    assert any(word in fault for fault in found)


def test_previews_are_of_tools() -> None:
    """Prompts have no effect of their own."""
    problems = Problems()
    text = b'[prompts.p]\neffect = "read"\npreview = { kind = "message", to = "/to" }\n'
    document = read_toml("catalog/s.toml", text, problems)
    read_catalogue(document, ServerName("s"), {}, Catalogue(), problems)
    assert any("previews are of tools" in fault.message for fault in problems._found)


def test_a_rule_reads_where_it_says() -> None:
    """Its pointers are held against what the tool declares, like those of every selector."""
    _, rule = read(PATH + 'preview = { kind = "file", action = "write", path = "/path", content = "/content" }')
    assert rule.pointers == ("/path", "/content")
