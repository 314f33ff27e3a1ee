"""Content rules: deterministic, adding labels only, and on the strict side where something cannot be read."""

import base64
import json

import pytest

from lictor.model.content import ContentRule
from lictor.pdp.origins.content import MAX_LOOKED_AT, labels_of


def rule(**parts):
    """A rule that gives the label `found`."""
    return ContentRule(name="r", labels=("found",), **parts)


def fits(body, *, raw=False, **parts):
    """Whether a rule with these parts labels a result."""
    data = body if raw else json.dumps(body).encode()
    return labels_of((rule(**parts),), "web/fetch", data) == ("found",)


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("card", "card 4111 1111 1111 1111."),
        ("card", "5555-5555-5555-4444"),
        ("iban", "to DE89 3704 0044 0532 0130 00 and"),
        ("iban", "GB82WEST12345698765432"),
        ("email", "write to anna@example.com!"),
        ("secret", "-----BEGIN OPENSSH PRIVATE KEY-----"),
        ("secret", "key=AKIAIOSFODNN7EXAMPLE"),
        ("secret", "ghp_" + "a1" * 18),
        ("secret", "sk-ant-" + "a1" * 20),
    ],
)
def test_a_value_by_its_published_form_is_found(what, text):
    """Anywhere in a result: in text, in a member's name, in JSON inside a string."""
    for body in (text, {text: 1}, {"content": [{"type": "text", "text": json.dumps({"a": [text]})}]}, [[text]]):
        assert fits(body, holds=(what,))
    assert fits(text.encode(), raw=True, holds=(what,))


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("card", "4111 1111 1111 1112"),  # check digit
        ("card", "order 99999999999999999999999"),
        ("iban", "DE89 3704 0044 0532 0130 01"),
        ("email", "anna at example.com, x@y"),
        ("secret", "AKIA is a prefix, ghp_ too"),
    ],
)
def test_what_only_looks_like_it_is_not(what, text):
    """Check digits and lengths count."""
    assert not fits(text, holds=(what,))


@pytest.mark.parametrize(
    "text", ["Project Orion", "PROJECT ORION", "project\u200b orion", "\uff30roject Orion", "x project orion y"]
)
def test_a_literal_is_found_however_it_is_spelled(text):
    """Case, compatibility forms and invisible characters do not count."""
    assert fits(text, contains=("project orion",))
    assert fits('"' + text.encode().decode() + '"', contains=("Project Orion",))


def test_json_escapes_hide_nothing():
    """What counts is the text, not its spelling on the wire."""
    assert fits(b'{"a":"Pro\\u006aect Orion"}', raw=True, contains=("project orion",))
    assert fits(b'{"a":"\\u0034111111111111111"}', raw=True, holds=("card",))


def test_nothing_is_decoded():
    """Documented: the label of the source has to cover what is hidden on purpose."""
    assert not fits(base64.b64encode(b"project orion").decode(), contains=("project orion",))


def test_a_rule_for_other_actions_does_not_count():
    """Its actions are exact."""
    assert not fits("project orion", contains=("project orion",), actions=("web/other",))
    assert fits("project orion", contains=("project orion",), actions=("web/fetch",))


def test_too_long_to_be_read_in_time_counts_as_a_hit():
    """A rule only ever adds a label, so doubt adds it."""
    assert fits("word " * (MAX_LOOKED_AT // 4), holds=("card",))


def test_an_encoded_picture_is_not_prose():
    """A screenshot does not become a card number by its length."""
    assert not fits({"data": "iVBORw0KGgo" * 200_000}, holds=("card", "iban", "email", "secret"))


def test_no_rule_and_no_content_give_no_label():
    """An empty reply holds nothing."""
    assert labels_of((), "a/b", b'"x"') == ()
    assert labels_of((rule(contains=("abc",)),), "a/b", b"") == ()
