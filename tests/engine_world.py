"""A small world for the tests of the engine: a schema, entities, conditions that can err, and contexts for them."""

from hypothesis import strategies as st

SCHEMA = """
entity Group in [Group]; entity Agent in [Group] { team: String, level: Long, cleared: Bool, tags: Set<String>, nick?: String };
entity Tool { zone: String };
action "read"; action "write";
action "x/a" in [Action::"read"] appliesTo { principal: [Agent], resource: [Tool], context: {
  purpose: String, calls: Long, dry: Bool, labels: Set<String>, task: { age: Long },
  input: { path: String, size?: Long },
  value?: { amount: Long, currency: String, note?: String }, approval?: { groups: Set<String>, by: String } } };
action "x/b" in [Action::"write"] appliesTo { principal: [Agent], resource: [Tool], context: {
  purpose: String, calls: Long, dry: Bool, labels: Set<String>, task: { age: Long },
  input: { size: Long },
  value?: { amount: Long, currency: String, note?: String }, approval?: { groups: Set<String>, by: String } } };
"""
ENTITIES = [
    {"uid": {"type": "Group", "id": "g"}, "attrs": {}, "parents": [{"type": "Group", "id": "top"}]},
    {"uid": {"type": "Group", "id": "top"}, "attrs": {}, "parents": []},
    {
        "uid": {"type": "Agent", "id": "a"},
        "attrs": {"team": "x", "level": 1, "cleared": True, "tags": ["x", "y"], "nick": "y"},
        "parents": [{"type": "Group", "id": "g"}],
    },
    {
        "uid": {"type": "Agent", "id": 'b"'},
        "attrs": {"team": "1", "level": 4, "cleared": False, "tags": []},
        "parents": [],
    },
    {"uid": {"type": "Tool", "id": "t"}, "attrs": {"zone": "x"}, "parents": []},
]
CONJUNCTS = [
    'context.purpose == "x"',
    '"y" == context.purpose',
    'context.purpose != "x"',
    '["x", "z"].contains(context.purpose)',
    'context.purpose like "x*"',
    "context.calls > 3",
    "context.calls < 3",
    "4 > context.calls",
    "context.calls >= 9223372036854775807",
    "context.calls <= -9223372036854775808",
    "context.calls == 1",
    "[1, 4].contains(context.calls)",
    "context.dry",
    "context.dry == true",
    "context.dry == false",
    'context.labels.contains("x")',
    'context.labels.containsAny(["x", "y"])',
    'context.labels.containsAll(["x", "y"])',
    "context.labels.isEmpty()",
    "context.task.age > 2",
    "context.input.size > 2",
    "context.input has size",
    'context.input.path == "x"',
    "context has value",
    "context has value.note",
    "context has approval",
    "context.value has note",
    'context.value.note == "x"',
    'context.value.currency == "x"',
    "context.value.amount > 3",
    'context.approval.groups.contains("x")',
    'context.approval.by == "y"',
    'context has value && context.value.currency == "x"',
    'context has value && context.value.amount > 1 && context.value.currency == "y"',
    'context has approval && context.approval.groups.contains("y")',
    'context has value && (context.value.currency == "x" || context.value.currency == "y")',
    "context.calls + 1 > 0",
    "context.calls * 2 > 4",
    "context.nothing",
    "context has nothing",
    "principal has nick",
    'principal.nick == "y"',
    'principal.team == "x"',
    "principal.team > 3",
    "principal.level == 1",
    "principal.level >= 2",
    "3 <= principal.level",
    "principal.level + 1 > 3",
    'principal.team != "x"',
    "principal.level",
    "principal.cleared",
    'principal.tags.contains("x")',
    'principal.level.contains("x")',
    'principal in Group::"top"',
    'principal in [Group::"g", Group::"other"]',
    'principal == Agent::"b\\""',
    "principal is Agent",
    'principal is Agent in Group::"g"',
    "principal is Tool",
    'action == Action::"x/a"',
    'action in [Action::"write"]',
    'resource == Tool::"t"',
    'resource.zone == "x"',
    'Agent::"a" == principal',
    "true",
    "false",
]
STRINGS = st.sampled_from(["x", "y", "é"])
LONGS = st.sampled_from([0, 1, 2, 3, 4, 2**63 - 1, -(2**63)])
CONTEXTS = st.fixed_dictionaries(
    {
        "purpose": STRINGS,
        "calls": LONGS,
        "dry": st.booleans(),
        "labels": st.lists(STRINGS, max_size=2),
        "task": st.fixed_dictionaries({"age": LONGS}),
        "input": st.one_of(
            st.fixed_dictionaries({"path": STRINGS}, optional={"size": LONGS}), st.fixed_dictionaries({"size": LONGS})
        ),
    },
    optional={
        "value": st.fixed_dictionaries({"amount": LONGS, "currency": STRINGS}, optional={"note": STRINGS}),
        "approval": st.fixed_dictionaries({"groups": st.lists(STRINGS, max_size=2), "by": STRINGS}),
    },
)
WRONG = st.sampled_from(
    [None, 1.0, True, "1", [], {}, {"__extn": {"fn": "ip", "arg": "::1"}}, 2**63, [["x"]], "\ud800"]
)
