"""Arguments against schemas, judged by the real validator; encoded ones by the real engine."""

import copy
import time
from typing import Any

import cedarpy
import pytest

from lictor.model.errors import CallerError, OperatorError
from lictor.model.reasons import Reason
from lictor.pdp.shapes import cedar_type, encode
from lictor.policy.arguments import ArgumentsValidator
from lictor.policy.toolschema import shape_of

D7 = "http://json-schema.org/draft-07/schema#"
S = {"type": "string"}


def obj(properties: dict[str, Any], **extra: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **extra}


def refusal(schema: Any, arguments: Any) -> CallerError:
    with pytest.raises(CallerError) as caught:
        ArgumentsValidator(schema).check(arguments)
    return caught.value


# Schemas as published servers send them: zod (draft 7) and pydantic (2020-12, `anyOf` with null).
EDIT_FILE = {
    "$schema": D7,
    "type": "object",
    "properties": {
        "path": S,
        "edits": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"oldText": {"type": "string", "description": "must match exactly"}, "newText": S},
                "required": ["oldText", "newText"],
                "additionalProperties": False,
            },
        },
        "dryRun": {"type": "boolean", "default": False},
    },
    "required": ["path", "edits"],
    "additionalProperties": False,
}
GIT_LOG = {
    "properties": {
        "repo_path": {"title": "Repo Path", "type": "string"},
        "max_count": {"default": 10, "title": "Max Count", "type": "integer"},
        "start_timestamp": {"anyOf": [S, {"type": "null"}], "default": None},
    },
    "required": ["repo_path"],
    "title": "GitLog",
    "type": "object",
}
CREATE_ENTITIES = obj(
    {
        "entities": {
            "type": "array",
            "items": obj(
                {"name": S, "entityType": S, "observations": {"type": "array", "items": S}},
                required=["name", "entityType", "observations"],
            ),
        }
    },
    required=["entities"],
)
FETCH = obj(
    {
        "url": {"format": "uri", "minLength": 1, "title": "Url", "type": "string"},
        "max_length": {"default": 5000, "exclusiveMaximum": 1000000, "exclusiveMinimum": 0, "type": "integer"},
        "raw": {"default": False, "type": "boolean"},
    },
    required=["url"],
)
SEARCH = obj(
    {
        "query": S,
        "filter": {"anyOf": [{"$ref": "#/$defs/Filter"}, {"type": "null"}], "default": None},
        "sort": {"$ref": "#/$defs/Sort", "default": "asc"},
        "limit": {"anyOf": [{"type": "integer", "maximum": 50}, {"type": "null"}]},
        "score": {"type": "number"},
    },
    required=["query"],
    **{
        "$defs": {
            "Sort": {"enum": ["asc", "desc"], "type": "string"},
            "Filter": obj(
                {
                    "tags": {"type": "array", "items": S},
                    "since": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
                }
            ),
        }
    },
)
REAL: list[tuple[Any, dict[str, Any], dict[str, Any], bool]] = [
    (
        EDIT_FILE,
        {"path": "/a", "edits": [{"oldText": "a", "newText": "b"}]},
        {"path": "/a", "edits": [{"oldText": "a", "newText": "b"}], "edits#count": 1},
        False,
    ),
    (GIT_LOG, {"repo_path": "/r", "max_count": 3, "start_timestamp": None}, {"repo_path": "/r", "max_count": 3}, False),
    (
        CREATE_ENTITIES,
        {"entities": [{"name": "n", "entityType": "t", "observations": ["x"]}]},
        {
            "entities": [{"name": "n", "entityType": "t", "observations": ["x"], "observations#count": 1}],
            "entities#count": 1,
        },
        False,
    ),
    (FETCH, {"url": "https://example.com/"}, {"url": "https://example.com/"}, False),
    (
        SEARCH,
        {"query": "q", "filter": {"tags": ["a"], "since": "2024-01-01T00:00:00Z"}, "limit": 5, "score": 0.123456},
        {
            "query": "q",
            "filter": {
                "tags": ["a"],
                "tags#count": 1,
                "since": {"__extn": {"fn": "datetime", "arg": "2024-01-01T00:00:00.000Z"}},
            },
            "limit": 5,
        },
        True,
    ),
]


