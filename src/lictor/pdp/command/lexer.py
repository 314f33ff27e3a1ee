"""Shell text into simple commands: the literal subset of the POSIX shell language, and nothing beside it.

Not a shell parser that knows everything, but one that knows when it does not: it reads words whose every character stands for
itself (POSIX 2.2, 2.3, 2.10) and gives up at the first character that any of sh, dash, bash or zsh may expand, substitute or
remember. So the words found here are the words the shell will run; tests hold them against the argv real shells build. Refuses to
know what a program does with its words.
"""

import re
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 64 * 1024
MAX_COMMANDS: Final = 50
"""Above it a text is too complex to be judged: denied, not asked about."""
MAX_WORDS: Final = 1_000
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./+@%,:\-]+")
"""Characters that are literal everywhere in a word, in every shell; the first position is checked apart."""
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_REFERENCE: Final = re.compile(r"@\{[0-9]{1,6}\}")
"""`stash@{0}`: braces without a comma or dots are literal."""
_DESCRIPTOR: Final = re.compile(r"[0-9]+(?=[<>])")
_ODD: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_RESERVED_WORDS: Final = """
if then else elif fi do done case esac while until for in select function time coproc repeat foreach nocorrect
noglob always end
"""
_RESERVED: Final = frozenset(_RESERVED_WORDS.split())
_DUPLICATIONS: Final = frozenset(["1", "2"])


class NotUnderstoodError(Exception):
    """The command is not one whose words are certain. The message says what stood in the way."""


class Simple(NamedTuple):
    """One simple command: its words after quoting is removed, files it reads, files it writes."""

    words: list[str]
    reads: list[str]
    writes: list[str]


class Script(NamedTuple):
    """The commands of a text, and how they are joined."""

    commands: list[Simple]
    pipeline: bool
    sequence: bool
    background: bool


