"""Addresses from configuration: what goes into a request, and what is refused."""

import pytest

from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason
from lictor.pep.mcp.upstream.http1.address import check_url


@pytest.mark.parametrize(
    ("url", "secure", "host", "port", "authority", "target"),
    [
        ("http://h", False, "h", 80, "h", "/"),
        ("https://EXAMPLE.com/mcp?a=b", True, "example.com", 443, "example.com", "/mcp?a=b"),
        ("http://h:80/x", False, "h", 80, "h", "/x"),
        ("http://h:8080/x/", False, "h", 8080, "h:8080", "/x/"),
        ("http://[::1]:90/", False, "::1", 90, "[::1]:90", "/"),
        ("https://b\xfccher.example/\xe9", True, "xn--bcher-kva.example", 443, "xn--bcher-kva.example", "/%C3%A9"),
    ],
)
def test_what_an_address_holds(url, secure, host, port, authority, target):
    """Normal form, no default port."""
    found = check_url(url)
    assert (found.secure, found.host, found.port, found.authority, found.target) == (
        secure,
        host,
        port,
        authority,
        target,
    )


@pytest.mark.parametrize(
    "url",
    [
        "", "/mcp", "h/mcp", "ftp://h/", "file:///etc/passwd", "http://", "http:h", "http:\\\\h\\x", "http://h\\x", "http://h /",
        "http://h/a b", "http://h/\r\nA: b", " http://h/", "http://h/#", "http://h/#f", "http://[::1", "http://h:99999/", "http://a:b@h/",
    ],
)  # fmt: skip
def test_what_is_no_address(url):
    """Nothing is repaired or guessed."""
    with pytest.raises(OperatorError) as caught:
        check_url(url)
    assert caught.value.reason is Reason.CONFIG_REFUSED


def test_a_password_is_not_quoted():
    """It would end up in a log."""
    with pytest.raises(OperatorError) as caught:
        check_url("http://user:secret@h/")
    assert "secret" not in str(caught.value)
