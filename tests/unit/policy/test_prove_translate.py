"""What the translator says of single constructs: exact where it speaks, and never silent where it does not know."""

from typing import Any

import pytest
from cedarpy import pst

from lictor.pdp.engine.cedar import CedarEngine
from lictor.pdp.engine.entities import Directory
from lictor.policy.prove import expressions
from lictor.policy.prove.constants import datetime_of, decimal_of, duration_of
from lictor.policy.prove.expressions import Expressions, known
from lictor.policy.prove.logic import read_text, text
from lictor.policy.prove.policies import translate
from lictor.policy.prove.symbols import Symbols
from lictor.policy.prove.unsupported import Unsupported
from prove_world import ENTITIES, SCHEMA, Concrete, environment_of, parsed, random_request


def context(**changes: Any) -> dict[str, Any]:
    """A whole context."""
    import random

    _, _, _, made = random_request(random.Random(1))
    return {**made, **changes}


def agree(condition: str, **changes: Any) -> tuple[bool, bool]:
    """The translator's (allow, errs) for one condition on one request, checked against the engine's."""
    json, trees = parsed(f"permit(principal, action, resource) when {{ {condition} }};")
    engine = CedarEngine(json, SCHEMA, ENTITIES)
    symbols = Symbols(environment_of(SCHEMA, "s/look"), Directory(ENTITIES))
    outcome = translate(trees, symbols, symbols.view)
    given = context(**changes)
    values = Concrete(symbols, ENTITIES, "one", "s/look", given)
    said = values.truth(outcome.allow), values.truth(outcome.errs)
    verdict = engine.evaluate(("Agent", "one"), "s/look", ("Tool", "s/look"), given)
    assert said == (verdict.allowed, bool(verdict.errors)), verdict
    return said


def refused(condition: str) -> str:
    """What is not supported about a condition."""
    _, trees = parsed(f"permit(principal, action, resource) when {{ {condition} }};")
    symbols = Symbols(environment_of(SCHEMA, "s/look"), Directory(ENTITIES))
    with pytest.raises(Unsupported) as caught:
        translate(trees, symbols, symbols.view)
    assert caught.value.policy == "policy0"
    return caught.value.what


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ('["a"] == ["a"]', True),
        ('["a", "b"] == ["b", "a", "a"]', True),
        ('["a"] == ["b"]', False),
        ('context.tags == ["x"]', True),
        ('principal is Agent in Group::"nowhere"', False),
        ('principal is Agent in Group::"top"', True),
        ("{a: 1, b: [2]} == {b: [2], a: 1}", True),
        ("{a: 1} == {a: 2}", False),
        ("[].isEmpty()", True),
        ("context.tags.isEmpty()", False),
        ('context.s == "a\\\\u{41}"', True),
        ('context.s like "a\\\\u*"', True),
        ('context.s == "aA"', False),
        ("(if context.n > 5 then {k: 1} else {k: 2}).k == 2", True),
        ('datetime("2026-01-01T01:00:00+0100") == datetime("2026-01-01")', True),
        ('context.now.offset(duration("1h")).toDate() == datetime("2026-01-01")', True),
        ('duration("-1500ms").toSeconds() == -1', True),
        ("context.dur.toSeconds() == -1", True),
        ("context.dur.toSeconds() == -2", False),
        ('decimal("1.5").lessThan(decimal("1.5001"))', True),
        ("9223372036854775807 + context.n > 0", False),
    ],
)
def test_what_a_condition_means(condition: str, allowed: bool) -> None:
    """Sets, records, types with `in`, escapes, dates: the value is the engine's (the silent gaps of a first version among them)."""
    from lictor.pdp.facts import moment

    negative = {"__extn": {"fn": "duration", "arg": "-1500ms"}}
    assert agree(condition, dur=negative, tags=["x"], s="a\\u{41}", n=3, now=moment(1_767_225_600_000))[0] is allowed


