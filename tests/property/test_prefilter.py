"""Leaving out policies by a request's facts changes nothing: decision, determining policies and errors are those of the full set.

Random policies without scopes, so that only their conditions can tell them apart: chains with parts that err, guards, negations,
disjunctions, facts that are absent or of another type. The control breaks the index in one place at a time; the same check must
then fail.
"""

import json

import cedarpy
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine_world import CONJUNCTS, CONTEXTS, ENTITIES, SCHEMA, WRONG
from lictor.model.ids import PolicyId
from lictor.pdp.engine import necessity, prefilter, selecting
from lictor.pdp.engine.cedar import CedarEngine, Mode
from lictor.pdp.engine.judging import Judges


def policies(conjuncts):
    """Policies whose conditions are made of these."""
    one = st.sampled_from(conjuncts)
    two = st.tuples(one, one)
    parts = st.one_of(
        one,
        one.map(lambda c: f"!({c})"),
        two.map(lambda p: f"(({p[0]}) || ({p[1]}))"),
        two.map(lambda p: f"!(({p[0]}) && ({p[1]}))"),
        two.map(lambda p: f"!(({p[0]}) || ({p[1]}))"),
        two.map(lambda p: f"(if {p[0]} then {p[1]} else false)"),
    )
    clauses = st.tuples(
        st.sampled_from(["when", "when", "unless"]),
        st.lists(parts, min_size=1, max_size=3).map(lambda parts: " && ".join(f"({p})" for p in parts)),
    ).map(lambda c: f" {c[0]} {{ {c[1]} }}")
    return st.builds(
        lambda effect, scope, clauses: f"{effect}({scope}, resource){''.join(clauses)};",
        st.sampled_from(["permit", "permit", "forbid"]),
        st.sampled_from(SCOPES),
        st.lists(clauses, min_size=1, max_size=2),
    )


SCOPES = [
    "principal, action",
    "principal, action",
    'principal, action == Action::"x/a"',
    'principal in Group::"g", action',
]


@st.composite
def contexts(draw):
    """Mostly of the declared form; sometimes one fact is of another."""
    context = draw(CONTEXTS)
    if draw(st.integers(0, 5)) == 0:
        context[draw(st.sampled_from(["purpose", "calls", "dry", "labels", "task", "value", "more"]))] = draw(WRONG)
    return context


REQUESTS = st.tuples(
    st.sampled_from([("Agent", "a"), ("Agent", 'b"')]),
    st.sampled_from(["x/a", "x/b"]),
    contexts(),
)


def cases(conjuncts):
    """Policies, and requests that are put to one engine one after the other."""
    return st.tuples(st.lists(policies(conjuncts), min_size=4, max_size=12), st.lists(REQUESTS, min_size=8, max_size=8))


def check(case):
    """The filtered answer is the full one, errors included."""
    texts, requests = case
    parsed = json.loads(cedarpy.policies_to_json_str("".join(texts)))["staticPolicies"]
    parsed = {PolicyId(name): policy for name, policy in parsed.items()}
    full, filtered = (CedarEngine(parsed, SCHEMA, ENTITIES, mode=mode) for mode in (Mode.FULL, Mode.FILTERED))
    for principal, action, context in requests:
        expected = full.evaluate(principal, action, ("Tool", "t"), context)
        found = filtered.evaluate(principal, action, ("Tool", "t"), context)
        assert found.allowed == expected.allowed
        assert found.determining == expected.determining
        assert len(found.errors) == len(expected.errors)
        if all("while evaluating policy" in error for error in expected.errors):
            assert found.errors == expected.errors


SETTINGS = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(autouse=True)
def _coarse(monkeypatch):
    """Few steps, so that the rounding of bounds is met with few policies."""
    monkeypatch.setattr(prefilter, "MAX_STEPS", 2)


@SETTINGS
@given(cases(CONJUNCTS))
def test_filtered_equals_full(case):
    """What is left out was neither satisfied nor in error."""
    check(case)


def absence_is_false(monkeypatch):
    monkeypatch.setattr(necessity, "_guards", lambda place, _: frozenset(range(1, len(place[1]) + 1)))


def nothing_errs(monkeypatch):
    monkeypatch.setattr(necessity._Reader, "_kind", lambda *_: "Bool")


