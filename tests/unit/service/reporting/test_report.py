"""A known story gives exactly these figures, and what was not used is said to be no evidence."""

from typing import Any

import msgspec
import pytest

import bundles
import recorded_world as recorded
import report_world as world
from lictor.cli.reporting.attention import attention
from lictor.model.approval import Approval, Hold
from lictor.model.containment import Restriction
from lictor.model.lease import Lease
from lictor.model.record import (
    ApprovalGiven,
    ContainmentLifted,
    DenyOverridden,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldOpened,
    LeaseAsked,
    LeaseEnded,
    LeaseKept,
    LogEntry,
    TaskOpened,
    decode_entry,
)
from lictor.service.evidence.reporting import standing as standings
from lictor.service.evidence.reporting import tally as tallies
from lictor.service.evidence.reporting.counted import Latest, Spread
from lictor.service.evidence.reporting.evidence import EVIDENCE, NONE, NOT_COUNTED, mechanisms
from lictor.service.evidence.reporting.report import report_of
from lictor.service.evidence.reporting.rules import rules_of
from lictor.service.evidence.reporting.shapes import LogShown, Report
from lictor.service.evidence.reporting.tally import DAY_MS, Tally, tally
from lictor.service.evidence.reporting.titles import JOINED, TAGS, TITLES
from lictor.service.registry import Standing
from lictor.stores.memory import MemoryStore

LOG = LogShown(name="test", size=0, root="", checkpoint="", verified=None, anchor="", findings=())
UNTIL = bundles.NOW + DAY_MS


def reported(store: MemoryStore, bundle: Any, since: int = 0, until: int = UNTIL, log: LogShown = LOG) -> Report:
    """The report of a store."""
    found = tally(store.entries(), since, until)
    return report_of(found, rules_of(found.ruled, store.bundle), bundle=bundle, log=log, version="test")


@pytest.fixture(scope="module")
def report() -> Report:
    """Of the story."""
    store = MemoryStore()
    return reported(store, world.story(store))


def counts(report: Report, *names: str) -> dict[str, int]:
    """Some figures."""
    return {name: report.count(name) for name in names}


# -- the story -------------------------------------------------------------------------------------------------------------


def test_the_figures_of_the_story(report: Report) -> None:
    """Fifteen decisions: five allowed, four held, six denied, each for its reason; two approvals, both spent."""
    expected = {
        "decision.made": 15, "decision.allow": 5, "decision.needs_approval": 4, "decision.deny": 6, "turned.forbidden": 2,
        "turned.default": 1, "turned.definition": 1, "turned.arguments": 1, "turned.catalogue": 1, "approval.hold_opened": 4,
        "approval.given": 2, "approval.by_secret": 2, "execution.started": 5, "execution.approved": 2, "outcome.executed": 5,
        "joined.as_decided": 5, "joined.other_bytes": 0, "joined.two_people": 0, "contain.suspended": 1, "contain.step_up": 1,
        "signal.finding_opened": 1, "privilege.task_opened": 2, "agent.reviewed": 1, "sign_in.passkey": 1,
        "stopped.labels": 1, "stopped.destination": 1, "stopped.origin": 0,
    }  # fmt: skip
    assert counts(report, *expected) == expected


def test_decisions_count_for_the_controls_their_policies_name(report: Report) -> None:
    """One deny by a policy of two frameworks counts in both; a hold counts as one; what is not named counts nowhere."""
    found = {one.id: one for framework in report.frameworks for one in framework.requirements}
    assert (found["ASI01"].denied, found["ASI01"].held, found["ASI01"].policies) == (1, 0, 1)
    assert (found["AC-4"].denied, found["AC-4"].policies) == (1, 1)
    assert (found["ASI02"].denied, found["ASI02"].held) == (0, 1)
    assert (found["ASI03"].denied, found["ASI03"].held, found["ASI03"].policies) == (0, 0, 0)


