"""Paths of URLs: one reading, or none."""

import re
from urllib.parse import quote, unquote, urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.model.reasons import Reason
from lictor.pdp.normalise import Directory, destination_of
from lictor.pdp.normalise.url_path import read_path

UNRESERVED = "".join(map(chr, range(0x30, 0x3A))) + "ABCabcxyz-._~"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", "/"),
        ("/v1/read", "/v1/read"),
        ("/v1/read/", "/v1/read/"),
        ("/v1/read/../admin", "/v1/admin"),
        ("/v1/./read/.", "/v1/read/"),
        ("/a/b/..", "/a/"),
        ("/a/..", "/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a%20b", "/a b"),
        ("/caf\u00e9", "/caf\u00e9"),
        ("/caf%C3%A9", "/caf\u00e9"),
        ("/@scope/pkg:1.0,x=y", "/@scope/pkg:1.0,x=y"),
    ],
)
def test_what_everybody_reads_alike(text, path):
    """Decoded once, dot segments resolved."""
    assert read_path(text) == path


@pytest.mark.parametrize(
    "text",
    [
        "/v1/read/%2e%2e/admin", "/v1/read/.%2E/admin", "/v1/read;/../admin", "/v1/read/..;/admin", "/v1//admin", "//admin",
        "/%61dmin", "/a%2Fb", "/a%5Cb", "/a\\b", "/a%252e", "/a%3Bb", "/a%3Fb", "/a%23b", "/%", "/%4", "/%zz", "/%00", "/a%0ab",
        "/%ff", "/%c0%ae", "/..", "/../x", "/a/../../x", "/a\uff0fb", "/a\uff0e\uff0e/b", "/a\u2024b", "/cafe\u0301", "/a\u200bb",
        "/a%E2%80%8Bb", "/a\u00a0b",
    ],
)  # fmt: skip
def test_what_readers_take_differently(text):
    """No path: neither decoded nor resolved by guessing."""
    assert read_path(text) == ""


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "x y", "\u00e9", "...", "a.b", "~"]), max_size=7))
def test_a_second_resolver_agrees(segments):
    """RFC 3986, 5.2.4 as the standard library has it, wherever a path is told."""
    raw = "/" + "/".join(quote(segment, safe="~") for segment in segments)
    found = read_path(raw)
    if found:
        assert found == unquote(urljoin("https://h.example/", raw).removeprefix("https://h.example") or "/")


@given(st.text(alphabet=UNRESERVED + "/%;\\.2eEfF5c", max_size=30).map(lambda text: "/" + text))
def test_what_is_told_needs_no_second_reading(text):
    """Reading a told path again changes nothing, and nothing in it leads up."""
    found = read_path(text)
    assert not found or (read_path(found) == found and not re.search(r"//|/\.\.?(?:/|$)|[%;\\]", found))


@given(st.lists(st.sampled_from(["/", "..", "a", ";", "%2e", "%2F", "\\", "admin"]), max_size=8).map("".join))
def test_a_lenient_server_stays_below(tail):
    """What is told to lie below a folder lies there for a server that decodes twice, merges slashes and drops parameters.

    The control is a reader that trusts the text: it says the same of something that this server finds elsewhere.
    """
    raw = f"/v1/read/{tail}"
    if read_path(raw).startswith("/v1/read/"):
        assert lenient(raw).startswith("/v1/read")


def test_the_control_of_the_lenient_server():
    """The text alone is believed, and leads out."""
    for raw in ("/v1/read/..;/admin", "/v1/read/%2e%2e/admin", "/v1/read/..%2Fadmin"):
        assert raw.startswith("/v1/read/")
        assert not lenient(raw).startswith("/v1/read")


def lenient(raw):
    """A server with every bad habit at once."""
    text = unquote(unquote(raw)).replace("\\", "/")
    text = re.sub(r";[^/]*", "", text)
    found = []
    for segment in text.split("/"):
        if segment == "..":
            del found[-1:]
        elif segment not in {"", "."}:
            found.append(segment)
    return "/" + "/".join(found)


def reached(*urls, **more):
    selector = DestinationSelector(url=tuple(f"/u{number}" for number in range(len(urls))), **more)
    return destination_of(selector, {f"u{number}": url for number, url in enumerate(urls)}, Directory()).cedar()


def test_it_is_a_fact_where_it_is_certain():
    """Query and fragment are no part of it; an empty path is the root."""
    assert reached("https://h.example")["path"] == "/"
    assert reached("https://h.example/a?b=/../c#/d")["path"] == "/a"
    assert reached("https://h.example?x=//")["path"] == "/"
    assert "path" not in reached("https://h.example/a;b")
    assert reached("https://h.example/a", "https://i.example/a")["path"] == "/a"
    assert "path" not in reached("https://h.example/a", "https://h.example/b")
    assert "path" not in reached("https://h.example/a", "https://h.example/a//")


def test_a_catalogue_may_refuse_what_is_not():
    """`unclear = "deny"`."""
    assert reached("https://h.example/a", unclear="deny")["path"] == "/a"
    with pytest.raises(CallerError) as error:
        reached("https://h.example/a;b", unclear="deny")
    assert error.value.reason is Reason.UNKNOWN_DESTINATION
