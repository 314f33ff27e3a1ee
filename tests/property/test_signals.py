"""Behavioural signals can only raise an answer: whatever scores arrive, under whatever rules, in whatever order.

The one thing that a signal can end is the absence of one: a rule with `needed` restricts until a first signal of its kind is
there. So the laws about later signals begin with one of each such kind.
"""

from contextlib import suppress
from dataclasses import replace
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bundles import NOW, bundle, request, snapshot
from lictor.lifecycle import signals
from lictor.lifecycle.fold import fold
from lictor.model.catalog import EffectClass
from lictor.model.containment import Restriction
from lictor.model.decision import Allow, Deny, NeedsApproval
from lictor.model.errors import ConflictError
from lictor.model.record import SignalObserved
from lictor.model.signal import FULL, Signal, SignalRule
from lictor.model.snapshot import Snapshot
from lictor.pdp.decide import decide
from lictor.policy.compile import compile_bundle
from store_samples import opened

RANK = {Allow: 0, NeedsApproval: 1, Deny: 2}
PDP = compile_bundle(bundle())
CALLS = {
    "read_file": {"path": "a"},
    "write-file/v1.2": {"path": "a"},
    "erase": {},
    "fetch": {"url": "https://docs.example/"},
    "pay": {"amount": "5"},
}
KINDS = ("drift", "injection")

scores = st.sampled_from([0, 0, 1, 499, 500, 700, FULL, FULL, -1, FULL + 1])
arrivals = st.lists(st.tuples(st.sampled_from(KINDS), scores), max_size=6)
rules = st.dictionaries(
    st.sampled_from(KINDS),
    st.builds(
        lambda at_least, restriction, effects, needed: {
            "at_least": at_least, "restriction": restriction, "effects": tuple(effects), "needed": needed,
        },
        st.sampled_from([1, 500, FULL]), st.sampled_from(list(Restriction)),
        st.sampled_from([tuple(EffectClass), tuple(EffectClass)[1:]]), st.booleans(),
    ),
    min_size=1,
)  # fmt: skip
actions = st.sampled_from(list(CALLS))
approvals = st.sampled_from([(), ("owner",), ("money", "owner")])


def answers(named, name, approved, arriving):
    """The rank of the answer before any signal, and after each; a signal that the log refuses changes nothing."""
    pdp = replace(PDP, signals={kind: SignalRule(kind=kind, **rule) for kind, rule in named.items()})
    asked = request(name, CALLS[name])
    rows = {key: row for key, row in fold({}.get, opened("t"), NOW).items() if row is not None}
    found = []
    for index, arrival in enumerate((None, *arriving)):
        if arrival is not None:
            kind, score = arrival
            signal = Signal(id=f"sig_{index}", kind=kind, task="t", score=score, source="guard")
            with suppress(ConflictError):
                rows |= fold(rows.get, SignalObserved(signal=signal), NOW)
        known = {kind: score for kind in pdp.signals if (score := signals.highest(rows.get, "t", kind)) is not None}
        facts = snapshot(pdp, asked, approved=approved, signals=known)
        found.append(RANK[type(decide(pdp, asked, Snapshot.decode(facts.encode())))])
    return found


def seen_once(named):
    """A lowest signal of every kind that a rule needs."""
    return [(kind, 0) for kind, rule in named.items() if rule["needed"]]


def check(law, *strategies, examples=200):
    """Run a law on examples."""
    settings(max_examples=examples, database=None, deadline=None, derandomize=True, phases=[Phase.generate])(
        given(*strategies)(law)
    )()


def only_raise():
    """After each signal the answer is at least what it was."""

    def law(named, name, approved, arriving):
        first = seen_once(named)
        found = answers(named, name, approved, [*first, *arriving])[len(first) :]
        assert found == sorted(found), (named, name, arriving)

    check(law, rules, actions, approvals, arrivals, examples=300)


def test_signals_only_raise_the_answer():
    """Monotone in what arrives: no signal, however low, takes back what another did (BEHV-01, BEHV-02)."""
    only_raise()


def test_the_latest_score_instead_of_the_highest_is_found_out():
    """Control: a fold that keeps the last score is caught by the same law."""
    real = signals.observed

    def latest(read, record, at_ms):
        return real(lambda key: None if key[0] == "signal" else read(key), record, at_ms)

    with patch.object(signals, "observed", latest), pytest.raises(AssertionError):
        only_raise()


def test_signals_never_answer_below_policy():
    """With any rules and any signals, also none, the answer is at least policy's own."""

    def law(named, name, approved, arriving):
        without = answers({}, name, approved, [])[0]
        assert all(rank >= without for rank in answers(named, name, approved, arriving))

    check(law, rules, actions, approvals, arrivals)


def test_the_order_of_signals_does_not_matter():
    """Forwards, backwards and sorted: the same answer in the end."""

    def law(named, name, approved, arriving):
        ends = {answers(named, name, approved, order)[-1] for order in (arriving, arriving[::-1], sorted(arriving))}
        assert len(ends) == 1

    check(law, rules, actions, approvals, arrivals, examples=100)


def test_more_rules_only_raise_the_answer():
    """A rule more, a lower threshold: never laxer."""

    def law(named, name, approved, arriving, kind):
        fewer = {other: rule for other, rule in named.items() if other != kind}
        eager = {other: {**rule, "at_least": 1} for other, rule in named.items()}
        ends = [answers(some, name, approved, arriving)[-1] for some in (fewer, named, eager)]
        assert ends == sorted(ends)

    check(law, rules, actions, approvals, arrivals, st.sampled_from(KINDS), examples=100)


def test_a_low_score_is_no_evidence_of_anything():
    """A signal below every threshold answers as policy alone does, and permits nothing that policy refuses (BEHV-03)."""
    rule = {"at_least": 500, "restriction": Restriction.SUSPENDED, "effects": tuple(EffectClass), "needed": False}
    for name in CALLS:
        assert answers({"drift": rule}, name, (), [("drift", 0)]) == [answers({}, name, (), [])[0]] * 2


def test_signals_of_another_tree_do_not_count():
    """A row belongs to one root."""
    row = fold({}.get, opened("t"), NOW)
    signal = Signal(id="s", kind="drift", task="t", score=FULL, source="guard")
    rows = {**row, **fold(row.get, SignalObserved(signal=signal), NOW)}
    assert signals.highest(rows.get, "t", "drift") == FULL
    assert signals.highest(rows.get, "other", "drift") is None
    assert msgspec.structs.asdict(rows["signal", "t drift"].body)["signal"] == "s"
