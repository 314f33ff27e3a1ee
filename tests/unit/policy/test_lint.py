"""Strict validation and our own lints: each finds its fault, and leaves good policy alone."""

import pytest

from bundles import CATALOGUE, bundle
from lictor.policy.lint import has_errors, lint_bundle

HEAD = '@id("p")\n@reason("r")\n@owner("o")\n'
APPROVED = "context has approval && context.approval.groups.contains"


def rules(policy: str, **changes: str | None) -> set[str]:
    """Ids of what is found in one policy."""
    return {finding.rule for finding in lint_bundle(bundle(HEAD + policy, **changes))}


def test_the_fixture_is_clean():
    """A good bundle has no finding at all, but the warning that fs/pay tells nothing."""
    assert [str(finding) for finding in lint_bundle(bundle())] == []


@pytest.mark.parametrize(
    ("rule", "policy"),
    [
        ("invalid", "permit (principal, action, resource) when { principal.nme == 1 };"),
        ("invalid", "forbid (principal, action, resource) when { context.value.amount > 5 };"),
        ("open_permit", "permit (principal, action, resource);"),
        ("open_permit", 'permit (principal, action, resource) when { context.labels.contains("untrusted") };'),
        (
            "approval_without_groups",
            'permit (principal, action in [Action::"write"], resource) when { context has approval };',
        ),
        ("approval_without_groups", "forbid (principal, action, resource) unless { context has approval };"),
        ("approval_without_groups", "forbid (principal, action, resource) unless { context has approval.approver };"),
        ("approval_used_against", f'forbid (principal, action, resource) when {{ {APPROVED}("owner") }};'),
        (
            "approval_used_against",
            f'permit (principal, action in [Action::"read"], resource) unless {{ {APPROVED}("owner") }};',
        ),
        (
            "approval_used_against",
            f'permit (principal, action in [Action::"read"], resource) when {{ !({APPROVED}("owner")) }};',
        ),
        (
            "approval_used_against",
            f'permit (principal, action in [Action::"read"], resource) when {{ if {APPROVED}("owner") then false else true }};',
        ),
        ("always_true", 'permit (principal, action in [Action::"read"], resource) when { true };'),
        (
            "always_true",
            'permit (principal, action in [Action::"read"], resource) when { [].containsAll(context.labels) };',
        ),
        (
            "always_true",
            'permit (principal, action in [Action::"read"], resource) when { context.labels.containsAll([]) };',
        ),
        (
            "always_true",
            'permit (principal, action in [Action::"read"], resource) when { context.digest == context.digest };',
        ),
        ("always_true", 'permit (principal, action in [Action::"read"], resource) when { context.digest like "*" };'),
        (
            "always_true",
            'permit (principal, action in [Action::"read"], resource) when { context.input_opaque || !context.input_opaque };',
        ),
        ("always_false", "forbid (principal, action, resource) when { false };"),
        ("always_false", "forbid (principal, action, resource) when { 1 > 2 };"),
        ("always_true", "forbid (principal, action, resource) unless { !(1 == 2) };"),
        (
            "contradiction",
            "forbid (principal, action, resource) when { context.input_opaque } unless { context.input_opaque };",
        ),
        (
            "contradiction",
            'forbid (principal, action, resource) when { principal.team == "a" && principal.team == "b" };',
        ),
        (
            "contradiction",
            "forbid (principal, action, resource) when { principal.autonomy > 3 && principal.autonomy < 2 };",
        ),
        ("may_overflow", "forbid (principal, action, resource) when { context.task.calls * context.task.age_s > 5 };"),
        (
            "long_chain",
            "forbid (principal, action, resource) when { "
            + " || ".join(f'context.digest == "{n}"' for n in range(17))
            + " };",
        ),
        (
            "look_alike_host",
            'permit (principal, action in [Action::"read"], resource) when { context has destination && context.destination.host like "*docs.example" };',
        ),
        (
            "look_alike_host",
            'permit (principal, action in [Action::"read"], resource) when { context has destination && context.destination.host like "docs.example*" };',
        ),
        (
            "look_alike_host",
            'permit (principal, action == Action::"fs/fetch", resource) when { context.input.url like "https://docs.example*" };',
        ),
        ("unknown_name", 'permit (principal in AgentGroup::"codres", action in [Action::"read"], resource);'),
        ("unknown_name", 'forbid (principal == Agent::"nobody", action, resource);'),
        ("unknown_name", 'forbid (principal, action, resource == Tool::"fs/read-file");'),
        ("unknown_name", 'forbid (principal, action, resource in Server::"git");'),
        (
            "unknown_name",
            'forbid (principal, action, resource) unless { context has approval && context.approval.groups.contains("ownr") };',
        ),
        ("unknown_name", 'forbid (principal, action, resource) unless { context.task.purpose == "development2" };'),
        (
            "unknown_name",
            'forbid (principal, action, resource) when { context has destination && context.destination.directory.contains("dcos") };',
        ),
        (
            "label_never_produced",
            'forbid (principal, action, resource) when { context.labels.contains("untrusted:wbe") };',
        ),
        ("never_matches", 'permit (principal, action == Action::"fs/fetch", resource == Tool::"fs/read_file");'),
        ("hidden_character", '// innocent \u202e comment\npermit (principal, action in [Action::"read"], resource);'),
        ("hidden_character", 'forbid (principal, action, resource) when { context.digest == "a\u200bb" };'),
        ("mixed_script", 'forbid (principal, action, resource) when { context.digest == "p\u0430ypal" };'),
        ("not_ascii", 'forbid (principal, action, resource) when { context.digest == "\u0430\u0430" };'),
    ],
)
def test_each_fault_is_found(rule, policy):
    """The lint that is there for it says so."""
    assert rule in rules(policy)


