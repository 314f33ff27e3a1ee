"""Whether a bundle is wider: every part of it counts, what is obviously tighter does not, and the solver's word is needed for the rest."""

from dataclasses import fields
from typing import Any

import pytest

import bundles
from bundles import FILES, POLICY, bundle
from lictor.pdp.roles import Approvers
from lictor.policy import widening as module
from lictor.policy.bundle import Bundle
from lictor.policy.prove.widened import widened
from lictor.policy.widening import widening

OLD = bundle()
AGENTS, APPROVERS = FILES["agents.toml"], FILES["approvers.toml"]
CATALOGUE = FILES["catalog/fs.toml"]


def rule(text: str) -> str:
    """The policies with one more."""
    return f'{POLICY}\n@id("extra")\n{text}\n'


def without(policy: str, name: str) -> str:
    """The policies with one less."""
    kept = [part for part in policy.split("@id(") if part and not part.startswith(f'"{name}"')]
    return "".join(f"@id({part}" for part in kept)


def ways(new: Bundle, old: Bundle = OLD) -> tuple[str, ...]:
    """With the solver."""
    return widening(old, new, widened)


WIDER: dict[str, dict[str, Any]] = {
    "a new agent": {"agents.toml": AGENTS + '\n[agents.new]\nowner = "x"\nreview_by = 2027-01-01\n'},
    "an agent in a group": {"agents.toml": AGENTS.replace("[agents.guest]\n", '[agents.guest]\ngroups = ["coders"]\n')},
    "another autonomy": {"agents.toml": AGENTS.replace("autonomy = 2", "autonomy = 1")},
    "a later review": {"agents.toml": AGENTS.replace("2027-01-31", "2027-02-28", 1)},
    "another owner": {"agents.toml": AGENTS.replace('owner = "alice"', 'owner = "eve"', 1)},
    "a delegation": {"agents.toml": AGENTS.replace("autonomy = 2", 'autonomy = 2\ndelegates_to = ["guest"]')},
    "another proof": {
        "agents.toml": AGENTS.replace("autonomy = 2", 'autonomy = 2\nproofs = [{issuer = "i", subject = "s"}]')
    },
    "a purpose": {"agents.toml": AGENTS.replace('["development"]', '["development", "other"]')},
    "a person's groups": {"agents.toml": AGENTS + '\n[humans."os:a"]\ngroups = ["boss"]\n'},
    "an approver": {"approvers.toml": APPROVERS + '\n[approvers."os:eve"]\ngroups = ["owner"]\n'},
    "an approver's group": {"approvers.toml": APPROVERS.replace('"os:carol"]\ngroups = ["owner"', '"os:carol"]\ngroups = ["owner", "money"')},
    "two eyes": {"approvers.toml": "four_eyes = false\n" + APPROVERS},
    "operators": {"approvers.toml": 'operators = ["owner"]\n' + APPROVERS},
    "the directory": {"directory.toml": '[hosts]\ndocs = ["evil.example"]\n'},
    "an effect class": {"catalog/fs.toml": CATALOGUE.replace('[tools.erase]\neffect = "destructive"', '[tools.erase]\neffect = "read"')},
    "a label less": {"catalog/fs.toml": CATALOGUE.replace('labels = ["untrusted:web"]\n', "")},
    "a resource less": {"catalog/fs.toml": CATALOGUE.replace('[resources."file:///docs/one"]\neffect = "read"\n', "")},
    "measures": {"measures.toml": '[measures.n]\nof = "count"\nper = ["task"]\nwindow = "1h"\nwhere = { effects = ["read"] }\n'},
    "signals": {"signals.toml": '[signals.odd]\nat_least = 0.8\nlay = "step_up"\n'},
    "a permit": {"policy": rule("permit (principal, action, resource);")},
    "a forbid less": {"policy": without(POLICY, "leaks")},
    "a laxer forbid": {"policy": POLICY.replace('unless { context has approval && context.approval.groups.containsAll(["owner", "money"]) }', "unless { context has approval }")},
}  # fmt: skip
TIGHTER: dict[str, dict[str, Any]] = {
    "nothing": {},
    "an agent less": {"agents.toml": AGENTS.split("[agents.guest]")[0]},
    "an agent out of service": {"agents.toml": AGENTS.replace("autonomy = 2", "autonomy = 2\nactive = false")},
    "an earlier review": {"agents.toml": AGENTS.replace("2027-01-31", "2026-12-31", 1)},
    "an approver less": {"approvers.toml": APPROVERS.split('[approvers."os:carol"]')[0]},
    "a tool less": {"catalog/fs.toml": CATALOGUE.replace('[features.sampling]\neffect = "write"\n', "")},
    "a forbid more": {"policy": rule('forbid (principal == Agent::"guest", action, resource);')},
    "a permit less": {"policy": without(POLICY, "writes")},
    "a narrower permit": {"policy": POLICY.replace('resource);\n\n@id("writes")', 'resource) when { context.task.calls < 5 };\n\n@id("writes")')},
}  # fmt: skip


