"""A recorded request's facts for another bundle: what stays, what is taken from the bundle, and what nobody knows."""

from dataclasses import replace

import msgspec
import pytest

import bundles
from bundles import request, snapshot
from lictor.model.containment import Containment, Restriction, Scope
from lictor.model.decision import Allow, Deny
from lictor.model.history import Origin
from lictor.model.reasons import Reason
from lictor.pdp.decide import Pdp, decide
from lictor.policy.compile import compile_bundle
from lictor.policy.rebase import Rebased, basis_of, rebase
from recorded_world import FETCH, FILES, MEASURES, READ, drive, world_bundle

BUNDLE = world_bundle()
PDP = compile_bundle(BUNDLE)
(FACTS, READING) = drive(BUNDLE, [FETCH, READ]).facts()


def rebased(pdp: Pdp, facts=FACTS) -> Rebased:
    return rebase(pdp, facts.request, facts.snapshot, facts.basis)


def other(policy: str = bundles.POLICY, **changes: str | None) -> Pdp:
    return compile_bundle(world_bundle(policy, **changes))


def test_the_same_bundle_gives_the_same_facts():
    """Byte for byte, so that the decision is the very one."""
    assert rebased(PDP).snapshot.encode() == FACTS.snapshot.encode()
    assert rebased(PDP).unknown == ()


def test_what_the_bundle_says_is_taken_from_it():
    """Revision, registry, groups of the human."""
    agents = (
        bundles.FILES["agents.toml"].replace("autonomy = 2", "autonomy = 5")
        + '[humans."os:alice"]\ngroups = ["staff"]\n'
    )
    found = rebased(other(**{"agents.toml": agents})).snapshot
    assert found.revision != FACTS.snapshot.revision
    assert found.agent is not None
    assert found.agent.autonomy == 5
    assert found.human_groups == ("staff",)
    assert found.task == FACTS.snapshot.task


def test_an_agent_that_is_gone_is_refused():
    """Known and refused: that is a difference, not a gap."""
    pdp = other(**{"agents.toml": bundles.FILES["agents.toml"].replace("agents.coder", "agents.painter")})
    found = rebased(pdp)
    decision = decide(pdp, FACTS.request, found.snapshot)
    assert decision.reason is Reason.UNKNOWN_AGENT
    assert found.tells(decision)


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        (
            {
                "measures.toml": MEASURES
                + '\n[measures.fresh]\nof = "count"\nper = ["task"]\nwindow = "1d"\nwhere = {}\n'
            },
            "measure fresh",
        ),
        ({"measures.toml": MEASURES.replace('window = "1h"', 'window = "2h"')}, "measure reads"),
        ({"catalog/fs.toml": FILES["catalog/fs.toml"].replace('kind = "url" }', 'kind = "text" }')}, "origin of url"),
        ({"signals.toml": '[signals.new]\nat_least = 0.5\nlay = "step_up"\n'}, "signal new"),
        (
            {
                "agents.toml": bundles.FILES["agents.toml"].replace(
                    '[agents.coder]\nowner = "alice"', '[agents.coder]\nowner = "zoe"'
                )
            },
            "restrictions on owner zoe",
        ),
    ],
)
def test_what_was_never_gathered_is_unknown(changes, unknown):
    """Named, and never told as an answer."""
    pdp = other(**changes)
    found = rebased(pdp)
    assert found.unknown == (unknown,)
    assert not found.tells(decide(pdp, FACTS.request, found.snapshot))


def test_a_definition_pinned_anew_is_unknown():
    """Nobody knows what the server would have offered; but what was changed then stays a fact."""
    entry = PDP.exact[FACTS.request.kind, "fs", "fetch"].entry
    moved = msgspec.structs.replace(entry, pin="sha256:new")
    key = (FACTS.request.kind, "fs", "fetch")
    pdp = replace(PDP, exact={**PDP.exact, key: replace(PDP.exact[key], entry=moved)})
    found = rebased(pdp)
    assert "pinned anew" in found.unknown[0]
    assert not found.tells(decide(pdp, FACTS.request, found.snapshot))
    kept = rebase(pdp, FACTS.request, FACTS.snapshot, FACTS.basis, changed=True)
    decision = decide(pdp, FACTS.request, kept.snapshot)
    assert decision.reason is Reason.TOOL_CHANGED
    assert kept.tells(decision)


def test_a_refusal_before_the_unknown_is_told():
    """The arguments are refused before any measure is read."""
    pdp = other(**{"measures.toml": MEASURES.replace('window = "1h"', 'window = "2h"')})
    asked = request("read_file", {"nothing": 1})
    facts = msgspec.structs.replace(snapshot(PDP, asked), measures={})
    found = rebase(pdp, asked, facts, basis_of(PDP, asked))
    decision = decide(pdp, asked, found.snapshot)
    assert isinstance(decision, Deny)
    assert found.unknown
    assert found.tells(decision)


def test_the_directory_vouches_anew():
    """`directory` among the sources is the bundle's word; every other source stays what was recorded."""
    catalogue = bundles.CATALOGUE.replace(
        "value = { amount", 'watch = { to = { pointer = "/to", kind = "account" } }\nvalue = { amount'
    )
    old = compile_bundle(bundles.bundle(**{"catalog/fs.toml": catalogue}))
    listed = compile_bundle(
        bundles.bundle(
            **{"catalog/fs.toml": catalogue, "directory.toml": '[accounts]\nknown = ["DE89370400440532013000"]\n'}
        )
    )
    asked = request("pay", {"amount": "1.00", "to": "DE89370400440532013000"})
    facts = snapshot(old, asked, origins={"to": Origin(sources=("task",), labels=("x",))})
    found = rebase(listed, asked, facts, basis_of(old, asked))
    assert found.snapshot.origins == {"to": Origin(sources=("directory", "task"), labels=("x",))}
    back = rebase(old, asked, found.snapshot, basis_of(listed, asked))
    assert back.snapshot.origins == facts.origins
    assert found.unknown == back.unknown == ()


def test_restrictions_stay_in_force():
    """Those that touch the request; they were facts then."""
    laid = Containment(id="c", scope=Scope.TASK, target=FACTS.request.task, restriction=Restriction.SUSPENDED, by="x")
    facts = msgspec.structs.replace(FACTS.snapshot, containments=(laid,))
    found = rebase(PDP, FACTS.request, facts, FACTS.basis)
    assert decide(PDP, FACTS.request, found.snapshot).reason is Reason.CONTAINED
    assert isinstance(decide(PDP, READING.request, rebased(PDP, READING).snapshot), Allow)
