"""Values in text and JSON: what a person wrote, what a tool answered. Whole values only, in linear time, bounded in number.

A value is a whole token between blanks, a whole quoted part, a whole line or a whole JSON string, never a piece of one: out of
`a@b.com` nobody gets `a@b.co`, out of `50` nobody gets `5`, and the first half of a URL or a path is not one. What is cut off
is only punctuation around a token. Refuses to know who wrote the text.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from lictor.pdp.normalise.account import iban
from lictor.pdp.origins.digest import Found
from lictor.pdp.origins.forms import KINDS, MAX_FORM, MAX_TEXT, MIN_ACCOUNT, form_of, plain, text_form, written_number

MAX_SCAN: Final = 128 * 1024
"""Characters read of one result: a page, a long table."""
MAX_VALUES: Final = 2_000
"""Values kept of one result."""
_MAX_NESTED: Final = 1
"""JSON text inside a JSON string is read as JSON too: most tools answer so. Not deeper."""

_DELIMITERS: Final = '<>"`{}|[]'
_QUOTES: Final = "“”„«»\u2039\u203a"
"""What no value holds beside blanks; a token lies between."""
_INNER: Final = re.compile(r"[(),;]+")
_OPEN: Final = re.compile("[\"“„«`'\u2018]")
_CLOSE: Final = {'"': '"', "“": "”", "„": "“”", "«": "»", "`": "`", "'": "'", "\u2018": "\u2019"}
_SINGLE: Final = frozenset("'\u2018")
"""Apostrophes too: a quotation only where no letter or digit stands outside."""
_PRINTED: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,4})?(?![A-Za-z0-9])", re.ASCII
)
_GROUPED: Final = re.compile(r"(?<![0-9.,])[0-9]{1,4}(?:[ \u00a0\u202f'][0-9]{3,4})+(?![0-9])")
"""`1 000`, `4111 1111 1111 1111`: one number to its writer, several tokens to us; none is taken."""
_GROUP: Final = re.compile(r"[A-Za-z]{2}[0-9]{2} [A-Za-z0-9]{4} ", re.ASCII)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,30}://")
_LONGEST_NUMERAL: Final = 44
_AROUND: Final = ".,;:!?*'\u2019\u2018…"
_AROUND_WORDS: Final = _AROUND + '"()[]{}<>“”„«»'
_FILE: Final = re.compile(r"[^/\\]*[^/\\.][^/\\]*\.[A-Za-z][A-Za-z0-9]{0,7}", re.ASCII)
_DOTTED: Final = re.compile(r"[^.@/\s]+(?:\.[^.@/\s]+)+")
_IDENTIFIER: Final = re.compile(r"(?=[^_0-9]*[_0-9])(?=[^A-Za-z_-]*[A-Za-z_-])[^\W_][\w.-]{2,63}")
_NUMERAL: Final = re.compile(r"[^\w\s]{0,3}[0-9]", re.ASCII)
_DIGIT: Final = re.compile(r"[0-9]", re.ASCII)
_DULL: Final = re.compile(r"[a-z]+[.,;:!?]?", re.ASCII)
_SENTENCE_END: Final = (".", "!", "?", ":")


class Finder:
    """Gathers the values of one result or one text.

    Attributes:
        complete: whether everything was read and kept; if not, nobody may conclude from a value's absence.
    """

    __slots__ = ("_kinds", "_left", "complete", "found")

    def __init__(self, kinds: frozenset[str] = frozenset(KINDS), limit: int = MAX_SCAN) -> None:
        self._kinds = tuple(
            kind for kind in KINDS if kind in kinds
        )  # one order: what is over the bound is always the same
        self._left = limit
        self.complete = True
        self.found: dict[Found, None] = {}

    def json(self, value: Any, nested: int = 0) -> None:
        """Every string, key and number of a JSON value."""
        waiting = [value]
        while waiting:
            if self._left <= 0:
                self.complete = False
                return
            one = waiting.pop()
            if isinstance(one, str):
                self._leaf(one, nested)
            elif isinstance(one, dict):
                waiting.extend(reversed(one.values()))
                waiting.extend(key for key in one if len(key) > 1)
                self._left -= 2 * len(one)
            elif isinstance(one, list):
                waiting.extend(reversed(one))
                self._left -= len(one)
            elif "number" in self._kinds and isinstance(one, int | float) and not isinstance(one, bool):
                self._add("number", form_of("number", one))

    def whole(self, text: str) -> None:
        """One declared value: itself as every kind that it can be, and nothing inside it."""
        for kind in self._kinds:
            self._add(kind, text_form(kind, text))

    def text(self, text: str) -> None:
        """Running text."""
        if len(text) > self._left:
            self.complete = False
            text = text[: max(0, self._left)]
            # What was cut in two is not a value: drop the last, unfinished token.
            text = text[: max(text.rfind(" "), text.rfind("\n"), 0)]
        self._left -= len(text)
        for part in _quoted(text):
            self.whole(part)
        tokens = _tokens(text)
        for kind in self._kinds:
            for form in _FINDERS[kind](text, tokens):
                self._add(kind, form)

    def _leaf(self, text: str, nested: int) -> None:
        if nested < _MAX_NESTED and text[:1] in {"{", "["}:
            if len(text) > self._left:
                self.complete = False
                return
            try:
                inner = msgspec.json.decode(text)
            except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
                self.text(text)
                return
            self._left -= len(text) // 4
            self.json(inner, nested + 1)
            return
        if len(text) <= MAX_FORM:
            self.whole(text)
        if len(text) > 1:
            self.text(text)

    def _add(self, kind: str, form: str | None) -> None:
        if form is None or (kind, form) in self.found:
            return
        if len(self.found) >= MAX_VALUES:
            self.complete = False
            return
        self.found[kind, form] = None


def _quoted(text: str) -> Iterator[str]:
    at = 0
    while (opening := _OPEN.search(text, at)) is not None:
        start = at = opening.end()
        single = opening[0] in _SINGLE
        if single and text[start - 2 : start - 1].isalnum():
            continue
        ends = [end for char in _CLOSE[opening[0]] if (end := text.find(char, start, start + MAX_TEXT)) > start]
        if ends and not (single and text[min(ends) + 1 : min(ends) + 2].isalnum()):
            at = min(ends) + 1
            if "\n" not in text[start : at - 1]:
                yield text[start : at - 1]


def _tokens(text: str) -> list[str]:
    for char in _DELIMITERS if text.isascii() else _DELIMITERS + _QUOTES:
        if char in text:
            text = text.replace(char, " ")
    return [token for token in text.split() if len(token) <= MAX_FORM]


def _trim(token: str) -> str:
    """A token without the punctuation around it; a closing parenthesis stays where one was opened inside."""
    token = token.strip(_AROUND)
    while True:
        before = token
        if token[:1] == "(" and token.count("(") > token.count(")") - token.endswith(")"):
            token = token[1:] if not (token.endswith(")") and token.count("(") == 1) else token[1:-1]
        elif token[-1:] == ")" and token.count(")") > token.count("("):
            token = token[:-1]
        token = token.strip(_AROUND)
        if token == before:
            return token


def _emails(_: str, tokens: list[str]) -> Iterator[str | None]:
    for token in tokens:
        # An address inside a URL or after other words is user information, not an address.
        if "@" in token and "://" not in token:
            for part in _INNER.split(token):
                bare = part.strip(_AROUND)
                yield text_form("email", bare[7:] if bare[:7].lower() == "mailto:" else bare)


def _urls_written(tokens: list[str]) -> Iterator[str]:
    for token in tokens:
        if "://" in token and (match := _SCHEME.search(token)) is not None:
            yield _trim(token[match.start() :])


def _urls(_: str, tokens: list[str]) -> Iterator[str | None]:
    return (text_form("url", written) for written in _urls_written(tokens))


def _hosts(_: str, tokens: list[str]) -> Iterator[str | None]:
    for written in _urls_written(tokens):
        yield text_form("host", written)
    for token in tokens:
        if "." in token[1:-1] and "@" not in token and "/" not in token and _DOTTED.fullmatch(bare := _trim(token)):
            yield text_form("host", bare)


def _accounts(text: str, tokens: list[str]) -> Iterator[str | None]:
    ibans: list[str] = []
    rest = _without_ibans(text, ibans)
    yield from ibans
    for token in tokens if rest is text else _tokens(rest):
        if len(token) >= MIN_ACCOUNT and "@" not in token and _DIGIT.search(token):
            yield text_form("account", _trim(token))


def _without_ibans(text: str, found: list[str]) -> str:
    """Text without the account numbers printed in groups of four: a group is no value."""

    def printed(match: re.Match[str]) -> str:
        groups = match[0].split(" ")
        for count in range(len(groups), 2, -1):
            form = iban(" ".join(groups[:count]))
            if form is not None:
                found.append(form)
                return " ".join(("", *groups[count:]))
        return match[0]

    return _PRINTED.sub(printed, text) if _GROUP.search(text) else text


def _numbers(text: str, tokens: list[str]) -> Iterator[str | None]:
    rest = _without_ibans(text, [])
    if _GROUPED.search(rest):
        rest = _GROUPED.sub("~", rest)
    for token in tokens if rest is text else _tokens(rest):
        if _NUMERAL.match(token) and len(token) <= _LONGEST_NUMERAL:
            yield written_number(_trim(token))


def _paths(_: str, tokens: list[str]) -> Iterator[str | None]:
    for token in tokens:
        if "/" in token or "\\" in token or "." in token[1:-1]:
            bare = _trim(token)
            if "/" in bare or "\\" in bare or ("@" not in bare and _FILE.fullmatch(bare)):
                yield text_form("path", bare)


def _texts(text: str, _: list[str]) -> Iterator[str | None]:
    for line in text.splitlines():
        if len(line) <= 2 * MAX_TEXT:
            yield plain(line)
    yield plain(text) if len(text) <= 2 * MAX_TEXT else None
    yield from _names(_without_ibans(text, []))


def _names(text: str) -> Iterator[str | None]:
    """Runs of capitalised words, names behind `#` and `@`, and identifiers; each whole."""
    run: list[str] = []
    first, start = True, True
    for word in text.split():
        if _DULL.fullmatch(word):  # most of prose
            if run:
                yield from _runs(run, first=first)
                run = []
            start = word.endswith(_SENTENCE_END)
            continue
        bare = word.strip(_AROUND_WORDS)
        bare = bare.removesuffix("'s").removesuffix("\u2019s")
        named = bare[:1].isupper() or (bool(run) and bare[:1].isdigit())
        if word[:1] in {"(", '"', "“", "'", "["} and run:
            yield from _runs(run, first=first)
            run = []
        if named:
            if not run:
                first = start
            run.append(bare)
        elif run:
            yield from _runs(run, first=first)
            run = []
        if named and not word.endswith(bare):
            yield from _runs(run, first=first)
            run = []
        start = word.endswith(_SENTENCE_END)
        if bare[:1] in {"#", "@"} and len(bare) > 1:
            yield plain(bare)
            yield plain(bare[1:])
        elif _IDENTIFIER.fullmatch(bare):
            yield plain(bare)
    yield from _runs(run, first=first)


def _runs(run: list[str], *, first: bool) -> Iterator[str | None]:
    """A run of words, and without the one that only opens a sentence."""
    if not run:
        return
    yield plain(" ".join(run))
    if first and len(run) > 1:
        yield plain(" ".join(run[1:]))


_FINDERS: Final[dict[str, Callable[[str, list[str]], Iterator[str | None]]]] = {
    "email": _emails,
    "url": _urls,
    "host": _hosts,
    "account": _accounts,
    "number": _numbers,
    "path": _paths,
    "text": _texts,
}


def values_of_text(text: str, kinds: frozenset[str] = frozenset(KINDS)) -> tuple[Found, ...]:
    """The values of what a person wrote, in order of first appearance by kind."""
    finder = Finder(kinds)
    finder.text(text)
    return tuple(finder.found)


def values_declared(values: tuple[str, ...], kinds: frozenset[str] = frozenset(KINDS)) -> tuple[Found, ...]:
    """Values given one by one: each stands for itself as every kind that it can be."""
    finder = Finder(kinds)
    for value in values:
        finder.whole(value)
    return tuple(finder.found)


def values_of_result(body: bytes, kinds: frozenset[str]) -> tuple[tuple[Found, ...], bool]:
    """The values of a result (JSON text, or plain text where it is none), and whether that is all of them."""
    if not kinds:
        return (), True
    finder = Finder(kinds)
    try:
        finder.json(msgspec.json.decode(body))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        finder.text(body.decode("utf-8", "replace"))
    return tuple(finder.found), finder.complete
