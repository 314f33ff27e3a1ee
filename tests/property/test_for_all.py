"""One question for a whole chain answers as one question for each of its agents: allowed, determining policies, errors.

Policies that look at the principal and such that do not, with scopes that name some of the agents, errors among them. The control
breaks the sharing in one place at a time; the same check must then fail.
"""

import json
from dataclasses import replace

import cedarpy
import pytest
from cedarpy import pst
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine_world import CONJUNCTS, CONTEXTS, ENTITIES, SCHEMA, WRONG
from lictor.model.ids import PolicyId
from lictor.pdp.engine import cedar, looking, selecting, slicing, views
from lictor.pdp.engine.cedar import CedarEngine, Mode
from lictor.pdp.verdict import Verdict, joined

AGENTS = [("Agent", "a"), ("Agent", 'b"'), ("Agent", "c")]
MORE = [
    {
        "uid": {"type": "Agent", "id": "c"},
        "attrs": {"team": "y", "level": 2, "cleared": True, "tags": ["y"], "nick": "x"},
        "parents": [{"type": "Group", "id": "top"}],
    }
]
SCOPES = [
    "principal",
    'principal == Agent::"a"',
    'principal == Agent::"b\\""',
    'principal in Group::"top"',
    'principal in Group::"g"',
    'principal is Agent in Group::"top"',
    "principal is Agent",
    "principal is Tool",
]
CHAINS = st.lists(st.sampled_from(AGENTS), min_size=2, max_size=3, unique=True).map(tuple)


def policies(conjuncts):
    """Policies with the conditions of the prefilter's tests, under more scopes."""
    one = st.sampled_from(conjuncts)
    parts = st.one_of(one, one, one.map(lambda c: f"!({c})"), st.just("true"))
    return st.builds(
        lambda effect, scope, kind, parts: (
            f"{effect}({scope}, action, resource) {kind} {{ {' && '.join(f'({p})' for p in parts)} }};"
        ),
        st.sampled_from(["permit", "permit", "permit", "forbid"]),
        st.sampled_from(SCOPES),
        st.sampled_from(["when", "when", "unless"]),
        st.lists(parts, min_size=1, max_size=2),
    )


@st.composite
def contexts(draw):
    """Mostly of the declared form; sometimes one fact is of another."""
    context = draw(CONTEXTS)
    if draw(st.integers(0, 9)) == 0:
        context[draw(st.sampled_from(["purpose", "calls", "labels", "value", "more"]))] = draw(WRONG)
    return context


def cases(conjuncts):
    """Policies, and requests of chains that are put to one engine one after the other."""
    asked = st.tuples(CHAINS, st.sampled_from(["x/a", "x/b"]), contexts())
    return st.tuples(
        st.lists(policies(conjuncts), min_size=2, max_size=10),
        st.lists(asked, min_size=4, max_size=4),
        st.sampled_from(Mode),
    )


def built(texts, mode):
    parsed = json.loads(cedarpy.policies_to_json_str("".join(texts)))["staticPolicies"]
    return CedarEngine({PolicyId(n): p for n, p in parsed.items()}, SCHEMA, [*ENTITIES, *MORE], mode=mode)


def check(case):
    """Asked together is asked one by one, of the whole set."""
    texts, asked, mode = case
    full, shared = built(texts, Mode.FULL), built(texts, mode)
    for chain, action, context in asked:
        each = [full.evaluate(principal, action, ("Tool", "t"), context) for principal in chain]
        found = shared.for_all(chain, action, ("Tool", "t"), context)
        expected = joined(each)
        assert (found.allowed, found.determining) == (expected.allowed, expected.determining)
        assert len(found.errors) == len(expected.errors)
        if all("while evaluating policy" in error for error in expected.errors):
            assert found.errors == expected.errors


SETTINGS = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(cases(CONJUNCTS))
def test_together_is_one_by_one(case):
    """Whatever policies and facts there are."""
    check(case)


def principal_overlooked(monkeypatch):
    monkeypatch.setattr(looking, "_IMPERSONAL", frozenset({"action", "resource", "context", "principal"}))


def scope_forgotten(monkeypatch):
    real = selecting.Selector.common

    def everybodys(*asked):
        view, whose = real(*asked)
        return view, (frozenset().union(*whose),) * len(whose)

    monkeypatch.setattr(selecting.Selector, "common", everybodys)


def scope_kept(monkeypatch):
    monkeypatch.setattr(slicing, "unscoped", lambda entry: entry)


def own_forgotten(monkeypatch):
    real = selecting.Selector._entries
    monkeypatch.setattr(selecting.Selector, "_entries", lambda s, r: () if r.part == "own" else real(s, r))


def first_answers_for_all(monkeypatch):
    monkeypatch.setattr(CedarEngine, "for_all", lambda s, chain, *asked: s.evaluate(chain[0], *asked))


def one_is_enough(monkeypatch):
    monkeypatch.setattr(cedar, "all", any, raising=False)


def only_the_first_counts(monkeypatch):
    real = selecting.Selector._entries
    monkeypatch.setattr(
        selecting.Selector,
        "_entries",
        lambda s, r: real(s, replace(r, chain=r.chain[:1]) if r.part == "common" else r),
    )


