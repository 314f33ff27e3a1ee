"""Restrictions, longer chains and contracts can only raise an answer on `Allow < NeedsApproval < Deny`."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bundles import NOW, bundle, request, snapshot
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.contract import Binding, Clause, Contract, ContractSource
from lictor.model.decision import Allow, Decision, Deny, NeedsApproval
from lictor.model.reasons import Reason
from lictor.model.task import TaskState, TaskStatus
from lictor.pdp import decide as deciding
from lictor.pdp.containment import touching
from lictor.pdp.decide import Pdp, decide
from lictor.policy.compile import compile_bundle

RANK = {Allow: 0, NeedsApproval: 1, Deny: 2}
AGENTS = """\
purposes = ["development"]
[agents.coder]
owner = "alice"
review_by = 2027-01-31
groups = ["coders"]
[agents.guest]
owner = "alice"
review_by = 2027-01-31
[agents.boss]
owner = "alice"
review_by = 2027-01-31
groups = ["coders"]
"""
PDP = compile_bundle(bundle(**{"agents.toml": AGENTS}))
CALLS = {
    "read_file": {"path": "a"},
    "write-file/v1.2": {"path": "a"},
    "erase": {},
    "fetch": {"url": "https://docs.example/"},
    "pay": {"amount": "5"},
}

restrictions = st.builds(
    Containment,
    id=st.sampled_from(["c1", "c2", "c3"]),
    scope=st.just(Scope.EVERYTHING),
    target=st.just(""),
    restriction=st.sampled_from(list(Restriction)),
    by=st.just("os:op"),
)
actions = st.sampled_from(list(CALLS))
approvals = st.sampled_from([(), ("owner",), ("money", "owner")])


def check(law: Callable[..., None], *strategies: st.SearchStrategy[object], examples: int = 150) -> None:
    settings(max_examples=examples, database=None, deadline=None, derandomize=True, phases=[Phase.generate])(
        given(*strategies)(law)
    )()


def link(task_id: str, agent: str, parents: tuple[str, ...] = ()) -> TaskState:
    """A live parent task."""
    base = snapshot(PDP, request("erase")).task.task
    return TaskState(task=msgspec.structs.replace(base, id=task_id, agent=agent, parents=parents))


def raises_only(pdp: Pdp, before: Decision, after: Decision) -> None:
    assert RANK[type(after)] >= RANK[type(before)], (before, after)


def containments_only_raise(pdp: Pdp = PDP) -> None:
    def law(name, approved, laid, more):
        asked = request(name, CALLS[name])
        found = snapshot(pdp, asked, approved=approved)
        one = decide(pdp, asked, msgspec.structs.replace(found, containments=tuple(laid)))
        two = decide(pdp, asked, msgspec.structs.replace(found, containments=(*laid, more)))
        raises_only(pdp, decide(pdp, asked, found), one)
        raises_only(pdp, one, two)

    check(law, actions, approvals, st.lists(restrictions, max_size=2), restrictions)


def test_a_restriction_only_raises_the_answer():
    """Any restriction, on top of any others, with and without approval."""
    containments_only_raise()


def test_a_restriction_that_answers_anew_is_found_out(monkeypatch):
    """Control: joined as "what the restriction says" instead of the higher of both."""
    real = deciding._contained

    def answering(pdp, asked, found, ready, decision):
        upgraded = decision
        if isinstance(decision, Deny):
            upgraded = Allow(
                request=asked.digest, snapshot=decision.snapshot, revision=pdp.revision, reason=Reason.PERMITTED
            )
        return real(pdp, asked, found, ready, upgraded)

    monkeypatch.setattr(deciding, "_contained", answering)
    with pytest.raises(AssertionError):
        containments_only_raise()


@pytest.mark.parametrize(
    ("restriction", "name", "approved", "expected", "reason"),
    [
        ("step_up", "read_file", (), NeedsApproval, Reason.CONTAINED),
        ("step_up", "read_file", ("owner",), Allow, Reason.PERMITTED),
        ("step_up", "erase", (), Deny, Reason.FORBIDDEN),
        ("read_only", "read_file", (), Allow, Reason.PERMITTED),
        ("read_only", "write-file/v1.2", ("owner",), Deny, Reason.CONTAINED),
        ("suspended", "read_file", ("owner",), Deny, Reason.CONTAINED),
    ],
)
def test_what_each_restriction_does(restriction, name, approved, expected, reason):
    """Step-up asks, read-only lets read, suspended lets nothing; policy's own refusal stays policy's."""
    asked = request(name, CALLS[name])
    laid = Containment(id="c", scope=Scope.EVERYTHING, target="", restriction=Restriction(restriction), by="os:op")
    found = msgspec.structs.replace(snapshot(PDP, asked, approved=approved), containments=(laid,))
    decision = decide(PDP, asked, found)
    assert (type(decision), decision.reason) == (expected, reason)


@pytest.mark.parametrize(
    ("scope", "target", "touched"),
    [
        ("everything", "", True),
        ("agent", "coder", True),
        ("agent", "boss", True),
        ("agent", "guest", False),
        ("owner", "alice", True),
        ("owner", "bob", False),
        ("task", "t", True),
        ("task", "above", True),
        ("task", "beside", False),
        ("server", "fs", True),
        ("server", "mail", False),
        ("action", "fs/erase", True),
        ("action", "fs/pay", False),
    ],
)
def test_what_a_restriction_touches(scope, target, touched):
    """Agents and tasks of the whole chain, their owners, the server and the action; nothing else."""
    laid = Containment(id="c", scope=Scope(scope), target=target, restriction=Restriction.SUSPENDED, by="os:op")
    agents = (PDP.agents["coder"], PDP.agents["boss"], None)
    assert bool(touching([laid], request("erase"), ("t", "above"), agents)) is touched


def chained(name: str, approved: tuple[str, ...], *parents: TaskState):
    """The same question, asked for a task that was delegated through these."""
    asked = request(name, CALLS[name])
    found = snapshot(PDP, asked, approved=approved)
    task = msgspec.structs.replace(found.task.task, parents=tuple(parent.task.id for parent in parents))
    agents = tuple(PDP.agents.get(parent.task.agent) for parent in parents)
    state = msgspec.structs.replace(found.task, task=task)
    return asked, msgspec.structs.replace(found, task=state, parents=parents, principals=agents)


def parents_only_raise() -> None:
    def law(name, approved, agent):
        asked = request(name, CALLS[name])
        alone = decide(PDP, asked, snapshot(PDP, asked, approved=approved))
        raises_only(PDP, alone, decide(PDP, *chained(name, approved, link("p", agent))))

    check(law, actions, approvals, st.sampled_from(["guest", "boss"]))
    asked, found = chained("read_file", (), link("p", "guest"))
    assert isinstance(decide(PDP, asked, found), Deny), "the parent may not read, so the child may not"


def test_a_child_can_never_do_more_than_its_parent():
    """Policy is asked for every agent of the chain; the answer is the hardest."""
    parents_only_raise()


def test_asking_only_for_the_child_is_found_out(monkeypatch):
    """Control: policy asked for the agent that asks alone."""
    real = deciding._evaluate
    monkeypatch.setattr(
        deciding,
        "_evaluate",
        lambda pdp, asked, ready, context: real(
            pdp, asked, msgspec.structs.replace(ready, principals=ready.principals[:1]), context
        ),
    )
    with pytest.raises(AssertionError, match="may not"):
        parents_only_raise()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: {"parents": ()}, Reason.DELEGATION),
        (lambda found: {"parents": (None,)}, Reason.DELEGATION),
        (lambda found: {"principals": (None,)}, Reason.UNKNOWN_AGENT),
        (lambda found: {"parents": (link("other", "boss"),)}, Reason.DELEGATION),
        (lambda found: {"parents": (link("p", "coder"),), "principals": (PDP.agents["coder"],)}, Reason.DELEGATION),
        (lambda found: {"parents": (msgspec.structs.replace(found.parents[0], status=TaskStatus.CLOSED),)}, Reason.TASK_CLOSED),
        (lambda found: {"principals": (msgspec.structs.replace(PDP.agents["boss"], active=False),)}, Reason.AGENT_INACTIVE),
        (lambda found: {"principals": (msgspec.structs.replace(PDP.agents["boss"], review_by_ms=NOW),)}, Reason.AGENT_REVIEW_OVERDUE),
    ],
)  # fmt: skip
def test_a_broken_chain_has_no_authority(change, reason):
    """Missing, foreign, doubled, closed or unreviewed links: denied, with the reason (DELG-05, DELG-09)."""
    asked, found = chained("read_file", (), link("p", "boss"))
    assert isinstance(decide(PDP, asked, found), Allow)
    decision = decide(PDP, asked, msgspec.structs.replace(found, **change(found)))
    assert (type(decision), decision.reason) == (Deny, reason)


# -- contracts ---------------------------------------------------------------------------------------------------------

clauses = st.builds(
    Clause,
    action=st.sampled_from([f"fs/{name}" for name in CALLS]),
    bind=st.dictionaries(st.sampled_from(["to"]), st.builds(Binding, values=st.just(("a",))), max_size=1),
    calls=st.integers(0, 2),
)


def test_a_drafted_contract_only_raises_the_answer():
    """Whatever it lists: it refuses what it does not cover, and permits nothing."""

    def law(name, approved, found_clauses, used):
        asked = request(name, CALLS[name])
        found = snapshot(PDP, asked, approved=approved)
        contract = Contract(source=ContractSource.DRAFTED, clauses=tuple(found_clauses))
        state = msgspec.structs.replace(
            found.task, contract=contract, contract_used=tuple(used for _ in contract.clauses)
        )
        bound = decide(PDP, asked, msgspec.structs.replace(found, task=state))
        raises_only(PDP, decide(PDP, asked, found), bound)
        covered = any(
            c.action == asked.action and not c.bind and (not c.calls or used < c.calls) for c in found_clauses
        )
        if not covered and isinstance(decide(PDP, asked, found), Allow):
            assert isinstance(bound, Deny)
            assert bound.reason in {Reason.OUTSIDE_CONTRACT, Reason.CONTRACT_USED}

    check(law, actions, approvals, st.lists(clauses, max_size=3), st.integers(0, 2))


# -- what a task has seen, and what is missing -----------------------------------------------------------------------------

labels = st.sets(st.sampled_from(["untrusted", "untrusted:web", "confidential", "z"]), max_size=3)


def parents_labels_only_raise() -> None:
    def law(name, seen):
        asked, found = chained(name, (), link("p", "boss"))
        tainted = msgspec.structs.replace(found.parents[0], labels=tuple(sorted(seen)))
        raises_only(
            PDP, decide(PDP, asked, found), decide(PDP, asked, msgspec.structs.replace(found, parents=(tainted,)))
        )

    check(law, actions, labels)
    asked, found = chained("fetch", (), link("p", "boss"))
    asked = request("fetch", {"url": "https://evil.example/"})
    tainted = msgspec.structs.replace(found.parents[0], labels=("untrusted:web",))
    assert isinstance(decide(PDP, asked, found), Allow)
    assert isinstance(decide(PDP, asked, msgspec.structs.replace(found, parents=(tainted,))), Deny), "not seen"


def test_a_label_of_a_parent_only_raises_the_answer():
    """What anybody in the tree has seen, the child has seen."""
    parents_labels_only_raise()


def test_a_build_that_forgets_the_parents_labels_is_found_out(monkeypatch):
    """Control: the child's own labels alone."""
    real = deciding.facts.build_context
    monkeypatch.setattr(
        deciding.facts, "build_context", lambda asked, found, chain, *rest: real(asked, found, chain[:1], *rest)
    )
    with pytest.raises(AssertionError, match="not seen"):
        parents_labels_only_raise()


