"""Laws of normalisation, each with a broken variant that the same check catches.

* a path that is said to lie below a root does, for the kernel too, and for every reader that collapses, decodes or folds;
* a URL's host is the host that other readers of the same text would dial, or it is unknown;
* of several destinations the worst decides.
"""

import os
import posixpath
import string
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

import ada_url
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from lictor.model.catalog import DestinationSelector, PathSelector
from lictor.model.errors import CallerError
from lictor.pdp.normalise import Directory, destination_of
from lictor.pdp.normalise.path import path_facts

ROOT = "/srv/ws"
SELECTOR = PathSelector(pointer="/p", roots={"ws": ROOT})
URLS = DestinationSelector(url="/u", schemes=("http", "https"))
KNOWN = Directory(hosts={"good": ("good.example",)}, domains={"firm": ("firm.example",)})
MANY = settings(max_examples=600, deadline=None)

pieces = st.sampled_from(
    ["/", "//", ".", "..", "/srv", "/srv/ws", "srv", "ws", "ws-evil", "a", ".env", "\\", "%2e", "%2e%2e", "%2f", "%252e", "~", "\0",
     " ", "file://", "é", "e\u0301", "\u200b", "\u202e", "*", "C:", ":"]
)  # fmt: skip
paths = st.lists(pieces, min_size=1, max_size=7).map("".join) | st.lists(pieces, max_size=5).map(
    lambda x: f"{ROOT}/" + "/".join(x)
)

hosts = st.sampled_from(
    ["good.example", "evil.example", "GOOD.example", "good.example.", "127.1", "0x7f.1", "010.1.1.1", "[::1]", "[::ffff:10.0.0.1]",
     "xn--bcher-kva.example", "bücher.example", "faß.example", "1.2.3.4", "good。example", "a_b.example", "①.example"]
)  # fmt: skip
odds = st.sampled_from(
    ["", "@", "\\", "\\@", ":", ":80", ":443", "/", "?", "#", "%00", "%40", "\t", "\n", " ", "//", ".", "user:pw@", ";"]
)
urls = st.builds(
    lambda scheme, a, b, c, d, e: f"{scheme}{a}{b}{c}{d}{e}",
    st.sampled_from(["https://", "http://", "HTTPS://", "https:/", "https:", "//", "http:\\\\", "ftp://"]),
    odds, hosts, odds, hosts | st.just(""), odds,
)  # fmt: skip


def ours(text: str) -> tuple[str, ...]:
    """The parts below the root.

    Raises:
        CallerError: unknown.
    """
    found = path_facts(SELECTOR, {"p": text}, {}).found[0]
    return found.parts


def by_prefix(text: str) -> tuple[str, ...]:
    """Broken: a root is a prefix of the text."""
    if not text.startswith(ROOT):
        raise CallerError  # type: ignore[call-arg]
    return tuple(part for part in text[len(ROOT) :].split("/") if part)


def escapes(read: Callable[[str], tuple[str, ...]], text: str) -> str:
    """How some reader of the same text gets elsewhere than the facts say; empty when none does."""
    try:
        parts = read(text)
    except (CallerError, TypeError):
        return ""
    said = "/".join([ROOT, *parts])
    readers = {
        "normpath": posixpath.normpath(text),
        "join": posixpath.normpath(posixpath.join("/elsewhere", text)),
        "decoded": posixpath.normpath(unquote(text)),
        "decoded twice": posixpath.normpath(unquote(unquote(text))),
        "expanded": posixpath.normpath(posixpath.expanduser(text)),
        "backslashes": posixpath.normpath(text.replace("\\", "/")),
        "cut at NUL": posixpath.normpath(text.partition("\0")[0]),
        "stripped": posixpath.normpath(text.strip()),
    }
    return next((f"{name}: {found!r} instead of {said!r}" for name, found in readers.items() if found != said), "")


@given(paths)
@MANY
def test_every_reader_gets_where_the_facts_say(text: str) -> None:
    """Lexically: collapsing, decoding, expanding or stripping changes nothing about an accepted path."""
    assert not escapes(ours, text)


def test_control_a_prefix_is_no_root() -> None:
    """The same check catches the naive way."""
    assert escapes(by_prefix, "/srv/ws/../../etc/passwd")
    assert escapes(by_prefix, "/srv/ws-evil/x")


