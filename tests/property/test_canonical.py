"""Laws of the canonical form."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lictor.model.canonical import canonical, float_is_unsafe
from lictor.model.limits import Limits
from lictor.protocol.json import read

SAFE = 2**53 - 1
LIMITS = Limits()

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\x00\x1f\x7f", "\u2028\u2029", '/\\"<>&', "\ufb33", "\U0001f600", "\uffff", "\U00010000"]
)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not float_is_unsafe(number))
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | floats | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5), max_leaves=25
)


def _always_quick(value: Any) -> bytes:
    """Control: the fast encoder without its guard."""
    return msgspec.json.encode(value, order="sorted")


def _unsorted(value: Any) -> bytes:
    """Control: bytes that depend on the order in which members were written."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _check(law: Callable[[Any], None], *, examples: int = 400) -> None:
    settings(max_examples=examples, database=None, deadline=None, derandomize=True, phases=[Phase.generate])(
        given(values)(law)
    )()


def _agrees_with_the_reference(encode: Callable[[Any], bytes]) -> Callable[[Any], None]:
    def law(value: Any) -> None:
        assert encode(value) == rfc8785.dumps(value)

    return law


def _ignores_order(encode: Callable[[Any], bytes]) -> Callable[[Any], None]:
    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reverse(value[key]) for key in reversed(value)}
        return [reverse(item) for item in value] if isinstance(value, list) else value

    def law(value: Any) -> None:
        assert encode(value) == encode(reverse(value))

    return law


def test_both_ways_always_give_the_reference_bytes() -> None:
    """Whatever way is taken, the bytes are those of RFC 8785."""
    _check(_agrees_with_the_reference(canonical))


def test_control_the_unguarded_encoder_is_caught() -> None:
    """Without its guard the quick encoder fails the same check."""
    with pytest.raises(AssertionError):
        _check(_agrees_with_the_reference(_always_quick))


def test_order_of_members_never_matters() -> None:
    """Equal values have equal bytes."""
    _check(_ignores_order(canonical))


def test_control_an_encoder_that_keeps_order_is_caught() -> None:
    """An encoder that does not sort fails the same check."""
    with pytest.raises(AssertionError):
        _check(_ignores_order(_unsorted))


def test_canonical_bytes_are_always_read_back_and_stay_the_same() -> None:
    """What we seal, our own door accepts, and sealing it again changes nothing."""

    def law(value: Any) -> None:
        sealed = canonical(value)
        parsed = read(sealed, LIMITS)
        assert parsed.value == value
        assert canonical(parsed.value) == sealed

    _check(law)


def test_different_values_never_share_bytes() -> None:
    """Injective up to JSON equality: the reader's value is the sealed one (so two values cannot share a digest)."""

    @settings(max_examples=300, database=None, deadline=None, derandomize=True)
    @given(values, values)
    def law(one: Any, other: Any) -> None:
        same = json.dumps(read(canonical(one), LIMITS).value, sort_keys=True) == json.dumps(
            read(canonical(other), LIMITS).value, sort_keys=True
        )
        assert (canonical(one) == canonical(other)) == same

    law()