def read_shell(text: str) -> Script:
    """The commands of a shell text.

    Raises:
        NotUnderstoodError: anything in it is not literal, or it is over a bound.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotUnderstoodError(f"more than {MAX_CHARACTERS} characters")
    if (found := _ODD.search(text)) is not None:
        raise NotUnderstoodError(f"the control character {found[0]!r}")
    if (odd := next((char for char in text if not char.isascii() and not char.isprintable()), None)) is not None:
        raise NotUnderstoodError(f"the invisible character {odd!r}")
    return _Reader(text).read()


class _Reader:
    """One pass over one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._commands: list[Simple] = []
        self._current = Simple([], [], [])
        self._joined = frozenset[str]()
        self._background = False
        self._words = 0

    def read(self) -> Script:
        """Every command, in order."""
        dangling = ""
        while True:
            self._blanks()
            char = self._peek()
            if char and char not in ";|&\n":
                if not self._started() and dangling:
                    self._joined |= {dangling}
                self._item()
                dangling = ""
                continue
            operator = self._operator() if char else ""
            if operator == "\n" and not self._started():
                continue  # an empty line, or a line that goes on behind `|`, `&&` or `||`
            if not self._started() and (operator or dangling in ("|", "&&", "||") or not self._commands):
                raise NotUnderstoodError("a command is empty")
            if self._started():
                self._finish()
            if not operator:
                break
            self._background |= operator == "&"
            dangling = operator
        return Script(
            commands=self._commands,
            pipeline="|" in self._joined,
            sequence=bool(self._joined - {"|"}),
            background=self._background,
        )

    def _peek(self, ahead: int = 0) -> str:
        return self._text[self._at + ahead : self._at + ahead + 1]

    def _blanks(self) -> None:
        while self._peek() in (" ", "\t") and self._peek():
            self._at += 1

    def _started(self) -> bool:
        return bool(self._current.words or self._current.reads or self._current.writes)

    def _finish(self) -> None:
        if not self._current.words:
            raise NotUnderstoodError("a redirection without a command")
        self._commands.append(self._current)
        if len(self._commands) > MAX_COMMANDS:
            raise NotUnderstoodError(f"more than {MAX_COMMANDS} commands")
        self._current = Simple([], [], [])

    def _operator(self) -> str:
        char, following = self._peek(), self._peek(1)
        if char in "|&" and following == char:
            self._at += 2
            return char * 2
        if (char == ";" and following and following in ";&|") or (char in "|&" and following and following in "&|>"):
            raise NotUnderstoodError(f"the operator {char + following!r}")
        self._at += 1
        return char

    def _item(self) -> None:
        """A word or a redirection."""
        digits = _DESCRIPTOR.match(self._text, self._at)
        if digits is not None or self._peek() in "<>":
            self._at = digits.end() if digits else self._at
            self._redirection(digits[0] if digits else "")
            return
        start = self._at
        word = self._word()
        if not self._current.words:
            self._command_word(word, self._text[start : self._at])
        self._words += 1
        if self._words > MAX_WORDS:
            raise NotUnderstoodError(f"more than {MAX_WORDS} words")
        self._current.words.append(word)

    def _command_word(self, word: str, written: str) -> None:
        if _ASSIGNMENT.match(written):
            raise NotUnderstoodError("a variable is set")
        if written in _RESERVED:
            raise NotUnderstoodError(f"the reserved word {written!r}")
        if written.startswith("%") or not word:
            raise NotUnderstoodError("no program is named")

    def _redirection(self, descriptor: str) -> None:
        char = self._peek()
        self._at += 1
        if descriptor not in ("", "0", "1", "2"):
            raise NotUnderstoodError("a redirection of another descriptor")
        append = char == ">" and self._peek() == ">"
        self._at += append
        duplicate = char == ">" and not append and self._peek() == "&"
        self._at += duplicate
        if self._peek() in ("<", ">", "&", "|", "("):
            raise NotUnderstoodError("a here-document, a substitution or another special redirection")
        if not duplicate:
            self._blanks()
        if self._peek() in ("", "\n", ";", "#", " ", "\t"):
            raise NotUnderstoodError("a redirection to nowhere")
        target = self._word()
        if target.startswith(("/dev/tcp/", "/dev/udp/")):
            raise NotUnderstoodError("a redirection that opens a connection")  # bash(1), REDIRECTION
        if duplicate:
            if target not in _DUPLICATIONS or self._text[self._at - 1] != target:
                raise NotUnderstoodError("a redirection of another descriptor")
        elif char == "<":
            self._current.reads.append(target)
        elif target != "/dev/null":
            self._current.writes.append(target)

    # -- words ---------------------------------------------------------------------------------------------------------

    def _word(self) -> str:
        start, parts = self._at, list[str]()
        if self._peek() in ("#", "=", "^", "~"):
            raise NotUnderstoodError(f"a word begins with {self._peek()!r}")
        while (char := self._peek()) and char not in " \t\n;|&<>":
            plain = _PLAIN.match(self._text, self._at)
            if plain is not None:
                parts.append(plain[0])
                self._at = plain.end()
                # `@{0}` is part of the word; the `@` has just been read.
                reference = _REFERENCE.match(self._text, self._at - 1)
                if reference is not None:
                    parts.append(reference[0][1:])
                    self._at = reference.end()
            elif char == "'":
                parts.append(self._single())
            elif char == '"':
                parts.append(self._double())
            elif char == "\\":
                parts.append(self._escaped())
            else:
                parts.append(self._special(char, start))
        if self._at == start:
            raise NotUnderstoodError(f"{char!r} is not a word")
        return "".join(parts)

    def _special(self, char: str, start: int) -> str:
        """A character that is literal only in some places."""
        before = self._text[self._at - 1 : self._at] if self._at > start else ""
        literal = (
            (char in "=#" and bool(before))
            or (char in "~^" and bool(before) and (before.isalnum() or before in "_~^./-"))
            or char == "]"
            or not char.isascii()
        )
        if literal and not (char == "=" and self._text.startswith("~", self._at + 1)):
            self._at += 1
            return char
        if (
            self._text.startswith("{}", self._at)
            and not before
            and self._text[self._at + 2 : self._at + 3] in (" ", "")
        ):
            self._at += 2
            return "{}"
        raise NotUnderstoodError(f"{char!r} may be expanded")

    def _single(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            raise NotUnderstoodError("a quote is not closed")
        inner = self._text[self._at + 1 : end]
        self._at = end + 1
        return inner

    def _double(self) -> str:
        self._at += 1
        parts: list[str] = []
        while (char := self._peek()) != '"':
            if not char:
                raise NotUnderstoodError("a quote is not closed")
            if char in "$`!":
                raise NotUnderstoodError(f"{char!r} may be expanded within double quotes")
            if char == "\\":
                following = self._peek(1)
                if following in ("\n", "!"):
                    raise NotUnderstoodError("a backslash that joins lines")
                if following and following in '$`"\\':
                    parts.append(following)
                    self._at += 2
                    continue
            parts.append(char)
            self._at += 1
        self._at += 1
        return "".join(parts)

    def _escaped(self) -> str:
        following = self._peek(1)
        if not following or not following.isprintable() or not following.isascii():
            raise NotUnderstoodError("a backslash before a line end or an odd character")
        self._at += 2
        return following