@pytest.mark.parametrize(("schema", "arguments", "record", "opaque"), REAL)
def test_real_tools_pass_and_reach_policy(schema: Any, arguments: Any, record: Any, opaque: bool) -> None:
    """Schemas of published servers: a call validates, encodes and is a request that Cedar accepts."""
    before = copy.deepcopy(schema)
    ArgumentsValidator(schema).check(arguments)
    shape = shape_of(schema)
    assert schema == before
    assert encode(shape, arguments) == (record, opaque)
    cedar = cedarpy.Schema.from_str(
        f"entity A; action a appliesTo {{principal: A, resource: A, context: {{input: {cedar_type(shape)}}}}};"
    )
    who = {"type": "A", "id": "1"}
    result = cedarpy.is_authorized(
        {"principal": who, "action": {"type": "Action", "id": "a"}, "resource": who, "context": {"input": record}},
        cedarpy.PolicySet.from_str("permit(principal, action, resource);"),
        cedarpy.Entities.from_json_str("[]", cedar),
        cedar,
    )
    assert result.decision == cedarpy.Decision.Allow


@pytest.mark.parametrize(("schema", "arguments", "record", "opaque"), REAL)
def test_real_tools_are_closed(schema: Any, arguments: Any, record: Any, opaque: bool) -> None:
    """An argument the tool does not declare is refused, whether or not the schema says so."""
    error = refusal(schema, {**arguments, "bcc": "x"})
    assert (error.reason, error.where) == (Reason.UNKNOWN_ARGUMENT, "")
    assert "'bcc'" in error.message


A = {"$ref": "#/$defs/A"}
DEFS = {"$defs": {"A": obj({"z": {"type": "integer"}})}}
UNDECLARED: list[tuple[Any, dict[str, Any], str]] = [
    (None, {"q": 1}, ""),
    (obj({}), {"q": 1}, ""),
    ({"type": "object", "additionalProperties": False}, {"q": 1}, ""),
    (obj({"a": obj({"b": S})}), {"a": {"q": 1}}, "/a"),
    (obj({"a": {"type": "array", "items": obj({"b": S})}}), {"a": [{}, {"q": 1}]}, "/a/1"),
    (obj({"a": {"type": "array", "prefixItems": [obj({"b": S})]}}), {"a": [{"q": 1}]}, "/a/0"),
    (obj({"a": A}, **DEFS), {"a": {"q": 1}}, "/a"),
    (obj({"a": {"anyOf": [A, {"type": "null"}]}}, **DEFS), {"a": {"q": 1}}, "/a"),
    (obj({"a": {"allOf": [A], "default": {}}}, **DEFS), {"a": {"q": 1}}, "/a"),
    (obj({"a": {**A, "properties": {"y": S}}}, **DEFS), {"a": {"z": 1, "y": "", "q": 1}}, "/a"),
    (obj({"n": {"$ref": "#"}}), {"n": {"n": {"q": 1}}}, "/n/n"),
    (obj({"a": S}, allOf=[{"properties": {"b": S}}]), {"a": "", "b": "", "q": 1}, ""),
    (
        obj({"a": {"oneOf": [obj({"b": S}, required=["b"]), obj({"c": S}, required=["c"])]}}),
        {"a": {"b": "", "q": 1}},
        "/a",
    ),
    (obj({"a": {"type": "object", "additionalProperties": obj({"b": S})}}), {"a": {"k": {"q": 1}}}, "/a/k"),
    (obj({"a": {"type": "object", "patternProperties": {"^x": S}}}), {"a": {"x1": "", "q": 1}}, "/a"),
    (
        obj({"a": {"$ref": "#/definitions/A", "title": "t"}}, definitions={"A": obj({"z": S})}, **{"$schema": D7}),
        {"a": {"q": 1}},
        "/a",
    ),
    (
        obj(
            {"a": {"allOf": [{"$ref": "#/definitions/A"}, obj({"y": S})]}},
            definitions={"A": obj({"z": S})},
            **{"$schema": D7},
        ),
        {"a": {"z": "", "y": "", "q": 1}},
        "/a",
    ),
    (
        obj({"a": {"type": "array", "items": [obj({"b": S})], "additionalItems": obj({"c": S})}}, **{"$schema": D7}),
        {"a": [{"b": ""}, {"q": 1}]},
        "/a/1",
    ),
    (
        obj(
            {"a": obj({"b": S}, minimum=1, exclusiveMinimum=True)},
            **{"$schema": "http://json-schema.org/draft-04/schema#"},
        ),
        {"a": {"q": 1}},
        "/a",
    ),
]


