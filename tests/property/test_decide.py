"""Laws of the decision, on a bundle compiled by the real engine. Each law has a broken variant that it must catch.

What can be looser than what is ranked: Allow < NeedsApproval < Deny.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from cedarpy import Decision as Raw
from cedarpy import Entities, PolicySet, Schema, is_authorized
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bundles import NOW, POLICY, bundle, request, snapshot
from lictor.model.action import ActionKind, ActionRequest
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.ids import ActionDigest, DefinitionDigest, PolicyId, PolicyRevision
from lictor.model.reasons import Reason
from lictor.model.snapshot import Snapshot
from lictor.model.task import TaskStatus
from lictor.pdp.decide import Pdp, decide
from lictor.pdp.engine.cedar import Verdict
from lictor.policy.cedarschema import schema_text
from lictor.policy.compile import bundle_actions, compile_bundle, entities

Decide = Callable[[Pdp, ActionRequest, Snapshot], Decision]
RANK = {Allow: 0, NeedsApproval: 1, Deny: 2}
PDP = compile_bundle(bundle())
AGAIN = compile_bundle(bundle())

FORBIDS = (
    "forbid (principal, action, resource);",
    'forbid (principal in AgentGroup::"coders", action in [Action::"read"], resource);',
    'forbid (principal, action == Action::"fs/write-file/v1.2", resource) when { context.input has mode && context.input.mode > 3 };',
    "forbid (principal, action, resource is Tool) when { context has value && context.value.amount > 100 };",
    'forbid (principal, action, resource in Server::"fs") unless { context has approval && context.approval.groups.contains("money") };',
    'forbid (principal, action, resource) when { context.labels.contains("confidential") };',
)
ERRING = (
    (
        'forbid (principal, action == Action::"fs/write-file/v1.2", resource) when { context.input.mode > 3 };',
        {"path": "a"},
    ),
    (
        'forbid (principal, action == Action::"fs/write-file/v1.2", resource) when { context.input.mode * 9007199254740992 > 3 };',
        {"path": "a", "mode": 2**40},
    ),
    (
        'forbid (principal, action == Action::"fs/write-file/v1.2", resource) unless { context.destination.host == "x" };',
        {"path": "a"},
    ),
    (
        'forbid (principal, action == Action::"fs/write-file/v1.2", resource) when { !(["a"].contains(context.value.currency)) };',
        {"path": "a"},
    ),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
escapes = st.sampled_from(
    [
        {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
        {"__extn": {"fn": "unknown", "arg": "x"}},
        {"__entity": {"type": "Agent", "id": "coder"}},
        {"__expr": "true"},
    ]
)
names = ("read_file", "write-file/v1.2", "erase", "fetch", "pay", "nothing")
paths = st.fixed_dictionaries({"path": st.sampled_from(["a", "/etc/passwd"]), "mode": st.integers(0, 9)})
urls = st.fixed_dictionaries(
    {"url": st.sampled_from(["https://evil.example/", "https://docs.example/", "http://127.0.0.1:8080/", "no url"])}
)
amounts = st.fixed_dictionaries({"amount": st.sampled_from(["0.50", "5", "99999", "-1", "1e9"])})
hostile = st.dictionaries(
    st.sampled_from(["path", "url", "amount", "mode", "content", "_approved", "__extn"]),
    json_values | escapes,
    max_size=4,
)
good = {
    "read_file": st.just({"path": "a"}),
    "write-file/v1.2": paths,
    "erase": st.just({}),
    "fetch": urls,
    "pay": amounts,
    "nothing": st.just({}),
}


@st.composite
def asked(draw: st.DrawFn, *, nasty: bool = False) -> ActionRequest:
    name = draw(st.sampled_from(names))
    arguments = draw(hostile) if nasty else draw(good[name])
    return request(name, arguments, agent=draw(st.sampled_from(["coder", "coder", "guest", "nobody"])))


@st.composite
def facts(draw: st.DrawFn) -> dict[str, Any]:
    """Changes to a snapshot in which everything is in order."""
    return {
        "labels": tuple(sorted(draw(st.sets(st.sampled_from(["untrusted", "confidential", "z"]))))),
        "approved": tuple(sorted(draw(st.sets(st.sampled_from(["owner", "money"]))))),
        "broken": draw(st.sampled_from(["", "", "", "agent", "task", "definition", "approval", "late"])),
    }


def snap(pdp: Pdp, wanted: ActionRequest, given_facts: dict[str, Any]) -> Snapshot:
    """The snapshot these facts describe, with one thing broken where they say so."""
    found = snapshot(pdp, wanted, labels=given_facts["labels"], approved=given_facts["approved"])
    change = msgspec.structs.replace
    match given_facts["broken"]:
        case "agent" if found.agent:
            return change(found, agent=change(found.agent, active=False))
        case "task" if found.task:
            return change(found, task=change(found.task, status=TaskStatus.CLOSED))
        case "definition":
            return change(found, definition=DefinitionDigest("sha256:other"))
        case "approval" if found.approval:
            return change(found, approval=change(found.approval, digest=ActionDigest("sha256:other")))
        case "late":
            return change(found, at_ms=NOW + 10**12)
    return found


def check(law: Callable[..., None], *strategies: st.SearchStrategy[Any], examples: int = 300) -> None:
    settings(max_examples=examples, database=None, deadline=None, derandomize=True, phases=[Phase.generate])(
        given(*strategies)(law)
    )()


def looser(after: Decision, before: Decision) -> bool:
    return RANK[type(after)] < RANK[type(before)]


# -- total and deterministic -----------------------------------------------------------------------------------------


def test_total_and_deterministic_on_hostile_input() -> None:
    """Never an exception, never a fourth answer; a second compilation gives the same bytes; nothing the agent sends is an escape."""

    def law(wanted: ActionRequest, given_facts: dict[str, Any]) -> None:
        before = snap(PDP, wanted, given_facts)
        found = decide(PDP, wanted, before)
        assert type(found) in RANK
        assert found.reason is not Reason.INTERNAL
        assert found.reason is not Reason.POLICY_ERROR
        assert found == decide(AGAIN, wanted, Snapshot.decode(before.encode()))

    check(law, asked(nasty=True), facts())
    check(law, asked(), facts())


# -- adding a forbid -------------------------------------------------------------------------------------------------


def with_policy(text: str) -> Pdp:
    return compile_bundle(bundle(f'{POLICY}\n@id("added")\n{text}\n'))


def forbid_law(added: list[Pdp]) -> Callable[..., None]:
    def law(wanted: ActionRequest, given_facts: dict[str, Any], index: int) -> None:
        before = decide(PDP, wanted, snap(PDP, wanted, given_facts))
        after = decide(added[index], wanted, snap(added[index], wanted, given_facts))
        assert not looser(after, before)

    return law


def test_adding_a_forbid_never_loosens() -> None:
    """Whatever the forbid says."""
    check(forbid_law([with_policy(text) for text in FORBIDS]), asked(), facts(), st.integers(0, len(FORBIDS) - 1))


def test_control_a_forbid_read_as_a_permit_is_caught() -> None:
    """The law above sees a build that gets effects wrong."""
    misread = [with_policy(text.replace("forbid", "permit", 1)) for text in FORBIDS]
    with pytest.raises(AssertionError):
        check(forbid_law(misread), asked(), facts(), st.integers(0, len(FORBIDS) - 1))


# -- taking a fact away ----------------------------------------------------------------------------------------------

FACTS = ("agent", "task", "definition", "approval", "revision")


def removal_law(variant: Decide) -> Callable[..., None]:
    def law(wanted: ActionRequest, given_facts: dict[str, Any], fact: str) -> None:
        found = snap(PDP, wanted, given_facts)
        gone = PolicyRevision("sha256:gone") if fact == "revision" else None
        without = msgspec.structs.replace(found, **{fact: gone})
        before, after = variant(PDP, wanted, found), variant(PDP, wanted, without)
        assert not (type(after) is Allow and type(before) is not Allow)
        if fact in {"agent", "task", "definition", "revision"}:
            assert type(after) is Deny

    return law


def _helpful(pdp: Pdp, wanted: ActionRequest, found: Snapshot) -> Decision:
    """Control: a missing fact is replaced by what it probably is."""
    offering = pdp.offering(wanted.kind, wanted.server, wanted.name)
    pin = offering.entry.pin if offering else None
    return decide(
        pdp,
        wanted,
        msgspec.structs.replace(
            found, agent=found.agent or pdp.agents.get(wanted.agent), definition=found.definition or pin
        ),
    )


def test_taking_a_fact_away_never_allows() -> None:
    """Agent, task, definition, revision: a deny. Approval: never an Allow that was none before."""
    check(removal_law(decide), asked(), facts(), st.sampled_from(FACTS))


def test_control_defaults_for_missing_facts_are_caught() -> None:
    """The law above sees a build that fills gaps."""
    with pytest.raises(AssertionError):
        check(removal_law(_helpful), asked(), facts(), st.sampled_from(FACTS))


# -- adding a label --------------------------------------------------------------------------------------------------


def label_law(variant: Decide) -> Callable[..., None]:
    def law(wanted: ActionRequest, given_facts: dict[str, Any], label: str) -> None:
        before = variant(PDP, wanted, snap(PDP, wanted, given_facts))
        more = {**given_facts, "labels": tuple(sorted({*given_facts["labels"], label}))}
        assert not looser(variant(PDP, wanted, snap(PDP, wanted, more)), before)

    return law


def _forgetful(pdp: Pdp, wanted: ActionRequest, found: Snapshot) -> Decision:
    """Control: only so many labels are remembered."""
    if found.task is None:
        return decide(pdp, wanted, found)
    task = msgspec.structs.replace(found.task, labels=found.task.labels[:1])
    return decide(pdp, wanted, msgspec.structs.replace(found, task=task))


FETCHES = st.builds(request, st.just("fetch"), urls) | asked()
LABELS = st.sampled_from(["untrusted", "confidential", "a", "untrusted:web"])


def test_adding_a_label_never_loosens() -> None:
    """With policies that use labels to restrict, as the baseline does."""
    check(label_law(decide), FETCHES, facts(), LABELS)


def test_control_a_build_that_forgets_labels_is_caught() -> None:
    """The law above sees a bounded memory."""
    with pytest.raises(AssertionError):
        check(label_law(_forgetful), FETCHES, facts(), LABELS)


# -- an error of the engine ------------------------------------------------------------------------------------------


class _Bare:
    """Control: the engine as it comes. A policy that errs is absent (facts S1, S2)."""

    def __init__(self, text: str) -> None:
        made = bundle(text)
        self._schema = Schema.from_str(schema_text(bundle_actions(made)))
        self._entities = Entities.from_json_str(msgspec.json.encode(entities(made)).decode(), self._schema)
        document = {"staticPolicies": {p.id: p.json for p in made.policies}, "templates": {}, "templateLinks": []}
        self._policies = PolicySet.from_json_str(msgspec.json.encode(document).decode())

    def evaluate(
        self, principal: tuple[str, str], action: str, resource: tuple[str, str], context: dict[str, Any]
    ) -> Verdict:
        asked_for = {
            "principal": {"type": principal[0], "id": principal[1]},
            "action": {"type": "Action", "id": action},
            "resource": {"type": resource[0], "id": resource[1]},
            "context": context,
        }
        found = is_authorized(asked_for, self._policies, self._entities, self._schema)
        return Verdict(found.decision is Raw.Allow, tuple(map(PolicyId, sorted(found.diagnostics.reasons))))

    def may_permit(self, principal: tuple[str, str], action: str, resource: tuple[str, str]) -> bool:
        return True

    def groups_named(self, action: str, resource: tuple[str, str]) -> frozenset[str]:
        return frozenset({"owner"})


@pytest.mark.parametrize(("policy", "arguments"), ERRING)
@pytest.mark.parametrize("approved", [(), ("owner",), ("money", "owner")])
def test_an_engine_error_is_a_deny(policy: str, arguments: dict[str, Any], approved: tuple[str, ...]) -> None:
    """Also where an approval would otherwise do; and nobody is asked in vain."""
    text = f'{POLICY}\n@id("added")\n{policy}\n'
    pdp = compile_bundle(bundle(text))
    wanted = request("write-file/v1.2", arguments)
    found = decide(pdp, wanted, snapshot(pdp, wanted, approved=approved))
    assert type(found) is Deny
    assert found.reason is Reason.POLICY_ERROR
    assert found.errors


@pytest.mark.parametrize(("policy", "arguments"), ERRING)
def test_control_the_bare_engine_allows(policy: str, arguments: dict[str, Any]) -> None:
    """Errors taken for absent policies let the very same requests through: the test above sees the difference."""
    text = f'{POLICY}\n@id("added")\n{policy}\n'
    pdp = replace(compile_bundle(bundle(text)), engine=_Bare(text))
    wanted = request("write-file/v1.2", arguments)
    assert type(decide(pdp, wanted, snapshot(pdp, wanted, approved=("owner",)))) is Allow


def test_resources_and_prompts_follow_the_same_laws() -> None:
    """Total for the other kinds too."""

    def law(kind: ActionKind, name: str, arguments: dict[str, Any]) -> None:
        wanted = request(name, arguments, kind=kind)
        found = decide(PDP, wanted, snapshot(PDP, wanted))
        assert found.reason is not Reason.INTERNAL

    uris = st.sampled_from(["file:///docs/a", "file:///docs/../a", "ask", "sampling", "x"]) | st.text(max_size=9)
    check(
        law,
        st.sampled_from(ActionKind),
        uris,
        st.dictionaries(st.sampled_from(["uri", "topic", "x"]), json_values, max_size=2),
    )
