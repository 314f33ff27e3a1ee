"""`[[agents.NAME.proofs]]` as the bundle is read."""

import pytest

from lictor.model.identity import Proof
from lictor.policy.documents import read_toml
from lictor.policy.problems import Problems
from lictor.policy.registry import read_agents

HEAD = """
purposes = ["development"]

[agents.deploy]
owner = "team:platform"
review_by = 2027-02-01

[agents.build]
owner = "team:platform"
review_by = 2027-02-01
"""


def read(text: str) -> tuple[dict[str, tuple[Proof, ...]], str]:
    """Proofs by agent, and what was noted."""
    problems = Problems()
    document = read_toml("agents.toml", (HEAD + text).encode(), problems)
    assert document
    people = read_agents(document, problems)
    return {name: people.proofs.get(name, ()) for name in people.agents}, "\n".join(str(one) for one in problems._found)


def test_proofs_are_read() -> None:
    """Several ways for one agent, and none for another."""
    found, noted = read(
        '[[agents.deploy.proofs]]\nissuer = "ci"\nsubject = "repo:acme/shop"\n'
        '[[agents.deploy.proofs]]\nissuer = "ci"\nclaims = { repository = "acme/shop", environment = "production" }\n'
    )
    assert noted == ""
    assert found["deploy"] == (
        Proof(issuer="ci", subject="repo:acme/shop"),
        Proof(issuer="ci", claims={"repository": "acme/shop", "environment": "production"}),
    )
    assert found["build"] == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('issuer = "ci"', "neither a subject nor a claim"),
        ('issuer = ""\nsubject = "x"', "names no issuer"),
        ('subject = "x"', "missing required field `issuer`"),
        ('issuer = "ci"\nsubject = "x"\nsub = "y"', "unknown field"),
        ('issuer = "ci"\nclaims = { a = 1 }', "expected `str`"),
        ('issuer = "ci"\nclaims = { a = "" }', "a claim without name or value"),
        ('issuer = "ci"\nclaims = { "" = "a" }', "a claim without name or value"),
        ('issuer = "ci"\nsubject = "a\\nb"', "not printable"),
        ('issuer = "ci"\nsubject = "b"\n[[agents.build.proofs]]\nissuer = "ci"\nsubject = "b"', "the same proof"),
        ('issuer = "ci"\nsubject = "b"\n[[agents.deploy.proofs]]\nissuer = "ci"\nsubject = "b"', "the same proof"),
    ],
)
def test_a_proof_that_names_nobody_or_two_is_a_fault(text: str, message: str) -> None:
    """With its place in the file."""
    _, noted = read(f"[[agents.deploy.proofs]]\n{text}\n")
    assert message in noted
    assert "agents.toml:" in noted


def test_what_decisions_read_of_an_agent_holds_no_proof() -> None:
    """A snapshot carries the agent: how it proves itself is for doors, and changes no digest of a decision."""
    stated = '[[agents.deploy.proofs]]\nissuer = "ci"\nsubject = "repo:acme/shop"\n'
    with_one, without = (read_toml("agents.toml", (HEAD + text).encode(), Problems()) for text in (stated, ""))
    assert with_one
    assert without
    assert read_agents(with_one, Problems()).agents == read_agents(without, Problems()).agents
    assert read_agents(with_one, Problems()).proofs
