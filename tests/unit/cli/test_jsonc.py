"""Reading JSON with comments by position, and changing one value without moving another byte."""

import json

import pytest

from lictor.cli import jsonc
from lictor.model.errors import OperatorError
from lictor.model.reasons import Reason

SAMPLE = '\ufeff// top\r\n{\r\n\t"a" : [ 1, -2.50e+3, "\\u00e9\\n" /* x */ , ],\r\n\t"b": { "c": null, "d": true, },\r\n}\r\n// end'


def _parse(text, *, comments=True):
    return jsonc.parse(text, comments=comments, name="f.json")


def test_plain_gives_the_values():
    """Comments, trailing commas, BOM and CRLF do not disturb the values; numbers keep their spelling."""
    assert jsonc.plain(_parse(SAMPLE)) == {
        "a": [jsonc.Number("1"), jsonc.Number("-2.50e+3"), "é\n"],
        "b": {"c": None, "d": True},
    }


def test_every_span_is_the_value_as_written():
    """`text[start:end]` of a node is its token."""
    root = _parse(SAMPLE)
    assert isinstance(root, jsonc.Object)
    items = root.get("a")
    assert isinstance(items, jsonc.Array)
    assert [SAMPLE[item.start : item.end] for item in items.items] == ["1", "-2.50e+3", '"\\u00e9\\n"']
    assert SAMPLE[items.start] == "["
    assert SAMPLE[items.end - 1] == "]"


@pytest.mark.parametrize(
    ("text", "reason", "line"),
    [
        ("", Reason.INVALID_JSON, 1),
        ("\ufeff", Reason.INVALID_JSON, 1),
        ("{", Reason.INVALID_JSON, 1),
        ('{"a": 1,\n "a": 2}', Reason.DUPLICATE_KEY, 2),
        ('{"a": 1,\r\n\r\n "\\u0061": 2}', Reason.DUPLICATE_KEY, 3),
        ('{"x": {"k": 1, "k": 1}}', Reason.DUPLICATE_KEY, 1),
        ("{}\n{}", Reason.TRAILING_DATA, 2),
        ("[1,,2]", Reason.INVALID_JSON, 1),
        ("[,]", Reason.INVALID_JSON, 1),
        ("[1,,]", Reason.INVALID_JSON, 1),
        ("{,}", Reason.INVALID_JSON, 1),
        ("[1 2]", Reason.INVALID_JSON, 1),
        ("[01]", Reason.INVALID_JSON, 1),
        ("[+1]", Reason.INVALID_JSON, 1),
        ("[1.]", Reason.INVALID_JSON, 1),
        ("[.5]", Reason.INVALID_JSON, 1),
        ("[NaN]", Reason.INVALID_JSON, 1),
        ("[Infinity]", Reason.INVALID_JSON, 1),
        ("[-Infinity]", Reason.INVALID_JSON, 1),
        ("[True]", Reason.INVALID_JSON, 1),
        ("[truefalse]", Reason.INVALID_JSON, 1),
        ("[1a]", Reason.INVALID_JSON, 1),
        ("['a']", Reason.INVALID_JSON, 1),
        ('["a\nb"]', Reason.INVALID_JSON, 1),
        ('["\\x41"]', Reason.INVALID_JSON, 1),
        ('["\\u12"]', Reason.INVALID_JSON, 1),
        ('["a]', Reason.INVALID_JSON, 1),
        ("{a: 1}", Reason.INVALID_JSON, 1),
        ('{"a" 1}', Reason.INVALID_JSON, 1),
        ("{}\n/* open", Reason.INVALID_JSON, 2),
        ("{}\n/*/", Reason.INVALID_JSON, 2),
        ("{}\u00a0", Reason.TRAILING_DATA, 1),
        ("[\u00a01]", Reason.INVALID_JSON, 1),
        ("[\ufeff1]", Reason.INVALID_JSON, 1),
        ("[" * 200 + "]" * 200, Reason.TOO_DEEP, 1),
        ('{"a":' * 200 + "1" + "}" * 200, Reason.TOO_DEEP, 1),
        ("[" * 100_000, Reason.TOO_DEEP, 1),
    ],
)
def test_broken_documents_are_refused_with_the_line(text, reason, line):
    """Whatever is not a document is refused with a stable reason and `file:line`."""
    with pytest.raises(OperatorError) as caught:
        _parse(text)
    assert caught.value.reason is reason
    assert caught.value.where == f"f.json:{line}"


