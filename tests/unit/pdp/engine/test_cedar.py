"""The engine wrapper against each hole of the bare engine. Every hole has its control: bare cedarpy answers Allow."""

import json
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import cedarpy
import pytest

from lictor.model.errors import OperatorError
from lictor.model.ids import PolicyId
from lictor.model.reasons import Reason
from lictor.pdp.engine.cedar import CedarEngine, Mode, Verdict

SRC = Path(__file__).parents[4] / "src" / "lictor"

SCHEMA = """
entity Group in [Group];
entity Agent in [Group] { status: String, budget: Long, addr?: ipaddr };
entity Server;
entity Tool in [Server];
entity Page;
action "read", "top";
action "write" in [Action::"top"];
action "fs/a" in [Action::"read"] appliesTo {
  principal: [Agent], resource: [Tool, Page],
  context: {
    path: String, amount: Long, args?: { path: String }, who?: Agent, net?: ipaddr, limit?: decimal,
    labels: Set<String>, now: datetime, approval?: { groups: Set<String>, digest: String },
    input: { text: String, list?: Set<String>, deep?: { n: Long } }
  }
};
"""
ENTITIES = [
    {"uid": {"type": "Group", "id": "g"}, "attrs": {}, "parents": [{"type": "Group", "id": "root"}]},
    {"uid": {"type": "Group", "id": "root"}, "attrs": {}, "parents": []},
    {
        "uid": {"type": "Agent", "id": "a"},
        "attrs": {"status": "active", "budget": 100},
        "parents": [{"type": "Group", "id": "g"}],
    },
    {"uid": {"type": "Agent", "id": "b"}, "attrs": {"status": "active", "budget": 100}, "parents": []},
    {"uid": {"type": "Server", "id": "fs"}, "attrs": {}, "parents": []},
    {"uid": {"type": "Tool", "id": "t"}, "attrs": {}, "parents": [{"type": "Server", "id": "fs"}]},
]
AGENT, TOOL = ("Agent", "a"), ("Tool", "t")
CONTEXT = {
    "path": "/srv/a",
    "amount": 1,
    "labels": ["x"],
    "now": {"__extn": {"fn": "datetime", "arg": "2026-01-01T00:00:00.000Z"}},
    "input": {"text": "hi"},
}
PERMIT = "permit(principal, action, resource);"
MODES = list(Mode)


