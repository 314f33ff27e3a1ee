"""Candidate sets: compiled when it pays, never without bound, and the whole slice answers the same meanwhile."""

import json

import cedarpy
import pytest

from lictor.model.ids import PolicyId
from lictor.pdp.engine import prefilter, selecting
from lictor.pdp.engine.cedar import CedarEngine, Mode

SCHEMA = """
entity Agent { level: Long }; entity Tool;
action "a" appliesTo { principal: [Agent], resource: [Tool],
  context: { n: Long, s: String, labels: Set<String>, text: String } };
"""
AGENT, TOOL = ("Agent", "a"), ("Tool", "t")
ENTITIES = [
    {"uid": {"type": "Agent", "id": "a"}, "attrs": {"level": 1}, "parents": []},
    {"uid": {"type": "Tool", "id": "t"}, "attrs": {}, "parents": []},
]
CONTEXT = {"n": 0, "s": "", "labels": [], "text": ""}


def engine(text, mode=Mode.FILTERED):
    parsed = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    return CedarEngine({PolicyId(name): policy for name, policy in parsed.items()}, SCHEMA, ENTITIES, mode=mode)


def ask(subject, **facts):
    return subject.evaluate(AGENT, "a", TOOL, {**CONTEXT, **facts})


def compiled(subject, **facts):
    """How many policies one request is evaluated with."""
    route = subject._selector.route(AGENT, "a", TOOL)
    return len(subject._selector.view(route, {**CONTEXT, **facts}).policies)


def test_only_what_can_hold_is_evaluated():
    """A thousand policies, of which one stays, or two."""
    text = "".join(f'permit(principal, action, resource) when {{ context.s == "s{n}" }};' for n in range(1_000))
    subject = engine(text + 'permit(principal, action, resource) when { context.s like "s*" };')
    assert compiled(subject, s="other") == 1
    assert compiled(subject, s="s7") == 2
    assert ask(subject, s="s7").determining == ("policy1000", "policy7")


def test_control_without_the_filter_all_are_evaluated():
    """The same request by scope alone."""
    text = "".join(f'permit(principal, action, resource) when {{ context.s == "s{n}" }};' for n in range(100))
    assert compiled(engine(text, Mode.PROJECTED), s="other") == 100


def test_a_large_set_is_compiled_once_it_has_been_worth_it():
    """At first the whole slice answers; a set asked for again and again is compiled; both answer the same."""
    text = "".join(f"permit(principal, action, resource) when {{ context.n >= {n} }};" for n in range(200))
    subject = engine(text)
    first = ask(subject, n=99)
    assert compiled(subject, n=99) == 200
    for _ in range(30):
        assert ask(subject, n=99) == first
    assert compiled(subject, n=99) < 130
    assert ask(subject, n=99) == first
    assert len(first.determining) == 100


def test_made_up_facts_fill_nothing(monkeypatch):
    """Ten thousand different values of every fact: what is kept stays within its bounds, and the usual set stays compiled."""
    monkeypatch.setattr(selecting, "MAX_SEEN", 50)
    text = "".join(
        f'permit(principal, action, resource) when {{ context.n >= {n} && context.labels.contains("l{n}") }};'
        f"permit(principal, action, resource) when {{ context.n <= {n} }};"
        for n in range(60)
    )
    subject = engine(text)
    for _ in range(40):
        ask(subject)
    usual = compiled(subject)
    for number in range(10_000):
        compiled(subject, n=number, s=str(number), labels=[f"l{number % 60}", str(number)])
    assert subject._selector.views.weight <= selecting.MAX_COMPILED
    assert len(subject._selector.slices) == 1
    found = subject._selector.slices.get(subject._selector.route(AGENT, "a", TOOL).key)
    assert len(found.seen) <= 50
    assert compiled(subject) == usual


@pytest.mark.parametrize("facts", [{"n": True}, {"n": "1"}, {"n": None}, {"s": 1}, {"labels": "x"}, {"labels": [1]}])
def test_facts_of_another_form_keep_every_policy(facts):
    """The index judges no fact; the engine refuses them."""
    text = "".join(
        f"permit(principal, action, resource) when {{ context.{condition} }};"
        for condition in ("n > 3", 's == "x"', 'labels.contains("x")')
    )
    verdict = ask(engine(text), **facts)
    assert not verdict.allowed
    assert len(verdict.errors) == 1


def test_long_sets_are_not_looked_up():
    """A set with more members than the index looks up keeps what it might leave out."""
    subject = engine('permit(principal, action, resource) when { context.labels.contains("x") };')
    assert compiled(subject, labels=["a"]) == 0
    assert compiled(subject, labels=["a"] * (prefilter.MAX_MEMBERS + 1)) == 1


def test_facts_beyond_the_probes_keep_their_policies(monkeypatch):
    """Of more facts than are looked up the rarest are not, and their policies are always evaluated."""
    monkeypatch.setattr(prefilter, "MAX_PROBES", 1)
    text = 'permit(principal, action, resource) when { context.s == "x" };' * 2
    subject = engine(text + "permit(principal, action, resource) when { context.n > 3 };")
    assert compiled(subject) == 1


def test_a_refusal_is_remembered_and_an_allow_is_not(monkeypatch):
    """The same question twice in a row: a refusal is not asked for again, an allow is, and so is a question that differs."""
    subject = engine('permit(principal, action, resource) when { context.s like "x*" };')
    asked = []
    real = subject._ask
    monkeypatch.setattr(subject, "_ask", lambda *question: asked.append(1) or real(*question))
    assert [ask(subject, s="y").allowed, ask(subject, s="y", text="unread").allowed] == [False, False]
    assert len(asked) == 1
    assert [ask(subject, s="x").allowed, ask(subject, s="x").allowed] == [True, True]
    assert len(asked) == 3
    assert not ask(subject, s="z").allowed
    assert len(asked) == 4


def test_what_was_judged_is_not_judged_again(monkeypatch):
    """Once the engine has said that an action applies, a context that fits goes without a schema, one that does not with it."""
    subject = engine('permit(principal, action, resource) when { context.s like "x*" };')
    schemas = []
    real = subject._ask
    monkeypatch.setattr(subject, "_ask", lambda *question: schemas.append(question[3]) or real(*question))
    assert ask(subject, s="x1").allowed
    assert ask(subject, s="x2").allowed
    assert ask(subject, s=1).errors
    assert ask(subject, n="1", s="x3").errors
    assert [schema is None for schema in schemas] == [False, True, False, False]


def test_another_type_is_judged_anew():
    """That an action applies to one type of resource says nothing of another."""
    text = 'permit(principal, action, resource) when { context.s like "x*" };'
    subject = engine(text)
    other = ("Agent", AGENT[1])
    assert ask(subject, s="x").allowed
    assert subject.evaluate(AGENT, "a", other, {**CONTEXT, "s": "x"}).errors
    subject._fitting.add(("Agent", "a", "Agent"))  # control: so it is the memory that is right
    assert subject.evaluate(AGENT, "a", other, {**CONTEXT, "s": "x"}).allowed
