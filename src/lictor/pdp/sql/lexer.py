"""SQL text into tokens: a strict scanner for each dialect, which splits statements before any parser sees them.

It accepts less than a database does, on purpose. Wherever two readers could disagree on where a literal, a comment or a
statement ends (`facts S2`: an allow is one differential away), the text is refused: a backslash before a quote, nested and
executable comments, dollar signs inside words, blanks that are blanks only for some. Refuses to know what a statement means.
"""

import re
from typing import Final, NamedTuple

import msgspec

from lictor.model.errors import CallerError
from lictor.model.reasons import Reason

MAX_CHARACTERS: Final = 64 * 1024
"""Of one query text: a person can still look at it, and a parse stays within tens of milliseconds."""
MAX_TOKENS: Final = 4_000
MAX_DEPTH: Final = 24
"""Nested parentheses; a parser below recurses some ten frames for each."""
MAX_BRACKETS: Final = 4
"""Nested square brackets: the parser's time doubles and more with each level (measured: 12 levels, seconds)."""
MAX_STATEMENTS: Final = 32
_SHOWN: Final = 40


class Token(NamedTuple):
    """One token. `kind`: `word`, `quoted` (an identifier), `string`, `number` or `op`; `text` as written; `end` is exclusive."""

    kind: str
    text: str
    start: int
    end: int


