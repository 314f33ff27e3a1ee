"""Claims on whole bundles: proved, broken with a request the engine confirms, or not proved; never proved by mistake."""

import pytest

from bundles import POLICY, bundle
from lictor.policy.casefiles import read_suites
from lictor.policy.cases import run_suite
from lictor.policy.invariants import read_claims
from lictor.policy.prove import house, prover
from lictor.policy.prove.prover import Finding, Status, prove
from lictor.policy.prove.replay import Answer


def prove_all(extra: str = "", invariants: str = "", policy: str = POLICY, only: str = "") -> dict[str, Finding]:
    """Every claim's fate over the sample bundle with further policies."""
    claims = read_claims({"invariants.toml": invariants.encode()} if invariants else {})
    if only:
        claims = type(claims)(claims=tuple(c for c in claims.claims if c.name == only), waived={})
    return {one.name: one for one in prove(bundle(policy + extra), claims)}


def rule(text: str) -> str:
    """A policy with an id."""
    return f'\n@id("extra")\n{text}\n'


def test_the_sample_bundle_keeps_every_standing_claim() -> None:
    """All of them are proved, and none by default."""
    found = prove_all()
    assert {one.status for one in found.values()} == {Status.PROVED}


@pytest.mark.parametrize(
    ("claim", "policy", "answer"),
    [
        (
            "approval_names_groups",
            "permit(principal, action, resource) when { context has approval };",
            Answer.NEEDS_APPROVAL,
        ),
        ("approval_only_helps", "permit(principal, action, resource) unless { context has approval };", Answer.DENY),
        (
            "labels_only_tighten",
            'permit(principal, action, resource) when { context.labels.contains("vetted") };',
            Answer.NEEDS_APPROVAL,
        ),
        (
            "autonomy_only_tightens",
            "permit(principal, action, resource) when { principal.autonomy > 3 };",
            Answer.NEEDS_APPROVAL,
        ),
        (
            "calls_only_tighten",
            "permit(principal, action, resource) when { context.task.calls > 9 };",
            Answer.NEEDS_APPROVAL,
        ),
        (
            "age_only_tightens",
            "permit(principal, action, resource) when { context.task.age_s > 60 };",
            Answer.NEEDS_APPROVAL,
        ),
        (
            "spending_only_tightens",
            "permit(principal, action, resource) when { context has value && context.value.task_total > 100 };",
            Answer.DENY,
        ),
    ],
)
def test_a_rule_that_loosens_is_shown_by_two_requests(claim: str, policy: str, answer: Answer) -> None:
    """One careless permit breaks exactly the claim about its fact, and the engine answers the changed request more laxly."""
    found = prove_all(rule(policy), only=claim)
    assert found[claim].status is Status.BROKEN
    example = found[claim].example
    assert example is not None
    assert example.changed_answer is not None
    order = [Answer.ALLOW, Answer.NEEDS_APPROVAL, Answer.DENY]
    assert order.index(example.changed_answer.answer) < order.index(example.answer.answer)
    assert "extra" in found[claim].detail or example.changed_answer.answer is not Answer.ALLOW
    assert example.answer.answer is answer


UNATTENDED = 'permit(principal, action in [Action::"write"], resource) when { %s };'


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ("principal.autonomy >= 1", Status.BROKEN),
        ("principal.autonomy == 5", Status.BROKEN),
        ('context has approval && context.approval.groups.contains("owner") && principal.autonomy > 2', Status.PROVED),
        ("principal.autonomy <= 4", Status.PROVED),
        ("principal.autonomy < 1 || principal.autonomy > 5", Status.PROVED),
        ("principal.autonomy < 1 || principal.autonomy == 9", Status.PROVED),
    ],
)
def test_more_autonomy_never_permits_more(condition: str, status: Status) -> None:
    """For every a < b that somebody can be registered with, all else equal: what b may, a may; or two requests show it.

    The third adds nothing to a permit for all; the last two speak of autonomy that nobody has.
    """
    claim = "autonomy_only_tightens"
    found = prove_all(rule(UNATTENDED % condition), only=claim)[claim]
    assert found.status is status
    if found.example is not None and found.example.changed is not None:
        least, most = (
            next(one["attrs"]["autonomy"] for one in asked.entities if one["uid"]["type"] == "Agent")
            for asked in (found.example.asked, found.example.changed)
        )
        assert 0 <= least < most <= 5


