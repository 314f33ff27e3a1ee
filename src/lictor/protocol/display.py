r"""Text as it really is: an injective rendering of any string into characters that cannot lie.

Two different strings never look the same, and nothing in a string can move a cursor, reorder a line, hide, or draw
what only we draw (facts APRV-02 to APRV-14, LITL, ANSI). The notation, whose introducers are themselves escaped:

    \n \r \t \x1b    control characters, and blanks at the very end (\x20)
    [U+202E]         everything else that is invisible, reorders, imitates or is unknown
    \\ \[            a backslash; a bracket that would read as notation
    A[x100000]       the unit before it, that many times

Refuses to know terminals, HTML and what the text means, and to judge: it shows and counts, people and policy judge.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from lictor.protocol.confusables import CharKind, disguised, kind_of, passes_for_ascii
from lictor.protocol.display_hosts import address_warnings


class TokenKind(StrEnum):
    """What a piece of shown text is. All but `TEXT` deserve their own look."""

    TEXT = "text"
    QUOTED = "quoted"
    NEWLINE = "newline"
    CONTROL = "control"
    BIDI = "bidi"
    INVISIBLE = "invisible"
    LOOKALIKE = "lookalike"
    UNKNOWN = "unknown"
    REPEAT = "repeat"
    OMITTED = "omitted"


class Token(msgspec.Struct, frozen=True):
    """A piece of shown text, and how many code points of the original it stands for."""

    kind: TokenKind
    text: str
    count: int


@dataclass(frozen=True, slots=True)
class Warn:
    """Something a reader should know about a text. `code` is stable; `text` is safe to print, one line."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Shown:
    r"""A rendered string. `text` holds no line break: a newline is the two characters `\n` (its token says so).

    Attributes:
        complete: False as soon as any of the original is left out (`clip`).
        characters: code points of the original. `size`: its UTF-8 bytes. `digest`: `sha256:<hex>` of those bytes.
        invisible: how many code points draw nothing or reorder others; above 0 marks the request.
    """

    tokens: tuple[Token, ...]
    warnings: tuple[Warn, ...]
    characters: int
    lines: int
    size: int
    digest: str
    invisible: int
    complete: bool = True

    @property
    def text(self) -> str:
        """The rendering as one line."""
        return "".join(token.text for token in self.tokens)


_LONG = 64  # a plain character more often than this in a row is counted, not drawn
_SOME = 4  # the same for an escape
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Either ASCII that means only itself, up to a long run, notation or blanks at the end; or one character, repeated.
_PIECE = re.compile(
    r"(?P<plain>(?:(?!(?P<a>.)(?P=a){63})(?:[!-Z\]-~]|[ ](?![ ]*\Z)|\[(?!\[|U\+|x)))+)|(?P<b>.)(?P=b)*",
    re.DOTALL,
)
_MAX_NAMED_WORDS = 3
_MAX_NAMED_LETTERS = 40


def show(text: str) -> Shown:
    """Render a string. Injective: the original can be read back from `Shown.text`.

    Args:
        text: any string at all; lone surrogates too.
    """
    data = text.encode("utf-8", "surrogatepass")
    if text.isascii():
        hidden: frozenset[int] = frozenset()
        mixed: tuple[str, ...] = ()
        imitating: tuple[str, ...] = ()
    else:
        hidden, mixed, imitating = disguised(text)
    tokens = tuple(_joined(_tokens(text, hidden)))
    counts = _counts(tokens)
    invisible = counts[TokenKind.INVISIBLE] + sum(kind_of(char) is CharKind.BIDI for char in _controls(text))
    shown = Shown(
        tokens=tokens,
        warnings=(),
        characters=len(text),
        lines=text.count("\n") + 1,
        size=len(data),
        digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
        invisible=invisible,
    )
    return replace(shown, warnings=tuple(_warnings(text, shown, counts, mixed, imitating)))


def render(text: str) -> str:
    """`show(text).text`, without the counting."""
    hidden = frozenset[int]() if text.isascii() else disguised(text)[0]
    return "".join(token.text for token in _tokens(text, hidden))


