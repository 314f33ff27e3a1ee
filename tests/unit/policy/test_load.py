"""The bundle's files: whole, or refused with every fault at its line."""

import json

import pytest

from bundles import CATALOGUE, FILES, READ, bundle, files
from lictor.model.action import ActionKind
from lictor.model.catalog import EffectClass
from lictor.pdp.roles import Approvers
from lictor.policy.compile import parse_guarded
from lictor.policy.load import is_known, load_bundle, revision_of
from lictor.policy.names import human_problem, label_problem, server_problem, tag_problem
from lictor.policy.problems import BundleRefused
from lictor.policy.registry import host_problem
from lictor.policy.tomlpos import Lines


def refusal(**changes: str | None) -> dict[str, str]:
    """Message by place of a bundle that must be refused."""
    found = files(**changes)
    with pytest.raises(BundleRefused) as refused:
        load_bundle(found, parse_guarded(found))
    return {problem.where: problem.message for problem in refused.value.problems}


def test_a_good_bundle_loads():
    """Everything that is written is in the value, typed."""
    found = bundle()
    assert len([entry for entry in found.entries if entry.server]) == 9
    assert found.purposes == ("development",)
    assert found.approvers == Approvers(
        groups_of={"os:bob": ("money", "owner"), "os:carol": ("owner",)}, four_eyes=True
    )
    assert found.directory.hosts["docs"][0] == "docs.example"
    entry = next(e for e in found.entries if e.name == "fetch")
    assert entry.effect is EffectClass.READ
    assert entry.labels == ("untrusted", "untrusted:web")
    assert found.lines[ActionKind.TOOL, "fs", "read_file"] == "catalog/fs.toml:1"


def test_review_day_counts_as_a_whole():
    """An agent is refused from the day after its review date, UTC."""
    coder = next(iter(bundle().agents.values()))
    assert coder.review_by_ms == 1_801_440_000_000  # 2027-02-01T00:00:00Z


def test_the_revision_is_of_what_decides():
    """Settings and tests do not change it, one byte of anything else does."""
    base = revision_of(files())
    assert revision_of(files(**{"lictor.toml": "x", "tests/a.toml": "y"})) == base
    for path in FILES:
        assert revision_of({**files(), path: files()[path] + b" "}) != base
    assert "lictor.toml" not in bundle(**{"lictor.toml": ""}).files


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "policies/a.cedar~",
        "policies/sub/a.cedar",
        "policy/a.cedar",
        "agents.toml.bak",
        "catalog/x.json",
        "tests/a.txt",
        "../agents.toml",
    ],
)
def test_unknown_files_are_refused(path):
    """A misnamed rule is no rule."""
    assert not is_known(path)
    assert path in refusal(**{path: ""})


def test_all_faults_are_reported_at_once_with_their_lines():
    """One round, not ten."""
    found = refusal(
        **{
            "agents.toml": 'purposes = []\n[agents.a]\nowner = " "\nreview_by = 2027-01-01\nautonomy = 9\nowned = 1\n',
            "approvers.toml": '[approvers."alice"]\ngroups = []\n',
            "directory.toml": '[hosts]\nbad = ["UPPER.example"]\n',
        }
    )
    assert "agents.toml:1" in found
    assert "no owner" in found["agents.toml:3"]
    assert "autonomy" in found["agents.toml:5"]
    assert "unknown key 'owned'" in found["agents.toml:6"]
    assert "issuer:name" in found["approvers.toml:1"]
    assert "no group" in found["approvers.toml:2"]
    assert "directory.toml:2" in found


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[tools.x]\nefect = "read"\n', 2, "unknown key 'efect'"),
        ('[tools.x]\neffect = "raed"\n', 2, "invalid enum value"),
        ('[tools.x]\neffect = "read"\ntags = [1]\n', 3, "expected `str`"),
        ('[tools.x]\neffect = "read"\ntags = ["read"]\n', 3, "effect class"),
        ('[tools.x]\neffect = "read"\nlabels = ["Bad label"]\n', 3, "a label is"),
        ('[tools.x]\neffect = "read"\ntimeout_s = 0\n', 3, "1 to 3600"),
        ('[tools.x]\neffect = "read"\n\ndestination = { url = "url" }\n', 4, "JSON pointer"),
        ('[tools.x]\neffect = "read"\ndestination = { url = "/u", schemes = ["gopher"] }\n', 3, "schemes"),
        ('[tools.x]\neffect = "read"\ndestination = { link = "/u" }\n', 3, "unknown field `link`"),
        (
            '[tools.x]\neffect = "read"\nvalue = { amount = "/a", currency = "USD", currencies = ["EUR"] }\n',
            3,
            "one of the currencies",
        ),
        ('[tools.x]\neffect = "read"\nvalue = { amount = "/a", currency = "/c", currencies = [] }\n', 3, "ISO 4217"),
        ('[tools."a\\u200bb"]\neffect = "read"\n', 1, "printable"),
        ('[features.everything]\neffect = "read"\n', 1, "unknown feature"),
        ('[resources."file:///*/x"]\neffect = "read"\n', 1, "only a last"),
        ('[resources."*"]\neffect = "read"\n', 1, "scheme"),
        ('[resources."a:b"]\neffect = "read"\n[resources."a:c"]\neffect = "write"\n', 3, "differs in effect"),
        ('[tool.x]\neffect = "read"\n', 1, "unknown key 'tool'"),
        ("tools = 1\n", 1, "must hold tables"),
        ("[tools.x\n", 1, "not TOML"),
        ('[tools.x]\neffect = "read"\n', 1, "no definition"),
        ('[tools.read_file]\neffect = "read"\n', 1, "has no pin"),
        ('[tools.read_file]\neffect = "read"\npin = "sha256:00"\n', 3, "not that of its definition"),
    ],
)
def test_catalogue_faults(text, line, message):
    """Each fault names file, line and what is wrong."""
    found = refusal(**{"catalog/fs.toml": text})
    assert message in found[f"catalog/fs.toml:{line}"]


