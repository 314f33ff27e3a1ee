"""The scope index and the projection of the context: what is left out, and that nothing unknown is."""

import json

import cedarpy
import pytest
from cedarpy import pst

from lictor.model.errors import OperatorError
from lictor.pdp.engine import projection
from lictor.pdp.engine.judging import Judges, Unfit
from lictor.pdp.engine.schematext import Named, RecordOf, SetOf, read_schema, render_action, render_type
from lictor.pdp.engine.slicing import (
    ScopeIndex,
    action_keys,
    entity_keys,
    for_principal,
    groups_named,
    may_permit,
    scope_keys,
)


def trees(text):
    return cedarpy.policies_to_pst(text).static_policies


def index(*scopes):
    return ScopeIndex(trees("".join(f"permit({scope});" for scope in scopes)))


ACTION = entity_keys(("Action", "a"), [("Action", "g")])
RESOURCE = entity_keys(("N::Tool", "t"), [("Server", "s")])


def selected(scope):
    return bool(index(scope).select(ACTION, RESOURCE))


@pytest.mark.parametrize(
    ("scope", "matches"),
    [
        ("principal, action, resource", True),
        ('principal, action == Action::"a", resource', True),
        ('principal, action == Action::"g", resource', False),
        ('principal, action in Action::"g", resource', True),
        ('principal, action in Action::"a", resource', True),
        ('principal, action in [Action::"x", Action::"g"], resource', True),
        ('principal, action in [Action::"x"], resource', False),
        ('principal, action in N::Action::"g", resource', False),
        ('principal, action, resource == N::Tool::"t"', True),
        ('principal, action, resource == Tool::"t"', False),
        ('principal, action, resource == Server::"s"', False),
        ('principal, action, resource in Server::"s"', True),
        ('principal, action, resource in N::Tool::"t"', True),
        ('principal, action, resource in Server::"x"', False),
        ("principal, action, resource is N::Tool", True),
        ("principal, action, resource is Tool", False),
        ('principal, action, resource is N::Tool in Server::"s"', True),
        ('principal, action, resource is Tool in Server::"s"', False),
        ('principal, action, resource is N::Tool in Server::"x"', False),
        ('principal == Agent::"nobody", action, resource', True),
    ],
)
def test_select_matches_scopes_exactly(scope, matches):
    """Action and resource scopes, as the engine reads them; principals are left to the second step."""
    assert selected(scope) is matches


def test_for_principal_filters_and_keeps_order():
    """The second step takes the principal's scope."""
    found = index('principal in Group::"g", action, resource', 'principal == Agent::"b", action, resource').select(
        ACTION, RESOURCE
    )
    assert [e.id for e in for_principal(found, entity_keys(("Agent", "a"), [("Group", "g")]))] == ["policy0"]
    assert [e.id for e in for_principal(found, entity_keys(("Agent", "b"), []))] == ["policy1"]


def test_each_policy_is_selected_once():
    """A policy listed under several of an action's groups is in the slice once."""
    assert len(index('principal, action in [Action::"a", Action::"g"], resource').select(ACTION, RESOURCE)) == 1


def test_unknown_scopes_and_slots_raise():
    """Nothing unknown is taken for `never matches`: a template's slot, a new kind of scope."""
    for scope in (pst.ScopeEq(pst.Slot("principal")), pst.ScopeIn(pst.Slot("resource")), object(), pst.ActionEq(None)):
        with pytest.raises(TypeError):
            scope_keys(scope)
    with pytest.raises(TypeError):
        action_keys(pst.ScopeEq(pst.EntityUid(pst.EntityType("Action"), "a")))
    with pytest.raises(TypeError):
        ScopeIndex(cedarpy.policies_to_pst("permit(principal == ?principal, action, resource);").templates)


def test_may_permit_needs_a_permit_and_no_plain_forbid():
    """Conditions are not looked at; a forbid without any settles it."""
    permit = "permit(principal, action, resource) when { false };"
    select = lambda text: ScopeIndex(trees(text)).select(ACTION, RESOURCE)  # noqa: E731
    assert may_permit(select(permit))
    assert may_permit(select(permit + "forbid(principal, action, resource) when { true };"))
    assert not may_permit(select(permit + "forbid(principal, action, resource);"))
    assert not may_permit(select("forbid(principal, action, resource) when { true };"))


def test_groups_named_ignores_other_paths():
    """Only literals set against `context.approval.groups` count."""
    text = 'permit(principal, action, resource) when { context.approval.groups == ["a"] || context.groups.contains("b") || ["c"].contains(context.approval.by) };'
    assert groups_named(trees(text).values()) == {"a"}