def test_what_was_not_used_is_no_evidence(report: Report) -> None:
    """Credentials and delegation were not used, nothing was replayed; a browser cannot be in any log."""
    state = {one.id: one.state for one in report.controls}
    assert {state[one] for one in ("C1", "C5", "C7", "C10", "C14", "C17")} == {EVIDENCE}
    assert {state[one] for one in ("C3", "C11", "C15", "C20")} == {NONE}
    assert {state[one] for one in ("C18", "C21")} == {NOT_COUNTED}
    assert [one.last_ms for one in report.controls if one.state != EVIDENCE] == [0] * sum(
        one != EVIDENCE for one in state.values()
    )


def test_a_requirement_needs_more_than_a_loose_fit(report: Report) -> None:
    """What only a control without evidence, or a loose fit, answers to, has no evidence."""
    found = {one.id: one for framework in report.frameworks for one in framework.requirements}
    assert found["NHI2:2025"].state == NONE
    assert found["GOVERN 1.2"].loose == ("C1",)
    assert found["GOVERN 1.2"].state != EVIDENCE
    assert found["T17"].state == EVIDENCE
    assert all(set(one.shown) <= set(one.controls) - set(one.loose) for one in found.values())


def test_an_empty_log_is_evidence_of_nothing() -> None:
    """No green of any kind comes of a log without records."""
    found = reported(MemoryStore(), None)
    assert {one.state for one in found.controls} == {NONE, NOT_COUNTED}
    assert EVIDENCE not in {one.state for framework in found.frameworks for one in framework.requirements}


def test_only_what_was_checked_is_said_to_be() -> None:
    """Replay and verification are evidence when they were done and came out well."""
    store = MemoryStore()
    bundle = world.story(store)
    good = LogShown(
        **{
            **{name: getattr(LOG, name) for name in LOG.__struct_fields__},
            "verified": True,
            "replayed": {"identical": 15},
        }
    )
    bad = LogShown(
        **{
            **{name: getattr(LOG, name) for name in LOG.__struct_fields__},
            "verified": False,
            "replayed": {"different": 15},
        }
    )
    state = {one.id: one.state for one in reported(store, bundle, log=good).controls}
    assert state["C15"] == EVIDENCE
    worse = reported(store, bundle, log=bad)
    assert {one.id: one.state for one in worse.controls}["C15"] == NONE
    assert counts(worse, "check.verified", "check.replayed", "check.differing") == {
        "check.verified": 0, "check.replayed": 0, "check.differing": 15,
    }  # fmt: skip


def test_agents_and_their_use(report: Report) -> None:
    """Each registered agent with what it did; standing is as of the period's end, whatever the clock says now."""
    found = {one.agent: one for one in report.agents}
    assert (found["coder"].allowed, found["coder"].held, found["coder"].denied) == (5, 4, 5)
    assert (found["guest"].allowed, found["guest"].denied) == (0, 1)
    store = MemoryStore()
    later = reported(store, world.story(store), until=bundles.NOW + 400 * DAY_MS)
    assert {one.standing for one in later.agents} == {Standing.OVERDUE.value}


def test_the_period_has_its_beginning_and_not_its_end() -> None:
    """A record at the first moment counts, one at the last does not; restrictions of before still stand."""
    store = MemoryStore()
    bundle = world.story(store)
    aside_at = bundles.NOW - 2 * world.HOUR
    assert counts(reported(store, bundle, since=aside_at), "agent.reviewed") == {"agent.reviewed": 1}
    assert counts(reported(store, bundle, until=aside_at), "agent.reviewed") == {"agent.reviewed": 0}
    after = reported(store, bundle, since=aside_at + 1)
    assert counts(after, "agent.reviewed", "contain.suspended") == {"agent.reviewed": 0, "contain.suspended": 0}
    assert next(one.id for one in after.in_force) == "cnt_x"


# -- records by hand -------------------------------------------------------------------------------------------------------


def fold(*records: tuple[int, Any], since: int = 0) -> Tally:
    """A tally of a few records."""
    found = Tally(since, 10**12)
    for seq, (at, record) in enumerate(records):
        found.take(LogEntry(at=at, record=record), seq)
    return found


def hold(name: str, at: int, **changes: Any) -> Hold:
    """A hold of one group."""
    return Hold(
        id=name, request="req", digest="sha256:d", task="task", agent="coder", human="os:alice", kind="tool", server="fs",
        name="pay", groups=(("owner",),), opened_at_ms=at, expires_at_ms=at + 10_000, **changes,
    )  # fmt: skip


