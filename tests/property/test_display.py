"""Law: two different texts never look the same, and nothing shown can be more than ink."""

import re
from collections.abc import Callable

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lictor.protocol.confusables import LOOKALIKES, CharKind, kind_of
from lictor.protocol.display import TokenKind, clip, render, show
from lictor.protocol.display_frame import Field, cells, frame

NASTY = (
    "\x00\x07\x08\t\n\r\x0b\x1b\x7f\x85\x9b\xa0\xad\u034f\u061c\u115f\u200b\u200c\u200d\u200e\u200f\u2028\u202e\u2060"
    "\u2066\u2069\u2800\u3164\ufe0f\ufeff\ufffe\U000e0041\ud800\ue000\u0301\u0338אع٣│┌└─…·"
    + "".join(LOOKALIKES)
    + "ノ丿ー一ａＡ𝐚"
)
PLAIN = "abcpox019 .-/\\[]U+xn{}\"'éßЖщ日本"
characters = st.one_of(st.sampled_from(PLAIN), st.sampled_from(NASTY), st.characters())
pieces = st.one_of(
    characters,
    st.builds(lambda c, n: c * n, characters, st.sampled_from([2, 3, 4, 5, 63, 64, 65, 70])),
    st.sampled_from(
        ["[U+202E]", "\\x1b", "\\n", "[x4]", "[x64]", "\\[", "[[x", "https://аpple.com/", "https://a@b/", "a[x64]"]
    ),
)
texts = st.lists(pieces, max_size=12).map("".join)

