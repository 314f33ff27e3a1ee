"""What policies need: what is understood, in which order, and what is left alone."""

import cedarpy
import pytest

from lictor.pdp.engine.necessity import Need, common_type, needs
from lictor.pdp.engine.schematext import read_schema

TYPE = read_schema(
    str(
        cedarpy.Schema.from_str(
            'entity Agent; action "a" appliesTo { principal: [Agent], resource: [Agent], context: { s: String, n: Long, b: Bool,'
            " set: Set<String>, longs: Set<Long>, now: datetime, who: Agent, r: { x: Long }, opt?: { y: String, z?: Long } } };"
        )
    )
)
CONTEXT = TYPE.actions["a"].context


def found(clauses):
    text = f"permit(principal, action, resource) {clauses};"
    policy = cedarpy.policies_to_pst(text).static_policies["policy0"]
    return needs(policy, CONTEXT)


def need(path, test, value=None, *guards):
    return Need(("context", tuple(path.split("."))), test, value, frozenset(guards))


@pytest.mark.parametrize(
    ("clauses", "expected"),
    [
        ('when { context.s == "a" }', (need("s", "equal", "a"),)),
        ('when { "a" == context.s }', (need("s", "equal", "a"),)),
        ('unless { context.s != "a" }', (need("s", "equal", "a"),)),
        ('unless { context.s == "a" }', None),
        ("when { context.b }", (need("b", "truth", True),)),
        ("unless { context.b }", (need("b", "truth", False),)),
        ("when { context.n > 3 }", (need("n", "at_least", 4),)),
        ("when { 3 >= context.n }", (need("n", "at_most", 3),)),
        ("unless { context.n > 3 }", (need("n", "at_most", 3),)),
        ('when { ["a", "b"].contains(context.s) }', (need("s", "equal", "a"), need("s", "equal", "b"))),
        ('when { context.set.contains("a") }', (need("set", "element", "a"),)),
        ('when { context.set.containsAny(["a", "b"]) }', (need("set", "element", "a"), need("set", "element", "b"))),
        ('when { context.set.containsAll(["a", "b"]) }', (need("set", "element", "a"),)),
        ("when { context has opt }", (need("opt", "present", None, 1),)),
        ("unless { context has opt }", (need("opt", "absent"),)),
        ('when { context.opt.y == "a" }', (need("opt.y", "equal", "a"),)),
        ('when { context has opt && context.opt.y == "a" }', (need("opt.y", "equal", "a", 1),)),
        ("when { context has opt.z && context.opt.z > 1 }", (need("opt.z", "at_least", 2, 1, 2),)),
        ("when { context has opt && context.opt has z }", (need("opt", "present", None, 1),)),
        # what comes first may err: what follows proves nothing
        ('when { context.n + 1 > 0 && context.s == "a" }', None),
        ('when { context.opt.z > 0 && context.s == "a" }', (need("opt.z", "at_least", 1),)),
        ('when { context.nothing == 1 } when { context.s == "a" }', None),
        # what comes first cannot: the better of the two
        ('when { context.n > 3 && context.s == "a" }', (need("s", "equal", "a"),)),
        ('when { context.n > 3 } unless { context.s != "a" }', (need("s", "equal", "a"),)),
        ('when { context.s like "a*" && context.s == "a" }', (need("s", "equal", "a"),)),
        # a disjunction needs both sides to be understood
        ('when { context.s == "a" || context.n == 1 }', (need("s", "equal", "a"), need("n", "equal", 1))),
        ('when { context.s == "a" || context.n != 1 }', None),
        # other types, other forms
        ("when { context.s == 1 }", None),
        ("when { context.longs.contains(1) }", None),
        ("when { context.now < context.now }", None),
        ('when { context.who == Agent::"a" }', None),
        ('when { context.r == {"x": 1} }', None),
        ("when { true }", None),
        ("", None),
    ],
)
def test_needs(clauses, expected):
    """Each form by its need; None is a policy that is always evaluated."""
    assert found(clauses) == expected


def test_only_an_entitys_own_attributes_are_read():
    """`principal.who.id` follows a reference; as JSON it would look like a member of a record."""
    assert found('when { principal.who.id == "a" }') is None
    assert found('when { principal.id == "a" }') == (Need(("principal", ("id",)), "equal", "a"),)
    assert found('when { action.id == "a" }') is None


def test_common_type_keeps_what_all_declare_alike():
    """Another type is dropped, optional anywhere is optional, records are met member by member."""
    shape = read_schema(
        str(
            cedarpy.Schema.from_str(
                'entity A; action "a" appliesTo { principal: [A], resource: [A],'
                " context: { s: String, t: String, r: { x: Long, y: Long }, only: Long } };"
                'action "b" appliesTo { principal: [A], resource: [A], context: { s?: String, t: Long, r: { x: Long } } };'
            )
        )
    )
    common = common_type(action.context for action in shape.actions.values())
    assert set(common.attributes) == {"s", "r"}
    assert common.attributes["s"].optional
    assert set(common.attributes["r"].type.attributes) == {"x"}
    assert not common_type([]).attributes
