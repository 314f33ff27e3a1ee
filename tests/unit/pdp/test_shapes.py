"""Shapes: schema text and encoding, judged by the real engine."""

import json
from decimal import Decimal
from typing import Any

import cedarpy
import pytest

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.shapes import (
    Address,
    Decimal4,
    Fields,
    Flag,
    Many,
    Member,
    Moment,
    Opaque,
    Shape,
    Text,
    Whole,
    cedar_type,
    compile_encoder,
    encode,
    pointer,
    quoted,
)

ODD_NAMES = [
    "a-b",
    "a.b",
    "a/b",
    "a b",
    "if",
    "in",
    "has",
    "true",
    "9",
    "",
    "é",
    "😀",
    'a"b\\c\n\0',
    "fn",
    "arg",
    "type",
    "id",
    "__cedar",
    "\u202ex",
    "input",
]


def one(shape: Shape, *, required: bool = False) -> Fields:
    return Fields({"x": Member(shape, required)})


def ask(
    shape: Fields, record: dict[str, Any], opaque: bool, policy: str = "permit(principal, action, resource);"
) -> Any:
    text = f'entity Agent; entity Tool; action "srv/t" appliesTo {{principal: [Agent], resource: [Tool], context: {{input: {cedar_type(shape)}, input_opaque: Bool}}}};'
    schema = cedarpy.Schema.from_str(text)
    present = [{"uid": {"type": kind, "id": "1"}, "attrs": {}, "parents": []} for kind in ("Agent", "Tool")]
    request = {
        "principal": {"type": "Agent", "id": "1"},
        "action": {"type": "Action", "id": "srv/t"},
        "resource": {"type": "Tool", "id": "1"},
        "context": {"input": record, "input_opaque": opaque},
    }
    return cedarpy.is_authorized(
        request, cedarpy.PolicySet.from_str(policy), cedarpy.Entities.from_json_str(json.dumps(present), schema), schema
    )


def holds(shape: Fields, value: dict[str, Any], condition: str) -> bool:
    record, opaque = encode(shape, value)
    result = ask(shape, record, opaque, f"permit(principal, action, resource) when {{ {condition} }};")
    assert result.decision != cedarpy.Decision.NoDecision, result.diagnostics.errors
    assert not result.diagnostics.errors
    return result.decision == cedarpy.Decision.Allow


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_reaches_policy(name: str) -> None:
    """A member of any name is declared, encoded and readable by policy under that name."""
    shape = Fields({name: Member(Text(), required=True)})
    assert holds(shape, {name: "v"}, f'context.input[{quoted(name)}] == "v"')


@pytest.mark.parametrize("name", ["x#count", "__entity", "__extn", "__expr", "\ud800"])
def test_reserved_names_are_never_typed(name: str) -> None:
    """A name that means something to Cedar or to us cannot be a typed member, only an opaque one."""
    with pytest.raises(ValueError):
        Fields({name: Member(Text(), required=True)})
    assert encode(Fields({name: Member(Opaque("reserved"), required=True)}), {name: "v"}) == ({}, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.5, "1.5"),
        (0.1, "0.1"),
        (3, "3.0"),
        (-0.0, "0.0"),
        (-0.5, "-0.5"),
        (1e3, "1000.0"),
        (0.0001, "0.0001"),
        (Decimal("1.50000"), "1.5"),
        (922337203685477.5, "922337203685477.5"),
        (-922337203685477, "-922337203685477.0"),
    ],
)
def test_number_becomes_exact_decimal(value: Any, text: str) -> None:
    """A number with at most four fractional digits is told exactly."""
    assert encode(one(Decimal4()), {"x": value}) == ({"x": {"__extn": {"fn": "decimal", "arg": text}}}, False)
    assert holds(one(Decimal4()), {"x": value}, f'context.input has x && context.input.x == decimal("{text}")')


@pytest.mark.parametrize(
    "value", [1e-5, 10.123456, 1e300, 10**400, 922337203685478, float("nan"), float("inf"), Decimal("0.00001")]
)
def test_number_is_never_rounded(value: Any) -> None:
    """A number that decimal cannot hold is left out and announced, also where the tool requires it."""
    shape = one(Decimal4(), required=True)
    assert encode(shape, {"x": value}) == ({}, True)
    assert holds(shape, {"x": value}, "context.input_opaque && !(context.input has x)")


@pytest.mark.parametrize("value", [2**53, -(2**53), 0, 1.0, 1e3, -0.0])
def test_safe_integers_pass(value: Any) -> None:
    """An integer up to 2^53 becomes a Long; 1.0 is an integer in JSON Schema."""
    record, opaque = encode(one(Whole()), {"x": value})
    assert (record, opaque) == ({"x": int(value)}, False)
    assert type(record["x"]) is int
    assert holds(one(Whole()), {"x": value}, f"context.input has x && context.input.x == {int(value)}")


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 10**4000, 1e300, float("inf")])
def test_unsafe_integers_are_refused(value: Any) -> None:
    """Beyond 2^53 the request is refused before Cedar could overflow (facts S2)."""
    shape = Fields({"a": Member(Many(one(Whole())), required=False)})
    with pytest.raises(CallerError) as caught:
        encode(shape, {"a": [{"x": 1}, {"x": value}]})
    assert (caught.value.reason, caught.value.where) == (Reason.UNSAFE_INTEGER, "/a/1/x")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000Z"),
        ("2024-01-01t00:30:00.5+01:00", "2023-12-31T23:30:00.500Z"),
        ("2024-02-29T23:59:59.123000-05:30", "2024-03-01T05:29:59.123Z"),
        ("0001-01-01T00:00:00z", "0001-01-01T00:00:00.000Z"),
    ],
)
def test_moment_is_canonical_utc(value: str, text: str) -> None:
    """A date-time is told in UTC with milliseconds."""
    assert encode(one(Moment()), {"x": value}) == ({"x": {"__extn": {"fn": "datetime", "arg": text}}}, False)
    assert holds(one(Moment()), {"x": value}, f'context.input has x && context.input.x == datetime("{text}")')


