"""The smallest change of facts that would have changed an answer: found, at its boundary, true, and none where there is none."""

from dataclasses import replace

import pytest

import bundles
from bundles import request, snapshot
from lictor.model.history import Reading
from lictor.model.reasons import Reason
from lictor.policy.compile import compile_bundle
from lictor.policy.whatif import Change, Knob, World, smallest_changes
from lictor.policy.whatif_facts import all_changes

POLICY = (
    (
        bundles.POLICY
        + """
@id("small")
@reason("small amounts")
@owner("alice")
permit (principal, action == Action::"fs/pay", resource) when { context.value.amount <= 1234 };
@id("trusted")
@reason("trusted agents erase")
@owner("alice")
permit (principal, action == Action::"fs/write-file/v1.2", resource)
when { principal.autonomy >= 4 && context.input has mode && context.input.mode < 10 };
"""
    )
    .replace('@id("pays")', '@id("old-pays")')
    .replace(
        'forbid (principal, action in [Action::"spends"], resource)\nunless',
        'permit (principal, action in [Action::"spends"], resource)\nwhen',
    )
)
BUNDLE = bundles.bundle(POLICY)
PDP = compile_bundle(BUNDLE)


def said(name, arguments=None, agent="coder", **facts) -> list[str]:
    asked = request(name, arguments, agent=agent)
    world = World(PDP, asked, snapshot(PDP, asked, **facts))
    return [one.line() for one in smallest_changes(world, all_changes(BUNDLE, world, world.decide()))]


def test_labels_and_directory():
    """A forbid on untrusted content and a stranger: either would have done."""
    found = said("fetch", {"url": "https://evil.example/"}, labels=("untrusted",))
    assert "it would have been allowed if the task had not seen untrusted" in found
    assert "it would have been allowed if the directory listed https://evil.example:443 under 'docs'" in found


def test_a_value_has_its_exact_boundary():
    """Found by halving, in the argument's own form."""
    found = said("pay", {"amount": "50.00"})
    assert "it would have been allowed if the value were at most 12.34 EUR" in found
    assert "it would have been allowed if os:bob had approved it as owner" in found


def test_two_facts_where_one_does_not_suffice():
    """Autonomy and a number among the arguments."""
    found = said("write-file/v1.2", {"path": "a", "mode": 30}, approved=())
    assert found[0].startswith("it would have been allowed if os:bob had approved it as owner")
    quiet = bundles.bundle(POLICY, **{"approvers.toml": None})
    pdp = compile_bundle(quiet)
    asked = request("write-file/v1.2", {"path": "a", "mode": 30})
    world = World(pdp, asked, snapshot(pdp, asked))
    pairs = [one.line() for one in smallest_changes(world, all_changes(quiet, world, world.decide()))]
    assert "it would have been allowed if 'mode' were at most 9 (is 30) and the agent's autonomy were 4 (is 2)" in pairs


def test_structure_has_its_changes_too():
    """A changed definition, a used-up budget, a group."""
    assert "it would have been allowed if the server's definition were the pinned one" in said(
        "read_file", {"path": "a"}, definition="sha256:x"
    )
    assert "it would have been allowed if the agent were in group 'coders'" in said(
        "read_file", {"path": "a"}, agent="guest"
    )
    asked = request("pay", {"amount": "5.00"})
    facts = snapshot(PDP, asked)
    assert facts.task is not None
    import msgspec

    poor = msgspec.structs.replace(facts.task, value_used={"EUR": 99_900})
    found = said("pay", {"amount": "5.00"}, task=poor)
    assert "it would have been allowed if the value were at most 1.00 EUR" in found
    assert (
        "it would have been allowed if the task's budget in EUR were at least 100400 minor units (is 100000)" in found
    )


def test_an_allowed_request_says_what_would_have_stopped_it():
    """The other direction."""
    found = said("fetch", {"url": "https://evil.example/"})
    assert "it would have been denied if the task had seen untrusted:web" in found
    assert said("pay", {"amount": "5.00"})[0].startswith("it would have been")


def test_nothing_is_suggested_where_nothing_helps():
    """A forbid without conditions: no change of facts lifts it."""
    assert said("erase") == []
    assert said("nothing") == []


def test_a_suggestion_is_what_decide_says():
    """Each is carried with the world in which it was decided."""
    asked = request("pay", {"amount": "50.00"})
    world = World(PDP, asked, snapshot(PDP, asked))
    for one in smallest_changes(world, all_changes(BUNDLE, world, world.decide())):
        assert {"Allow": "allowed", "NeedsApproval": "held for approval"}[
            type(one.world.decide()).__name__
        ] == one.outcome


def test_a_change_that_changes_nothing_is_not_suggested():
    """The control: candidates are judged by the engine, not believed."""
    asked = request("erase", {})
    world = World(PDP, asked, snapshot(PDP, asked))
    useless = Change(fact="x", said="the moon were full", apply=lambda one: one)
    assert smallest_changes(world, [useless, useless, Knob(now=5, extreme=0, at=lambda _: useless)]) == ()


def test_a_measure_has_its_boundary():
    """How much lower the total would have had to be."""
    bundle = bundles.bundle(
        '@id("m") @reason("r") @owner("o")\npermit (principal, action, resource) when { context.measures.reads <= 5 };\n',
        **{
            "measures.toml": '[measures.reads]\nof = "count"\nper = ["task"]\nwindow = "1h"\nwhere = { effects = ["read"] }\n'
        },
    )
    pdp = compile_bundle(bundle)
    asked = request("read_file", {"path": "a"})
    from lictor.pdp.measures import asked_of, share_of

    keys = share_of(
        pdp.measures["reads"],
        asked_of(asked, asked.task, pdp.exact[asked.kind, "fs", "read_file"].entry, pdp.directory, {}),
    ).keys
    facts = snapshot(pdp, asked, measures={"reads": (Reading(key=keys[0], version=1, before=41),)})
    world = World(pdp, asked, facts)
    assert world.decide().reason is Reason.NOT_PERMITTED
    (found,) = smallest_changes(world, all_changes(bundle, world, world.decide()))
    assert found.changes == ("measure reads had been at most 4 before it (was 41)",)


@pytest.mark.parametrize("count", [0, 3])
def test_worlds_are_not_touched(count):
    """Searching leaves the facts as they were."""
    asked = request("fetch", {"url": "https://evil.example/"})
    world = World(PDP, asked, snapshot(PDP, asked, labels=("untrusted",)[:count]))
    before = replace(world)
    smallest_changes(world, all_changes(BUNDLE, world, world.decide()))
    assert world == before