def everything_is_there(monkeypatch):
    monkeypatch.setattr(necessity._Reader, "_defined", lambda *_: True)


def negation_forgotten(monkeypatch):
    real = necessity._conjuncts
    monkeypatch.setattr(necessity, "_conjuncts", lambda expr, *, meant: [(n, True) for n, _ in real(expr, meant=meant)])


def one_side_is_enough(monkeypatch):
    real = necessity._Reader._of

    def one_side(self, node, present, *, meant):
        if getattr(node, "op", "") in {"and", "or"}:
            return self.of_chain(necessity._conjuncts(node.left, meant=meant), present)
        return real(self, node, present, meant=meant)

    monkeypatch.setattr(necessity._Reader, "_of", one_side)


def one_member_is_enough(monkeypatch):
    real = necessity._Reader._of_membership
    monkeypatch.setattr(necessity._Reader, "_of_membership", lambda *a: (f := real(*a)) and f[:1])


def bounds_off_by_one(monkeypatch):
    real = necessity._Reader._leaf

    def shifted(self, node, test, value, present):
        return real(self, node, test, value + (test == "at_least") if type(value) is int else value, present)

    monkeypatch.setattr(necessity._Reader, "_leaf", shifted)


def steps_rounded_down(monkeypatch):
    monkeypatch.setattr(prefilter._Bounds, "step", lambda s, v: prefilter.bisect_right(s._bounds, v) // s._size)


def a_condition_is_a_comparison(monkeypatch):
    real = necessity._Reader._leaf
    monkeypatch.setattr(
        necessity._Reader,
        "_leaf",
        lambda self, node, test, value, present: real(self, node, "equal" if test == "truth" else test, value, present),
    )


def strange_values_match_nothing(monkeypatch):
    real = prefilter._Probe.stay
    monkeypatch.setattr(prefilter._Probe, "stay", lambda s, cell: () if cell == "strange" else real(s, cell))


def keys_without_ancestors(monkeypatch):
    real = prefilter._Keys.cell
    monkeypatch.setattr(prefilter._Keys, "cell", lambda s, keys: real(s, frozenset(k for k in keys if k[0] != "in")))


def cells_forgotten(monkeypatch):
    real = prefilter.Prefilter.cells
    monkeypatch.setattr(prefilter.Prefilter, "cells", lambda *a: tuple("strange" for _ in real(*a)))
    monkeypatch.setattr(prefilter._Probe, "stay", lambda *_: ())
    monkeypatch.setattr(prefilter._Keys, "stay", lambda *_: ())


def one_set_for_all(monkeypatch):
    class Careless(selecting.Kept):
        def get(self, key):
            return super().get((key[0], None) if len(key) == 2 else key)

        def put(self, key, value, weight):
            super().put((key[0], None) if len(key) == 2 else key, value, weight)

    monkeypatch.setattr(selecting, "Kept", Careless)


def types_unchecked(monkeypatch):
    monkeypatch.setattr(Judges, "of", lambda _judges, _type: lambda _: None)


BROKEN = [
    (types_unchecked, ["purpose", "calls"]),
    (absence_is_false, ["value", "approval"]),
    (nothing_errs, ["calls", "nothing"]),
    (everything_is_there, ["input", "value", "purpose"]),
    (negation_forgotten, ["purpose"]),
    (one_side_is_enough, ["purpose"]),
    (one_member_is_enough, ["contains"]),
    (bounds_off_by_one, ["calls", "age"]),
    (steps_rounded_down, ["calls"]),
    (a_condition_is_a_comparison, ["principal.level", "principal.cleared"]),
    (strange_values_match_nothing, ["principal.team", "principal.level"]),
    (keys_without_ancestors, ["Group", "Action"]),
    (cells_forgotten, ["purpose"]),
    (one_set_for_all, ["purpose", "dry"]),
]
"""What is broken, and words of the conditions that can tell."""


@pytest.mark.parametrize(("broken", "words"), BROKEN)
def test_control_a_broken_index_is_caught(broken, words, monkeypatch):
    """The same check fails as soon as the index leaves out one policy too many."""
    broken(monkeypatch)
    conjuncts = [c for c in CONJUNCTS if any(word in c for word in words)]

    @settings(SETTINGS, max_examples=1_500, database=None, phases=[Phase.generate])
    @given(cases(conjuncts))
    def attempt(case):
        check(case)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        attempt()
