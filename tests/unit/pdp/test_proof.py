"""Whose identity it is: everything a proof names must hold, and only one may match."""

from typing import Any

import pytest

from lictor.model.errors import CallerError
from lictor.model.identity import Proof, Proven
from lictor.pdp.proof import matches, whose


def proven(**changes: Any) -> Proven:
    """A verified identity."""
    values: dict[str, Any] = {
        "issuer": "ci", "subject": "repo:acme/shop:ref:refs/heads/main", "how": "jwt", "expires_at_ms": 1,
        "claims": {"repository": "acme/shop", "groups": ["a", "b"], "run": 7, "ok": True, "none": None},
    }  # fmt: skip
    return Proven(**{**values, **changes})


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        (Proof(issuer="ci", subject="repo:acme/shop:ref:refs/heads/main"), True),
        (Proof(issuer="ci", claims={"repository": "acme/shop"}), True),
        (Proof(issuer="ci", claims={"repository": "acme/shop", "groups": "b"}), True),
        (Proof(issuer="ci", subject="repo:acme/shop:ref:refs/heads/main", claims={"groups": "a"}), True),
        (Proof(issuer="other", subject="repo:acme/shop:ref:refs/heads/main"), False),
        (Proof(issuer="ci"), False),
        (Proof(issuer="ci", subject="repo:acme/shop:ref:refs/heads/main "), False),
        (Proof(issuer="ci", subject="REPO:acme/shop:ref:refs/heads/main"), False),
        (Proof(issuer="ci", subject="repo:acme/shop"), False),
        (Proof(issuer="ci", subject="*"), False),
        (Proof(issuer="ci", subject="repo:acme/shop:ref:refs/heads/main", claims={"groups": "c"}), False),
        (Proof(issuer="ci", claims={"repository": "acme"}), False),
        (Proof(issuer="ci", claims={"groups": "a,b"}), False),
        (Proof(issuer="ci", claims={"groups": "['a', 'b']"}), False),
        (Proof(issuer="ci", claims={"run": "7"}), False),
        (Proof(issuer="ci", claims={"ok": "True"}), False),
        (Proof(issuer="ci", claims={"ok": "true"}), False),
        (Proof(issuer="ci", claims={"none": "None"}), False),
        (Proof(issuer="ci", claims={"absent": ""}), False),
    ],
)
def test_a_proof_holds_as_it_stands(proof: Proof, expected: bool) -> None:
    """Issuer, subject and every claim; no case, no prefix, no pattern, no conversion; empty is no."""
    assert matches(proof, proven()) is expected


def test_one_match_is_somebody_and_anything_else_nobody() -> None:
    """None is unknown; two are ambiguous, also where one is stricter."""
    main = Proof(issuer="ci", subject="repo:acme/shop:ref:refs/heads/main")
    shop = Proof(issuer="ci", claims={"repository": "acme/shop"})
    other = Proof(issuer="ci", claims={"repository": "acme/other"})
    assert whose(proven(), [("deploy", [other, main]), ("build", [other])]) == "deploy"
    assert whose(proven(), [("deploy", [shop, main])]) == "deploy"
    for known in ([], [("build", [other])], [("build", [])], [("deploy", [main]), ("build", [shop])]):
        with pytest.raises(CallerError) as caught:
            whose(proven(), known)
        assert caught.value.reason == "unknown_agent"
