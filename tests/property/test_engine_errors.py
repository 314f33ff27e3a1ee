"""Any engine error is a deny, whatever else the policies say. Control: a wrapper that ignores diagnostics is caught.

An allow of the wrapper must be an allow by the text of the policies, read by hand: some permit holds, no forbid holds, and no
policy errs. Each atom below has a known value or a known error, so that reading is exact.
"""

import json
from dataclasses import dataclass

import cedarpy
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lictor.model.ids import PolicyId
from lictor.pdp.engine import cedar
from lictor.pdp.engine.cedar import CedarEngine, Decision, Mode, Verdict

SCHEMA = """
entity Agent { level: Long, owner?: Agent };
entity Tool;
action "read";
action "t" in [Action::"read"] appliesTo { principal: [Agent], resource: [Tool], context: {
  n: Long, s: String, opt?: { x: Long }, who?: Agent, big: Long, limit: decimal } };
"""
ENTITIES = [
    {"uid": {"type": "Agent", "id": "a"}, "attrs": {"level": 2}, "parents": []},
    {"uid": {"type": "Tool", "id": "t"}, "attrs": {}, "parents": []},
]
CONTEXT = {
    "n": 1,
    "s": "x",
    "big": 2**63 - 1,
    "limit": {"__extn": {"fn": "decimal", "arg": "1.5"}},
    "who": {"__entity": {"type": "Agent", "id": "ghost"}},
}

TRUE = [
    "true",
    "context.n == 1",
    'context.s like "x*"',
    "principal.level == 2",
    'action in Action::"read"',
    "context has who",
]
FALSE = ["false", "context.n == 2", "context has opt", "principal has owner", "principal.level > 3"]
ERRS = [
    "context.opt.x == 1",
    "context.nothing",
    "context.big + 1 > 0",
    "context.big * context.big > 0",
    "-(-9223372036854775807 - 1) > 0",
    "context.who.level > 1",
    "principal.owner.level > 1",
    'context.s like "x*" && context.n.contains(1)',
    "context.n < context.s",
    "context.limit.lessThan(context.n)",
    'Agent::"nobody".level == 1',
    "ip(context.s).isIpv4()",
]


@dataclass(frozen=True)
class Clause:
    """A condition with what it comes to: True, False, or None for an error."""

    text: str
    value: bool | None


def atoms():
    return st.one_of(
        st.sampled_from(TRUE).map(lambda t: Clause(t, True)),
        st.sampled_from(FALSE).map(lambda t: Clause(t, False)),
        st.sampled_from(ERRS).map(lambda t: Clause(t, None)),
    )


def joined(left, right, op):
    """`&&` and `||` stop at the left when it settles the matter; an error on the way is an error."""
    settles = op == "||"
    value = left.value if left.value is None or left.value is settles else right.value
    return Clause(f"({left.text}) {op} ({right.text})", value)


def negated(clause):
    return Clause(f"!({clause.text})", None if clause.value is None else not clause.value)


CLAUSES = st.recursive(
    atoms(),
    lambda inner: st.one_of(st.builds(joined, inner, inner, st.sampled_from(["&&", "||"])), inner.map(negated)),
    max_leaves=4,
)


@dataclass(frozen=True)
class Rule:
    """A policy with what it comes to: holds, does not, or errs."""

    effect: str
    text: str
    value: bool | None


@st.composite
def rules(draw):
    effect = draw(st.sampled_from(["permit", "permit", "forbid"]))
    scope = draw(
        st.sampled_from([("principal, action, resource", True), ('principal == Agent::"b", action, resource', False)])
    )
    clauses = draw(st.lists(st.tuples(st.sampled_from(["when", "unless"]), CLAUSES), max_size=2))
    value = scope[1]
    for kind, clause in clauses:
        if value is True:
            value = None if clause.value is None else clause.value is (kind == "when")
    return Rule(effect, f"{effect}({scope[0]})" + "".join(f" {k} {{ {c.text} }}" for k, c in clauses) + ";", value)


SETS = st.lists(rules(), min_size=1, max_size=8)


def evaluate(found, mode=Mode.PROJECTED):
    document = json.loads(cedarpy.policies_to_json_str("\n".join(rule.text for rule in found)))
    policies = {PolicyId(name): policy for name, policy in document["staticPolicies"].items()}
    return CedarEngine(policies, SCHEMA, ENTITIES, mode=mode).evaluate(("Agent", "a"), "t", ("Tool", "t"), CONTEXT)


def check(found, mode=Mode.PROJECTED):
    """The wrapper's answer against the reading by hand."""
    verdict = evaluate(found, mode)
    errs = sum(rule.value is None for rule in found)
    permits = any(rule.value and rule.effect == "permit" for rule in found)
    forbids = any(rule.value and rule.effect == "forbid" for rule in found)
    assert verdict.allowed is (permits and not forbids and not errs)
    assert len(verdict.errors) == errs
    assert not verdict.allowed or verdict.determining
    assert list(verdict.determining) == sorted(verdict.determining)
    assert (verdict.determining != ()) is (permits or forbids)


@settings(max_examples=150, deadline=None)
@given(SETS, st.sampled_from(Mode))
def test_any_engine_error_is_a_deny(found, mode):
    """Allow means: a permit holds, no forbid holds, nothing errs."""
    check(found, mode)


@settings(max_examples=80, deadline=None)
@given(SETS, rules())
def test_adding_a_policy_that_errs_or_forbids_never_allows(found, more):
    """A forbid more, or an erring policy more, never turns a deny into an allow."""
    if more.effect == "forbid" or more.value is None:
        assert evaluate(found).allowed or not evaluate([*found, more]).allowed


@settings(max_examples=60, deadline=None)
@given(SETS, st.sampled_from(sorted(CONTEXT)))
def test_a_missing_fact_never_allows(found, name):
    """Any required attribute left out of the context denies; an optional one left out never errs silently into an allow."""
    document = json.loads(cedarpy.policies_to_json_str("\n".join(rule.text for rule in found)))
    engine = CedarEngine(document["staticPolicies"], SCHEMA, ENTITIES)
    context = {key: value for key, value in CONTEXT.items() if key != name}
    verdict = engine.evaluate(("Agent", "a"), "t", ("Tool", "t"), context)
    assert not (verdict.allowed and verdict.errors)
    if name != "who":
        assert not verdict.allowed
        assert verdict.errors


def ignoring_diagnostics(decision, reasons, _errors):
    return Verdict(decision is Decision.Allow, tuple(PolicyId(r) for r in sorted(reasons)))


def forgetting_one_error(decision, reasons, errors):
    errors = errors[1:]
    return Verdict(
        decision is Decision.Allow and not errors, tuple(PolicyId(r) for r in sorted(reasons)), tuple(errors)
    )


def unsorted(decision, reasons, errors):
    return Verdict(decision is Decision.Allow and not errors, tuple(PolicyId(r) for r in reasons), tuple(errors))


@pytest.mark.parametrize("broken", [ignoring_diagnostics, forgetting_one_error, unsorted])
def test_control_a_wrapper_that_ignores_diagnostics_is_caught(broken, monkeypatch):
    """The check sees an erring forbid that is skipped, as bare Cedar skips it."""
    monkeypatch.setattr(cedar, "_close", broken)

    @settings(max_examples=400, deadline=None, database=None, phases=[Phase.generate])
    @given(SETS)
    def attempt(found):
        check(found)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        attempt()