class _Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How one dialect writes literals. Everything not named here is refused."""

    identifier: str
    """Characters that open a quoted identifier."""
    string: str
    """Characters that open a string."""
    prefixes: str = ""
    """Letters that may stand directly before a string."""
    dollar: bool = False
    """Dollar quotes and numbered parameters."""
    brackets: bool = False
    """`[` is an array, not a quote and not refused."""
    operators: str = "?:@"
    portable: bool = False
    """Nothing is known about the dialect: only what every dialect reads the same way."""


_RULES: Final = {
    "postgres": _Rules(identifier='"', string="'", prefixes="eExXbB", dollar=True, brackets=True, operators="?:@#"),
    "mysql": _Rules(identifier="`", string="'\"", prefixes="xXbB"),
    "sqlite": _Rules(identifier='"`[', string="'", prefixes="xX"),
}
_PORTABLE: Final = _Rules(identifier='"`', string="'", portable=True)
_BLANK: Final = re.compile(r"[ \t\n\r]+")
_WORD: Final = re.compile(r"[^\W\d]\w*")
_NUMBER: Final = re.compile(r"0[xX][0-9A-Fa-f]+|(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_DOLLAR: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*)?\$")
_PARAMETER: Final = re.compile(r"\$[0-9]{1,5}(?![0-9])")
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n)")
"""Controls, lone surrogates, and a carriage return that ends a line for some readers and not for others."""
_OPERATORS: Final = frozenset("()[],.;+-*/%<>=!~^&|")


def unknown(message: str) -> CallerError:
    """The refusal of a text that cannot be read for certain."""
    return CallerError(Reason.UNKNOWN_QUERY, message, remedy="send one plain statement in the declared dialect")


def statements(text: str, dialect: str) -> list[list[Token]]:
    """The statements of a text, each as its tokens without comments and without the semicolon; empty ones are dropped.

    Raises:
        CallerError: `unknown_query`: over a bound, a character or literal that readers disagree on, nothing in it.
    """
    if len(text) > MAX_CHARACTERS:
        raise unknown(f"the query has more than {MAX_CHARACTERS} characters")
    if (found := _FORBIDDEN.search(text)) is not None:
        raise unknown(f"the query holds the control character {found[0][:1]!r}")
    parts: list[list[Token]] = [[]]
    for token in _Scanner(text, _RULES.get(dialect, _PORTABLE), mysql=dialect == "mysql").scan():
        if token.text == ";" and token.kind == "op":
            parts.append([])
        else:
            parts[-1].append(token)
    kept = [part for part in parts if part]
    if not kept:
        raise unknown("the query holds no statement")
    if len(kept) > MAX_STATEMENTS:
        raise unknown(f"the query holds more than {MAX_STATEMENTS} statements")
    return kept


class _Scanner:
    """One pass over one text."""

    def __init__(self, text: str, rules: _Rules, *, mysql: bool) -> None:
        self._text = text
        self._rules = rules
        self._mysql = mysql
        self._operators = _OPERATORS | frozenset(rules.operators)
        self._round = 0
        self._square = 0

    def scan(self) -> list[Token]:
        """Every token, semicolons included."""
        text, position, found = self._text, 0, list[Token]()
        while position < len(text):
            blank = _BLANK.match(text, position)
            if blank is not None:
                position = blank.end()
            elif text.startswith("--", position):
                position = self._line_comment(position)
            elif text.startswith("/*", position):
                position = self._block_comment(position)
            else:
                token = self._token(position)
                found.append(token)
                position = token.end
                if len(found) > MAX_TOKENS:
                    raise unknown(f"the query has more than {MAX_TOKENS} tokens")
        if self._round or self._square:
            raise unknown("a parenthesis is not closed")
        return found

    def _line_comment(self, start: int) -> int:
        after = self._text[start + 2 : start + 3]
        # MySQL reads `a--1` as a subtraction.
        if after and after not in " \t\r\n" and (self._mysql or self._rules.portable):
            raise unknown("`--` without a blank behind it is a comment only in some dialects")
        end = self._text.find("\n", start)
        return len(self._text) if end < 0 else end

    def _block_comment(self, start: int) -> int:
        # MySQL and MariaDB run what stands in `/*!` and `/*M!`; `/*+` is a hint, which may set variables.
        if self._text[start + 2 : start + 3] in ("!", "+", "M", "m"):
            raise unknown("a comment that may be executed")
        end = self._text.find("*/", start + 2)
        if end < 0:
            raise unknown("a comment is not closed")
        # PostgreSQL nests comments, the others do not; `/*/` opens and closes at once only for some.
        if self._text.find("/*", start + 1, end) >= 0 or self._text[start + 2 : start + 3] == "/":
            raise unknown("a comment within a comment ends elsewhere in another dialect")
        return end + 2

    def _token(self, start: int) -> Token:
        char = self._text[start]
        if char in self._rules.string or char in self._rules.identifier:
            return self._quoted(start, start)
        word = _WORD.match(self._text, start)
        if word is not None:
            return self._word(word)
        number = _NUMBER.match(self._text, start)
        if number is not None:
            return self._number(number)
        if char == "$" and self._rules.dollar:
            return self._dollar(start)
        if char not in self._operators or self._text.startswith("*/", start):
            raise unknown(f"the query holds {char!r} outside a literal")
        if char == "/" and self._rules.portable and self._text.startswith("//", start):
            raise unknown("`//` is a comment only in some dialects")
        self._nest(char)
        return Token("op", char, start, start + 1)

    def _word(self, match: re.Match[str]) -> Token:
        end = match.end()
        following = self._text[end : end + 1]
        if following in ("'", '"', "`") and following:
            if following == "'" and len(match[0]) == 1 and match[0] in self._rules.prefixes:
                return self._quoted(match.start(), end)
            raise unknown("a literal stands directly behind a word")
        if following == "$" or (following == "&" and self._text[end + 1 : end + 2] in ("'", '"') and match[0] in "uU"):
            raise unknown("a word that readers end in different places")
        return Token("word", match[0], match.start(), end)

    def _number(self, match: re.Match[str]) -> Token:
        end = match.end()
        following = self._text[end : end + 1]
        if following and (following in "_$'\"`" or following.isalnum()):
            raise unknown("a number runs into a word")
        return Token("number", match[0], match.start(), end)

    def _quoted(self, start: int, opening: int) -> Token:
        """A string or quoted identifier; a doubled quote stands for itself."""
        text, quote = self._text, self._text[opening]
        close = "]" if quote == "[" else quote
        position = opening + 1
        while True:
            end = text.find(close, position)
            if end < 0:
                raise unknown("a literal is not closed")
            # Whether a backslash escapes is a setting of the server; a boundary may not hang on it.
            if text[end - 1] == "\\" and end - 1 > opening:
                raise unknown("a backslash stands before a quote")
            if quote == "[" or text[end + 1 : end + 2] != close:
                break
            if self._rules.portable:
                raise unknown("a doubled quote is read differently by different dialects")
            position = end + 2
        inner = text[opening + 1 : end]
        if self._rules.portable and ("\\" in inner or "\n" in inner or text[end + 1 : end + 2] in ("'", '"', "`")):
            raise unknown("a literal that is read differently by different dialects")
        kind = "string" if quote in self._rules.string else "quoted"
        if kind == "quoted" and (not inner or "\\" in inner):
            raise unknown("an empty or escaped identifier")
        return Token(kind, text[start : end + 1], start, end + 1)

    def _dollar(self, start: int) -> Token:
        if _PARAMETER.match(self._text, start) is not None:
            return Token("op", "$", start, start + 1)
        tag = _DOLLAR.match(self._text, start)
        if tag is None:
            raise unknown("a dollar sign outside a literal")
        end = self._text.find(tag[0], tag.end())
        if end < 0:
            raise unknown("a dollar quote is not closed")
        end += len(tag[0])
        if self._text[end : end + 1].isalnum() or self._text[end : end + 1] in ("_", "$"):
            raise unknown("a dollar quote runs into a word")
        return Token("string", self._text[start:end], start, end)

    def _nest(self, char: str) -> None:
        if char in "[]" and not self._rules.brackets:
            raise unknown("square brackets are not read the same way by every dialect")
        self._round += (char == "(") - (char == ")")
        self._square += (char == "[") - (char == "]")
        if self._round > MAX_DEPTH or self._square > MAX_BRACKETS:
            raise unknown("the query is nested too deeply")
        if self._round < 0 or self._square < 0 or (char == ";" and (self._round or self._square)):
            raise unknown("parentheses do not match")


def shown(text: str) -> str:
    """Input in an error message: quoted and short."""
    return repr(text[:_SHOWN])
