"""Shown text in a terminal, inside a frame that content can neither draw nor break.

The frame is made of box-drawing characters, which `display` always escapes in content; every row of content starts with
a gutter, and no row is ever left to the terminal to wrap. What the agent wrote has another gutter and says so (facts
APRV-01, APRV-02, APRV-14). Refuses to know what the fields mean, and never leaves anything out by itself.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lictor.protocol.display import Shown, TokenKind, render, show

MIN_WIDTH = 40
AGENT_MARK = "written by the agent, not verified"
_SHORT = 200
"""Bytes up to which a one-line text without warnings stands alone; longer ones come with size, digest and line numbers."""
_NOTATION = re.compile(r"\[(?:U\+[0-9A-F]+|x[0-9]+)\]|\\(?:x[0-9a-f]{2}|.)")
"""See `display`."""
_LONGEST = 16
"""Characters of a notation at most: far fewer than a row has."""
_CLIPPED = "NOT COMPLETE: part of this text is not shown"


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to show. `agent` is what the model said about its action; everything that will be sent is `gateway`.

    `text` may be a `Shown`, for one that was clipped on purpose.
    """

    label: str
    text: str | Shown
    origin: Literal["gateway", "agent"] = "gateway"


def frame(fields: Sequence[Field], width: int) -> str:
    """All fields, framed, one after the other, ending in a line break.

    Args:
        fields: in reading order.
        width: columns of the terminal; less than `MIN_WIDTH` counts as `MIN_WIDTH`.
    """
    columns = max(width, MIN_WIDTH) - 1  # a full last column makes some terminals wrap
    return "".join(f"{row}\n" for field in fields for row in _rows(field, columns))


def _rows(field: Field, columns: int) -> Iterator[str]:
    shown = show(field.text) if isinstance(field.text, str) else field.text
    agent = field.origin == "agent"
    bar = "┊" if agent else "│"
    yield from _wrapped(render(field.label), "┌─ ", f"{bar}   ", columns)
    if not agent and shown.complete and not shown.warnings and shown.lines == 1 and shown.size <= _SHORT:
        yield from _wrapped(shown.text, "└  ", "└┆ ", columns)  # short and plain: nothing to measure
        return
    lines = "1 line" if shown.lines == 1 else f"{shown.lines} lines"
    notes = [f"{lines}, {shown.size} bytes, {shown.characters} characters", shown.digest]
    notes += [f"! {warning.text}" for warning in shown.warnings]
    if not shown.complete:
        notes.append(f"! {_CLIPPED}")
    if agent:
        notes.insert(0, f"! {AGENT_MARK}")
    for note in notes:
        yield from _wrapped(note, "├ ", "├   ", columns)
    yield from _content(shown, bar, columns)
    yield "└─ end"


def _content(shown: Shown, bar: str, columns: int) -> Iterator[str]:
    r"""Numbered rows; a number counts shown lines, where a run of blank lines (`\n[x400]`) is one line end."""
    digits = len(str(shown.lines))
    for number, line in enumerate(shown_lines(shown), start=1):
        yield from _wrapped(line, f"{bar} {number:>{digits}} {bar} ", f"{bar} {'':>{digits}} ┆ ", columns)


def shown_lines(shown: Shown) -> Iterator[str]:
    """The rendering cut after each newline's notation (which stays) and round a notice of omission."""
    line: list[str] = []
    for token in shown.tokens:
        if token.kind is TokenKind.OMITTED:
            yield "".join(line)
            line = []
        line.append(token.text)
        if token.kind in {TokenKind.NEWLINE, TokenKind.OMITTED}:
            yield "".join(line)
            line = []
    yield "".join(line)


def _wrapped(text: str, first: str, other: str, columns: int) -> Iterator[str]:
    """Rows of at most `columns` cells, each behind its gutter; no character is dropped at a cut."""
    gutter, start = first, 0
    while True:
        end = _whole(text, start, _fitting(text, start, columns - cells(gutter)))
        yield gutter + text[start:end]
        if end == len(text):
            return
        gutter, start = other, end


def _fitting(text: str, start: int, room: int) -> int:
    """Where a row that begins here is full."""
    if text.isascii():
        return min(start + room, len(text))
    for position in range(start, len(text)):
        room -= cells(text[position])
        if room < 0:
            return position
    return len(text)


def _whole(text: str, start: int, end: int) -> int:
    """The same cut, or just before the notation that it would tear: half of `[U+202E]` is not seen for what it is."""
    near = max(start, end - _LONGEST)
    for notation in _NOTATION.finditer(text, near, end + _LONGEST):
        if start < notation.start() < end < notation.end():
            return notation.start()
    return end


def cells(text: str) -> int:
    """Terminal columns at most: wide and ambiguous characters count two, since East Asian terminals draw them so."""
    return sum(2 if unicodedata.east_asian_width(char) in "WFA" else 1 for char in text)