def test_the_bound_of_autonomy_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without it, a rule for autonomy that cannot be is shown as a hole."""
    monkeypatch.setattr(house, "_autonomy", lambda _: ())
    text = UNATTENDED % "principal.autonomy < 1 || principal.autonomy == 9"
    claim = "autonomy_only_tightens"
    assert prove_all(rule(text), only=claim)[claim].status is Status.BROKEN


def test_a_case_of_a_broken_invariant_fails_until_the_rule_is_mended() -> None:
    """The example is a case for tests/*.toml: it fails on this bundle, and holds on the one without the careless rule."""
    careless = POLICY.replace(
        '[Action::"destructive"], resource)', '[Action::"destructive"], resource) when { principal.autonomy < 3 }'
    )
    loose = rule('permit(principal, action in [Action::"destructive"], resource);')
    found = prove_all(loose, policy=careless)["no_unapproved_destruction"]
    assert found.status is Status.BROKEN
    assert found.example is not None
    text = found.example.case
    assert 'expect = "deny"  # today: allow' in text
    registered = text.replace('agent = "newcomer"', 'agent = "coder"')
    (suite,) = read_suites({"tests/it.toml": registered.encode()})
    (kept,) = run_suite(bundle(), suite)
    assert kept.passed


def test_an_error_that_can_be_reached_is_named() -> None:
    """Integer overflow in a condition is found, with the policy, and the engine confirms it."""
    product = 'forbid(principal, action == Action::"fs/write-file/v1.2", resource) when { context.input has mode && context.input.mode * context.input.mode > 5 };'
    found = prove_all(rule(product), only="no_policy_errs")["no_policy_errs"]
    assert found.status is Status.BROKEN
    assert "extra" in found.detail
    assert "overflow" in found.detail
    assert found.example is not None
    assert "mode" in found.example.case


def test_always_and_never_and_unless() -> None:
    """`always` is broken by any other outcome, `never` by that one, and `unless` excuses."""
    text = """
[invariants.reads]
title = "coders may read"
when = 'action in Action::"read" && principal in AgentGroup::"coders"'
unless = 'context.labels.contains("untrusted")'
always = "allow"

[invariants.all_reads]
title = "everybody may read"
when = 'action in Action::"read"'
always = "allow"

[invariants.nobody_asks]
title = "nobody is asked"
never = "needs_approval"
"""
    found = prove_all(invariants=text)
    assert found["reads"].status is Status.PROVED
    assert found["all_reads"].status is Status.BROKEN
    assert found["nobody_asks"].status is Status.BROKEN
    example = found["nobody_asks"].example
    assert example is not None
    assert example.answer.answer is Answer.NEEDS_APPROVAL


def test_an_unknown_construct_is_not_proved() -> None:
    """A policy that is not translated leaves every claim of its actions unproved, and says which policy and what."""
    address = rule('forbid(principal, action == Action::"fs/erase", resource) when { ip("10.0.0.1").isLoopback() };')
    found = prove_all(address)
    assert {one.status for one in found.values()} == {Status.NOT_PROVED}
    assert "extra: ip()" in found["calls_only_tighten"].detail
    assert "fs/erase" in found["calls_only_tighten"].detail


def test_an_unknown_construct_does_not_hide_a_break() -> None:
    """A claim that is broken elsewhere is broken, not merely unproved."""
    address = rule('forbid(principal, action == Action::"fs/erase", resource) when { ip("10.0.0.1").isLoopback() };')
    loose = '\n@id("loose")\npermit(principal, action, resource) when { context.task.calls > 9 };\n'
    assert prove_all(address + loose)["calls_only_tighten"].status is Status.BROKEN


def test_too_little_time_is_not_a_proof() -> None:
    """A question the solver cannot answer in its time is not proved."""
    hard = rule(
        'permit(principal, action == Action::"fs/write-file/v1.2", resource) when { context.input has mode && '
        "context.input.mode * context.input.mode * context.task.calls * context.task.calls * context.task.calls == "
        "context.input.mode * context.task.age_s * context.task.age_s * context.task.age_s + 41 };"
    )
    claims = read_claims({})
    one = type(claims)(claims=tuple(c for c in claims.claims if c.name == "calls_only_tighten"), waived={})
    (found,) = prove(bundle(POLICY + hard), one, timeout_ms=1)
    assert found.status in {Status.NOT_PROVED, Status.BROKEN}
    assert found.status is Status.NOT_PROVED or found.example is not None


def test_a_claim_about_nothing_is_not_proved() -> None:
    """A fact that no request has proves nothing."""
    text = '[tightening.ghost]\ntitle = "x"\nfact = "context.ghost.size"\nchange = "raise"\n'
    found = prove_all(invariants=text)["ghost"]
    assert found.status is Status.NOT_PROVED
    assert "no request has" in found.detail


def test_what_the_engine_does_not_confirm_is_spurious(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: a solver's answer that the engine contradicts is neither shown as broken nor taken for a proof."""
    monkeypatch.setattr(prover, "_confirms", lambda *_: False)
    loose = rule("permit(principal, action, resource) when { context.task.calls > 9 };")
    assert prove_all(loose, only="calls_only_tighten")["calls_only_tighten"].status is Status.SPURIOUS


def test_a_waived_claim_is_not_asked() -> None:
    """Giving a claim up by name takes it out."""
    text = '[waived.calls_only_tighten]\nreason = "a warm-up is wanted"\n'
    assert "calls_only_tighten" not in prove_all(invariants=text)


def test_progress_is_told() -> None:
    """Once after each action, up to all of them."""
    told: list[tuple[int, int]] = []
    claims = read_claims({})
    prove(bundle(), type(claims)(claims=claims.claims[:1], waived={}), progress=lambda *at: told.append(at))
    assert told[-1][0] == told[-1][1] == len(told)
