"""The lints about places: look-alike hosts and addresses, and forbids that a path of several readings would slip through."""

import pytest

from bundles import bundle
from lictor.policy.lint import lint_bundle

HEAD = '@id("p")\n@reason("r")\n@owner("o")\n'
PATH = "context.destination has path && context.destination.path"


def rules(policy: str) -> set[str]:
    """Ids of what is found in one policy."""
    return {finding.rule for finding in lint_bundle(bundle(HEAD + policy))}


def when(condition: str, effect: str = "permit", word: str = "when") -> str:
    """A policy on everything that has a destination."""
    rest = (
        f"{word} {{ {condition} }};"
        if word == "when"
        else f'when {{ true && context.digest != "" }} unless {{ {condition} }};'
    )
    return f'{effect} (principal, action in [Action::"read"], resource) {rest}'


@pytest.mark.parametrize(
    ("attribute", "pattern"),
    [
        ("destination.address", "*corp.example"),
        ("destination.host", "*corp.example"),
        ("destination.host", "corp.example*"),
        ("destination.host", "https://*.corp.example/*"),
        ("destination.address", "https://*.corp.example"),
    ],
)
def test_a_pattern_that_look_alikes_fit(attribute: str, pattern: str) -> None:
    """`evilcorp.example`, `corp.example.evil`, and `https://evil.example/.corp.example/`."""
    assert "look_alike_host" in rules(when(f'context has destination && context.{attribute} like "{pattern}"'))


@pytest.mark.parametrize(
    ("attribute", "pattern"),
    [
        ("destination.address", "*@corp.example"),
        ("destination.address", "*@*.corp.example"),
        ("destination.address", "*.corp.example"),
        ("destination.address", "alice@*"),
        ("destination.host", "*.corp.example"),
        ("destination.host", "https://corp.example/*"),
        ("destination.scheme", "*corp.example"),
    ],
)
def test_a_pattern_with_a_boundary_is_left_alone(attribute: str, pattern: str) -> None:
    """A dot, an at sign or a slash stands where the name ends."""
    assert "look_alike_host" not in rules(when(f'context has destination && context.{attribute} like "{pattern}"'))


@pytest.mark.parametrize(
    "condition",
    [
        f'context has destination && {PATH} like "/admin/*"',
        f'context has destination && {PATH} == "/admin"',
        f'context has destination && {PATH} != "/read"',
        'context has destination && context.destination has path && ["/a"].contains(context.destination.path)',
        f'context has destination && !(!({PATH} like "/admin/*"))',
    ],
)
def test_a_forbid_on_certain_paths_lets_uncertain_ones_pass(condition: str) -> None:
    """A person should look; the same rule as a permit is fine."""
    assert "path_may_be_absent" in rules(when(condition, "forbid"))
    assert "path_may_be_absent" not in rules(when(condition))


def test_a_forbid_on_all_but_certain_paths_is_right() -> None:
    """What has no certain path is not among them."""
    good = f'context has destination && {PATH} like "/read/*"'
    assert "path_may_be_absent" not in rules(when(good, "forbid", "unless"))
    assert "path_may_be_absent" not in rules(when(f"!({good})", "forbid"))
    assert "path_may_be_absent" in rules(when(f"!({good})", "forbid", "unless"))