@pytest.mark.parametrize("name", WIDER)
def test_what_may_permit_more_is_named(name: str) -> None:
    """Each part of a bundle, in one way in which it can give more."""
    new = bundle(**WIDER[name])
    assert new.revision != OLD.revision
    assert ways(new)


@pytest.mark.parametrize("name", TIGHTER)
def test_what_permits_no_more_needs_nobody(name: str) -> None:
    """Obviously tighter, or shown to be by the solver."""
    assert ways(bundle(**TIGHTER[name])) == ()


def test_without_the_solver_rewritten_policies_count_as_wider() -> None:
    """What nobody can show is not assumed; what is obvious still is."""
    assert widening(OLD, bundle(**TIGHTER["a narrower permit"]))
    assert widening(OLD, bundle(**TIGHTER["a forbid more"])) == ()
    assert widening(OLD, bundle(**TIGHTER["a permit less"])) == ()


@pytest.mark.parametrize(
    "after",
    [
        ('proofs = [{issuer = "i", subject = "s"}]', ""),
        ('proofs = [{issuer = "i", subject = "s"}]', "active = false"),
        ('proofs = [{issuer = "i", subject = "s"}]', 'active = false\nproofs = [{issuer = "i", subject = "t"}]'),
        ('proofs = [{issuer = "i", subject = "s"}]', None),
    ],
)
def test_an_identity_that_is_set_free_is_wider(after: tuple[str, str | None]) -> None:
    """Who matched two agents was nobody, and is one of them when the other's proof, or the other, goes; so is a person."""
    head, tail = AGENTS.split("[agents.guest]")
    old = bundle(**{"agents.toml": f"{head}[agents.guest]\n{after[0]}{tail}"})
    new = bundle(**{"agents.toml": head if after[1] is None else f"{head}[agents.guest]\n{after[1]}{tail}"})
    assert ways(new, old) == ("agent 'guest' proves itself in another way than before",)


def test_an_agent_that_comes_back_is_wider() -> None:
    """Out of service and in again."""
    gone = bundle(**TIGHTER["an agent out of service"])
    assert ways(OLD, gone) == ("agent 'coder' may have more authority than before",)


def test_operators_that_are_named_no_more_are_wider() -> None:
    """Where nobody is, every approver vouches for applications; one group of two less is tighter."""
    two, one = (
        bundle(**{"approvers.toml": f"operators = {names}\n" + APPROVERS})
        for names in ('["owner", "money"]', '["owner"]')
    )
    assert ways(one, two) == ()
    assert ways(OLD, one) == ("no group is named as operators any more: every approver vouches for applications",)


def test_every_member_of_a_bundle_is_looked_at() -> None:
    """A part that is added to bundles later counts until somebody gives it a rule of its own."""
    named = {one.name for one in fields(Bundle)}
    assert named >= module._OWN_WORD
    assert named - module._OWN_WORD >= {
        "humans",
        "directory",
        "content_rules",
        "measures",
        "signals",
        "credentials",
        "applications",
    }
    approvers = {one.name for one in fields(Approvers)}
    assert approvers == {"groups_of", "four_eyes", "owners", "operators", "authors", "overriders", "viewers"}


@pytest.mark.parametrize("part", ["_policies", "_agents", "_entries", "_approvers", "_others"])
def test_each_part_is_needed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: with one comparison taken out, something wider passes for the same."""
    monkeypatch.setattr(module, part, lambda *_: ())
    assert any(not ways(bundle(**changes)) for changes in WIDER.values())


def test_the_world_of_these_tests_is_the_usual_one() -> None:
    """The bundle that everything is compared with compiles."""
    assert bundles.pdp().revision == OLD.revision
