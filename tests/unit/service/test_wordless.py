"""Errors as they are written down: our words stay, what they quote does not, however it is quoted and wherever it was cut."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.model.record import DecisionMade, decode_entry, encode_entry
from lictor.service.calls.wordless import place, wordless
from recorded_world import POLICY, Step, drive, world_bundle

TEXTS = st.text(min_size=1, max_size=60)
MARK = "cnryMARK"


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("not declared by the tool: 'secret'", "not declared by the tool: '...'"),
        ('expected a string, not "it\'s secret"', "expected a string, not '...'"),
        ("the task's budget does not cover it", "the task's budget does not cover it"),
        ("the task's word is 'secret', or 'more'", "the task's word is '...'"),
        ("header b'secret' is odd", "header '...'"),
        ("cut: 'secr…, 'secret'", "cut: '...'"),
        ("while evaluating policy `reads`: `it `secret` was` is no decimal", "while evaluating policy `reads`: '...'"),
        (
            "error while evaluating policy `a-b`: error while evaluating `decimal` extension function: `secret` is none",
            "error while evaluating policy `a-b`: error while evaluating `decimal` extension function: '...'",
        ),
        ("expected an integer, not 12", "expected an integer, not 12"),
    ],
)
def test_what_is_quoted_goes(said: str, kept: str) -> None:
    """Every form of quote that our messages and the engine's have; and what comes behind it."""
    assert wordless(said) == kept


@pytest.mark.parametrize(
    ("said", "plain", "kept"),
    [
        ("/secret: expected a string", True, "/*: expected a string"),
        ("/a/secret: not declared by the tool: 'more'", True, "/*: not declared by the tool: '...'"),
        ("/a: secret: expected a string", False, "/*"),
        ("/secret", True, "/*"),
        ("/it's 'secret: x", True, "/*: x"),
        ("/path: expected a string", True, "/path: expected a string"),
        ("/lines/3/path/secret: too long", True, "/lines/3/path/*: too long"),
        ("/path/1234567: x", True, "/path/*: x"),
        ("/path: secret: x", False, "/*"),
    ],
)
def test_places_are_not_told(said: str, plain: bool, kept: str) -> None:
    """They are made of names, and names may be a model's but where reviewed. Where a place cannot be told from the message both go."""
    assert wordless(said, plain=plain, words={"path", "lines"}) == kept


@given(TEXTS, st.integers(1, 80))
def test_no_quoted_text_stays(text: str, limit: int) -> None:
    """Whatever the text, quoted as our messages and the engine quote, whole or cut off anywhere, alone or with others."""
    for quoted in (
        repr(text),
        f"{repr(text)[:limit]}…, {text!r}",
        repr(text.encode("utf-8", "replace")),
        f"`{text}` is odd",
    ):
        assert wordless(f"odd: {quoted}") == "odd: '...'"
    assert wordless(f"odd: [{text!r}]") == "odd: ['...'"


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("/params/arguments", "/params/arguments"),
        ("/params/arguments/secret/name", "/params/arguments/*/*"),
        ("/params/secret/name", "/params/*/*"),
        ("/params/_meta/progressToken", "/params/_meta/*"),
        ("/3/id", "/3/id"),
        ("", ""),
        ("header Mcp-Method", "header Mcp-Method"),
    ],
)
def test_places_name_members_of_the_protocol_only(where: str, kept: str) -> None:
    """Below arguments every name is somebody else's, and so is all below a member that the protocol does not know."""
    assert place(where) == kept


def test_places_name_what_a_reviewed_definition_declares() -> None:
    """Below arguments and nowhere else: what stands where the protocol has names of its own is told by none of them."""
    assert place("/params/arguments/amount/secret/0", {"amount"}) == "/params/arguments/amount/*/*"
    assert place("/params/amount", {"amount"}) == "/params/*"


KEYS = st.one_of(
    st.just("path"), st.text(max_size=12), st.sampled_from(["a: b", "it's", "x `y`", "/", "~", "policy `z`"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=6,
)
CEDAR = """
@id("odd") @reason("x") @owner("alice")
forbid (principal, action, resource)
when { context has input && context.input has path && decimal(context.input.path).lessThan(decimal("1.0")) };
"""


@given(st.dictionaries(KEYS, VALUES, max_size=3), st.sampled_from(["read_file", "write-file/v1.2", "fetch", "pay"]))
@settings(max_examples=80, deadline=None)
def test_no_decision_writes_down_what_was_sent(arguments: dict[str, Any], name: str) -> None:
    """Whatever names and values an agent sends: marked, none of them is in a record, also where policy or schema stumbles."""
    sent = {"path": f"{MARK} x `{MARK}` 'y'", **marked(arguments)}
    world = drive(world_bundle(POLICY + CEDAR), [Step(name, tuple(sent.items()))])
    made = [decode_entry(one.data) for one in world.store.entries()]
    assert [one for one in made if isinstance(one.record, DecisionMade)]
    for one in made:
        assert MARK.encode() not in encode_entry(one.at, one.record)


def marked(value: Any) -> Any:
    """The same with a mark in every name but the declared ones, and in every text."""
    match value:
        case dict():
            return {
                key if key in {"path", "url", "mode", "amount"} else f"{MARK}{key}{MARK}": marked(one)
                for key, one in value.items()
            }
        case list():
            return [marked(one) for one in value]
        case str():
            return f"{MARK}{value}{MARK}"
        case _:
            return value


@pytest.mark.parametrize("sent", [{"path": "a", MARK: 1}, {"path": f"{MARK} `x`"}, {"path": {MARK: MARK}}])
def test_the_control_writes_it_down(sent: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors as they are would hold what was sent; the same search finds it there."""
    monkeypatch.setattr("lictor.service.calls.recorded.told", lambda _, decision, __: decision.errors)
    world = drive(world_bundle(POLICY + CEDAR), [Step("read_file", tuple(sent.items()))])
    texts = [json.loads(one.data)["record"].get("errors", []) for one in world.store.entries()]
    assert any(texts)
    if not isinstance(sent["path"], dict):
        assert MARK in str(texts)