def yes(name: str, by: str, at: int, **changes: Any) -> ApprovalGiven:
    """A yes."""
    approval = Approval(
        id=f"{name}-{by}",
        hold=name,
        digest="sha256:d",
        approver=by,
        groups=("owner",),
        given_at_ms=at,
        expires_at_ms=at,
        **changes,
    )
    return ApprovalGiven(approval=approval)


def started(name: str, **changes: Any) -> ExecutionStarted:
    """A start."""
    given = {
        "request": "req",
        "decision": "d",
        "digest": "sha256:d",
        "arguments": "sha256:a",
        "task": "task",
        "instance": "i",
    }
    return ExecutionStarted(**{"execution": name, **given, **changes})


def test_answers_by_person() -> None:
    """Yes, no, how long it took, and how fast the fastest were."""
    found = fold(
        (1_000, HoldOpened(hold=hold("a", 1_000))), (2_000, yes("a", "os:bob", 2_000)),
        (10_000, HoldOpened(hold=hold("b", 10_000))), (70_000, yes("b", "os:bob", 70_000, strength=3, passkey="k")),
        (80_000, HoldOpened(hold=hold("c", 80_000))), (90_000, HoldDenied(hold="c", by="os:bob")),
    ).people.answers["os:bob"]  # fmt: skip
    assert (found.given, found.denied, found.fast, found.with_passkey, found.last_ms) == (2, 1, 1, 1, 90_000)
    assert (found.took.median_s(), found.took.longest_s()) == (10, 60)


def test_two_people_are_two_people() -> None:
    """Four eyes are counted where two different people approved what then ran; the same person twice is one."""
    both = [(1, HoldOpened(hold=hold("a", 1))), (2, yes("a", "os:bob", 2)), (3, yes("a", "os:carol", 3))]
    assert fold(*both, (4, started("e", hold="a"))).figures["joined.two_people"].count == 1
    twice = [(1, HoldOpened(hold=hold("a", 1))), (2, yes("a", "os:bob", 2)), (3, yes("a", "os:bob", 3))]
    assert "joined.two_people" not in fold(*twice, (4, started("e", hold="a"))).figures


def test_an_override_names_who_what_and_why() -> None:
    """Break-glass is listed with its action, and counted for the person."""
    record = DenyOverridden(hold="a", request="req", decision="d", by="os:bob", why="the plant burns")
    [one] = fold((1, HoldOpened(hold=hold("a", 1, override=True))), (2, record)).people.overrides
    assert (one.by, one.why, one.action, one.agent) == ("os:bob", "the plant burns", "fs/pay", "coder")


def test_credentials_that_stay() -> None:
    """A lease whose revocation failed is listed with its attempts, until it ends."""
    lease = Lease(
        id="l", credential="c", server="fs", destination="d", provider="p", agent="coder", human="os:alice", task="t",
        execution="e", asked_at_ms=1, expires_at_ms=2,
    )  # fmt: skip
    kept = [(1, LeaseAsked(lease=lease)), (2, LeaseKept(lease="l", attempts=7, why="503"))]
    assert [(one.attempts, one.why) for one in fold(*kept).standing.live.values()] == [(7, "503")]
    assert fold(*kept, (3, LeaseEnded(lease="l", outcome="revoked"))).standing.live == {}


def test_other_bytes_than_were_decided_are_counted_apart() -> None:
    """What left must be what was sealed; an execution of which nothing left is neither."""
    ended = [ExecutionEnded(execution="e", outcome="executed", sent=sent) for sent in ("sha256:a", "sha256:b", "")]
    names = [
        set(fold((1, started("e")), (2, one)).figures) & {"joined.as_decided", "joined.other_bytes"} for one in ended
    ]
    assert names == [{"joined.as_decided"}, {"joined.other_bytes"}, set()]


def test_a_lift_of_before_is_known() -> None:
    """A restriction laid before the period and lifted in it is listed once, with both."""
    laid = world.aside(recorded.world_bundle())[-1]
    found = fold((5, laid), (20, ContainmentLifted(containment="cnt_x", by="os:bob")), since=10).standing
    assert [(one.restriction, one.at_ms, one.lifted_at_ms, one.lifted_by) for one in found.laid] == [
        (Restriction.SUSPENDED.value, 5, 20, "os:bob")
    ]
    assert found.in_force == {}


