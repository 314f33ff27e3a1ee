"""Content rules: which labels a piece of content gets. Pure; refuses to know who sent it and who reads it.

What cannot be read, or is too long to be read in time, counts as holding everything: a rule only ever adds a label. Nothing is
decoded (base64, entities, quoted-printable): the label of the source has to cover what is hidden on purpose.
"""

import re
import unicodedata
from typing import Any, Final

import msgspec

from lictor.model.content import ContentRule
from lictor.pdp.normalise.account import iban
from lictor.pdp.origins.forms import email

MAX_LOOKED_AT: Final = 1024 * 1024
"""Characters looked through for numbers and addresses; more counts as a hit."""
_BLOB: Final = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_=-]{4096,}+", re.ASCII)
"""An encoded picture or document: only literals and secrets are looked for in it. Tried only where a run begins: linear time."""
_MARKS: Final = re.compile(r"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f]){64,}+")
"""Where a run of combining marks can be. Sorting them takes time by the square of their number (UAX #15, canonical ordering)."""
_MOST_MARKS: Final = 256
"""Combining marks in a row; UAX #15 D4 finds 30 more than any language needs."""
_CARD: Final = re.compile(r"(?<![0-9])[3-6][0-9]{3}(?:[ -]?[0-9]){9,15}(?![0-9])", re.ASCII)
_IBAN: Final = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[A-Za-z0-9]{11,30}|(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,4})?)"
    r"(?![A-Za-z0-9])",
    re.ASCII,
)
_MAIL: Final = re.compile(r"(?<![A-Za-z0-9._+-])[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{3,253}", re.ASCII)
_SECRET: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----|(?<![A-Za-z0-9])(?:(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"
    r"|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{40}|glpat-[A-Za-z0-9_-]{20}|xox[abeoprs]-[A-Za-z0-9-]{10}"
    r"|[sr]k_live_[A-Za-z0-9]{16}|sk-(?:[a-z]{2,8}-)?[A-Za-z0-9_-]{20}|AIza[A-Za-z0-9_-]{35}|npm_[A-Za-z0-9]{36}"
    r"|pypi-[A-Za-z0-9_-]{50}|hvs\.[A-Za-z0-9_-]{24})"
)
_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9_-])([A-Za-z0-9_-]{13,}+)(?=\.eyJ[A-Za-z0-9_-]{10})", re.ASCII)
"""What stands before the second part of a JWT; where in it the first part begins is looked for apart: linear time."""
_TOKEN_HEAD: Final = re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10}", re.ASCII)
_LONGEST_HEAD: Final = 2_003
_PREFIXES: Final = (
    "PRIVATE KEY-----", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "k_live_",
    "sk-", "AIza", "npm_", "pypi-", "hvs.", "eyJ",
)  # fmt: skip
_DEPTH: Final = 4
"""JSON in a string in JSON ... read so deep."""


def labels_of(rules: tuple[ContentRule, ...], action: str, body: bytes) -> tuple[str, ...]:
    """The labels that rules give to content, sorted.

    Args:
        action: whose content it is (`ActionRequest.action`).
        body: JSON, or any other bytes.
    """
    matching = [rule for rule in rules if not rule.actions or action in rule.actions]
    if not matching or not body:
        return ()
    looked = _Looked(_text_of(body))
    return tuple(sorted({label for rule in matching if looked.fits(rule) for label in rule.labels}))


def folded(text: str) -> str:
    """Text as literals are compared: compatibility forms and case folded, invisible characters left out."""
    if text.isascii():
        return text.lower()
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(char for char in plain if unicodedata.category(char) != "Cf")


class _Looked:
    """One content; each thing is looked for once at most."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._folded: str | None = None
        self._unreadable: bool | None = None
        self._prose: str | None = None
        self._held: dict[str, bool] = {}

    def fits(self, rule: ContentRule) -> bool:
        return any(self._contains(literal) for literal in rule.contains) or any(map(self._holds, rule.holds))

    def _contains(self, literal: str) -> bool:
        if self._unreadable is None:
            self._unreadable = _piled(self._text)
        if self._unreadable:
            return True
        if self._folded is None:
            self._folded = folded(self._text)
        return folded(literal) in self._folded

    def _holds(self, what: str) -> bool:
        if what not in self._held:
            self._held[what] = self._look(what)
        return self._held[what]

    def _look(self, what: str) -> bool:
        if what == "secret":
            return any(prefix in self._text for prefix in _PREFIXES) and (
                _SECRET.search(self._text) is not None or _holds_token(self._text)
            )
        if self._prose is None:
            self._prose = _BLOB.sub(" ", self._text)
        if len(self._prose) > MAX_LOOKED_AT:
            return True
        match what:
            case "card":
                return any(_luhn(found[0]) for found in _CARD.finditer(self._prose))
            case "iban":
                return any(map(_is_iban, (found[0] for found in _IBAN.finditer(self._prose))))
            case "email":
                found = _MAIL.finditer(self._prose) if "@" in self._prose else ()
                return any(email(one[0].strip(".-").lstrip("_+")) is not None for one in found)
            case _:
                return True


def _holds_token(text: str) -> bool:
    """A JWT (RFC 7519): two parts that begin as JSON objects do."""
    return any(_TOKEN_HEAD.search(found[1][-_LONGEST_HEAD:]) is not None for found in _TOKEN.finditer(text))


def _piled(text: str) -> bool:
    """Whether so many combining marks stand in a row that the text cannot be brought to normal form in time."""
    if text.isascii():
        return False
    for found in _MARKS.finditer(text):
        count = 0
        for char in found[0]:
            count = count + 1 if unicodedata.category(char)[0] == "M" or char in "\uff9e\uff9f" else 0
            if count > _MOST_MARKS:
                return True
    return False


def _is_iban(text: str) -> bool:
    groups = text.split(" ")
    return any(iban(" ".join(groups[:count])) is not None for count in range(len(groups), 0, -1))


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    doubled = sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + doubled) % 10 == 0


def _text_of(body: bytes) -> str:
    """Every string of a JSON text, member names too, one a line; JSON inside strings is opened as well."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return body.decode("utf-8", "replace")
    found: list[str] = []
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        one, depth = waiting.pop()
        if isinstance(one, str):
            found.append(one)
            if depth < _DEPTH and one[:1] in {"{", "["}:
                try:
                    waiting.append((msgspec.json.decode(one), depth + 1))
                except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError):
                    continue  # text like any other
        elif isinstance(one, dict):
            found.extend(one)
            waiting.extend((item, depth) for item in one.values())
        elif isinstance(one, list):
            waiting.extend((item, depth) for item in one)
        elif isinstance(one, int | float) and not isinstance(one, bool):
            found.append(str(one))
    return "\n".join(found)
