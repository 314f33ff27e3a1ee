"""Values in text: whole ones, in one form, and nothing an attacker could put together from pieces of them."""

import json

import pytest

from lictor.pdp.origins.find import MAX_SCAN, MAX_VALUES, Finder, values_declared, values_of_result, values_of_text
from lictor.pdp.origins.forms import KINDS, form_of

ALL = frozenset(KINDS)


def found_in(text, kind):
    """The forms of one kind in running text."""
    return {form for found, form in values_of_text(text) if found == kind}


def named(text, kind, value):
    """Whether an argument's value counts as named in a text."""
    form = form_of(kind, value)
    return form is not None and form in found_in(text, kind)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", "Write to Anna <anna@example.com>, please.", "anna@example.com"),
        ("email", "anna@example.com;bob@example.com", "bob@example.com"),
        ("email", "(mailto:anna@example.com)", "Anna@Example.COM"),
        ("email", "o'brien@example.com wrote", "o'brien@example.com"),
        ("url", "see https://docs.example/a/b?c=1.", "https://docs.example/a/b?c=1"),
        ("url", "see (https://docs.example/a_(b)).", "https://docs.example/a_(b)"),
        ("url", "HTTPS://Docs.Example:443 is it", "https://docs.example/"),
        ("url", "[here](https://docs.example/x)", "https://docs.example/x"),
        ("host", "see https://docs.example/a", "docs.example"),
        ("host", "reach docs.example, then", "https://docs.example/other"),
        ("account", "to DE89 3704 0044 0532 0130 00 today", "DE89370400440532013000"),
        ("account", "to account 133000121212.", "133000121212"),
        ("path", "read /srv/ws/notes.md, then", "/srv/ws/notes.md"),
        ("path", "read `my notes.md`", "./my notes.md"),
        ("path", "open report.pdf", "report.pdf"),
        ("number", "pay $1,000.00 now", 1000),
        ("number", "pay 1.234,50 EUR", "1234.5"),
        ("number", "issue #42", 42),
        ("number", "about (50), or so", 50.0),
        ("text", "Ask Sarah Connor about it", "Sarah Connor"),
        ("text", "post it in #general", "general"),
        ("text", 'say "hello  there"', "hello there"),
        ("text", "Book it on 2026-07-28.", "2026-07-28"),
        ("text", "one line\nonly this   line\nmore", "only this line"),
    ],
)
def test_a_whole_value_is_found_in_prose(kind, text, value):
    """Whatever punctuation stands around it, and in each spelling that everybody reads the same."""
    assert named(text, kind, value)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("email", "write to a@b.com", "a@b.co"),  # substring
        ("email", "write to xa@b.com", "a@b.com"),
        ("email", "write to a@b.com.example", "a@b.com"),
        ("email", "see https://user:a@b.com/x", "a@b.com"),  # user information
        ("email", "user:a@b.com", "a@b.com"),
        ("email", "write to \u0430nna@example.com", "anna@example.com"),  # Cyrillic a
        ("email", "write to \u0430nna@example.com", "nna@example.com"),  # what is left of it
        ("email", "write to anna@ex\u0430mple.com", "anna@example.com"),
        ("email", "write to anna@example.com\u200b", "anna@example.com"),  # zero width
        ("email", "write to an\u200bna@example.com", "na@example.com"),
        ("email", "write to anna=40example.com", "anna@example.com"),  # quoted-printable
        ("email", "write to anna%40example.com", "anna@example.com"),
        ("email", "YW5uYUBleGFtcGxlLmNvbQ==", "anna@example.com"),  # base64
        (
            "url",
            "see https://good.example/page",
            "https://good.example/exfil?d=1",
        ),  # the host was named, the path was not
        ("url", "see https://good.example/page", "https://good.example/"),
        ("url", "see https://good.example/page", "https://good.example/pag"),
        ("url", "see https://good.example/a%62", "https://good.example/ab"),
        ("url", "see https://good.example/?u=https://evil.example/", "https://evil.example/"),
        ("url", "[https://good.example/](https://evil.example/)", "https://good.example/](https://evil.example/"),
        ("url", "see https://good.example@evil.example/", "https://good.example/"),
        ("url", "see https://xn--pple-43d.com/", "https://apple.com/"),
        ("url", "see https://\u0430pple.com/", "https://apple.com/"),
        ("host", "see docs.good.example", "good.example"),  # suffix
        ("host", "see good.example.evil.test", "good.example"),
        ("host", "write to a@good.example", "good.example"),
        ("account", "to DE89 3704 0044 0532 0130 00", "3704 0044"),
        ("account", "to DE89 3704 0044 0532 0130 00", "DE893704004405320130"),
        ("account", "account 133000121212", "13300012121"),
        ("path", "read /srv/ws/notes.md", "/srv/ws"),  # prefix
        ("path", "read /srv/ws/notes.md", "/srv/ws/notes"),
        ("path", "read /srv/ws/../../etc/passwd", "/srv/ws/../../etc/passwd"),
        ("path", "read /srv/ws/a(1).txt", "/srv/ws/a"),
        ("number", "pay 50", 5),
        ("number", "pay 1,000.00", 1),
        ("number", "pay 1 000", 1),
        ("number", "on 2026-07-28", 28),  # a date is no number
        ("number", "at 12:30", 12),
        ("number", "pay 1.500", 1500),  # two readings
        ("number", "pay 1.500", "1.5"),
        ("number", "pay \u0665", 5),  # other digits
        ("number", "pay 5\u0660", 5),
        ("number", "v1.2.3", 1),
        ("number", "pay -50", 50),
        ("number", "pay 007", 7),
        ("number", "about 50%", 50),
        ("number", "IBAN DE89 3704 0044 0532 0130 00", 3704),
        ("text", "Ask Sarah Connor about it", "Connor"),
        ("text", "post it in general", "general"),  # a common word is no name
        ("text", "Ask B\u043eb", "Bob"),
        ("text", "Ask Bob\u200b now", "Bob"),
        ("text", "ask bob", "Bob"),
    ],
)
def test_no_value_is_made_of_pieces_or_of_another_one(kind, text, value):
    """Substrings, look-alikes, encodings and numbers with two readings come from nowhere."""
    assert not named(text, kind, value)


