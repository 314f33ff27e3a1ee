"""Backtest, draft and what-if over random traffic: an unchanged bundle shows nothing, a changed one does, a draft never allows more."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.model.decision import Allow
from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.leastpriv import draft_bundle
from lictor.policy.load import load_bundle
from lictor.policy.observed import Observed
from lictor.policy.rebase import rebase
from lictor.policy.whatif import World, smallest_changes
from lictor.policy.whatif_facts import all_changes
from lictor.service.calls.traffic import Wanted, passed
from lictor.service.evidence import backtest
from lictor.service.evidence.backtest import merged
from recorded_world import POLICY, READ, STEPS, STRANGER, TrafficWorld, drive, world_bundle

BUNDLE = world_bundle()
TRAFFIC = st.lists(st.sampled_from(STEPS), min_size=1, max_size=14)
BOUNDED = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def differences(world: TrafficWorld, bundle=BUNDLE) -> int:
    report = world.backtest(bundle)
    assert sum(report.counts.values()) == sum(1 for _ in passed(world.store, Wanted()))
    return report.different + report.counts["cannot_tell"]


@BOUNDED
@given(TRAFFIC)
def test_an_unchanged_bundle_shows_zero_differences(steps):
    """Whatever was asked: every answer is the recorded one, and nothing is unknown."""
    assert differences(drive(BUNDLE, steps)) == 0


@pytest.mark.parametrize(
    ("steps", "policy"),
    [
        (
            [READ],
            POLICY.replace('@id("reads")\n@reason("reading is fine")\n@owner("alice")\npermit', '@id("reads")\nforbid'),
        ),
        ([STRANGER, STRANGER], POLICY.replace("context.destination.external", "!context.destination.external")),
        (list(STEPS), POLICY.replace('containsAll(["owner", "money"])', 'contains("owner")')),
        ([READ] * 14, POLICY.replace("> 12", "> 13")),
    ],
)
def test_a_changed_bundle_shows_differences(steps, policy):
    """The control: the same check finds a changed rule."""
    assert policy != POLICY
    assert differences(drive(BUNDLE, steps), world_bundle(policy)) > 0


@pytest.mark.parametrize("broken", ["facts", "comparison"])
def test_a_broken_backtest_is_noticed(monkeypatch, broken):
    """The control of the control: facts not brought over, or a comparison that sees nothing, change what the checks say."""
    world = drive(BUNDLE, list(STEPS))
    if broken == "facts":
        monkeypatch.setattr(
            backtest,
            "rebase",
            lambda pdp, request, snapshot, basis, changed: rebase(
                pdp, request, snapshot, type(basis)(), changed=changed
            ),
        )
        assert differences(world) > 0
    else:
        same = backtest.Sort(kind="unchanged", agent="", action="")
        monkeypatch.setattr(backtest, "compared", lambda *_: same)
        forbidding = world_bundle(POLICY.replace("permit (principal in", "forbid (principal in"))
        assert differences(world, forbidding) == 0


@BOUNDED
@given(TRAFFIC, st.integers(1, 40))
def test_ranges_add_up(steps, length):
    """Any cut of the log, also between a request and its decision, gives the report of the whole."""
    world = drive(BUNDLE, steps)
    other = world_bundle(POLICY.replace("> 12", "> 3").replace("permit (principal,", "forbid (principal,"))
    size = world.store.size()
    parts = [world.backtest(other, Wanted(start=at, stop=min(size, at + length))) for at in range(0, size, length)]
    assert merged(parts) == world.backtest(other)


@BOUNDED
@given(TRAFFIC)
def test_a_draft_allows_the_reads_again_and_nothing_new(steps):
    """Least privilege from any traffic: no read that was used is lost, and nothing at all is newly allowed."""
    world = drive(BUNDLE, steps)
    observed = Observed(world.pdp)
    for facts in world.facts(started=True):
        assert isinstance(observed.add(facts.request, facts.snapshot), Allow)
    if not observed.uses:
        return
    draft = draft_bundle(BUNDLE, BUNDLE.files, observed.uses)
    report = world.backtest(load_bundle(draft.files, parse_guarded(draft.files)))
    assert report.counts["newly_allowed"] == 0
    assert not [group for group in report.groups if group.sort.looser]
    reads = {use.key.action for use in observed.uses if use.entry.effect == "read"}
    denied = [one.sort for one in report.groups if one.sort.kind == "newly_denied"]
    assert not [sort for sort in denied if sort.was == "allow" and sort.action in reads]


@BOUNDED
@given(st.sampled_from(STEPS), TRAFFIC)
def test_every_suggestion_is_true(last, steps):
    """Whatever was decided: what is suggested, once made so, gives exactly the answer that was promised; and it is another one."""
    world = drive(BUNDLE, [*steps[:4], last])
    facts = world.facts()[-1]
    before = World(world.pdp, facts.request, facts.snapshot)
    decision = before.decide()
    words = {"Allow": "allowed", "NeedsApproval": "held for approval", "Deny": "denied"}
    for suggestion in smallest_changes(before, all_changes(BUNDLE, before, decision)):
        after = suggestion.world.decide()
        assert words[type(after).__name__] == suggestion.outcome
        assert type(after) is not type(decision)


def test_the_draft_is_the_engines_own():
    """A draft compiles as any bundle does."""
    world = drive(BUNDLE, list(STEPS))
    observed = Observed(world.pdp)
    for facts in world.facts(started=True):
        observed.add(facts.request, facts.snapshot)
    draft = draft_bundle(BUNDLE, BUNDLE.files, observed.uses)
    compile_bundle(load_bundle(draft.files, parse_guarded(draft.files)))
    text = draft.files["policies/observed.cedar"].decode()
    assert "fs/erase" not in text
    assert "context.value.amount <= 500" in text
