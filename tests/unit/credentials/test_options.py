"""Options as typed, addresses that may be spoken to, facts in their places."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.credentials.options import Options, lease_name, place, read_url
from lictor.model.errors import OperatorError, UpstreamError
from lictor.model.ids import LeaseId
from lictor.model.reasons import Reason

WORD = re.compile(r"[a-z]+")


class Sample(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of a test."""

    size: int
    names: tuple[str, ...] = ()


def test_options_are_read_strictly() -> None:
    """Unknown key, wrong type, missing: refused, and no value is repeated."""
    assert Sample.read({"size": 1, "names": ["a"]}).names == ("a",)
    for wrong in (
        {},
        {"size": "canary"},
        {"size": 1, "canary-key": "canary"},
        {"size": True},
        {"size": 1, "names": "canary"},
    ):
        with pytest.raises(OperatorError) as caught:
            Sample.read(wrong)
        assert caught.value.reason is Reason.CONFIG_REFUSED
        assert "canary'" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("https://auth.test", "auth.test", 443, ""),
        ("https://auth.test:8443/a/b/", "auth.test", 8443, "/a/b"),
        ("http://127.0.0.1:8200", "127.0.0.1", 8200, ""),
        ("http://[::1]:80/x", "::1", 80, "/x"),
        ("http://localhost", "localhost", 80, ""),
    ],
)
def test_an_address_that_may_be_spoken_to(text: str, host: str, port: int, path: str) -> None:
    """TLS anywhere, plain text to this machine."""
    url = read_url(text, "url")
    assert (url.host, url.port, url.path) == (host, port, path)


@pytest.mark.parametrize(
    "text",
    [
        "http://auth.test",
        "http://127.0.0.1.evil.test",
        "http://localhost.evil.test",
        "https://user:pw@auth.test",
        "https://auth.test?x=1",
        "https://auth.test#x",
        "https://auth.test\\@evil.test",
        "https://auth.test:99999",
        "https://",
        "ftp://auth.test",
        "//auth.test",
        "https://auth.test/../x",
        "https://auth.test/a b",
        "https://äuth.test",
        "http://0177.0.0.1",
        "http://2130706433",
        "https://auth%2etest",
    ],
)
def test_an_address_that_may_not(text: str) -> None:
    """Plain text over a network, users, queries, tricks of spelling."""
    with pytest.raises(OperatorError):
        read_url(text, "url")


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(max_size=8)))
def test_a_fact_is_placed_whole_or_not_at_all(narrow: dict[str, str]) -> None:
    """The text is the template with allowed facts in it, or there is an error and nothing was asked."""
    try:
        placed = place("x-{a}-{b}", narrow, WORD)
    except UpstreamError as error:
        assert not error.effect_possible
        assert not all(WORD.fullmatch(narrow.get(name, "")) for name in "ab")
    else:
        assert placed == f"x-{narrow['a']}-{narrow['b']}"


def test_a_fact_with_braces_is_not_placed_again() -> None:
    """A value that looks like a template is a value."""
    assert place("{a}", {"a": "{b}", "b": "x"}, re.compile(r".*")) == "{b}"


@pytest.mark.parametrize("lease", ["", "short", 'a"b_aaaaaaaa', "x" * 57, "lease_é_aaaaaaa", "lease id here"])
def test_a_lease_that_cannot_be_a_name_is_refused(lease: str) -> None:
    """Only our own ids become names."""
    with pytest.raises(UpstreamError) as caught:
        lease_name("lictor_", LeaseId(lease))
    assert not caught.value.effect_possible