def test_an_error_behind_a_false_clause_does_not_happen() -> None:
    """Clauses are evaluated in order: what stands behind a false one is not reached."""
    assert agree("context.b && context.m > 1", b=False) == (False, False)


def test_a_missing_entity_errs_when_its_attribute_is_read() -> None:
    """An attribute of an entity that nobody declared is an error, and `has` on it is false."""
    ghost = {"__entity": {"type": "User", "id": "ghost"}}
    assert agree('context.who.team == "red"', who=ghost) == (False, True)
    assert agree("context.who has mail", who=ghost) == (False, False)


@pytest.mark.parametrize(
    ("condition", "what"),
    [
        ('ip("10.0.0.1").isLoopback()', "ip()"),
        ("context.addr == context.addr", "comparing an address"),
        ("context.spare.isEmpty()", "is_empty()"),
        ('principal.hasTag("x")', "has_tag()"),
        ("principal in context.people", "`in` a set that is not written out"),
        ("[[1]].contains([1])", "a set of sets"),
        ('User::"ann".team == "red"', "reached through another entity"),
        ('context.s == "\U00030000"', "a character above U+2FFFF"),
        ("context.nothing == 1", "which the schema does not declare"),
        ("context.n == context.s", "comparing two kinds of value"),
    ],
)
def test_what_is_not_known_is_said(condition: str, what: str) -> None:
    """Each construct that is not translated raises, with the policy's id; none becomes true or false."""
    assert what in refused(condition)


def test_a_node_of_a_later_engine_is_not_known() -> None:
    """A class that is not in the list raises, and so does a known class with another field than those consumed."""

    class Later:
        """A construct of tomorrow."""

    with pytest.raises(Unsupported, match="Later"):
        known(Later())


def test_a_new_field_of_a_known_node_is_not_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field that nobody consumes raises: this is how `is … in` once became true."""
    monkeypatch.setattr(expressions, "_CHECKED", set())
    monkeypatch.setattr(expressions, "_FIELDS", {**expressions._FIELDS, pst.Is: ("base", "entity_type")})
    assert refused("principal is Agent") == "the construct Is"


def test_a_handler_for_every_class_and_no_other() -> None:
    """Every expression class of the engine's tree is either translated or refused by name."""
    symbols = Symbols(environment_of(SCHEMA, "s/look"), Directory(ENTITIES))
    translator = Expressions(symbols, symbols.view)
    with pytest.raises(Unsupported, match="as an expression"):
        translator.meaning(pst.ScopeAny())


def test_a_slot_is_refused() -> None:
    """A template's slot is never taken for an entity."""
    symbols = Symbols(environment_of(SCHEMA, "s/look"), Directory(ENTITIES))
    with pytest.raises(Unsupported):
        Expressions(symbols, symbols.view).entity(pst.Slot(name="principal"))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "a\\u{41}", "\\", 'q"', "é😀", "\x00\n", "\\u0041"])
def test_strings_come_back_as_they_went_in(value: str) -> None:
    """The solver's escapes are neither made nor taken by accident."""
    assert read_text(text(value)) == value


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (decimal_of, "-1.5", -15_000),
        (decimal_of, "922337203685477.5807", 2**63 - 1),
        (duration_of, "-1d2h3m4s5ms", -93_784_005),
        (duration_of, "5m", 300_000),
        (datetime_of, "1969-12-31T23:59:59.999Z", -1),
        (datetime_of, "2026-01-01T00:00:00-0130", 1_767_231_000_000),
    ],
)
def test_constants_of_the_extension_types(read: Any, value: str, expected: int) -> None:
    """Decimals in ten-thousandths, times in milliseconds."""
    assert read(value) == expected


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (decimal_of, "1"),
        (decimal_of, "1.00000"),
        (duration_of, ""),
        (duration_of, "1s1h"),
        (datetime_of, "2026-02-30"),
        (datetime_of, "x"),
    ],
)
def test_malformed_constants_are_not_supported(read: Any, value: str) -> None:
    """What the engine would refuse is not given a value."""
    with pytest.raises(Unsupported):
        read(value)