@pytest.mark.parametrize(
    "policy",
    [
        f'permit (principal, action in [Action::"write"], resource) when {{ {APPROVED}("owner") && context.approval.approver != context.user.id }};',
        f'forbid (principal, action in [Action::"spends"], resource) when {{ !({APPROVED}("money")) }};',
        "forbid (principal, action, resource) when { context has value && context.value.amount + context.value.task_total > 5 };",
        'permit (principal, action in [Action::"read"], resource) when { context has destination && context.destination.host like "*.docs.example" };',
        'permit (principal, action == Action::"fs/fetch", resource) when { context.input.url like "https://docs.example/*" };',
        'forbid (principal, action in [Action::"executes"], resource) when { principal.autonomy > 2 && principal.autonomy < 5 };',
        '// ein Wort auf Deutsch: größer\n@note("ASI02 – ünïcode")\nforbid (principal, action in [Action::"executes"], resource);',
        'forbid (principal, action, resource) when { ["a", "b"].contains(context.task.purpose) == false || context.input_opaque };',
    ],
)
def test_good_policy_is_left_alone(policy):
    """No finding but, at most, names of this test's own."""
    assert rules(policy) <= {"unknown_name"}


def test_missing_annotations_are_warnings():
    """@reason is shown in refusals; @owner is who is asked."""
    found = lint_bundle(bundle('@id("p")\npermit (principal, action in [Action::"read"], resource);'))
    assert {finding.rule for finding in found} == {"missing_reason", "missing_owner"}
    assert not has_errors(found)


def test_findings_name_file_and_line():
    """A hidden character is found where it stands, in catalogues too; a policy where it begins."""
    text = CATALOGUE + "\n# \u200b\n"
    found = lint_bundle(bundle(**{"catalog/fs.toml": text}))
    assert [finding.where for finding in found] == [f"catalog/fs.toml:{text.count(chr(10))}"]
    policy = "\n\n" + HEAD + "permit (principal, action, resource);"
    assert [finding.where for finding in lint_bundle(bundle(policy))] == ["policies/main.cedar:3"]


def test_loose_prefixes_and_unknown_recipients():
    """`file:///docs*` also takes `file:///docs-secret`; what communicates should say with whom."""
    text = CATALOGUE.replace("docs/*", "docs*").replace('destination = { url = "/url" }\n', "")
    assert {finding.rule for finding in lint_bundle(bundle(**{"catalog/fs.toml": text}))} == {
        "loose_prefix",
        "unknown_recipient",
    }


def test_thousand_policies_name_the_right_one():
    """Positions of the engine's errors are ours, also past ten."""
    good = "".join(
        f'@id("p{n}")@reason("r")@owner("o")forbid (principal, action in [Action::"executes"], resource);\n'
        for n in range(300)
    )
    bad = '@id("zz")@reason("r")@owner("o")forbid (principal, action, resource) when { context.nothing };\n'
    found = lint_bundle(bundle(good + bad))
    assert [(finding.rule, finding.policy, finding.where) for finding in found] == [
        ("invalid", "zz", "policies/main.cedar:301")
    ]
