r"""The difference between the definition a person looked at and what a server says now, line by line. Pure; shows, never judges.

A definition is written as JSON, keys sorted, one member a line, and a string with line breaks over several lines: the lines that
go on with a string are marked, so that no content can pass for structure. Strings stand there as they are, but for `\"` and
`\\`; whoever draws a line renders it (`protocol.display`), which makes hidden characters visible. Bounded: what is too long is
left out, and that is said. Refuses to know HTML.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

MAX_LINES: Final = 4_000
"""Of one definition; the rest is left out, and that is said."""
MAX_LINE: Final = 2_000
"""Characters of one line; a longer one is broken, and goes on in a line that is marked."""
MAX_EDITS: Final = 400
"""Lines that may differ before the search for a short difference is given up: then everything between is out and in."""
AROUND: Final = 3
"""Equal lines shown before and behind a change."""
GOES_ON: Final = "| "
"""Before a line that goes on with the string of the line before. Structure never begins so."""

Mark = Literal["+", "-", " ", "@"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line. Raw. Of a line that is in only one of the two, `changed` says from where to where it differs from its pair."""

    mark: Mark
    text: str
    changed: tuple[int, int] = (0, 0)

    @property
    def parts(self) -> tuple[str, str, str]:
        """Before, in and behind what differs."""
        start, end = self.changed
        return self.text[:start], self.text[start:end], self.text[end:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """A difference with some lines around each change; `@` lines say how many equal ones are not shown."""

    lines: tuple[DiffLine, ...]
    added: int
    removed: int
    left_out: int
    """Lines of the two definitions that were too many to be looked at."""


def definition_lines(value: Any) -> tuple[list[str], int]:
    """A JSON value as lines, and how many were left out."""
    lines: list[str] = []
    left_out = 0
    for line in _written(value):
        if len(lines) < MAX_LINES:
            lines.append(line)
        else:
            left_out += 1
    return lines, left_out


def diff_of(before: Any, after: Any) -> Diff:
    """The difference of two definitions.

    Args:
        before: what a person looked at.
        after: what the server says.
    """
    old, missing_old = definition_lines(before)
    new, missing_new = definition_lines(after)
    whole = _paired(list(_edits(old, new)))
    return Diff(
        lines=tuple(_near(whole)),
        added=sum(line.mark == "+" for line in whole),
        removed=sum(line.mark == "-" for line in whole),
        left_out=missing_old + missing_new,
    )


# -- writing -----------------------------------------------------------------------------------------------------------------


def _written(value: Any) -> Iterator[str]:
    """Depth first, without recursion: what a server sends can be as deep as the door lets it be."""
    waiting: list[tuple[str, str, Any, str]] = [("", "", value, "")]
    while waiting:
        indent, key, item, comma = waiting.pop()
        if item and isinstance(item, Mapping | list):
            opening, closing = ("{", "}") if isinstance(item, Mapping) else ("[", "]")
            yield from _broken(indent, key, opening)
            waiting.append((indent, "", _Closing(closing), comma))
            members = (
                [(f"{_quoted(str(name))}: ", item[name]) for name in sorted(item, key=str)]
                if isinstance(item, Mapping)
                else [("", member) for member in item]
            )
            last = len(members) - 1
            for place, (name, member) in reversed(list(enumerate(members))):
                waiting.append((f"{indent}  ", name, member, "" if place == last else ","))
        else:
            yield from _broken(indent, key, _scalar(item) + comma)


class _Closing(str):
    """A bracket; no string of the definition."""

    __slots__ = ()


def _scalar(value: Any) -> str:
    match value:
        case _Closing():
            return str(value)
        case str():
            return _quoted(value)
        case dict():
            return "{}"
        case list():
            return "[]"
        case _:
            return json.dumps(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _broken(indent: str, key: str, text: str) -> Iterator[str]:
    """One line, or several where the text has line breaks or is long; a break stands at the end of its line."""
    first = True
    for line in (key + text).split("\n"):
        for start in range(0, max(1, len(line)), MAX_LINE):
            yield f"{indent}{'' if first else GOES_ON}{line[start : start + MAX_LINE]}"
            first = False


# -- comparing ---------------------------------------------------------------------------------------------------------------


def _edits(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """The lines of both, marked. What both begin and end with is set apart first."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    yield from (DiffLine(" ", line) for line in old[:start])
    yield from _shortest(old[start : len(old) - end], new[start : len(new) - end])
    yield from (DiffLine(" ", line) for line in old[len(old) - end :])


def _shortest(old: Sequence[str], new: Sequence[str]) -> Iterator[DiffLine]:
    """Myers' greedy algorithm (An O(ND) Difference Algorithm, 1986), given up past `MAX_EDITS`: work is bounded by its square."""
    traces = _traces(old, new)
    if traces is None:
        yield from (DiffLine("-", line) for line in old)
        yield from (DiffLine("+", line) for line in new)
        return
    x, y = len(old), len(new)
    found: list[DiffLine] = []
    for edits in range(len(traces) - 1, -1, -1):
        furthest = traces[edits]
        diagonal = x - y
        down = diagonal == -edits or (
            diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
        )
        before = diagonal + 1 if down else diagonal - 1
        from_x = furthest.get(before, 0)
        from_y = from_x - before
        while x > from_x and y > from_y and (x, y) != (0, 0) and (edits or x):
            if not (x and y) or old[x - 1] != new[y - 1]:
                break
            found.append(DiffLine(" ", old[x - 1]))
            x, y = x - 1, y - 1
        if edits:
            found.append(DiffLine("+", new[y - 1]) if down else DiffLine("-", old[x - 1]))
            x, y = from_x, from_y
    yield from reversed(found)


def _traces(old: Sequence[str], new: Sequence[str]) -> list[dict[int, int]] | None:
    """For each number of edits how far one could get before it, by diagonal; None: more edits than are looked for."""
    furthest = {1: 0}
    traces: list[dict[int, int]] = []
    for edits in range(MAX_EDITS + 1):
        traces.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            if diagonal == -edits or (
                diagonal != edits and furthest.get(diagonal - 1, -1) < furthest.get(diagonal + 1, -1)
            ):
                x = furthest.get(diagonal + 1, 0)
            else:
                x = furthest.get(diagonal - 1, 0) + 1
            y = x - diagonal
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            furthest[diagonal] = x
            if x >= len(old) and y >= len(new):
                return traces
    return None


# -- for people --------------------------------------------------------------------------------------------------------------


def _paired(lines: Sequence[DiffLine]) -> list[DiffLine]:
    """Lines that go out and come in at one place, in pairs, with what differs in each."""
    found: list[DiffLine] = []
    place = 0
    while place < len(lines):
        end = place
        while end < len(lines) and lines[end].mark != " ":
            end += 1
        out = [line.text for line in lines[place:end] if line.mark == "-"]
        come = [line.text for line in lines[place:end] if line.mark == "+"]
        found += _compared("-", out, come) + _compared("+", come, out)
        if end < len(lines):
            found.append(lines[end])
        place = end + 1
    return found


def _compared(mark: Mark, lines: Sequence[str], others: Sequence[str]) -> list[DiffLine]:
    return [
        DiffLine(mark, line, _differs(line, others[place]) if place < len(others) else (0, 0))
        for place, line in enumerate(lines)
    ]


def _differs(text: str, other: str) -> tuple[int, int]:
    """From where to where it is not as the other; nothing is marked where that would be all of it."""
    most = min(len(text), len(other))
    start = next((place for place in range(most) if text[place] != other[place]), most)
    end = next((place for place in range(most - start) if text[-1 - place] != other[-1 - place]), most - start)
    same = start + end
    return (start, len(text) - end) if same * 3 >= len(text) else (0, 0)


def _near(lines: Sequence[DiffLine]) -> Iterator[DiffLine]:
    """Changes with some lines around them; what is between is counted."""
    wanted = sorted(
        {
            near
            for place, line in enumerate(lines)
            if line.mark != " "
            for near in range(max(0, place - AROUND), min(len(lines), place + AROUND + 1))
        }
    )
    for before, place in pairwise([-1, *wanted, len(lines)]):
        hidden = place - before - 1
        if hidden == 1:
            yield lines[before + 1]
        elif hidden:
            yield DiffLine("@", f"{hidden} equal lines")
        if place < len(lines):
            yield lines[place]