def test_a_changed_definition_breaks_its_pin():
    """Any member counts, also one nobody reads (TOOL-01)."""
    changed = {**READ, "annotations": {"readOnlyHint": True}}
    old = json.loads(FILES["catalog/fs.definitions.json"])
    old["tools"][0] = changed
    found = refusal(**{"catalog/fs.definitions.json": json.dumps(old)})
    assert list(found.values()) == ["the pin of 'read_file' is not that of its definition"]


@pytest.mark.parametrize(
    "text",
    [
        '{"tools": [], "tools": []}',
        '{"tools": [{"name": "a"}, {"name": "a"}]}',
        '{"tools": {}}',
        "[]",
        '{"x": []}',
        '{"tools": [NaN]}',
        "\ufeff{}",
        '{"tools": [{}]}',
        "[" * 5000,
        '{"tools":' + "[" * 90 + "]" * 90 + "}",
    ],
)
def test_bad_definition_files_are_refused(text):
    """Duplicate keys and names, wrong types, NaN, depth."""
    assert any(
        place.startswith("catalog/fs.definitions.json") for place in refusal(**{"catalog/fs.definitions.json": text})
    )


def test_servers_have_narrow_names():
    """No `__`, no capitals, no more than 32; the file's name is the server's."""
    for good in ("a", "a-b", "files2", "a" * 32):
        assert not server_problem(good)
    for bad in ("", "A", "a__b", "a_b", "a--b", "-a", "a-", "a" * 33, "a/b", "ａ", "a.b"):
        assert server_problem(bad)
    assert "catalog/Bad.toml" in refusal(**{"catalog/Bad.toml": ""})
    assert "catalog/x.definitions.json" in refusal(**{"catalog/x.definitions.json": "{}"})


def test_names_keep_apart():
    """Tags never meet classes, kinds or actions; nobody can be named like the hypothetical approver."""
    for bad in ("read", "tool.call", "a/b", "a:b", "Tag", ""):
        assert tag_problem(bad)
    assert human_problem("__hypothetical__")
    assert human_problem('os:al"ice')
    assert not human_problem("oidc:alice@example.com")
    assert label_problem("a:b:c")


@pytest.mark.parametrize(
    "good",
    ["docs.example", "*.docs.example", "127.0.0.1:8080", "[::1]", "[::1]:80", "localhost", "xn--bcher-kva.example"],
)
def test_host_patterns(good):
    """Forms that can match a normalised host."""
    assert not host_problem(good)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "*",
        "*.com",
        "*.",
        "Docs.example",
        "docs.example.",
        "http://x",
        "x/y",
        "a:0",
        "a:99999",
        "a:x",
        "010.0.0.1",
        "*.1.2.3.4",
        "bücher.example",
        "a..b:1:2",
        "*x.example",
        "[::0001]",
        "[::ffff:102:304]",
    ],
)
def test_host_patterns_that_match_nothing_or_too_much(bad):
    """A pattern that no URL's host can equal is a fault, not a rule."""
    assert host_problem(bad)


def test_ids_of_policies_are_unique_over_files():
    """Cedar would keep one of the two."""
    found = refusal(**{"policies/other.cedar": '\n@id("reads")\nforbid (principal, action, resource);\n'})
    assert "already used" in found["policies/other.cedar:2"]


def test_missing_files_mean_less_not_more():
    """No approvers: nobody can approve, and four eyes stay; no directory: everything is external; no agents: refused."""
    found = bundle(**{"approvers.toml": None, "directory.toml": None})
    assert (found.approvers, found.directory.hosts) == (Approvers(groups_of={}, four_eyes=True), {})
    assert "agents.toml" in refusal(**{"agents.toml": None})
    assert "approvers.toml:1" in refusal(**{"approvers.toml": 'four_eyes = "no"\n'})


def test_lines_are_found_in_every_form_of_key():
    """Quoted and dotted keys, inline tables, multi-line values, arrays of tables."""
    text = '# c\na.b = """\nx = 1\n"""\n["q \\u0041".d]\n\'l.t\' = [\n  "]",\n]\nlast = 1\n[[n]]\nx = 1\n[[n]]\n[n.y]\nz = 2\n'
    lines = Lines("f", text)
    places = {
        ("a", "b"): 2,
        ("q A", "d"): 5,
        ("q A", "d", "l.t"): 6,
        ("q A", "d", "last"): 9,
        ("n", 0, "x"): 11,
        ("n", 1, "y", "z"): 14,
    }
    for path, line in places.items():
        assert lines.where(path) == f"f:{line}"
    assert lines.where(("a", "b", "unknown", "deeper")) == "f:2"
    assert lines.where(("nothing",)) == "f:1"


def test_catalogue_text_of_the_fixture_is_used():
    """The helper's text is what is parsed (guards the other tests)."""
    assert bundle().files["catalog/fs.toml"].decode() == CATALOGUE