@pytest.mark.parametrize("text", ["// c\n{}", "{} /* c */", '{"a": 1,}', "[1,]"])
def test_plain_json_has_no_comments_and_no_trailing_commas(text):
    """A client that reads plain JSON would not read this file, so neither do we; with comments allowed it is fine."""
    _parse(text, comments=True)
    with pytest.raises(OperatorError):
        _parse(text, comments=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", '["x", "y"]'),
        ("[ ]", '["x", "y" ]'),
        ("[1]", '["x", "y", 1]'),
        ("[ 1, 2 ]", '[ "x", "y", 1, 2 ]'),
        ("[\n  1, // one\n  2,\n]", '[\n  "x",\n  "y",\n  1, // one\n  2,\n]'),
        ("[\r\n\t1\r\n]", '[\r\n\t"x",\r\n\t"y",\r\n\t1\r\n]'),
        ("[ // why\n  1]", '[ // why\n  "x", "y", 1]'),
        ("[ /* none */ ]", '["x", "y" /* none */ ]'),
    ],
)
def test_insert_first_follows_the_layout_and_remove_first_undoes_it(text, expected):
    """New items are laid out like the old ones; taking them out gives the same text back."""
    array = _parse(text)
    assert isinstance(array, jsonc.Array)
    after = jsonc.apply_edits(text, [jsonc.insert_first(text, array, ['"x"', '"y"'])])
    assert after == expected
    wrapped = _parse(after)
    assert isinstance(wrapped, jsonc.Array)
    assert jsonc.apply_edits(after, [jsonc.remove_first(after, wrapped, 2)]) == text


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ('["x",]', "[]"),
        ('["x", /* , */ ]', "[ /* , */ ]"),
        ('["x" // c\n , ]', "[ ]"),
        ('["x" /* keep */ ]', "[ /* keep */ ]"),
    ],
)
def test_remove_first_takes_a_trailing_comma_along(text, after):
    """Removing the only item never leaves a lone comma behind."""
    array = _parse(text)
    assert isinstance(array, jsonc.Array)
    assert jsonc.apply_edits(text, [jsonc.remove_first(text, array, 1)]) == after
    _parse(after)


@pytest.mark.parametrize("count", [0, -1, 2])
def test_remove_first_refuses_a_count_that_does_not_fit(count):
    """Removing nothing or more than there is would be a defect of the caller."""
    array = _parse("[1]")
    assert isinstance(array, jsonc.Array)
    with pytest.raises(ValueError):
        jsonc.remove_first("[1]", array, count)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"c":1}', '{"c":1, "n": 2}'),
        ('{ "c": 1 }', '{ "c": 1, "n": 2 }'),
        ('{\n\t"c": 1 // one, really\n}', '{\n\t"c": 1,\n\t"n": 2 // one, really\n}'),
        ('{"a": 0, /* , */ "c": 1, "d": 2}', '{"a": 0, /* , */ "c": 1, "n": 2, "d": 2}'),
        ('{\n  "a": 0, // x, y\n  "c": 1,\n}', '{\n  "a": 0, // x, y\n  "c": 1,\n  "n": 2,\n}'),
    ],
)
def test_insert_after_follows_the_layout(text, expected):
    """A new member stands behind the one named, indented like it."""
    parent = _parse(text)
    assert isinstance(parent, jsonc.Object)
    member = parent.member("c")
    assert member is not None
    after = jsonc.apply_edits(text, [jsonc.insert_after(text, parent, member, "n", "2")])
    assert after == expected
    assert jsonc.plain(_parse(after)) == jsonc.plain(parent) | {"n": jsonc.Number("2")}


def test_overlapping_edits_are_refused():
    """Two edits of the same text cannot both be right."""
    with pytest.raises(ValueError):
        jsonc.apply_edits("abcdef", [jsonc.Edit(0, 3, ""), jsonc.Edit(2, 4, "")])


def test_lone_surrogates_and_long_numbers_pass_unread():
    """Other programs' files may hold them; nothing here needs their value."""
    text = '{"h": "\\ud83d", "n": ' + "9" * 5000 + "}"
    assert jsonc.plain(_parse(text)) == {"h": "\ud83d", "n": jsonc.Number("9" * 5000)}


def test_large_documents_are_read_in_linear_time():
    """A megabyte of strings, comments and escapes is no problem for the patterns."""
    text = json.dumps({"k" * 10 + str(i): ["\\" * 50, "a" * 50] for i in range(5000)}) + "/" + "*" * 200_000 + "/"
    assert len(jsonc.plain(_parse(text))) == 5000
    with pytest.raises(OperatorError):
        _parse("{}/" + "*" * 200_000)
    with pytest.raises(OperatorError):
        _parse('["' + "\\\\" * 200_000)