# -- the map ---------------------------------------------------------------------------------------------------------------


def test_every_figure_of_the_map_exists() -> None:
    """No mechanism names a figure that nothing counts; one without figures says why."""
    named = {name for one in mechanisms().values() for name in (*one.figures, *one.beside)}
    assert named <= set(TITLES)
    assert all(bool(one.figures) != bool(one.why_none) for one in mechanisms().values())


def test_every_record_has_words_of_its_own() -> None:
    """A new record type is given its words here too."""
    assert [tag for tag in TAGS if TITLES[tag].startswith("records: ")] == []
    assert set(JOINED) <= set(TITLES)


def test_lists_and_spreads_are_bounded_and_say_how_many() -> None:
    """The newest stay, the total is kept; a median is a value that was there."""
    latest: Latest[int] = Latest(most=3)
    for one in range(10):
        latest.add(one)
    assert (list(latest), latest.total) == ([7, 8, 9], 10)
    spread = Spread()
    for took in (-5, 1_000, 9_000, 10**15):
        spread.add(took)
    assert (spread.median_s(), spread.longest_s(), spread.count) == (1, 7 * 86_400, 4)


# -- bounds ----------------------------------------------------------------------------------------------------------------


def test_what_is_not_told_apart_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Past its bounds a report counts on, and says how much it could not put in its place."""
    monkeypatch.setattr(tallies, "MAX_RULES", 1)
    monkeypatch.setattr(tallies, "MAX_AGENTS", 1)
    monkeypatch.setattr(tallies, "MAX_REASONS", 2)
    monkeypatch.setattr(standings, "MAX_OPEN", 1)
    store = MemoryStore()
    found = reported(store, world.story(store))
    assert found.count("decision.made") == 15
    assert found.left_out["decisions by agent"] == 1
    assert found.left_out["decisions by policy"] > 5
    assert found.left_out["reasons"] == 3
    assert any("decisions by agent" in part.text for line in attention(found) for part in line.parts)


def test_a_bundle_that_was_not_kept_counts_for_no_control() -> None:
    """Decisions of a revision that nobody can read any more are said, and are evidence for no identifier and no kind of rule."""
    store = MemoryStore()
    bundle = world.story(store)
    found = tally(store.entries(), 0, UNTIL)
    rules = rules_of(found.ruled, lambda _: None)
    assert (rules.controls, rules.stopped, rules.policies) == ({}, {}, {})
    lost = report_of(found, rules, bundle=bundle, log=LOG, version="test")
    assert lost.left_out["decisions whose policies were not kept"] == sum(
        one.count for (_, _, named), one in found.ruled.items() if named
    )
    assert {one.id: one for frame in lost.frameworks for one in frame.requirements}["ASI01"].denied == 0


def test_a_name_that_nobody_published_counts_nowhere() -> None:
    """A decision by a policy with an invented control is a decision, and no evidence for anything."""
    store = MemoryStore()
    policy = world.CONTROLLED.replace("ASI01, AC-4", "A01")
    found = reported(store, world.story(store, policy=policy))
    ids = {one.id: one for frame in found.frameworks for one in frame.requirements}
    assert "A01" not in ids
    assert ids["ASI01"].denied == 0


def test_handed_on_tasks_count_for_those_above() -> None:
    """What a child task's agent was allowed, the agents above needed too."""
    store = MemoryStore()
    world.story(store)
    opened = [decode_entry(one.data) for one in store.entries()]
    parent = next(one.record.task for one in opened if isinstance(one.record, TaskOpened))
    child = msgspec.structs.replace(parent, id="task_child", agent="guest", parents=(parent.id,))
    grandchild = msgspec.structs.replace(child, id="task_grand", agent="third", parents=("task_child", parent.id))
    records = [(1, TaskOpened(task=one, opened_by="x")) for one in (parent, child, grandchild)]
    assert fold(*records).above == {"task_child": ("coder",), "task_grand": ("guest", "coder")}