def taken_for_alike(monkeypatch):
    monkeypatch.setattr(selecting, "alike", lambda seen, _: seen is not None)


def every_side_is_the_same(monkeypatch):
    monkeypatch.setattr(looking.Look, "seen", lambda look, attributes: look.test or type(attributes))


def presence_is_enough(monkeypatch):
    monkeypatch.setattr(looking.Look, "seen", lambda look, attributes: look.attribute in attributes)


def everything_is_factless(monkeypatch):
    real = views.Compiler.compile
    monkeypatch.setattr(views.Compiler, "compile", lambda *a: replace(real(*a), factless=True))


BROKEN = [
    (taken_for_alike, ["principal.level", "principal.team"]),
    (every_side_is_the_same, ["principal.level >= 2", "4 > context"]),
    (presence_is_enough, ["principal.level", "principal.team"]),
    (everything_is_factless, ["principal.team ==", "purpose like"]),
    (principal_overlooked, ["principal"]),
    (scope_forgotten, ["context.dry"]),
    (scope_kept, ["context.dry"]),
    (own_forgotten, ["principal"]),
    (first_answers_for_all, ["principal"]),
    (one_is_enough, ["context.dry"]),
    (only_the_first_counts, ["context.dry"]),
]
"""What is broken, and words of the conditions that can tell."""


@pytest.mark.parametrize(("broken", "words"), BROKEN)
def test_control_broken_sharing_is_caught(broken, words, monkeypatch):
    """The same check fails as soon as one agent's answer is taken for another's."""
    broken(monkeypatch)
    conjuncts = [c for c in CONJUNCTS if any(word in c for word in words)]

    @settings(SETTINGS, max_examples=600, database=None, derandomize=True, phases=[Phase.generate])
    @given(cases(conjuncts))
    def attempt(case):
        check(case)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        attempt()


def test_a_policy_nobody_can_read_is_each_ones_own():
    """What a condition holds that is no known node could look at the principal."""

    class Strange:
        """Another cedarpy's node."""

    known = pst.When(expr=pst.BoolLit(value=True))
    policy = pst.Template(
        id="p", effect="permit", principal=pst.ScopeAny(), action=pst.ScopeAny(), resource=pst.ScopeAny(),
        clauses=(known,), annotations={},
    )  # fmt: skip
    principal = pst.Var(name="principal")
    of = lambda expr: looking.looks(replace(policy, clauses=(replace(known, expr=expr),)))  # noqa: E731
    assert looking.looks(policy) == frozenset()
    assert of(pst.GetAttr(base=pst.GetAttr(base=principal, attr="a"), attr="b")) == {looking.Look("a")}
    assert of(pst.HasAttr(base=principal, attrs=("a", "b"))) == {looking.Look("a")}
    for expr in (Strange(), pst.Slot(name="principal"), principal, (known.expr, [Strange()])):
        assert of(expr) is None


def test_nobody_is_allowed_nothing():
    """Of no answers at all nothing follows."""
    assert joined([]) == Verdict(allowed=False)
    assert (
        not built(["permit(principal, action, resource);"], Mode.FILTERED).for_all((), "x/a", ("Tool", "t"), {}).allowed
    )


@pytest.mark.parametrize("ghost", [("Agent", "nobody"), ("Group", "g"), ("Tool", "t")])
def test_a_chain_with_a_stranger_is_refused(ghost):
    """Undeclared, or of a type the action does not apply to: said as when it asks alone."""
    subject = built(["permit(principal, action, resource);"], Mode.FILTERED)
    context = {"purpose": "x", "calls": 1, "dry": True, "labels": [], "task": {"age": 1}, "input": {"path": "x"}}
    assert subject.for_all((AGENTS[0], AGENTS[1]), "x/a", ("Tool", "t"), context).allowed
    found = subject.for_all((AGENTS[0], ghost), "x/a", ("Tool", "t"), context)
    assert not found.allowed
    assert found.errors == subject.evaluate(ghost, "x/a", ("Tool", "t"), context).errors != ()


def test_what_is_common_is_asked_once(monkeypatch):
    """Three agents, one question; a condition on what tells them apart costs one more for each that it may concern.

    Where that condition reads no fact of the request, it costs nothing the second time.
    """
    context = {"purpose": "x", "calls": 1, "dry": True, "labels": [], "task": {"age": 1}, "input": {"path": "x"}}
    forbid = "forbid(principal, action, resource) when {{ {} }};".format
    for more, first, second in (
        ("", 1, 1),
        (forbid('principal has zone && principal.zone like "n*"'), 1, 1),
        (forbid('principal.team like "n*"'), 4, 1),
        (forbid('principal.team like "n*" || context.purpose like "n*"'), 4, 4),
    ):
        subject = built([f"permit({scope}, action, resource);" for scope in SCOPES[:6]] + [more], Mode.FILTERED)
        asked = []
        real = subject._ask
        monkeypatch.setattr(subject, "_ask", lambda *q, real=real, asked=asked: asked.append(q) or real(*q))
        for expected in (first, second):
            del asked[:]
            assert subject.for_all(tuple(AGENTS), "x/a", ("Tool", "t"), context).allowed
            assert len(asked) == expected
