"""The canonical form against the vectors of RFC 8785, and what has none."""

import struct
from enum import StrEnum
from typing import Any

import pytest

from lictor.model.canonical import canonical, canonical_trusted, sha256_digest
from lictor.model.errors import CallerError
from lictor.model.limits import DEPTH_CEILING
from lictor.model.reasons import Reason

# RFC 8785 appendix B: IEEE 754 bits and text. Rows between 2^53 and 1e21 are refused here instead, see below.
NUMBERS = [
    ("0000000000000000", b"0"),
    ("8000000000000000", b"0"),
    ("0000000000000001", b"5e-324"),
    ("8000000000000001", b"-5e-324"),
    ("7fefffffffffffff", b"1.7976931348623157e+308"),
    ("ffefffffffffffff", b"-1.7976931348623157e+308"),
    ("44b52d02c7e14af5", b"9.999999999999997e+22"),
    ("44b52d02c7e14af6", b"1e+23"),
    ("44b52d02c7e14af7", b"1.0000000000000001e+23"),
    ("444b1ae4d6e2ef50", b"1e+21"),
    ("3eb0c6f7a0b5ed8c", b"9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", b"0.000001"),
    ("41b3de4355555553", b"333333333.3333332"),
    ("41b3de4355555554", b"333333333.33333325"),
    ("41b3de4355555555", b"333333333.3333333"),
    ("becbf647612f3696", b"-0.0000033333333333333333"),
    ("43143ff3c1cb0959", b"1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_as_in_rfc_8785_appendix_b(bits: str, text: bytes) -> None:
    """Floats are written as ECMAScript writes them."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == text


def test_the_example_of_rfc_8785_section_3_2() -> None:
    """The RFC's own document gives the RFC's own bytes."""
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(value) == expected.encode()


def test_keys_sort_by_utf_16_units() -> None:
    """RFC 8785 3.2.3: an emoji sorts before U+FB33, which sorting by code point gets wrong."""
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "\u00f6": 7}
    assert canonical(value) == '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"\U0001f600":5,"\ufb33":3}'.encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**53, Reason.UNSAFE_INTEGER),
        (-(2**53), Reason.UNSAFE_INTEGER),
        (2.0**53, Reason.UNSAFE_INTEGER),
        (-1e20, Reason.UNSAFE_INTEGER),
        (float("nan"), Reason.NUMBER_RANGE),
        (float("inf"), Reason.NUMBER_RANGE),
        ("\ud800", Reason.INVALID_UNICODE),
        ({"\udc00": 1}, Reason.INVALID_UNICODE),
        ({"\udc00": 1.5}, Reason.INVALID_UNICODE),
        (["\ud800", 1.5], Reason.INVALID_UNICODE),
        ({"\ud800": 1, "\U0001f600": 2}, Reason.INVALID_UNICODE),
    ],
)
def test_what_has_no_canonical_form_is_refused(value: Any, reason: Reason) -> None:
    """Refused with its reason, at any depth, on both ways."""
    for wrapped in (value, [value], {"a": [1, {"b": value}]}):
        with pytest.raises(CallerError) as caught:
            canonical(wrapped)
        assert caught.value.reason is reason


@pytest.mark.parametrize("edge", [2**53 - 1, -(2**53) + 1, 9007199254740991.0, 1e21, 0, -0.0, True])
def test_the_edges_are_carried(edge: Any) -> None:
    """The last safe numbers on both sides have a canonical form."""
    assert canonical([edge])


def test_nesting_is_bounded() -> None:
    """Up to the ceiling it works, one more is refused, and so is what would overflow the stack."""
    deep: Any = 1
    for _ in range(DEPTH_CEILING):
        deep = [deep]
    assert canonical(deep) == b"[" * DEPTH_CEILING + b"1" + b"]" * DEPTH_CEILING
    for more in (1, 100_000):
        for _ in range(more):
            deep = [deep]
        with pytest.raises(CallerError) as caught:
            canonical(deep)
        assert caught.value.reason is Reason.TOO_DEEP


class _Kind(StrEnum):
    TOOL = "tool"


@pytest.mark.parametrize("value", [(1,), {1: 2}, {None: 1}, b"x", {"a"}, object(), _Kind.TOOL, {_Kind.TOOL: 1}])
def test_what_is_not_json_is_a_defect(value: Any) -> None:
    """No silent conversion of tuples, bytes, enums or foreign keys."""
    with pytest.raises(TypeError):
        canonical([value])


def test_the_trusted_way_falls_back_to_the_careful_one() -> None:
    """A value that the reader does not call plain is walked."""
    assert canonical_trusted({"b": 1, "a": 2}, plain=True) == b'{"a":2,"b":1}'
    assert canonical_trusted({"a": 1.0}, plain=False) == b'{"a":1}'
    with pytest.raises(CallerError):
        canonical_trusted(2**60, plain=False)
    with pytest.raises(CallerError):
        canonical_trusted("\ud800", plain=True)


def test_digest_is_sha256_of_the_bytes() -> None:
    """FIPS 180-4 example."""
    assert sha256_digest(b"abc") == "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
