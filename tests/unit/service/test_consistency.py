"""What must hold between records."""

import pytest

from lictor.model.action import ActionKind
from lictor.model.approval import Approval, Hold
from lictor.model.record import (
    ApprovalGiven,
    DecisionMade,
    DenyOverridden,
    ExecutionEnded,
    ExecutionStarted,
    HoldOpened,
    encode_entry,
)
from lictor.ports import StoredEntry
from lictor.service.evidence import consistency
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.once import SeenIds


def decision(name="d1", outcome="allow", digest="sha256:a", request="r1"):
    return DecisionMade(
        decision=name,
        request=request,
        digest=digest,
        snapshot="s",
        revision="v",
        engine="cedar",
        outcome=outcome,
        reason="x",
    )


def start(name="e1", decision="d1", digest="sha256:a", hold=None, request="r1"):
    return ExecutionStarted(
        execution=name,
        request=request,
        decision=decision,
        digest=digest,
        arguments="sha256:x",
        task="t",
        instance="i",
        hold=hold,
    )


def opened(hold="h1", digest="sha256:a"):
    made = Hold(
        id=hold, request="r1", digest=digest, task="t", agent="a", human="os:h", kind=ActionKind.TOOL, server="s",
        name="n", groups=(("g",),), opened_at_ms=0, expires_at_ms=9,
    )  # fmt: skip
    return HoldOpened(hold=made)


def approval(hold="h1", digest="sha256:a"):
    given = Approval(id="a", hold=hold, digest=digest, approver="os:x", groups=("g",), given_at_ms=0, expires_at_ms=9)
    return ApprovalGiven(approval=given)


def found(*records):
    entries = [StoredEntry(seq, encode_entry(1, record), b"") for seq, record in enumerate(records)]
    return [(one.position, one.message) for one in inconsistencies(entries)]


def test_what_rightly_happened_is_consistent():
    """Control: an allow, its execution and its end; an approval spent once."""
    assert found(decision(), start(), ExecutionEnded(execution="e1", outcome="executed")) == []
    assert found(opened(), approval(), decision(), start(hold="h1")) == []


@pytest.mark.parametrize(
    ("records", "position", "words"),
    [
        ((start(),), 0, "without an allow"),
        ((decision(outcome="deny"), start()), 1, "without an allow"),
        ((decision(outcome="needs_approval"), start()), 1, "without an allow"),
        ((decision(digest="sha256:b"), start()), 1, "another action"),
        ((decision(request="r2"), start()), 1, "another action"),
        ((decision(), start(), start("e2")), 2, "used before"),
        ((decision(), start(hold="h1")), 1, "or never"),
        ((approval(digest="sha256:b"), decision(), start(hold="h1")), 2, "another action"),
        (
            (opened(), approval(), decision(), start(hold="h1"), decision("d2"), start("e2", "d2", hold="h1")),
            5,
            "again",
        ),
        ((approval(), decision(), start(hold="h1")), 2, "not opened"),
        ((decision(), decision()), 1, "decided twice"),
        ((ExecutionEnded(execution="e1", outcome="executed"),), 0, "without having started"),
    ],
)
def test_what_could_not_rightly_happen_is_found(records, position, words):
    """Each broken rule, at its entry."""
    [(at, message)] = found(*records)
    assert at == position
    assert words in message


def test_what_is_no_record_is_found():
    """Bytes that no writer of ours produced."""
    [one] = inconsistencies([StoredEntry(7, b"{}", b"")])
    assert (one.position, "not a record" in one.message) == (7, True)


def test_what_lies_far_back_is_looked_up_a_second_time(monkeypatch):
    """A decision made twice a long time apart, and a deny overridden long after: found with little memory; the control keeps none."""
    monkeypatch.setattr(consistency, "WINDOW", 4)
    between = [record for n in range(9) for record in (decision(f"x{n}"), start(f"y{n}", f"x{n}"))]
    end = [ExecutionEnded(execution=f"y{n}", outcome="executed") for n in range(9)]
    override = DenyOverridden(hold="h1", request="r1", decision="no", by="os:b", why="w")
    records = [decision("no", outcome="deny"), *between, *end, override, decision("x0"), decision("no", outcome="deny")]
    entries = [StoredEntry(seq, encode_entry(1, record), b"") for seq, record in enumerate(records)]
    found = list(inconsistencies(entries, lambda: entries))
    assert [(one.position, "decided twice" in one.message) for one in found] == [(29, True), (30, True)]
    monkeypatch.setattr(consistency.SeenIds, "add", lambda _self, _name: False)
    assert list(inconsistencies(entries, lambda: entries)) == []
    foreign = [*records[:28], DenyOverridden(hold="h1", request="r1", decision="x1", by="os:b", why="w")]
    entries = [StoredEntry(seq, encode_entry(1, record), b"") for seq, record in enumerate(foreign)]
    assert [one.position for one in inconsistencies(entries, lambda: entries)] == [28]


def test_ids_seen_are_never_forgotten():
    """Whatever was added is known; of what was not, hardly anything is."""
    seen = SeenIds()
    assert not any(seen.add(f"dec_{number}") for number in range(20_000))
    assert all(seen.add(f"dec_{number}") for number in range(20_000))
