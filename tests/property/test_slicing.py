"""Sliced and projected answers equal full ones: decision, determining policies, and whether anything went wrong.

Random policy sets over random hierarchies with odd ids, random contexts, valid and not. The control breaks the index or the
projection in one place at a time; the same check must then fail.
"""

import json
from typing import Any

import cedarpy
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lictor.model.ids import PolicyId
from lictor.pdp.engine import judging, projection, selecting, slicing
from lictor.pdp.engine.cedar import CedarEngine, Mode

GROUPS = ["g0", 'g"1', "g\n2", "g3"]
AGENTS = ["a0", 'a"1']
SERVERS = ["s0", "s\\1"]
TOOLS = ["t0", 't"1']
ACTIONS = ["s0/t0", 's0/t"1']
CLASSES = ["read", 'wr"ite', "top"]


def quoted(name):
    return json.dumps(name, ensure_ascii=False)


CONTEXT_TYPE = (
    "{ s: String, n: Long, b: Bool, set: Set<String>, now: datetime, opt?: { x: Long, y?: String },"
    " input: { path?: String, deep: { z: Long, w: Set<Long> } }, approval?: { groups: Set<String>, digest: String },"
    " who?: Agent, net?: ipaddr }"
)
SCHEMA = (
    "entity Group in [Group]; entity Agent in [Group] { level: Long, owner?: Agent }; entity Server; entity Tool in [Server];"
    + "".join(f"action {quoted(c)}{' in [Action::' + quoted('top') + ']' if c != 'top' else ''};" for c in CLASSES)
    + "".join(
        f"action {quoted(a)} in [Action::{quoted(CLASSES[n])}] appliesTo"
        f" {{ principal: [Agent], resource: [Tool], context: {CONTEXT_TYPE} }};"
        for n, a in enumerate(ACTIONS)
    )
)

ATOMS = [
    'context.s == "x"',
    'context.s like "x*"',
    "context.n > 3",
    "context.n + principal.level > 10",
    "context.b",
    'context.set.contains("x")',
    'context.now < datetime("2026-06-01")',
    "context has opt",
    "context has opt.y",
    "context.opt.x == 1",
    'context has opt && context.opt has y && context.opt.y == "x"',
    'context.input.path == "x"',
    "context.input has path",
    "context.input.deep.z == 1",
    "context.input.deep.w.containsAll([1, 2])",
    "context.input.deep == {z: 1, w: [1]}",
    "context.input == context.input",
    "context == context",
    'context has approval && context.approval.groups.contains("x")',
    "context has who && context.who.level > 3",
    'context has who && context.who in Group::"g0"',
    'context has net && context.net.isInRange(ip("10.0.0.0/8"))',
    "context.nothing == 1",
    "context has nothing",
    "principal.level > 3",
    "principal has owner && principal.owner.level > 3",
    "(if context.b then context.opt else context.input.deep) == {x: 1}",
    "[context.opt].contains({x: 1})",
    'action in Action::"top"',
    'action in Action::"read"',
    'resource in Server::"s0"',
    f'Agent::{quoted(AGENTS[1])} in Group::"g0"',
    'Agent::"a0".level > 3',
    'principal is Agent in Group::"g3"',
]


def entity(type_, names):
    return st.sampled_from([f"{type_}::{quoted(n)}" for n in names])


def scopes(variable, own, own_names, group, group_names):
    return st.one_of(
        st.just(variable),
        entity(own, own_names).map(lambda e: f"{variable} == {e}"),
        st.one_of(entity(group, group_names), entity(own, own_names)).map(lambda e: f"{variable} in {e}"),
        st.just(f"{variable} is {own}"),
        entity(group, group_names).map(lambda e: f"{variable} is {own} in {e}"),
    )


def action_scopes():
    one = entity("Action", ACTIONS + CLASSES)
    return st.one_of(
        st.just("action"),
        one.map(lambda e: f"action == {e}"),
        one.map(lambda e: f"action in {e}"),
        st.lists(one, min_size=1, max_size=3).map(lambda es: f"action in [{', '.join(es)}]"),
    )