@pytest.mark.parametrize(("schema", "arguments", "where"), UNDECLARED)
def test_undeclared_members_are_refused_at_every_level(schema: Any, arguments: Any, where: str) -> None:
    """Undeclared members are found inside objects, lists, references and compositions, in every dialect."""
    error = refusal(schema, arguments)
    assert (error.reason, error.where) == (Reason.UNKNOWN_ARGUMENT, where)
    assert "not declared" in error.message


DECLARED: list[tuple[Any, dict[str, Any]]] = [
    (None, {}),
    (True, {"q": 1}),
    ({}, {"q": 1}),
    ({"type": "object"}, {"q": 1}),
    (obj({"a": S}, additionalProperties=True), {"a": "", "q": 1}),
    (obj({"a": S}, additionalProperties=S), {"q": "x"}),
    (obj({"a": S}, unevaluatedProperties=True), {"q": "x"}),
    (obj({"a": S}, allOf=[{"properties": {"b": S}}]), {"a": "", "b": ""}),
    (obj({"a": S}, allOf=[{"additionalProperties": True}]), {"a": "", "q": ""}),
    (obj({"a": {**A, "properties": {"y": S}}}, **DEFS), {"a": {"z": 1, "y": ""}}),
    (obj({"a": {"anyOf": [obj({"b": S}), obj({"c": S})]}}), {"a": {"b": "", "c": ""}}),
    (obj({"a": {"anyOf": [obj({"b": S}), {"type": "object"}]}}), {"a": {"q": ""}}),
    (obj({"a": S, "b": S}, anyOf=[{"required": ["a"]}, {"required": ["b"]}]), {"b": ""}),
    (obj({"a": obj({"b": S})}, **{"not": {"properties": {"a": obj({"c": S})}, "required": ["z"]}}), {"a": {"b": ""}}),
    (
        obj({"k": S, "v": S}, **{"if": {"properties": {"k": {"const": "x"}}}, "then": {"properties": {"w": S}}}),
        {"k": "x", "v": "", "w": ""},
    ),
    (obj({"a": {"type": "array", "items": obj({"b": S}), "contains": obj({"c": S})}}), {"a": [{"b": ""}]}),
    (obj({"k": S}, dependencies={"k": {"properties": {"d": S}}, "d": ["k"]}, **{"$schema": D7}), {"k": "", "d": ""}),
    (
        obj({"a": obj({"b": S}), "c": {"allOf": [{"$ref": "#/properties/a"}, {"properties": {"d": S}}]}}),
        {"c": {"b": "", "d": ""}},
    ),
    (
        {**obj({"a": {"$ref": "https://example.com/tool#/$defs/A"}}), "$id": "https://example.com/tool"}
        | obj({"a": A}, **DEFS),
        {"a": {"z": 1}},
    ),
]


@pytest.mark.parametrize(("schema", "arguments"), DECLARED)
def test_declared_and_explicitly_allowed_members_pass(schema: Any, arguments: Any) -> None:
    """Closing refuses nothing that the schema declares in some part, or lets in explicitly."""
    ArgumentsValidator(schema).check(arguments)


