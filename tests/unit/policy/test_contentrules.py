"""`labels.toml`: read whole, or refused with file and line."""

import pytest

from lictor.policy.contentrules import read_content_rules
from lictor.policy.documents import read_toml
from lictor.policy.problems import BundleRefused, Problems

ACTIONS = frozenset({"web/fetch"})


def read(text):
    """Rules and the messages of all faults."""
    problems = Problems()
    document = read_toml("labels.toml", text.encode(), problems)
    rules = read_content_rules(document, ACTIONS, problems)
    try:
        problems.raise_if_any()
    except BundleRefused as refused:
        return rules, [str(problem) for problem in refused.problems]
    return rules, []


def test_a_rule_is_read_with_its_families():
    """Who is `confidential:card` is `confidential`."""
    rules, faults = read('[rules.card]\nlabels = ["confidential:card"]\nholds = ["card"]\nactions = ["web/fetch"]\n')
    assert not faults
    assert rules[0].labels == ("confidential", "confidential:card")
    assert rules[0].holds == ("card",)


@pytest.mark.parametrize(
    "text",
    [
        'labels = ["a"]',
        '[rules.x]\nlabels = ["a"]',
        '[rules.x]\nlabels = []\nholds = ["card"]',
        '[rules.x]\nlabels = ["a b"]\nholds = ["card"]',
        '[rules.x]\nlabels = ["a"]\nholds = ["passport"]',
        '[rules.x]\nlabels = ["a"]\ncontains = ["ab"]',
        '[rules.x]\nlabels = ["a"]\ncontains = ["\\u200b\\u200b\\u200b"]',
        '[rules.x]\nlabels = ["a"]\nmatches = ["abc"]\nholds = ["card"]',
        '[rules.x]\nlabels = ["a"]\nholds = ["card"]\nactions = ["web/other"]',
        '[rules."x y"]\nlabels = ["a"]\nholds = ["card"]',
    ],
)
def test_a_rule_that_says_nothing_or_something_unknown_is_refused(text):
    """A misspelled rule is no rule."""
    _, faults = read(text + "\n")
    assert faults
    assert faults[0].startswith("labels.toml:")
