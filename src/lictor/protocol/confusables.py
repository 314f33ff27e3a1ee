"""Which characters may be shown as they are, and which look like something else.

An allowlist: what is not known to be harmless is escaped by `display`. Refuses to know languages: a letter that would
be harmless in one text and a lie in another counts as a lie (facts APRV-06, APRV-08, APRV-10; Unicode TR 36 and TR 39).
No data files: `unicodedata` of the running Python plus the short tables below.
"""

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache


class CharKind(StrEnum):
    """How one code point is shown."""

    TEXT = "text"
    NEWLINE = "newline"
    CONTROL = "control"
    BIDI = "bidi"
    INVISIBLE = "invisible"
    LOOKALIKE = "lookalike"
    UNKNOWN = "unknown"


# Letters that draw (nearly) the same glyph as an ASCII letter in common fonts, by script.
_CYRILLIC = ("авекмнорстхуіѕјһьАВЕКМНОРСТХУІЅЈЬҮүғ", "abekmhopctxyisjhbABEKMHOPCTXYISJbYyf")
_GREEK = ("οναικρυχγωητΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ovaikpuxywntABEZHIKMNOPTYX")
_ARMENIAN = ("օոսցհյզՕՍԼՏԱ", "onughjqOULSU")
_OTHER = ("ӏӀԁԛԝѵıĸɡɑ", "lIdqwvikga")
LOOKALIKES: dict[str, str] = {
    odd: plain
    for odds, plains in (_CYRILLIC, _GREEK, _ARMENIAN, _OTHER)
    for odd, plain in zip(odds, plains, strict=True)
}
"""Look-alike letter to the ASCII letter it imitates. Some imitate only roughly, such as lower-case `в к м н т`."""

_EAST_STROKES = frozenset("ノ丿ー一丨丶亅ㅣㅡ口ロ工エ二ニ三ミ八ハ卜トヘへ")
"""East Asian letters that pass for ASCII when they stand next to it (`example.comノlogin`)."""  # noqa: RUF001

_EAST = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
_SCRIPTS = _EAST | {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN", "ETHIOPIC"}
_EXTRA_LETTERS = frozenset("々ー")  # modifier letters that ordinary Japanese cannot do without
_PUNCTUATION = frozenset("€£¥§¡¿«»„“”—×÷±、。「」")  # nothing in ASCII is drawn like these  # noqa: RUF001
_LATIN_B = frozenset("ƠơƯưȘșȚț") | frozenset(map(chr, range(0x1CD, 0x1DD)))
_NOT_LATIN = frozenset("ıĸŉſ")
_BIDI = frozenset(map(ord, "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"))
_INVISIBLE_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0000, 0xE0FFF),
)
_WORD = re.compile(r"[^\W\d_]+")


@lru_cache(maxsize=4096)
def script(char: str) -> str:
    """The script of a letter: the first word of its Unicode name (`LATIN`, `CYRILLIC`, …); empty when it has none."""
    return unicodedata.name(char, "").partition(" ")[0]


@lru_cache(maxsize=4096)
def kind_of(char: str) -> CharKind:
    """How a code point is shown when its neighbours do not matter. `TEXT` means: as it is."""
    code = ord(char)
    if char == "\n":
        return CharKind.NEWLINE
    if code < 0xA0:
        return CharKind.TEXT if 0x20 <= code < 0x7F else CharKind.CONTROL
    if code in _BIDI:
        return CharKind.BIDI
    if any(low <= code <= high for low, high in _INVISIBLE_RANGES):
        return CharKind.INVISIBLE
    category = unicodedata.category(char)
    if category in {"Cf", "Zs", "Zl", "Zp"}:
        return CharKind.INVISIBLE
    if category in {"Cn", "Co", "Cs"}:
        return CharKind.UNKNOWN
    if char in _PUNCTUATION or char in _EXTRA_LETTERS:
        return CharKind.TEXT
    if category not in {"Lu", "Ll", "Lo"} or unicodedata.normalize("NFKC", char) != char:
        return CharKind.LOOKALIKE
    if unicodedata.bidirectional(char) != "L":
        return CharKind.BIDI  # a right-to-left letter reorders its neighbours even without a control character
    return CharKind.TEXT if _ordinary_letter(char, code) else CharKind.LOOKALIKE


def _ordinary_letter(char: str, code: int) -> bool:
    match script(char):
        case "LATIN":
            return (code <= 0x17F and char not in _NOT_LATIN) or char in _LATIN_B or 0x1E00 <= code <= 0x1EFF
        case "CYRILLIC":
            return (code <= 0x45F or 0x490 <= code <= 0x4FF) and char not in "ӏӀ"  # noqa: RUF001
        case "GREEK":
            return code <= 0x3CE
        case "HANGUL":
            return 0xAC00 <= code <= 0xD7A3  # conjoining jamo draw nothing, or draw together
        case name:
            return name in _SCRIPTS


def disguised(text: str) -> tuple[frozenset[int], tuple[str, ...], tuple[str, ...]]:
    """Letters that lie only because of the word they stand in.

    Returns:
        Positions to escape; the words that mix scripts; the words made only of look-alikes. Words are raw text.
    """
    positions: set[int] = set()
    mixed: list[str] = []
    imitating: list[str] = []
    for match in _WORD.finditer(text):
        word = match.group()
        if word.isascii():
            continue
        scripts = {script(char) for char in word} - _EAST
        if len(scripts) > 1:
            mixed.append(word)
            positions.update(match.start() + i for i, char in enumerate(word) if script(char) not in _EAST | {"LATIN"})
        elif scripts and all(char in LOOKALIKES for char in word):
            imitating.append(word)
            positions.update(range(match.start(), match.end()))
    return frozenset(positions), tuple(mixed), tuple(imitating)


def passes_for_ascii(char: str, before: str, after: str) -> bool:
    """Whether an East Asian letter stands next to ASCII and could be read as ASCII."""
    if char not in _EAST_STROKES:
        return False
    return any(other != "" and other.isascii() and not other.isspace() for other in (before, after))


def skeleton(text: str) -> str:
    """What a hurried reader sees: look-alikes as what they imitate, no marks, lower case. For warnings only."""
    plain = "".join(LOOKALIKES.get(char, char) for char in unicodedata.normalize("NFKC", text).lower())
    apart = unicodedata.normalize("NFD", plain)
    return "".join(char for char in apart if not unicodedata.combining(char))
