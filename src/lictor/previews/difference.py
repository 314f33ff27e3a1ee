"""The difference between two texts, line by line, as a unified diff with marks apart from the text. Pure.

Applying the lines to the old text gives the new one, to the byte. Its work is bounded: texts that differ much are shown as all
old lines, then all new ones. Refuses to know files.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final

from lictor.model.preview import Line

CONTEXT: Final = 3
"""Unchanged lines round a change."""
MAX_MATCHED: Final = 1_500
"""Lines on either side of a change that are compared one by one: the work grows with their product."""
NO_END: Final = "no line end after the line above"
_Op = tuple[bool, int, int, int, int]
"""Equal or not; from and to in the old lines, from and to in the new."""


def lines_of(text: str) -> list[str]:
    """The lines of a text with their ends. Only a line feed ends a line, as for any tool that applies a difference."""
    parts = text.split("\n")
    lines = [f"{part}\n" for part in parts[:-1]]
    return [*lines, parts[-1]] if parts[-1] else lines


def difference(old: str, new: str) -> tuple[Line, ...]:
    """Hunks; each begins with a line marked `@` that has its place (`-12,3 +12,4`). Empty for equal texts."""
    before, after = lines_of(old), lines_of(new)
    return tuple(line for hunk in _hunks(_ops(before, after)) for line in _drawn(hunk, before, after))


def counts(lines: tuple[Line, ...]) -> tuple[int, int]:
    """Lines that come and lines that go."""
    return sum(line.mark == "+" for line in lines), sum(line.mark == "-" for line in lines)


def _ops(before: list[str], after: list[str]) -> list[_Op]:
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    most = min(len(before), len(after)) - head
    while tail < most and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    stop_old, stop_new = len(before) - tail, len(after) - tail
    middle = _middle(before[head:stop_old], after[head:stop_new], head)
    ends = [(True, 0, head, 0, head), *middle, (True, stop_old, len(before), stop_new, len(after))]
    return [op for op in ends if op[1] < op[2] or op[3] < op[4]]


def _middle(before: list[str], after: list[str], offset: int) -> Iterator[_Op]:
    if not before and not after:
        return
    if len(before) > MAX_MATCHED or len(after) > MAX_MATCHED:
        yield False, offset, offset + len(before), offset, offset + len(after)
        return
    matcher = SequenceMatcher(None, before, after, autojunk=True)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        yield tag == "equal", offset + i1, offset + i2, offset + j1, offset + j2


def _hunks(ops: list[_Op]) -> Iterator[list[_Op]]:
    hunk: list[_Op] = []
    last = len(ops) - 1
    for index, (equal, i1, i2, j1, j2) in enumerate(ops):
        if not equal:
            hunk.append((equal, i1, i2, j1, j2))
            continue
        if hunk and index != last and i2 - i1 <= 2 * CONTEXT:
            hunk.append((equal, i1, i2, j1, j2))
            continue
        if hunk:
            keep = min(CONTEXT, i2 - i1)
            yield [*hunk, (True, i1, i1 + keep, j1, j1 + keep)]
            hunk = []
        if index != last:
            keep = min(CONTEXT, i2 - i1)
            hunk = [(True, i2 - keep, i2, j2 - keep, j2)]
    if hunk:
        yield hunk


def _drawn(hunk: list[_Op], before: list[str], after: list[str]) -> Iterator[Line]:
    first, last = hunk[0], hunk[-1]
    place = f"-{first[1] + 1},{last[2] - first[1]} +{first[3] + 1},{last[4] - first[3]}"
    yield Line(mark="@", text=place)
    for equal, i1, i2, j1, j2 in hunk:
        if equal:
            yield from _marked(" ", before[i1:i2])
            continue
        yield from _marked("-", before[i1:i2])
        yield from _marked("+", after[j1:j2])


def _marked(mark: str, lines: list[str]) -> Iterator[Line]:
    for line in lines:
        yield Line(mark=mark, text=line.removesuffix("\n"))  # type: ignore[arg-type]
        if not line.endswith("\n"):
            yield Line(mark="@", text=NO_END)
