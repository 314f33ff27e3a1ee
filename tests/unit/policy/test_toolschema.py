"""Tool schemas into shapes: typed, or opaque with a reason, or refused."""

import time
from typing import Any

import cedarpy
import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.shapes import Fields, Many, Opaque, Shape, cedar_type
from lictor.policy.toolschema import shape_of

S = {"type": "string"}
I = {"type": "integer"}  # noqa: E741
N = {"type": "null"}


def untyped_parts(shape: Shape, pointer: str = "") -> list[tuple[str, str]]:
    """What policy cannot see, for people: (JSON pointer with `*` for "any item", reason)."""
    match shape:
        case Opaque(reason):
            return [(pointer, reason)]
        case Many(item):
            return untyped_parts(item, pointer + "/*")
        case Fields(members, closed):
            parts = [] if closed else [(pointer, "members the schema does not declare are allowed")]
            for name, member in members.items():
                parts += untyped_parts(member.shape, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
            return parts
        case _:
            return []


def member(schema: Any, **extra: Any) -> Any:
    return shape_of({"type": "object", "properties": {"x": schema}, "required": ["x"], **extra})


def type_of(schema: Any, **extra: Any) -> str:
    text = cedar_type(member(schema, **extra))
    cedarpy.Schema.from_str(f"entity A; action a appliesTo {{principal: A, resource: A, context: {{input: {text}}}}};")
    return text


CASES: list[tuple[Any, str]] = [
    (S, '{"x": String}'),
    (I, '{"x": Long}'),
    ({"type": "number"}, '{"x"?: decimal}'),
    ({"type": "boolean"}, '{"x": Bool}'),
    ({"type": "string", "enum": ["a", "b"]}, '{"x": String}'),
    ({"enum": ["a", "b"]}, '{"x": String}'),
    ({"enum": ["a", None]}, '{"x"?: String}'),
    ({"enum": [1, 2]}, '{"x": Long}'),
    ({"type": "number", "enum": [1, 2]}, '{"x": Long}'),
    ({"enum": [1, "a"]}, "{}"),
    ({"enum": [{}]}, "{}"),
    ({"const": True}, '{"x": Bool}'),
    ({"const": None}, "{}"),
    ({"type": "string", "format": "date-time"}, '{"x"?: datetime}'),
    ({"type": "string", "format": "ipv4"}, '{"x": ipaddr}'),
    ({"type": "string", "format": "uri"}, '{"x": String}'),
    ({"format": "ipv4"}, "{}"),
    ({"type": ["string", "null"]}, '{"x"?: String}'),
    ({"type": ["integer", "number"]}, '{"x"?: decimal}'),
    ({"type": ["string", "integer"]}, "{}"),
    ({"anyOf": [S, N]}, '{"x"?: String}'),
    ({"oneOf": [S, {"const": "a"}]}, '{"x": String}'),
    ({"anyOf": [S, {}]}, "{}"),
    ({"anyOf": [S, {"type": "object"}]}, "{}"),
    ({"type": "string", "anyOf": [{"minLength": 1}, {"pattern": "x"}]}, '{"x": String}'),
    ({"type": "array", "items": S}, '{"x": Set<String>, "x#count": Long}'),
    ({"type": "array", "items": {"type": ["string", "null"]}}, '{"x"?: Set<String>, "x#count": Long}'),
    ({"type": "array", "items": {"type": "number"}}, '{"x"?: Set<decimal>, "x#count": Long}'),
    ({"type": "array"}, '{"x#count": Long}'),
    ({"type": "array", "items": {"type": "array", "items": I}}, '{"x": Set<Set<Long>>, "x#count": Long}'),
    ({"type": "array", "prefixItems": [S, S], "items": False}, '{"x": Set<String>, "x#count": Long}'),
    ({"type": "array", "prefixItems": [S, S]}, '{"x#count": Long}'),
    ({"type": "array", "prefixItems": [S, I], "items": False}, '{"x#count": Long}'),
    ({"anyOf": [{"type": "array", "items": S}, N]}, '{"x"?: Set<String>, "x#count"?: Long}'),
    ({"items": S}, "{}"),
    ({"type": "object", "properties": {"y": S}}, '{"x": {"y"?: String}}'),
    ({"properties": {"y": S}}, "{}"),
    ({"type": "object"}, '{"x": {}}'),
    ({"type": "object", "additionalProperties": S}, '{"x": {}}'),
    (
        {"type": "array", "items": {"type": "object", "properties": {"y": I}, "required": ["y"]}},
        '{"x": Set<{"y": Long}>, "x#count": Long}',
    ),
    ({"allOf": [S]}, '{"x": String}'),
    ({"allOf": [S, {"format": "uri"}], "default": "a"}, '{"x": String}'),
    (
        {"allOf": [{"type": "object", "properties": {"y": S}}, {"properties": {"z": I}, "required": ["z"]}]},
        '{"x": {"y"?: String, "z": Long}}',
    ),
    ({"allOf": [S, I]}, "{}"),
    ({"type": ["string", "null"], "allOf": [S]}, '{"x": String}'),
    (True, "{}"),
    (False, "{}"),
    ({}, "{}"),
]


@pytest.mark.parametrize(("schema", "text"), CASES)
def test_schema_gives_type(schema: Any, text: str) -> None:
    """Each construct has the Cedar type the table in the facts asks for, and Cedar accepts it."""
    assert type_of(schema) == text


@pytest.mark.parametrize(("schema", "text"), [case for case in CASES if case[1] == "{}"])
def test_untyped_has_a_reason(schema: Any, text: str) -> None:
    """What is not typed is listed for people, with place and reason."""
    ((pointer, reason),) = untyped_parts(member(schema))
    assert pointer == "/x"
    assert reason


@pytest.mark.parametrize("keyword", ["$defs", "definitions"])
def test_local_references_are_inlined(keyword: str) -> None:
    """A local reference is read where it stands, siblings included."""
    assert type_of({"$ref": f"#/{keyword}/A~1b%20c", "description": "d"}, **{keyword: {"A/b c": S}}) == '{"x": String}'


def test_old_drafts_ignore_what_stands_beside_a_reference() -> None:
    """In draft 7 a reference silences its siblings, so they must type nothing."""
    schema = {"$ref": "#/definitions/A", "type": "string"}
    assert type_of(schema, definitions={"A": {}}, **{"$schema": "http://json-schema.org/draft-07/schema#"}) == "{}"
    assert type_of(schema, definitions={"A": {}}) == '{"x": String}'


def test_old_tuples() -> None:
    """Draft 7 tuples are tuples."""
    schema = {"type": "array", "items": [S, S], "additionalItems": False}
    assert (
        type_of(schema, **{"$schema": "http://json-schema.org/draft-07/schema#"})
        == '{"x": Set<String>, "x#count": Long}'
    )


def test_recursion_is_opaque_below_it() -> None:
    """A recursive type is typed once and opaque below."""
    node = {"type": "object", "properties": {"v": S, "next": {"$ref": "#/$defs/N"}}}
    shape = member({"$ref": "#/$defs/N"}, **{"$defs": {"N": node}})
    assert cedar_type(shape) == '{"x": {"v"?: String}}'
    assert untyped_parts(shape) == [("/x/next", "recursive reference '#/$defs/N'")]


def test_a_reference_to_itself_is_opaque() -> None:
    """A reference that only leads to itself says nothing."""
    assert isinstance(
        member({"$ref": "#/$defs/a"}, **{"$defs": {"a": {"$ref": "#/$defs/a"}}}).members["x"].shape, Opaque
    )


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://example.com/x.json"},
        {"$ref": "file:///etc/passwd"},
        {"$ref": "other.json#/a"},
        {"$ref": "#anchor"},
        {"$ref": "#/$defs/none"},
        {"$ref": 5},
        {"$dynamicRef": "#x"},
        {"$id": "http://example.com/x", "type": "string"},
        {"type": "strin"},
        {"type": ["string", 5]},
        {"properties": []},
        {"properties": {"y": "string"}},
        {"anyOf": {}},
        {"enum": "a"},
        {"type": "object", "required": True},
        {"not": {"$ref": "http://example.com/x.json"}},
    ],
)
def test_what_cannot_be_read_is_refused(schema: Any) -> None:
    """Remote references and malformed schemas make the tool unusable, wherever they stand."""
    with pytest.raises(OperatorError) as caught:
        member({"type": "array", "items": schema})
    assert caught.value.reason is Reason.TOOL_UNUSABLE