def policies(text):
    """Policy text under its positional ids."""
    return {PolicyId(k): v for k, v in json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"].items()}


def engine(text, mode=Mode.FILTERED, schema=SCHEMA, entities=ENTITIES):
    return CedarEngine(policies(text), schema, entities, mode=mode)


def bare(text, context=None, *, principal=AGENT, schema=None, entities=ENTITIES, action="fs/a"):
    """What cedarpy answers when it is used the simple way."""
    request = {
        "principal": {"type": principal[0], "id": principal[1]},
        "action": {"type": "Action", "id": action},
        "resource": {"type": "Tool", "id": "t"},
        "context": CONTEXT if context is None else context,
    }
    return cedarpy.is_authorized(request, text, entities, schema).decision


def on_thread(kib, work):
    """Run on a thread with this stack."""
    results = []
    before = threading.stack_size(kib * 1024)
    try:
        thread = threading.Thread(target=lambda: results.append(work()))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    return results[0]


@pytest.mark.parametrize("mode", MODES)
def test_permit_allows_and_names_itself(mode):
    """The plain case works, or every refusal below would prove nothing."""
    verdict = engine(PERMIT + PERMIT, mode).evaluate(AGENT, "fs/a", TOOL, CONTEXT)
    assert verdict == Verdict(True, (PolicyId("policy0"), PolicyId("policy1")), ())


@pytest.mark.parametrize("mode", MODES)
def test_forbid_wins_and_is_named(mode):
    """On deny the determining policies are the forbids that hold."""
    verdict = engine(PERMIT + "forbid(principal, action, resource) when { context.amount == 1 };", mode).evaluate(
        AGENT, "fs/a", TOOL, CONTEXT
    )
    assert verdict == Verdict(False, (PolicyId("policy1"),), ())


@pytest.mark.parametrize("mode", MODES)
def test_default_is_deny_without_error(mode):
    """No permit that matches is a deny with nothing to name."""
    verdict = engine('permit(principal == Agent::"b", action, resource);', mode).evaluate(AGENT, "fs/a", TOOL, CONTEXT)
    assert verdict == Verdict(False, (), ())


@pytest.mark.parametrize("mode", MODES)
def test_s1_absent_attribute_denies(mode):
    """S1: bare Cedar skips the forbid that reads an absent attribute."""
    text = PERMIT + 'forbid(principal, action, resource) when { context.args.path like "/etc/*" };'
    assert bare(text) is cedarpy.Decision.Allow
    verdict = engine(text, mode).evaluate(AGENT, "fs/a", TOOL, CONTEXT)
    assert not verdict.allowed
    assert "args" in verdict.errors[0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("amount", "allowed"), [(100, True), (1_000, False), (2**63 - 1, False), (2**63, False)])
def test_s2_overflow_denies(mode, amount, allowed):
    """S2: the rule stands in the engine by itself, with no bound before it."""
    text = PERMIT + "forbid(principal, action, resource) when { context.amount + principal.budget > 500 };"
    assert bare(text, {**CONTEXT, "amount": 2**63 - 1}) is cedarpy.Decision.Allow
    verdict = engine(text, mode).evaluate(AGENT, "fs/a", TOOL, {**CONTEXT, "amount": amount})
    assert verdict.allowed is allowed
    assert bool(verdict.errors) is (amount >= 2**63 - 1)


@pytest.mark.parametrize("mode", MODES)
def test_s3_missing_entities_deny(mode):
    """S3: an absent principal errors inside the forbid; ours never asks."""
    text = PERMIT + 'forbid(principal, action, resource) unless { principal.status == "active" };'
    assert bare(text, principal=("Agent", "ghost")) is cedarpy.Decision.Allow
    subject = engine(text, mode)
    assert subject.evaluate(AGENT, "fs/a", TOOL, CONTEXT).allowed
    for principal, resource in ((("Agent", "ghost"), TOOL), (AGENT, ("Tool", "ghost"))):
        verdict = subject.evaluate(principal, "fs/a", resource, CONTEXT)
        assert not verdict.allowed
        assert "not in the directory" in verdict.errors[0]


def test_s4_small_stacks_never_allow():
    """S4: on a small stack the evaluator gives up, the forbid is skipped, and bare Cedar allows."""
    chain = " || ".join(f'context.path == "{n}"' for n in range(55))
    text = PERMIT + f'forbid(principal, action, resource) when {{ {chain} || context.path == "/srv/a" }};'
    parsed, entities = cedarpy.PolicySet.from_str(text), cedarpy.Entities.from_json_str(json.dumps(ENTITIES))
    bares = {kib: on_thread(kib, lambda: bare(parsed, entities=entities)) for kib in (64, 96, 128, 144, 160, 192)}
    assert cedarpy.Decision.Allow in bares.values(), bares
    for mode in MODES:
        subject = engine(text, mode)
        assert subject.evaluate(AGENT, "fs/a", TOOL, CONTEXT).determining == ("policy1",)
        for kib in (64, 96, 128, 144, 160, 192, 8192):
            assert not on_thread(kib, partial(subject.evaluate, AGENT, "fs/a", TOOL, CONTEXT)).allowed


def test_s5_long_chains_are_refused():
    """S5: a deny list of 2,000 terms parses, errors at evaluation and allows; ours refuses it at load, by name."""
    chain = " || ".join(['context.path == "/srv/a"'] * 2000)
    text = PERMIT + f"forbid(principal, action, resource) when {{ {chain} }};"
    assert bare(text) is cedarpy.Decision.Allow
    term = policies('permit(principal, action, resource) when { context.path == "/srv/a" };')["policy0"]["conditions"][
        0
    ]["body"]
    with pytest.raises(OperatorError, match=r"policy 'deny/list' nests deeper") as refused:
        CedarEngine({PolicyId("deny/list"): chained("forbid", 2000, term)}, SCHEMA, ENTITIES)
    assert refused.value.reason is Reason.BUNDLE_REFUSED


def chained(effect, terms, term):
    """A policy whose condition is `term || term || …`, built without a parser."""
    body = term
    for _ in range(terms - 1):
        body = {"||": {"left": body, "right": term}}
    return {**policies(PERMIT)["policy0"], "effect": effect, "conditions": [{"kind": "when", "body": body}]}


FORGED = [
    {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
    {"__extn": {"fn": "unknown", "arg": "x"}},
    {"__entity": {"type": "Agent", "id": "boss"}},
    {"type": "Agent", "id": "boss"},
    {"a": 1},
    ["/etc/passwd"],
    7,
    True,
    None,
    1.5,
    "\ud800",
]
PLACES = [
    lambda v: {"path": v},
    lambda v: {"input": {"text": v}},
    lambda v: {"input": {"text": "hi", "list": [v]}},
    lambda v: {"args": {"path": v}},
    lambda v: {"input": {"text": "hi", "deep": v}},
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reads", ["context.path", "context.input.text", "context.amount"])
def test_s6_forged_values_deny(mode, reads):
    """S6: escapes and wrong types deny wherever they stand, whether policy reads that part or not."""
    text = PERMIT + f'forbid(principal, action, resource) when {{ {reads} == "/etc/passwd" }};'
    assert bare(
        PERMIT + 'forbid(principal, action, resource) when { context.path like "/etc/*" };',
        {**CONTEXT, "path": FORGED[0]},
    )
    subject = engine(text, mode)
    for value in FORGED:
        for place in PLACES:
            verdict = subject.evaluate(AGENT, "fs/a", TOOL, {**CONTEXT, **place(value)})
            assert not verdict.allowed, (value, place(value))
            assert verdict.errors


def test_s6_control_bare_engine_allows_forged_values():
    """S6, control: without a schema a forged value makes the forbid err, and an entity is conjured up."""
    forbid = PERMIT + 'forbid(principal, action, resource) when { context.path like "/etc/*" };'
    for value in (FORGED[0], FORGED[1]):
        assert bare(forbid, {**CONTEXT, "path": value}) is cedarpy.Decision.Allow
    boss = 'permit(principal, action, resource) when { context.path == Agent::"boss" };'
    assert bare(boss, {**CONTEXT, "path": FORGED[2]}) is cedarpy.Decision.Allow


@pytest.mark.parametrize("mode", MODES)
def test_s7_action_groups_match(mode):
    """S7: entities built without the schema silently lose action groups; ours have them, forbids and permits alike."""
    text = PERMIT + 'forbid(principal, action in Action::"read", resource);'
    schema = cedarpy.Schema.from_str(SCHEMA)
    handle = cedarpy.Entities.from_json_str(json.dumps(ENTITIES))
    assert bare(text, entities=handle, schema=schema) is cedarpy.Decision.Allow
    assert engine(text, mode).evaluate(AGENT, "fs/a", TOOL, CONTEXT) == Verdict(False, (PolicyId("policy1"),))
    grouped = engine('permit(principal, action in [Action::"top", Action::"read"], resource);', mode)
    assert grouped.evaluate(AGENT, "fs/a", TOOL, CONTEXT).allowed


def test_s7_one_place_builds_entities():
    """S7: no module but the wrapper's one function makes engine entities or asks for decisions."""
    pattern = re.compile(r"Entities\.from_json_str|with_added_json_str|is_authorized|cedarpy\._internal")
    found = {
        str(path.relative_to(SRC)): sorted(pattern.findall(path.read_text()))
        for path in SRC.rglob("*.py")
        if pattern.search(path.read_text())
    }
    asking = found.pop("pdp/engine/asking.py")
    assert asking.count("Entities.from_json_str") == 1, "for the questions by which it checks itself"
    assert found == {"pdp/engine/cedar.py": ["Entities.from_json_str"]}


def test_s8_second_pass_is_bounded_by_named_groups():
    """S8: only groups named as literals next to `context.approval.groups` come back, from matching policies."""
    text = (
        PERMIT
        + 'forbid(principal, action, resource) unless { context has approval && (context.approval.groups.contains("sre")'
        ' || context.approval.groups.containsAny(["ops", "x"]) || ["sec"].containsAll(context.approval.groups)) };'
        'forbid(principal, action == Action::"write", resource) when { context.approval.groups.contains("other") };'
        'forbid(principal, action, resource) when { context.labels.contains("label") };'
    )
    assert engine(text).groups_named("fs/a", TOOL) == {"sre", "ops", "x", "sec"}
    assert engine(text).groups_named("nothing", TOOL) == frozenset()


def test_c5_entity_cycle_is_refused():
    """C5: a cycle is refused, naming an entity in it."""
    cycle = [
        {"uid": {"type": "Group", "id": n}, "attrs": {}, "parents": [{"type": "Group", "id": p}]}
        for n, p in (("one", "two"), ("two", "one"))
    ]
    with pytest.raises(OperatorError, match=r"Group::'(one|two)' is in itself"):
        engine(PERMIT, entities=[*ENTITIES, *cycle])


@pytest.mark.parametrize("size", [10, 100_000])
def test_c4_long_lists_answer(size):
    """C4: a long list is an answer, not a hang; caps stand at the door."""
    verdict = engine(PERMIT).evaluate(AGENT, "fs/a", TOOL, {**CONTEXT, "labels": [str(n) for n in range(size)]})
    assert verdict.allowed


def test_empty_set_is_refused():
    """A gateway without policy does not start."""
    with pytest.raises(OperatorError) as refused:
        CedarEngine({}, SCHEMA, ENTITIES)
    assert refused.value.reason is Reason.NO_POLICY


@pytest.mark.parametrize(
    ("schema", "entities", "text"),
    [
        ("entity Agent", ENTITIES, PERMIT),
        ("namespace N { entity Agent; }", [], PERMIT),
        (SCHEMA, [*ENTITIES, ENTITIES[0]], PERMIT),
        (SCHEMA, [*ENTITIES, {"uid": {"type": "Agent", "id": "c"}, "attrs": {}, "parents": []}], PERMIT),
        (SCHEMA, [*ENTITIES, {"uid": {"type": "Action", "id": "c"}, "attrs": {}, "parents": []}], PERMIT),
        (SCHEMA, [{"attrs": {}, "parents": []}], PERMIT),
    ],
)
def test_what_the_engine_does_not_take_is_refused(schema, entities, text):
    """Bad schema, namespace, duplicate, schema-violating, action or shapeless entity: refused at load."""
    with pytest.raises(OperatorError) as refused:
        engine(text, schema=schema, entities=entities)
    assert refused.value.reason is Reason.BUNDLE_REFUSED


def test_templates_are_refused():
    """A template among the policies would be in force without being indexed."""
    document = json.loads(cedarpy.policies_to_json_str("permit(principal == ?principal, action, resource);"))
    with pytest.raises(OperatorError, match="policy 'x'"):
        CedarEngine({PolicyId("x"): document["templates"]["policy0"]}, SCHEMA, ENTITIES)


def test_a_bad_policy_is_named():
    """One policy the engine cannot read is named, not its chunk."""
    good = policies(PERMIT)["policy0"]
    with pytest.raises(OperatorError, match="policy 'bad/one'"):
        CedarEngine({PolicyId("ok"): good, PolicyId("bad/one"): {**good, "effect": "maybe"}}, SCHEMA, ENTITIES)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "context", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", {}, {1: 2}, {"path": object()}, {"path": {1, 2}}]
)
def test_broken_contexts_deny(mode, context):
    """Whatever is handed over as context, the answer is a verdict that does not allow."""
    verdict = engine(PERMIT, mode).evaluate(AGENT, "fs/a", TOOL, context)
    assert not verdict.allowed
    assert verdict.errors


@pytest.mark.parametrize("mode", MODES)
def test_deep_contexts_deny(mode):
    """A context deeper than any schema is refused by the engine, not a crash."""
    value = {}
    for _ in range(300):
        value = {"n": value}
    assert not engine(PERMIT, mode).evaluate(AGENT, "fs/a", TOOL, {**CONTEXT, "input": value}).allowed


@pytest.mark.parametrize("mode", MODES)
def test_bytes_and_dict_are_one(mode):
    """An encoded context and the object it encodes answer the same."""
    text = PERMIT + 'forbid(principal, action, resource) when { context.labels.contains("x") };'
    subject = engine(text, mode)
    assert subject.evaluate(AGENT, "fs/a", TOOL, CONTEXT) == subject.evaluate(
        AGENT, "fs/a", TOOL, json.dumps(CONTEXT).encode()
    )


@pytest.mark.parametrize("mode", MODES)
def test_undeclared_action_denies(mode):
    """An action the schema does not know is an error, not a default deny."""
    assert engine(PERMIT, mode).evaluate(AGENT, "fs/zzz", TOOL, CONTEXT).errors
    assert engine(PERMIT, mode).evaluate(AGENT, "read", TOOL, CONTEXT).errors


ODD = [
    'q"uote',
    "new\nline",
    "nul\0",
    "back\\slash",
    "é\u202e😀",
    "",
    " ",
    "*",
    'x"; permit(principal,action,resource);//',
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("odd", ODD)
def test_odd_ids_are_matched_exactly(mode, odd):
    """A forbid for an id with quotes or newlines fires for it, in every dimension; an index by rendered text would miss it."""
    quoted = re.sub(r"\\u([0-9a-f]{4})", r"\\u{\1}", json.dumps(odd, ensure_ascii=False).replace("\\u0000", "\\0"))
    schema = (
        SCHEMA
        + f'action {quoted} in [Action::"read"] appliesTo {{principal: [Agent], resource: [Tool], context: {{}}}};\n'
    )
    entities = [
        *ENTITIES,
        {
            "uid": {"type": "Agent", "id": odd},
            "attrs": {"status": "", "budget": 0},
            "parents": [{"type": "Group", "id": odd}],
        },
        {"uid": {"type": "Group", "id": odd}, "attrs": {}, "parents": []},
        {"uid": {"type": "Tool", "id": odd}, "attrs": {}, "parents": [{"type": "Server", "id": odd}]},
    ]
    for scope in (
        f"principal == Agent::{quoted}, action, resource",
        f"principal in Group::{quoted}, action, resource",
        f"principal, action == Action::{quoted}, resource",
        f"principal, action in [Action::{quoted}], resource",
        f"principal, action, resource == Tool::{quoted}",
        f"principal, action, resource in Server::{quoted}",
        f"principal is Agent in Group::{quoted}, action, resource is Tool in Server::{quoted}",
    ):
        subject = engine(f"{PERMIT} forbid({scope});", mode, schema, entities)
        assert subject.evaluate(("Agent", odd), odd, ("Tool", odd), {}) == Verdict(False, (PolicyId("policy1"),)), scope
        assert subject.evaluate(("Agent", "b"), "fs/a", TOOL, CONTEXT).allowed


PAGE = {"uid": {"type": "Page", "id": "p"}, "attrs": {}, "parents": []}


@pytest.mark.parametrize("mode", MODES)
def test_extra_entities_are_seen(mode):
    """A resource of this request only takes part as if it were in the set, with its parents and the principal's facts."""
    text = (
        'permit(principal in Group::"root", action in Action::"read", resource) when { principal.budget == 100 };'
        'forbid(principal, action, resource in Server::"fs");'
        'forbid(principal, action, resource) when { Agent::"a" in Group::"root" && resource is Page && context.amount == 2 };'
    )
    subject = engine(text, mode)
    assert subject.evaluate(AGENT, "fs/a", ("Page", "p"), CONTEXT).errors
    assert subject.evaluate(AGENT, "fs/a", ("Page", "p"), CONTEXT, [PAGE]).allowed
    assert subject.evaluate(AGENT, "fs/a", ("Page", "p"), {**CONTEXT, "amount": 2}, [PAGE]).determining == ("policy2",)
    new = {"uid": {"type": "Tool", "id": "new"}, "attrs": {}, "parents": [{"type": "Server", "id": "fs"}]}
    assert subject.evaluate(AGENT, "fs/a", ("Tool", "new"), CONTEXT, [new]).determining == ("policy1",)
    assert not subject.evaluate(AGENT, "fs/a", ("Tool", "new"), CONTEXT).allowed


@pytest.mark.parametrize(
    "extra",
    [
        [ENTITIES[2]],
        [{"uid": {"type": "Action", "id": "fs/a"}, "attrs": {}, "parents": []}],
        [PAGE, PAGE],
        [{"uid": {"type": "Agent", "id": "z"}, "attrs": {}, "parents": []}],
        [{"uid": "x"}],
        [{"uid": {"type": "Group", "id": "z"}, "attrs": {}, "parents": [{"type": "Group", "id": "z"}]}],
    ],
)
def test_extra_entities_cannot_redefine(extra):
    """An extra entity that is already there, an action, twice, against the schema or in a cycle is an error."""
    verdict = engine(PERMIT).evaluate(AGENT, "fs/a", TOOL, CONTEXT, extra)
    assert not verdict.allowed
    assert verdict.errors


def test_may_permit_follows_scopes_only():
    """Offered is what some permit's scope matches and no unconditional forbid's does."""
    text = (
        'permit(principal in Group::"g", action, resource) when { context.amount == 7 };'
        'forbid(principal == Agent::"b", action, resource);'
        'permit(principal, action == Action::"write", resource);'
    )
    subject = engine(text)
    assert subject.may_permit(AGENT, "fs/a", TOOL)
    subject.evaluate(AGENT, "fs/a", TOOL, CONTEXT)
    assert subject.may_permit(AGENT, "fs/a", TOOL)
    assert not subject.may_permit(("Agent", "b"), "fs/a", TOOL)
    assert not subject.may_permit(("Agent", "ghost"), "fs/a", TOOL)
    assert not subject.may_permit(AGENT, "nothing", TOOL)
    assert not subject.may_permit(AGENT, "fs/a", ("Tool", "ghost"))


def test_a_panic_is_a_deny(monkeypatch):
    """What is not even an Exception, as a panic of the engine, denies."""

    class Panic(BaseException):
        pass

    def explode(*_):
        raise Panic("boom")

    monkeypatch.setattr("lictor.pdp.engine.asking.chosen", lambda: explode)
    verdict = engine(PERMIT).evaluate(AGENT, "fs/a", TOOL, CONTEXT)
    assert verdict == Verdict(False, (), ("Panic: boom",))


def test_c2_syntax_tree_never_meets_a_long_chain():
    """C2: the tree of a 1,400-term chain kills bare cedarpy's process; the wrapper refuses 110, 800, 1,400 and 10,000 terms."""
    crash = "import cedarpy; cedarpy.PolicySet.from_str('permit(principal,action,resource) when {' + '||'.join(['true']*1400) + '};').to_pst()"
    assert subprocess.run([sys.executable, "-c", crash], capture_output=True, check=False).returncode < 0
    for terms in (110, 800, 1_400, 10_000):
        policy = chained("permit", terms, {"Value": True})
        with pytest.raises(OperatorError, match="nests deeper"):
            CedarEngine({PolicyId("x"): policy}, SCHEMA, ENTITIES)


def test_slices_are_bounded(monkeypatch):
    """However many classes of requests there are, only so much is kept, and what was dropped answers again."""
    monkeypatch.setattr("lictor.pdp.engine.selecting.MAX_SLICED", 40)
    monkeypatch.setattr("lictor.pdp.engine.selecting.MAX_COMPILED", 40)
    groups = [
        {"uid": {"type": "Agent", "id": f"n{n}"}, "attrs": {"status": "", "budget": n}, "parents": []}
        for n in range(20)
    ]
    text = "".join(f'permit(principal == Agent::"n{n}", action, resource);' for n in range(20))
    subject = engine(text, entities=[*ENTITIES, *groups])
    for _ in range(2):
        for n in range(20):
            assert subject.evaluate(("Agent", f"n{n}"), "fs/a", TOOL, CONTEXT).determining == (f"policy{n}",)
            assert subject._selector.slices.weight <= 40
            assert subject._selector.views.weight <= 40
