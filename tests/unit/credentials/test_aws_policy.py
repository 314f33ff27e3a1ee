"""Session policies: a fact changes the one text it stands in, and nothing else of the policy."""

import json
import string
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.credentials.aws_policy import deny_policy, fitted_name, fitted_tag, is_over, policy_name, session_policy
from lictor.model.errors import UpstreamError

TEMPLATE = {
    "Statement": {
        "Effect": "Allow",
        "Action": ["s3:GetObject"],
        "Resource": "arn:aws:s3:::shop/{folder}/*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "{team}"}},
    }
}
NASTY = st.text(alphabet=string.ascii_letters + string.digits + '"\\{}[]*?$:,/. \n\u00e9', min_size=0, max_size=12)


def by_concatenation(template: dict[str, Any], narrow: dict[str, str]) -> str:
    """Control: facts put into the policy's text."""
    text = msgspec.json.encode(template).decode()
    for name, value in narrow.items():
        text = text.replace("{" + name + "}", value)
    return text


def narrows(make: Any, folder: str, team: str) -> bool:
    """Whether a policy is the template with two values in their places, or is refused."""
    try:
        made = json.loads(make(TEMPLATE, {"folder": folder, "team": team}))
    except (UpstreamError, json.JSONDecodeError):
        return True
    statements = made["Statement"] if isinstance(made["Statement"], list) else [made["Statement"]]
    first = statements[0]
    return (
        first["Effect"] == "Allow"
        and first["Action"] == ["s3:GetObject"]
        and first["Resource"] == f"arn:aws:s3:::shop/{folder}/*"
        and first["Condition"] == {"StringEquals": {"aws:PrincipalTag/team": team}}
        and not set(folder + team) & set("*?$")
        and ".." not in folder
        and len(statements) <= 2
    )


@given(NASTY, NASTY)
def test_a_fact_never_becomes_more_than_a_value(folder: str, team: str) -> None:
    """Whatever the facts are: the same policy with these values, or none."""
    assert narrows(session_policy, folder, team)


def test_a_policy_made_of_text_would_be_noticed() -> None:
    """Control: concatenation lets a fact widen the policy."""
    folder = 'x","Resource":"arn:aws:s3:::shop/*","Y":"z'
    assert not narrows(by_concatenation, folder, "a")
    assert narrows(session_policy, folder, "a")
    assert not narrows(by_concatenation, "*", "a")


def test_a_policy_that_is_too_long_is_refused() -> None:
    """AWS's limit, before anything is asked."""
    with pytest.raises(UpstreamError) as caught:
        session_policy({"Statement": [{"Resource": ["{folder}"] * 20}]}, {"folder": "x" * 300})
    assert not caught.value.effect_possible


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_source_identities_fit_and_stay_apart(one: str, other: str) -> None:
    """What AWS takes as an identity; two people never share one."""
    import re

    assert re.fullmatch(r"[\w+=,.@-]{2,64}", fitted_name(one), re.ASCII)
    assert len(fitted_tag(one)) <= 256
    assert (fitted_name(one) == fitted_name(other)) is (one == other)


def test_a_deny_says_when_it_is_over() -> None:
    """Only ours, only once the session has ended."""
    name = policy_name("lictor-lease_abcdefgh", 1_795_259_520_028)
    assert (is_over(name, 1_795_259_520_028), is_over(name, 1_795_259_520_029)) == (False, True)
    for other in ("lictor-deny-x", "admins", f"{name}!", f"x{name}"):
        assert not is_over(other, 10**15)
    assert '"Effect":"Deny"' in deny_policy("lictor-x")
