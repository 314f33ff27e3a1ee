"""Characters that make policy text say something else than it shows (CVE-2021-42574, Unicode TR 36, TR 39).

Refuses to know policy: it is handed texts and names, and says which character stands where.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

_WORD: Final = re.compile(r"[^\W\d_]+")
_PROSE: Final = re.compile(r'//[^\n\r]*|@\w+\s*\(\s*"(?:\\.|[^"\\])*"\s*\)', re.DOTALL)
_PLAIN_CONTROLS: Final = frozenset("\n\r\t")
_ODD_SPACES: Final = frozenset(map(chr, (0xA0, 0x1680, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B))))
_ODD_FILLERS: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u2800")


def hidden_characters(text: str) -> Iterator[tuple[int, str]]:
    """(line from 1, `U+XXXX name`) of what shows as nothing or turns the text round, comments included."""
    if text.isascii() and text.isprintable():
        return
    line = 1
    for letter in text:
        if letter == "\n":
            line += 1
        elif letter not in _PLAIN_CONTROLS and _hidden(letter):
            yield line, _called(letter)


def foreign_words(text: str) -> Iterator[tuple[int, str, bool]]:
    """(line, word, whether it mixes scripts) of what is not ASCII outside comments and annotations."""
    if text.isascii():
        return
    code = _PROSE.sub(lambda prose: re.sub(r"[^\n]", " ", prose[0]), text)
    for match in re.finditer(r"[^\x00-\x7f]+", code):
        start, end = match.span()
        while start and (code[start - 1].isalnum() or code[start - 1] in "-_."):
            start -= 1
        while end < len(code) and (code[end].isalnum() or code[end] in "-_."):
            end += 1
        word = code[start:end]
        yield code.count("\n", 0, start) + 1, word, mixed_script(word)


def mixed_script(word: str) -> bool:
    """Whether letters of more than one script stand in one word, as in a look-alike name."""
    scripts = {unicodedata.name(letter, "?").split()[0] for part in _WORD.findall(word) for letter in part}
    return len(scripts) > 1


def _hidden(letter: str) -> bool:
    return (
        unicodedata.category(letter) in {"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"}
        or letter in _ODD_SPACES
        or letter in _ODD_FILLERS
    )


def _called(letter: str) -> str:
    return f"U+{ord(letter):04X} {unicodedata.name(letter, 'without a name')}".strip()