def test_unknown_dialect_is_refused() -> None:
    """A dialect nobody here knows is refused."""
    with pytest.raises(OperatorError):
        shape_of({"$schema": "https://example.com/mine", "type": "object"})


@pytest.mark.parametrize(
    ("schema", "closed"),
    [
        (None, True),
        (False, True),
        (True, False),
        ({}, False),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {}}, True),
        ({"type": "object", "additionalProperties": False}, True),
    ],
)
def test_roots_without_members(schema: Any, closed: bool) -> None:
    """A root without members is an empty record; whether it is closed depends on what it says."""
    assert shape_of(schema) == Fields({}, closed=closed)


@pytest.mark.parametrize("name", ["x#count", "__entity", "__extn"])
def test_reserved_names_become_opaque(name: str) -> None:
    """A tool may use a reserved name; policy does not see that member."""
    shape = shape_of({"type": "object", "properties": {name: S, "x": {"type": "array", "items": S}}})
    assert cedar_type(shape) == '{"x"?: Set<String>, "x#count"?: Long}'
    assert [pointer for pointer, _ in untyped_parts(shape)] == ["/" + name]


def bomb_by_reference() -> dict[str, Any]:
    levels = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 10} for i in range(20)}
    return {"type": "object", "properties": {"x": {"$ref": "#/$defs/l0"}}, "$defs": {**levels, "l20": S}}


def bomb_by_nesting() -> dict[str, Any]:
    schema: Any = S
    for _ in range(20):
        schema = {"anyOf": [schema] * 10}
    return {"type": "object", "properties": {"x": schema}}


@pytest.mark.parametrize("bomb", [bomb_by_reference, bomb_by_nesting])
@pytest.mark.parametrize("depth", [32, 100])
def test_schema_bomb_is_refused_quickly(bomb: Any, depth: int) -> None:
    """Twenty levels of ten branches are refused within 100 ms of CPU (case MCPH-12)."""
    schema = bomb()
    start = time.thread_time()
    with pytest.raises(OperatorError):
        shape_of(schema, schema_depth=depth)
    assert time.thread_time() - start < 0.1


def test_depth_is_bounded() -> None:
    """Nesting beyond the bound is refused."""
    schema: Any = S
    for _ in range(40):
        schema = {"type": "object", "properties": {"n": schema}}
    with pytest.raises(OperatorError):
        shape_of(schema)
    assert cedar_type(shape_of(schema, schema_depth=60)).count("n") == 41 - 1 + cedar_type(
        shape_of(schema, schema_depth=60)
    ).count("Strin")
