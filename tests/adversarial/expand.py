"""Values that are too long to write out: repetition, concatenation, a character by number. A small grammar, never `eval`.

    value  := term ("+" term)*
    term   := atom ("*" number)?
    atom   := "'" text "'" | '"' text '"' | "chr(" number ")" | word

Anything else is not ours: `expand` says so, `expanded` leaves the text as it is.
"""

import re
from typing import Any

from adversarial.model import Unreadable

LIMIT = 4 * 1024 * 1024
_TERM = re.compile(
    r"""\s*(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|chr\((?P<char>\d{1,7})\)|(?P<word>[^\s'"+*()]+))(?:\s*\*\s*(?P<times>\d{1,8}))?\s*"""
)
_REPEATED = re.compile(r"\*\s*\d")


def expand(text: str) -> str:
    """The value a description stands for."""
    made, position, size = [], 0, 0
    while True:
        match = _TERM.match(text, position)
        if match is None:
            raise Unreadable(f"no generated value: {text[:120]!r}")
        atom = next((match[name] for name in ("single", "double", "word") if match[name] is not None), None)
        unit = atom if atom is not None else chr(int(match["char"]))
        times = int(match["times"] or 1)
        size += len(unit) * times
        if size > LIMIT:
            raise Unreadable(f"the generated value is larger than {LIMIT}: {text[:120]!r}")
        made.append(unit * times)
        position = match.end()
        if position == len(text):
            return "".join(made)
        if text[position] != "+":
            raise Unreadable(f"no generated value: {text[:120]!r}")
        position += 1


def expanded(value: Any) -> Any:
    """Arguments with the strings that describe a repetition written out; all others stay as they are."""
    if isinstance(value, dict):
        return {key: expanded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expanded(item) for item in value]
    if isinstance(value, str) and _REPEATED.search(value):
        try:
            return expand(value)
        except Unreadable:
            return value
    return value


def generated(value: dict[str, str] | str) -> Any:
    """The member `gen` of an input: a description, or descriptions by name."""
    if isinstance(value, dict):
        return {key: expand(text) for key, text in value.items()}
    return expand(value)


_LEVELS = re.compile(r"(?P<levels>\d+) levels of (?P<keyword>anyOf|oneOf|allOf) x (?P<branches>\d+) branches")


def schema_of(value: Any) -> Any:
    """A schema as given, or one described as "N levels of anyOf x M branches" (written with references, as a bomb is)."""
    if not isinstance(value, str):
        return value
    match = _LEVELS.fullmatch(value)
    if match is None:
        raise Unreadable(f"no schema: {value[:120]!r}")
    levels, branches = int(match["levels"]), int(match["branches"])
    definitions: dict[str, Any] = {
        f"level{n}": {match["keyword"]: [{"$ref": f"#/$defs/level{n + 1}"}] * branches} for n in range(levels)
    }
    definitions[f"level{levels}"] = {"type": "string"}
    return {"type": "object", "properties": {"q": {"$ref": "#/$defs/level0"}}, "$defs": definitions}