def test_a_missing_fact_only_raises_the_answer():
    """Agent, task, definition, a link of the chain: without it the answer is never lower."""

    def law(name, approved, missing):
        asked, found = chained(name, approved, link("p", "boss"))
        gone = msgspec.structs.replace(found, **missing)
        raises_only(PDP, decide(PDP, asked, found), decide(PDP, asked, gone))

    absent = st.sampled_from(
        [
            {"agent": None},
            {"task": None},
            {"definition": None},
            {"parents": ()},
            {"principals": (None,)},
        ]
    )
    check(law, actions, approvals, absent)


# -- signals -----------------------------------------------------------------------------------------------------------

RULED = compile_bundle(
    bundle(
        **{
            "agents.toml": AGENTS,
            "signals.toml": '[signals.anomaly]\nat_least = 0.5\nlay = "step_up"\n'
            '[signals.scan]\nat_least = 0.8\nlay = "suspended"\neffects = ["write"]\nneeded = true\n',
        }
    )
)


def test_a_higher_score_only_raises_the_answer():
    """And one that is needed and absent counts as the highest."""

    def law(name, approved, anomaly, scan, more):
        asked = request(name, CALLS[name])
        found = snapshot(RULED, asked, approved=approved)

        def at(**scores: int | None) -> Decision:
            present = {kind: score for kind, score in scores.items() if score is not None}
            return decide(RULED, asked, msgspec.structs.replace(found, signals=present))

        before = at(anomaly=anomaly, scan=scan)
        raises_only(RULED, before, at(anomaly=min(1_000, anomaly + more), scan=scan))
        raises_only(RULED, before, at(anomaly=anomaly, scan=min(1_000, scan + more)))
        raises_only(RULED, before, at(anomaly=anomaly, scan=None))
        raises_only(RULED, decide(PDP, asked, snapshot(PDP, asked, approved=approved)), before)

    scores = st.integers(0, 1_000)
    check(law, actions, approvals, scores, scores, scores)