READS = [
    ("context.a == 1", {"a": True}),
    ("context.a.b == 1", {"a": {"b": True}}),
    ("context has a", {"a": {}}),
    ("context has a.b", {"a": {"b": {}}}),
    ("context.a has b", {"a": {"b": {}}}),
    ("context.a has b && context.a.b.c", {"a": {"b": {"c": True}}}),
    ("context.a has b && context.a == {}", {"a": True}),
    ("context == {}", True),
    ("context.a == context", True),
    ("[context].contains({})", True),
    ("{x: context}.x.a == 1", True),
    ("(if true then context else {}).a == 1", True),
    ("(if context.c then context.a else context.b).x == 1", {"c": True, "a": True, "b": True}),
    ("{x: context.a} has x", {"a": True}),
    ("principal == context.who", {"who": True}),
    ("context.who in [context.g]", {"who": True, "g": True}),
    ("principal is Agent in context.g", {"g": True}),
    ('context.s like "a*"', {"s": True}),
    ("principal.a == 1", {}),
    ('context["a b"] == 1', {"a b": True}),
]


def as_data(reads):
    return True if reads.whole else {name: as_data(child) for name, child in reads.children.items()}


@pytest.mark.parametrize(("condition", "expected"), READS)
@pytest.mark.parametrize("kind", ["when", "unless"])
def test_context_reads(condition, expected, kind):
    """Exactly the attribute paths a condition can observe; a bare `context` means all of it."""
    reads = projection.context_reads(trees(f"permit(principal, action, resource) {kind} {{ {condition} }};").values())
    assert as_data(reads) == expected


def test_unknown_nodes_are_walked():
    """A syntax node of a class not known here does not hide what is below it."""
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Novel:
        parts: tuple

    template = next(iter(trees("permit(principal, action, resource) when { true };").values()))
    novel = pst.When(Novel((pst.GetAttr(pst.Var("context"), "a"), {"k": pst.Var("context")})))
    changed = pst.Template(
        template.id, template.effect, template.principal, template.action, template.resource, (novel,), {}
    )
    assert projection.context_reads([changed]).whole


TEXT = str(
    cedarpy.Schema.from_str(
        r"""
type Named = { z: Long };
entity Agent, Tool;
action "g", "h";
action "in\"ner" in ["g"];
action "a" in [Action::"in\"ner", Action::"h"] appliesTo { principal: [Agent], resource: [Tool], context: {
  s: String, n: Long, b: Bool, t: datetime, ip?: ipaddr, who?: Agent, named: Named,
  set: Set<String>, sets?: Set<Set<Long>>, rec: { x?: String, y: { z: Long } }, "odd \"name\"\n": String, "__extn"?: Long } };
"""
    )
)
VALUE = {
    "s": "x",
    "n": 1,
    "b": True,
    "t": {"__extn": {"fn": "datetime", "arg": "2026-02-28T00:00:00Z"}},
    "named": {"z": 1},
    "set": ["a"],
    "rec": {"y": {"z": 2}},
    'odd "name"\n': "é",
}


UNJUDGED = (Unfit, KeyError, TypeError, ValueError)


def stepping(type_, reads):
    """What is sent of a value, once it was looked at."""
    found, check = projection.narrow(type_, reads), Judges().of(type_)

    def step(value):
        check(value)
        return found.pick(value)

    return found, step


def narrowed(*paths):
    reads = projection.Reads()
    for path in paths:
        reads.reach(path).whole = True
    found, step = stepping(read_schema(TEXT).actions["a"].context, reads)
    return found.type, step


def test_schema_is_read():
    """Groups transitively, unescaped names, types; what is rendered the engine reads again."""
    shape = read_schema(TEXT)
    assert set(shape.actions) == {"g", "h", 'in"ner', "a"}
    assert shape.ancestors("a") == {'in"ner', "h", "g"}
    context = shape.actions["a"].context
    assert context.attributes["sets"].type == SetOf(SetOf(Named("Long")))
    assert context.attributes["named"].type == RecordOf(
        read_schema(TEXT).actions["a"].context.attributes["named"].type.attributes
    )
    assert context.attributes['odd "name"\n'].quoted.startswith('"')
    again = shape.declarations + "".join(
        render_action(a, tuple(shape.actions[p].quoted for p in a.parents), a.context) for a in shape.actions.values()
    )
    assert str(cedarpy.Schema.from_str(again)).replace(" ", "") != ""
    assert read_schema(str(cedarpy.Schema.from_str(again))).actions == shape.actions


@pytest.mark.parametrize(
    "text",
    [
        "namespace N {}",
        'action "a" in [Action::"b"];',
        "entity Long;",
        "type String = Long;",
        "entity",
        "&",
        'action "a" in [N::Action::"b"];',
    ],
)
def test_unknown_schema_text_is_refused(text):
    """A construct that is skipped would be an action group that is missed: refused instead."""
    with pytest.raises(OperatorError, match="cannot read the schema"):
        read_schema(text)


