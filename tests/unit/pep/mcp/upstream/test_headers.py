"""Header fields: configuration may not speak for the protocol."""

import pytest

from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.headers import Mirror, check_configured, mirror_headers


def test_ordinary_fields_pass():
    """Credentials and vendor fields."""
    fields = {"Authorization": "Bearer abc", "X-Key": "a b"}
    assert check_configured(fields) == fields


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Host", "x"), ("content-length", "1"), ("Transfer-Encoding", "chunked"), ("MCP-Session-Id", "x"), ("mcp-name", "x"),
        ("Accept", "x"), ("", "x"), ("a b", "x"), ("a:", "x"), ("X", "a\r\nY: b"), ("X", "ä"), ("X", " a"), ("X", "a\0"),
    ],
)  # fmt: skip
def test_fields_that_are_refused(name, value):
    """The protocol's own, and what would break the head."""
    with pytest.raises(OperatorError) as caught:
        check_configured({name: value})
    assert caught.value.reason is Reason.CONFIG_REFUSED


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "t"}, "t"),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": "file:///ä"}, "=?base64?ZmlsZTovLy/DpA==?="),
        ("tools/list", {"name": "x"}, None),
    ],
)
def test_the_name_is_mirrored(method, params, name):
    """For the methods that have one."""
    headers = mirror_headers(method, params, version="2026-07-28", sealed_arguments=None, header_params=None)
    assert headers.get("Mcp-Name") == name
    assert headers["Mcp-Method"] == method


def test_lines_are_written_once():
    """The same method and name give the same lines; other names, and arguments, their own."""
    mirror = Mirror("2026-07-28")
    first = mirror.lines("tools/call", {"name": "t"})
    assert first == b"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: t\r\n"
    assert mirror.lines("tools/call", {"name": "t"}, sealed_arguments=b'{"a":1}') is first
    assert mirror.lines("tools/call", {"name": "u"}).endswith(b"Mcp-Name: u\r\n")
    params = {"A": ("a",)}
    for value in (1, 2):
        text = b'{"a":%d}' % value
        lines = mirror.lines("tools/call", {"name": "t"}, sealed_arguments=text, header_params=params)
        assert lines == first + b"Mcp-Param-A: %d\r\n" % value


def test_lines_do_not_grow_without_bound():
    """Names of resources are many and long."""
    mirror = Mirror("v")
    for n in range(3000):
        mirror.lines("resources/read", {"uri": f"file:///{n}"})
        mirror.lines("resources/read", {"uri": f"file:///{n}" + "x" * 300})
    assert len(mirror._known) <= 1024


def test_a_method_cannot_end_its_line():
    """Nothing is sent."""
    with pytest.raises(UpstreamError) as caught:
        Mirror("v").lines("a\r\nB: c", {})
    assert not caught.value.effect_possible