@given(st.lists(st.sampled_from(["a", "b", ".", "", "c"]), max_size=6))
@settings(max_examples=100, deadline=None)
def test_the_kernel_agrees(names: list[str]) -> None:
    """Differential: what is accepted below a root is, without links, what `realpath` gives."""
    text = f"{ROOT}/" + "/".join(names)
    assert os.path.realpath(text) == "/".join([os.path.realpath(ROOT), *ours(text)])


def host_of(text: str) -> str:
    """Ours.

    Raises:
        CallerError: unknown.
    """
    return destination_of(URLS, {"u": text}, KNOWN).host


def naive(text: str) -> str:
    """Broken: one good parser's host, whatever the text."""
    return str(ada_url.URL(text).hostname)


def disagreement(read: Callable[[str], str], text: str) -> str:
    """How another parser dials another host than the one judged; empty when all agree."""
    try:
        said = read(text)
    except (CallerError, ValueError):
        return ""
    for name, reader in (("urlsplit", lambda: urlsplit(text).hostname), ("yarl", lambda: URL(text).raw_host)):
        try:
            other = (reader() or "").lower().rstrip(".")
        except ValueError:
            continue  # it dials nothing
        if other and _plain(other) != _plain(said):
            return f"{name} dials {other!r}, judged was {said!r}"
    return ""


def _plain(host: str) -> str:
    """One spelling for the comparison: the standard library's own IDNA, and addresses as numbers."""
    try:
        return destination_of(DestinationSelector(host="/h"), {"h": host}, KNOWN).host
    except CallerError:
        return host


@given(urls)
@MANY
def test_no_other_parser_dials_another_host(text: str) -> None:
    """What is accepted has one host; what readers disagree on is unknown."""
    assert not disagreement(host_of, text)


def test_control_a_parser_alone_is_not_enough() -> None:
    """The same check catches the WHATWG parser by itself."""
    assert any(
        disagreement(naive, text)
        for text in ("https://evil.example\\@good.example/", "http://good.example\\.evil.example/")
    )


lists = st.lists(
    st.sampled_from(
        [
            "https://good.example",
            "https://a.firm.example",
            "https://evil.example",
            "http://10.0.0.1",
            "https://good.example:444",
        ]
    ),
    min_size=1,
    max_size=5,
)


def worst(combined: dict[str, object], singles: list[dict[str, object]]) -> bool:
    """Whether a list is judged no better than any of its members."""
    groups = [set(one["directory"]) for one in singles]  # type: ignore[call-overload]
    return (
        combined["external"] == any(one["external"] for one in singles)
        and combined["private"] == any(one["private"] for one in singles)
        and set(combined["directory"]) == set.intersection(*groups)  # type: ignore[call-overload]
        and combined["host"] in {"", *(one["host"] for one in singles if len({two["host"] for two in singles}) == 1)}
        and set(combined["hosts"]) == {one["host"] for one in singles}  # type: ignore[call-overload]
        and combined["count"] == len(singles)
    )


@given(lists)
@settings(max_examples=200, deadline=None)
def test_a_list_is_as_good_as_its_worst(found: list[str]) -> None:
    """External and private if any is; vouched for only by who vouches for all; no single host unless there is one."""
    selector = DestinationSelector(url="/u/*")
    combined = destination_of(selector, {"u": found}, KNOWN).cedar()
    assert worst(combined, [destination_of(URLS, {"u": one}, KNOWN).cedar() for one in found])


def test_control_the_first_decides() -> None:
    """The same check catches a list that is judged by its first member."""
    singles = [
        destination_of(URLS, {"u": one}, KNOWN).cedar() for one in ("https://good.example", "https://evil.example")
    ]
    assert not worst(singles[0], singles)


@pytest.mark.parametrize(
    "char", [chr(code) for code in range(128) if chr(code) not in string.ascii_letters + string.digits]
)
def test_every_ascii_character_in_a_host(char: str) -> None:
    """Swept: in, before and behind the host, each is either read alike by all or refused."""
    for text in (
        f"https://good{char}evil.example/",
        f"https://{char}good.example/",
        f"https://good.example{char}evil.example/",
        f"https://good.example{char}",
    ):
        assert not disagreement(host_of, text), text
