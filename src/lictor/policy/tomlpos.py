"""Where each key of a TOML document stands, because `tomllib` does not say.

Only for messages: nothing is decided by a position. It scans text that `tomllib` has accepted already and refuses to know
values; on anything it does not follow it stops, and the lines found so far (or line 1) are what a message names.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

Path = tuple[str | int, ...]
"""Keys from the root; an element of an array of tables is its index."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_KEY: Final = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_STRING: Final = re.compile(r'"""(?:\\.|[^\\])*?"""+|\'\'\'.*?\'\'\'+|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'', re.DOTALL)
_ESCAPE: Final = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_SIMPLE: Final[Mapping[str, str]] = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r"}
_OPENING: Final = "[{"
_CLOSING: Final = "]}"


class Lines:
    """Line numbers (from 1) of one file's keys."""

    __slots__ = ("_found", "file")

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._found: dict[Path, int] = _Scanner(text).scan()

    def where(self, path: Iterable[str | int]) -> str:
        """`file:line` of a key, or of the nearest key around it."""
        steps = tuple(path)
        while steps and steps not in self._found:
            steps = steps[:-1]
        return f"{self.file}:{self._found.get(steps, 1)}"


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._counted = 0
        self._found: dict[Path, int] = {}
        self._arrays: dict[Path, int] = {}
        self._table: Path = ()

    def scan(self) -> dict[Path, int]:
        while self._skip(_BLANK) < len(self._text):
            known = self._header() if self._text[self._at] == "[" else self._member()
            if not known:
                break
        return self._found

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _header(self) -> bool:
        line = self._here()
        array = self._text.startswith("[[", self._at)
        self._at += 2 if array else 1
        keys = self._keys()
        path = self._resolve(keys)
        if not keys:
            return False
        if array:
            index = self._arrays[path] = self._arrays.get(path, -1) + 1
            self._found.setdefault(path, line)
            path = (*path, index)
        self._table = path
        self._found.setdefault(path, line)
        self._at = self._text.find("\n", self._at)
        if self._at < 0:
            self._at = len(self._text)
        return True

    def _resolve(self, keys: Path) -> Path:
        """Table names pass through the newest element of an array of tables."""
        path: Path = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            if path in self._arrays and index < len(keys) - 1:
                path = (*path, self._arrays[path])
        return path

    def _keys(self) -> Path:
        keys: list[str] = []
        while True:
            self._skip(_SPACE)
            match = _KEY.match(self._text, self._at)
            if match is None:
                return ()
            keys.append(_plain(match[0]))
            self._at = match.end()
            self._skip(_SPACE)
            if not self._text.startswith(".", self._at):
                return tuple(keys)
            self._at += 1

    def _member(self) -> bool:
        line = self._here()
        keys = self._keys()
        if not keys or not self._text.startswith("=", self._at):
            return False
        for length in range(1, len(keys) + 1):
            self._found.setdefault((*self._table, *keys[:length]), line)
        self._at += 1
        self._value()
        return True

    def _value(self) -> None:
        depth = 0
        while self._at < len(self._text):
            letter = self._text[self._at]
            string = _STRING.match(self._text, self._at) if letter in "\"'" else None
            if string is not None:
                self._at = string.end()
                continue
            if letter == "\n" and depth == 0:
                return
            if letter == "#":
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
                continue
            depth += (letter in _OPENING) - (letter in _CLOSING)
            self._at += 1


def _plain(key: str) -> str:
    if key[0] == "'":
        return key[1:-1]
    if key[0] != '"':
        return key
    return _ESCAPE.sub(_unescaped, key[1:-1])


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else _SIMPLE.get(match[3], match[3])
