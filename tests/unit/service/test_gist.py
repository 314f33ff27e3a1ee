"""Gists of stretches put together: sure of what rightly happened, wherever it is cut; never sure of what could not."""

import random

import pytest

from lictor.model.action import ActionKind
from lictor.model.approval import Approval, Hold
from lictor.model.record import (
    ApprovalGiven,
    ContentSeen,
    DecisionMade,
    DenyOverridden,
    EpochRaised,
    ExecutionEnded,
    ExecutionStarted,
    HoldDenied,
    HoldOpened,
    PayloadsErased,
    RequestReceived,
    ShadowDiffered,
    encode_entry,
)
from lictor.ports import StoredEntry
from lictor.records.stretch import DoubtError
from lictor.service.evidence import gist
from lictor.service.evidence.consistency import inconsistencies
from lictor.service.evidence.gist import Listening, Reading, Told


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer bits for ids that were seen: so many short logs would spend their time on clearing them."""
    monkeypatch.setattr("lictor.service.evidence.once._BITS", 1 << 16)
    monkeypatch.setattr("lictor.service.evidence.once._MASK", (1 << 16) - 1)


def asked(number, task="t"):
    return RequestReceived(
        request=f"r{number}", kind=ActionKind.TOOL, server="s", name="n", arguments="a", digest=f"sha256:{number}",
        agent="a", human="os:h", task=task,
    )  # fmt: skip


def made(number, outcome="allow", request=None):
    return DecisionMade(
        decision=f"d{number}", request=request or f"r{number}", digest=f"sha256:{number}", snapshot="s", revision="v",
        engine="cedar", outcome=outcome, reason="x",
    )  # fmt: skip


def begun(number, hold=None, decision=None, task="t"):
    return ExecutionStarted(
        execution=f"e{number}", request=f"r{number}", decision=decision or f"d{number}", digest=f"sha256:{number}",
        arguments="a", task=task, instance="i", hold=hold,
    )  # fmt: skip


def ended(number):
    return ExecutionEnded(execution=f"e{number}", outcome="executed")


def held(number):
    hold = Hold(
        id=f"h{number}", request=f"r{number}", digest=f"sha256:{number}", task="t", agent="a", human="os:h",
        kind=ActionKind.TOOL, server="s", name="n", groups=(("g",),), opened_at_ms=0, expires_at_ms=9,
    )  # fmt: skip
    return HoldOpened(hold=hold)


def approved(number):
    given = Approval(
        id=f"a{number}", hold=f"h{number}", digest=f"sha256:{number}", approver="os:x", groups=("g",), given_at_ms=0,
        expires_at_ms=9,
    )  # fmt: skip
    return ApprovalGiven(approval=given)


def compared(number):
    return ShadowDiffered(
        request=f"r{number}", decision=f"d{number}", task="t", agent="a", action="s/n", was="allow", was_reason="x",
        revision="w", outcome="deny", reason="y",
    )  # fmt: skip


def entries_of(records):
    return [StoredEntry(seq, encode_entry(1, record), b"") for seq, record in enumerate(records)]


def sure(entries, width, told=None):
    """Whether stretches of this width leave no doubt."""

    def back(first, stop):
        return ((one.seq, one.data) for one in entries[first:stop])

    told = told or Told()
    try:
        for start in range(0, len(entries), width):
            reading = Reading(start, back)
            stop = min(start + width, len(entries))
            for first in range(start, stop, 7):
                reading.take(first, [one.data for one in entries[first : min(first + 7, stop)]])
            told.join(reading.gist())
        told.settle(lambda: entries)
    except DoubtError:
        return False
    return True


def odd(entries):
    return list(inconsistencies(entries, lambda: entries))


def life(source, calls=12):
    """Calls of every sort, their commits mixed as concurrent ones are."""
    running = []
    for number in range(calls):
        sort = source.randrange(6)
        if sort < 3:
            shadow = [compared(number)]
            running.append([[asked(number), made(number), begun(number)], [ended(number)], *([shadow] if sort else [])])
        elif sort == 3:
            again = DecisionMade(
                decision=f"d{number}b", request=f"r{number}", digest=f"sha256:{number}", snapshot="s", revision="v",
                engine="cedar", outcome="allow", reason="approved",
            )  # fmt: skip
            first = [asked(number), made(number, "needs_approval"), held(number)]
            spent = [again, begun(number, hold=f"h{number}", decision=f"d{number}b")]
            running.append([first, [approved(number)], spent, [ended(number)]])
        elif sort == 4:
            override = [
                DenyOverridden(hold=f"h{number}", request=f"r{number}", decision=f"d{number}", by="os:b", why="w")
            ]
            running.append([[asked(number), made(number, "deny")], override])
        else:
            running.append([[asked(number, f"t{number}"), made(number, "deny")], [ContentSeen(task="t", source="x")],
                            [PayloadsErased(task=f"t{number}", by="os:x", why="w")]])  # fmt: skip
    records = []
    while running:
        one = source.choice(running[:4])
        records += one.pop(0)
        running = [left for left in running if left]
    return records


def change(records, source):
    """One thing that does not belong."""
    at, other = source.randrange(len(records)), source.randrange(len(records))
    sort = source.randrange(5)
    if sort == 0:
        return [*records[:at], *records[at + 1 :]]
    if sort == 1:
        return [*records[:at], records[other], *records[at:]]
    if sort == 2:
        changed = list(records)
        changed[at], changed[other] = changed[other], changed[at]
        return changed
    if sort == 3:
        return [*records[:at], HoldDenied(hold=f"h{source.randrange(12)}", by="os:x"), *records[at:]]
    extra = source.choice(
        [PayloadsErased(task="t", by="os:x", why="w"), EpochRaised(epoch=1, restored=at, by="os:x"), begun(3), ended(4)]
    )
    return [*records[:at], extra, *records[at:]]


def test_what_rightly_happened_is_never_in_doubt():
    """Wherever the log is cut, through commits and lives: no false alarm, or every log would be read twice."""
    for seed in range(40):
        entries = entries_of(life(random.Random(seed)))
        assert odd(entries) == []
        for width in (1, 2, 3, 8, 64):
            assert sure(entries, width), (seed, width)


def differing(rounds):
    """How often stretches were sure of a log in which reading in order finds something; how often something is found."""
    wrong = found = 0
    for seed in range(rounds):
        source = random.Random(seed)
        entries = entries_of(change(life(source), source))
        if odd(entries):
            found += 1
            wrong += any(sure(entries, width) for width in (1, 2, 3, 8, 64))
    return wrong, found


def test_what_could_not_rightly_happen_is_never_passed():
    """Records dropped, doubled, swapped and slipped in, at every place: doubt wherever reading in order finds something."""
    wrong, found = differing(250)
    assert wrong == 0
    assert found > 60


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("_end", lambda self, _seq, _data, record: self._open.discard(record.execution)),
        ("_decide", lambda self, seq, data, record: self._made.__setitem__(record.decision, (0, seq, data, record))),
        ("_erase", lambda _self, _seq, _data, _record: None),
        ("_compare", lambda _self, _seq, _data, _record: None),
    ],
)
def test_a_reading_with_a_check_taken_out_is_caught(monkeypatch, name, broken):
    """The control: the same logs show each check that is missing."""
    monkeypatch.setattr(gist.Reading, name, broken)
    assert differing(250)[0] > 0


def test_joining_with_a_check_taken_out_is_caught(monkeypatch):
    """The control for what crosses from one stretch to the next."""
    monkeypatch.setattr(gist, "take", lambda *_: "")
    assert differing(250)[0] > 0


def heard(entries, first=0):
    """The same, beside somebody else's reading, from an entry on."""

    def back(start, stop):
        return ((one.seq, one.data) for one in entries[start:stop])

    told = Told()
    if first:
        reading = Reading(0, back)
        reading.take(0, [one.data for one in entries[:first]])
        told.join(reading.gist())
    listening = Listening(told, first, back if first else None)
    assert list(listening.over(entries[first:])) == entries[first:]
    return listening.sure(lambda: entries)


