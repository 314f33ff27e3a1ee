"""Two bundles compared over all requests: what is alike is proved alike, what differs is shown by a request both confirm."""

import pytest

from bundles import CATALOGUE, FILES, POLICY, bundle
from lictor.policy.bundle import Bundle
from lictor.policy.prove import difference
from lictor.policy.prove.difference import Change, diff_in_principle
from lictor.policy.prove.prover import Status
from lictor.policy.prove.replay import Answer


def changes(new: Bundle, old: Bundle | None = None) -> dict[tuple[str, str, str], Change]:
    """By action, old answer and new one."""
    found = diff_in_principle(old or bundle(), new)
    return {(one.action, one.old.value, one.new.value): one for one in found.changes}


def test_a_bundle_does_not_differ_from_itself() -> None:
    """Nothing differs, and every action is named as alike."""
    found = diff_in_principle(bundle(), bundle())
    assert found.changes == ()
    assert found.complete
    assert {"fs/erase", "fs/pay", "resource:fs"} <= set(found.same)
    assert not any((found.files, found.entries.changed, found.policies.changed, found.agents.changed))


def test_another_wording_of_the_same_rule_is_no_difference() -> None:
    """What is written otherwise and means the same is proved the same."""
    other = POLICY.replace(
        'when { context.labels.contains("untrusted") && context has destination && context.destination.external };',
        'unless { !context.labels.contains("untrusted") || !(context has destination) || context.destination.external == false };',
    )
    assert other != POLICY
    found = diff_in_principle(bundle(), bundle(other))
    assert found.changes == ()
    assert found.policies.changed == ("leaks",)


def test_a_looser_rule_is_shown() -> None:
    """A narrower forbid: requests that were denied are allowed, each shown by one that both engines confirm."""
    looser = POLICY.replace('contains("untrusted")', 'contains("untrusted:web")')
    found = changes(bundle(looser))
    change = found["fs/fetch", "deny", "allow"]
    assert change.looser
    assert change.status is Status.BROKEN
    assert change.old_answer is not None
    assert change.old_answer.policies == ("leaks",)
    assert change.example is not None
    assert change.example.context["labels"] == ["untrusted"]
    assert 'expect = "deny"  # today: allow' in change.case


def test_what_has_to_be_asked_for_now_is_stricter() -> None:
    """Held is an outcome of its own: allowed before, asked for now."""
    stricter = POLICY.replace(
        'action in [Action::"read"], resource);',
        'action in [Action::"read"], resource) when { context has approval && context.approval.groups.contains("owner") };',
    )
    change = changes(bundle(stricter))["fs/read_file", "allow", "needs_approval"]
    assert not change.looser
    assert change.status is Status.BROKEN


def test_approvers_count() -> None:
    """Without anybody in a group, what was asked for is denied."""
    nobody = bundle(**{"approvers.toml": '[approvers."os:carol"]\ngroups = ["money"]\n'})
    change = changes(nobody)["fs/write-file/v1.2", "needs_approval", "deny"]
    assert change.status is Status.BROKEN


def test_a_changed_effect_class_is_compared() -> None:
    """An entry that is called less dangerous than before is listed, and what follows from it is shown."""
    tamer = bundle(**{"catalog/fs.toml": CATALOGUE.replace('effect = "destructive"', 'effect = "write"')})
    found = diff_in_principle(bundle(), tamer)
    assert found.entries.changed == ("fs/erase",)
    assert ("fs/erase", Answer.DENY, Answer.NEEDS_APPROVAL) in {(c.action, c.old, c.new) for c in found.changes}


def test_what_is_added_and_removed_is_listed() -> None:
    """Entries, policies, agents and files that come and go."""
    new = bundle(
        POLICY + '\n@id("more")\npermit(principal == Agent::"guest", action in [Action::"read"], resource);\n',
        **{
            "agents.toml": FILES["agents.toml"] + '\n[agents.third]\nowner = "alice"\nreview_by = 2027-01-31\n',
            "directory.toml": '[hosts]\nother = ["other.example"]\n',
            "catalog/fs.toml": CATALOGUE.replace('[features.sampling]\neffect = "write"\n', ""),
        },
    )
    found = diff_in_principle(bundle(), new)
    assert found.policies.added == ("more",)
    assert found.agents.added == ("third",)
    assert found.entries.removed == ("feature:fs/sampling",)
    assert found.files == ("directory.toml",)


def test_what_is_not_translated_is_not_called_alike() -> None:
    """An unknown construct in one of the two leaves its actions open."""
    odd = bundle(
        POLICY
        + '\n@id("odd")\nforbid(principal, action == Action::"fs/erase", resource) when { ip("10.0.0.1").isLoopback() };\n'
    )
    found = diff_in_principle(bundle(), odd)
    assert not found.complete
    assert "fs/erase" not in found.same
    assert "odd: ip()" in next(one.detail for one in found.changes if one.action == "fs/erase")


def test_a_comparison_that_does_not_ask_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: if everything were taken for alike, the looser rule would not be seen."""
    monkeypatch.setattr(difference, "_alike", lambda _: True)
    assert changes(bundle(POLICY.replace('contains("untrusted")', 'contains("untrusted:web")'))) == {}
