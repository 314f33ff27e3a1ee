"""What a report is made of before it has a format: sections of blocks, blocks of texts, each text ours or somebody else's.

That a text is somebody else's is part of its type: no format can forget to render it. Refuses to know formats.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from lictor.service.evidence.reporting.shapes import Day

Tone = Literal["", "good", "warn", "bad", "none"]
_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text.

    Attributes:
        foreign: it came from the log, a bundle or a setting: names are hostile input.
        badge: it is a state, and stands out.
        code: it is meant to be typed.
        whole: it is not broken over two lines.
    """

    text: str
    foreign: bool = False
    tone: Tone = ""
    badge: bool = False
    code: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """Texts in a row."""

    parts: tuple[Text, ...]
    number: bool = False


@dataclass(frozen=True, slots=True)
class Para:
    """A paragraph."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; `empty` is said where there is no row, `more` where some are not shown."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    more: int = 0


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures at a glance: label, value, tone."""

    tiles: tuple[tuple[str, str, Tone], ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Decisions by day."""

    days: tuple[Day, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Lines as they are, somebody else's among them."""

    lines: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks under a small heading, with a state beside it."""

    title: str
    state: Text | None
    blocks: "tuple[Block, ...]"


Block = Para | Items | Table | Tiles | Chart | Code | Group


@dataclass(frozen=True, slots=True)
class Section:
    """One heading."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """The report."""

    title: str
    about: tuple[tuple[str, Cell], ...]
    sections: tuple[Section, ...]


def ours(*texts: str, tone: Tone = "") -> Cell:
    """Our own words."""
    return Cell(tuple(Text(text, tone=tone) for text in texts))


def theirs(text: str) -> Cell:
    """Somebody else's."""
    return Cell((Text(text, foreign=True),) if text else (nothing(),))


def mixed(*parts: Text | str) -> Cell:
    """Both; a plain string is ours."""
    return Cell(tuple(part if isinstance(part, Text) else Text(part) for part in parts))


def name(text: str) -> Text:
    """Somebody else's, within our words."""
    return Text(text, foreign=True) if text else nothing()


def typed(text: str) -> Text:
    """A command to type."""
    return Text(text, code=True)


def number(count: int, tone: Tone = "") -> Cell:
    """A count; nothing is dim."""
    return Cell((Text(f"{count:,}", tone=tone if count else "none"),), number=True)


def at(ms: int) -> Cell:
    """A moment, in UTC, to the second; 0 is never."""
    return Cell((Text(moment(ms), whole=True) if ms else nothing("never"),))


def moment(ms: int) -> str:
    """Milliseconds since the epoch as people write it, in UTC."""
    return datetime.fromtimestamp(ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def day(ms: int) -> str:
    """The last day before a moment."""
    return datetime.fromtimestamp((ms - 1) / 1_000, UTC).strftime("%Y-%m-%d")


def nothing(word: str = "none") -> Text:
    """Where there is nothing."""
    return Text(word, tone="none")


def badge(text: str, tone: Tone) -> Text:
    """A state."""
    return Text(text, tone=tone, badge=True)


def span(seconds: int | None) -> str:
    """How long, in one or two units."""
    if seconds is None:
        return "not known"
    for unit, word, small, lesser in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if seconds >= unit:
            whole, rest = divmod(seconds, unit)
            return f"{whole} {word} {rest // small} {lesser}" if rest // small else f"{whole} {word}"
    return f"{seconds} s" if seconds else "under 1 s"


def many(count: int, one: str, more: str = "") -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def share(part: int, whole: int) -> str:
    """A part in percent, never rounded up to all or down to none."""
    if not whole:
        return "none"
    if part in {0, whole}:
        return "100 %" if part else "0 %"
    return f"{min(99, max(1, round(100 * part / whole)))} %"
