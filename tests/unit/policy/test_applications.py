"""`applications.toml` and `operators`: who may ask for tasks, and what is no application."""

import pytest

from lictor.policy.compile import compile_bundle, parse_guarded
from lictor.policy.lint import lint_bundle
from lictor.policy.load import load_bundle
from lictor.policy.problems import BundleRefused

BASE = {
    "agents.toml": b'purposes = ["work"]\n[agents.helper]\nowner = "os:ann"\nreview_by = 2099-12-31\n',
    "policies/p.cedar": b'@id("reads") @owner("o") @reason("r") permit (principal, action in [Action::"read"], resource);\n',
}
GOOD = """
[applications.desk]
owner = "os:ann"
review_by = 2027-01-31
groups = ["b", "a"]
[[applications.desk.proofs]]
issuer = "corp"
subject = "desk"
"""


def load(**files: str):
    all_files = {**BASE, **{f"{name}.toml": text.encode() for name, text in files.items()}}
    return load_bundle(all_files, parse_guarded(all_files))


def test_an_application_is_read() -> None:
    """Owner, sorted groups, the end of its last day, and its proofs; and it is in the compiled bundle."""
    bundle = load(applications=GOOD)
    desk = compile_bundle(bundle).applications["desk"]
    assert (desk.owner, desk.groups) == ("os:ann", ("a", "b"))
    assert desk.review_by_ms == 1_801_440_000_000
    assert [(proof.issuer, proof.subject) for proof in desk.proofs] == [("corp", "desk")]


def test_it_is_part_of_the_revision() -> None:
    """A bundle that lets another program in is another bundle."""
    assert load(applications=GOOD).revision != load().revision


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('owner = "os:ann"', 'owner = " "', "has no owner"),
        ("review_by = 2027-01-31", "review_by = 2200-01-01", "review_by must be"),
        ("review_by = 2027-01-31", "", "review_by"),
        ('groups = ["b", "a"]', 'groups = ["b c"]', "a name is at most"),
        ("applications.desk", 'applications."d e"', "a name is at most"),
        ('groups = ["b", "a"]', 'secret = "x"', "unknown key"),
        ('subject = "desk"', "", "neither a subject nor a claim"),
        ("[applications.desk]", "colour = 1\n[applications.desk]", "unknown key"),
    ],
)
def test_what_is_no_application_is_refused(old: str, new: str, said: str) -> None:
    """With file, line and a sentence; a secret in the file is one of the faults."""
    with pytest.raises(BundleRefused) as refused:
        load(applications=GOOD.replace(old, new))
    assert said in str(refused.value)
    assert "applications.toml" in str(refused.value)


def test_two_applications_with_one_proof_are_refused() -> None:
    """Whose it is must be certain."""
    with pytest.raises(BundleRefused, match="same proof"):
        load(applications=GOOD + GOOD.replace("desk", "other", 3).replace('subject = "other"', 'subject = "desk"'))


def test_operators_are_groups() -> None:
    """None by default: nobody runs the control plane over the network."""
    people = '[approvers."os:ann"]\ngroups = ["ops"]\n'
    assert compile_bundle(load(approvers=people)).approvers.operators == frozenset()
    assert compile_bundle(load(approvers=f'operators = ["ops"]\n{people}')).approvers.operators == {"ops"}
    for wrong in ('operators = "ops"', "operators = [1]", 'operators = ["a b"]'):
        with pytest.raises(BundleRefused):
            load(approvers=f"{wrong}\n{people}")


def test_a_bundle_that_opens_no_task_is_warned_of() -> None:
    """Nothing else could ever happen in it; one permit is enough, a forbid is none."""
    assert "no_task_opens" in {finding.rule for finding in lint_bundle(load())}
    rules = b'@id("x") @owner("o") @reason("r") %s (principal, action == Action::"task:open", resource);\n'
    for effect, warned in ((b"permit", False), (b"forbid", True)):
        files = {**BASE, "policies/o.cedar": rules % effect}
        found = {finding.rule for finding in lint_bundle(load_bundle(files, parse_guarded(files)))}
        assert ("no_task_opens" in found) is warned
