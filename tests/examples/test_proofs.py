"""What the example bundles claim is proved, and none of it is true of every policy."""

from dataclasses import replace

import pytest

from examples.shelf import NAMES, loaded, with_policies
from lictor.policy.bundle import Bundle
from lictor.policy.invariants import FILE, Claims, Invariant, read_claims
from lictor.policy.prove import prover
from lictor.policy.prove.prover import Status, prove

OPEN = '@id("control/open") @owner("tests") @reason("a control")\npermit (principal, action, resource);\n'

pytestmark = pytest.mark.parametrize("name", NAMES)


def own_claims(files: dict[str, bytes]) -> Claims:
    """What the example itself claims, without the standing claims."""
    claims = read_claims(files)
    return replace(claims, claims=tuple(claim for claim in claims.claims if claim.where.startswith(FILE)))


def statuses(bundle: Bundle, claims: Claims) -> dict[str, Status]:
    """What became of each claim."""
    return {finding.name: finding.status for finding in prove(bundle, claims)}


def test_every_claim_is_proved(name: str) -> None:
    """Own and standing claims, none waived, none skipped."""
    files, bundle, _ = loaded(name)
    claims = read_claims(files)
    assert claims.waived == {}
    assert {claim for claim, status in statuses(bundle, claims).items() if status is not Status.PROVED} == set()


def test_no_claim_is_empty(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: under a policy that permits everything, every claim of the example about an outcome is broken."""
    monkeypatch.setattr(prover, "shrink", lambda requests, _: requests)  # shorter examples are for readers
    files, bundle, _ = loaded(name)
    claims = own_claims(files)
    claims = replace(claims, claims=tuple(claim for claim in claims.claims if isinstance(claim, Invariant)))
    assert len(claims.claims) >= 7
    found = statuses(with_policies(bundle, OPEN), claims)
    assert {claim for claim, status in found.items() if status is not Status.BROKEN} == set()


def test_no_claim_about_a_change_is_empty(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: under a policy that a fact moves the wrong way, the claim about that fact is broken."""
    monkeypatch.setattr(prover, "shrink", lambda requests, _: requests)
    files, bundle, _ = loaded(name)
    for claim in own_claims(files).claims:
        if isinstance(claim, Invariant):
            continue
        fact = ".".join(claim.fact)
        guard = f"context has {claim.fact[1]} && " if claim.fact[1] == "value" else ""
        wrong = ">" if claim.change == "raise" else "<"
        text = OPEN.rstrip().removesuffix(";") + f"\nwhen {{ {guard}{fact} {wrong} 7 }};\n"
        one = Claims(claims=(claim,), waived={})
        assert statuses(with_policies(bundle, text), one) == {claim.name: Status.BROKEN}
