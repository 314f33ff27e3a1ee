"""`narrow` in `credentials.toml`: where a value comes from is said once, and what follows from a call is for that call."""

import pytest

import bundles
from lictor.model.lease import Narrowing
from lictor.policy.problems import BundleRefused

BASE = """
[credentials.token]
server = "fs"
destination = "https://fs.example"
provider = "github"
lease = "grant"
headers = { Authorization = "Bearer {token}" }
"""


def test_each_kind_of_source_is_read():
    """A text, an argument, a fact; only the last two need a call."""
    narrow = 'narrow = { team = "lamps", repository = { argument = "/repo" }, folder = { fact = "path.relative" } }\n'
    credential = bundles.bundle(**{"credentials.toml": BASE + narrow}).credentials["fs/token"]
    assert credential.narrow == {
        "team": "lamps",
        "repository": Narrowing(argument="/repo"),
        "folder": Narrowing(fact="path.relative"),
    }
    assert credential.by_call


@pytest.mark.parametrize(
    ("narrow", "told"),
    [
        ('x = { argument = "/a", fact = "path.relative" }', "either `argument` or `fact`"),
        ("x = { }", "either `argument` or `fact`"),
        ('x = { argument = "a" }', "JSON pointer"),
        ('x = { argument = "/a/*" }', "JSON pointer to one value"),
        ('x = { fact = "relative" }', "member.name"),
        ('x = { fact = "task.purpose" }', "member.name"),
        ('X = "a"', "is no name of a narrowing"),
        ('x = ""', "printable text"),
        (f'x = "{"a" * 513}"', "printable text"),
        ("x = 7", ""),
        ('x = { argument = "/a", else = "b" }', ""),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(narrow: str, told: str):
    """With the line of the credential."""
    with pytest.raises(BundleRefused) as refused:
        bundles.bundle(**{"credentials.toml": f"{BASE}narrow = {{ {narrow} }}\n"})
    text = "\n".join(map(str, refused.value.problems))
    assert told in text
    assert "credentials.toml" in text


def test_a_lease_for_a_task_follows_from_no_call():
    """Whose values would it have? The first call's, for all that come after."""
    task = BASE.replace('lease = "grant"', 'lease = "task"')
    with pytest.raises(BundleRefused) as refused:
        bundles.bundle(**{"credentials.toml": task + 'narrow = { x = { argument = "/a" } }\n'})
    assert 'lease is "grant"' in "\n".join(map(str, refused.value.problems))
    bundles.bundle(**{"credentials.toml": task + 'narrow = { x = "a" }\n'})