@pytest.mark.parametrize(
    "value",
    [
        "2016-12-31T23:59:60Z",
        "2024-01-01T00:00:00.1234Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "2024-01-01 00:00:00Z",
        "２024-01-01T00:00:00Z",
        "x",
    ],
)
def test_moment_out_of_reach_is_opaque(value: str) -> None:
    """A date-time that Cedar cannot hold exactly is left out and announced."""
    assert encode(one(Moment(), required=True), {"x": value}) == ({}, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("::ffff:0a01:0203", "10.1.2.3"),
    ],
)
def test_address_is_canonical(value: str, text: str) -> None:
    """Addresses are canonical, and a mapped address is the one it reaches, so that ranges hold."""
    assert encode(one(Address()), {"x": value}) == ({"x": {"__extn": {"fn": "ip", "arg": text}}}, False)
    assert holds(one(Address(), required=True), {"x": value}, f'context.input.x == ip("{text}")')


@pytest.mark.parametrize("value", ["010.1.2.3", "10.0.0.0/8", "fe80::1%eth0", "x", 5])
def test_no_address_is_refused(value: Any) -> None:
    """What is not one plain address is refused."""
    with pytest.raises(CallerError):
        encode(one(Address()), {"x": value})


def test_list_is_set_and_count() -> None:
    """A list becomes a Set, its length a Long of its own, optional or required like the list."""
    shape = one(Many(Text()), required=True)
    assert cedar_type(shape) == '{"x": Set<String>, "x#count": Long}'
    assert holds(shape, {"x": ["b", "a", "a"]}, 'context.input.x == ["a","b"] && context.input["x#count"] == 3')
    assert holds(shape, {"x": []}, 'context.input.x.isEmpty() && context.input["x#count"] == 0')


def test_list_goes_as_a_whole() -> None:
    """If one item is unmappable the whole list is left out; its length stays."""
    assert encode(one(Many(Decimal4())), {"x": [1, 1.23456]}) == ({"x#count": 2}, True)
    assert encode(one(Many(Text(), nullable=True)), {"x": ["a", None]}) == ({"x#count": 2}, True)
    assert encode(one(Many(Many(Decimal4()))), {"x": [[1], [1e-9]]}) == ({"x#count": 2}, True)
    assert encode(one(Many(Opaque("mixed"))), {"x": [1, "a"]}) == ({"x#count": 2}, True)
    assert holds(one(Many(Opaque("mixed")), required=True), {"x": [1]}, 'context.input["x#count"] == 1')


def test_null_is_absence() -> None:
    """Null means an absent attribute; under an opaque or undeclared name it is announced."""
    assert encode(one(Text()), {"x": None}) == ({}, False)
    assert encode(one(Opaque("?")), {"x": None}) == ({}, True)
    assert encode(one(Text()), {"y": None}) == ({}, True)


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (Text(), 1),
        (Text(), {"__extn": {"fn": "ip", "arg": "1.2.3.4"}}),
        (Whole(), True),
        (Whole(), 1.5),
        (Whole(), float("nan")),
        (Whole(), "1"),
        (Flag(), 1),
        (Decimal4(), True),
        (Decimal4(), "1.0"),
        (Moment(), 5),
        (Many(Text()), "abc"),
        (Many(Text()), {"0": "a"}),
        (one(Text()), []),
    ],
)
def test_a_value_of_another_kind_is_refused(shape: Shape, value: Any) -> None:
    """The encoder trusts no validation before it: another kind is refused, with place and bounded text."""
    with pytest.raises(CallerError) as caught:
        encode(one(shape), {"x": value})
    assert caught.value.reason is Reason.INVALID_ARGUMENTS
    assert caught.value.where == "/x"


def test_top_level_must_be_an_object() -> None:
    """Arguments that are no object are refused."""
    with pytest.raises(CallerError):
        encode(one(Text()), ["x"])  # type: ignore[arg-type]


def test_encoder_keeps_no_state() -> None:
    """An opaque call leaves no trace in the next one."""
    encoder = compile_encoder(one(Text()))
    assert encoder({"y": 1}) == ({}, True)
    assert encoder({"x": "a"}) == ({"x": "a"}, False)


def test_opaque_has_no_type() -> None:
    """Asking for the type of an opaque part is an error, not an empty type."""
    with pytest.raises(ValueError):
        cedar_type(Many(Opaque("x")))


def test_pointer_stays_on_one_line() -> None:
    """A pointer shown to people is bounded, escaped and one line."""
    assert pointer(["a/b~", "x\ny\u202e", 0]) == "/a~1b~0/x\\u{a}y\\u{202e}/0"
    assert len(pointer(["k" * 1000])) == 81
