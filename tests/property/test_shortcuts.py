"""The quick ways of the hot path say what the general ones say: one path, one destination, one text at the top."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lictor.model.catalog import PathSelector, Watch
from lictor.model.errors import CallerError
from lictor.pdp.normalise import path as paths
from lictor.pdp.normalise.path import Located, PathFacts
from lictor.pdp.normalise.target import Target, destination_from
from lictor.pdp.origins import watched

SETTINGS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
SELECTOR = PathSelector(pointer="/path", roots={"work": "/srv/work"}, base="work", outside="fact")
WRITTEN = st.text(st.sampled_from("ab9_-./~ %:\\*é\x00A"), max_size=12)
NEVER = re.compile(r"(?!)")
BASE = ("srv", "work")


def read(written: str) -> object:
    """What a path is read as, or that it is refused."""
    try:
        return paths._absolute(written, SELECTOR, BASE, "/path")
    except CallerError as refused:
        return refused.reason


def same_path(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the quick way, and with no path taken for an ordinary one."""
    quick = read(written)
    with monkeypatch.context() as patched:
        patched.setattr(paths, "_ORDINARY", NEVER)
        assert read(written) == quick


@settings(SETTINGS, suppress_health_check=list(HealthCheck))
@given(written=WRITTEN)
def test_an_ordinary_path_is_read_as_any_other(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken for ordinary is what every check would have let through, and is cut up the same."""
    same_path(written, monkeypatch)


@pytest.mark.parametrize("careless", [r"/?[A-Za-z0-9_./-]+", r"/?[^~]+", r"/?.*"])
def test_control_a_careless_pattern_is_caught(careless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same check fails as soon as a path that climbs, or one of two readings, is taken for an ordinary one."""
    real = read

    def broken(written: str) -> object:
        if paths._ORDINARY is NEVER:
            return real(written)
        with monkeypatch.context() as patched:
            patched.setattr(paths, "_ORDINARY", re.compile(careless, re.ASCII))
            return real(written)

    monkeypatch.setitem(globals(), "read", broken)

    @settings(SETTINGS, suppress_health_check=list(HealthCheck), database=None, phases=[Phase.generate])
    @given(written=WRITTEN)
    def attempt(written: str) -> None:
        same_path(written, monkeypatch)

    with pytest.raises((AssertionError, IndexError, BaseExceptionGroup)):
        attempt()


NAMES = st.sampled_from(["a", ".git", "B.TXT", "x.tar.gz", ".", "é.É", "end."])
LOCATED = st.builds(Located, root=st.sampled_from(["", "work"]), parts=st.lists(NAMES, max_size=4).map(tuple))


@SETTINGS
@given(located=LOCATED)
def test_one_path_is_told_as_several_are(located: Located) -> None:
    """A path alone, and the same path seen twice: the same facts."""
    assert PathFacts(found=(located,)).cedar() == PathFacts(found=(located,), seen=(located,)).cedar()


TARGETS = st.builds(
    Target,
    kind=st.sampled_from(["url", "host", "email", "git", "account"]),
    scheme=st.sampled_from(["", "https"]),
    host=st.sampled_from(["", "a.example"]),
    domain=st.sampled_from(["", "example"]),
    port=st.sampled_from([0, 443]),
    address=st.sampled_from(["", "a@b.example"]),
    path=st.sampled_from(["", "/x"]),
    directory=st.sampled_from([(), ("one",), ("one", "two")]),
    ip=st.booleans(),
    private=st.booleans(),
    idn=st.booleans(),
    mixed_script=st.booleans(),
)


@SETTINGS
@given(target=TARGETS)
def test_one_destination_is_told_as_several_are(target: Target) -> None:
    """A place alone, and the same place twice: the same facts, but for the count."""
    assert destination_from((target,)).cedar() == {**destination_from((target, target)).cedar(), "count": 1}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "bob@a.example", "a@x.example;b@x.example", "7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["to", "0"]), inner, max_size=2),
    max_leaves=6,
)


@SETTINGS
@given(
    pointer=st.sampled_from(["/to", "/to/to", "/0", "/~0", "/to/*", "/a b", "/*"]),
    kind=st.sampled_from(["email", "number", "text"]),
    arguments=st.dictionaries(st.sampled_from(["to", "0", "~0", "~", "to/to", "a b", "*"]), VALUES, max_size=4),
)
def test_a_text_at_the_top_is_found_as_any_value(pointer: str, kind: Any, arguments: dict[str, Any]) -> None:
    """The forms of a watched argument are those of all values that walking its pointer finds."""
    watch = Watch(pointer=pointer, kind=kind)
    items: list[Any] = []
    watched._walk(arguments, pointer.split("/")[1:], items)
    if kind == "email":
        items = [part for item in items for part in watched._addresses(item)]
    assert watched.forms_of(watch, arguments) == tuple(watched.form_of(kind, item) for item in items)
