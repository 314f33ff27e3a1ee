r"""A document as Markdown, for tickets. Somebody else's text cannot leave its place: it is rendered, then stands as code.

`protocol.display` makes it one printable line; what would end the code or the cell (a backtick, a bar) is written in its
notation, as `[U+0060]`, which no text renders to by itself. So two different texts never look alike, and no link, mention,
image or tag comes of a name.
"""

from collections.abc import Iterator
from typing import Final

from lictor.cli.reporting.document import (
    Block,
    Cell,
    Chart,
    Code,
    Document,
    Group,
    Items,
    Para,
    Table,
    Text,
    Tiles,
)
from lictor.protocol.display import clip, render, show

LONGEST: Final = 300
"""Characters of somebody else's text; a longer one shows head, tail and digest."""
_ESCAPED: Final = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#~"})
_NOTED: Final = str.maketrans({"`": "[U+0060]", "|": "[U+007C]"})


def markdown(document: Document) -> str:
    """The whole report."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield f"# {_ours(document.title)}"
    yield ""
    for label, cell in document.about:
        yield f"- **{_ours(label)}**: {_cell(cell)}"
    for section in document.sections:
        yield from ("", f"## {_ours(section.title)}")
        for block in section.blocks:
            yield ""
            yield from _block(block, 3)


def _block(block: Block, level: int) -> Iterator[str]:
    match block:
        case Para(cell):
            yield _cell(cell)
        case Items(cells):
            yield from (f"- {_cell(cell)}" for cell in cells)
        case Table():
            yield from _table(block)
        case Tiles(tiles):
            yield from (f"- {_ours(label)}: {_ours(value)}" for label, value, _ in tiles)
        case Chart(days):
            head = ("Day", "Allowed", "Held", "Denied")
            yield from _rows(head, [(day.day, str(day.allowed), str(day.held), str(day.denied)) for day in days], 1)
        case Code(lines):
            yield from (f"    {render(line)}" for line in lines)
        case Group(title, state, blocks):
            yield f"{'#' * level} {_ours(title)}{f' ({_text(state)})' if state else ''}"
            for inner in blocks:
                yield ""
                yield from _block(inner, level + 1)


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        yield _ours(table.empty)
        return
    numbers = [cell.number for cell in table.rows[0]]
    yield "| " + " | ".join(map(_ours, table.head)) + " |"
    yield "|" + "|".join("--:" if one else "---" for one in numbers) + "|"
    for row in table.rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    if table.more:
        yield ""
        yield f"… and {table.more:,} more, not shown here"


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]], left: int) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "|".join("---" if place < left else "--:" for place in range(len(head))) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _cell(cell: Cell) -> str:
    return "".join(map(_text, cell.parts))


def _text(text: Text) -> str:
    if text.foreign:
        return f"`{noted(text.text)}`"
    if text.code:
        return f"`{text.text}`"
    return f"**{_ours(text.text)}**" if text.badge and text.tone in {"warn", "bad"} else _ours(text.text)


def noted(text: str) -> str:
    """Somebody else's text, as it may stand within one pair of backticks, in a table too. Injective up to `LONGEST`."""
    if not text:
        return "[x0]"  # no text renders to it by itself
    return clip(show(text), LONGEST, open_with="lictor log show").text.translate(_NOTED)


def _ours(text: str) -> str:
    return text.translate(_ESCAPED)