@pytest.mark.parametrize("page", [3, 8, 64])
def test_who_listens_is_as_sure(monkeypatch, page):
    """A page at a time while others read, from wherever: no doubt of what is right, never sure of what is not."""
    monkeypatch.setattr(gist, "AT_A_TIME", page)
    monkeypatch.setattr(gist, "BACK", (page,))
    for seed in range(60):
        source = random.Random(seed)
        records = life(source)
        assert heard(entries_of([asked(1), made(1), begun(1), ended(1)]))
        if page > 8:
            assert heard(entries_of(records))
            assert heard(entries_of(records), first=5)
        wrong = entries_of(change(records, source))
        assert not (odd(wrong) and heard(wrong))


def test_what_is_no_record_is_doubt():
    """Bytes that no writer of ours produced; also two that are one together, and one that is two."""
    whole = encode_entry(1, asked(1))
    cut = whole.index(b',"v"')
    for datas in ([b"{}"], [b""], [whole[:cut], whole[cut:]], [whole + b"\n" + whole, b""], [b" " + whole], ["text"]):
        with pytest.raises(DoubtError):
            Reading(0, lambda *_: []).take(0, datas)
    Reading(0, lambda *_: []).take(0, [whole, whole])  # the control


def test_a_decision_far_back_is_no_leave(monkeypatch):
    """An execution stands near its decision; how near is counted in decisions, as when the log is read in order."""
    far = [made(0), *(made(number, "deny") for number in range(1, 30)), begun(0)]
    assert sure(entries_of(far), 64)
    monkeypatch.setattr(gist, "WINDOW", 8)
    assert not sure(entries_of(far), 64)
    assert not sure(entries_of([made(0), *(ContentSeen(task="t", source="x") for _ in range(5_000)), begun(0)]), 4_096)


def test_too_many_decisions_that_were_perhaps_made_twice_are_doubt(monkeypatch):
    """Memory stays bounded; a log that is right hardly has any."""
    monkeypatch.setattr(gist, "MOST_SUSPECTS", 3)
    monkeypatch.setattr("lictor.service.evidence.once.SeenIds.add", lambda _self, _name: True)
    assert sure(entries_of([made(number) for number in range(3)]), 2)
    assert not sure(entries_of([made(number) for number in range(4)]), 2)