INVALID: list[tuple[Any, Any, str]] = [
    (obj({"a": {"type": "integer"}}), {"a": True}, "/a"),
    (obj({"a": {"type": "integer"}}), {"a": "1"}, "/a"),
    (obj({"a": {"type": "integer"}}), {"a": 1.5}, "/a"),
    (obj({"a": {"type": "number"}}), {"a": float("nan")}, "/a"),
    (obj({"a": S}, required=["a"]), {}, ""),
    (obj({"a": {"enum": ["x", "y"]}}), {"a": "z"}, "/a"),
    (obj({"a": {"type": "string", "format": "date-time"}}), {"a": "2024-13-01T00:00:00Z"}, "/a"),
    (obj({"a": {"type": "string", "format": "ipv4"}}), {"a": "010.1.2.3"}, "/a"),
    (obj({"a": {"type": "array", "items": S}}), {"a": ["x", 1]}, "/a/1"),
]


@pytest.mark.parametrize(("schema", "arguments", "where"), INVALID)
def test_invalid_arguments_are_refused_with_place(schema: Any, arguments: Any, where: str) -> None:
    """What the schema does not accept is refused, with a JSON pointer."""
    error = refusal(schema, arguments)
    assert (error.reason, error.where) == (Reason.INVALID_ARGUMENTS, where)


def test_messages_are_short_and_echo_no_values() -> None:
    """A refusal never repeats what was sent, and stays one short line."""
    secret = "hunter2" * 1000
    for schema, arguments in [
        (obj({"a": {"enum": ["x" * 500]}}), {"a": secret}),
        (obj({"a": {"type": "integer"}}), {"a": secret}),
        (obj({"a": S}), {"k\n" * 500: 1}),
    ]:
        error = refusal(schema, arguments)
        assert "hunter2" not in str(error)
        assert len(str(error)) < 300
        assert "\n" not in str(error)


def test_patterns_run_in_linear_time() -> None:
    """A pattern that makes a backtracking engine hang costs what it reads."""
    validator = ArgumentsValidator(obj({"a": {"type": "string", "pattern": "^(a+)+$"}}))
    start = time.thread_time()
    with pytest.raises(CallerError):
        validator.check({"a": "a" * 200_000 + "b"})
    assert time.thread_time() - start < 0.5


@pytest.mark.parametrize(
    "schema",
    [
        False,
        obj({"a": {"$ref": "http://127.0.0.1:9/x"}}),
        obj({"a": {"$ref": "file:///etc/hostname"}}),
        obj({"a": S}, **{"$defs": {"A": {"$ref": "file:///etc/hostname"}}}),
        obj({"a": {"pattern": "(?=x)y"}}),
        obj({"a": {"pattern": "(a{1000}){1000}"}}),
        obj({"a": {"pattern": "("}}),
        obj({"a": {"type": "strin"}}),
        obj({"a": {"minimum": "x"}}),
        obj({"a": {"anyOf": []}}),
        {"$schema": "https://example.com/mine", "type": "object"},
        {"$schema": 5},
    ],
)
def test_schemas_that_do_not_compile_are_refused(schema: Any) -> None:
    """A schema that cannot be enforced as written makes the tool unusable, with a short reason."""
    with pytest.raises(OperatorError) as caught:
        ArgumentsValidator(schema)
    assert caught.value.reason is Reason.TOOL_UNUSABLE
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)


def test_explaining_a_refusal_cannot_be_made_slow() -> None:
    """A recursive choice whose explanation doubles with each level is refused without explaining it."""
    node = obj({"n": {"$ref": "#/$defs/T"}}, required=["n"])
    schema = obj({"n": {"$ref": "#/$defs/T"}}, **{"$defs": {"T": {"anyOf": [node, dict(node), S]}}})
    value: Any = 5
    for _ in range(60):
        value = {"n": value}
    start = time.thread_time()
    assert refusal(schema, value).reason is Reason.INVALID_ARGUMENTS
    assert time.thread_time() - start < 0.1


def test_schema_bomb_is_refused_quickly() -> None:
    """Twenty levels of ten branches never reach the compiler."""
    levels = {f"l{i}": {"anyOf": [{"$ref": f"#/$defs/l{i + 1}"}] * 10} for i in range(20)}
    start = time.thread_time()
    with pytest.raises(OperatorError):
        ArgumentsValidator(obj({"x": {"$ref": "#/$defs/l0"}}, **{"$defs": {**levels, "l20": S}}))
    assert time.thread_time() - start < 0.1
