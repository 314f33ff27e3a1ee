"""Typed arguments: whatever a tool declares and an agent sends, Cedar gets a request it accepts and no forged value.

Two promises, each with a control that breaks it:
* a schema either compiles to a type Cedar accepts or is refused, and every value that passes validation encodes to a
  request that Cedar accepts (no `NoDecision`, no error);
* escapes (`__entity`, `__extn` and their short forms) in arguments never reach Cedar (facts S6).
"""

import json
from collections.abc import Callable
from typing import Any

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.shapes import Fields, cedar_type, encode
from lictor.policy.arguments import ArgumentsValidator
from lictor.policy.toolschema import shape_of

Encode = Callable[[Fields, dict[str, Any]], tuple[dict[str, Any], bool]]
PERMIT = "permit(principal, action, resource);"
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

names = st.one_of(
    st.sampled_from(
        [
            "a",
            "b",
            "a-b",
            "a.b/c",
            "x y",
            "if",
            "in",
            "9",
            "",
            "é",
            "type",
            "id",
            "fn",
            "arg",
            "a#count",
            "__entity",
            "__extn",
            "__expr",
            "\0",
            '"',
            "\\u{0}",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**54), 2**54),
    st.floats(allow_nan=False, allow_infinity=False),
    texts,
    st.sampled_from(
        [
            "2024-01-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2024-01-01T00:00:00.12345+02:00",
            "10.0.0.1",
            "::ffff:10.0.0.1",
            1.5,
            1.0,
            0.00001,
        ]
    ),
)
FORGED: list[Any] = [
    {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
    {"__extn": {"fn": "decimal", "arg": "1.0"}},
    {"__extn": {"fn": "unknown", "arg": "x"}},
    {"__entity": {"type": "Agent", "id": "boss"}},
    {"__expr": "principal"},
    {"type": "Agent", "id": "boss"},
    {"fn": "ip", "arg": "10.0.0.1"},
]
values = st.recursive(
    st.one_of(scalars, st.sampled_from(FORGED)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
leaves = st.one_of(
    st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"]).map(
        lambda kind: {"type": kind}
    ),
    st.sampled_from(["date-time", "ipv4", "ipv6", "uri"]).map(lambda form: {"type": "string", "format": form}),
    st.lists(
        st.sampled_from(["string", "integer", "number", "boolean", "null"]), min_size=1, max_size=3, unique=True
    ).map(lambda kinds: {"type": kinds}),
    st.lists(scalars, min_size=1, max_size=3).map(lambda listed: {"enum": listed}),
    scalars.map(lambda value: {"const": value}),
    st.sampled_from([True, False, {}, {"$ref": "#"}, {"$ref": "#/$defs/d"}, {"$ref": "#/$defs/d", "type": "string"}]),
)


def objects(inner: Any) -> Any:
    return st.builds(
        lambda members, required, extra, sure: {
            "properties": members,
            "required": sorted(members)[:required],
            **extra,
            **({"type": "object"} if sure else {}),
        },
        st.dictionaries(names, inner, max_size=4),
        st.integers(0, 2),
        st.sampled_from([{}, {}, {"additionalProperties": True}, {"additionalProperties": False}]),
        st.booleans(),
    )


def compounds(inner: Any) -> Any:
    several = st.lists(inner, min_size=1, max_size=2)
    return st.one_of(
        objects(inner),
        inner.map(lambda item: {"type": "array", "items": item}),
        st.builds(lambda first, rest: {"type": "array", "prefixItems": first, "items": rest}, several, inner),
        inner.map(lambda part: {"anyOf": [part, {"type": "null"}]}),
        st.builds(lambda keyword, parts: {keyword: parts}, st.sampled_from(["anyOf", "oneOf", "allOf"]), several),
        st.builds(
            lambda base, keyword, parts: {**base, keyword: parts},
            objects(inner),
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            several,
        ),
    )


schemas = st.recursive(leaves, compounds, max_leaves=8)
roots = st.builds(
    lambda root, definition: {**root, "type": "object", "$defs": {"d": definition}}, objects(schemas), schemas
)


@st.composite
def likely(draw: Any, schema: Any, root: Any, depth: int = 0) -> Any:
    """A value that has a fair chance to be valid."""
    if isinstance(schema, bool) or depth > 6 or draw(st.integers(0, 19)) == 0:
        return draw(values)
    if "$ref" in schema:
        return draw(likely(root if schema["$ref"] == "#" else root["$defs"]["d"], root, depth + 1))
    for keyword in ("enum", "const"):
        if keyword in schema:
            return draw(st.sampled_from(schema["enum"])) if keyword == "enum" else schema["const"]
    kinds = schema.get("type")
    kind = draw(st.sampled_from(kinds)) if isinstance(kinds, list) else kinds
    if "properties" in schema:
        record = {
            name: draw(likely(part, root, depth + 1))
            for name, part in schema["properties"].items()
            if name in schema["required"] or draw(st.booleans())
        }
        record |= {name: "x" for name in schema["required"] if name not in record}
        for keyword in ("anyOf", "oneOf", "allOf"):
            for part in schema.get(keyword, []):
                more = draw(likely(part, root, depth + 1))
                record |= more if isinstance(more, dict) else {}
        return record
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema:
            return draw(likely(draw(st.sampled_from(schema[keyword])), root, depth + 1))
    if kind == "array":
        first = [draw(likely(part, root, depth + 1)) for part in schema.get("prefixItems", [])]
        return first + draw(st.lists(likely(schema.get("items", True), root, depth + 1), max_size=2))
    simple = {
        "string": st.sampled_from(["2024-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "10.0.0.1", "::1", "http://a/"])
        | texts,
        "integer": st.integers(-9, 2**53) | st.just(2.0),
        "number": st.floats(-1e3, 1e3) | st.sampled_from([1.5, 2, 0.00001]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return draw(simple.get(kind, values))


def engine(shape: Fields) -> tuple[Any, Any]:
    text = f'entity Agent; entity Tool; action "srv/t" appliesTo {{principal: [Agent], resource: [Tool], context: {{input: {cedar_type(shape)}, input_opaque: Bool}}}};'
    schema = cedarpy.Schema.from_str(text)
    present = [{"uid": {"type": kind, "id": "boss"}, "attrs": {}, "parents": []} for kind in ("Agent", "Tool")]
    return schema, cedarpy.Entities.from_json_str(json.dumps(present), schema)


def ask(shape: Fields, record: dict[str, Any], opaque: bool, policy: str = PERMIT) -> Any:
    schema, entities = engine(shape)
    request = {
        "principal": {"type": "Agent", "id": "boss"},
        "action": {"type": "Action", "id": "srv/t"},
        "resource": {"type": "Tool", "id": "boss"},
        "context": {"input": record, "input_opaque": opaque},
    }
    return cedarpy.is_authorized(request, cedarpy.PolicySet.from_str(policy), entities, schema)


def copying(shape: Fields, value: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Control: the encoder everybody writes first, which hands argument objects on."""
    return {name: item for name, item in value.items() if name in shape.members and item is not None}, False


def escapes(part: Any) -> list[Any]:
    """Every object in Cedar JSON that Cedar may read as an escape."""
    found = []
    if isinstance(part, dict):
        found = [part] if part.keys() & {"__extn", "__entity", "__expr"} else []
        for inner in part.values():
            found += escapes(inner)
    if isinstance(part, list):
        for inner in part:
            found += escapes(inner)
    return found


def check_accepted(encoder: Encode, schema: Any, arguments: Any) -> bool:
    """The first promise for one pair; False where validation or the integer bound refused the arguments."""
    try:
        shape = shape_of(schema)
        validator = ArgumentsValidator(schema)
    except OperatorError:
        return False
    engine(shape)  # raises if Cedar does not accept the type
    try:
        validator.check(arguments)
        record, opaque = encoder(shape, arguments)
    except CallerError as error:
        if error.reason is Reason.INVALID_ARGUMENTS:
            validator_refuses(validator, arguments)
        return False
    result = ask(shape, record, opaque)
    assert result.decision == cedarpy.Decision.Allow, result.diagnostics.errors
    assert not result.diagnostics.errors
    return True


def validator_refuses(validator: ArgumentsValidator, arguments: Any) -> None:
    """The encoder's own type check must never be the one that refuses: the shape would have promised too much."""
    with pytest.raises(CallerError):
        validator.check(arguments)


@QUICK
@given(st.data(), roots)
def test_valid_arguments_are_requests_cedar_accepts(data: Any, schema: Any) -> None:
    """Every schema is typed or refused, and every valid value reaches Cedar as a valid request."""
    check_accepted(encode, schema, data.draw(likely(schema, schema)))


def test_the_generator_reaches_valid_arguments() -> None:
    """The property above is not vacuous: a fair share of the pairs passes validation."""
    passed = []

    @settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data(), roots)
    def count(data: Any, schema: Any) -> None:
        passed.append(check_accepted(encode, schema, data.draw(likely(schema, schema))))

    count()
    assert sum(passed) > 15


def test_control_a_copying_encoder_is_caught() -> None:
    """An encoder that hands objects on fails the same check."""
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "number"}}}}}
    assert check_accepted(encode, schema, {"a": {"b": 1.5}})
    with pytest.raises(AssertionError):
        check_accepted(copying, schema, {"a": {"b": 1.5}})


def check_forgery(encoder: Encode, schema: Any, arguments: Any) -> None:
    """The second promise for one pair: refused, or every escape in the record is one of ours in its place."""
    shape = shape_of(schema)
    try:
        record, _ = encoder(shape, arguments)
    except CallerError:
        return
    for escape in escapes(record):
        assert set(escape) == {"__extn"}
        assert set(escape["__extn"]) == {"fn", "arg"}
        assert escape["__extn"]["fn"] in {"decimal", "datetime", "ip"}
        # Ours are made from a scalar: an object among the arguments that looks like this one would be the forger's.
        assert json.dumps(escape) not in json.dumps(arguments)


PLACES: list[tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    ("top level", lambda typed: {"x": typed}, lambda forged: {"x": forged}),
    (
        "nested",
        lambda typed: {"x": {"type": "object", "properties": {"y": typed}}},
        lambda forged: {"x": {"y": forged}},
    ),
    ("in a list", lambda typed: {"x": {"type": "array", "items": typed}}, lambda forged: {"x": [forged]}),
    ("optional", lambda typed: {"x": {"anyOf": [typed, {"type": "null"}]}}, lambda forged: {"x": forged}),
    (
        "in a list of objects",
        lambda typed: {"x": {"type": "array", "items": {"type": "object", "properties": {"y": typed}}}},
        lambda forged: {"x": [{"y": forged}]},
    ),
    ("undeclared", lambda typed: {"z": typed}, lambda forged: {"x": forged}),
]
TYPED: list[Any] = [
    {"type": "string"},
    {"type": "number"},
    {"type": "integer"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "date-time"},
    {"type": "array"},
    {"type": "object"},
    {},
    {"type": "object", "additionalProperties": True},
    {
        "type": "object",
        "properties": {
            "type": {"type": "string"},
            "id": {"type": "string"},
            "fn": {"type": "string"},
            "arg": {"type": "string"},
            "__entity": {"type": "object"},
            "__extn": {"type": "object", "properties": {"fn": {"type": "string"}, "arg": {"type": "string"}}},
        },
    },
]


@pytest.mark.parametrize("place", PLACES, ids=[place[0] for place in PLACES])
@pytest.mark.parametrize("typed", TYPED, ids=str)
def test_forged_values_never_reach_cedar(place: Any, typed: Any) -> None:
    """Each payload of S6 in each place, with and without a type for it: refused or left out, never an escape."""
    _, declare, put = place
    for forged in FORGED:
        schema = {"type": "object", "properties": declare(typed), "additionalProperties": True}
        check_forgery(encode, schema, put(forged))
        check_accepted(encode, schema, put(forged))


@QUICK
@given(roots, st.dictionaries(names, values, max_size=4))
def test_random_values_never_reach_cedar_as_escapes(schema: Any, arguments: Any) -> None:
    """Also without validation before it, no argument object survives the encoder as an escape."""
    try:
        shape_of(schema)
    except OperatorError:
        return
    check_forgery(encode, schema, arguments)


@pytest.mark.parametrize("forged", FORGED[:5], ids=str)
def test_control_a_copying_encoder_lets_escapes_through(forged: Any) -> None:
    """The forgery check catches an encoder that hands objects on."""
    with pytest.raises(AssertionError):
        check_forgery(copying, {"type": "object", "properties": {"x": {}}}, {"x": forged})


def test_objects_that_look_like_short_forms_are_plain_records() -> None:
    """A declared object with members `type` and `id` is a record for policy, and no entity."""
    schema = {
        "type": "object",
        "properties": {"x": {"type": "object", "properties": {"type": {"type": "string"}, "id": {"type": "string"}}}},
    }
    shape = shape_of(schema)
    record, opaque = encode(shape, {"x": {"type": "Agent", "id": "boss"}})
    policy = 'permit(principal, action, resource) when { context.input has x && context.input.x has id && context.input.x.id == "boss" };'
    assert ask(shape, record, opaque, policy).decision == cedarpy.Decision.Allow
    entity = "permit(principal, action, resource) when { context.input has x && context.input.x == principal };"
    assert ask(shape, record, opaque, entity).decision == cedarpy.Decision.Deny
