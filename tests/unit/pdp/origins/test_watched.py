"""Watched arguments: every value that is there, and no array or object that hides one."""

import pytest

from lictor.model.catalog import Watch
from lictor.pdp.origins.watched import MAX_ITEMS, forms_of


def forms(pointer, arguments, kind="text"):
    """The forms of one watched argument."""
    return forms_of(Watch(pointer=pointer, kind=kind), arguments)


@pytest.mark.parametrize(
    ("pointer", "arguments", "expected"),
    [
        ("/a", {"a": "x"}, ("x",)),
        ("/a", {}, ()),
        ("/a", {"a": None}, ()),
        ("/a", {"a": []}, ()),
        ("/a", {"a": ["x", "y"]}, ("x", "y")),
        ("/a/*", {"a": ["x", ["y"]]}, ("x", "y")),
        ("/a/*", {"a": "x"}, (None,)),
        ("/a/*/b", {"a": [{"b": "x"}, {"b": ["y"]}, {}]}, ("x", "y")),
        ("/a/b", {"a": "x"}, (None,)),
        ("/a/b", {"a": [{"b": "x"}]}, ("x",)),
        ("/a", {"a": {"b": "x"}}, (None,)),
        ("/a", {"a": 5}, (None,)),
        ("/a/0", {"a": ["x", "y"]}, ("x",)),
        ("/a~1b", {"a/b": "x"}, ("x",)),
    ],
)
def test_every_value_is_read(pointer, arguments, expected):
    """An absent argument has no value; what is in the way is a value without form."""
    assert forms(pointer, arguments) == expected


def test_addresses_in_one_string_are_all_read():
    """A plain address has no comma, so cutting there cannot invent one."""
    assert forms("/to", {"to": "A@b.example, c@d.example;x"}, "email") == ("a@b.example", "c@d.example", None)
    assert forms("/to", {"to": "Anna <a@b.example>"}, "email") == (None,)


def test_more_items_than_are_looked_up_have_no_form():
    """They all come from nowhere."""
    assert forms("/a", {"a": ["x"] * (MAX_ITEMS + 1)}) == (None,)
