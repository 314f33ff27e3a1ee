"""Every key of an agent changes what is decided: none of the registry's words is without effect."""

from collections.abc import Mapping

import msgspec
import pytest

import bundles
from lictor.model.errors import OperatorError
from lictor.pdp.decide import decide
from lictor.policy import registry

READ = '@id("a") @owner("a") @reason("a")\npermit (principal, action, resource) when {{ {when} }};\n'
SEEN: dict[str, tuple[str, str, str, str]] = {
    "owner": ('"alice"', '"nobody"', 'principal.owner == "alice"', "not_permitted"),
    "review_by": ("2027-01-31", "2020-01-31", "true", "agent_review_overdue"),
    "team": ('"a"', '"b"', 'principal.team == "a"', "not_permitted"),
    "autonomy": ("1", "4", "principal.autonomy < 3", "not_permitted"),
    "environment": ('"development"', '"production"', 'principal.environment == "development"', "not_permitted"),
    "groups": ('["coders"]', '["others"]', 'principal in AgentGroup::"coders"', "not_permitted"),
    "active": ("true", "false", "true", "agent_inactive"),
}
"""By key: a value under which policy with this condition permits, and one under which it ends otherwise."""
ELSEWHERE = {
    "delegates_to": "tests/security/probes/limits.py: a child of a child needs it at every link",
    "proofs": "tests/security/probes/people.py: a token of the named issuer and subject is this agent",
}


def outcome(when: str, said: Mapping[str, str]) -> str:
    """What becomes of a read."""
    lines = {"owner": '"alice"', "review_by": "2027-01-31", **said}
    agents = 'purposes = ["development"]\n[agents.coder]\n' + "".join(
        f"{key} = {text}\n" for key, text in lines.items()
    )
    agents += '[agents.other]\nowner = "alice"\nreview_by = 2027-01-31\ngroups = ["coders"]\n'
    pdp = bundles.pdp(READ.format(when=when), **{"agents.toml": agents})
    asked = bundles.request("read_file", {"path": "/a"})
    return decide(pdp, asked, bundles.snapshot(pdp, asked)).reason.value


def test_every_key_of_an_agent_is_looked_at() -> None:
    """Who adds one says what it does."""
    known = {field.name for field in msgspec.structs.fields(registry._AgentTable)}
    assert known == SEEN.keys() | ELSEWHERE.keys()


@pytest.mark.parametrize("key", sorted(SEEN))
def test_a_key_of_an_agent_matters(key: str) -> None:
    """Under one value the read runs, under the other it does not, and for the key's own reason."""
    good, bad, when, reason = SEEN[key]
    assert outcome(when, {key: good}) == "permitted"
    assert outcome(when, {key: bad}) == reason


@pytest.mark.parametrize("key", ["owner", "review_by"])
def test_what_an_agent_cannot_be_without(key: str) -> None:
    """Nobody's agent, and one that nobody looks at again, are refused at the start."""
    agents = {"owner": 'owner = "alice"\n', "review_by": "review_by = 2027-01-31\n"}
    text = 'purposes = ["x"]\n[agents.coder]\n' + "".join(line for name, line in agents.items() if name != key)
    with pytest.raises(OperatorError):
        bundles.bundle(**{"agents.toml": text})