_UNIT = re.compile(r"(?:\\(?:([\\\[nrt])|x([0-9a-f]{2}))|\[U\+([0-9A-F]{4,6})\]|(.))(?:\[x(\d+)\])?", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t"}


def read_back(shown: str) -> str:
    """The original of a rendering, by the notation's grammar alone; written without looking at `show`."""
    out, at = [], 0
    while at < len(shown):
        match = _UNIT.match(shown, at)
        assert match is not None
        named, byte, point, plain, times = match.groups()
        char = _NAMED.get(named, named) if named else chr(int(byte or point, 16)) if byte or point else plain
        out.append(char * int(times or 1))
        at = match.end()
    return "".join(out)


def dropping(text: str) -> str:
    """Control: leaves out what it cannot show."""
    return "".join(char for char in text if char.isprintable())


def truncating(text: str) -> str:
    """Control: shows the beginning."""
    return render(text)[:40]


def unescaped(text: str) -> str:
    """Control: escapes controls but not the escape's own introducer."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def uncounted(text: str) -> str:
    """Control: collapses runs without counting them."""
    return re.sub(r"\[x\d+\]", "[x]", render(text))


def is_injective(renderer: Callable[[str], str]) -> bool:
    """Whether a fixed battery of pairs that differ is told apart."""
    pairs = [
        ("ls", "l\u200bs"),
        ("a" * 10 + "bc " * 30, "a" * 10 + "bc " * 29 + "bd "),
        ("\x1b[2K", "\\x1b[2K"),
        ("a" * 100, "a" * 101),
        ("\u202e", "[U+202E]"),
        ("a\n", "a\\n"),
        ("\n" * 4, "\n[x4]"),
        ("[\n\n\n\n", "[\\n[x4]"),
        ("ok ", "ok"),
    ]
    return all(renderer(a) != renderer(b) for a, b in pairs)


def test_the_battery_tells_good_renderers_from_bad() -> None:
    """Control experiment: each way of lying is caught, the real renderer passes."""
    assert is_injective(render)
    assert [is_injective(bad) for bad in (dropping, truncating, unescaped, uncounted)] == [False] * 4


@given(texts)
@settings(max_examples=400, deadline=None)
def test_the_original_can_be_read_back(text: str) -> None:
    """Injective: a rendering has exactly one original."""
    assert read_back(show(text).text) == text


@pytest.mark.parametrize("broken", [dropping, truncating, unescaped, uncounted])
def test_reading_back_catches_a_renderer_that_lies(broken: Callable[[str], str]) -> None:
    """Control experiment: on some text of the battery the broken renderer cannot be read back."""
    battery = ["l\u200bs", "bc " * 30, "\\x1b", "a" * 100]

    def survives(text: str) -> bool:
        try:
            return read_back(broken(text)) == text
        except AssertionError:
            return False

    assert not all(survives(text) for text in battery)
    assert all(read_back(render(text)) == text for text in battery)


@given(texts)
@settings(max_examples=300, deadline=None)
def test_only_harmless_characters_come_out(text: str) -> None:
    """Output is printable, moves nothing, and every character of it is on the allowlist; warnings too."""
    shown = show(text)
    for out in (shown.text, *(warning.text for warning in shown.warnings)):
        assert out.isprintable()
        assert all(kind_of(char) is CharKind.TEXT for char in out)
    assert sum(token.count for token in shown.tokens) == len(text) == shown.characters


@given(st.text(alphabet="aceopxy", min_size=1, max_size=8), st.data())
def test_a_word_and_its_imitation_never_look_alike(word: str, data: st.DataObject) -> None:
    """Replacing letters by look-alikes always changes what is seen, not only which code points are there."""
    by_plain: dict[str, list[str]] = {}
    for odd, plain in LOOKALIKES.items():
        by_plain.setdefault(plain, []).append(odd)
    imitation = "".join(data.draw(st.sampled_from([char, *by_plain.get(char, [])])) for char in word)
    seen = "".join(LOOKALIKES.get(char, char) for char in render(imitation))
    assert (seen == word) == (imitation == word)


@given(texts, st.integers(2, 80))
@settings(max_examples=200, deadline=None)
def test_clipping_is_never_silent(text: str, limit: int) -> None:
    """Either everything is there, or a notice says how much is not, and the rest is head and tail of the original."""
    shown = show(text)
    short = clip(shown, limit, open_with="x")
    if short.complete:
        assert short is shown
        return
    (place,) = [i for i, token in enumerate(short.tokens) if token.kind is TokenKind.OMITTED]
    head = read_back("".join(token.text for token in short.tokens[:place]))
    tail = read_back("".join(token.text for token in short.tokens[place + 1 :]))
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + len(tail) + short.tokens[place].count == len(text)


@given(st.lists(st.tuples(texts, texts, st.sampled_from(["gateway", "agent"])), max_size=3), st.integers(30, 120))
@settings(max_examples=100, deadline=None)
def test_no_content_leaves_its_frame(fields: list[tuple[str, str, str]], width: int) -> None:
    """In a terminal emulator every row stands where it was put: content starts behind its gutter and frames nest never."""
    out = frame([Field(label, text, origin) for label, text, origin in fields], width)  # type: ignore[arg-type]
    rows = out.splitlines()
    ends = sum(row == "└─ end" or row.startswith("└  ") for row in rows)
    assert sum(row.startswith("┌─ ") for row in rows) == ends == len(fields)
    assert all(row[0] in "┌├│┊└" for row in rows)
    assert all(cells(row) < max(width, 40) for row in rows)
    screen = pyte.Screen(max(width, 40), len(rows) + 2)
    before = set(screen.mode)
    pyte.Stream(screen).feed(out.replace("\n", "\r\n"))
    assert (screen.cursor.x, screen.cursor.y, set(screen.mode)) == (0, len(rows), before)
    assert [row[:1] for row in screen.display[: len(rows)]] == [row[0] for row in rows]


@given(texts, texts)
@settings(max_examples=150, deadline=None)
def test_different_fields_make_different_frames(a: str, b: str) -> None:
    """Label and text cannot borrow from each other."""
    assert (frame([Field(a, b)], 80) == frame([Field(b, a)], 80)) == (a == b)
