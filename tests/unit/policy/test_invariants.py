"""`invariants.toml`: what is read, and how each fault names its line."""

import pytest

from lictor.policy.invariants import Invariant, Tightening, check_conditions, read_claims
from lictor.policy.problems import BundleRefused
from lictor.policy.standing import STANDING

GOOD = """
[invariants.reads]
title = "reads are free"
when = 'action in Action::"read"'
always = "allow"

[tightening.price]
title = "a higher price never permits"
fact = "context.value.amount"
change = "raise"

[waived.age_only_tightens]
reason = "nothing is dated here"
"""


def refusal(text: str) -> tuple[str, str]:
    """Where and what."""
    with pytest.raises(BundleRefused) as caught:
        read_claims({"invariants.toml": text.encode()})
    return caught.value.where, caught.value.message


def test_without_a_file_the_standing_claims_stand() -> None:
    """Every standing claim is there, whatever the bundle says."""
    names = {claim.name for claim in read_claims({}).claims}
    assert {"no_policy_errs", "no_unapproved_destruction", "approval_only_helps"} <= names
    assert len(names) == STANDING.count("[invariants.") + STANDING.count("[tightening.") + 1


def test_a_file_adds_and_waives_by_name() -> None:
    """Own claims come after the standing ones; a waived one is gone and its reason is kept."""
    claims = read_claims({"invariants.toml": GOOD.encode()})
    own = {claim.name: claim for claim in claims.claims}
    assert isinstance(own["reads"], Invariant)
    assert own["reads"].where == "invariants.toml:2"
    assert isinstance(own["price"], Tightening)
    assert own["price"].fact == ("context", "value", "amount")
    assert "age_only_tightens" not in own
    assert claims.waived == {"age_only_tightens": "nothing is dated here"}


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("[invariants.a]\ntitle = 'x'\n", 1, "exactly one of never and always"),
        ("[invariants.a]\ntitle = 'x'\nnever = 'allow'\nalways = 'deny'\n", 1, "exactly one of never and always"),
        ("[invariants.a]\ntitle = 'x'\nnever = 'maybe'\n", 1, "exactly one of"),
        ("[invariants.a]\ntitle = 'x'\nnever = 'allow'\nwhen = 'context has'\n", 4, "not a condition"),
        ("[invariants.a]\ntitle = 'x'\nnever = 'allow'\nwhen = 'true } unless { false'\n", 4, "not one condition"),
        (
            "[invariants.a]\ntitle = 'x'\nnever = 'allow'\nunless = 'true }; permit(principal, action, resource) when { true'\n",
            4,
            "not one condition",
        ),
        (
            "[invariants.a]\ntitle = 'x'\nnever = 'allow'\nwhen = '" + "(" * 100 + "1" + ")" * 100 + "'\n",
            4,
            "not a condition",
        ),
        ("[invariants.a]\ntitle = 'x'\nnever = 'allow'\nwhat = 1\n", 4, "unknown key"),
        ("[invariants.Bad]\ntitle = 'x'\nnever = 'allow'\n", 1, "not at most 64"),
        ("[invariants.no_policy_errs]\ntitle = 'x'\nnever = 'allow'\n", 1, "is a standing claim"),
        ("[tightening.a]\ntitle = 'x'\nfact = 'resource.x'\nchange = 'raise'\n", 1, "is no fact"),
        ("[tightening.a]\ntitle = 'x'\nfact = 'context.x'\nchange = 'wobble'\n", 1, "is no change"),
        ("[waived.calls_only_tighten]\nreason = ' '\n", 1, "needs a reason"),
        ("[waived.something]\nreason = 'x'\n", 1, "is no standing claim"),
        ("[claims.a]\n", 1, "unknown key"),
    ],
)
def test_faults_are_named_with_their_line(text: str, where: int, message: str) -> None:
    """What cannot be read refuses the file, with file and line."""
    place, said = refusal(text)
    assert place == f"invariants.toml:{where}"
    assert message in said


def test_conditions_are_type_checked() -> None:
    """A condition about something the schema does not have is refused: it would never be true."""
    schema = 'entity Agent {autonomy: Long}; entity Tool; action "a" appliesTo {principal: [Agent], resource: [Tool], context: {}};'
    text = "[invariants.a]\ntitle = 'x'\nnever = 'allow'\nwhen = 'principal.autonomi > 1'\n"
    claims = read_claims({"invariants.toml": text.encode()})
    own = type(claims)(claims=tuple(c for c in claims.claims if c.name == "a"), waived={})
    with pytest.raises(BundleRefused, match="autonomi") as caught:
        check_conditions(own, schema)
    assert caught.value.where == "invariants.toml:4"
