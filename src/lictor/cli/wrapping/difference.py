"""The change of one file as a unified diff, for the person who decides about it. Refuses to know what changed and why."""

import difflib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lictor.cli.lifting import masked
from lictor.cli.wrapping.plans import Plan

_CONTEXT = 3
"""Unchanged lines shown round a change."""
_AHEAD = 100
"""Lines looked ahead, in sum of both sides, for the place where two texts run together again."""


def diff(plan: Plan) -> str:
    r"""The change as a unified diff for a person's eyes; empty when there is none.

    Control and direction characters are shown as `\uXXXX`: a comment in the file must not be able to redraw the
    terminal on which the change is judged.
    """
    title = _visible(str(plan.path))
    before, after = plan.before.split("\n"), plan.after.split("\n")
    lines: list[str] = []
    for hunk in _hunks(_changes(before, after)):
        start, lead = max(hunk[0].i - _CONTEXT, 0), min(hunk[0].i, _CONTEXT)
        end = min(hunk[-1].i_end + _CONTEXT, len(before))
        j_start, j_end = hunk[0].j - lead, hunk[-1].j_end + end - hunk[-1].i_end
        lines.append(f"@@ -{_span(start, end)} +{_span(j_start, j_end)} @@")
        for change in hunk:
            lines += [f" {line}" for line in before[start : change.i]]
            lines += [f"-{line}" for line in before[change.i : change.i_end]]
            lines += [f"+{line}" for line in after[change.j : change.j_end]]
            start = change.i_end
        lines += [f" {line}" for line in before[start:end]]
    if lines:
        lines[:0] = [f"--- {title}", f"+++ {title} ({plan.how})"]
    return masked("".join(f"{_visible(line)}\n" for line in lines), plan.lifted)


class _Change(NamedTuple):
    """Lines `before[i:i_end]` became `after[j:j_end]`."""

    i: int
    i_end: int
    j: int
    j_end: int


def _changes(before: list[str], after: list[str]) -> Iterator[_Change]:
    """Differences of two texts that differ in few, short places, found in one pass.

    `difflib` is quadratic where lines repeat: 60 s for a 5 MB `~/.claude.json` with 250 projects. This is always
    truthful and, where places of change lie closer than `_AHEAD`, not always the shortest.
    """
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            i, j = i + 1, j + 1
            continue
        i_end, j_end = _together(before, after, i, j)
        yield from _refined(before, after, _Change(i, i_end, j, j_end))
        i, j = i_end, j_end


def _refined(before: list[str], after: list[str], change: _Change) -> Iterator[_Change]:
    """A short change without the single lines in it that are equal after all."""
    i, i_end, j, j_end = change
    if i_end - i + j_end - j > _AHEAD:
        yield change
        return
    for tag, a, a_end, b, b_end in difflib.SequenceMatcher(None, before[i:i_end], after[j:j_end]).get_opcodes():
        if tag != "equal":
            yield _Change(i + a, i + a_end, j + b, j + b_end)


def _together(before: list[str], after: list[str], i: int, j: int) -> tuple[int, int]:
    """The nearest two places behind `i` and `j` from which two lines are equal; else the two ends."""
    for distance in range(1, _AHEAD):
        for step in range(distance + 1):
            at, to = i + step, j + distance - step
            if at <= len(before) and to <= len(after) and before[at : at + 2] == after[to : to + 2]:
                return at, to
    return len(before), len(after)


def _hunks(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """Changes whose context touches stand together."""
    hunk: list[_Change] = []
    for change in changes:
        if hunk and change.i - hunk[-1].i_end > 2 * _CONTEXT:
            yield hunk
            hunk = []
        hunk.append(change)
    if hunk:
        yield hunk


def _span(start: int, end: int) -> str:
    """`start,length` as unified diffs count: from 1, length 1 left out, the line before when the length is 0."""
    length = end - start
    return f"{start + 1}" if length == 1 else f"{start + 1 if length else start},{length}"


def _visible(line: str) -> str:
    """The line with everything unprintable but tabs escaped; the CR of a CRLF line end is dropped."""
    return "".join(
        char if char == "\t" or char.isprintable() else f"\\u{ord(char):04x}" for char in line.removesuffix("\r")
    )