def clip(shown: Shown, limit: int, *, open_with: str) -> Shown:
    """Head and tail of a long rendering, with a notice between them that content cannot imitate.

    Args:
        shown: a complete rendering.
        limit: rendered characters to keep, 2 or more; two thirds from the head.
        open_with: how to see all of it, e.g. `lictor approvals show H --full`; ours, printable.

    Returns:
        `shown` itself when it fits; else a rendering that is not `complete`. Counts and digest stay those of the whole.
    """
    if sum(len(token.text) for token in shown.tokens) <= limit:
        return shown
    head = _take(shown.tokens, max(1, limit * 2 // 3))
    tail = tuple(reversed(_take(shown.tokens[::-1], max(1, limit // 3), from_end=True)))
    left_out = shown.characters - sum(token.count for token in (*head, *tail))
    notice = f"… {left_out} characters not shown, {shown.digest}, open with {render(open_with)} …"
    return replace(shown, tokens=(*head, Token(TokenKind.OMITTED, notice, left_out), *tail), complete=False)


def _tokens(text: str, hidden: frozenset[int]) -> Iterator[Token]:
    for match in _PIECE.finditer(text):
        plain = match["plain"]
        if plain is not None:
            yield Token(TokenKind.TEXT, plain, len(plain))
            continue
        start, end = match.span()
        times = end - start
        kind, unit = _unit(text, start, end, disguise=start in hidden)
        limit = _LONG if kind is TokenKind.TEXT else _SOME
        if times >= limit:
            yield Token(TokenKind.REPEAT if kind is TokenKind.TEXT else kind, f"{unit}[x{times}]", times)
        elif kind is TokenKind.TEXT:
            yield Token(kind, unit * times, times)
        else:
            yield from [Token(kind, unit, 1)] * times


def _unit(text: str, start: int, end: int, *, disguise: bool) -> tuple[TokenKind, str]:
    """The notation for the character repeated in `text[start:end]`."""
    char = text[start]
    if char == "\\":
        return TokenKind.QUOTED, "\\\\"
    if char == "[":
        notation = text.startswith(("U+", "x"), end)
        return (TokenKind.QUOTED, "\\[") if notation else (TokenKind.TEXT, "[")
    if char == " " and end == len(text):
        return TokenKind.CONTROL, "\\x20"
    kind = kind_of(char)
    if kind is CharKind.TEXT:
        if not disguise and not passes_for_ascii(char, text[start - 1 : start], text[end : end + 1]):
            return TokenKind.TEXT, char
        kind = CharKind.LOOKALIKE
    if kind in {CharKind.CONTROL, CharKind.NEWLINE}:
        return TokenKind(kind.value), _NAMED.get(char) or f"\\x{ord(char):02x}"
    return TokenKind(kind.value), f"[U+{ord(char):04X}]"


def _joined(tokens: Iterator[Token]) -> Iterator[Token]:
    """Neighbouring `TEXT` tokens as one, so that templates stay small."""
    pending: list[Token] = []
    for token in tokens:
        if token.kind is TokenKind.TEXT:
            pending.append(token)
            continue
        yield from _merged(pending)
        pending = []
        yield token
    yield from _merged(pending)


def _merged(tokens: list[Token]) -> Iterator[Token]:
    if tokens:
        yield Token(TokenKind.TEXT, "".join(t.text for t in tokens), sum(t.count for t in tokens))


def _take(tokens: tuple[Token, ...], limit: int, *, from_end: bool = False) -> tuple[Token, ...]:
    """Tokens up to `limit` rendered characters; only plain text is cut in the middle of a token."""
    taken: list[Token] = []
    for token in tokens:
        if len(token.text) <= limit:
            taken.append(token)
            limit -= len(token.text)
            continue
        if token.kind is TokenKind.TEXT and limit > 0:
            part = token.text[-limit:] if from_end else token.text[:limit]
            taken.append(Token(token.kind, part, len(part)))
        break
    return tuple(taken)


def _controls(text: str) -> Iterator[str]:
    """Format characters that reorder text (not right-to-left letters, which are seen)."""
    if not text.isascii():
        yield from (char for char in text if unicodedata.category(char) == "Cf")


def _counts(tokens: tuple[Token, ...]) -> dict[TokenKind, int]:
    counts = dict.fromkeys(TokenKind, 0)
    for token in tokens:
        counts[token.kind] += token.count
    return counts


def _warnings(
    text: str, shown: Shown, counts: dict[TokenKind, int], mixed: tuple[str, ...], imitating: tuple[str, ...]
) -> Iterator[Warn]:
    if shown.invisible:
        yield Warn("invisible", f"{_points(shown.invisible, 'invisible')} in this text")
    if counts[TokenKind.BIDI]:
        yield Warn("bidi", f"{_points(counts[TokenKind.BIDI], 'reordering')} (right-to-left) in this text")
    terminal = counts[TokenKind.CONTROL] - text.count("\t") - (len(text) - len(text.rstrip(" ")))
    if terminal > 0:
        yield Warn("control", f"{_points(terminal, 'control')} in this text")
    if mixed:
        yield Warn("mixed_script", f"mixed script in one word: {_named(mixed)}")
    if imitating:
        yield Warn("lookalike", f"foreign letters that look like ASCII: {_named(imitating)}")
    if counts[TokenKind.UNKNOWN]:
        yield Warn("unknown", f"{_points(counts[TokenKind.UNKNOWN], 'unassigned, private or broken')} in this text")
    if not unicodedata.is_normalized("NFC", text):
        yield Warn("not_nfc", "not in Unicode normal form C: equal-looking texts may differ")
    for code, message in address_warnings(text):
        yield Warn(code, render(message))


def _points(count: int, what: str) -> str:
    return f"{count} {what} code point{'' if count == 1 else 's'}"


def _named(words: tuple[str, ...]) -> str:
    unique = list(dict.fromkeys(words))
    named = ", ".join(_briefly(word) for word in unique[:_MAX_NAMED_WORDS])
    more = len(unique) - _MAX_NAMED_WORDS
    return f"{named} and {more} more" if more > 0 else named


def _briefly(word: str) -> str:
    return render(word) if len(word) <= _MAX_NAMED_LETTERS else f"a word of {len(word)} letters"
