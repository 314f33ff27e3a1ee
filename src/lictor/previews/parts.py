"""The pieces of a preview: made in one way, and cut to size so that what is left out is always said.

Refuses to know where the words come from, and how they are drawn.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from lictor.model.preview import Line, Part, Precondition, Preview, PreviewKind

MAX_BYTES: Final = 64 * 1024
"""Of one encoded preview: it is sealed, kept and drawn on one page."""
MAX_TEXT: Final = 2_000
"""Characters of one sentence or one cell."""
MAX_LINE: Final = 1_000
"""Characters of one line; how many more there were stands in a line of its own."""
MAX_PARTS: Final = 40
MAX_ROWS: Final = 10_000
"""Lines or rows of one part: more never fit."""
MAX_PRECONDITIONS: Final = 256
_TITLE: Final = 200
_SHRINKS: Final = 24

Scrub = Callable[[str], str]


@dataclass(slots=True)
class Found:
    """What was found out so far; becomes a preview."""

    parts: list[Part] = field(default_factory=list)
    preconditions: list[Precondition] = field(default_factory=list)
    whole: bool = True

    def say(self, title: str, text: str, *, warning: bool = False) -> None:
        """A sentence."""
        self.parts.append(Part(title=title, text=text, warning=warning))

    def table(self, title: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, left_out: int = 0) -> None:
        """Rows under a head; nothing where there are none."""
        body = tuple(tuple(row) for row in rows)
        rest = left_out + max(0, len(body) - MAX_ROWS)
        if body or rest:
            self.parts.append(Part(title=title, rows=(tuple(head), *body[:MAX_ROWS]), left_out=rest))
        self.whole = self.whole and len(body) <= MAX_ROWS

    def lines(self, title: str, lines: Sequence[Line], *, most: int = MAX_ROWS) -> None:
        """A difference, or text."""
        rest = max(0, len(lines) - most)
        self.parts.append(Part(title=title, lines=tuple(lines[:most]), left_out=rest))
        self.whole = self.whole and not rest

    def text(self, title: str, text: str, *, most: int = 400) -> int:
        """A text that is no effect by itself, by its lines; how many it has."""
        written = text.split("\n")
        written = written[:-1] if len(written) > 1 and not written[-1] else written
        rest = max(0, len(written) - most)
        lines = tuple(Line(mark=" ", text=line) for line in written[:most])
        self.parts.append(Part(title=title, lines=lines, left_out=rest))
        return len(written)

    def take(self, other: "Found") -> None:
        """All that another one has."""
        self.parts += other.parts
        self.preconditions += other.preconditions
        self.whole = self.whole and other.whole

    def unknown(self, title: str, why: str) -> None:
        """A part of the effect that is not known. Never silence: what nobody looked at may be anything."""
        self.whole = False
        self.parts.append(Part(title=title, text=why, warning=True))

    def rests_on(self, kind: str, target: str, value: str) -> None:
        """Something that has to be as it is now."""
        self.preconditions.append(Precondition(kind=kind, target=target, value=value))

    def preview(self, kind: PreviewKind, at_ms: int, scrub: Scrub) -> Preview:
        """All of it: secrets taken out, warnings first, cut to size."""
        parts = [_short(_scrubbed(part, scrub)) for part in self.parts]
        parts.sort(key=lambda part: not part.warning)
        whole, kept = self.whole, tuple(dict.fromkeys(self.preconditions))
        clean = tuple(one for one in kept if scrub(one.target) == one.target)
        if len(kept) > MAX_PRECONDITIONS or len(clean) < len(kept):
            what = "a secret stands in it" if len(clean) < len(kept) else f"there are more than {MAX_PRECONDITIONS}"
            parts.insert(0, Part(title="Not everything is checked again", text=what, warning=True))
            clean, whole = clean[:MAX_PRECONDITIONS], False
        if len(parts) > MAX_PARTS:
            rest = len(parts) - MAX_PARTS
            parts = [*parts[:MAX_PARTS], Part(title="More", text=f"{rest} more parts are not shown", warning=True)]
            whole = False
        made = Preview(kind=kind, made_at_ms=at_ms, parts=tuple(parts), preconditions=clean, whole=whole)
        return fitted(made)


def fitted(preview: Preview, most: int = MAX_BYTES) -> Preview:
    """The preview within so many encoded bytes: its longest parts are cut, and say by how much."""
    for _ in range(_SHRINKS):
        if len(preview.encode()) <= most:
            return preview
        parts = list(preview.parts)
        longest = max(range(len(parts)), key=lambda index: len(msgspec.json.encode(parts[index])), default=-1)
        smaller = _halved(parts[longest]) if longest >= 0 else None
        if smaller is None:
            break
        parts[longest] = smaller
        preview = msgspec.structs.replace(preview, parts=tuple(parts), whole=False)
    if len(preview.encode()) <= most:
        return preview
    text = "there is more of it than can be shown"
    bare = msgspec.structs.replace(preview, parts=(Part(title="Too large", text=text, warning=True),), whole=False)
    if len(bare.encode()) <= most:
        return bare
    # Preconditions alone are too many: then none is kept, and nobody can take the approval for bound to them.
    unbound = Part(title="Nothing is checked again", text="what it rests on is too long to be kept", warning=True)
    return msgspec.structs.replace(bare, parts=(unbound, *bare.parts), preconditions=())


def _halved(part: Part) -> Part | None:
    if len(part.lines) > 1:
        keep = len(part.lines) // 2
        gone = len(part.lines) - keep
        return msgspec.structs.replace(part, lines=part.lines[:keep], left_out=part.left_out + gone)
    if len(part.rows) > 2:
        keep = max(2, len(part.rows) // 2)
        gone = len(part.rows) - keep
        return msgspec.structs.replace(part, rows=part.rows[:keep], left_out=part.left_out + gone)
    return None


def _scrubbed(part: Part, scrub: Scrub) -> Part:
    return msgspec.structs.replace(
        part,
        title=scrub(part.title),
        text=scrub(part.text),
        lines=tuple(Line(mark=line.mark, text=scrub(line.text)) for line in part.lines),
        rows=tuple(tuple(scrub(cell) for cell in row) for row in part.rows),
    )


def _short(part: Part) -> Part:
    return msgspec.structs.replace(
        part,
        title=cut(part.title, _TITLE),
        text=cut(part.text, MAX_TEXT),
        lines=tuple(short for line in part.lines for short in _short_line(line)),
        rows=tuple(tuple(cut(cell, MAX_TEXT) for cell in row) for row in part.rows),
    )


def _short_line(line: Line) -> Iterator[Line]:
    rest = len(line.text) - MAX_LINE
    yield line if rest <= 0 else Line(mark=line.mark, text=line.text[:MAX_LINE])
    if rest > 0:
        yield Line(mark="@", text=f"{rest} more characters of this line are not shown")


def cut(text: str, most: int = MAX_TEXT) -> str:
    """A text that says how much of it is missing."""
    return text if len(text) <= most else f"{text[:most]} … and {len(text) - most} more characters"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count:,} byte{'' if count == 1 else 's'}"


def counted(count: int, what: str, plural: str = "") -> str:
    """`1 row`, `3 rows`."""
    return f"{count:,} {what if count == 1 else plural or what + 's'}"
