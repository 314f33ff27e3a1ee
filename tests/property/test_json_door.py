"""Laws of the one reader."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lictor.model.canonical import canonical, canonical_trusted, float_is_unsafe
from lictor.model.errors import CallerError
from lictor.model.limits import Limits
from lictor.model.reasons import Reason
from lictor.protocol.json import Parsed, read

LIMITS = Limits()
SAFE = 2**53 - 1
Reader = Callable[[bytes], Any]

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not float_is_unsafe(number))
scalars = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | floats | text
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4), max_leaves=20
)

# A key from a small alphabet and whether to write it escaped: equal keys are frequent, and differ in bytes.
keys = st.tuples(st.sampled_from(["a", "b", "é", "😀", "", "/"]), st.booleans())
Written = tuple[str, bool]  # text of a document, and whether an object in it has equal keys


def _key(name: str, escaped: bool) -> str:
    if not escaped:
        return json.dumps(name, ensure_ascii=False)
    units = name.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)) + '"'


def _object(members: list[tuple[tuple[str, bool], Written]]) -> Written:
    names = [name for (name, _), _ in members]
    body = ",".join(f"{_key(*key)}:{item}" for key, (item, _) in members)
    return "{" + body + "}", len(set(names)) < len(names) or any(twice for _, (_, twice) in members)


def _array(items: list[Written]) -> Written:
    return "[" + ",".join(item for item, _ in items) + "]", any(twice for _, twice in items)


documents: st.SearchStrategy[Written] = st.recursive(
    st.sampled_from(["1", "1.5", '"x"', '"{\\"a\\":1,\\"a\\":2}"', "null"]).map(lambda leaf: (leaf, False)),
    lambda inner: st.lists(st.tuples(keys, inner), max_size=4).map(_object) | st.lists(inner, max_size=3).map(_array),
    max_leaves=12,
)


def _strict(data: bytes) -> Any:
    return read(data, LIMITS).value


def _last_wins(data: bytes) -> Any:
    """Control: the usual reader."""
    return json.loads(data)


def _outermost_only(data: bytes) -> Any:
    """Control: looks for equal keys at the top alone."""
    pairs = json.JSONDecoder(object_pairs_hook=list).decode(data.decode())
    if data.startswith(b"{") and len({key for key, _ in pairs}) < len(pairs):
        raise CallerError(Reason.DUPLICATE_KEY, "twice")
    return json.loads(data)


def _compares_bytes(data: bytes) -> Any:
    """Control: compares keys before unescaping."""
    escaped = data.replace(b"\\u", b"\\\\u")

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise CallerError(Reason.DUPLICATE_KEY, "twice")
        return dict(pairs)

    return json.loads(escaped, object_pairs_hook=hook)


def _refusal(reader: Reader, data: bytes) -> Reason | None:
    try:
        reader(data)
    except CallerError as error:
        return error.reason
    return None


def _check_duplicates(reader: Reader) -> None:
    @settings(max_examples=500, database=None, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(documents)
    def law(document: Written) -> None:
        body, twice = document
        refused = _refusal(reader, body.encode())
        assert refused is not None or not twice, "equal keys accepted"
        assert refused is (Reason.DUPLICATE_KEY if twice else None)

    law()


def test_equal_keys_are_always_refused_and_nothing_else_is() -> None:
    """At any depth, also when one of them is escaped."""
    _check_duplicates(_strict)


@pytest.mark.parametrize("reader", [_last_wins, _outermost_only, _compares_bytes])
def test_control_lenient_readers_are_caught(reader: Reader) -> None:
    """Readers that let equal keys through fail the same check."""
    with pytest.raises(AssertionError, match="equal keys accepted"):
        _check_duplicates(reader)


@settings(max_examples=300, database=None, deadline=None)
@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_every_ordinary_document_is_read_as_it_is(value: Any, ascii_only: bool, indent: int | None) -> None:
    """Round trip, escaped or not, compact or not; the flags never promise too much."""
    parsed = read(json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode(), LIMITS)
    assert parsed.value == value
    assert canonical_trusted(parsed.value, plain=parsed.plain) == canonical(value)


def _read_or_refuse(data: bytes) -> Parsed | None:
    try:
        return read(data, LIMITS)
    except CallerError:
        return None


def _check_differential(data: bytes) -> None:
    parsed = _read_or_refuse(data)
    if parsed is not None:
        # Another parser, written by others in another language, sees the same.
        assert msgspec.json.decode(data) == parsed.value
        assert canonical(parsed.value)


@settings(max_examples=500, database=None, deadline=None)
@given(st.binary(max_size=40))
def test_arbitrary_bytes_are_refused_or_read_alike(data: bytes) -> None:
    """Nothing but a `CallerError` comes out; what is accepted, a second parser reads as the same value."""
    _check_differential(data)


@settings(max_examples=500, database=None, deadline=None)
@given(
    values.map(lambda value: json.dumps(value).encode()),
    st.integers(0, 200),
    st.sampled_from(
        [b"", b'"', b"\\", b"\\ud800", b"{", b"]", b",", b"0", b"1e999", b"\x00", b"\xff", b"NaN", b"-", b"."]
    ),
    st.integers(0, 2),
)
def test_damaged_documents_are_refused_or_read_alike(data: bytes, place: int, insert: bytes, cut: int) -> None:
    """The same for documents with something inserted or cut out."""
    place = min(place, len(data))
    _check_differential(data[:place] + insert + data[place + cut :])


@settings(max_examples=60, database=None, deadline=None)
@given(st.integers(1, 200), st.integers(1, 64), st.sampled_from([b"[", b'{"a":', b'{"]":', b"[[],"]))
def test_depth_is_exact(depth: int, most: int, opener: bytes) -> None:
    """At the bound it is read, one deeper it is not, brackets in strings do not count."""
    closer = b"}" if opener.startswith(b"{") else b"]"
    data = opener * (depth - 1) + b'["[[[{{{"]' + closer * (depth - 1)
    limits = Limits(json_depth=most)
    if depth <= most:
        assert read(data, limits)
    else:
        with pytest.raises(CallerError) as caught:
            read(data, limits)
        assert caught.value.reason is Reason.TOO_DEEP


def _members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return len(value) + sum(map(_members, value)) if isinstance(value, list) else 0


@settings(max_examples=300, database=None, deadline=None)
@given(values, st.integers(1, 12))
def test_the_count_of_members_is_exact(value: Any, most: int) -> None:
    """Neither commas and brackets in strings nor empty containers confuse it."""
    data = json.dumps(value).encode()
    if _members(value) <= most:
        assert read(data, Limits(json_members=most)).value == value
    else:
        with pytest.raises(CallerError) as caught:
            read(data, Limits(json_members=most))
        assert caught.value.reason is Reason.TOO_MANY
