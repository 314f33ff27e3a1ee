"""One URL, one reading: what two parsers could read differently is refused before policy is asked."""

from urllib.parse import urlsplit

import pytest

from lictor.model.catalog import DestinationSelector
from lictor.model.errors import CallerError
from lictor.pdp.normalise import Directory, destination_of
from lictor.policy.names import resource_problem
from lictor.policy.uris import check_uri

KNOWN = Directory(hosts={"ok": ("good.example",)})
SELECTOR = DestinationSelector(url="/url")


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example\\@evil.example/",
        "http://good.example\\.evil.example/",
        "http:\\\\good.example/",
        "http:/good.example/",
        "http:good.example",
        "http:///good.example/",
        " http://good.example/",
        "http://good.example/ ",
        "http://good.example\t/",
        "http://good\n.example/",
        "http://g%6fod.example/",
        "http://good.example/\x00",
        "http://@good.example/",
        "http://:@good.example/",
        "http://good.example\x7f/",
    ],
)
def test_a_destination_two_parsers_disagree_on_is_unknown(url: str) -> None:
    r"""The host policy judges is the host every reader of the sent bytes dials.

    Control: unfixed, `http://good.example\@evil.example/` is judged as good.example, while urlsplit, yarl and httpx (and so
    the usual fetch servers) dial evil.example.
    """
    with pytest.raises(CallerError) as refused:
        destination_of(SELECTOR, {"url": url}, KNOWN)
    assert refused.value.reason.value == "unknown_destination"


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example",
        "https://good.example/a/b?c=d@e#f",
        "HTTP://GOOD.example:80/",
        "http://good.example?q=a\\b",
        "http://good.example/a@b",
    ],
)
def test_plain_urls_are_judged(url: str) -> None:
    """The other half: an ordinary URL still names its host, the same one urlsplit names."""
    found = destination_of(SELECTOR, {"url": url}, KNOWN)
    assert found.host == urlsplit(url).hostname
    assert not found.external


@pytest.mark.parametrize(
    "uri",
    [
        "file:///docs//secret/x",
        "file:////docs/secret/x",
        "file:///docs/%73ecret/x",
        "file:///docs/%2573ecret/x",
        "file:///docs/secre%74/x",
        "file:///docs/a%2Db",
        "docs://handbook//secret",
    ],
)
def test_a_resource_spelled_round_a_longer_prefix(uri: str) -> None:
    """`file:///docs/secret/*` may be stricter than `file:///docs/*`; no spelling of it falls under the laxer one.

    Control: unfixed, these match the shorter prefix and a server that decodes or collapses reads the longer one.
    """
    with pytest.raises(CallerError):
        check_uri(uri)


@pytest.mark.parametrize(
    "uri",
    ["file:///docs/a%20b", "https://x.example/a?next=https://y.example//z", "docs://handbook/one", "mem:a", "file:///"],
)
def test_plain_resources_pass(uri: str) -> None:
    """The other half."""
    check_uri(uri)


@pytest.mark.parametrize("pattern", ["https://good.example*", "http://*", "https://good.example:8*", "https*"])
def test_a_prefix_that_ends_inside_the_host(pattern: str) -> None:
    """`https://good.example*` would cover good.example.evil.example.

    Control: unfixed, it loads.
    """
    assert resource_problem(pattern)


@pytest.mark.parametrize("pattern", ["https://good.example/*", "file:///docs/*", "docs://handbook/*", "demo://*"])
def test_prefixes_that_end_behind_the_host(pattern: str) -> None:
    """The other half."""
    assert not resource_problem(pattern)