def test_projection_keeps_what_is_read_and_what_only_the_engine_can_judge():
    """Read paths, and entity, ip and `__extn` attributes; nothing else."""
    type_, project = narrowed(("rec", "y"), ("set",))
    assert project({**VALUE, "ip": "10.0.0.1"}) == {"rec": {"y": {"z": 2}}, "set": ["a"], "ip": "10.0.0.1"}
    assert set(type_.attributes) == {"__extn", "ip", "rec", "set", "who"}
    assert render_type(type_.attributes["rec"].type).replace(" ", "").replace('"', "") == "{y:{z:Long}}"


def test_what_is_sent_is_judged_unless_only_the_engine_can():
    """Every part that is sent is checked as those that are left out; where one cannot be, nothing is said to be judged."""
    reads = projection.Reads()
    for path in (("s",), ("rec", "y"), ("set",)):
        reads.reach(path).whole = True
    plain = read_schema(
        'action "a" appliesTo { principal: [E], resource: [E], context: { s: String, n: Long } }; entity E;'
    )
    assert not projection.narrow(read_schema(TEXT).actions["a"].context, reads).judged
    found, step = stepping(plain.actions["a"].context, reads)
    assert found.judged
    assert step({"s": "x", "n": 1}) == {"s": "x"}
    for bad in (
        {"s": 1, "n": 1},
        {"s": "x", "n": "1"},
        {"s": "x"},
        {"s": "x", "n": 1, "more": 1},
        {"s": "\ud800", "n": 1},
    ):
        with pytest.raises(UNJUDGED):
            step(bad)
    reads.whole = True
    found, step = stepping(plain.actions["a"].context, reads)
    assert found.judged
    assert step({"s": "x", "n": 1}) == {"s": "x", "n": 1}
    with pytest.raises(UNJUDGED):
        step({"s": "x", "n": "1"})


BAD = [
    {"s": 1},
    {"s": "\ud800"},
    {"n": True},
    {"n": 1.0},
    {"n": 2**63},
    {"n": -(2**63) - 1},
    {"b": 1},
    {"t": "2026-02-28T00:00:00Z"},
    {"t": {"__extn": {"fn": "datetime", "arg": "2026-02-30T00:00:00Z"}}},
    {"t": {"__extn": {"fn": "datetime", "arg": "2026-02-28T00:00:00+01:00"}}},
    {"t": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}},
    {"t": {"__extn": {"fn": "datetime", "arg": "2026-02-28T00:00:00Z", "x": 1}}},
    {"set": "a"},
    {"set": [1]},
    {"sets": [["a"]]},
    {"rec": {}},
    {"rec": {"y": {"z": "2"}}},
    {"rec": {"y": {"z": 2, "q": 1}}},
    {"rec": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}},
    {"named": {"z": None}},
    {"more": 1},
    {"s": None},
]


@pytest.mark.parametrize("bad", BAD)
def test_what_does_not_fit_is_not_judged_here(bad):
    """Any value that is not plainly of its type is sent whole: the engine judges, and here it refuses."""
    _, project = narrowed()
    assert project(VALUE) == {}
    with pytest.raises(UNJUDGED):
        project({**VALUE, **bad})


@pytest.mark.parametrize("name", ["s", "n", "b", "t", "named", "set", "rec"])
def test_missing_members_are_not_judged_here(name):
    """A required member that is missing is left to the engine."""
    _, project = narrowed()
    with pytest.raises(Unfit):
        project({k: v for k, v in VALUE.items() if k != name})


def test_what_fits_here_fits_the_engine():
    """The cheap check accepts nothing that the engine with the full schema refuses, on the values above."""
    schema = cedarpy.Schema.from_str(TEXT)
    entities = cedarpy.Entities.from_json_str("[]", schema)
    _, project = narrowed()
    for change in (
        {},
        *BAD,
        {"n": 2**63 - 1},
        {"n": -(2**63)},
        {"set": []},
        {"set": ("a",)},
        {"ip": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}},
        {"who": {"__entity": {"type": "Agent", "id": "a"}}},
        {"sets": [[1], []]},
        {"rec": {"x": "", "y": {"z": 0}}},
    ):
        value = {**VALUE, **change}
        try:
            project(value)
        except UNJUDGED:
            continue
        request = {
            "principal": 'Agent::"a"',
            "action": 'Action::"a"',
            "resource": 'Tool::"t"',
            "context": json.dumps(value),
        }
        answer = cedarpy.is_authorized(request, "permit(principal, action, resource);", entities, schema)
        assert answer.decision is cedarpy.Decision.Allow, (change, answer.diagnostics.errors)