def test_link_text_and_target_are_two_values():
    """A link that says one thing and leads to another names both, and neither is the other."""
    text = "[https://good.example/a](https://evil.example/b)"
    assert found_in(text, "url") == {"https://good.example/a", "https://evil.example/b"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_string_of_a_result_is_read(kind):
    """Members, names, items and JSON inside a string: what a tool answers is text in all of them."""
    value = {
        "text": "Some Name",
        "email": "a@b.example",
        "url": "https://b.example/x",
        "host": "b.example",
        "account": "DE89370400440532013000",
        "path": "/a/b.txt",
        "number": "12.5",
    }[kind]
    bodies = [
        {"a": [{"b": value}]},
        {value: 1},
        {"content": [{"type": "text", "text": json.dumps({"x": [value]})}]},
        [value],
        value,
    ]
    for body in bodies:
        found, complete = values_of_result(json.dumps(body).encode(), frozenset({kind}))
        assert complete
        assert (kind, form_of(kind, value)) in found


def test_json_numbers_are_values():
    """As canonical text; true is no number."""
    found, _ = values_of_result(b'{"a":[50,12.50,true,-3,1e30]}', frozenset({"number"}))
    assert {form for _, form in found} == {"50", "12.5", "-3"}


def test_what_is_no_json_is_read_as_text():
    """Also broken UTF-8 and broken nesting."""
    found, _ = values_of_result(b"\xff{ mail a@b.example", frozenset({"email"}))
    assert found == (("email", "a@b.example"),)
    found, _ = values_of_result(b"[" * 100_000, frozenset({"email"}))
    assert found == ()


def test_only_wanted_kinds_are_looked_for():
    """Nothing wanted, nothing found; and that is complete."""
    assert values_of_result(b'"a@b.example 5"', frozenset()) == ((), True)
    assert values_of_result(b'"a@b.example 5"', frozenset({"number"})) == ((("number", "5"),), True)


def test_more_than_is_kept_is_said():
    """Too many values or too much text: incomplete, and what was kept is a prefix that does not depend on chance."""
    many = json.dumps([f"u{number}@b.example" for number in range(MAX_VALUES + 1)]).encode()
    found, complete = values_of_result(many, frozenset({"email"}))
    assert (len(found), complete) == (MAX_VALUES, False)
    assert values_of_result(many, frozenset({"email"})) == (found, complete)
    long = json.dumps("a@b.example " * (MAX_SCAN // 10)).encode()
    assert values_of_result(long, frozenset({"email"})) == ((("email", "a@b.example"),), False)


def test_a_value_cut_by_the_bound_is_not_a_value():
    """The bound never makes `a@b.co` out of `a@b.com`."""
    finder = Finder(frozenset({"email"}), limit=17)
    finder.text("x@y.test a@b.company")
    assert set(finder.found) == {("email", "x@y.test")}
    assert not finder.complete


def test_declared_values_count_whole():
    """Nothing inside a declared value is declared."""
    found = set(values_declared(("a@b.example", "mail c@d.example now", "50")))
    assert ("email", "a@b.example") in found
    assert ("number", "50") in found
    assert ("email", "c@d.example") not in found
    assert ("text", "mail c@d.example now") in found


HOSTILE = [
    '"', "'a", "a", "1 ", "111 ", "(", ")", "AB12 ", "AB12 AAAA ", "a.b", "a@", "http://", "A ", "1,", "\u201e", "(a ", "_", "1.",
    "((((((((", "a@b.c,", "#", "- ", "/", "\\", "0", "\u2018", "{", "[", "DE8937040044053201300 ", "://", "%", "...",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_work_grows_with_the_text_and_no_faster(piece):
    """Counted in Python calls, so that a busy machine does not matter: four times the text, at most about four times the work."""
    import sys

    def calls(size):
        text = piece * (size // len(piece))
        count = 0

        def seen(*_):
            nonlocal count
            count += 1

        sys.setprofile(seen)
        try:
            values_of_result(json.dumps(text).encode(), ALL)
        finally:
            sys.setprofile(None)
        return count

    assert calls(32_000) <= 6 * calls(8_000) + 2_000
