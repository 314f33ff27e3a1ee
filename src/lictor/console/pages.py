"""The pages of the approvals room as HTML: views in, text out. Refuses to know requests, cookies, stores and time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lictor.console.frame import Page, draw
from lictor.console.views import HoldView, PartView
from lictor.console.waiting import short_seal
from lictor.protocol.display import Shown, render, show

_LONG_TEXT = 2_000
_LONG_LINES = 30
MAX_TOGETHER_TEXT = 60_000
"""Characters of all that would be shown on one page; above it people answer one by one."""


@dataclass(frozen=True, slots=True)
class _Warned:
    """A warning (rendered) and where it was found (raw)."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An argument, rendered once."""

    path: str
    kind: str
    shown: Shown

    @property
    def long(self) -> bool:
        """Long enough that a reader may want to compare digests instead."""
        return self.shown.size > _LONG_TEXT or self.shown.lines > _LONG_LINES


@dataclass(frozen=True, slots=True)
class _Sheet:
    """One hold, rendered: what the template draws of it."""

    hold: HoldView
    arguments: list[_Drawn]
    warnings: list[_Warned]
    alarms: list[PartView]
    """Parts of the preview that belong before everything else."""
    parts: list[PartView]
    lines: int
    """Of everything a reader has to read."""
    long: bool


def hold_page(page: Page, hold: HoldView, **values: Any) -> str:
    """One action, in full, and the form to answer it. The buttons come after the whole content, never before."""
    return draw("hold.html", page, sheet=_sheet(hold), short=short_seal(hold.seal), **values)


def together_page(page: Page, holds: Sequence[HoldView], **values: Any) -> str:
    """Several related actions, each in full, and one form to answer all of them."""
    sheets = [_sheet(hold) for hold in holds]
    return draw("together.html", page, sheets=sheets, lines=sum(sheet.lines for sheet in sheets), **values)


def must_confirm_end(hold: HoldView) -> bool:
    """Whether the content is so long that approving needs `seen_end=yes`; the server checks it again (APRV-02)."""
    texts = list(_texts(hold))
    return sum(map(len, texts)) > _LONG_TEXT or sum(text.count("\n") + 1 for text in texts) > _LONG_LINES


def fits_together(holds: Sequence[HoldView]) -> bool:
    """Whether a person can be expected to read all of them at once."""
    return sum(len(text) for hold in holds for text in _texts(hold)) <= MAX_TOGETHER_TEXT


def _sheet(hold: HoldView) -> _Sheet:
    arguments = [_Drawn(argument.path, argument.kind, show(argument.text)) for argument in hold.arguments]
    parts = hold.preview.parts if hold.preview is not None else ()
    return _Sheet(
        hold=hold,
        arguments=arguments,
        warnings=_warnings(hold, arguments),
        alarms=[part for part in parts if part.warning],
        parts=[part for part in parts if not part.warning],
        lines=sum(text.count("\n") + 1 for text in _texts(hold)),
        long=must_confirm_end(hold),
    )


def _texts(hold: HoldView) -> Iterator[str]:
    """Every text that has to be read: the arguments, with their names, and the preview."""
    # Names are read like values: whoever writes the arguments writes both.
    yield from (argument.path + argument.text for argument in hold.arguments)
    for part in hold.preview.parts if hold.preview is not None else ():
        yield from (part.title + part.text, *(text for _, text in part.lines), *("\t".join(row) for row in part.rows))


def _warnings(hold: HoldView, arguments: Sequence[_Drawn]) -> list[_Warned]:
    """Every warning about every text of the action, collected where it cannot be overlooked."""
    places = [
        ("server", hold.server),
        (hold.kind, hold.tool),
        ("agent", hold.agent),
        ("person", hold.human),
        ("purpose", hold.purpose),
        *((fact.label, fact.text) for fact in hold.facts),
    ]
    places += [("an argument's name", argument.path) for argument in arguments]
    places += [("label", label) for label in hold.labels]
    places += list(_preview_places(hold))
    shown = [(where, show(text)) for where, text in places]
    shown += [(f"argument {argument.path}", argument.shown) for argument in arguments]
    found = [_Warned(fact.label, render(fact.note)) for fact in hold.facts if fact.note]
    found += [_Warned(where, warning.text) for where, text in shown for warning in text.warnings]
    return list(dict.fromkeys(found))


def _preview_places(hold: HoldView) -> Iterator[tuple[str, str]]:
    for part in hold.preview.parts if hold.preview is not None else ():
        where = f"effect: {part.title}"
        yield where, part.title
        if part.text:
            yield where, part.text
        if part.lines:
            yield where, "\n".join(text for _, text in part.lines)
        yield from ((where, cell) for row in part.rows for cell in row)
