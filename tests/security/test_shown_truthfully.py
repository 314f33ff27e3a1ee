"""Two different actions never look the same to the person who approves."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.console.held import arguments_of
from lictor.model.action import SealedArguments

NAMES = st.sampled_from(["a", "b", "", "a.b", "[0]", "a[0]", ".", '["a"]', "(all arguments)", "é", "a-b", '"'])
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, "", "0", "null", "{}", "[]"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
Shown = Callable[[dict[str, Any]], object]


def shown(document: dict[str, Any]) -> object:
    """What the page and the terminal make of the arguments."""
    return [(view.path, view.kind, view.text) for view in arguments_of(SealedArguments.seal(document))]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a.b": "x"}, {"a": {"b": "x"}}),
        ({"a[0]": "x"}, {"a": ["x"]}),
        ({"": {"a": "x"}}, {"a": "x"}),
        ({"a": {"": "x"}}, {"a.": "x"}),
        ({"a": {"[0]": "x"}}, {"a": {"": ["x"]}}),
    ],
)
def test_known_pairs_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    """A member with a dot is not a nested member.

    Control: unfixed, each pair is drawn alike, with different digests below.
    """
    assert shown(one) != shown(other)


@given(st.dictionaries(NAMES, VALUES, max_size=3), st.dictionaries(NAMES, VALUES, max_size=3))
@settings(max_examples=1_500, deadline=None)
def test_equal_pictures_are_equal_arguments(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Injective: `shown(a) == shown(b)` implies the same sealed bytes."""
    if shown(one) == shown(other):
        assert SealedArguments.seal(one).data == SealedArguments.seal(other).data
