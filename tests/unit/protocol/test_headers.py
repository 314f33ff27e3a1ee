"""Header and body say the same, or the message is refused."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.errors import CallerError, UpstreamError
from lictor.model.reasons import Reason
from lictor.protocol.headers import (
    check_agreement,
    decode_value,
    encode_value,
    header_params,
    upstream_headers,
)
from lictor.protocol.jsonrpc import Message, Notification, Request, Response

NOW = "2026-07-28"
VERSION = "io.modelcontextprotocol/protocolVersion"
REGION = {"region": ("region",)}


def call(
    name: Any = "fs.delete_file", version: str | None = NOW, method: str = "tools/call", **arguments: Any
) -> Request:
    meta = {} if version is None else {"_meta": {VERSION: version}}
    member = "uri" if method == "resources/read" else "name"
    return Request(1, method, {member: name, "arguments": arguments, **meta})


def fields(*pairs: tuple[str, str], version: str | None = NOW) -> list[tuple[bytes, bytes]]:
    first = [] if version is None else [("MCP-Protocol-Version", version)]
    return [(name.encode(), value.encode("latin-1")) for name, value in [*first, ("Host", "h"), *pairs]]


METHOD = ("Mcp-Method", "tools/call")
NAME = ("Mcp-Name", "fs.delete_file")


def refused(
    headers: list[tuple[bytes, bytes]], message: Message, params: dict[str, tuple[str, ...]] | None = None
) -> Reason:
    with pytest.raises(CallerError) as caught:
        check_agreement(headers, message, header_params=params or {})
    return caught.value.reason


@pytest.mark.parametrize(
    ("case", "headers", "message"),
    [
        ("MCPH-01", fields(METHOD, ("Mcp-Name", "fs.read_file")), call()),
        ("MCPH-02", fields(("Mcp-Method", "tools/list"), ("Mcp-Name", "fs.read_file")), call("fs.read_file")),
        ("MCPH-03", fields(METHOD, ("Mcp-Name", "=?base64?ZnMucmVhZF9maWxl?=")), call()),
        ("MCPH-05", fields(METHOD, NAME, ("Mcp-Param-Region", "eu-west-1")), call(region="us-east-1")),
        ("MCPH-08", fields(METHOD, NAME), call(version="2025-03-26")),
        ("version only in header", fields(METHOD, NAME), call(version=None)),
        ("version only in body", fields(METHOD, NAME, version=None), call()),
        ("header older", fields(METHOD, NAME, version="2025-11-25"), call()),
        ("version no string", fields(METHOD, NAME), call(version=20260728)),  # type: ignore[arg-type]
        ("unknown version, no body", fields(METHOD, NAME, version="2027-01-01"), call(version=None)),
        ("no method", fields(NAME), call()),
        ("no name", fields(METHOD), call()),
        ("method in other case", fields(("Mcp-Method", "Tools/Call"), NAME), call()),
        ("method encoded", fields(("Mcp-Method", encode_value(" tools/call")), NAME), call()),
        ("name in other case", fields(METHOD, ("Mcp-Name", "FS.delete_file")), call()),
        ("bad base64", fields(METHOD, ("Mcp-Name", "=?base64?####?=")), call()),
        ("missing padding", fields(METHOD, ("Mcp-Name", "=?base64?YQ?=")), call("a")),
        ("loose bits", fields(METHOD, ("Mcp-Name", "=?base64?YR==?=")), call("a")),
        ("space inside", fields(METHOD, ("Mcp-Name", "=?base64?Y Q==?=")), call("a")),
        ("not UTF-8", fields(METHOD, ("Mcp-Name", "=?base64?/w==?=")), call("\xff")),
        ("upper-case sentinel", fields(METHOD, ("Mcp-Name", "=?BASE64?YQ==?=")), call("a")),
        ("raw latin-1", fields(METHOD, ("Mcp-Name", "é")), call("é")),
        ("control character", fields(METHOD, ("Mcp-Name", "a\x00")), call("a\x00")),
        ("name is not a string", fields(METHOD, ("Mcp-Name", "1")), call(1)),
        ("param missing", fields(METHOD, NAME), call(region="x")),
        ("param for null", fields(METHOD, NAME, ("Mcp-Param-Region", "null")), call(region=None)),
        ("param for nothing", fields(METHOD, NAME, ("Mcp-Param-Region", "")), call()),
        ("param for a list", fields(METHOD, NAME, ("Mcp-Param-Region", "[]")), call(region=[])),
        ("param bool case", fields(METHOD, NAME, ("Mcp-Param-Region", "True")), call(region=True)),
        ("param bool as number", fields(METHOD, NAME, ("Mcp-Param-Region", "1")), call(region=True)),
        ("param int other", fields(METHOD, NAME, ("Mcp-Param-Region", "42.1")), call(region=42)),
        ("param int padded", fields(METHOD, NAME, ("Mcp-Param-Region", "042")), call(region=42)),
        ("param int exponent", fields(METHOD, NAME, ("Mcp-Param-Region", "4.2e1")), call(region=42)),
        ("param text is no number", fields(METHOD, NAME, ("Mcp-Param-Region", "42.0")), call(region="42")),
        ("param fraction", fields(METHOD, NAME, ("Mcp-Param-Region", "1.5")), call(region=1.5)),
        ("name without source", fields(("Mcp-Method", "ping"), NAME), call(method="ping")),
    ],
)
def test_disagreement_is_refused(case: str, headers: list[tuple[bytes, bytes]], message: Message) -> None:
    """Every validation failure of the specification, and the ways round it."""
    assert refused(headers, message, REGION) is Reason.HEADER_MISMATCH


@pytest.mark.parametrize(
    "name", ["Mcp-Name", "mcp-NAME", "Mcp-Method", "MCP-Protocol-Version", "Mcp-Param-Region", "Mcp-Param-Other"]
)
def test_a_repeated_header_is_refused(name: str) -> None:
    """Case MCPH-07, in any case and also when both are equal."""
    once = fields(METHOD, NAME, ("Mcp-Param-Region", "x"), ("Mcp-Param-Other", "y"))
    value = {key.lower(): value for key, value in once}[name.lower().encode()]
    for second in (value, b"fs.read_file"):
        assert refused([*once, (name.encode(), second)], call(region="x"), REGION) is Reason.DUPLICATE_HEADER


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (fields(METHOD, NAME), call()),
        (fields(("mcp-method", " tools/call\t"), ("MCP-NAME", "fs.delete_file ")), call()),
        (fields(METHOD, ("Mcp-Name", "=?base64?ZnMucmVhZF9maWxl?=")), call("fs.read_file")),
        (fields(METHOD, ("Mcp-Name", encode_value("süß"))), call("süß")),
        (
            fields(("Mcp-Method", "resources/read"), ("Mcp-Name", "file:///a")),
            call("file:///a", method="resources/read"),
        ),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "us-west1")), call(region="us-west1")),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "")), call(region="")),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "false")), call(region=False)),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "42.0")), call(region=42)),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "42")), call(region=42.0)),
        (fields(METHOD, NAME, ("Mcp-Param-Region", "-7")), call(region=-7)),
        (fields(METHOD, NAME, ("Mcp-Param-Unknown", "anything")), call()),
        (fields(version="2025-11-25"), call(version=None)),
        (fields(version=None), call(version=None)),
        (fields(), Notification("notifications/cancelled", {})),
        (fields(version=None), Response(1, result={})),
    ],
)
def test_agreement_is_accepted(headers: list[tuple[bytes, bytes]], message: Message) -> None:
    """Encoded, trimmed, numerically equal, absent with absent; older versions need no headers."""
    check_agreement(headers, message, header_params=REGION)


def test_older_versions_may_not_lie_either() -> None:
    """A header that nobody asked for still has to be true."""
    assert refused(fields(NAME, version="2025-11-25"), call("x", None)) is Reason.HEADER_MISMATCH
    assert refused(fields(("Mcp-Method", "x"), version=None), Notification("y", {})) is Reason.HEADER_MISMATCH


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ("us-west1", "us-west1"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?base64?=", "=?base64?="),
        ("", ""),
    ],
)
def test_values_as_in_the_specification(value: str, encoded: str) -> None:
    """The table of "Value Encoding"."""
    assert encode_value(value) == encoded
    assert decode_value(encoded) == value


@settings(max_examples=300, database=None, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("=?base64 aQ\t\n"))
def test_every_text_survives_as_a_header(value: str) -> None:
    """Round trip, and never a character that could end or split the header."""
    encoded = encode_value(value)
    assert decode_value(encoded) == value
    assert all(" " <= character <= "~" for character in encoded)
    assert encoded == encoded.strip()


def test_annotations_are_collected_by_path() -> None:
    """Nested properties count; data and a property of that name are no annotations."""
    schema = {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region", "default": {"x-mcp-header": "No"}},
            "x-mcp-header": {"type": "string"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        },
        "$defs": {"x-mcp-header": {"type": "string"}},
        "examples": [{"x-mcp-header": "No"}],
    }
    assert header_params(schema) == {"region": ("region",), "n": ("deep", "n")}
    assert header_params({"type": "object"}) == {}


def _with(annotated: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"p": annotated}}


ANNOTATED = {"type": "string", "x-mcp-header": "A"}


@pytest.mark.parametrize(
    "schema",
    [
        *(
            _with({"type": "string", "x-mcp-header": bad})
            for bad in ("", "a b", "a\r\nb", "ä", "a:", 1, None, ["a"], "a\n")
        ),
        *(_with({"type": bad, "x-mcp-header": "A"}) for bad in ("number", "object", "array", "null", None, ["string"])),
        _with({"x-mcp-header": "A"}),
        {"properties": {"p": ANNOTATED, "q": {"type": "integer", "x-mcp-header": "a"}}},
        {"type": "string", "x-mcp-header": "A"},
        *(_with({key: ANNOTATED}) for key in ("items", "not", "if", "additionalProperties", "x-unknown")),
        *({key: [{"properties": {"p": ANNOTATED}}]} for key in ("oneOf", "anyOf", "allOf", "prefixItems")),
        *({key: {"d": {"properties": {"p": ANNOTATED}}}} for key in ("$defs", "definitions", "patternProperties")),
    ],
)
def test_an_invalid_annotation_makes_the_tool_unusable(schema: Any) -> None:
    """ "Schema Extension": token, primitive, statically reachable, unique."""
    with pytest.raises(UpstreamError) as caught:
        header_params(schema)
    assert caught.value.reason is Reason.TOOL_UNUSABLE


@settings(max_examples=200, database=None, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
)
def test_what_we_send_upstream_always_agrees(name: str, value: Any) -> None:
    """Our own headers pass our own check, whatever the values."""
    message = call(name, region=value)
    sent = upstream_headers("tools/call", name, {"region": value}, REGION, NOW)
    check_agreement([(key.encode(), text.encode()) for key, text in sent], message, header_params=REGION)


def test_an_argument_that_cannot_be_mirrored_is_refused() -> None:
    """No header is invented for a list or a fraction."""
    for bad in ([], {}, 1.5, 2**53):
        with pytest.raises(CallerError) as caught:
            upstream_headers("tools/call", "t", {"region": bad}, REGION, NOW)
        assert caught.value.reason is Reason.INVALID_ARGUMENTS


def test_methods_without_a_name_send_none() -> None:
    """Only version and method."""
    assert upstream_headers("tools/list", None, {}, {}, NOW) == (
        ("MCP-Protocol-Version", NOW),
        ("Mcp-Method", "tools/list"),
    )