CONDITIONS = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=3).flatmap(
    lambda atoms: st.sampled_from([" && ", " || "]).map(lambda op: op.join(f"({a})" for a in atoms))
)
POLICIES = st.builds(
    lambda effect, p, a, r, clauses: f"{effect}({p}, {a}, {r})" + "".join(f" {k} {{ {c} }}" for k, c in clauses) + ";",
    st.sampled_from(["permit", "permit", "forbid"]),
    scopes("principal", "Agent", AGENTS, "Group", GROUPS),
    action_scopes(),
    scopes("resource", "Tool", TOOLS, "Server", SERVERS),
    st.lists(st.tuples(st.sampled_from(["when", "unless"]), CONDITIONS), max_size=2),
)

STRINGS = st.sampled_from(["x", "xy", "é", ""])
LONGS = st.sampled_from([0, 1, 4, -1, 2**53, 2**63 - 1, -(2**63)])
MOMENTS = st.sampled_from(["2026-01-01T00:00:00.000Z", "2026-12-31T23:59:59Z"]).map(
    lambda t: {"__extn": {"fn": "datetime", "arg": t}}
)
REFS = st.sampled_from([*AGENTS, "ghost"]).map(lambda a: {"__entity": {"type": "Agent", "id": a}})
CONTEXTS = st.fixed_dictionaries(
    {
        "s": STRINGS,
        "n": LONGS,
        "b": st.booleans(),
        "set": st.lists(STRINGS, max_size=2),
        "now": MOMENTS,
        "input": st.fixed_dictionaries(
            {"deep": st.fixed_dictionaries({"z": LONGS, "w": st.lists(st.integers(0, 3), max_size=2)})},
            optional={"path": STRINGS},
        ),
    },
    optional={
        "opt": st.fixed_dictionaries({"x": LONGS}, optional={"y": STRINGS}),
        "approval": st.fixed_dictionaries({"groups": st.lists(STRINGS, max_size=2), "digest": STRINGS}),
        "who": REFS,
        "net": st.sampled_from(["10.0.0.1", {"__extn": {"fn": "ip", "arg": "11.0.0.1"}}]),
    },
)
WRONG = st.sampled_from(
    [
        None,
        1.5,
        "\ud800",
        {},
        [],
        {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
        {"__extn": {"fn": "unknown", "arg": "x"}},
        2**63,
        True,
        "x",
    ]
)
PATHS = [
    ("s",),
    ("n",),
    ("b",),
    ("set",),
    ("now",),
    ("opt",),
    ("input",),
    ("input", "deep"),
    ("input", "deep", "z"),
    ("extra",),
    ("who",),
]


@st.composite
def contexts(draw):
    """Mostly valid; sometimes one place holds something else, or nothing."""
    context = draw(CONTEXTS)
    if draw(st.integers(0, 3)) == 0:
        *way, last = draw(st.sampled_from(PATHS))
        target = context
        for name in way:
            target = target[name]
        if draw(st.booleans()):
            target[last] = draw(WRONG)
        else:
            target.pop(last, None)
    return context


@st.composite
def worlds(draw):
    """Entities with random membership, without cycles."""
    parents = lambda type_, names: st.lists(st.sampled_from(names), max_size=2, unique=True).map(  # noqa: E731
        lambda found: [{"type": type_, "id": n} for n in found]
    )
    entities = [
        {
            "uid": {"type": "Group", "id": g},
            "attrs": {},
            "parents": draw(parents("Group", GROUPS[n + 1 :])) if GROUPS[n + 1 :] else [],
        }
        for n, g in enumerate(GROUPS)
        if n != 1  # named as a parent only
    ]
    for agent in AGENTS:
        attrs = {"level": draw(st.integers(0, 8))}
        if draw(st.booleans()):
            attrs["owner"] = {"__entity": {"type": "Agent", "id": draw(st.sampled_from(AGENTS))}}
        entities.append(
            {"uid": {"type": "Agent", "id": agent}, "attrs": attrs, "parents": draw(parents("Group", GROUPS))}
        )
    entities += [{"uid": {"type": "Server", "id": s}, "attrs": {}, "parents": []} for s in SERVERS]
    entities += [
        {"uid": {"type": "Tool", "id": t}, "attrs": {}, "parents": draw(parents("Server", SERVERS))} for t in TOOLS
    ]
    return entities


REQUESTS = st.tuples(
    st.sampled_from([("Agent", a) for a in [*AGENTS, "ghost"]]),
    st.sampled_from(ACTIONS),
    st.sampled_from([("Tool", t) for t in TOOLS]),
    contexts(),
)
CASES = st.tuples(st.lists(POLICIES, min_size=1, max_size=12), worlds(), st.lists(REQUESTS, min_size=4, max_size=4))
EXTRA = {"uid": {"type": "Tool", "id": "new"}, "attrs": {}, "parents": [{"type": "Server", "id": "s0"}]}


def engines(texts, world):
    parsed = json.loads(cedarpy.policies_to_json_str("".join(texts)))["staticPolicies"]
    parsed = {PolicyId(name): policy for name, policy in parsed.items()}
    return [CedarEngine(parsed, SCHEMA, world, mode=mode) for mode in Mode]


def outcome(verdict):
    return verdict.allowed, verdict.determining, len(verdict.errors)


def check(case):
    """All three modes answer the same; so does an extra entity that stands for one in the set."""
    texts, world, requests = case
    full, sliced, projected, filtered = engines(texts, world)
    for principal, action, resource, context in requests:
        expected = full.evaluate(principal, action, resource, context)
        assert outcome(sliced.evaluate(principal, action, resource, context)) == outcome(expected)
        assert outcome(projected.evaluate(principal, action, resource, context)) == outcome(expected)
        assert outcome(filtered.evaluate(principal, action, resource, context)) == outcome(expected)
        assert not (expected.allowed and expected.errors)
        if expected.allowed:
            assert projected.may_permit(principal, action, resource)
    principal, action, _, context = requests[0]
    whole = engines(texts, [*world, EXTRA])[0].evaluate(principal, action, ("Tool", "new"), context)
    for engine in (projected, filtered):
        assert outcome(engine.evaluate(principal, action, ("Tool", "new"), context, [EXTRA])) == outcome(whole)


SETTINGS = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@SETTINGS
@given(CASES)
def test_sliced_and_projected_equal_full(case):
    """Leaving out what cannot match and what cannot be read changes nothing."""
    check(case)


def no_ancestors(monkeypatch):
    real = slicing.entity_keys
    monkeypatch.setattr("lictor.pdp.engine.entities.entity_keys", lambda uid, _: real(uid, ()))


def no_action_groups(monkeypatch):
    real = slicing.entity_keys
    monkeypatch.setattr(selecting, "entity_keys", lambda uid, _: real(uid, ()))


def no_wildcards(monkeypatch):
    real = slicing.scope_keys
    monkeypatch.setattr(
        slicing, "scope_keys", lambda s: (("is", (), "Nothing"),) if type(s).__name__ == "ScopeAny" else real(s)
    )


def rendered_keys(monkeypatch):
    real = slicing._entity
    monkeypatch.setattr(slicing, "_entity", lambda kind, e: (*real(kind, e)[:3], quoted(e.id)[1:-1]))


def conditionals_forgotten(monkeypatch):
    real = projection.children
    monkeypatch.setattr(projection, "children", lambda n: [] if type(n).__name__ in {"IfThenElse", "Set"} else real(n))


def last_read_wins(monkeypatch):
    real = projection._visit

    def forgetful(root, reads):
        reads.children.clear()
        real(root, reads)

    monkeypatch.setattr(projection, "_visit", forgetful)


def undeclared_dropped(monkeypatch):
    real = msgspec.defstruct

    def lenient(name, fields, *, forbid_unknown_fields, **more):
        return real(name, [(field[0], Any, None) for field in fields], **more)

    monkeypatch.setattr(judging.msgspec, "defstruct", lenient)


BROKEN = [
    no_ancestors,
    no_action_groups,
    no_wildcards,
    rendered_keys,
    conditionals_forgotten,
    last_read_wins,
    undeclared_dropped,
]


@pytest.mark.parametrize("broken", BROKEN)
def test_control_a_broken_slice_is_caught(broken, monkeypatch):
    """The same check fails as soon as the index or the projection loses something."""
    broken(monkeypatch)

    @settings(SETTINGS, max_examples=400, database=None, phases=[Phase.generate])
    @given(CASES)
    def attempt(case):
        check(case)

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        attempt()
