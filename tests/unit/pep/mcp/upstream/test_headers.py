"""Header fields: configuration may not speak for the protocol."""

import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.headers import check_configured, mirror_headers


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
