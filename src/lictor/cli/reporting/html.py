"""A document as one HTML file: nothing is loaded, nothing runs, the policy in its head says so.

Every character of somebody else's text goes through `protocol.display` and then through `escape`; no attribute holds any of it.
The style stands in the file, and the policy names its hash.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final

from lictor.cli.reporting.chart import chart
from lictor.cli.reporting.document import (
    Block,
    Cell,
    Chart,
    Code,
    Document,
    Group,
    Items,
    Para,
    Section,
    Table,
    Text,
    Tiles,
)
from lictor.cli.reporting.markdown import LONGEST
from lictor.protocol.display import TokenKind, clip, show

STYLE: Final = "report.css"


@cache
def style() -> str:
    """The style, as it stands in the file."""
    return files("lictor.cli.reporting").joinpath(STYLE).read_text("utf-8").strip()


def html(document: Document) -> str:
    """The whole report."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    yield "<!doctype html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{escape(document.title)}</title>"
    yield f"<style>{style()}</style>"
    yield "</head>"
    yield "<body>"
    yield '<a class="skip" href="#report">To the report</a>'
    yield from _header(document)
    yield '<div class="inside">'
    yield from _contents(document)
    yield '<main id="report" tabindex="-1">'
    for section in document.sections:
        yield from _section(section)
    yield "</main>"
    yield "</div>"
    yield "</body>"
    yield "</html>"


def _header(document: Document) -> Iterator[str]:
    yield '<header class="top">'
    yield f"<h1>{escape(document.title)}</h1>"
    yield "<dl>"
    for label, cell in document.about:
        yield f"<div><dt>{escape(label)}</dt><dd>{_cell(cell)}</dd></div>"
    yield "</dl>"
    yield "</header>"


def _contents(document: Document) -> Iterator[str]:
    yield '<nav class="contents" aria-label="Contents">'
    yield "<ol>"
    for section in document.sections:
        yield f'<li><a href="#{section.anchor}">{escape(section.title)}</a></li>'
    yield "</ol>"
    yield "</nav>"


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{section.anchor}" aria-labelledby="{section.anchor}-h">'
    yield f'<h2 id="{section.anchor}-h">{escape(section.title)}</h2>'
    for block in section.blocks:
        yield from _block(block)
    yield "</section>"


def _block(block: Block) -> Iterator[str]:
    match block:
        case Para(cell):
            yield f"<p>{_cell(cell)}</p>"
        case Items(cells):
            yield '<ul class="items">'
            yield from (f'<li class="tone-{_tone(cell)}">{_cell(cell)}</li>' for cell in cells)
            yield "</ul>"
        case Table():
            yield from _table(block)
        case Tiles(tiles):
            yield '<dl class="tiles">'
            for label, value, tone in tiles:
                shown = tone or "plain"
                yield f'<div class="tile tone-{shown}"><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>'
            yield "</dl>"
        case Chart(days):
            yield from chart(days)
        case Code(lines, label):
            yield f'<pre tabindex="0" role="region" aria-label="{escape(label)}">'
            yield "\n".join(_foreign(line) if line else "" for line in lines) + "</pre>"
        case Group(title, state, blocks):
            yield '<article class="group">'
            yield f'<div class="group-head"><h3>{escape(title)}</h3>{_text(state) if state else ""}</div>'
            for inner in blocks:
                yield from _block(inner)
            yield "</article>"


def _table(table: Table) -> Iterator[str]:
    if not table.rows:
        yield f'<p class="empty">{escape(table.empty)}</p>'
        return
    numbers = [cell.number for cell in table.rows[0]]
    yield f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}">'
    yield "<table>"
    yield f'<caption class="hear">{escape(table.caption)}</caption>'
    heads = (
        f'<th scope="col"{" class=n" if one else ""}>{escape(text)}</th>'
        for text, one in zip(table.head, numbers, strict=True)
    )
    yield f"<thead><tr>{''.join(heads)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        first = f'<th scope="row">{_cell(row[0])}</th>'
        yield f"<tr>{first}{''.join(_td(cell) for cell in row[1:])}</tr>"
    yield "</tbody>"
    yield "</table>"
    yield "</div>"
    if table.more:
        yield f'<p class="empty">… and {table.more:,} more, not shown here</p>'


def _td(cell: Cell) -> str:
    return f"<td{' class=n' if cell.number else ''}>{_cell(cell)}</td>"


def _cell(cell: Cell) -> str:
    return "".join(map(_text, cell.parts))


def _tone(cell: Cell) -> str:
    return next((part.tone for part in cell.parts if part.tone), "plain")


def _text(text: Text) -> str:
    if text.foreign:
        return _foreign(text.text)
    if text.code:
        return f"<code>{escape(text.text)}</code>"
    if text.whole:
        return f'<span class="whole">{" ".join(f"<span>{escape(word)}</span>" for word in text.text.split(" "))}</span>'
    if text.badge:
        return f'<span class="badge tone-{text.tone or "plain"}">{escape(text.text)}</span>'
    return f'<span class="tone-{text.tone}">{escape(text.text)}</span>' if text.tone else escape(text.text)


def _foreign(text: str) -> str:
    """Somebody else's text: rendered, each unusual piece marked as what it is, in a box of its own direction."""
    tokens = clip(show(text), LONGEST, open_with="lictor log show").tokens
    drawn = (
        escape(token.text)
        if token.kind is TokenKind.TEXT
        else f'<span class="k-{token.kind.value}">{escape(token.text)}</span>'
        for token in tokens
    )
    return f'<bdi class="t" dir="ltr">{"".join(drawn)}</bdi>'
