"""One entry, one encoding."""

import enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import StoreError
from lictor.model.reasons import Reason
from lictor.records.entry import MAX_ENTRY, decode_entry, encode_entry

SCALARS = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(codec="utf-8"))
BODIES = st.dictionaries(
    st.text(st.characters(codec="utf-8")),
    st.recursive(
        SCALARS, lambda x: st.lists(x) | st.dictionaries(st.text(st.characters(codec="utf-8")), x), max_leaves=8
    ),
)


@settings(deadline=None)
@given(BODIES, st.integers(0, 2**53 - 1))
def test_round_trip(body, at):
    """What goes in comes out, whatever the insertion order of keys."""
    data = encode_entry("request.received", at, body)
    assert decode_entry(data) == ("request.received", at, body)
    assert encode_entry("request.received", at, dict(reversed(body.items()))) == data


def test_literal_form():
    """The wire bytes are these."""
    assert encode_entry("decision", 5, {"b": [1, None], "a": "\u00e9"}) == (
        '{"at":5,"body":{"a":"\u00e9","b":[1,null]},"kind":"decision","v":1}'.encode()
    )


def deep(n):
    value = []
    for _ in range(n):
        value = [value]
    return value


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "at", "body"),
    [
        ("k", 0, {"x": 1.0}),
        ("k", 0, {"x": b"1"}),
        ("k", 0, {"x": (1,)}),
        ("k", 0, {"x": {1: 2}}),
        ("k", 0, {"x": Colour.RED}),
        ("k", 0, {"x": 2**53}),
        ("k", 0, {"x": "\ud800"}),
        ("k", 0, {"x": deep(40)}),
        ("k", 0, {"x": deep(100_000)}),
        ("k", 0, {"x": "y" * MAX_ENTRY}),
        ("k", 0, []),
        ("k", -1, {}),
        ("k", 1.0, {}),
        ("k", True, {}),
        ("K", 0, {}),
        ("", 0, {}),
        ("a.b.c", 0, {}),
        ("k\n", 0, {}),
    ],
)
def test_unencodable_is_refused(kind, at, body):
    """What has no exact form is not recorded, so nothing may run on it."""
    with pytest.raises(StoreError) as caught:
        encode_entry(kind, at, body)
    assert caught.value.reason is Reason.CANNOT_RECORD


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"at":0,"body":{},"kind":"k"}',
        b'{"at":0,"body":{},"kind":"k","v":2}',
        b'{"at":0,"body":{},"kind":"k","v":true}',
        b'{"at":0,"body":{},"extra":0,"kind":"k","v":1}',
        b'{"at":0,"body":{},"kind":"k","v":1} ',
        b'{"body":{},"at":0,"kind":"k","v":1}',
        b'{"at":0,"at":0,"body":{},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":1,"a":1},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":1.5},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":1e2},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":9007199254740992},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":"\\u0061"},"kind":"k","v":1}',
        b'{"at":0,"body":{"a":NaN},"kind":"k","v":1}',
        b'{"at":-1,"body":{},"kind":"k","v":1}',
        b'{"at":0,"body":[],"kind":"k","v":1}',
        b'{"at":0,"body":{"a":' + b"[" * 5000 + b"]" * 5000 + b'},"kind":"k","v":1}',
    ],
)
def test_undecodable_is_damage(data):
    """Unknown members and versions, repeated keys and every other spelling are damage."""
    with pytest.raises(StoreError) as caught:
        decode_entry(data)
    assert caught.value.reason is Reason.LOG_DAMAGED
